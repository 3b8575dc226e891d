package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const (
	referencePolicy      = "https://istio.io/latest/docs/reference/config/security/authorization-policy/"
	referenceConditions  = "https://istio.io/latest/docs/reference/config/security/conditions/"
	referenceNormalizing = "https://istio.io/latest/docs/reference/config/security/normalization/"
	referenceBest        = "https://istio.io/latest/docs/ops/best-practices/security/"
	referenceTokens      = "https://istio.io/latest/docs/reference/config/security/request_authentication/"
	referenceMesh        = "https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/"
)

func authorizationChecks() []Check { return slices.Concat(ruleChecks(), supportChecks()) }

// ruleChecks are about whom policies let in.
func ruleChecks() []Check {
	return []Check{
		{
			ID: "AUTHZ-001", Title: "no default-deny is enforced", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 7.2"},
			Remediation: "declare authorization.defaultAction Deny with a rule for each caller, and enforcementMode Enforce; where everybody is to be let in, declare defaultAction Allow",
			Limits:      "Looked at is a workload that no policy's selector names. Where neither the profile nor a baseline declares who may call, the finding is of severity Medium; a declared Allow is none.",
			References:  []string{referenceBest + "#use-default-deny-patterns"},
			examine:     noDefaultDeny,
		},
		{
			ID: "AUTHZ-002", Title: "a workload is open to everybody", Severity: v1alpha1.SeverityCritical, Aliases: []string{"KIA1301"},
			Compliance:  []string{"PCI DSS 4.0 7.2"},
			Remediation: "delete or narrow the policy that lets everybody in; where none denies, see AUTHZ-001; where it has to be open, declare a rule with entity Anyone, or have an exception granted",
			Limits:      "Looked for is a caller without an identity, of any address, on a port that no rule names. Workloads outside of the mesh are ENR-001's. Where nothing denies since nobody declares who may call, or since the profile's mode or preflight has it wait, AUTHZ-001 says it for all.",
			References:  []string{referencePolicy, referenceBest + "#use-default-deny-patterns"},
			workload:    openWorkloads,
		},
		{
			ID: "AUTHZ-003", Title: "a policy's dry-run is left over, or not understood", Severity: v1alpha1.SeverityHigh,
			Remediation: "take the annotation istio.io/dry-run off once the policy's effect is known, or delete the policy; to have it evaluated alone, the value has to be \"true\"",
			Limits:      "For how long a policy has been evaluated alone is not looked at. Policies of the operator are never among these: a profile's mode DryRun is declared.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/"},
			examine:     dryRuns,
		},
		{
			ID: "AUTHZ-004", Title: "a policy matches by an unsafe pattern", Severity: v1alpha1.SeverityMedium,
			Remediation: "let policies that allow name what they allow, and policies that deny name by notPaths what they leave; what is forgotten, or written in another way, is then denied",
			Limits:      "Whether something is really let in by it is not looked at. Rules of the profile are compiled to neither pattern but where it declares a Deny rule with paths, which is its owner's choice.",
			References:  []string{referenceBest + "#use-allow-with-positive-matching-and-deny-with-negative-match-patterns"},
			examine:     unsafePatterns,
		},
		{
			ID: "AUTHZ-005", Title: "paths are compared as they come", Severity: v1alpha1.SeverityMedium,
			Remediation: "set meshConfig.pathNormalization.normalization to MERGE_SLASHES, or to DECODE_AND_MERGE_SLASHES where applications decode %2F, or ask for exact paths alone in policies that allow",
			Limits:      "Policies that allow exact paths alone are left out: another way to write a path is not let in by them. Whether the applications take the ways for one, and what an EnvoyFilter normalizes, is not looked at.",
			References:  []string{referenceNormalizing, referenceBest + "#customize-your-system-on-path-normalization"},
			examine:     rawPaths,
		},
		{
			ID: "AUTHZ-006", Title: "a policy asks for HTTP on a TCP port", Severity: v1alpha1.SeverityMedium, Aliases: []string{"IST0133"},
			Remediation: "name the Service's port http-… or set its appProtocol where it speaks HTTP; else keep the HTTP fields to the ports that do, by to.operation.ports",
			Limits:      "Only ports that a Service declares as other than HTTP are looked at; where the mesh detects the protocol, both may happen.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/", "https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/"},
			examine:     requestsOnConnections,
		},
		{
			ID: "AUTHZ-007", Title: "a policy decides by identity where plaintext is accepted", Severity: v1alpha1.SeverityHigh, Aliases: []string{"KIA0105"},
			Remediation: "accept mutual TLS alone on the port (mutualTLS.mode Strict, no port override), or allow callers by identity instead of denying some",
			Limits:      "A caller in plaintext has no identity: policies that allow by identity refuse it, so that only those that deny, or leave out, by identity are looked at, and those that allow by identity on a port on which mutual TLS is off.",
			References:  []string{referenceConditions, referencePolicy + "#Source"},
			examine:     identityInPlaintext,
		},
		{
			ID: "AUTHZ-008", Title: "a policy names a principal that can't match", Severity: v1alpha1.SeverityMedium, Aliases: []string{"KIA0101", "KIA0106", "KIA0107", "KIA0108"},
			Remediation: "write TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT with the mesh's trust domain, without spiffe://, with * at an end alone; or use serviceAccounts",
			Limits:      "Whether the service account or its namespace exists is not looked at. Where the mesh accepts other trust domains (aliases, other authorities), a foreign one is no finding; an istiod with PILOT_SKIP_VALIDATE_TRUST_DOMAIN accepts them too, which is not looked at.",
			References:  []string{referencePolicy + "#Source", "https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/"},
			examine:     impossiblePrincipals,
		},
		{
			ID: "AUTHZ-009", Title: "more is granted than needed", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 7.2"},
			Remediation: "say in from who may call, and give each workload a service account of its own",
			Limits:      "Which grants are used is not looked at: that needs traffic. Rules that the profile declares for entity Anyone are not among these.",
			References:  []string{referencePolicy, "https://kubernetes.io/docs/concepts/security/service-accounts/"},
			examine:     excessPrivilege,
		},
		{
			ID: "AUTHZ-010", Title: "a policy decides by an address that it does not see", Severity: v1alpha1.SeverityMedium,
			Remediation: "set externalTrafficPolicy Local on the Service; for remoteIpBlocks set meshConfig.defaultConfig.gatewayTopology.numTrustedProxies to the number of proxies in front of the gateway",
			Limits:      "Looked at are Services of the namespace itself and the mesh's own configuration: not those of a gateway elsewhere, and no numTrustedProxies that a gateway's pods are given by annotation. Whether a load balancer outside replaces addresses is not known.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-ingress/", "https://kubernetes.io/docs/tutorials/services/source-ip/", "https://istio.io/latest/docs/ops/configuration/traffic-management/network-topologies/"},
			examine:     unseenAddresses,
		},
	}
}

