package istio

import (
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/network"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// egress writes one Sidecar for the namespace and one for every set of
// workloads with rules of their own, the ServiceEntries that they import, and
// the NetworkPolicies beside them. It returns the assurance achieved.
func egress(p posture.Posture, f facts.Facts) ([]mesh.Object, []outcome, v1alpha1.EgressAssurance) {
	e := p.Egress
	switch {
	case e == nil:
		return nil, nil, ""
	case e.Default == v1alpha1.DefaultAllow:
		return nil, unrestricted(e.Rules), ""
	}
	outcomes, kept, reg := admit(e, f)
	entries := reg.entries(p, f)
	groups := kept.Groups()
	hosts := proxyNeeds(p, f)
	var objects []mesh.Object
	byRule := map[string]*outcome{}
	for i := range outcomes {
		byRule[outcomes[i].name] = &outcomes[i]
	}
	shared, own := throughGateway(p, f, reg.tunnels(p.Namespace))
	objects = append(objects, shared...)
	for i, g := range groups {
		names := hosts
		for _, r := range g.Rules {
			names = slices.Concat(names, imports(r, p.Namespace, f.Mesh.ClusterDomain))
		}
		if i == 0 {
			hosts = names
		}
		sc := sidecar(p, g, unique(slices.Clone(names)))
		objects = append(objects, sc)
		for _, r := range g.Rules {
			byRule[r.Name].writes = append(byRule[r.Name].writes, written(sc))
		}
	}
	for _, r := range slices.Concat(rulesOf(groups)...) {
		out := byRule[r.Name]
		for _, se := range entries[r.Name] {
			objects = append(objects, se)
			out.writes = append(out.writes, written(se))
		}
		out.enforcers = enforced(v1alpha1.EnforcerSidecar)
		if e.Through(r) {
			for _, o := range slices.Concat(shared, own[r.Name]) {
				out.writes = append(out.writes, written(o))
			}
			objects = append(objects, own[r.Name]...)
			out.enforcers = append(out.enforcers, v1alpha1.EnforcerEgressGateway)
			assessGateway(p, f, &out.Assessment)
		}
		assessDestinations(r, p, f, &out.Assessment)
		evidence(&out.Assessment, f, r.Selector, v1alpha1.AreaEgress)
	}
	assessSharing(groups, reg, heldByNetwork(p, f), byRule)
	assessCapture(groups, byRule)
	companion, assurance := companions(p, f, groups, byRule)
	return append(objects, companion...), outcomes, assurance
}

func rulesOf(groups []mesh.Group) [][]posture.EgressRule {
	var out [][]posture.EgressRule
	for _, g := range groups {
		out = append(out, g.Rules)
	}
	return out
}

// unrestricted is what becomes of rules where nothing is restricted.
func unrestricted(rules []posture.EgressRule) []outcome {
	var out []outcome
	for _, r := range rules {
		o := outcome{name: r.Name, area: v1alpha1.AreaEgress, dryRun: "nothing is restricted"}
		o.Say(v1alpha1.VerdictEnforced, "defaultAction Allow restricts nothing, so that nothing is written")
		out = append(out, o)
	}
	return out
}

// admit decides which rules are written, in the order of their declaration.
func admit(e *posture.Egress, f facts.Facts) (outcomes []outcome, kept *mesh.Grouping, reg *registry) {
	kept, reg = &mesh.Grouping{}, &registry{hosts: map[string]*destination{}}
	for _, r := range e.Rules {
		out := outcome{name: r.Name, area: v1alpha1.AreaEgress, dryRun: "its destinations are registered and nothing is restricted"}
		through := e.Through(r)
		unsupported := cannot(r, through, f)
		overlapping := kept.Overlaps(r)
		clash := reg.conflict(r, through)
		switch {
		case unsupported != "":
			out.Say(v1alpha1.VerdictUnsupported, "%s; nothing is written for this rule", unsupported)
		case through && e.Gateway == nil:
			out.Say(v1alpha1.VerdictNeedsPrerequisite, "it goes through an egress gateway, and there is none that can be used: see ResolvedRefs; nothing is written for this rule, and its destinations are not let out")
		case overlapping != "":
			out.Say(v1alpha1.VerdictConflict, "its workloads may overlap with those of rule %s, and the mesh applies one Sidecar to a workload; nothing is written for it: give both the same workloadSelector, or selectors with different values of one label", overlapping)
		case clash != "":
			out.Say(v1alpha1.VerdictConflict, "%s; nothing is written for this rule", clash)
		default:
			reg.add(r, through)
			kept.Add(r)
		}
		if slices.ContainsFunc(r.To, func(t v1alpha1.EgressTarget) bool { return len(t.Hosts) > 0 && namelessPorts(t) }) {
			out.dryRun = "nothing is restricted; a host by TCP is not registered, since its entry would take every connection to its port"
		}
		outcomes = append(outcomes, out)
	}
	return outcomes, kept, reg
}

func namelessPorts(t v1alpha1.EgressTarget) bool {
	return slices.ContainsFunc(t.Ports, func(p v1alpha1.EgressPort) bool {
		return p.Protocol == v1alpha1.ProtocolTCP || p.Protocol == v1alpha1.ProtocolMongo
	})
}

// cannot says what of a rule the mesh has no means for; empty where it has.
func cannot(r posture.EgressRule, through bool, f facts.Facts) string {
	for _, t := range r.To {
		switch {
		case through && len(t.CIDRs) > 0:
			return "its cidrs are to leave through an egress gateway, which knows destinations by their names; list hosts, or use via: Direct where assurance Gateway is not mandated"
		case through && slices.ContainsFunc(t.Hosts, func(h v1alpha1.ExternalHost) bool { return wildcard(string(h)) }):
			return "its hosts are to leave through an egress gateway, which has a route for each host and can't have one for a wildcard; list exact hosts"
		}
		for _, h := range t.Hosts {
			host := string(h)
			switch {
			case inCluster(host, f.Mesh.ClusterDomain):
				return "host " + host + " covers names of the cluster; use service or namespace for workloads of the mesh"
			case wildcard(host) && namelessPorts(t):
				return "host " + host + " can't be matched by TCP, which carries no name, and would open every address; list exact hosts, or use cidrs"
			}
		}
	}
	return ""
}

// inCluster says whether a host is, or a wildcard covers, a name of a service.
func inCluster(host, domain string) bool {
	if host == domain || strings.HasSuffix(host, "."+domain) || strings.HasSuffix(host, ".svc") {
		return true
	}
	suffix, ok := strings.CutPrefix(host, "*")
	return ok && strings.HasSuffix("."+domain, suffix)
}

// proxyNeeds are the hosts that every proxy imports: the namespace's own
// services, those of the mesh's root namespace, which extensions of the mesh
// may call through the proxy, and the mesh configuration's providers. Host
// patterns keep entries for other names, which somebody may put into these
// namespaces, out.
func proxyNeeds(p posture.Posture, f facts.Facts) []string {
	domain := f.Mesh.ClusterDomain
	return slices.Concat([]string{"./*." + p.Namespace + ".svc." + domain, services(f.Mesh.RootNamespace, domain)}, f.Mesh.ProviderHosts)
}

func services(namespace, domain string) string {
	return namespace + "/*." + namespace + ".svc." + domain
}

// imports are the hosts that a rule lets its workloads' proxies know.
func imports(r posture.EgressRule, own, domain string) []string {
	var out []string
	for _, t := range r.To {
		switch {
		case len(t.Hosts) > 0:
			for _, h := range t.Hosts {
				out = append(out, "./"+string(h))
			}
		case len(t.CIDRs) > 0:
			out = append(out, "./"+rangeOf(r.Name, t).host(own))
		case t.Service != nil:
			// The namespace's own services are imported anyway.
			if ns := string(t.Service.Namespace); ns != own {
				out = append(out, ns+"/"+string(t.Service.Name)+"."+ns+".svc."+domain)
			}
		case t.Namespace != "":
			if ns := string(t.Namespace); ns != own {
				out = append(out, services(ns, domain))
			}
		}
	}
	return out
}

func sidecar(p posture.Posture, g mesh.Group, hosts []string) *networkingv1.Sidecar {
	rule := ""
	if len(g.Selector) > 0 {
		rule = g.Rules[0].Name
	}
	sc := &networkingv1.Sidecar{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "Sidecar"},
		ObjectMeta: mesh.Meta(p, g.Name(), rule),
		Spec: networkingapi.Sidecar{
			Egress: []*networkingapi.IstioEgressListener{{Hosts: hosts}},
			// REGISTRY_ONLY is the zero value, and a Sidecar with an empty
			// outboundTrafficPolicy has it whatever the mesh's default is.
			OutboundTrafficPolicy: &networkingapi.OutboundTrafficPolicy{Mode: networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY},
		},
	}
	if len(g.Selector) > 0 {
		sc.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: g.Selector}
	}
	return sc
}

