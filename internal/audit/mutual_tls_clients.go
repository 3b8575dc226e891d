package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// stranger is a name that no namespace or service has: it stands for all that
// nobody names.
const stranger = "-"

// callee is a service as its callers name it.
type callee struct {
	host  string
	ports []int32
}

// callees are the namespace's services with a pod in the mesh.
func (s *Scene) callees() []callee {
	var out []callee
	for _, svc := range s.services() {
		if svc.External || len(svc.Selector) == 0 || !slices.ContainsFunc(s.Facts.Select(svc.Selector), s.carries) {
			continue
		}
		c := callee{host: s.hostOf(svc.Name, svc.Namespace)}
		for _, p := range svc.Ports {
			if p.Protocol == "TCP" {
				c.ports = append(c.ports, p.Port)
			}
		}
		out = append(out, c)
	}
	return out
}

func (s *Scene) hostOf(service, namespace string) string {
	return service + "." + namespace + ".svc." + s.clusterDomain()
}

func (s *Scene) clusterDomain() string {
	if d := s.Facts.Mesh.ClusterDomain; d != "" {
		return d
	}
	return "cluster.local"
}

// meshCaller is workloads with a proxy that no rule tells apart.
type meshCaller struct {
	names     []string
	namespace string
	labels    effective.Labels
}

// meshCallers are the namespace's workloads in the mesh, told apart by the labels
// that rules select callers by.
func (s *Scene) meshCallers() []meshCaller {
	var keys []string
	_, rules := of[*networkingv1.DestinationRule](s)
	for _, d := range rules {
		keys = slices.AppendSeq(keys, maps.Keys(d.Spec.GetWorkloadSelector().GetMatchLabels()))
	}
	var out []meshCaller
	at := map[string]int{}
	for _, w := range s.workloads() {
		for _, p := range s.carried(w.pods) {
			labels := effective.Labels{}
			for _, k := range keys {
				if v, ok := p.Labels[k]; ok {
					labels[k] = v
				}
			}
			key := facts.SelectorKey(labels)
			i, ok := at[key]
			if !ok {
				i = len(out)
				at[key] = i
				out = append(out, meshCaller{labels: labels})
			}
			if !slices.Contains(out[i].names, w.String()) {
				out[i].names = append(out[i].names, w.String())
			}
		}
	}
	return out
}

// automatic is how a caller's proxy sends its calls where mutual TLS is
// automatic, so that what differs is what a DestinationRule does.
func (s *Scene) automatic() *effective.Model {
	w := s.Model().World
	w.Mesh.AutoMutualTLS = facts.Yes
	return effective.New(w)
}

func leaves(m *effective.Model, c meshCaller, host string, port int32) effective.Answer {
	return m.Pass(effective.Probe{Layer: effective.ClientTransport, Exit: effective.Exit{From: c.labels, Namespace: c.namespace, Host: host, Port: port}})
}

// clientOverrides looks for DestinationRules that have calls to workloads of the
// mesh leave without its mutual TLS.
func clientOverrides(s *Scene) []Finding {
	_, rules := of[*networkingv1.DestinationRule](s)
	rules = keep(rules, func(d *networkingv1.DestinationRule) bool { return s.Model().Reads(d) && len(plainModes(d)) > 0 })
	if len(rules) == 0 {
		return nil
	}
	m, callees, here := s.automatic(), s.callees(), s.meshCallers()
	var out []Finding
	for _, d := range rules {
		from := append(slices.Clone(here), exportedTo(d, s.Facts.Namespace.Name)...)
		plain, subsets := overridden(m, effective.RefOf(d), from, callees)
		modes := strings.Join(plainModes(d), ", ")
		switch {
		case len(plain.hosts) > 0:
			out = append(out, open(s.subject(d), "calls of %s to %s leave without the mesh's mutual TLS (mode %s)", plain.who(here), listed(plain.hosts), modes))
		case len(subsets.hosts) > 0:
			f := open(s.subject(d), "calls of %s to %s leave without the mesh's mutual TLS where a route leads to its subsets (mode %s)", subsets.who(here), listed(subsets.hosts), modes)
			f.Severity = v1alpha1.SeverityHigh
			out = append(out, f)
		default:
			if host := s.callsAway(m, d, here); host != "" {
				out = append(out, unknown(s.subject(d), "whether %s is in the mesh can't be told here: calls to it leave without the mesh's mutual TLS (mode %s)", host, modes))
			}
		}
	}
	return out
}

