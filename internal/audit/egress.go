package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func egressChecks() []Check {
	return []Check{
		{
			ID: "EGR-001", Title: "the proxy lets out what nobody registered", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 1.3.2"},
			Remediation: "declare egress with defaultAction Deny and a rule for each destination; or, for the whole mesh, set outboundTrafficPolicy.mode REGISTRY_ONLY in the mesh configuration",
			Limits:      "Where the profile declares defaultAction Allow nothing is looked for. Workloads that have no proxy are ENR-001's; what goes around the proxy is EGR-002's.",
			References:  []string{"https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/", "https://istio.io/latest/docs/reference/config/networking/sidecar/#OutboundTrafficPolicy"},
			workload:    openOutbound,
		},
		{
			ID: "EGR-002", Title: "no NetworkPolicy closes the way out", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 1.3.2", "NIST SP 800-204A SM-DR12"},
			Remediation: "declare egress with defaultAction Deny and assurance Network; start the operator with --network-policy-enforced=true where the cluster's network enforces NetworkPolicy",
			Limits:      "High where the profile declares that the network closes it, Medium where nothing is declared; where it declares defaultAction Allow or assurance Proxy nothing is looked for. Tried is an address outside the cluster, by IPv4. Policies of other APIs (Cilium, Calico, AdminNetworkPolicy) are not read, and NetworkPolicy does not hold for pods with hostNetwork.",
			References:  []string{"https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-deny-all-egress-traffic", "https://istio.io/latest/docs/ops/best-practices/security/#understand-traffic-capture-limitations"},
			workload:    openWayOut,
		},
		{
			ID: "EGR-003", Title: "a proxy knows every service of the mesh", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "declare egress with defaultAction Deny, which writes a Sidecar for the namespace; or write one that names the hosts which are needed, and take */* out of it",
			Limits:      "Where the profile declares defaultAction Allow nothing is looked for. A Sidecar narrows what a proxy knows; what its callees accept is theirs to say.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/sidecar/", "https://istio.io/latest/docs/ops/best-practices/security/"},
			workload:    unscoped,
		},
		{
			ID: "EGR-004", Title: "somebody else's ServiceEntry opens a way out", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 1.3.2", "NIST SP 800-204A SM-DR12"},
			Remediation: "remove the ServiceEntry, or add an egress rule for its hosts and ports; give it exportTo \".\", exact hosts and resolution DNS",
			Limits:      "Looked at are entries of the namespace, of the mesh's root namespace and those that others export to it, where a proxy here knows them and lets out nothing that is not registered: otherwise they open nothing. Entries with location MESH_INTERNAL, and hosts of the cluster, are not looked at. Of several entries for one host the oldest is named. Medium where only exportTo is too wide.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/service-entry/", "https://istio.io/latest/docs/ops/best-practices/security/"},
			examine:     foreignEntries,
		},
		{
			ID: "EGR-005", Title: "calls leave the cluster in plaintext", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 4.2.1", "NIST SP 800-53 SC-8"},
			Remediation: "have the proxy originate TLS: a DestinationRule for the host with tls mode SIMPLE on that port, and targetPort 443 in the ServiceEntry; or let the application speak TLS, and declare the port so",
			Limits:      "Looked at are ServiceEntries of others: what the profile's own egress rules declare as HTTP is as declared. On a port of another protocol, like TCP, the application may encrypt by itself, which nobody here sees: it is unknown. An egress gateway that originates TLS is not seen either.",
			References:  []string{"https://istio.io/latest/docs/tasks/traffic-management/egress/egress-tls-origination/"},
			examine:     plaintextOut,
		},
		{
			ID: "EGR-006", Title: "the proxy does not verify whom it calls by TLS", Severity: v1alpha1.SeverityHigh, Aliases: []string{"IST0128", "IST0129"},
			Compliance:  []string{"PCI DSS 4.0 4.2.1", "NIST SP 800-53 SC-8"},
			Remediation: "take insecureSkipVerify off and give caCertificates and subjectAltNames",
			Limits:      "Without caCertificates Istio verifies by the system's authorities from 1.21 on, unless istiod's environment turns that off, which is not read. What a credentialName holds is not read.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings", "https://istio.io/latest/docs/ops/best-practices/security/"},
			examine:     unverified,
		},
		{
			ID: "EGR-008", Title: "a service leads out of the cluster", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 1.3.2"},
			Remediation: "replace it by an egress rule for the host, and call that by its name",
			Limits:      "Endpoints are not read, so that a service without a selector is unknown rather than open. A host that an egress rule names is no finding, and where the profile declares defaultAction Allow nothing is looked for.",
			References:  []string{"https://kubernetes.io/docs/concepts/services-networking/service/#externalname", "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors"},
			examine:     hiddenExits,
		},
	}
}

