package network

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const (
	dnsPort = 53
	// istiodPort serves configuration and certificates by mutual TLS.
	istiodPort = 15012
)

// necessities are what every pod of a mesh has to reach: names, the control
// plane, what the proxies call by the mesh configuration, and its own namespace.
func necessities(p posture.Posture, f facts.Facts) []netv1.NetworkPolicyEgressRule {
	dns := peer(namespaceLabels(f.Network.DNS.Namespace), f.Network.DNS.PodLabels)
	out := []netv1.NetworkPolicyEgressRule{
		{To: []netv1.NetworkPolicyPeer{dns}, Ports: []netv1.NetworkPolicyPort{port(corev1.ProtocolTCP, dnsPort), port(corev1.ProtocolUDP, dnsPort)}},
		{
			To:    []netv1.NetworkPolicyPeer{peer(namespaceLabels(f.Mesh.RootNamespace), map[string]string{"app": "istiod"})},
			Ports: []netv1.NetworkPolicyPort{port(corev1.ProtocolTCP, istiodPort)},
		},
		{To: []netv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}},
	}
	return append(out, providers(p.Namespace, f)...)
}

// providers are the services that proxies call by the mesh configuration.
func providers(own string, f facts.Facts) []netv1.NetworkPolicyEgressRule {
	var out []netv1.NetworkPolicyEgressRule
	whole := map[string]bool{own: true}
	for _, host := range f.Mesh.ProviderHosts {
		_, fqdn, _ := strings.Cut(host, "/")
		rest, ok := strings.CutSuffix(fqdn, ".svc."+f.Mesh.ClusterDomain)
		name, ns, inCluster := strings.Cut(rest, ".")
		if !ok || !inCluster || whole[ns] {
			continue
		}
		if svc, ok := f.Services[types.NamespacedName{Namespace: ns, Name: name}]; ok && selectsPods(svc) {
			out = append(out, toService(svc, nil))
			continue
		}
		whole[ns] = true
		out = append(out, netv1.NetworkPolicyEgressRule{To: []netv1.NetworkPolicyPeer{peer(namespaceLabels(ns), nil)}})
	}
	return out
}

// allowances are what rules let through, one entry for every destination.
func allowances(rules []posture.EgressRule, p posture.Posture, f facts.Facts) []netv1.NetworkPolicyEgressRule {
	own := p.Namespace
	var out []netv1.NetworkPolicyEgressRule
	for _, r := range rules {
		for _, t := range r.To {
			switch {
			case len(t.Hosts) > 0 && p.Egress.Through(r):
				out = with(out, toGateway(p.Egress.Gateway))
			case len(t.Hosts) > 0:
				out = with(out, netv1.NetworkPolicyEgressRule{To: outside(f), Ports: tcp(t.Ports)})
			case len(t.CIDRs) > 0:
				rule := netv1.NetworkPolicyEgressRule{Ports: tcp(t.Ports)}
				for _, c := range t.CIDRs {
					rule.To = append(rule.To, netv1.NetworkPolicyPeer{IPBlock: &netv1.IPBlock{CIDR: string(c)}})
				}
				out = with(out, rule)
			case t.Service != nil && string(t.Service.Namespace) != own:
				if svc, ok := service(f, *t.Service); ok && selectsPods(svc) {
					out = with(out, toService(svc, t.Ports))
				}
			case t.Namespace != "" && string(t.Namespace) != own:
				out = with(out, netv1.NetworkPolicyEgressRule{To: []netv1.NetworkPolicyPeer{peer(namespaceLabels(string(t.Namespace)), nil)}, Ports: tcp(t.Ports)})
			}
		}
	}
	return out
}

// toGateway opens the egress gateway's pods, on the port of their tunnels alone.
func toGateway(g *posture.Gateway) netv1.NetworkPolicyEgressRule {
	protocol, target := corev1.ProtocolTCP, g.Target
	return netv1.NetworkPolicyEgressRule{
		To:    []netv1.NetworkPolicyPeer{peer(namespaceLabels(g.Namespace), g.Selector)},
		Ports: []netv1.NetworkPolicyPort{{Protocol: &protocol, Port: &target}},
	}
}

// with adds what is not there yet.
func with(rules []netv1.NetworkPolicyEgressRule, r netv1.NetworkPolicyEgressRule) []netv1.NetworkPolicyEgressRule {
	for _, have := range rules {
		if equality.Semantic.DeepEqual(have, r) {
			return rules
		}
	}
	return append(rules, r)
}

// outside is every address that does not count as inside the cluster.
func outside(f facts.Facts) []netv1.NetworkPolicyPeer {
	v4, v6 := inside(f.Network.ClusterCIDRs)
	return []netv1.NetworkPolicyPeer{
		{IPBlock: &netv1.IPBlock{CIDR: "0.0.0.0/0", Except: v4}},
		{IPBlock: &netv1.IPBlock{CIDR: "::/0", Except: v6}},
	}
}

func service(f facts.Facts, s v1alpha1.ServiceReference) (facts.Service, bool) {
	svc, ok := f.Services[types.NamespacedName{Namespace: string(s.Namespace), Name: string(s.Name)}]
	return svc, ok
}

// selectsPods says whether a NetworkPolicy can name what is behind a service.
func selectsPods(s facts.Service) bool { return len(s.Selector) > 0 && !s.External }

// toService opens a service's pods: the ports given, else those that the service targets.
func toService(s facts.Service, ports []v1alpha1.EgressPort) netv1.NetworkPolicyEgressRule {
	out := netv1.NetworkPolicyEgressRule{
		To:    []netv1.NetworkPolicyPeer{peer(namespaceLabels(s.Namespace), s.Selector)},
		Ports: tcp(ports),
	}
	if len(ports) > 0 {
		return out
	}
	targets := map[string]netv1.NetworkPolicyPort{}
	for _, p := range s.Ports {
		protocol, target := corev1.Protocol(p.Protocol), p.Target
		targets[p.Protocol+" "+target.String()] = netv1.NetworkPolicyPort{Protocol: &protocol, Port: &target}
	}
	for _, key := range slices.Sorted(maps.Keys(targets)) {
		out.Ports = append(out.Ports, targets[key])
	}
	return out
}

func peer(namespace, pods map[string]string) netv1.NetworkPolicyPeer {
	out := netv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: namespace}}
	if len(pods) > 0 {
		out.PodSelector = &metav1.LabelSelector{MatchLabels: pods}
	}
	return out
}

// namespaceLabels select a namespace by its name, by the label that the API
// server gives to every namespace and that nobody can change.
func namespaceLabels(name string) map[string]string {
	return map[string]string{corev1.LabelMetadataName: name}
}

func port(protocol corev1.Protocol, number int32) netv1.NetworkPolicyPort {
	n := intstr.FromInt32(number)
	return netv1.NetworkPolicyPort{Protocol: &protocol, Port: &n}
}

// tcp are the ports of a rule, sorted; none means every port.
func tcp(ports []v1alpha1.EgressPort) []netv1.NetworkPolicyPort {
	var numbers []int32
	for _, p := range ports {
		numbers = append(numbers, p.Port)
	}
	return tcpPorts(numbers)
}

func tcpPorts(numbers []int32) []netv1.NetworkPolicyPort {
	sorted := slices.Clone(numbers)
	slices.Sort(sorted)
	var out []netv1.NetworkPolicyPort
	for _, n := range slices.Compact(sorted) {
		out = append(out, port(corev1.ProtocolTCP, n))
	}
	return out
}
