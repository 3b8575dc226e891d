package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// inTransit are the controls that ask for traffic to be encrypted and its ends
// to be known.
var inTransit = []string{"NIST SP 800-53 SC-8", "PCI DSS 4.0 4.2.1"}

const (
	peerReference = "https://istio.io/latest/docs/reference/config/security/peer_authentication/"
	meshReference = "https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/"
)

func mutualTLSChecks() []Check {
	return []Check{
		{
			ID: "MTLS-001", Title: "a workload accepts less than the declared mode of mutual TLS", Severity: v1alpha1.SeverityCritical, Compliance: inTransit,
			Remediation: "delete the PeerAuthentication that is named, or give it the declared mode",
			Limits:      "Looked at is what the mesh makes of all PeerAuthentications, where mutualTLS is declared. A single port that a policy opens is MTLS-002, and traffic that evades the proxy ENR. What an EnvoyFilter changes is not worked out.",
			References:  []string{peerReference, "https://istio.io/latest/docs/tasks/security/authentication/mtls-migration/"},
			workload:    weakerInbound,
		},
		{
			ID: "MTLS-002", Title: "a port accepts less than its workload, and no exception is on file", Severity: v1alpha1.SeverityHigh, Compliance: inTransit,
			Remediation: "take the port out of the PeerAuthentication; where it has to be so, declare it as mutualTLS.portOverrides with an expiresAt, or have an exception from MTLS-002 granted",
			Limits:      "A port override of the profile that has an expiresAt is on file by itself, as it says why and until when; how long that is, a baseline's maxOverrideDuration limits. One without an end is of severity Medium.",
			References:  []string{peerReference},
			workload:    portExceptions,
		},
		{
			ID: "MTLS-003", Title: "PeerAuthentications compete for the same workloads", Severity: v1alpha1.SeverityMedium, Aliases: []string{"KIA0002", "KIA0003"},
			Remediation: "merge them into one, or give them selectors that no pod meets both of: the mesh applies the oldest alone, so that deleting one can change what is in force",
			Limits:      "Selectors are compared by the pods that run.",
			References:  []string{peerReference},
			examine:     competingPeers,
		},
		{
			ID: "MTLS-004", Title: "a PeerAuthentication, or a port of it, is for nothing that runs", Severity: v1alpha1.SeverityMedium, Aliases: []string{"KIA0004"},
			Remediation: "correct the selector, or name the container's port rather than the service's; delete what is not needed any more",
			Limits:      "A port that a container listens on and that neither it nor a service declares is not known. Where no pod runs, nothing is said.",
			References:  []string{peerReference},
			examine:     deadPeers,
		},
		{
			ID: "MTLS-005", Title: "callers are told not to use the mesh's mutual TLS", Severity: v1alpha1.SeverityCritical, Compliance: inTransit,
			Aliases:     []string{"KIA0204", "KIA0205", "KIA0206", "KIA0207", "KIA0208"},
			Remediation: "take tls out of the DestinationRule, or set its mode to ISTIO_MUTUAL, also for ports and subsets; for a service outside of the mesh have an exception from MTLS-005 granted",
			Limits:      "Whether a service of another namespace is in the mesh is not known: then it is unknown. DestinationRules that other namespaces keep for their own calls are not seen, and services without pods are left out. Which routes lead to a subset is not looked at: for a subset alone the severity is High.",
			References:  []string{"https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings", "https://istio.io/latest/docs/ops/common-problems/network-issues/"},
			examine:     clientOverrides,
		},
		{
			ID: "MTLS-006", Title: "automatic mutual TLS is off, and nothing else asks callers for it", Severity: v1alpha1.SeverityHigh, Aliases: []string{"KIA0401"}, Compliance: inTransit,
			Remediation: "take enableAutoMtls: false out of the mesh configuration, or have DestinationRules with tls mode ISTIO_MUTUAL cover every host of the mesh",
			Limits:      "Looked at are calls of this namespace's workloads.",
			References:  []string{"https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/#auto-mtls", meshReference},
			examine:     noAutomaticTLS,
		},
		{
			ID: "MTLS-007", Title: "a pod's label has its callers use plaintext", Severity: v1alpha1.SeverityHigh, Compliance: inTransit,
			Remediation: "take the label security.istio.io/tlsMode off the pod template and roll it out: injection sets it",
			Limits:      "A pod with a proxy and without the label is not told from one that the injector has yet to label.",
			References:  []string{"https://istio.io/latest/docs/reference/config/labels/#SecurityTlsMode"},
			workload:    presetTLSMode,
		},
		{
			ID: "MTLS-008", Title: "the mesh's TLS accepts weak ciphers", Severity: v1alpha1.SeverityMedium, Compliance: inTransit,
			Remediation: "take meshMTLS.cipherSuites out of the mesh configuration, leave only suites with GCM or CHACHA20 in it, or set meshMTLS.minProtocolVersion to TLSV1_3",
			Limits:      "Istio's proxies never accept less than TLS 1.2 of each other, whatever is set, and NIST SP 800-52 allows that: a floor of 1.2 is no finding. Gateways have floors of their own.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/tls-configuration/workload-min-tls-version/", "https://csrc.nist.gov/pubs/sp/800/52/r2/final", "https://www.rfc-editor.org/rfc/rfc9325"},
			examine:     weakTLSFloor,
		},
		{
			ID: "MTLS-009", Title: "the mesh accepts identities of other trust domains", Severity: v1alpha1.SeverityHigh,
			Remediation: "take the trust domain aliases and additional authorities out of the mesh configuration once no workload uses them, and PILOT_SKIP_VALIDATE_TRUST_DOMAIN off istiod; where meshes are joined on purpose, have an exception from MTLS-009 granted",
			Limits:      "A certificate authority that several meshes share is not seen.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/", meshReference},
			examine:     foreignTrust,
		},
		{
			ID: "MTLS-010", Title: "a port does not say its protocol, and rules about requests hold there", Severity: v1alpha1.SeverityMedium, Aliases: []string{"IST0118"},
			Remediation: "set appProtocol of the service's port to what it speaks (http, http2, grpc), or begin its name with it",
			Limits:      "What a port really speaks is taken from its name and from probes by HTTP and gRPC that pass the proxy; where neither says so, a port that is declared as tcp is taken to be that.",
			References:  []string{"https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/", "https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/"},
			examine:     undeclaredProtocols,
		},
		{
			ID: "MTLS-011", Title: "mode DISABLE has no effect in ambient mode", Severity: v1alpha1.SeverityLow,
			Remediation: "set PERMISSIVE where plaintext has to be accepted, or STRICT: ztunnel always offers mutual TLS",
			Limits:      "Looked at where the namespace's data plane is ambient.",
			References:  []string{peerReference},
			examine:     disableInAmbient, anyPlane: true,
		},
	}
}

