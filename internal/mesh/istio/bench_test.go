package istio

import (
	"fmt"
	"maps"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// BenchmarkCompile compiles a namespace with 200 pods, 40 services and as many
// rules as a profile may have.
func BenchmarkCompile(b *testing.B) {
	f := facts.Facts{
		Namespace: facts.Namespace{Name: ownNamespace},
		Mesh:      facts.Mesh{Observed: true, ConfigRead: true, Version: "1.31.1", RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local"},
		Network:   facts.Network{PolicyEnforced: facts.Yes, ClusterCIDRs: []string{"10.0.0.0/8"}},
		Services:  map[types.NamespacedName]facts.Service{},
	}
	p := posture.Posture{
		Namespace: ownNamespace, Mode: v1alpha1.ModeEnforce,
		MutualTLS:     &posture.MutualTLS{Mode: v1alpha1.MutualTLSStrict},
		Authorization: &posture.Authorization{Default: v1alpha1.DefaultDeny},
		Egress:        &posture.Egress{Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork},
	}
	for i := range 40 {
		selector := map[string]string{"app": fmt.Sprintf("app-%02d", i)}
		name := types.NamespacedName{Namespace: ownNamespace, Name: selector["app"]}
		f.Services[name] = facts.Service{Namespace: name.Namespace, Name: name.Name, Selector: selector,
			Ports: []facts.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromInt32(8080)}}}
		for j := range 5 {
			f.Pods = append(f.Pods, facts.Pod{Name: fmt.Sprintf("%s-%d", name.Name, j), Labels: maps.Clone(selector), Sidecar: true,
				Ports: []facts.ContainerPort{{Name: "web", Number: 8080}}})
		}
	}
	for i := range 64 {
		selector := map[string]string{"app": fmt.Sprintf("app-%02d", i%40)}
		p.Authorization.Rules = append(p.Authorization.Rules, posture.Rule{
			Name: fmt.Sprintf("rule-%02d", i), Action: v1alpha1.RuleAllow, Selector: selector,
			From: posture.Callers{ServiceAccounts: []types.NamespacedName{{Namespace: "shop", Name: "checkout"}}},
			To:   []v1alpha1.Operation{{Ports: []int32{8080}, Paths: []v1alpha1.HTTPPath{"/charges/*"}}},
		})
		p.Egress.Rules = append(p.Egress.Rules, posture.EgressRule{
			Name: fmt.Sprintf("out-%02d", i), Selector: selector, Via: v1alpha1.ViaDirect,
			To: []v1alpha1.EgressTarget{{Hosts: []v1alpha1.ExternalHost{v1alpha1.ExternalHost(fmt.Sprintf("h%d.example.com", i))}, Ports: []v1alpha1.EgressPort{{Port: 443, Protocol: v1alpha1.ProtocolTLS}}}},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		Sidecar{}.Compile(p, f)
	}
}
