package drift

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Significant says whether a label or annotation of this name can change what
// an object does, for the mesh or for the operator: one of istio.io or
// meshsecurity.io, or of a domain below these. Any other that somebody adds is
// harmless and left alone.
func Significant(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	if !ok {
		return false
	}
	for _, d := range []string{"istio.io", v1alpha1.GroupVersion.Group} {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}

// mark says whether the operator sets or judges a label or annotation.
func mark(name string) bool {
	return name == v1alpha1.LabelManagedBy || name == v1alpha1.LabelPartOf || Significant(name)
}

// SystemFinalizer says whether the API server itself sets a finalizer, for the
// way in which an object is being deleted.
func SystemFinalizer(name string) bool {
	return name == metav1.FinalizerDeleteDependents || name == metav1.FinalizerOrphanDependents
}

// metadataEqual is metadata's part of the fast path: no allocation. It may say
// false of what metadataFields then finds equal, never the other way round.
func metadataEqual(want, have mesh.Object) bool {
	if !mapEqual(want.GetLabels(), have.GetLabels()) || !mapEqual(want.GetAnnotations(), have.GetAnnotations()) {
		return false
	}
	for _, f := range have.GetFinalizers() {
		if !SystemFinalizer(f) {
			return false
		}
	}
	w, h := want.GetOwnerReferences(), have.GetOwnerReferences()
	return len(w) == len(h) && slices.EqualFunc(w, h, sameOwner)
}

func mapEqual(want, have map[string]string) bool {
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			return false
		}
	}
	if len(have) == len(want) {
		return true
	}
	for k := range have {
		if _, ok := want[k]; !ok && Significant(k) {
			return false
		}
	}
	return true
}

// metadataFields lists what differs in the metadata that is ours.
//
// A foreign owner reference differs: the garbage collector would delete the
// object with that owner. So does a foreign finalizer: nobody has anything to
// clean up after an object that the operator alone writes, and it would hold
// up the deletion of the profile and of the namespace.
func metadataFields(want, have mesh.Object) []v1alpha1.FieldChange {
	out := mapFields("/metadata/labels/", want.GetLabels(), have.GetLabels())
	out = append(out, mapFields("/metadata/annotations/", want.GetAnnotations(), have.GetAnnotations())...)
	if w, h := owners(want), owners(have); w != h {
		out = append(out, v1alpha1.FieldChange{Path: "/metadata/ownerReferences", Desired: cutValue(w), Observed: cutValue(h)})
	}
	foreign := slices.DeleteFunc(slices.Clone(have.GetFinalizers()), SystemFinalizer)
	if len(foreign) > 0 {
		out = append(out, v1alpha1.FieldChange{Path: "/metadata/finalizers", Observed: cutValue(strings.Join(foreign, ", "))})
	}
	return out
}

func mapFields(path string, want, have map[string]string) []v1alpha1.FieldChange {
	var out []v1alpha1.FieldChange
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := have[k]; !ok || v != want[k] {
			out = append(out, v1alpha1.FieldChange{Path: path + escape(k), Desired: cutValue(want[k]), Observed: cutValue(v)})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[k]; !ok && Significant(k) {
			out = append(out, v1alpha1.FieldChange{Path: path + escape(k), Observed: cutValue(have[k])})
		}
	}
	return out
}

// owners is a text of the owner references, whatever their order.
func owners(o mesh.Object) string {
	var refs []string
	for _, r := range o.GetOwnerReferences() {
		refs = append(refs, refText(r))
	}
	slices.Sort(refs)
	return strings.Join(refs, ", ")
}

func refText(r metav1.OwnerReference) string {
	s := fmt.Sprintf("%s/%s %s %s", r.Kind, r.Name, r.UID, r.APIVersion)
	if r.Controller != nil && *r.Controller {
		s += " controller"
	}
	if r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion {
		s += " blocking"
	}
	return s
}

func sameOwner(a, b metav1.OwnerReference) bool {
	is := func(p *bool) bool { return p != nil && *p }
	return a.APIVersion == b.APIVersion && a.Kind == b.Kind && a.Name == b.Name && a.UID == b.UID &&
		is(a.Controller) == is(b.Controller) && is(a.BlockOwnerDeletion) == is(b.BlockOwnerDeletion)
}

// Overlay is desired as it is to replace live: guarded by live's UID and
// resource version, with the harmless labels and annotations that others put
// there, and with the finalizers by which the API server is deleting it.
func Overlay(desired, live mesh.Object) mesh.Object {
	o := desired.DeepCopyObject().(mesh.Object)
	o.SetUID(live.GetUID())
	o.SetResourceVersion(live.GetResourceVersion())
	o.SetLabels(withHarmless(o.GetLabels(), live.GetLabels()))
	o.SetAnnotations(withHarmless(o.GetAnnotations(), live.GetAnnotations()))
	for _, f := range live.GetFinalizers() {
		if SystemFinalizer(f) {
			o.SetFinalizers(append(o.GetFinalizers(), f))
		}
	}
	return o
}

func withHarmless(want, have map[string]string) map[string]string {
	for k, v := range have {
		if _, ok := want[k]; ok || Significant(k) {
			continue
		}
		if want == nil {
			want = map[string]string{}
		}
		want[k] = v
	}
	return want
}
