package effective

import (
	"maps"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Message is the spec of one of Istio's kinds, and nil for any other object.
func Message(o facts.Object) proto.Message {
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		return &o.Spec
	case *securityv1.AuthorizationPolicy:
		return &o.Spec
	case *securityv1.RequestAuthentication:
		return &o.Spec
	case *networkingv1.Sidecar:
		return &o.Spec
	case *networkingv1.ServiceEntry:
		return &o.Spec
	case *networkingv1.DestinationRule:
		return &o.Spec
	case *networkingv1.Gateway:
		return &o.Spec
	case *networkingv1.VirtualService:
		return &o.Spec
	case *telemetryv1.Telemetry:
		return &o.Spec
	}
	return nil
}

// known is the spec of a kind that the model knows; nil for NetworkPolicy, whose
// type is its schema, and for the kinds that it does not know.
func known(o facts.Object) proto.Message {
	switch o.(type) {
	case *networkingv1.Gateway, *networkingv1.VirtualService:
		return nil
	}
	return Message(o)
}

// alike says whether two objects of one name are the same to the mesh.
func alike(a, b facts.Object) bool {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !at.Equal(&bt) || !maps.Equal(marks(a.GetLabels()), marks(b.GetLabels())) || !maps.Equal(marks(a.GetAnnotations()), marks(b.GetAnnotations())) {
		return false
	}
	if m := known(a); m != nil {
		return proto.Equal(m, known(b))
	}
	x, ok := a.(*netv1.NetworkPolicy)
	y, is := b.(*netv1.NetworkPolicy)
	return ok && is && equality.Semantic.DeepEqual(x.Spec, y.Spec)
}

