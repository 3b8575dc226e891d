package providers

import (
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

func TestFind(t *testing.T) {
	if c, ok := Find(v1alpha1.ProviderIstio, v1alpha1.DataPlaneSidecar); !ok || c == nil {
		t.Error("Istio with sidecars is not found")
	}
	for _, plane := range []v1alpha1.DataPlane{v1alpha1.DataPlaneAmbient, ""} {
		if _, ok := Find(v1alpha1.ProviderIstio, plane); ok {
			t.Errorf("Istio with data plane %q is found", plane)
		}
	}
	if _, ok := Find(v1alpha1.ProviderLinkerd, ""); ok {
		t.Error("Linkerd is found")
	}
}
