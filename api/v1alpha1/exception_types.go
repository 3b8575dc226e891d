package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CheckID is the ID of a check, like ENR-002.
// +kubebuilder:validation:MaxLength=12
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z]{2,8}-[0-9]{3}$')",message="a check is given by its ID: 2 to 8 capital letters, '-' and 3 digits, like ENR-002"
type CheckID string

// MeshSecurityExceptionSpec says which findings are accepted, where, by whom and until when.
type MeshSecurityExceptionSpec struct {
	// namespaces are the exact names of the namespaces that the exception is for. 1 to 64.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of namespaces is given twice; remove one"
	Namespaces []NamespaceName `json:"namespaces"`

	// workloadSelector selects the workloads that it is for. Absent: the namespace as a whole.
	// +optional
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`

	// checks are the IDs of the checks whose findings it covers. A mandate's
	// own check ID lets the profile's looser value through for these
	// workloads. 1 to 32.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of checks is given twice; remove one"
	Checks []CheckID `json:"checks"`

	// owner is who answers for it. 1 to 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Owner string `json:"owner"`

	// reason says why. 10 to 1024 characters.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`

	// ticket is where it was decided. At most 128 characters. Absent: nowhere on file.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Ticket string `json:"ticket,omitempty"`

	// The schema of expiresAt is spelled out, with a rule in place of the format
	// date-time: what the API server takes for a date-time includes strings that
	// nothing in Go can decode, of any length, and one of them in one object
	// would blind the operator to all objects of the kind.

	// expiresAt ends the exception, like 2027-03-31T00:00:00Z. There is none without an end.
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$') && timestamp(self).getFullYear() >= 2000",message="must be a point in time that exists, in RFC 3339's form without fractions of a second, like 2027-03-31T00:00:00Z"
	ExpiresAt metav1.Time `json:"expiresAt"`
}

// MeshSecurityExceptionStatus says whether the exception is in force.
type MeshSecurityExceptionStatus struct {
	// observedGeneration is the generation of the spec that this status speaks
	// of; -1 before the operator saw the exception.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// matchedFindings counts the findings that it covers now.
	// +optional
	MatchedFindings *int32 `json:"matchedFindings,omitempty"`

	// conditions are Accepted and Active, and Reconciling or Stalled while there
	// is something to wait for or to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MeshSecurityException accepts findings for a time. It is cluster-scoped, so
// that nobody can grant one with the rights of a namespace.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mse,categories=meshsecurity
// +kubebuilder:printcolumn:name="Namespaces",type=string,JSONPath=`.spec.namespaces`
// +kubebuilder:printcolumn:name="Checks",type=string,JSONPath=`.spec.checks`
// +kubebuilder:printcolumn:name="Active",type=string,JSONPath=`.status.conditions[?(@.type=="Active")].status`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expiresAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`,priority=1
// +kubebuilder:printcolumn:name="Ticket",type=string,JSONPath=`.spec.ticket`,priority=1
type MeshSecurityException struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's own.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is declared.
	// +required
	Spec MeshSecurityExceptionSpec `json:"spec"`

	// status says whether it is in force, written by the operator alone.
	// +optional
	// +default={"observedGeneration": -1}
	Status MeshSecurityExceptionStatus `json:"status,omitempty"`
}

// MeshSecurityExceptionList is a list of exceptions.
// +kubebuilder:object:root=true
type MeshSecurityExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MeshSecurityException `json:"items"`
}