// supportChecks are about what policies rely on: tokens, authorizers, workloads and plugins.
func supportChecks() []Check {
	return []Check{
		{
			ID: "AUTHZ-013", Title: "tokens are optional", Severity: v1alpha1.SeverityHigh,
			Remediation: "ask for requestPrincipals in the rules that allow, or deny notRequestPrincipals [\"*\"]",
			Limits:      "Where some rules ask for a token and others don't, that is taken to be meant. RequestAuthentications of the profile are not looked at: each comes with a rule that asks for its tokens.",
			References:  []string{referenceTokens, "https://istio.io/latest/docs/tasks/security/authentication/authn-policy/#require-a-valid-token"},
			workload:    optionalTokens,
		},
		{
			ID: "AUTHZ-014", Title: "tokens are validated carelessly", Severity: v1alpha1.SeverityMedium, Aliases: []string{"IST0175"},
			Remediation: "fetch keys by https, name the audiences that the tokens are for, and write claims to headers that nothing else uses",
			Limits:      "Whether the issuer's tokens have an audience is not looked at.",
			References:  []string{referenceTokens + "#JWTRule", "https://datatracker.ietf.org/doc/html/rfc8725#section-3.9"},
			examine:     carelessTokens,
		},
		{
			ID: "AUTHZ-015", Title: "an external authorizer is undefined, or fails open", Severity: v1alpha1.SeverityHigh,
			Remediation: "define the provider in meshConfig.extensionProviders (envoyExtAuthzHttp or envoyExtAuthzGrpc), with failOpen false",
			Limits:      "Whether the authorizer runs, and what it decides, is not looked at.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-custom/", referenceMesh},
			examine:     externalAuthorizers,
		},
		{
			ID: "AUTHZ-016", Title: "a policy is for no workload", Severity: v1alpha1.SeverityMedium, Aliases: []string{"KIA0004", "IST0127"},
			Remediation: "mend the selector, or delete the policy",
			Limits:      "Workloads that run from time to time, or are scaled to nothing, have no pods to match. Policies of the root namespace may be for other namespaces, and rules of the profile say so in status.rules: neither is among these.",
			References:  []string{"https://istio.io/latest/docs/reference/config/analysis/ist0127/"},
			examine:     deadPolicies,
		},
		{
			ID: "AUTHZ-017", Title: "a policy with AUDIT logs nothing", Severity: v1alpha1.SeverityLow,
			Remediation: "delete the policy and use access logs (logging.accessLog), or install the plugin that it is for",
			Limits:      "Where an EnvoyFilter or WasmPlugin acts on the namespace, it may be the plugin.",
			References:  []string{referencePolicy + "#AuthorizationPolicy-Action"},
			examine:     idleAudits,
		},
	}
}

