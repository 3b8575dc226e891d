package effective

import (
	"cmp"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// client is a DestinationRule: how proxies call a host.
type client struct {
	ref       int
	namespace string
	host      string
	selector  map[string]string
	exported  []string
	policy    *networkingapi.TrafficPolicy
	subsets   []*networkingapi.Subset
}

func (m *Model) addDestinationRule(o *networkingv1.DestinationRule, ref int) {
	name := o.Spec.GetHost()
	// A short name is one of the rule's own namespace.
	if !strings.Contains(name, ".") && !strings.HasPrefix(name, "*") {
		name = m.service(name, o.Namespace)
	}
	m.clients = append(m.clients, client{
		ref: ref, namespace: o.Namespace, host: name, selector: o.Spec.GetWorkloadSelector().GetMatchLabels(),
		exported: o.Spec.GetExportTo(), policy: o.Spec.GetTrafficPolicy(), subsets: o.Spec.GetSubsets(),
	})
}

// clientFor: the client's namespace over the service's over the root
// namespace, and there the most specific host (pilot, destinationRule); nil for none.
func (m *Model) clientFor(x *Exit, service string) *client {
	from := cmp.Or(x.Namespace, m.Namespace)
	for _, ns := range []string{from, service, m.Mesh.RootNamespace} {
		var best *client
		for i := range m.clients {
			c := &m.clients[i]
			switch {
			case c.namespace != ns || !hostCovers(c.host, x.Host) || !visible(c.exported, c.namespace, from):
			case len(c.selector) > 0 && (ns != m.Namespace || from != ns || !selects(c.selector, x.From)):
			case best == nil || c.beats(best):
				best = c
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// beats: for a workload over for all, then the longer host; the oldest comes first.
func (c *client) beats(other *client) bool {
	if (len(c.selector) > 0) != (len(other.selector) > 0) {
		return len(c.selector) > 0
	}
	return len(c.host) > len(other.host)
}

// plain says whether TLS settings are other than the mesh's mutual TLS; false,
// false where there are none.
func plain(tls *networkingapi.ClientTLSSettings) (is, set bool) {
	return tls.GetMode() != networkingapi.ClientTLSSettings_ISTIO_MUTUAL, tls != nil
}

// tlsOf are the settings of a port: they replace the others as a whole.
func tlsOf(p *networkingapi.TrafficPolicy, port int32) *networkingapi.ClientTLSSettings {
	for _, l := range p.GetPortLevelSettings() {
		if int32(l.GetPort().GetNumber()) == port { //nolint:gosec // the API allows 1 to 65535
			return l.GetTls()
		}
	}
	return p.GetTls()
}

// clientTransport: a call to a service leaves without the mesh's mutual TLS.
func (m *Model) clientTransport(x *Exit) verdict {
	svc, ok := m.serviceOf(x.Host)
	if !ok {
		return verdict{stops, -1}
	}
	c := m.clientFor(x, svc.Namespace)
	if c == nil {
		return m.autoMutualTLS(-1)
	}
	is, set := plain(tlsOf(c.policy, x.Port))
	switch {
	case is && set:
		return verdict{passes, c.ref}
	case slices.ContainsFunc(c.subsets, func(s *networkingapi.Subset) bool {
		is, set := plain(tlsOf(s.GetTrafficPolicy(), x.Port))
		return is && set
	}):
		// Routes decide who goes to a subset.
		return verdict{unsure, c.ref}
	case set:
		return verdict{stops, c.ref}
	}
	return m.autoMutualTLS(c.ref)
}

// ClientTLS are the TLS settings with which a call to a host of a namespace
// leaves, nil for none, where no route leads it to a subset. subsets is true
// where some subset has settings of its own.
func (m *Model) ClientTLS(x Exit, namespace string) (tls *networkingapi.ClientTLSSettings, subsets bool) {
	c := m.clientFor(&x, namespace)
	if c == nil {
		return nil, false
	}
	return tlsOf(c.policy, x.Port), slices.ContainsFunc(c.subsets, func(s *networkingapi.Subset) bool { return tlsOf(s.GetTrafficPolicy(), x.Port) != nil })
}

func (m *Model) autoMutualTLS(ref int) verdict {
	switch m.Mesh.AutoMutualTLS {
	case facts.Yes:
		return verdict{stops, ref}
	case facts.No:
		return verdict{passes, ref}
	}
	return verdict{unsure, -1}
}
