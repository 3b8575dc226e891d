package mesh

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Object is an object to be written.
type Object = facts.Object

// Result is what a provider makes of a posture.
type Result struct {
	// Objects to be written, sorted by kind and name; TypeMeta, name,
	// namespace, labels, annotations, owner reference and spec are set.
	Objects []Object
	// Rules has one verdict for every port override, authorization rule and
	// egress rule, in this order and as declared. The verdicts suppose that
	// the objects are written and that nobody else's objects interfere.
	Rules []v1alpha1.RuleStatus
	// Assurance is the egress assurance achieved, empty where egress is not restricted.
	Assurance v1alpha1.EgressAssurance
}

// Compiler turns a posture into the resources of one mesh.
type Compiler interface {
	Compile(posture.Posture, facts.Facts) Result
}

// NamePrefix begins the name of every object that the operator writes.
const NamePrefix = "msp-"

// maxName is the length that names are kept to, so that they also fit where
// Kubernetes allows a DNS label only.
const maxName = 63

// Name joins the prefix and the parts with '-'. What is longer than 63
// characters is cut and ends in a hash of the whole, so that names stay
// distinct and deterministic.
func Name(parts ...string) string {
	name := NamePrefix
	for i, p := range parts {
		if i > 0 {
			name += "-"
		}
		name += p
	}
	return fit(name)
}

// Part appends a suffix that no declared name can produce, for an intent that
// needs several objects: '.' is not allowed in the names of rules.
func Part(name, suffix string) string { return fit(name + "." + suffix) }

// RuleName is the name of the objects of an authorization rule. Those of a
// baseline's have a '.' early on, which no name of a profile's rule has, so that
// no profile can take their place.
func RuleName(r posture.Rule) string {
	if r.Baseline == "" {
		return Name(r.Name)
	}
	return Part(Name("baseline"), r.Name+"."+r.Baseline)
}

// temporary begins the names of objects that are there only while a plan is
// carried out; like those of Part, no declared name can produce them.
const temporary = NamePrefix + "transition."

// Temporary is the name of an object that is there only while a plan is carried out.
func Temporary(suffix string) string { return fit(temporary + suffix) }

// IsTemporary says whether a name is one of these.
func IsTemporary(name string) bool { return strings.HasPrefix(name, temporary) }

// Hash is a short, stable fingerprint, for names.
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:8]
}

func fit(name string) string {
	if len(name) <= maxName {
		return name
	}
	return name[:maxName-9] + "-" + Hash(name)
}

// Meta is the metadata of an object that belongs to a posture. Nothing is
// copied from the owner's own labels and annotations: a copied tracking label
// would make a GitOps tool prune the object. rule may be empty.
func Meta(p posture.Posture, name, rule string) metav1.ObjectMeta {
	yes := true
	m := metav1.ObjectMeta{
		Name:      name,
		Namespace: p.Namespace,
		Labels: map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue,
			v1alpha1.LabelPartOf:    v1alpha1.PartOfValue,
		},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: p.Owner.Kind, Name: p.Owner.Name, UID: p.Owner.UID,
			Controller: &yes, BlockOwnerDeletion: &yes,
		}},
	}
	if p.Owner.Kind == v1alpha1.KindBaseline {
		m.Labels[v1alpha1.LabelBaseline] = fit(p.Owner.Name)
	} else {
		m.Labels[v1alpha1.LabelProfile] = fit(p.Owner.Name)
	}
	if rule != "" {
		m.Annotations = map[string]string{v1alpha1.AnnotationRule: rule}
	}
	return m
}
