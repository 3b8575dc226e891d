package providers

import (
	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

type dataPlane struct {
	provider v1alpha1.MeshProvider
	plane    v1alpha1.DataPlane
}

var compilers = map[dataPlane]mesh.Compiler{
	{v1alpha1.ProviderIstio, v1alpha1.DataPlaneSidecar}: istio.Sidecar{},
}

// Find returns the compiler for a mesh and its data plane, and false for one
// that can't be programmed.
func Find(provider v1alpha1.MeshProvider, plane v1alpha1.DataPlane) (mesh.Compiler, bool) {
	c, ok := compilers[dataPlane{provider, plane}]
	return c, ok
}
