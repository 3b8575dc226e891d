package controllers

import (
	"testing"

	networkingapi "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// An update of any kind of the mesh is compared: messages that were written to
// the wire hold what reflection can't compare.
func TestEveryKindOfTheMeshIsCompared(t *testing.T) {
	for _, k := range mesh.ManagedKinds() {
		before, ok1 := k.New().(client.Object)
		after, ok2 := k.New().(client.Object)
		if !ok1 || !ok2 {
			t.Fatalf("%s is no object", k.GVK)
		}
		for _, o := range []client.Object{before, after} {
			if g, is := o.(*networkingv1.Gateway); is {
				g.Spec.Servers = []*networkingapi.Server{{Port: &networkingapi.Port{Number: 443}}}
				_ = g.Spec.String() // sets what is compared by nobody
			}
		}
		if dependantChanged(before, after) {
			t.Errorf("%s: two that are equal differ", k.GVK.Kind)
		}
		after.SetGeneration(2)
		if k.Custom && !dependantChanged(before, after) {
			t.Errorf("%s: two generations are the same", k.GVK.Kind)
		}
	}
}
