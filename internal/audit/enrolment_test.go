package audit

import (
	"testing"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func TestEnrolment(t *testing.T) {
	second := func(s *Scene) *facts.Pod {
		p := *s.pod()
		p.Name = "api-1"
		s.Facts.Pods = append(s.Facts.Pods, p)
		return &s.Facts.Pods[1]
	}
	exam(t, "ENR", []examined{
		{"ENR-001", "no proxy", func(s *Scene) { s.pod().Sidecar = false }, []string{"Deployment/api: the namespace's labels ask for one"}},
		{"ENR-001", "no proxy and no label", func(s *Scene) { s.pod().Sidecar = false; s.Facts.Namespace.Labels = nil }, []string{"Deployment/api: has no label"}},
		{"ENR-001", "one pod of two", func(s *Scene) { second(s).Sidecar = false }, []string{"Deployment/api: some of its pods: not in the mesh"}},
		{"ENR-001", "opted out is another check's", func(s *Scene) { s.pod().Sidecar, s.pod().Bypass = false, []string{"hostNetwork"} }, nil},
		{"ENR-001", "an excluded port is no reason", func(s *Scene) {
			s.pod().Sidecar, s.pod().Bypass = false, []string{"traffic.sidecar.istio.io/excludeInboundPorts=80"}
		}, []string{"Deployment/api: not in the mesh"}},
		{"ENR-001", "not redirected in ambient mode", func(s *Scene) {
			s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient
			s.pod().Sidecar = false
		}, []string{"Deployment/api: ztunnel"}},
		{"ENR-001", "with a proxy in ambient mode", func(s *Scene) { s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient }, nil},
		{"ENR-001", "redirected in ambient mode", func(s *Scene) {
			s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient
			s.pod().Sidecar, s.pod().Ambient = false, true
		}, nil},
		{"ENR-002", "by hostNetwork and a label", func(s *Scene) { s.pod().Bypass = []string{"hostNetwork", "sidecar.istio.io/inject=false"} }, []string{"Deployment/api: by hostNetwork, sidecar.istio.io/inject=false"}},
		{"ENR-002", "excluding is another check's", func(s *Scene) { s.pod().Bypass = []string{"traffic.sidecar.istio.io/excludeInboundPorts=80"} }, nil},
		{"ENR-003", "a port", func(s *Scene) { s.pod().Bypass = []string{"traffic.sidecar.istio.io/excludeInboundPorts=80"} }, []string{"Deployment/api: excludeInboundPorts=80"}},
		{"ENR-003", "opting out is another check's", func(s *Scene) { s.pod().Bypass = []string{"hostNetwork"} }, nil},
		{"ENR-004", "a capability", func(s *Scene) { s.pod().Tampering = []string{"container app has the capability NET_ADMIN"} }, []string{"Deployment/api: NET_ADMIN"}},
		{"ENR-004", "with no proxy to evade", func(s *Scene) { s.pod().Sidecar, s.pod().Tampering = false, []string{"container app is privileged"} }, nil},
		{"ENR-005", "a pod of both", func(s *Scene) { s.pod().Ambient = true }, []string{"Deployment/api: ztunnel"}},
		{"ENR-005", "labels of both", func(s *Scene) { s.Facts.Namespace.Labels["istio.io/dataplane-mode"] = "ambient" }, []string{"Namespace/payments: ambient mode and for injection"}},
		{"ENR-006", "UDP", func(s *Scene) {
			for key, svc := range s.Facts.Services {
				svc.Ports = append(svc.Ports, facts.ServicePort{Name: "dns", Protocol: "UDP", Port: 53})
				s.Facts.Services[key] = svc
			}
		}, []string{"Service/api: and not dns 53/UDP"}},
	})
}