// strangers are addresses of nobody (RFC 5737): what lets in a call from both,
// without an identity, on a port and with a method that nobody names, lets in everybody.
var strangers = []string{"192.0.2.1", "203.0.113.254"}

const (
	strangersPort   = 64999
	strangersMethod = "MESHSECURITY"
)

// lets says whether everybody may call a workload, its transport aside.
func (s *Scene) lets(to map[string]string) effective.Answer {
	var out effective.Answer
	for _, address := range strangers {
		out = s.Model().Pass(effective.Probe{Layer: effective.Authorization, Call: effective.Call{
			To: to, Port: strangersPort, From: effective.Caller{Address: address},
			// ztunnel sees connections alone.
			HTTP: s.Facts.Mesh.DataPlane != v1alpha1.DataPlaneAmbient, Method: strangersMethod, Path: "/", Host: "stranger.invalid",
		}})
		if !out.Passes {
			break
		}
	}
	return out
}

// noDefaultDeny looks at what becomes of calls to a workload that no policy names.
func noDefaultDeny(s *Scene) []Finding {
	a := s.Posture.Authorization
	if !s.istio() || a != nil && (a.Default == v1alpha1.DefaultAllow || posture.Exempted(a.Exempt, nil)) {
		return nil
	}
	at := s.lets(nil)
	if !at.Passes {
		return nil
	}
	subject := "Namespace/" + s.Facts.Namespace.Name
	var f Finding
	switch {
	case at.Unknown:
		f = unknown(subject, "%s, so that nothing tells whether calls that no rule allows are denied", s.whyUnknown(at))
	case len(at.By) > 0:
		f = open(subject, "calls that no rule allows are let in, since %s allows everything", s.named(at.By))
		f.Remediation = "delete the policy, or narrow its rule; where everybody is to be let in, declare authorization.defaultAction Allow"
	default:
		f = open(subject, "calls that no rule allows are let in: %s", s.whyOpen())
		if s.waits() {
			f.Remediation = "have the mode, or what the preflight found, let authorization be enforced"
		}
	}
	if a == nil {
		f.Severity = v1alpha1.SeverityMedium
	}
	return []Finding{f}
}

// waits says whether authorization is declared, and meant to deny nothing yet.
func (s *Scene) waits() bool {
	p := s.Posture
	return p.Authorization != nil && (p.Mode != v1alpha1.ModeEnforce || slices.Contains(p.Held, v1alpha1.AreaAuthorization))
}

func (s *Scene) whyOpen() string {
	switch p := s.Posture; {
	case p.Authorization == nil:
		return "neither the profile nor a baseline declares who may call, and no policy denies by default"
	case p.Mode != v1alpha1.ModeEnforce:
		return fmt.Sprintf("Deny is declared, and enforcementMode %s denies nothing", p.Mode)
	case slices.Contains(p.Held, v1alpha1.AreaAuthorization):
		return "Deny is declared, and the preflight holds it back"
	}
	return "Deny is declared, and no policy in force denies by default"
}

func (s *Scene) whyUnknown(at effective.Answer) string {
	if len(at.By) > 0 {
		return s.named(at.By) + " leaves it to an external authorizer who may call"
	}
	return "the mesh configuration can't be read, which says where mesh-wide policies are"
}

// openWorkloads looks for workloads that everybody may call where Deny is
// declared, or what is in force denies by default.
func openWorkloads(s *Scene, w workload) []Finding {
	a := s.Posture.Authorization
	if !s.istio() || a == nil && s.lets(nil).Passes || a != nil && a.Default == v1alpha1.DefaultAllow {
		return nil
	}
	var at effective.Answer
	some, hit := w.some(func(p facts.Pod) bool {
		if !p.Enrolled(s.Facts.Mesh.DataPlane) || meantOpen(a, p.Labels) {
			return false
		}
		answer := s.lets(p.Labels)
		if answer.Passes && (!at.Passes || at.Unknown) {
			at = answer
		}
		return answer.Passes
	})
	switch {
	case !hit || s.waits() && len(at.By) == 0:
	case at.Unknown:
		return []Finding{unknown(w.String(), "%s, so that nothing tells who may call it", s.whyUnknown(at))}
	case len(at.By) > 0:
		return []Finding{open(w.String(), "%severybody may call it, with or without an identity, by %s", some, s.named(at.By))}
	default:
		return []Finding{open(w.String(), "%severybody may call it, with or without an identity: %s", some, s.whyOpen())}
	}
	return nil
}