// tlsModes are the modes of mutual TLS by their names in the mesh, the least
// strict first.
var tlsModes = []string{"DISABLE", "PERMISSIVE", "STRICT"}

// strictness orders modes; -1 for one that is not known. The profile's names
// differ from the mesh's in case alone.
func strictness[T ~string](mode T) int { return slices.Index(tlsModes, strings.ToUpper(string(mode))) }

// anyPort stands for every port that nobody names.
const anyPort int32 = 0

// carried are the workload's pods that pass the mesh: what others accept is
// ENR's to say.
func (s *Scene) carried(pods []facts.Pod) []facts.Pod {
	return those(pods, s.carries)
}

func (s *Scene) carries(p facts.Pod) bool {
	return p.Enrolled(s.Facts.Mesh.DataPlane) && !slices.ContainsFunc(p.Bypass, optOut)
}

// peerAuthentications are those that the mesh reads, of the namespace and of the root.
func (s *Scene) peerAuthentications() (ours, others []*securityv1.PeerAuthentication) {
	ours, others = of[*securityv1.PeerAuthentication](s)
	read := func(p *securityv1.PeerAuthentication) bool { return s.Model().Reads(p) }
	return keep(ours, read), keep(others, read)
}

func keep[T any](in []T, is func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(in), func(v T) bool { return !is(v) })
}

func (s *Scene) local(o facts.Object) bool { return o.GetNamespace() == s.Facts.Namespace.Name }

