package drift

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// LastGood is what was last written, read back from the live objects: they are
// taken for it only if all of them together have the fingerprint of what was
// written, one of digests. Nil where they have not.
func LastGood(live []mesh.Object, digests []string, opts Options) []mesh.Object {
	var out []mesh.Object
	for _, o := range live {
		if key, ok := KeyOf(o); ok && ours(o, opts) && !mesh.IsTemporary(key.Name) {
			out = append(out, asWritten(o))
		}
	}
	if len(out) == 0 {
		return nil
	}
	digest := Digest(out)
	for _, d := range digests {
		if d == digest {
			return out
		}
	}
	return nil
}

// asWritten is a live object without what the API server and others put on it.
func asWritten(live mesh.Object) mesh.Object {
	o := live.DeepCopyObject().(mesh.Object)
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetGeneration(0)
	o.SetCreationTimestamp(metav1.Time{})
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	o.SetLabels(ourMarks(o.GetLabels()))
	o.SetAnnotations(ourMarks(o.GetAnnotations()))
	return o
}

func ourMarks(in map[string]string) map[string]string {
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(k, _ string) bool { return !mark(k) })
	if len(out) == 0 {
		return nil
	}
	return out
}

// Owned gives objects to the owner of meta, but for policies at egress gateways,
// which belong to a baseline. It says whether that changed any of them.
func Owned(objects []mesh.Object, meta metav1.ObjectMeta) (out []mesh.Object, changed bool) {
	for _, o := range objects {
		o = o.DeepCopyObject().(mesh.Object)
		if mesh.AtGateway(o) {
			out = append(out, o)
			continue
		}
		labels := maps.Clone(o.GetLabels())
		changed = changed || !slices.EqualFunc(o.GetOwnerReferences(), meta.OwnerReferences, sameOwner)
		for _, l := range []string{v1alpha1.LabelProfile, v1alpha1.LabelBaseline} {
			changed = changed || labels[l] != meta.Labels[l]
			delete(labels, l)
			if v, ok := meta.Labels[l]; ok {
				labels[l] = v
			}
		}
		o.SetLabels(labels)
		o.SetOwnerReferences(meta.OwnerReferences)
		out = append(out, o)
	}
	return out, changed
}