// assessDestinations says how exactly the mesh matches a rule's destinations.
func assessDestinations(r posture.EgressRule, p posture.Posture, f facts.Facts, a *mesh.Assessment) {
	for _, t := range r.To {
		for _, h := range t.Hosts {
			if wildcard(string(h)) && !atLeast(f.Mesh.Version, hasDynamicDNS) {
				a.Say(v1alpha1.VerdictLooser, "host %s opens every address on its ports to a process that claims such a name, since the proxies of this mesh version can't resolve wildcards; use exact hosts, or Istio 1.30 or newer", h)
			}
			if namelessPorts(t) {
				a.Say(v1alpha1.VerdictEnforced, "TCP carries no name: the entry for %s takes every connection to its port, wherever it goes, unless the proxies capture DNS; cidrs are exact", h)
			}
		}
		switch {
		case t.Namespace != "" && string(t.Namespace) != p.Namespace && !f.Namespaces[string(t.Namespace)]:
			a.Say(v1alpha1.VerdictPending, "namespace %s does not exist yet", t.Namespace)
		case t.Service != nil && !hasService(f, t.Service):
			a.Say(v1alpha1.VerdictPending, "service %s/%s does not exist yet", t.Service.Namespace, t.Service.Name)
		}
		if own(t, p.Namespace) {
			a.Say(v1alpha1.VerdictEnforced, "traffic within the namespace is not egress and is not restricted")
		}
	}
}