func networkChecks() []Check {
	return []Check{
		{
			ID: "NET-001", Title: "no NetworkPolicy closes the way in", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 1.3.2"},
			Remediation: "declare authorization with defaultAction Deny, and egress with defaultAction Deny and assurance Network: NetworkPolicies are then written for both ways; or write one that selects every pod with policyTypes Ingress and no rules, and others for who may call",
			Limits:      "Where the profile declares authorization.defaultAction Allow nothing is looked for. Tried is an address outside the cluster, by IPv4. Policies of other APIs (Cilium, Calico, AdminNetworkPolicy) are not read, and NetworkPolicy does not hold for pods with hostNetwork.",
			References:  []string{"https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-deny-all-ingress-traffic"},
			workload:    openWayIn,
		},
	}
}

// outside is an address that is nobody's (RFC 5737), and so no rule's for
// somebody. Tried without a port, it passes by what is open as a whole.
const outside = "192.0.2.1"

// openByChoice says whether the owner declares that everything may leave.
func (s *Scene) openByChoice() bool {
	return s.Posture.Egress != nil && s.Posture.Egress.Default == v1alpha1.DefaultAllow
}

// proxied are the pods of a workload whose proxies carry their traffic, those
// alike to policies once.
func (s *Scene) proxied(w workload) []facts.Pod {
	return those(alike(w), func(p facts.Pod) bool { return p.Enrolled(s.Facts.Mesh.DataPlane) })
}

