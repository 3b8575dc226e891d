package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LabelValue is a Kubernetes label value.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$')",message="a label's value is given exactly: at most 63 letters, digits and the characters - _ . that start and end with a letter or a digit; wildcards are not known here"
type LabelValue string

// Labels are labels with their values. The rule on keys walks them character
// by character: keys have no schema of their own that could bound their
// length, and what the API server can't bound it does not let a rule match.
// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() > 0 && k.size() <= 128 && ['-', '.', '/', '_'].all(c, k.charAt(0) != c && k.charAt(k.size() - 1) != c) && [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].all(i, [0, 16, 32, 48, 64, 80, 96, 112].all(j, i + j >= k.size() || [k.charAt(i + j)].all(c, c >= '-' && c <= '9' || c >= 'A' && c <= 'Z' || c == '_' || c >= 'a' && c <= 'z'))))",message="a label's key is given exactly, like app or app.kubernetes.io/name: 1 to 128 letters, digits and the characters - _ . / that start and end with a letter or a digit; wildcards are not known here"
type Labels map[string]LabelValue

// WorkloadSelector selects pods of the profile's own namespace by labels that
// all have to match. The mesh's own policies know no other form of selector.
type WorkloadSelector struct {
	// matchLabels are the labels that a pod must have, every one of them. At
	// least 1 and at most 4. To select every workload of the namespace leave
	// the selector out.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=4
	// +mapType=atomic
	MatchLabels Labels `json:"matchLabels"`
}

// NamespaceSelector selects namespaces by their labels. An empty selector ({})
// selects every namespace.
type NamespaceSelector struct {
	// matchLabels are labels that a namespace must have, every one of them. At
	// most 16. Absent: no condition.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +mapType=atomic
	MatchLabels Labels `json:"matchLabels,omitempty"`

	// matchExpressions are further conditions on labels, which all have to
	// hold. At most 16, which together hold at most 16 KiB. Absent: no condition.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.map(e, 48 + e.key.size() + (has(e.values) ? 14 + e.values.map(v, 3 + v.size()).sum() : 0)).sum() <= 16384",message="matchExpressions together must not exceed 16 KiB; give the namespaces a common label and select by it"
	MatchExpressions []NamespaceSelectorRequirement `json:"matchExpressions,omitempty"`
}

// NamespaceSelectorRequirement is one condition on a namespace's label.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",message="operators In and NotIn need values; Exists and DoesNotExist must have none",fieldPath=".values"
type NamespaceSelectorRequirement struct {
	// key is the label's key, 1 to 317 characters.
	// +required
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="a label's key is given exactly, like app or app.kubernetes.io/name; wildcards are not known here"
	Key string `json:"key"`

	// operator relates the key to the values: In and NotIn need values, Exists
	// and DoesNotExist must have none.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`

	// values of the label, for In and NotIn. At most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// LabelSelector is the selector in apimachinery's form.
func (s NamespaceSelector) LabelSelector() *metav1.LabelSelector {
	out := &metav1.LabelSelector{}
	for k, v := range s.MatchLabels {
		if out.MatchLabels == nil {
			out.MatchLabels = make(map[string]string, len(s.MatchLabels))
		}
		out.MatchLabels[k] = string(v)
	}
	for _, e := range s.MatchExpressions {
		r := metav1.LabelSelectorRequirement{Key: e.Key, Operator: e.Operator}
		for _, v := range e.Values {
			r.Values = append(r.Values, string(v))
		}
		out.MatchExpressions = append(out.MatchExpressions, r)
	}
	return out
}
