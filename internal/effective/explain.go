package effective

import (
	"fmt"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Outcome says what becomes of a call or a connection.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "Allowed"
	Denied  Outcome = "Denied"
	// Unknown: the model can't tell.
	Unknown Outcome = "Unknown"
)

// Capture is whether a connection passes the proxy beside a pod at all. It is a
// layer of whole answers alone, and never stops anything: what is not captured,
// the mesh neither protects nor stops.
const Capture Layer = "Capture"

// Step is what one layer says.
type Step struct {
	Layer   Layer
	Outcome Outcome
	// By are the objects that decide; empty where a default does.
	By []Ref
	// Why in words, a part of a sentence.
	Why string
}

// Verdict is a whole answer, with its reasons.
type Verdict struct {
	Outcome Outcome
	// Layer that decides: the first on the way that stops it, else the first
	// that can't be told. Empty where all let it pass.
	Layer Layer
	// By are the objects that decide. Where it is allowed, these are all that
	// let it pass; empty where defaults do.
	By []Ref
	// Why is one sentence.
	Why string
	// Past says why the mesh does not see it; empty where it does. The network
	// alone then has a say.
	Past string
	// Steps are what each layer says, in the order of the way. Layers of the mesh
	// are not among them where it has no say.
	Steps []Step
	// Shadow is what authorization would say were the dry-run policies for the
	// workload enforced as well; nil where there are none. Of a dry run of ALLOW
	// alone, that is what a first enforced ALLOW does.
	Shadow *Step
	// Through are the hosts to which routes of the mesh lead a connection instead
	// of its own, sorted: an egress gateway's. Empty for calls.
	Through []string
}

// step is a Step on its way.
type step struct {
	layer Layer
	verdict
	more []Ref
	why  string
}

func (m *Model) step(s step) Step {
	out := Step{Layer: s.layer, Outcome: [...]Outcome{stops: Denied, unsure: Unknown, passes: Allowed}[s.state], By: m.answer(s.verdict).By, Why: s.why}
	for _, r := range s.more {
		if !slices.Contains(out.By, r) {
			out.By = append(out.By, r)
		}
	}
	return out
}

// whole puts layers together that all have to let something pass.
func (m *Model) whole(steps []step) Verdict {
	var v Verdict
	decides := -1
	for i, s := range steps {
		v.Steps = append(v.Steps, m.step(s))
		if s.state != passes && (decides < 0 || s.state < steps[decides].state) {
			decides = i
		}
	}
	if decides >= 0 {
		d := v.Steps[decides]
		v.Outcome, v.Layer, v.By, v.Why = d.Outcome, d.Layer, d.By, d.Why
		return v
	}
	v.Outcome = Allowed
	var why []string
	for _, s := range v.Steps {
		why = append(why, s.Why)
		for _, r := range s.By {
			if !slices.Contains(v.By, r) {
				v.By = append(v.By, r)
			}
		}
	}
	v.Why = strings.Join(why, "; ")
	return v
}

// Explain says what becomes of a call to a pod, and why: the network lets it in
// or not, the pod's proxy sees it or not, and, where it does, mutual TLS and
// then authorization let it pass: tokens, then CUSTOM, DENY and ALLOW, which
// all have to. The pod's labels take the place of c.To.
//
// A call of a caller with an identity comes by mutual TLS wherever the pod
// accepts that. c.HTTP is what the caller speaks: where a Service says that the
// port is none of HTTP, the proxy reads no requests. c.Path is the path as it is
// sent; it is normalized as the mesh configuration says. What the model does not
// know is Unknown: an external authorizer's answer, the effect of an
// EnvoyFilter, a network of which nobody says that it enforces NetworkPolicy.
// Calls from the pod itself, and those of its node, are not asked about:
// NetworkPolicy never stops these. Nor is what the pod's own containers could do
// to the proxy beside them.
func (m *Model) Explain(c Call, pod facts.Pod) Verdict {
	c.To = pod.Labels
	network := m.networkStep(NetworkIn, m.networkIn(&c), pod)
	seen, why := m.capturesIn(&c, &pod)
	if seen == stops {
		v := m.whole([]step{network, {layer: Capture, verdict: verdict{passes, -1}, why: "the mesh does not see it: " + why}})
		v.Past = why
		return v
	}
	if c.HTTP && m.speaks(c.To, c.Port) == facts.No {
		c.HTTP = false
	}
	transport, identity := m.transportStep(&c, portWords(c.Port))
	if !identity {
		c.From.ServiceAccount = ""
	}
	steps := m.behindCapture(seen, why, transport, m.authorizationStep(&c, transport))
	v := m.whole(append([]step{network}, steps...))
	v.Shadow = m.shadowStep(&c, transport)
	return v
}