func hasService(f facts.Facts, s *v1alpha1.ServiceReference) bool {
	_, ok := f.Services[types.NamespacedName{Namespace: string(s.Namespace), Name: string(s.Name)}]
	return ok
}

// own says whether a target is in the namespace itself.
func own(t v1alpha1.EgressTarget, namespace string) bool {
	return string(t.Namespace) == namespace || (t.Service != nil && string(t.Service.Namespace) == namespace)
}

// assessSharing finds what workloads can reach by another rule's entry: an
// entry is one for the namespace, and importing its host, or a wildcard that
// covers it, imports every port of it. Where NetworkPolicy is enforced, only
// ports that the workloads' own rules open to the outside are reached.
func assessSharing(groups []mesh.Group, reg *registry, held bool, byRule map[string]*outcome) {
	for i, g := range groups {
		rules := g.Rules
		if i > 0 {
			rules = slices.Concat(groups[0].Rules, g.Rules)
		}
		for _, r := range g.Rules {
			for _, t := range r.To {
				for _, h := range t.Hosts {
					assessShared(string(h), rules, reg, held, &byRule[r.Name].Assessment)
				}
			}
		}
	}
}

func assessShared(imported string, rules []posture.EgressRule, reg *registry, held bool, a *mesh.Assessment) {
	for _, host := range reg.order {
		d := reg.hosts[host]
		if !covers(imported, host) {
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(d.ports)) {
			if !opens(rules, host, port) && (!held || opens(rules, "", port)) {
				a.Say(v1alpha1.VerdictLooser, "its workloads also reach port %d of %s, which another rule opens for others: the mesh's entry for a host is one for the namespace; use the same ports in both rules, or the same workloadSelector", port, host)
			}
		}
	}
}

