package drift

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func TestLastGood(t *testing.T) {
	names := []string{"msp-mtls", "msp-allow", "msp-default-deny", "msp-egress"}
	var want, live []mesh.Object
	for _, n := range names {
		o := desired(t, n)
		want = append(want, o)
		l := o.DeepCopyObject().(mesh.Object)
		l.SetUID("u")
		l.SetResourceVersion("9")
		l.SetGeneration(4)
		l.SetCreationTimestamp(metav1.Now())
		annotate(l, "example.com/note", "harmless")
		live = append(live, l)
	}
	digest := Digest(want)

	got := LastGood(live, []string{"another", digest}, Options{})
	if len(got) != len(want) {
		t.Fatalf("%d objects", len(got))
	}
	if changes := Compare(got, live, Options{}); len(changes) > 0 {
		t.Errorf("what is read back is not what is there: %v", changes)
	}
	if Digest(got) != digest {
		t.Error("another fingerprint")
	}
	meanwhile := live[1].DeepCopyObject().(mesh.Object)
	meanwhile.SetName(mesh.Temporary("allow"))
	if got := LastGood(append([]mesh.Object{meanwhile}, live...), []string{digest}, Options{}); len(got) != len(want) {
		t.Errorf("%d objects: what is there only meanwhile was never declared", len(got))
	}
	if live[0].GetResourceVersion() != "9" {
		t.Error("the cache's object was changed")
	}
	for name, change := range map[string]func() ([]mesh.Object, []string){
		"nothing is there":  func() ([]mesh.Object, []string) { return nil, []string{digest, ""} },
		"nothing is known":  func() ([]mesh.Object, []string) { return live, []string{""} },
		"an object is gone": func() ([]mesh.Object, []string) { return live[1:], []string{digest} },
		"an object was changed": func() ([]mesh.Object, []string) {
			return append([]mesh.Object{respec(t, live[0], `{mtls: {mode: PERMISSIVE}}`)}, live[1:]...), []string{digest}
		},
	} {
		if got := func() []mesh.Object { l, d := change(); return LastGood(l, d, Options{}) }(); got != nil {
			t.Errorf("%s: %d objects", name, len(got))
		}
	}
}

func TestOwned(t *testing.T) {
	before := []mesh.Object{desired(t, "msp-allow"), desired(t, "msp-mtls")}
	same := posture.Posture{Namespace: before[0].GetNamespace(), Owner: posture.Owner{
		Kind: v1alpha1.KindProfile, Name: before[0].GetOwnerReferences()[0].Name, UID: before[0].GetOwnerReferences()[0].UID,
	}}
	if got, changed := Owned(before, mesh.Meta(same, "", "")); changed || len(Compare(got, before, Options{})) > 0 {
		t.Error("given to the same owner, they change")
	}
	other := same
	other.Owner.Name, other.Owner.UID = "other", "other-uid"
	got, changed := Owned(before, mesh.Meta(other, "", ""))
	if !changed {
		t.Error("no change")
	}
	for i, o := range got {
		if o.GetLabels()[v1alpha1.LabelProfile] != "other" || o.GetOwnerReferences()[0].UID != "other-uid" || len(o.GetOwnerReferences()) != 1 {
			t.Errorf("%s: %v %v", o.GetName(), o.GetLabels(), o.GetOwnerReferences())
		}
		if before[i].GetOwnerReferences()[0].Name == "other" {
			t.Error("the original was changed")
		}
	}
}