// behindCapture are the mesh's layers: where it is not sure that the proxy sees
// a connection, that they stop it is not either.
func (m *Model) behindCapture(seen state, why string, layers ...step) []step {
	if seen == passes {
		return layers
	}
	at := step{layer: Capture, verdict: verdict{passes, -1}, why: "the mesh may not see it: " + why}
	for i, l := range layers {
		if l.state != passes && at.state == passes {
			at.verdict, at.more = verdict{unsure, l.by}, l.more
			at.why += "; where it does, " + l.why
		}
		if l.state == stops {
			layers[i].state, layers[i].why = unsure, l.why+", where the proxy sees it"
		}
	}
	return append([]step{at}, layers...)
}

const byNode = "the pod uses its node's network"

func onNode(p *facts.Pod) bool { return slices.Contains(p.Bypass, facts.HostNetwork) }

// networkStep: what NetworkPolicy stops is stopped where the network is known to
// enforce it. For pods on their node's network that is not defined
// (kubernetes.io/docs, "Network Policies", on hostNetwork pods).
func (m *Model) networkStep(l Layer, v verdict, p facts.Pod) step {
	s := step{layer: l, verdict: v}
	by := m.naming(v)
	switch {
	case v.state == unsure:
		s.why = "the network may stop it: " + by + " lets through some of what it may be for"
	case v.state == passes && v.by < 0:
		s.why = "no NetworkPolicy is in its way"
	case v.state == passes:
		s.why = "the network lets it through by " + by
	case onNode(&p):
		s.state, s.why = unsure, byNode+", for which it is not defined whether "+by+" holds"
	case m.NetworkEnforced == facts.No:
		s.state, s.why = passes, by+" would stop it, and the network does not enforce NetworkPolicy"
	case m.NetworkEnforced != facts.Yes:
		s.state, s.why = unsure, by+" stops it if the network enforces NetworkPolicy, which is not known"
	default:
		s.why = "the network stops it: nothing lets it through, and " + by + " isolates the pod"
	}
	return s
}

// naming is what decides in words.
func (m *Model) naming(v verdict) string {
	if v.by < 0 {
		return "the mesh's default"
	}
	return named([]Ref{m.refs[v.by]}, m.Namespace)
}

// proxied says whether a pod's proxy is one that the model knows: passes for
// yes, stops where the pod has none.
func (m *Model) proxied(p *facts.Pod, protocol string) (state, string) {
	switch {
	case m.Mesh.Provider == v1alpha1.ProviderLinkerd:
		return unsure, "its mesh is Linkerd, which the model does not know"
	case p.Gateway:
		return unsure, "the pod is a gateway, which the model does not know"
	case p.Ambient && !p.Sidecar:
		return unsure, "the node's ztunnel carries it, which the model does not know"
	case onNode(p):
		return stops, byNode
	case !p.Sidecar && len(p.Bypass) > 0:
		return stops, "the pod has no proxy (" + strings.Join(p.Bypass, ", ") + ")"
	case !p.Sidecar:
		return stops, "the pod has no proxy"
	case protocol != "" && protocol != "TCP":
		return stops, "only TCP is led through the proxy"
	case p.Capture.None:
		return stops, "nothing is led through the proxy (interceptionMode NONE)"
	}
	return passes, ""
}

func (m *Model) capturesIn(c *Call, p *facts.Pod) (state, string) {
	if seen, why := m.proxied(p, c.Protocol); seen != passes {
		return seen, why
	}
	switch {
	case p.Capture.SomeIn && !slices.Contains(p.Capture.InPorts, c.Port):
		return stops, fmt.Sprintf("port %d is not led through the proxy (includeInboundPorts)", c.Port)
	case p.Capture.SomeIn:
		// Nothing is excluded of what is included (istio-iptables).
	case slices.Contains(facts.AgentPorts(), c.Port):
		return stops, fmt.Sprintf("port %d is the proxy's own", c.Port)
	case slices.Contains(p.Uncaptured, c.Port):
		return stops, fmt.Sprintf("port %d is not led through the proxy (excludeInboundPorts)", c.Port)
	}
	if p.Capture.Interfaces {
		return unsure, "some of the pod's network interfaces are not led through the proxy (excludeInterfaces)"
	}
	return passes, ""
}

// trusts says whether the mesh's proxies accept a trust domain's identities:
// its own and its aliases', unless they are told to accept all (pilot,
// security/model, TrustDomainsForValidation).
func (m *Model) trusts(domain string) state {
	switch {
	case slices.Contains(m.trust, domain) || m.Mesh.AnyTrustDomain:
		return passes
	case m.Mesh.ConfigRead && m.Mesh.Version != "":
		return stops
	}
	// How its control plane was told is not known.
	return unsure
}

func portWords(n int32) string { return fmt.Sprintf("port %d", n) }