// meantOpen says whether a workload is declared to be open to everybody.
func meantOpen(a *posture.Authorization, labels map[string]string) bool {
	if a == nil {
		return false
	}
	return posture.Exempted(a.Exempt, labels) || slices.ContainsFunc(a.Rules, func(r posture.Rule) bool {
		everybody := r.From.Anyone || slices.ContainsFunc(r.From.IPBlocks, func(b v1alpha1.IPBlock) bool { return strings.HasSuffix(string(b.CIDR), "/0") })
		return r.Action == v1alpha1.RuleAllow && everybody && len(r.To) == 0 && r.JWT == nil && facts.Matches(r.Selector, labels)
	})
}

// dryRuns looks at what others mean to be evaluated alone.
func dryRuns(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(false)
	for _, p := range others {
		v, has := p.Annotations[istio.AnnotationDryRun]
		if !has {
			continue
		}
		switch dry, err := strconv.ParseBool(v); {
		case err != nil:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "its annotation istio.io/dry-run is neither true nor false, so that the mesh enforces it"))
		case dry:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "it is evaluated and not enforced, by its annotation istio.io/dry-run: what it would deny is let in where nothing else denies it"))
		}
	}
	return out
}

// unsafePatterns looks for policies under which what is forgotten is let in.
func unsafePatterns(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(true)
	for _, p := range others {
		switch p.Spec.GetAction() {
		case securityapi.AuthorizationPolicy_ALLOW:
			if names := fieldNames(p.fields, func(f field) bool { return f.not }); len(names) > 0 {
				out = append(out, open(s.subject(p.AuthorizationPolicy), "it allows all but what it names by %s: what nobody thought of is let in", strings.Join(names, ", ")))
			}
		case securityapi.AuthorizationPolicy_DENY:
			if asks(p.fields, func(f field) bool { return f.about == ofPaths && !f.not }) {
				out = append(out, open(s.subject(p.AuthorizationPolicy), "it denies the paths that it names: a path that is written in another way, and means the same to the application, is not denied"))
			}
		case securityapi.AuthorizationPolicy_CUSTOM, securityapi.AuthorizationPolicy_AUDIT:
		}
	}
	return out
}

// rawPaths looks for policies that another way to write a path evades. The
// profile's rules are among them: the mesh has to do its part.
func rawPaths(s *Scene) []Finding {
	how := s.Facts.Mesh.PathNormalization
	if how == "MERGE_SLASHES" || how == "DECODE_AND_MERGE_SLASHES" {
		return nil
	}
	var out []Finding
	ours, others := s.policies(true)
	for _, p := range slices.Concat(ours, others) {
		action := p.Spec.GetAction()
		evaded := action != securityapi.AuthorizationPolicy_AUDIT && asks(p.fields, func(f field) bool {
			exact := !slices.ContainsFunc(f.values, func(v string) bool { return strings.ContainsAny(v, "*{") })
			return f.about == ofPaths && (f.not || action != securityapi.AuthorizationPolicy_ALLOW || !exact)
		})
		switch {
		case !evaded:
		case how == "":
			out = append(out, unknown(s.subject(p.AuthorizationPolicy), "it decides by paths, and the mesh configuration can't be read, which says how they are normalized"))
		default:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "it decides by paths, and pathNormalization %s leaves %s in them, by which one path is written in several ways", how, leftIn(how)))
		}
	}
	return out
}

func leftIn(normalization string) string {
	if normalization == "NONE" {
		return "dot segments, repeated and encoded slashes"
	}
	return "repeated and encoded slashes"
}

// connections are the ports of a pod that services declare as other than HTTP,
// and requests those that may be HTTP.
func (s *Scene) connections(pod facts.Pod) (connections, requests []int32) {
	spoken := map[int32]facts.Tristate{}
	for _, svc := range s.services() {
		if len(svc.Selector) == 0 || !facts.Matches(svc.Selector, pod.Labels) {
			continue
		}
		for _, p := range svc.Ports {
			number, ok := istio.TargetPort(p.Target, pod)
			if p.Protocol != "TCP" || !ok {
				continue
			}
			reads := istio.ReadsRequests(p)
			if have, is := spoken[number]; is && have != reads {
				reads = facts.Unknown
			}
			spoken[number] = reads
		}
	}
	for number, reads := range spoken {
		if reads == facts.No {
			connections = append(connections, number)
		} else {
			requests = append(requests, number)
		}
	}
	for _, c := range pod.Ports {
		if _, is := spoken[c.Number]; !is {
			requests = append(requests, c.Number)
		}
	}
	slices.Sort(connections)
	return connections, requests
}

