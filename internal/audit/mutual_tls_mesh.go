package audit

import (
	"fmt"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// floors are the values of meshMTLS.minProtocolVersion; none lets proxies go
// below TLS 1.2.
var floors = []string{"", "TLS_AUTO", "TLSV1_2", "TLSV1_3"}

// meshed says whether anything here runs that what the mesh as a whole does is of
// concern to.
func (s *Scene) meshed() bool { return slices.ContainsFunc(s.Facts.Pods, s.carries) }

// weakTLSFloor looks at what the mesh's proxies offer each other.
func weakTLSFloor(s *Scene) []Finding {
	m := s.Facts.Mesh
	floor := slices.Index(floors, strings.ToUpper(m.MinTLSVersion))
	switch {
	case !s.meshed():
		return nil
	case !m.ConfigRead:
		return []Finding{s.unreadConfiguration("which versions and ciphers of TLS proxies use (meshMTLS)")}
	case floor < 0:
		return []Finding{unknown(s.meshConfiguration(), "what meshMTLS.minProtocolVersion %s means: it is none of %s", m.MinTLSVersion, strings.Join(floors[1:], ", "))}
	case floor == len(floors)-1:
		return nil // The list is for TLS 1.2.
	}
	weak := weakCiphers(m.CipherSuites)
	if len(weak) == 0 {
		return nil
	}
	return []Finding{open(s.meshConfiguration(), "proxies accept ciphers of TLS 1.2 that are no authenticated encryption (AEAD): %s (meshMTLS.cipherSuites)", listed(weak))}
}

// weakCiphers are those of TLS 1.2 that are no authenticated encryption.
func weakCiphers(suites []string) []string {
	return slices.DeleteFunc(slices.Clone(suites), func(c string) bool {
		return strings.Contains(strings.ToUpper(c), "GCM") || strings.Contains(strings.ToUpper(c), "CHACHA20")
	})
}

// foreignTrust looks for other authorities whose identities count as the mesh's.
func foreignTrust(s *Scene) []Finding {
	m := s.Facts.Mesh
	var how []string
	if len(m.TrustDomainAliases) > 0 {
		how = append(how, "trustDomainAliases "+listed(slices.Clone(m.TrustDomainAliases)))
	}
	if m.ForeignTrust && len(m.TrustDomainAliases) == 0 {
		how = append(how, "additional caCertificates")
	}
	if m.AnyTrustDomain {
		how = append(how, "istiod's PILOT_SKIP_VALIDATE_TRUST_DOMAIN, by which the trust domain of a caller is not looked at")
	}
	switch {
	case !s.meshed():
	case len(how) > 0:
		return []Finding{open(s.meshConfiguration(), "callers of other trust domains than %s are accepted as callers of the mesh: %s", m.TrustDomain, strings.Join(how, "; "))}
	case !m.ConfigRead:
		return []Finding{s.unreadConfiguration("which trust domains the mesh accepts")}
	}
	return nil
}

// undeclaredProtocols looks for ports on which the proxy may not see the
// requests that rules are about.
func undeclaredProtocols(s *Scene) []Finding {
	ours, others := of[*securityv1.AuthorizationPolicy](s)
	policies := keep(slices.Concat(ours, others), func(p *securityv1.AuthorizationPolicy) bool {
		return s.Model().Reads(p) && len(p.Spec.GetTargetRefs()) == 0 && p.Spec.GetTargetRef() == nil
	})
	if len(policies) == 0 {
		return nil
	}
	var out []Finding
	for _, svc := range s.services() {
		var ports, by []string
		for _, port := range svc.Ports {
			if port.Protocol != "TCP" || istio.ReadsRequests(port) == facts.Yes {
				continue
			}
			for _, e := range s.Facts.Endpoints(svc, intstr.FromInt32(port.Port)) {
				doubt := protocolDoubt(port, e)
				if doubt == "" || !e.Pod.Sidecar || !s.carries(e.Pod) {
					continue
				}
				for _, p := range policies {
					if facts.Matches(p.Spec.GetSelector().GetMatchLabels(), e.Pod.Labels) && asksOfRequests(&p.Spec, e.Port) {
						ports, by = append(ports, doubt), append(by, s.subject(p))
					}
				}
			}
		}
		if len(ports) > 0 {
			out = append(out, open("Service/"+svc.Name, "%s, and %s is about requests: where the proxy sees none, an ALLOW rule about them lets nobody in, and a DENY rule refuses everybody", listed(ports), listed(by)))
		}
	}
	return out
}

// protocolDoubt says why a port may speak HTTP and not be read so; empty where
// nothing says so.
func protocolDoubt(port facts.ServicePort, e facts.Endpoint) string {
	text := portText(port)
	if istio.ReadsRequests(port) == facts.Unknown {
		return "port " + text + " declares no protocol"
	}
	segments := strings.Split(strings.ToLower(port.Name), "-")
	declared := strings.ToLower(port.AppProtocol)
	if declared == "" {
		declared, segments = segments[0], segments[1:]
	}
	if declared != "tcp" {
		return ""
	}
	for _, name := range segments {
		if slices.Contains([]string{"http", "http2", "grpc"}, name) {
			return fmt.Sprintf("port %s is declared as tcp, and its name says %s", text, name)
		}
	}
	for _, p := range e.Pod.Probes {
		if p.Port != e.Port {
			continue
		}
		if p.HTTP {
			return "port " + text + " is declared as tcp, and is probed by HTTP"
		}
		return "port " + text + " is declared as tcp, and is probed by gRPC"
	}
	return ""
}

// asksOfRequests says whether a policy has a rule for a port that needs what
// only a request has.
func asksOfRequests(p *securityapi.AuthorizationPolicy, port int32) bool {
	return slices.ContainsFunc(p.GetRules(), func(r *securityapi.Rule) bool {
		whole := slices.ContainsFunc(r.GetFrom(), func(f *securityapi.Rule_From) bool {
			return len(f.GetSource().GetRequestPrincipals())+len(f.GetSource().GetNotRequestPrincipals()) > 0
		}) || slices.ContainsFunc(r.GetWhen(), func(c *securityapi.Condition) bool { return strings.HasPrefix(c.GetKey(), "request.") })
		if len(r.GetTo()) == 0 {
			return whole
		}
		return slices.ContainsFunc(r.GetTo(), func(t *securityapi.Rule_To) bool {
			o := t.GetOperation()
			asks := len(o.GetMethods())+len(o.GetNotMethods())+len(o.GetPaths())+len(o.GetNotPaths())+len(o.GetHosts())+len(o.GetNotHosts()) > 0
			here := len(o.GetPorts()) == 0 || slices.Contains(o.GetPorts(), fmt.Sprint(port))
			return here && (whole || asks)
		})
	})
}
