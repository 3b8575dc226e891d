package apply

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestFinalizer(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(s).WithObjects(&v1alpha1.MeshSecurityProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "main", UID: "u", Finalizers: []string{"example.com/mine"}},
		Spec:       v1alpha1.MeshSecurityProfileSpec{DeletionPolicy: v1alpha1.DeletionRetain},
	}).Build()
	get := func() *v1alpha1.MeshSecurityProfile {
		p := &v1alpha1.MeshSecurityProfile{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "main"}, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	w, seen := NewWriter(c), get()

	held, err := w.Hold(t.Context(), seen)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(); !slices.Equal(got.Finalizers, []string{"example.com/mine", v1alpha1.Finalizer}) || got.ResourceVersion != held.ResourceVersion || got.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		t.Errorf("%v at %s, answered %s", got.Finalizers, got.ResourceVersion, held.ResourceVersion)
	}
	if len(seen.Finalizers) != 1 {
		t.Error("the cache's profile was changed")
	}
	if _, err := w.Hold(t.Context(), seen); !apierrors.IsConflict(err) {
		t.Errorf("a profile that is no longer as it was seen: %v", err)
	}
	if err := w.LetGo(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	if got := get().Finalizers; !slices.Equal(got, []string{"example.com/mine"}) {
		t.Errorf("%v", got)
	}
	if err := c.Delete(t.Context(), get()); err != nil {
		t.Fatal(err)
	}
	gone := get()
	gone.Name = "gone"
	if err := w.LetGo(t.Context(), gone); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}