// requestsOnConnections looks for policies that ask for what a connection does
// not have: one that allows does nothing there, and one that denies takes all.
func requestsOnConnections(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(true)
	for _, p := range others {
		action := p.Spec.GetAction()
		if action != securityapi.AuthorizationPolicy_ALLOW && action != securityapi.AuthorizationPolicy_DENY {
			continue
		}
		denies := action == securityapi.AuthorizationPolicy_DENY
		names := fieldNames(p.fields, field.http)
		var at []string
		for _, w := range s.workloads() {
			var hit []int32
			for _, pod := range s.selected(w, p.selector()) {
				tcp, other := s.connections(pod)
				for _, c := range p.rules {
					hit = append(hit, c.blind(tcp, len(other) == 0, denies)...)
				}
			}
			slices.Sort(hit)
			for _, port := range slices.Compact(hit) {
				at = append(at, fmt.Sprintf("port %d of %s", port, w))
			}
		}
		effect := "it allows nothing there"
		if denies {
			effect = "it denies there whatever these say"
		}
		if len(at) > 0 {
			out = append(out, open(s.subject(p.AuthorizationPolicy), "it asks for %s at %s, which a Service declares as other than HTTP: %s", strings.Join(names, ", "), strings.Join(at, ", "), effect))
		}
	}
	return out
}

// blind are those of a pod's TCP ports at which a rule asks for HTTP. Without
// ports it is meant for those that speak it, so that only one that denies, or
// that has no other port, is amiss.
func (c clauses) blind(tcp []int32, alone, denies bool) []int32 {
	everywhere := slices.Concat(slices.Concat(c.from...), c.when)
	operations := c.to
	if len(operations) == 0 {
		operations = [][]field{nil}
	}
	var out []int32
	for _, op := range operations {
		asked := slices.Concat(op, everywhere)
		if !denies {
			// What allows is dropped as a whole.
			asked = c.fields
		}
		if !asks(asked, field.http) {
			continue
		}
		named := portsIn(slices.Concat(op, c.when))
		for _, port := range tcp {
			if slices.Contains(named, port) || len(named) == 0 && (denies || alone) {
				out = append(out, port)
			}
		}
	}
	return out
}

// identityInPlaintext looks for policies that a caller without an identity evades.
func identityInPlaintext(s *Scene) []Finding {
	ours, others := s.policies(true)
	all := slices.Concat(ours, others)
	var out []Finding
	for _, p := range all {
		for _, c := range p.rules {
			if f, found := s.evaded(p, c, all); found {
				out = append(out, f)
				break
			}
		}
	}
	return out
}

// evaded says where a rule of a policy does not do what it says to callers in plaintext.
func (s *Scene) evaded(p ruled, c clauses, all []ruled) (Finding, bool) {
	names := fieldNames(c.fields, field.identity)
	needs := asks(c.fields, func(f field) bool { return f.identity() && !f.not })
	action := p.Spec.GetAction()
	if len(names) == 0 || action == securityapi.AuthorizationPolicy_AUDIT {
		return Finding{}, false
	}
	allows := action == securityapi.AuthorizationPolicy_ALLOW
	var at, unread []string
	for _, w := range s.workloads() {
		for _, pod := range s.selected(w, p.selector()) {
			for _, port := range s.listens(pod, portsIn(c.fields)) {
				mode, _ := s.Model().MutualTLS(pod.Labels, port)
				affected := mode != "STRICT"
				switch {
				case allows && needs:
					affected = mode == "DISABLE"
				case !allows:
					affected = affected && needs && admitsPlaintext(all, pod.Labels, port)
				}
				where := fmt.Sprintf("port %d of %s", port, w)
				if affected && mode == "UNSET" {
					unread = append(unread, where)
				} else if affected {
					at = append(at, where)
				}
			}
		}
	}
	slices.Sort(at)
	slices.Sort(unread)
	at, unread = slices.Compact(at), slices.Compact(unread)
	by := strings.Join(names, ", ")
	switch {
	case len(at) > 0 && allows && needs:
		f := open(s.subject(p.AuthorizationPolicy), "it allows by %s, and mutual TLS is off at %s, where nobody has an identity: it lets nobody in there", by, strings.Join(at, ", "))
		f.Severity = v1alpha1.SeverityMedium
		return f, true
	case len(at) > 0 && allows:
		return open(s.subject(p.AuthorizationPolicy), "it leaves callers out by %s, and %s accepts plaintext, in which nobody has an identity: whoever is left out gets in so", by, strings.Join(at, ", ")), true
	case len(at) > 0:
		return open(s.subject(p.AuthorizationPolicy), "it stops callers by %s, and %s accepts plaintext, in which nobody has an identity: whoever is stopped gets in so", by, strings.Join(at, ", ")), true
	case len(unread) > 0:
		return unknown(s.subject(p.AuthorizationPolicy), "it decides by %s, and nothing tells whether plaintext is accepted at %s: the mesh configuration can't be read", by, strings.Join(unread, ", ")), true
	}
	return Finding{}, false
}

