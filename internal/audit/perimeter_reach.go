package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func reachChecks() []Check {
	return []Check{
		{
			ID: "GW-007", Title: "no list says who may use a gateway", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 7.2"},
			Remediation: "write an AuthorizationPolicy with action ALLOW for the gateway's pods that names the hosts, paths or addresses that may be asked for; or one that allows nothing, in the mesh's root namespace, and one for each gateway",
			Limits:      "A gateway is known by the arguments of its proxy (proxy router). Looked for is a list, not what it lets in: a rule with a host alone is one. What Gateways with AUTO_PASSTHROUGH pass on is refused, or not, by who is behind; a gateway with no others needs no list. A list that an external authorizer has (CUSTOM), or that a DENY policy makes by what it spares (notHosts, notIpBlocks), is not seen.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-ingress/", "https://istio.io/latest/docs/ops/best-practices/security/#use-default-deny-patterns"},
			cluster:     unlistedGateways,
		},
		{
			ID: "GW-008", Title: "others take part in what a gateway serves", Severity: v1alpha1.SeverityHigh, Aliases: []string{"KIA0301"},
			Remediation: "give each gateway labels of its own, and each Gateway's hosts the namespace before them, like ./pay.example.com; keep Gateways beside their gateway, and set PILOT_SCOPE_GATEWAY_TO_NAMESPACE on istiod",
			Limits:      "A gateway is known by the arguments of its proxy (proxy router). Of two Gateways that claim one host on one port the older counts as its owner. Medium where a Gateway elsewhere lets VirtualServices of every namespace lead its requests. Who may write Gateways is not looked at.",
			References:  []string{referenceGateway, "https://istio.io/latest/docs/ops/best-practices/security/#restrict-gateway-creation-privileges", "https://istio.io/latest/docs/reference/commands/pilot-discovery/"},
			cluster:     hijackedGateways,
		},
		{
			ID: "GW-009", Title: "a workload is reached from outside past the gateways", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 1.4.4"},
			Remediation: "make the service of type ClusterIP without externalIPs, take hostPort off, and lead the traffic through a gateway; or declare mutualTLS Strict, which refuses who has no identity in the mesh",
			Limits:      "Looked at are workloads of the mesh that are no gateways and no ingress controllers. Whether a firewall, a load balancer's settings or loadBalancerSourceRanges let nobody in is not looked at. Where mutual TLS is strict, callers from outside are refused and nothing is found; a policy that lists who may call is not looked at.",
			References:  []string{"https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types", "https://istio.io/latest/docs/ops/best-practices/security/"},
			examine:     ownDoors,
			cluster:     sideDoors,
		},
	}
}

// unlistedGateways looks for gateways that no ALLOW policy is for, or one that
// lets in everybody.
func unlistedGateways(s *ClusterScene) []Finding {
	var out []Finding
	said := map[string]bool{}
	for _, p := range s.Perimeter.Proxies {
		subject := proxySubject(p)
		if said[subject] || s.passesAlone(p) {
			continue
		}
		list, opener := false, ""
		for _, policy := range typed[*securityv1.AuthorizationPolicy](s.Perimeter.Policies) {
			if policy.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW || effective.DryRun(policy) || !s.isForGateway(policy, p) {
				continue
			}
			list = true
			if slices.ContainsFunc(policy.Spec.GetRules(), everybody) && opener == "" {
				opener = "AuthorizationPolicy/" + policy.Namespace + "/" + policy.Name
			}
		}
		switch {
		case opener != "":
			out = append(out, open(subject, "%s lets everybody ask it for everything", opener))
		case list:
			continue
		case !s.Mesh.ConfigRead:
			out = append(out, unknown(subject, "no AuthorizationPolicy beside it says who may use it, and the mesh configuration can't be read, which says where mesh-wide ones are"))
		default:
			out = append(out, open(subject, "no AuthorizationPolicy that is enforced lists who may use it, so that everybody who reaches it may ask for everything that is led on"))
		}
		said[subject] = true
	}
	return out
}

