package audit

import (
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// istiodPolicy lets everybody reach the ports of istiod that have TLS, and
// Prometheus its metrics.
func istiodPolicy() *netv1.NetworkPolicy {
	ports := func(numbers ...int) (out []netv1.NetworkPolicyPort) {
		for _, n := range numbers {
			p := intstr.FromInt(n)
			out = append(out, netv1.NetworkPolicyPort{Port: &p})
		}
		return out
	}
	return &netv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"}, Spec: netv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "istiod"}},
		Ingress: []netv1.NetworkPolicyIngressRule{
			{Ports: ports(15012, 15017)},
			{Ports: ports(15014), From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "prometheus"}}}}},
		},
	}}
}

func (s *ClusterScene) policy() *netv1.NetworkPolicySpec {
	p, _ := s.Control.Policies[0].(*netv1.NetworkPolicy)
	return &p.Spec
}

func (s *ClusterScene) setting(name, value string) { s.ControlPlanes[0].Settings[name] = value }

var controlPlaneCases = []examinedCluster{
	{"CTL-006", "proxies are not authenticated", func(s *ClusterScene) { s.ControlPlanes[0].Settings["XDS_AUTH"] = "false" },
		[]string{"Deployment/istio-system/istiod: XDS_AUTH=false"}},
	{"CTL-006", "as it is by default", func(s *ClusterScene) { s.ControlPlanes[0].Settings["XDS_AUTH"] = "1" }, nil},
	{"CTL-006", "from elsewhere", func(s *ClusterScene) { s.ControlPlanes[0].SettingsElsewhere = []string{"XDS_AUTH"} },
		[]string{"Deployment/istio-system/istiod: XDS_AUTH is taken from another object"}},
	{"CTL-006", "not read", func(s *ClusterScene) { s.ControlPlaneRead, s.ControlPlanes = false, nil },
		[]string{"Namespace/istio-system: can't be read"}},
	{"CTL-006", "debug pages that ask nobody", func(s *ClusterScene) { s.ControlPlanes[0].Version = "1.29.0" },
		[]string{"Deployment/istio-system/istiod: version 1.29.0 does not ask of which namespace a caller is, and ENABLE_DEBUG_ON_HTTP is not false"}},
	{"CTL-006", "debug pages that are off", func(s *ClusterScene) {
		s.ControlPlanes[0].Version = "1.26.2"
		s.setting("ENABLE_DEBUG_ON_HTTP", "false")
	}, nil},
	{"CTL-006", "debug pages of a fixed version", func(s *ClusterScene) { s.ControlPlanes[0].Version = "1.28.5" }, nil},
	{"CTL-006", "debug pages that somebody else decides on", func(s *ClusterScene) {
		s.ControlPlanes[0].Version, s.ControlPlanes[0].SettingsElsewhere = "1.28.4", []string{"ENABLE_DEBUG_ON_HTTP"}
	}, []string{"Deployment/istio-system/istiod: ENABLE_DEBUG_ON_HTTP is taken from another object"}},
	{"CTL-006", "debug pages of nobody knows what", func(s *ClusterScene) { s.ControlPlanes[0].Version = "latest" },
		[]string{`Deployment/istio-system/istiod: unknown: whether its debug pages ask of which namespace a caller is depends on its version, and "latest"`}},

	{"CTL-007", "no policy", func(s *ClusterScene) { s.Control.Policies = nil },
		[]string{"Deployment/istio-system/istiod: every pod reaches 8080 (debug pages), 15010 (the configuration of proxies, in plaintext), 15014 (metrics and debug pages): no NetworkPolicy"}},
	{"CTL-007", "a policy for others", func(s *ClusterScene) { s.policy().PodSelector.MatchLabels["app"] = "gateway" },
		[]string{"Deployment/istio-system/istiod: 8080"}},
	{"CTL-007", "a policy about what leaves", func(s *ClusterScene) {
		s.policy().PolicyTypes = []netv1.PolicyType{netv1.PolicyTypeEgress}
	}, []string{"Deployment/istio-system/istiod: 8080"}},
	{"CTL-007", "a policy that lets every namespace in", func(s *ClusterScene) {
		s.policy().Ingress[1].From = []netv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
	}, []string{"Deployment/istio-system/istiod: every pod reaches 15014"}},
	{"CTL-007", "a policy that lets every address in", func(s *ClusterScene) {
		s.policy().Ingress[1].From = []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "0.0.0.0/0"}}}
	}, []string{"Deployment/istio-system/istiod: every pod reaches 15014"}},
	{"CTL-007", "a range of ports", func(s *ClusterScene) {
		end := int32(15012)
		s.policy().Ingress[0].Ports[0].Port.IntVal, s.policy().Ingress[0].Ports[0].EndPort = 15000, &end
	}, []string{"Deployment/istio-system/istiod: every pod reaches 15010"}},
	{"CTL-007", "a port by name", func(s *ClusterScene) {
		name := intstr.FromString("grpc-xds")
		s.policy().Ingress[0].Ports[0].Port = &name
		s.ControlPlanes[0].Ports = []facts.ContainerPort{{Name: "grpc-xds", Number: 15010}}
	}, []string{"Deployment/istio-system/istiod: every pod reaches 15010"}},
	{"CTL-007", "another protocol", func(s *ClusterScene) {
		udp := corev1.ProtocolUDP
		s.policy().Ingress = append(s.policy().Ingress, netv1.NetworkPolicyIngressRule{Ports: []netv1.NetworkPolicyPort{{Protocol: &udp}}})
	}, nil},
	{"CTL-007", "ports that are off, the pod's own, or elsewhere", func(s *ClusterScene) {
		s.Control.Policies = nil
		s.ControlPlanes[0].Addresses = map[string]string{"--grpcAddr": "", "--httpAddr": "127.0.0.1:8080", "--monitoringAddr": ":9093"}
	}, []string{"Deployment/istio-system/istiod: every pod reaches 9093 (metrics and debug pages):"}},
	{"CTL-007", "a network that enforces nothing", func(s *ClusterScene) { s.Control.PolicyEnforced = facts.No },
		[]string{"Deployment/istio-system/istiod: does not enforce the NetworkPolicies"}},
	{"CTL-007", "a network of which nobody knows", func(s *ClusterScene) { s.Control.PolicyEnforced = facts.Unknown },
		[]string{"Deployment/istio-system/istiod: nothing tells whether the cluster's network enforces them"}},
	{"CTL-007", "neither a policy nor a network of which one knows", func(s *ClusterScene) { s.Control.PolicyEnforced, s.Control.Policies = facts.Unknown, nil },
		[]string{"Deployment/istio-system/istiod: whether the cluster's network enforces any is not known"}},
	{"CTL-007", "not read", func(s *ClusterScene) { s.ControlPlaneRead, s.ControlPlanes = false, nil },
		[]string{"Namespace/istio-system: can't be read"}},

	{"CTL-010", "unsafe credentials are taken", func(s *ClusterScene) { s.setting("PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS", "exec,tokenFile") },
		[]string{"Deployment/istio-system/istiod: PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS=exec,tokenFile"}},
	{"CTL-010", "somebody else decides", func(s *ClusterScene) {
		s.ControlPlanes[0].SettingsElsewhere = []string{"PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS"}
	}, []string{"Deployment/istio-system/istiod: is taken from another object"}},
	{"CTL-010", "one of several clusters", func(s *ClusterScene) { s.setting("CLUSTER_ID", "east") },
		[]string{"Deployment/istio-system/istiod: unknown: its cluster has a name"}},
	{"CTL-010", "one alone", func(s *ClusterScene) { s.setting("CLUSTER_ID", "Kubernetes") }, nil},
}