// listens are the ports of a pod, those that a rule is for where it names some.
func (s *Scene) listens(pod facts.Pod, named []int32) []int32 {
	if len(named) > 0 {
		return named
	}
	tcp, other := s.connections(pod)
	out := slices.Concat(tcp, other)
	slices.Sort(out)
	return slices.Compact(out)
}

// admitsPlaintext says whether some caller without an identity is allowed at a port.
func admitsPlaintext(all []ruled, labels map[string]string, port int32) bool {
	denied := false
	for _, p := range all {
		if p.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW || !facts.Matches(p.selector(), labels) {
			continue
		}
		denied = true
		for _, c := range p.rules {
			named := portsIn(c.fields)
			if len(named) > 0 && !slices.Contains(named, port) {
				continue
			}
			needs := func(fs []field) bool { return asks(fs, func(f field) bool { return f.identity() && !f.not }) }
			if !needs(c.when) && (len(c.from) == 0 || slices.ContainsFunc(c.from, func(fs []field) bool { return !needs(fs) })) {
				return true
			}
		}
	}
	return !denied
}

// impossiblePrincipals looks for principals that no caller has.
func impossiblePrincipals(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(false)
	for _, p := range others {
		var never, unread []string
		for _, f := range p.fields {
			if f.about != ofPrincipals {
				continue
			}
			for _, v := range f.values {
				switch why, known := impossible(v, s.Facts.Mesh); {
				case why == "":
				case known:
					never = append(never, fmt.Sprintf("%s (%s)", v, why))
				default:
					unread = append(unread, v)
				}
			}
		}
		slices.Sort(never)
		slices.Sort(unread)
		switch {
		case len(never) > 0:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "it names principals that no caller has: %s", strings.Join(slices.Compact(never), ", ")))
		case len(unread) > 0:
			out = append(out, unknown(s.subject(p.AuthorizationPolicy), "the mesh configuration can't be read, which says of which trust domain callers are: %s", strings.Join(slices.Compact(unread), ", ")))
		}
	}
	return out
}

// impossible says why no caller has a principal; known is false where only the
// mesh configuration, which was not read, could tell.
func impossible(principal string, m facts.Mesh) (why string, known bool) {
	inner := strings.TrimSuffix(strings.TrimPrefix(principal, "*"), "*")
	switch {
	case principal == "*":
		return "", true
	case strings.HasPrefix(principal, "spiffe://"):
		return "principals are written without spiffe://", true
	case strings.Contains(inner, "*") || strings.HasPrefix(principal, "*") && strings.HasSuffix(principal, "*"):
		return "a * counts at one end alone", true
	}
	domain, _, whole := strings.Cut(principal, "/ns/")
	if !whole || strings.HasPrefix(principal, "*") || m.ForeignTrust || domain == m.TrustDomain || domain == "cluster.local" {
		// Istio takes cluster.local for the mesh's own trust domain.
		return "", true
	}
	return "of a trust domain that the mesh does not know", m.ConfigRead
}

// excessPrivilege looks for rules for everybody, and accounts that many share.
func excessPrivilege(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(true)
	for _, p := range others {
		if p.Spec.GetAction() != securityapi.AuthorizationPolicy_ALLOW {
			continue
		}
		var shared []string
		anyone := false
		for _, c := range p.rules {
			who := slices.Concat(slices.Concat(c.from...), c.when)
			caller := func(f field) bool {
				return f.identity() || f.token() || f.about == ofIPBlocks || f.about == ofRemoteIPBlocks
			}
			// A rule of nothing at all is AUTHZ-002's.
			anyone = anyone || len(c.fields) > 0 && !asks(who, caller)
			for _, f := range who {
				shared = append(shared, defaultAccounts(f)...)
			}
		}
		slices.Sort(shared)
		var what []string
		if anyone {
			what = append(what, "a rule says not who may call, so that everybody may")
		}
		if len(shared) > 0 {
			what = append(what, "it lets in a default account, which every pod without one of its own has: "+strings.Join(slices.Compact(shared), ", "))
		}
		if len(what) > 0 {
			out = append(out, open(s.subject(p.AuthorizationPolicy), "%s", strings.Join(what, "; ")))
		}
	}
	return append(out, sharedAccount(s)...)
}