// transportStep also says whether the proxy sees the caller's identity. where
// names the port.
func (m *Model) transportStep(c *Call, where string) (s step, identity bool) {
	at := m.mutualTLS(c.To, c.Port)
	s = step{layer: Transport, verdict: verdict{passes, at.ref}}
	identity = c.From.ServiceAccount != ""
	by := m.naming(s.verdict)
	switch {
	case at.mode == unset:
		s.state, s.why = unsure, "the mode of mutual TLS of "+where+" is not known"
		if identity {
			// Its proxy does what the server's asks for.
			s.state = passes
		}
	case at.mode == disabled:
		s.why, identity = where+" takes plaintext alone by "+by+", so that callers have no identity", false
	case identity:
		s.why = fmt.Sprintf("%s takes mutual TLS (%s by %s)", where, at.mode, by)
		if s.state = m.trusts(c.From.TrustDomain); s.state != passes {
			s.verdict.by = -1
			s.why = "the mesh does not trust identities of " + c.From.TrustDomain
		}
		if s.state == unsure {
			s.why = "whether the mesh trusts identities of " + c.From.TrustDomain + " is not known"
		}
	case at.mode == strict:
		s.state, s.why = stops, where+" takes mutual TLS alone (STRICT by "+by+"), and the call is plaintext"
	default:
		s.why = where + " takes plaintext (PERMISSIVE by " + by + ")"
	}
	var listener []Ref
	if scope := m.scopeOf(c.To); scope != nil && slices.Contains(scope.ingress, c.Port) {
		// Its listener may have TLS settings of its own.
		listener = append(listener, m.refs[scope.ref])
	}
	return m.doubted(s, v1alpha1.AreaMutualTLS, listener), identity
}

// doubted makes unsure what the mesh may not do as the model has it: where no
// control plane was seen, and where objects can change what proxies do.
func (m *Model) doubted(s step, area v1alpha1.Area, by []Ref) step {
	for _, i := range m.Influences {
		if slices.Contains(i.Areas, area) {
			by = append(by, Ref{i.Kind, i.Namespace, i.Name})
		}
	}
	for i, o := range m.objects {
		if _, is := o.(*netv1.NetworkPolicy); !is && Message(o) == nil && m.everywhere(o) {
			by = append(by, m.refs[i])
		}
	}
	switch {
	case len(by) > 0:
		s.state, s.more = unsure, by
		s.why += ", unless " + named(by, m.Namespace) + " changes that, which the model does not work out"
	case s.state == stops && !m.Mesh.Observed:
		s.state = unsure
		s.why += ", and nothing shows that a control plane acts on it"
	}
	return s
}

func (m *Model) authorizationStep(c *Call, transport step) step {
	v := m.normalizing(c)
	at := m.mutualTLS(c.To, c.Port)
	s := step{layer: Authorization, verdict: v, why: m.authorizationWords(v)}
	if at.mode == unset && c.From.ServiceAccount != "" && transport.state == passes {
		// Mutual TLS may be off: then the call has no identity.
		plaintext := *c
		plaintext.From.ServiceAccount = ""
		if w := m.normalizing(&plaintext); w.state != v.state {
			s.verdict = verdict{unsure, at.ref}
			s.why = "whether the proxy sees the caller's identity is not known"
		}
	}
	if m.Partial && s.state != unsure && !m.denying(v) {
		s.state = unsure
		s.why += ", and what the mesh's root namespace has to say is not known"
	}
	return m.doubted(s, v1alpha1.AreaAuthorization, nil)
}

// policyBehind is the action of the policy that decides; false where none does.
func (m *Model) policyBehind(v verdict) (is bool, action securityapi.AuthorizationPolicy_Action) {
	if v.by < 0 {
		return false, 0
	}
	p, is := m.objects[v.by].(*securityv1.AuthorizationPolicy)
	if !is {
		return false, 0
	}
	return true, p.Spec.GetAction()
}

// denying says whether a DENY decides: nothing allows what it denies.
func (m *Model) denying(v verdict) bool {
	is, action := m.policyBehind(v)
	return v.state == stops && is && action == securityapi.AuthorizationPolicy_DENY
}

func (m *Model) authorizationWords(v verdict) string {
	by := m.naming(v)
	p, action := m.policyBehind(v)
	switch {
	case v.state == passes && v.by < 0:
		return "no policy denies it"
	case v.state == passes:
		return by + " allows it"
	case v.state == stops && !p:
		return "its token is not valid by " + by
	case v.state == stops && action == securityapi.AuthorizationPolicy_DENY:
		return by + " denies it"
	case v.state == stops && action == securityapi.AuthorizationPolicy_CUSTOM:
		return by + " asks an external authorizer that the mesh does not have, so that it is denied"
	case v.state == stops:
		return "no policy allows it, and " + by + " has everything else denied"
	case v.by < 0:
		return "no policy of the namespace says anything of it"
	case action == securityapi.AuthorizationPolicy_CUSTOM:
		return by + " leaves it to an external authorizer"
	}
	return by + " asks for something that the model does not know"
}

// shadowStep is nil where no dry-run policy is for the workload.
func (m *Model) shadowStep(c *Call, transport step) *Step {
	of := *m
	of.policies = slices.Clone(m.policies)
	for _, s := range m.shadows {
		if selects(s.policy.Spec.GetSelector().GetMatchLabels(), c.To) {
			of.policies = append(of.policies, m.policyOf(s.policy, s.ref))
		}
	}
	if len(of.policies) == len(m.policies) {
		return nil
	}
	s := of.step(of.authorizationStep(c, transport))
	return &s
}
