package snapshot

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestRevisions(t *testing.T) {
	var m revisions
	b := &v1alpha1.MeshSecurityBaseline{}
	b.UID, b.Generation = "u", 1
	first, err := m.of(b)
	if err != nil || first.now == "" || first.before != nil {
		t.Fatalf("%+v %v", first, err)
	}
	// The order in which a change is rolled out is none.
	b.Generation, b.Spec.Rollout = 2, &v1alpha1.Rollout{}
	if r, _ := m.of(b); r.now != first.now {
		t.Error("rollout is part of the revision")
	}
	b.Generation, b.Spec.NamespacesWithoutProfile = 3, v1alpha1.UnprofiledEnforce
	b.Status.RolledOut = &v1alpha1.RolledOut{Revision: first.now, Spec: &runtime.RawExtension{Raw: []byte(`{"namespacesWithoutProfile":"DryRun"}`)}}
	r, _ := m.of(b)
	if r.now == first.now || r.before == nil || r.before.NamespacesWithoutProfile != v1alpha1.UnprofiledDryRun {
		t.Errorf("%+v", r)
	}
	if again, _ := m.of(b); again.before != r.before {
		t.Error("it is decoded again for every namespace")
	}
	// A status that can't be read holds nothing up.
	b.Status.RolledOut = &v1alpha1.RolledOut{Revision: "other", Spec: &runtime.RawExtension{Raw: []byte(`{"mandates": 7}`)}}
	if r, err := m.of(b); err != nil || r.before != nil {
		t.Errorf("%+v %v", r, err)
	}
}