// defaultAccounts are those that a field names.
func defaultAccounts(f field) []string {
	if f.not || f.about != ofPrincipals && f.about != ofServiceAccounts {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.values), func(v string) bool {
		return v != "default" && !strings.HasSuffix(v, "/default")
	})
}

// sharedAccount looks for workloads that no policy can tell apart.
func sharedAccount(s *Scene) []Finding {
	if !s.istio() {
		return nil
	}
	var under []string
	for _, w := range s.workloads() {
		if slices.ContainsFunc(s.selected(w, nil), func(p facts.Pod) bool { return p.ServiceAccount == "default" }) {
			under = append(under, w.String())
		}
	}
	if len(under) < 2 {
		return nil
	}
	var out []Finding
	for _, w := range under {
		out = append(out, open(w, "it shares the namespace's default account with others: whoever lets one of them in lets in all"))
	}
	return out
}

// unseenAddresses looks for policies by addresses that are not the callers'.
func unseenAddresses(s *Scene) []Finding {
	ours, others := s.policies(true)
	all := slices.Concat(ours, others)
	var out []Finding
	for _, svc := range s.services() {
		if !svc.HidesCallers || len(svc.Selector) == 0 {
			continue
		}
		var by []string
		for _, p := range all {
			seen := asks(p.fields, func(f field) bool { return f.about == ofIPBlocks })
			if seen && slices.ContainsFunc(s.Facts.Select(svc.Selector), func(pod facts.Pod) bool {
				return facts.Matches(p.selector(), pod.Labels)
			}) {
				by = append(by, s.subject(p.AuthorizationPolicy))
			}
		}
		slices.Sort(by)
		if len(by) > 0 {
			out = append(out, open("Service/"+svc.Name, "it shows its pods a node's address instead of the caller's (externalTrafficPolicy is not Local), and %s decides by it", strings.Join(by, ", ")))
		}
	}
	for _, p := range all {
		if !asks(p.fields, func(f field) bool { return f.about == ofRemoteIPBlocks }) {
			continue
		}
		switch s.Facts.Mesh.TrustedProxies {
		case facts.No:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "it decides by remoteIpBlocks, and the mesh knows of no proxy in front of its gateways (numTrustedProxies): what it takes for the caller's address may be a load balancer's, or forged in X-Forwarded-For"))
		case facts.Unknown:
			out = append(out, unknown(s.subject(p.AuthorizationPolicy), "it decides by remoteIpBlocks, and the mesh configuration can't be read, which says how many proxies are in front of its gateways"))
		case facts.Yes:
		}
	}
	return out
}

// optionalTokens looks for workloads whose tokens are validated and not asked for.
func optionalTokens(s *Scene, w workload) []Finding {
	ours, others := s.policies(true)
	all := slices.Concat(ours, others)
	_, authentications := acting[*securityv1.RequestAuthentication](s)
	var by []string
	for _, a := range authentications {
		for _, pod := range s.selected(w, a.Spec.GetSelector().GetMatchLabels()) {
			if len(a.Spec.GetJwtRules()) > 0 && tokenFree(all, pod.Labels) {
				by = append(by, s.subject(a))
			}
		}
	}
	slices.Sort(by)
	if by = slices.Compact(by); len(by) == 0 {
		return nil
	}
	return []Finding{open(w.String(), "%s validates tokens, and no policy asks for one: whoever sends none is let in as well", strings.Join(by, ", "))}
}

// tokenFree says whether a workload's policies let somebody in, and none of
// them looks at tokens.
func tokenFree(all []ruled, labels map[string]string) bool {
	denied, allowed := false, false
	for _, p := range all {
		if !facts.Matches(p.selector(), labels) {
			continue
		}
		switch p.Spec.GetAction() {
		case securityapi.AuthorizationPolicy_CUSTOM:
			return false // The external authorizer may.
		case securityapi.AuthorizationPolicy_ALLOW:
			denied, allowed = true, allowed || len(p.Spec.GetRules()) > 0
		case securityapi.AuthorizationPolicy_DENY:
		case securityapi.AuthorizationPolicy_AUDIT:
			continue
		}
		if asks(p.fields, field.token) {
			return false
		}
	}
	return allowed || !denied
}