func alike(w workload) []facts.Pod {
	if len(w.pods) < 2 {
		return w.pods
	}
	seen := map[string]bool{}
	var out []facts.Pod
	for _, p := range w.pods {
		if key := facts.SelectorKey(p.Labels) + fmt.Sprint(p.Sidecar, p.Ambient); !seen[key] {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out
}

// passes asks the model about one layer of the way out.
func (s *Scene) passes(layer effective.Layer, x effective.Exit) effective.Answer {
	return s.Model().Pass(effective.Probe{Layer: layer, Exit: x})
}

// by names what decides, or the mesh's configuration.
func (s *Scene) by(a effective.Answer) string {
	if len(a.By) == 0 {
		return "the mesh configuration"
	}
	return s.name(a.By[0])
}

func (s *Scene) name(r effective.Ref) string {
	return facts.Source{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.In(s.Facts.Namespace.Name)
}

// unregistered says what becomes of a connection that no ServiceEntry is for.
func (s *Scene) unregistered(p facts.Pod) effective.Answer {
	return s.passes(effective.ProxyOut, effective.Exit{From: p.Labels, Address: outside})
}

// openOutbound looks for proxies that let out what is not registered.
func openOutbound(s *Scene, w workload) []Finding {
	if s.openByChoice() {
		return nil
	}
	for _, p := range s.proxied(w) {
		switch a := s.unregistered(p); {
		case a.Unknown:
			return []Finding{unknown(w.String(), "no Sidecar says what becomes of calls to what is not registered, and the mesh configuration can't be read")}
		case a.Passes:
			return []Finding{open(w.String(), "its proxy lets out connections to any host and address, registered or not, by outboundTrafficPolicy of %s", s.by(a))}
		}
	}
	return nil
}

// openWayOut looks for pods that the network lets out.
func openWayOut(s *Scene, w workload) []Finding {
	e := s.Posture.Egress
	if s.openByChoice() || (e != nil && e.Assurance == v1alpha1.AssuranceProxy) {
		return nil
	}
	out := s.openToNetwork(w, "every address outside the cluster is reached past the proxy", func(p facts.Pod) effective.Answer {
		return s.passes(effective.NetworkOut, effective.Exit{From: p.Labels, Address: outside})
	})
	if e == nil {
		for i := range out {
			out[i].Severity = v1alpha1.SeverityMedium
		}
	}
	return out
}

// openWayIn looks for pods that the network lets everybody call.
func openWayIn(s *Scene, w workload) []Finding {
	if a := s.Posture.Authorization; a != nil && a.Default == v1alpha1.DefaultAllow {
		return nil
	}
	return s.openToNetwork(w, "every address reaches all of its ports", func(p facts.Pod) effective.Answer {
		return s.Model().Pass(effective.Probe{Layer: effective.NetworkIn, Call: effective.Call{To: p.Labels, From: effective.Caller{Address: outside}}})
	})
}

// openToNetwork are workloads with a pod that no NetworkPolicy isolates, or that
// somebody else's opens as a whole.
func (s *Scene) openToNetwork(w workload, what string, ask func(facts.Pod) effective.Answer) []Finding {
	var out []Finding
	isolated := false
	for _, p := range alike(w) {
		a := ask(p)
		if a.Passes && len(a.By) == 0 {
			out = append(out, open(w.String(), "no NetworkPolicy selects it: %s", what))
			break
		}
		if a.Passes && !s.own(a.By[0]) {
			out = append(out, open(w.String(), "%s opens it as a whole: %s", s.by(a), what))
			break
		}
		isolated = true
	}
	if !isolated {
		return out
	}
	// So of the namespace, and the same whichever workload says it.
	namespace := "Namespace/" + s.Facts.Namespace.Name
	switch s.Facts.Network.PolicyEnforced {
	case facts.Yes:
	case facts.No:
		out = append(out, open(namespace, "this cluster's network does not enforce NetworkPolicy, by --network-policy-enforced: %s", what))
	default:
		f := unknown(namespace, "nothing tells whether this cluster's network enforces NetworkPolicy; where it does not, %s", what)
		f.Remediation = "start the operator with --network-policy-enforced=true where the cluster's network enforces NetworkPolicy, with false where it does not"
		out = append(out, f)
	}
	return out
}

// own says whether an object is the operator's.
func (s *Scene) own(r effective.Ref) bool {
	return slices.ContainsFunc(s.Ours, func(o facts.Object) bool { return effective.RefOf(o) == r })
}

// unscoped looks for proxies that are told of everything.
func unscoped(s *Scene, w workload) []Finding {
	if s.openByChoice() {
		return nil
	}
	for _, p := range s.proxied(w) {
		ref, ok := s.Model().Scope(p.Labels)
		switch {
		case !ok && !s.Facts.Mesh.ConfigRead:
			return []Finding{unknown(w.String(), "no Sidecar is for it here, and the mesh configuration can't be read, which says in what namespace one may be for all")}
		case !ok:
			return []Finding{open(w.String(), "no Sidecar is for it, so that its proxy knows every service and ServiceEntry that anybody exports")}
		case !s.own(ref) && s.takesEverything(ref):
			return []Finding{open(w.String(), "%s takes in */*, so that its proxy knows every service and ServiceEntry that anybody exports", s.name(ref))}
		}
	}
	return nil
}

// takesEverything says whether a Sidecar takes in every host of every namespace.
func (s *Scene) takesEverything(ref effective.Ref) bool {
	return slices.ContainsFunc(s.Others, func(o facts.Object) bool {
		sidecar, is := o.(*networkingv1.Sidecar)
		return is && effective.RefOf(o) == ref && everything(sidecar)
	})
}

// everything says whether a Sidecar takes in every host of every namespace.
func everything(o *networkingv1.Sidecar) bool {
	if len(o.Spec.GetEgress()) == 0 {
		return true
	}
	return slices.ContainsFunc(o.Spec.GetEgress(), func(l *networkingapi.IstioEgressListener) bool { return slices.Contains(l.GetHosts(), "*/*") })
}

// foreignEntries looks for ServiceEntries that let out more than is declared.
func foreignEntries(s *Scene) []Finding {
	if s.openByChoice() {
		return nil
	}
	var out []Finding
	_, others := of[*networkingv1.ServiceEntry](s)
	for _, e := range others {
		if internal(e) {
			continue
		}
		what := s.opened(e)
		grade := v1alpha1.Severity("")
		if e.Namespace == s.Facts.Namespace.Name && widelyExported(e) {
			if len(what) == 0 {
				grade = v1alpha1.SeverityMedium
			}
			what = append(what, "it is exported to other namespaces, whose workloads it lets out as well")
		}
		if len(what) > 0 {
			f := open(s.subject(e), "%s", strings.Join(what, "; "))
			f.Severity = grade
			out = append(out, f)
		}
	}
	return out
}

func internal(e *networkingv1.ServiceEntry) bool {
	return e.Spec.GetLocation() == networkingapi.ServiceEntry_MESH_INTERNAL
}

func widelyExported(e *networkingv1.ServiceEntry) bool {
	to := e.Spec.GetExportTo()
	return len(to) == 0 || slices.ContainsFunc(to, func(t string) bool { return t != "." && t != "~" && t != e.Namespace })
}

// opened says in words what a ServiceEntry of somebody else lets out of the
// namespace that neither the profile nor the mesh's own settings would.
func (s *Scene) opened(e *networkingv1.ServiceEntry) []string {
	ref := effective.RefOf(e)
	var foreign, wild, anywhere []string
	for _, w := range s.workloads() {
		for _, p := range s.proxied(w) {
			if a := s.unregistered(p); a.Passes && !slices.Contains(a.By, ref) {
				continue // Everything gets out: this opens nothing.
			}
			for _, port := range portsOf(e) {
				for _, host := range e.Spec.GetHosts() {
					x := effective.Exit{From: p.Labels, Host: host, Port: port}
					if s.clusterHost(host) || s.provider(e.Namespace, host) || s.declared(p, host, port) || !slices.Contains(s.passes(effective.ProxyOut, x).By, ref) {
						continue
					}
					switch {
					case strings.HasPrefix(host, "*"):
						wild = append(wild, host+" on "+at(port))
					case s.Posture.Egress != nil:
						foreign = append(foreign, host+" on "+at(port))
					}
				}
				x := effective.Exit{From: p.Labels, Address: outside, Port: port}
				if a := s.passes(effective.ProxyOut, x); a.Passes && slices.Contains(a.By, ref) {
					anywhere = append(anywhere, at(port))
				}
			}
		}
	}
	var out []string
	say := func(format string, list []string) {
		if len(list) > 0 {
			slices.Sort(list)
			out = append(out, fmt.Sprintf(format, mesh.Some(slices.Compact(list))))
		}
	}
	say("it lets workloads out to %s, which no egress rule names", foreign)
	say("it lets workloads out to every host of %s", wild)
	say("with resolution NONE it lets workloads out to any address on %s", anywhere)
	return out
}

func at(port int32) string {
	if port == 0 {
		return "every port"
	}
	return fmt.Sprintf("port %d", port)
}

// portsOf are an entry's ports, or 0.
func portsOf(e *networkingv1.ServiceEntry) []int32 {
	var out []int32
	for _, p := range e.Spec.GetPorts() {
		out = append(out, number(p))
	}
	if len(out) == 0 {
		out = append(out, 0)
	}
	return out
}

func number(p *networkingapi.ServicePort) int32 { return int32(p.GetNumber()) } //nolint:gosec // the API allows 1 to 65535

func (s *Scene) domain() string { return cmp.Or(s.Facts.Mesh.ClusterDomain, "cluster.local") }

// clusterHost says whether a host is a name in the cluster's domain.
func (s *Scene) clusterHost(host string) bool { return strings.HasSuffix(host, ".svc."+s.domain()) }

// provider says whether the mesh configuration has proxies call a host.
func (s *Scene) provider(namespace, host string) bool {
	return slices.Contains(s.Facts.Mesh.ProviderHosts, namespace+"/"+host)
}

// declared says whether an egress rule lets a pod out to a host and port; 0 is
// for any port.
func (s *Scene) declared(p facts.Pod, host string, port int32) bool {
	if s.Posture.Egress == nil {
		return false
	}
	for _, r := range s.Posture.Egress.Rules {
		if !facts.Matches(r.Selector, p.Labels) {
			continue
		}
		for _, to := range r.To {
			named := slices.ContainsFunc(to.Hosts, func(h v1alpha1.ExternalHost) bool { return effective.Covers(string(h), host) })
			if named && (port == 0 || slices.ContainsFunc(to.Ports, func(d v1alpha1.EgressPort) bool { return d.Port == port })) {
				return true
			}
		}
	}
	return false
}

// declaredByAny is declared for some workload of the namespace, on any port.
func (s *Scene) declaredByAny(host string) bool {
	return slices.ContainsFunc(s.Facts.Pods, func(p facts.Pod) bool { return s.declared(p, host, 0) })
}

// Protocols of ServiceEntries: the proxy reads the ones as plaintext, and takes
// the others for TLS. With any other, it passes on bytes.
var (
	inTheClear = []string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB"}
	encrypted  = []string{"HTTPS", "TLS"}
)

// plaintextOut looks for external hosts that are called without TLS.
func plaintextOut(s *Scene) []Finding {
	var out []Finding
	_, others := of[*networkingv1.ServiceEntry](s)
	for _, e := range others {
		if internal(e) {
			continue
		}
		var plaintext, unclear []string
		for _, p := range e.Spec.GetPorts() {
			protocol := strings.ToUpper(p.GetProtocol())
			plain := slices.Contains(inTheClear, protocol)
			if slices.Contains(encrypted, protocol) {
				continue
			}
			for _, host := range e.Spec.GetHosts() {
				reached, originated := s.called(e, host, number(p))
				switch {
				case !reached || s.clusterHost(host):
				case originated == facts.Unknown || (originated == facts.No && !plain):
					unclear = append(unclear, fmt.Sprintf("%s on port %d", host, number(p)))
				case originated == facts.No:
					plaintext = append(plaintext, fmt.Sprintf("%s on port %d", host, number(p)))
				}
			}
		}
		switch {
		case len(plaintext) > 0:
			out = append(out, open(s.subject(e), "calls to %s leave in plaintext, for everybody on the way to read and change: no DestinationRule has the proxy originate TLS", mesh.Some(plaintext)))
		case len(unclear) > 0:
			out = append(out, unknown(s.subject(e), "calls to %s leave as the application, or a subset's route, has it: nothing here shows that they are encrypted", mesh.Some(unclear)))
		}
	}
	return out
}

// called says whether a proxy here lets a call out by an entry, and whether it
// originates TLS: unknown where a route to a subset decides.
func (s *Scene) called(e *networkingv1.ServiceEntry, host string, port int32) (reached bool, originated facts.Tristate) {
	originated = facts.Yes
	for _, w := range s.workloads() {
		for _, p := range s.proxied(w) {
			x := effective.Exit{From: p.Labels, Host: host, Port: port}
			if !slices.Contains(s.passes(effective.ProxyOut, x).By, effective.RefOf(e)) {
				continue
			}
			reached = true
			tls, subsets := s.Model().ClientTLS(x, e.Namespace)
			switch {
			case tls != nil && tls.GetMode() != networkingapi.ClientTLSSettings_DISABLE:
			case subsets && originated == facts.Yes:
				originated = facts.Unknown
			case !subsets:
				originated = facts.No
			}
		}
	}
	return reached, originated
}

// verifies is the first version of Istio that verifies by the system's
// authorities where a DestinationRule gives none: istioctl's precheck for
// VERIFY_CERTIFICATE_AT_CLIENT is for 1.20 and older.
const verifies = "1.21.0"

// unverified looks for DestinationRules by which whoever answers is believed.
func unverified(s *Scene) []Finding {
	var out []Finding
	_, others := of[*networkingv1.DestinationRule](s)
	if len(others) == 0 {
		return nil
	}
	first, _ := bulletins.Parse(verifies)
	version, err := bulletins.Parse(s.Facts.Mesh.Version)
	for _, d := range others {
		if !s.concerns(d) {
			continue
		}
		var skipped, bare bool
		for _, t := range settingsOf(d) {
			if m := t.GetMode(); m != networkingapi.ClientTLSSettings_SIMPLE && m != networkingapi.ClientTLSSettings_MUTUAL {
				continue
			}
			skipped = skipped || t.GetInsecureSkipVerify().GetValue()
			bare = bare || (t.GetCaCertificates() == "" && t.GetCredentialName() == "")
		}
		switch {
		case skipped:
			out = append(out, open(s.subject(d), "insecureSkipVerify has proxies believe whoever answers for %s, with any certificate", d.Spec.GetHost()))
		case bare && err != nil:
			out = append(out, unknown(s.subject(d), "it gives no caCertificates for %s; Istio before 1.21 then verifies nothing, and which one runs can't be told", d.Spec.GetHost()))
		case bare && version.LessThan(first):
			out = append(out, open(s.subject(d), "it gives no caCertificates for %s, and Istio %s then believes whoever answers, with any certificate", d.Spec.GetHost(), s.Facts.Mesh.Version))
		}
	}
	return out
}

// concerns says whether a DestinationRule may be what a proxy of the namespace
// goes by: its own, the root namespace's, or that of the host's namespace.
func (s *Scene) concerns(d *networkingv1.DestinationRule) bool {
	if d.Namespace == s.Facts.Namespace.Name || d.Namespace == s.Facts.Mesh.RootNamespace {
		return true
	}
	host := d.Spec.GetHost()
	if !strings.Contains(host, ".") || strings.HasSuffix(host, "."+d.Namespace+".svc."+s.domain()) {
		return true
	}
	_, entries := of[*networkingv1.ServiceEntry](s)
	return slices.ContainsFunc(entries, func(e *networkingv1.ServiceEntry) bool {
		return e.Namespace == d.Namespace && slices.ContainsFunc(e.Spec.GetHosts(), func(h string) bool { return effective.Covers(host, h) })
	})
}

// settingsOf are all TLS settings of a DestinationRule.
func settingsOf(d *networkingv1.DestinationRule) []*networkingapi.ClientTLSSettings {
	policies := []*networkingapi.TrafficPolicy{d.Spec.GetTrafficPolicy()}
	for _, sub := range d.Spec.GetSubsets() {
		policies = append(policies, sub.GetTrafficPolicy())
	}
	var out []*networkingapi.ClientTLSSettings
	for _, p := range policies {
		if p.GetTls() != nil {
			out = append(out, p.GetTls())
		}
		for _, l := range p.GetPortLevelSettings() {
			if l.GetTls() != nil {
				out = append(out, l.GetTls())
			}
		}
	}
	return out
}

// hiddenExits looks for services that stand for something outside.
func hiddenExits(s *Scene) []Finding {
	if s.openByChoice() {
		return nil
	}
	var out []Finding
	for _, svc := range s.services() {
		host := strings.TrimSuffix(svc.ExternalName, ".")
		switch {
		case svc.External && (s.clusterHost(host) || s.declaredByAny(host)):
		case svc.External:
			out = append(out, open("Service/"+svc.Name, "of type ExternalName it leads calls to %s, under a name of the cluster, and no egress rule names that host", host))
		case svc.Namespace == "default" && svc.Name == "kubernetes":
			// The API server keeps its own.
		case len(svc.Selector) == 0:
			f := unknown("Service/"+svc.Name, "it has no selector, so that whoever may write its Endpoints or EndpointSlices says where calls to it go; these are not read")
			f.Remediation = "give it a selector; where it stands for something outside, replace it by an egress rule for that host or its addresses; where it has to be so, look who may write its endpoints, and have an exception from EGR-008 granted"
			out = append(out, f)
		}
	}
	return out
}