// marks are the labels or annotations that a mesh may read.
func marks(all map[string]string) map[string]string {
	var out map[string]string
	for k, v := range all {
		domain, _, ok := strings.Cut(k, "/")
		if ok && (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io")) {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// unknownMarks are those whose meaning the model does not know.
func unknownMarks(o facts.Object) map[string]string {
	out := map[string]string{}
	if o == nil {
		return out
	}
	for prefix, m := range map[string]map[string]string{"label ": o.GetLabels(), "annotation ": o.GetAnnotations()} {
		for k, v := range marks(m) {
			if k != dryRunAnnotation && k != revisionLabel {
				out[prefix+k] = v
			}
		}
	}
	return out
}

// hides says whether an object differs in something that the model does not
// answer for: a kind, a field or a mark that it does not know.
func (c change) hides(domain string) bool {
	o := c.either()
	if _, is := o.(*netv1.NetworkPolicy); is {
		return !maps.Equal(unknownMarks(c.before), unknownMarks(c.after))
	}
	if outOfWorld(c.before) || outOfWorld(c.after) {
		return true
	}
	if known(o) == nil || !maps.Equal(unknownMarks(c.before), unknownMarks(c.after)) {
		return true
	}
	return !proto.Equal(residue(c.before, o, c.after != nil, domain), residue(c.after, o, c.before != nil, domain))
}

// outOfWorld says whether what an object does shows outside of this world alone:
// at an egress gateway, by what its policy lets through and its own proxies see,
// or at whom a route leads to a subset.
func outOfWorld(o facts.Object) bool {
	switch o := o.(type) {
	case *securityv1.AuthorizationPolicy:
		_, is := mesh.GatewayTenant(o)
		return is
	case *networkingv1.ServiceEntry:
		return strings.HasPrefix(o.Name, mesh.NamePrefix) && !visible(o.Spec.GetExportTo(), o.Namespace, o.Namespace)
	case *networkingv1.DestinationRule:
		return len(o.Spec.GetSubsets()) > 0
	}
	return false
}

// residue is what is left of an object's spec without the fields that the model
// answers for. For one that is in one world alone, less is left: that it comes
// or goes is answered for, and what it sets in passing is not.
func residue(o, kind facts.Object, both bool, domain string) proto.Message {
	switch kind.(type) {
	case *securityv1.PeerAuthentication:
		s := spec(o, &securityapi.PeerAuthentication{})
		s.Selector = nil
		if s.Mtls != nil {
			s.Mtls.Mode = 0
			s.Mtls = nonZero(s.Mtls)
		}
		for port, m := range s.PortLevelMtls {
			m.Mode = 0
			if nonZero(m) == nil {
				delete(s.PortLevelMtls, port)
			}
		}
		return s
	case *securityv1.AuthorizationPolicy:
		return policyResidue(spec(o, &securityapi.AuthorizationPolicy{}))
	case *securityv1.RequestAuthentication:
		return tokenResidue(spec(o, &securityapi.RequestAuthentication{}), both)
	case *networkingv1.Sidecar:
		return sidecarResidue(spec(o, &networkingapi.Sidecar{}))
	case *networkingv1.ServiceEntry:
		return entryResidue(spec(o, &networkingapi.ServiceEntry{}), both, domain)
	case *networkingv1.DestinationRule:
		return clientResidue(spec(o, &networkingapi.DestinationRule{}), domain)
	case *telemetryv1.Telemetry:
		return logResidue(spec(o, &telemetryapi.Telemetry{}), both)
	}
	return nil
}

// spec is a copy of an object's spec, an empty one for no object.
func spec[T proto.Message](o facts.Object, empty T) T {
	if o != nil {
		proto.Merge(empty, known(o))
	}
	return empty
}

// nonZero is nil for a message that says nothing.
func nonZero[T proto.Message](m T) T {
	var none T
	if proto.Size(m) == 0 {
		return none
	}
	return m
}

func policyResidue(s *securityapi.AuthorizationPolicy) proto.Message {
	s.Selector, s.TargetRef, s.TargetRefs, s.Action = nil, nil, nil, 0
	var left []*securityapi.Rule
	for _, r := range s.Rules {
		for _, f := range r.From {
			known := []*[]string{}
			if o := f.Source; o != nil {
				known = []*[]string{&o.Principals, &o.NotPrincipals, &o.RequestPrincipals, &o.NotRequestPrincipals, &o.Namespaces, &o.NotNamespaces,
					&o.ServiceAccounts, &o.NotServiceAccounts, &o.IpBlocks, &o.NotIpBlocks, &o.RemoteIpBlocks, &o.NotRemoteIpBlocks, &o.TrustDomains, &o.NotTrustDomains}
			}
			clearAll(known)
			f.Source = nonZero(f.Source)
		}
		for _, t := range r.To {
			if o := t.Operation; o != nil {
				clearAll([]*[]string{&o.Hosts, &o.NotHosts, &o.Ports, &o.NotPorts, &o.Methods, &o.NotMethods, &o.Paths, &o.NotPaths})
			}
			t.Operation = nonZero(t.Operation)
		}
		for _, w := range r.When {
			// Istio drops the whole rule for a key that it does not know.
			if knownKey(w.Key) {
				w.Key, w.Values, w.NotValues = "", nil, nil
			}
		}
		if proto.Size(prune(r)) > 0 {
			left = append(left, r)
		}
	}
	s.Rules = left
	return s
}

func clearAll(lists []*[]string) {
	for _, l := range lists {
		*l = nil
	}
}

// prune drops the entries of a rule of which nothing is left.
func prune(r *securityapi.Rule) *securityapi.Rule {
	r.From, r.To, r.When = kept(r.From), kept(r.To), kept(r.When)
	return r
}

func kept[T proto.Message](list []T) []T {
	var out []T
	for _, m := range list {
		if proto.Size(m) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// tokenResidue: where tokens are looked for and what is made of them. How long
// to wait for keys is nothing that passes or stops.
func tokenResidue(s *securityapi.RequestAuthentication, both bool) proto.Message {
	s.Selector, s.TargetRef, s.TargetRefs = nil, nil, nil
	for _, r := range s.JwtRules {
		r.Issuer, r.Audiences, r.JwksUri, r.Jwks, r.Timeout = "", nil, "", "", nil
		if !both {
			r.ForwardOriginalToken = false
		}
	}
	s.JwtRules = kept(s.JwtRules)
	return s
}

func sidecarResidue(s *networkingapi.Sidecar) proto.Message {
	s.WorkloadSelector = nil
	for _, l := range s.Egress {
		l.Hosts = nil
		if l.Port != nil {
			l.Port.Number = 0
			l.Port = nonZero(l.Port)
		}
	}
	s.Egress = kept(s.Egress)
	if p := s.OutboundTrafficPolicy; p != nil {
		p.Mode = 0
		s.OutboundTrafficPolicy = nonZero(p)
	}
	return s
}

// entryResidue: where the traffic of a host goes. An entry that comes or goes
// opens or shuts its hosts; with addresses of its own it also leads them elsewhere.
func entryResidue(s *networkingapi.ServiceEntry, both bool, domain string) proto.Message {
	if !both {
		out := &networkingapi.ServiceEntry{Endpoints: s.Endpoints, WorkloadSelector: s.WorkloadSelector}
		for _, h := range s.Hosts {
			if ofCluster(h, domain) {
				out.Hosts = append(out.Hosts, h)
			}
		}
		return out
	}
	s.Hosts, s.Addresses, s.ExportTo, s.SubjectAltNames = nil, nil, nil, nil
	for _, p := range s.Ports {
		if p.TargetPort == p.Number {
			p.TargetPort = 0
		}
		// Only the protocol and where it goes are left.
		p.Number, p.Name = 0, ""
	}
	s.Ports = distinctPorts(s.Ports)
	return s
}

// distinctPorts: a port more of a protocol that is there is answered for.
func distinctPorts(ports []*networkingapi.ServicePort) []*networkingapi.ServicePort {
	var out []*networkingapi.ServicePort
	for _, p := range kept(ports) {
		same := false
		for _, o := range out {
			same = same || proto.Equal(o, p)
		}
		if !same {
			out = append(out, p)
		}
	}
	return out
}

// ofCluster says whether a host is, or covers, a service's name.
func ofCluster(h, domain string) bool {
	return hostCovers("*."+domain, h) || hostCovers(h, "x.x.svc."+domain)
}

// clientResidue: of a host outside of the mesh the model knows nothing.
func clientResidue(s *networkingapi.DestinationRule, domain string) proto.Message {
	if !ofCluster(s.Host, domain) && strings.Contains(s.Host, ".") {
		return s
	}
	s.Host, s.ExportTo, s.WorkloadSelector = "", nil, nil
	modeless := func(tls *networkingapi.ClientTLSSettings) *networkingapi.ClientTLSSettings {
		if tls == nil {
			return nil
		}
		tls.Mode = 0
		return nonZero(tls)
	}
	policy := func(p *networkingapi.TrafficPolicy) *networkingapi.TrafficPolicy {
		if p == nil {
			return nil
		}
		p.Tls = modeless(p.Tls)
		for _, l := range p.PortLevelSettings {
			l.Port, l.Tls = nil, modeless(l.Tls)
		}
		p.PortLevelSettings = kept(p.PortLevelSettings)
		return nonZero(p)
	}
	s.TrafficPolicy = policy(s.TrafficPolicy)
	for _, sub := range s.Subsets {
		sub.TrafficPolicy = policy(sub.TrafficPolicy)
	}
	return s
}

func logResidue(s *telemetryapi.Telemetry, both bool) proto.Message {
	s.Selector, s.TargetRef, s.TargetRefs = nil, nil, nil
	for _, a := range s.AccessLogging {
		a.Disabled, a.Filter, a.Match = nil, nil, nil
		if !both {
			a.Providers = nil
		}
	}
	s.AccessLogging = kept(s.AccessLogging)
	return s
}