// declaredPorts are the ports of a pod that its containers or services declare, sorted.
func (s *Scene) declaredPorts(p facts.Pod) []int32 {
	var out []int32
	for _, c := range p.Ports {
		out = append(out, c.Number)
	}
	for _, svc := range s.services() {
		if len(svc.Selector) == 0 || !facts.Matches(svc.Selector, p.Labels) {
			continue
		}
		for _, port := range svc.Ports {
			if number, ok := istio.TargetPort(port.Target, p); ok && port.Protocol == "TCP" {
				out = append(out, number)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// policyPorts are the ports of a pod of which a policy sets the mode and that
// pass the proxy, sorted.
func (s *Scene) policyPorts(p facts.Pod) []int32 {
	var out []int32
	ours, others := s.peerAuthentications()
	for _, pa := range slices.Concat(ours, others) {
		if selector := pa.Spec.GetSelector().GetMatchLabels(); s.local(pa) && len(selector) > 0 && facts.Matches(selector, p.Labels) {
			for number := range pa.Spec.GetPortLevelMtls() {
				out = append(out, int32(number)) //nolint:gosec // the API allows 1 to 65535
			}
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(n int32) bool { return slices.Contains(p.Uncaptured, n) })
}

// declaredMode is the least that the profile lets a pod's port accept, the port
// overrides aside where port is anyPort.
func declaredMode(m *posture.MutualTLS, p facts.Pod, port int32) int {
	least := strictness(m.Mode)
	for _, e := range m.Exempt {
		if facts.Matches(e.Selector, p.Labels) {
			least = min(least, strictness(e.Mode))
		}
	}
	for _, o := range m.Overrides {
		if o.Port == port && facts.Matches(o.Selector, p.Labels) {
			least = min(least, strictness(o.Mode))
		}
	}
	return least
}

// weakerInbound looks for workloads that accept less than is declared.
func weakerInbound(s *Scene, w workload) []Finding {
	m := s.Posture.MutualTLS
	if m == nil {
		return nil
	}
	var weak, untold []facts.Pod
	var why []string
	for _, p := range s.carried(w.pods) {
		mode, by := s.Model().MutualTLS(p.Labels, anyPort)
		switch have := strictness(mode); {
		case have < 0:
			untold = append(untold, p)
		case have < declaredMode(m, p, anyPort):
			weak = append(weak, p)
			why = append(why, s.accepts(p, mode, by))
		}
	}
	slices.Sort(why)
	switch {
	case len(weak) > 0:
		held, remedy := s.unenforced()
		f := open(w.String(), "%s%s, though %s is declared%s", partly(w, weak), strings.Join(slices.Compact(why), "; "), m.Mode, held)
		f.Remediation = remedy
		return []Finding{f}
	case len(untold) > 0:
		f := unknown(w.String(), "no policy of the namespace sets what it accepts, and the mesh is not observed")
		f.Remediation = readConfiguration
		return []Finding{f}
	}
	return nil
}

// partly says that something is not so of all of a workload's pods.
func partly(w workload, of []facts.Pod) string {
	if len(of) < len(w.pods) {
		return "some of its pods: "
	}
	return ""
}

// accepts says what a pod accepts by its mode, on which ports, and what has it so.
func (s *Scene) accepts(p facts.Pod, mode string, by effective.Ref) string {
	what := "accepts calls in plaintext"
	if mode == tlsModes[0] {
		what = "accepts calls in plaintext alone"
	}
	ports := slices.Concat(s.declaredPorts(p), s.policyPorts(p))
	slices.Sort(ports)
	var apart []string
	for _, port := range slices.Compact(ports) {
		have, _ := s.Model().MutualTLS(p.Labels, port)
		if slices.Contains(p.Uncaptured, port) || strictness(have) >= declaredMode(s.Posture.MutualTLS, p, port) {
			apart = append(apart, strconv.Itoa(int(port)))
		}
	}
	where := "every port"
	if len(apart) > 0 {
		where += " but " + strings.Join(apart, ", ")
	}
	return fmt.Sprintf("%s on %s, by %s", what, where, s.setBy(by))
}

func portsText(ports []int32) string {
	var out []string
	for _, p := range ports {
		out = append(out, strconv.Itoa(int(p)))
	}
	if len(out) == 1 {
		return "port " + out[0]
	}
	return "ports " + strings.Join(out, ", ")
}

func (s *Scene) setBy(by effective.Ref) string {
	if by.Name == "" {
		return "the mesh's own mode, as no policy of the namespace sets one"
	}
	return facts.Source{Kind: by.Kind, Namespace: by.Namespace, Name: by.Name}.In(s.Facts.Namespace.Name)
}

// unenforced says why what is declared is not in force yet, and what to do; empty
// where nothing holds it back.
func (s *Scene) unenforced() (why, remedy string) {
	switch {
	case s.Posture.Mode != v1alpha1.ModeEnforce && s.Posture.Mode != "":
		return fmt.Sprintf("; enforcementMode %s denies nothing", s.Posture.Mode), "set enforcementMode Enforce once what it would deny is as wanted"
	case slices.Contains(s.Posture.Held, v1alpha1.AreaMutualTLS):
		return "; the preflight holds it back", "mend what the findings of the preflight name"
	}
	return "", ""
}

// readConfiguration is what to do where the mesh can't be told.
const readConfiguration = "install Istio, or start the operator with --istio-namespace, and let it read the mesh's ConfigMap there"

// portExceptions looks for ports that accept less than the rest of their workload.
func portExceptions(s *Scene, w workload) []Finding {
	var out []Finding
	var endless, foreign, untold []string
	for _, p := range s.carried(w.pods) {
		base, _ := s.Model().MutualTLS(p.Labels, anyPort)
		for _, port := range s.policyPorts(p) {
			mode, by := s.Model().MutualTLS(p.Labels, port)
			text := fmt.Sprintf("port %d (%s, by %s)", port, mode, s.setBy(by))
			switch declared := s.declaredOverride(p, port, mode); {
			case mode == base:
			case strictness(base) < 0 && strictness(mode) < strictness(v1alpha1.MutualTLSStrict):
				untold = append(untold, text)
			case strictness(mode) >= strictness(base) || (declared != nil && (declared.Exception != "" || declared.Expires != nil)):
			case declared != nil:
				endless = append(endless, declared.Name)
			default:
				foreign = append(foreign, text)
			}
		}
	}
	if len(foreign) > 0 {
		out = append(out, open(w.String(), "accepts calls without mutual TLS where the rest of it asks for more, and no port override of the profile says so: %s", listed(foreign)))
	}
	if len(endless) > 0 {
		f := open(w.String(), "accepts calls without mutual TLS where the rest of it asks for more, by port overrides of the profile that never end: %s", listed(endless))
		f.Severity, f.Remediation = v1alpha1.SeverityMedium, "give the port override an expiresAt, or have an exception from MTLS-002 granted"
		out = append(out, f)
	}
	if len(untold) > 0 {
		f := unknown(w.String(), "whether the rest of it asks for more than these do, as the mesh is not observed: %s", listed(untold))
		f.Remediation = readConfiguration
		out = append(out, f)
	}
	return out
}

// listed joins names, each once, in order.
func listed(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// declaredOverride is the port override by which the profile has a pod's port accept as
// little; nil where there is none.
func (s *Scene) declaredOverride(p facts.Pod, port int32, mode string) *posture.Override {
	if s.Posture.MutualTLS == nil {
		return nil
	}
	for i, o := range s.Posture.MutualTLS.Overrides {
		if o.Port == port && facts.Matches(o.Selector, p.Labels) && strictness(o.Mode) <= strictness(mode) {
			return &s.Posture.MutualTLS.Overrides[i]
		}
	}
	return nil
}

// competingPeers looks for policies of others of which the mesh applies one alone.
func competingPeers(s *Scene) []Finding {
	ours, others := s.peerAuthentications()
	rivals, about := map[string][]string{}, map[string][]string{}
	compete := func(what string, is func(*securityv1.PeerAuthentication) bool) {
		foreign := keep(others, is)
		if len(foreign) == 0 {
			return
		}
		all := append(keep(ours, is), foreign...)
		for _, f := range foreign {
			for _, o := range all {
				if o != f {
					rivals[s.subject(f)] = append(rivals[s.subject(f)], s.subject(o))
					about[s.subject(f)] = append(about[s.subject(f)], what)
				}
			}
		}
	}
	whole := func(p *securityv1.PeerAuthentication) bool { return len(p.Spec.GetSelector().GetMatchLabels()) == 0 }
	compete("every workload of the namespace", func(p *securityv1.PeerAuthentication) bool { return whole(p) && s.local(p) })
	if root := s.Facts.Mesh.RootNamespace; root != s.Facts.Namespace.Name {
		compete("every workload of the mesh", func(p *securityv1.PeerAuthentication) bool { return whole(p) && p.Namespace == root })
	}
	for _, w := range s.workloads() {
		for _, pod := range w.pods {
			compete(w.String(), func(p *securityv1.PeerAuthentication) bool {
				return !whole(p) && s.local(p) && facts.Matches(p.Spec.GetSelector().GetMatchLabels(), pod.Labels)
			})
		}
	}
	var out []Finding
	for _, subject := range slices.Sorted(maps.Keys(rivals)) {
		out = append(out, open(subject, "%s and it are for the same: %s; the mesh applies the oldest of them alone", listed(rivals[subject]), listed(about[subject])))
	}
	return out
}

// deadPeers looks for policies of others that are for nothing that runs.
func deadPeers(s *Scene) []Finding {
	if len(s.Facts.Pods) == 0 {
		return nil
	}
	var out []Finding
	_, others := s.peerAuthentications()
	for _, pa := range others {
		if !s.local(pa) {
			continue
		}
		selector := pa.Spec.GetSelector().GetMatchLabels()
		pods, ports := s.Facts.Select(selector), slices.Sorted(maps.Keys(pa.Spec.GetPortLevelMtls()))
		switch {
		case len(pods) == 0:
			out = append(out, open(s.subject(pa), "its selector meets no pod, so that it is in force for nothing"))
		case len(selector) == 0 && len(ports) > 0:
			out = append(out, open(s.subject(pa), "it has no selector, and without one the mesh passes its modes of ports over"))
		default:
			var dead []int32
			for _, port := range ports {
				number := int32(port) //nolint:gosec // the API allows 1 to 65535
				if !slices.ContainsFunc(pods, func(p facts.Pod) bool { return slices.Contains(s.declaredPorts(p), number) }) {
					dead = append(dead, number)
				}
			}
			if len(dead) > 0 {
				out = append(out, open(s.subject(pa), "no container or service of the pods that it selects has %s", portsText(dead)))
			}
		}
	}
	return out
}

// tlsModeLabel tells callers whether a pod's proxy takes mutual TLS; the
// injector sets it to injected.
const tlsModeLabel, injected = "security.istio.io/tlsMode", "istio"

// presetTLSMode looks for pods that say of themselves that they take no mutual TLS.
func presetTLSMode(s *Scene, w workload) []Finding {
	var preset []string
	var pods []facts.Pod
	for _, p := range s.carried(w.pods) {
		if v, ok := p.Labels[tlsModeLabel]; ok && v != injected && p.Sidecar {
			preset, pods = append(preset, fmt.Sprintf("%s=%s", tlsModeLabel, v)), append(pods, p)
		}
	}
	if len(preset) == 0 {
		return nil
	}
	return []Finding{open(w.String(), "%sits label %s has every caller's proxy send plaintext, though it has a proxy that takes mutual TLS", partly(w, pods), listed(preset))}
}

// disableInAmbient looks for policies of others that ztunnel does not follow.
func disableInAmbient(s *Scene) []Finding {
	if s.Facts.Mesh.DataPlane != v1alpha1.DataPlaneAmbient {
		return nil
	}
	const disable = securityapi.PeerAuthentication_MutualTLS_DISABLE
	var out []Finding
	_, others := s.peerAuthentications()
	for _, pa := range others {
		if !s.local(pa) && (pa.Namespace != s.Facts.Mesh.RootNamespace || len(pa.Spec.GetSelector().GetMatchLabels()) > 0) {
			continue
		}
		var where []string
		if pa.Spec.GetMtls().GetMode() == disable {
			where = append(where, "its workloads")
		}
		for _, port := range slices.Sorted(maps.Keys(pa.Spec.GetPortLevelMtls())) {
			if pa.Spec.GetPortLevelMtls()[port].GetMode() == disable {
				where = append(where, fmt.Sprintf("port %d", port))
			}
		}
		if len(where) > 0 {
			out = append(out, open(s.subject(pa), "it turns mutual TLS off for %s, and ambient mode has no such mode: callers of the mesh use it all the same", mesh.Some(where)))
		}
	}
	return out
}