// covers says whether a host is the pattern, or a name below it.
func covers(pattern, host string) bool {
	if pattern == host {
		return true
	}
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix)
}

// opens says whether some rule declares the port of the host, or of any host
// where none is given.
func opens(rules []posture.EgressRule, host string, port int32) bool {
	for _, r := range rules {
		for _, t := range r.To {
			if !slices.ContainsFunc(t.Ports, func(p v1alpha1.EgressPort) bool { return p.Port == port }) {
				continue
			}
			if slices.ContainsFunc(t.Hosts, func(h v1alpha1.ExternalHost) bool { return host == "" || covers(string(h), host) }) {
				return true
			}
		}
	}
	return false
}

// assessCapture finds hosts by TCP that share a port: a proxy without DNS
// capture sends every connection on it to one of them.
func assessCapture(groups []mesh.Group, byRule map[string]*outcome) {
	for i, g := range groups {
		taken := map[int32]string{}
		rules := g.Rules
		if i > 0 {
			rules = slices.Concat(groups[0].Rules, g.Rules)
		}
		for _, r := range rules {
			for _, t := range r.To {
				for _, port := range t.Ports {
					if port.Protocol != v1alpha1.ProtocolTCP && port.Protocol != v1alpha1.ProtocolMongo {
						continue
					}
					for _, h := range t.Hosts {
						first, ok := taken[port.Port]
						if !ok {
							taken[port.Port] = string(h)
						} else if first != string(h) {
							byRule[r.Name].Say(v1alpha1.VerdictNeedsPrerequisite, "%s and %s share TCP port %d, and without DNS capture (ISTIO_META_DNS_CAPTURE) the proxies send all of it to one of them; turn DNS capture on, or use cidrs", first, h, port.Port)
						}
					}
				}
			}
		}
	}
}

// heldByNetwork says whether NetworkPolicy holds what the proxy lets through.
func heldByNetwork(p posture.Posture, f facts.Facts) bool {
	return p.Egress.Assurance != v1alpha1.AssuranceProxy && f.Network.PolicyEnforced == facts.Yes
}

// companions adds the NetworkPolicies and says what they are worth; without
// them the proxy alone holds a rule.
func companions(p posture.Posture, f facts.Facts, groups []mesh.Group, byRule map[string]*outcome) ([]mesh.Object, v1alpha1.EgressAssurance) {
	kept := slices.Concat(rulesOf(groups)...)
	if p.Egress.Assurance == v1alpha1.AssuranceProxy {
		for _, r := range kept {
			out := byRule[r.Name]
			for _, t := range r.To {
				if (t.Namespace != "" || t.Service != nil) && len(t.Ports) > 0 && !own(t, p.Namespace) {
					out.Say(v1alpha1.VerdictLooser, "its workloads reach every port of %s: the proxy knows services and not their containers' ports; use assurance Network, or leave ports out", target(t))
				}
			}
			out.Say(v1alpha1.VerdictEnforced, "held by the mesh proxy alone, which UDP and a process that bypasses its proxy escape, and which lets services of %s through; assurance Network adds NetworkPolicy", f.Mesh.RootNamespace)
		}
		return nil, v1alpha1.AssuranceProxy
	}
	c := network.Compile(p, f, groups)
	for _, r := range kept {
		out := byRule[r.Name]
		c.Assess(r, &out.Assessment)
		out.writes = append(out.writes, c.Writes(r)...)
		if f.Network.PolicyEnforced == facts.Yes {
			out.enforcers = append(out.enforcers, v1alpha1.EnforcerNetworkPolicy)
		}
	}
	return c.Objects, c.Assurance
}

func target(t v1alpha1.EgressTarget) string {
	if t.Service != nil {
		return "service " + string(t.Service.Namespace) + "/" + string(t.Service.Name)
	}
	return "namespace " + string(t.Namespace)
}