// everybody says whether a rule asks for nothing.
func everybody(r *securityapi.Rule) bool {
	return len(r.GetFrom())+len(r.GetTo())+len(r.GetWhen()) == 0
}

// passesAlone says whether all that a gateway does is to pass on what those
// behind it refuse or not.
func (s *ClusterScene) passesAlone(p facts.Proxy) bool {
	some := false
	for _, g := range s.gateways() {
		if !slices.Contains(s.of(g).workloads, proxySubject(p)) {
			continue
		}
		for _, server := range g.Spec.GetServers() {
			if !passesOn(server) {
				return false
			}
			some = true
		}
	}
	return some
}

// gatewayName is the label of pods of a Gateway of the Gateway API.
const gatewayName = "gateway.networking.k8s.io/gateway-name"

// isForGateway says whether a policy is for a gateway: by its selector, or by the
// Gateway of the Gateway API that it targets (istio/istio, policyattachment.go).
func (s *ClusterScene) isForGateway(o *securityv1.AuthorizationPolicy, p facts.Proxy) bool {
	targets := o.Spec.GetTargetRefs()
	if len(targets) == 0 && o.Spec.GetTargetRef() != nil {
		targets = append(targets, o.Spec.GetTargetRef())
	}
	if len(targets) == 0 {
		return (o.Namespace == p.Namespace || o.Namespace == s.Mesh.RootNamespace) && facts.Matches(o.Spec.GetSelector().GetMatchLabels(), p.Labels)
	}
	name, api := p.Labels[gatewayName]
	for _, t := range targets {
		if api && o.Namespace == p.Namespace && t.GetKind() == "Gateway" && t.GetGroup() == "gateway.networking.k8s.io" && t.GetName() == name {
			return true
		}
	}
	return false
}

// hijackedGateways looks for pods and Gateways of others that take part in what
// a Gateway serves.
func hijackedGateways(s *ClusterScene) []Finding {
	held := s.heldTo()
	if held == facts.Yes {
		return nil
	}
	var out []Finding
	claims := s.claims()
	for _, g := range s.gatewaysInForce() {
		what, grade := s.intruders(g), v1alpha1.Severity("")
		what = append(what, s.contested(g, claims)...)
		if len(what) == 0 {
			grade = v1alpha1.SeverityMedium
		}
		what = append(what, s.bindable(g)...)
		if len(what) == 0 {
			continue
		}
		f := open(gatewaySubject(g), "%s", strings.Join(what, "; "))
		if held == facts.Unknown {
			f = unknown(gatewaySubject(g), "%s, unless istiod holds Gateways to their own namespace, which can't be told", strings.Join(what, "; "))
		}
		f.Severity = grade
		out = append(out, f)
	}
	return out
}

