package plan

import (
	"slices"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// temporary are the steps that bring an object and take it away again. Where a
// plan was not finished, drift.Compare finds the object as nothing asks for it,
// and the one that is made anew removes it at the same place.
func temporary(o mesh.Object, why string) []Step {
	key, _ := drift.KeyOf(o)
	change := drift.Change{Type: drift.Unexpected, Key: key, Live: o, OutOfSync: true, Actor: drift.ActorUnknown, Effect: v1alpha1.EffectNeutral}
	return []Step{
		{Verb: Create, Object: o, Change: change, Reason: why, temporary: true},
		{Verb: Delete, Object: o, Change: change, Reason: "was there only meanwhile", temporary: true},
	}
}

// withTemporary adds steps for temporary objects to the others, but for those
// that are there already: these are among the others, to be removed.
func withTemporary(steps, temporary []Step) []Step {
	var there []drift.Key
	for _, s := range steps {
		if s.Verb == Delete {
			there = append(there, s.Change.Key)
		}
	}
	return append(steps, slices.DeleteFunc(temporary, func(s Step) bool { return slices.Contains(there, s.Change.Key) })...)
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: securityv1.SchemeGroupVersion.String(), Kind: kind}
}

// temporaryMeta has the owner of another object.
func temporaryMeta(suffix string, like mesh.Object) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: mesh.Temporary(suffix), Namespace: like.GetNamespace(),
		// Of those of a live object only ours: what others put there may make them prune the copy.
		Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelPartOf: v1alpha1.PartOfValue},
	}
	if profile, ok := like.GetLabels()[v1alpha1.LabelProfile]; ok {
		m.Labels[v1alpha1.LabelProfile] = profile
	}
	if drift.Controlled(like) {
		m.OwnerReferences = like.GetOwnerReferences()
	}
	return m
}