// reservedHeaders are what proxies and applications take for the mesh's own word.
var reservedHeaders = []string{"authorization", "host", "forwarded", "x-request-id"}

func reserved(header string) bool {
	h := strings.ToLower(header)
	return slices.Contains(reservedHeaders, h) || slices.ContainsFunc([]string{":", "x-envoy-", "x-forwarded-", "x-istio-"}, func(p string) bool { return strings.HasPrefix(h, p) })
}

// carelessTokens looks at how tokens are validated. The profile's providers are
// among them: it may leave audiences out.
func carelessTokens(s *Scene) []Finding {
	ours, others := acting[*securityv1.RequestAuthentication](s)
	var out []Finding
	for _, a := range slices.Concat(ours, others) {
		var what []string
		for _, r := range a.Spec.GetJwtRules() {
			of := "issuer " + r.GetIssuer()
			discovers := r.GetJwksUri() == "" && r.GetJwks() == "" && strings.HasPrefix(r.GetIssuer(), "http://")
			if strings.HasPrefix(r.GetJwksUri(), "http://") || discovers {
				what = append(what, of+": keys are fetched by http, so that somebody on the way can put in their own")
			}
			if len(r.GetAudiences()) == 0 {
				what = append(what, of+": no audiences, so that tokens for any other service are accepted")
			}
			headers := []string{r.GetOutputPayloadToHeader()}
			for _, h := range r.GetOutputClaimToHeaders() {
				headers = append(headers, h.GetHeader())
			}
			for _, h := range headers {
				if reserved(h) {
					what = append(what, fmt.Sprintf("%s: claims are written to the header %s, which has a meaning of its own", of, h))
				}
			}
		}
		slices.Sort(what)
		if what = slices.Compact(what); len(what) > 0 {
			out = append(out, open(s.subject(a), "%s", strings.Join(what, "; ")))
		}
	}
	return out
}

// externalAuthorizers looks for policies that leave it to an authorizer who may
// not be asked.
func externalAuthorizers(s *Scene) []Finding {
	var out []Finding
	_, others := s.policies(true)
	for _, p := range others {
		if p.Spec.GetAction() != securityapi.AuthorizationPolicy_CUSTOM {
			continue
		}
		name := p.Spec.GetProvider().GetName()
		i := slices.IndexFunc(s.Facts.Mesh.Authorizers, func(a facts.Authorizer) bool { return a.Name == name })
		switch {
		case !s.Facts.Mesh.ConfigRead:
			out = append(out, unknown(s.subject(p.AuthorizationPolicy), "the mesh configuration can't be read, which says what provider %s is", name))
		case i < 0:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "the mesh configuration has no external authorizer %s: whatever the policy matches is denied", name))
		case s.Facts.Mesh.Authorizers[i].FailOpen:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "the external authorizer %s fails open: everybody is let in while it does not answer", name))
		}
	}
	return out
}

// deadPolicies looks for selectors that match nothing.
func deadPolicies(s *Scene) []Finding {
	if len(s.Facts.Pods) == 0 {
		return nil
	}
	var out []Finding
	dead := func(o facts.Object, selector map[string]string) {
		if o.GetNamespace() == s.Facts.Namespace.Name && len(selector) > 0 && len(s.Facts.Select(selector)) == 0 {
			out = append(out, open(s.subject(o), "its selector matches no pod, so that it is for nobody"))
		}
	}
	_, policies := s.policies(false)
	for _, p := range policies {
		dead(p.AuthorizationPolicy, p.selector())
	}
	_, authentications := acting[*securityv1.RequestAuthentication](s)
	for _, a := range authentications {
		dead(a, a.Spec.GetSelector().GetMatchLabels())
	}
	return out
}

// idleAudits looks for policies that only a plugin would act on.
func idleAudits(s *Scene) []Finding {
	plugin := slices.ContainsFunc(s.Influences, func(i facts.Influence) bool { return i.Kind == "EnvoyFilter" || i.Kind == "WasmPlugin" })
	var out []Finding
	_, others := s.policies(true)
	for _, p := range others {
		switch {
		case p.Spec.GetAction() != securityapi.AuthorizationPolicy_AUDIT:
		case plugin:
			out = append(out, unknown(s.subject(p.AuthorizationPolicy), "nothing tells whether an EnvoyFilter or WasmPlugin that acts here is the plugin that logs for it"))
		default:
			out = append(out, open(s.subject(p.AuthorizationPolicy), "the mesh logs nothing for it: AUDIT is for a plugin, and none acts here"))
		}
	}
	return out
}