// intruders are gateways beside the one that a Gateway is for.
func (s *ClusterScene) intruders(g *networkingv1.Gateway) []string {
	namespaces := s.of(g).namespaces
	if len(namespaces) < 2 {
		return nil
	}
	var names []string
	for _, p := range s.of(g).all {
		if name := proxySubject(p); p.Namespace != g.Namespace && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if slices.Contains(namespaces, g.Namespace) {
		return []string{fmt.Sprintf("its hosts are served by gateways of other namespaces as well, whose pods wear the labels of its selector: %s", mesh.Some(names))}
	}
	return []string{fmt.Sprintf("its hosts are served by gateways of several namespaces, whose pods all wear the labels of its selector: %s", mesh.Some(names))}
}

// claims are the Gateways of each host and port, the oldest first.
func (s *ClusterScene) claims() map[claim][]*networkingv1.Gateway {
	out := map[claim][]*networkingv1.Gateway{}
	oldest := slices.SortedFunc(slices.Values(s.gatewaysInForce()), func(a, b *networkingv1.Gateway) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, g := range oldest {
		for _, server := range g.Spec.GetServers() {
			for _, h := range server.GetHosts() {
				if _, name := bareHost(g, h); name != "*" && !passesOn(server) {
					at := claim{server.GetPort().GetNumber(), name}
					out[at] = append(out[at], g)
				}
			}
		}
	}
	return out
}

// contested are hosts that an older Gateway of another namespace serves on the
// same port of the same gateway.
func (s *ClusterScene) contested(g *networkingv1.Gateway, claims map[claim][]*networkingv1.Gateway) []string {
	var out []string
	for _, server := range g.Spec.GetServers() {
		for _, h := range server.GetHosts() {
			_, name := bareHost(g, h)
			for _, other := range claims[claim{server.GetPort().GetNumber(), name}] {
				if other == g {
					break
				}
				if other.Namespace != g.Namespace && s.share(g, other) {
					out = append(out, fmt.Sprintf("it claims %s on %s, which %s serves already", name, portOf(server), gatewaySubject(other)))
					break
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// bindable are hosts of a Gateway away from its gateway, for which VirtualServices
// of every namespace may lead the requests.
func (s *ClusterScene) bindable(g *networkingv1.Gateway) []string {
	namespaces := s.of(g).namespaces
	if len(namespaces) == 0 || slices.Contains(namespaces, g.Namespace) {
		return nil
	}
	var hosts []string
	for _, server := range g.Spec.GetServers() {
		for _, h := range server.GetHosts() {
			if ns, _ := bareHost(g, h); ns == "*" && !passesOn(server) && !server.GetTls().GetHttpsRedirect() {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("at gateways of namespace %s, VirtualServices of every namespace may lead requests for %s", listed(namespaces), mesh.Some(hosts))}
}

// sideDoors looks for workloads that callers from outside, who have no identity
// in the mesh, reach past a gateway.
func sideDoors(s *ClusterScene) []Finding {
	var out []Finding
	for _, d := range s.Perimeter.Doors {
		out = append(out, passedBy(d, d.In(""), s.modelOf(d.Namespace))...)
	}
	return out
}

// ownDoors is the same for a namespace alone.
func ownDoors(s *Scene) []Finding {
	doors := facts.HostDoors(s.Facts.Namespace.Name, s.Facts.Pods)
	for _, svc := range services(s.Facts) {
		if d, ok := facts.ServiceDoor(svc, s.Facts.Pods); ok && svc.Namespace == s.Facts.Namespace.Name {
			doors = append(doors, d)
		}
	}
	var out []Finding
	for _, d := range doors {
		out = append(out, passedBy(d, d.In(s.Facts.Namespace.Name), s.Model())...)
	}
	return out
}

// passedBy says to which ports of workloads a door leads callers whom mutual TLS
// does not refuse.
func passedBy(d facts.Door, subject string, m *effective.Model) []Finding {
	var reached, unsure []string
	for _, t := range d.Targets {
		at := fmt.Sprintf("port %d of %s", t.Port, t.Workload)
		mode, _ := m.MutualTLS(t.Labels, t.Port)
		switch {
		case !t.Captured:
			reached = append(reached, at+" (which its proxy does not see)")
		case mode == securityapi.PeerAuthentication_MutualTLS_UNSET.String():
			unsure = append(unsure, at)
		case mode != securityapi.PeerAuthentication_MutualTLS_STRICT.String():
			reached = append(reached, at)
		}
	}
	how := strings.Join(d.Ways, " and ")
	switch {
	case len(reached) > 0:
		return []Finding{open(subject, "%s, it lets callers from outside the cluster past the gateways to %s, where no mutual TLS refuses them", how, listed(reached))}
	case len(unsure) > 0:
		return []Finding{unknown(subject, "%s, it lets callers from outside the cluster past the gateways to %s, and the mesh configuration can't be read, which says where it is that mutual TLS is asked for", how, listed(unsure))}
	}
	return nil
}

// modelOf is what mutual TLS is asked for in a namespace.
func (s *ClusterScene) modelOf(namespace string) *effective.Model {
	w := effective.World{Namespace: namespace, Mesh: s.Mesh, Partial: !s.Mesh.ConfigRead}
	for _, o := range s.Perimeter.PeerAuthentications {
		if ns := o.GetNamespace(); ns == namespace || ns == s.Mesh.RootNamespace {
			w.Objects = append(w.Objects, o)
		}
	}
	return effective.New(w)
}