// plainModes are the TLS modes of a DestinationRule that are not the mesh's own, sorted.
func plainModes(d *networkingv1.DestinationRule) []string {
	var out []string
	of := func(p *networkingapi.TrafficPolicy) {
		settings := []*networkingapi.ClientTLSSettings{p.GetTls()}
		for _, l := range p.GetPortLevelSettings() {
			settings = append(settings, l.GetTls())
		}
		for _, t := range settings {
			if t != nil && t.GetMode() != networkingapi.ClientTLSSettings_ISTIO_MUTUAL {
				out = append(out, t.GetMode().String())
			}
		}
	}
	of(d.Spec.GetTrafficPolicy())
	for _, sub := range d.Spec.GetSubsets() {
		of(sub.GetTrafficPolicy())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// exportedTo are callers of other namespaces that a rule of this one may be for.
func exportedTo(d *networkingv1.DestinationRule, own string) []meshCaller {
	out := []meshCaller{{names: []string{"other namespaces"}, namespace: stranger}}
	for _, ns := range d.Spec.GetExportTo() {
		if ns != "*" && ns != "." && ns != "~" && ns != own {
			out = append(out, meshCaller{names: []string{"namespace " + ns}, namespace: ns})
		}
	}
	return out
}

// affected are callers and hosts that a rule sets apart.
type affected struct{ callers, hosts []string }

func (a *affected) add(c meshCaller, host string) {
	a.callers, a.hosts = append(a.callers, c.names...), append(a.hosts, host)
}

// who names the callers, all of the namespace's in short.
func (a affected) who(here []meshCaller) string {
	var own, away []string
	all := len(here) > 0
	for _, c := range here {
		for _, name := range c.names {
			if slices.Contains(a.callers, name) {
				own = append(own, name)
			} else {
				all = false
			}
		}
	}
	for _, name := range a.callers {
		if !slices.Contains(own, name) {
			away = append(away, name)
		}
	}
	var out []string
	switch {
	case all:
		out = append(out, "every workload")
	case len(own) > 0:
		out = append(out, listed(own))
	}
	if len(away) > 0 {
		out = append(out, listed(away))
	}
	return strings.Join(out, " and of ")
}

// overridden says which calls leave without mutual TLS by a rule, and which do
// so where a route leads to a subset of it.
func overridden(m *effective.Model, by effective.Ref, from []meshCaller, to []callee) (plain, subsets affected) {
	for _, c := range from {
		for _, t := range to {
			var ports, routed []int32
			for _, port := range t.ports {
				switch a := leaves(m, c, t.host, port); {
				case !a.Passes || !slices.Contains(a.By, by):
				case a.Unknown:
					routed = append(routed, port)
				default:
					ports = append(ports, port)
				}
			}
			for _, r := range []struct {
				ports []int32
				to    *affected
			}{{ports, &plain}, {routed, &subsets}} {
				switch {
				case len(r.ports) == 0:
				case len(r.ports) == len(t.ports):
					r.to.add(c, t.host)
				default:
					r.to.add(c, fmt.Sprintf("%s on %s", t.host, portsText(r.ports)))
				}
			}
		}
	}
	return plain, subsets
}

// callsAway is a host of another namespace that a rule has calls of this one
// leave to without mutual TLS; empty for none. The API server is known not to be
// in the mesh, and so is a service that leads out of the cluster.
func (s *Scene) callsAway(m *effective.Model, d *networkingv1.DestinationRule, here []meshCaller) string {
	host, domain := d.Spec.GetHost(), s.clusterDomain()
	if !strings.Contains(host, ".") && !strings.HasPrefix(host, "*") {
		host = s.hostOf(host, d.Namespace)
	}
	tries := []string{host}
	if tail, wild := strings.CutPrefix(host, "*"); wild {
		tries = []string{stranger + tail, s.hostOf(stranger, stranger)}
	}
	ports := []int32{anyPort}
	policies := []*networkingapi.TrafficPolicy{d.Spec.GetTrafficPolicy()}
	for _, sub := range d.Spec.GetSubsets() {
		policies = append(policies, sub.GetTrafficPolicy())
	}
	for _, p := range policies {
		for _, l := range p.GetPortLevelSettings() {
			ports = append(ports, int32(l.GetPort().GetNumber())) //nolint:gosec // the API allows 1 to 65535
		}
	}
	for _, t := range tries {
		name, ok := strings.CutSuffix(t, ".svc."+domain)
		service, ns, _ := strings.Cut(name, ".")
		if !ok || ns == s.Facts.Namespace.Name || name == "kubernetes.default" || s.leadsOut(service, ns) {
			continue
		}
		for _, c := range here {
			for _, port := range ports {
				if a := leaves(m, c, t, port); a.Passes && slices.Contains(a.By, effective.RefOf(d)) {
					return host
				}
			}
		}
	}
	return ""
}

func (s *Scene) leadsOut(service, namespace string) bool {
	for _, svc := range s.Facts.Services {
		if svc.Name == service && svc.Namespace == namespace {
			return svc.External
		}
	}
	return false
}

// meshConfiguration names the mesh configuration of the namespace's revision.
func (s *Scene) meshConfiguration() string {
	name := "istio"
	if r := s.Facts.Mesh.Revision; r != "" && r != "default" {
		name += "-" + r
	}
	return "ConfigMap/" + s.Facts.Mesh.Namespace + "/" + name
}

// unreadConfiguration says what can't be told without the mesh configuration.
func (s *Scene) unreadConfiguration(what string) Finding {
	f := unknown(s.meshConfiguration(), "%s, as the mesh configuration can't be read", what)
	f.Remediation = readConfiguration
	return f
}

// noAutomaticTLS looks for calls that leave in plaintext since nothing asks for
// mutual TLS.
func noAutomaticTLS(s *Scene) []Finding {
	if s.Facts.Mesh.AutoMutualTLS == facts.Yes {
		return nil
	}
	here := s.meshCallers()
	switch {
	case len(here) == 0:
		return nil
	case s.Facts.Mesh.AutoMutualTLS == facts.Unknown:
		return []Finding{s.unreadConfiguration("whether callers use mutual TLS by themselves (enableAutoMtls)")}
	}
	m, automatic := s.Model(), s.automatic()
	to := append(s.callees(), callee{s.hostOf(stranger, stranger), []int32{anyPort}})
	var plain []string
	for _, t := range to {
		for _, c := range here {
			if slices.ContainsFunc(t.ports, func(p int32) bool { return leaves(m, c, t.host, p).Passes && !leaves(automatic, c, t.host, p).Passes }) {
				plain = append(plain, t.host)
				break
			}
		}
	}
	if len(plain) == 0 {
		return nil
	}
	if i := slices.Index(plain, s.hostOf(stranger, stranger)); i >= 0 {
		plain[i] = "services of other namespaces"
	}
	return []Finding{open(s.meshConfiguration(), "automatic mutual TLS is off (enableAutoMtls), and no DestinationRule asks for it: calls leave in plaintext to %s", mesh.Some(plain))}
}
