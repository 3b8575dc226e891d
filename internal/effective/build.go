package effective

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

const (
	dryRunAnnotation = "istio.io/dry-run"
	revisionLabel    = "istio.io/rev"
)

// Model answers what a world lets pass. It is made once for a world and does
// not change.
type Model struct {
	World
	// objects are those that the mesh reads, the oldest first; refs name them.
	objects []facts.Object
	refs    []Ref
	// trust are the mesh's own trust domain and its aliases.
	trust []string
	// dots is true where the control plane reads a dot of a service account as any character.
	dots bool

	rootPeers, namespacePeers setting
	peers                     []peers
	policies                  []policy
	shadows                   []shadow
	authentications           []authentication
	ingress, egress           []isolation
	scopes                    []scope
	rootScope                 *scope
	entries                   []entry
	clients                   []client
	logs                      []logs
}

// shadow is an AuthorizationPolicy that is evaluated and not enforced. What it
// would do is worked out when somebody asks.
type shadow struct {
	policy *securityv1.AuthorizationPolicy
	ref    int
}

// New makes the model of a world, which it never changes.
func New(w World) *Model {
	m := &Model{World: w, rootPeers: setting{unset, -1}, namespacePeers: setting{unset, -1}}
	m.dots = w.Mesh.Version != "" && istio.DotsMatchAnything(w.Mesh.Version)
	m.trust = append([]string{m.trustDomain()}, w.Mesh.TrustDomainAliases...)
	m.objects = slices.DeleteFunc(slices.Clone(w.Objects), func(o facts.Object) bool { return !m.reads(o) })
	slices.SortStableFunc(m.objects, older)
	m.refs = make([]Ref, 0, len(m.objects))
	for i, o := range m.objects {
		m.refs = append(m.refs, RefOf(o))
		m.add(o, i)
	}
	if m.rootPeers.mode == unset {
		m.rootPeers.mode = map[string]mode{"STRICT": strict, "PERMISSIVE": permissive, "DISABLE": disabled}[w.Mesh.RootMutualTLS]
		if m.rootPeers.mode == unset && w.Mesh.Observed {
			// Looked for, and not there.
			m.rootPeers.mode = permissive
		}
	}
	return m
}

// of is the model for the calls to one workload alone: it asks no selector again.
func (m *Model) of(to Labels) *Model {
	out := *m
	out.policies, out.authentications = nil, nil
	for _, p := range m.policies {
		if selects(p.selector, to) {
			p.selector = nil
			out.policies = append(out.policies, p)
		}
	}
	for _, a := range m.authentications {
		if selects(a.selector, to) {
			a.selector = nil
			out.authentications = append(out.authentications, a)
		}
	}
	return &out
}

// older sorts by age and then by name, as the mesh does to choose between
// objects. One without a creation time is yet to be created.
func older(a, b facts.Object) int {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if at.IsZero() != bt.IsZero() {
		if at.IsZero() {
			return 1
		}
		return -1
	}
	return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetNamespace(), b.GetNamespace()),
		cmp.Compare(kindOf(a), kindOf(b)))
}

// reads says whether what carries this namespace's traffic reads an object: one
// of the mesh that bears another revision is for another control plane.
func (m *Model) reads(o facts.Object) bool {
	if _, is := o.(*netv1.NetworkPolicy); is {
		return true
	}
	rev, has := o.GetLabels()[revisionLabel]
	return !has || rev == m.Mesh.Revision
}

// Reads says whether the mesh that carries the namespace reads an object.
func (m *Model) Reads(o facts.Object) bool { return m.reads(o) }

// everywhere says whether an object is of the namespace, or of the root namespace.
func (m *Model) everywhere(o facts.Object) bool {
	return o.GetNamespace() == m.Namespace || (o.GetNamespace() == m.Mesh.RootNamespace && m.Mesh.RootNamespace != "")
}

// Acts says whether an object acts on the namespace's workloads: it is of the
// namespace, or of the mesh's root namespace, and not for another control
// plane, nor for gateways and waypoints by targetRefs.
func (m *Model) Acts(o facts.Object) bool {
	switch o := o.(type) {
	case *securityv1.AuthorizationPolicy:
		if targeted(&o.Spec) {
			return false
		}
	case *securityv1.RequestAuthentication:
		if targeted(&o.Spec) {
			return false
		}
	case *telemetryv1.Telemetry:
		if targeted(&o.Spec) {
			return false
		}
	}
	return m.reads(o) && m.everywhere(o)
}

func (m *Model) add(o facts.Object, ref int) {
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		m.addServiceEntry(o, ref)
	case *networkingv1.DestinationRule:
		m.addDestinationRule(o, ref)
	case *netv1.NetworkPolicy:
		m.addNetworkPolicy(o, ref)
	}
	if mesh.AtGateway(o) || !m.everywhere(o) {
		return
	}
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		m.addPeerAuthentication(o, ref)
	case *securityv1.AuthorizationPolicy:
		m.addAuthorizationPolicy(o, ref)
	case *securityv1.RequestAuthentication:
		m.addRequestAuthentication(o, ref)
	case *networkingv1.Sidecar:
		m.addSidecar(o, ref)
	case *telemetryv1.Telemetry:
		m.addTelemetry(o, ref)
	}
}

// kindOf is an object's kind: objects read by a typed client carry no TypeMeta,
// and their type is named for it.
func kindOf(o facts.Object) string {
	if kind := o.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return reflect.TypeOf(o).Elem().Name()
}

// RefOf names an object.
func RefOf(o facts.Object) Ref { return Ref{kindOf(o), o.GetNamespace(), o.GetName()} }

func (r Ref) compare(other Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, other.Kind), cmp.Compare(r.Namespace, other.Namespace), cmp.Compare(r.Name, other.Name))
}

// String is KIND/NAME.
func (r Ref) String() string { return strings.Join([]string{r.Kind, r.Name}, "/") }

// selects is facts.Matches for labels.
func selects(selector map[string]string, l Labels) bool { return facts.Matches(selector, l) }

// state is what becomes of a probe, the open one last.
type state uint8

const (
	stops state = iota
	unsure
	passes
)

// verdict is a state and the object that decides, -1 for the mesh's default.
type verdict struct {
	state state
	by    int
}

func (m *Model) answer(v verdict) Answer {
	a := Answer{Passes: v.state != stops, Unknown: v.state == unsure}
	if v.by >= 0 {
		a.By = []Ref{m.refs[v.by]}
	}
	return a
}

// Pass says what becomes of a probe at its layer.
func (m *Model) Pass(p Probe) Answer { return m.answer(m.pass(&p)) }

func (m *Model) pass(p *Probe) verdict {
	switch p.Layer {
	case Transport:
		return m.transport(&p.Call)
	case Authorization:
		return m.authorize(&p.Call)
	case NetworkIn:
		return m.networkIn(&p.Call)
	case ClientTransport:
		return m.clientTransport(&p.Exit)
	case ProxyOut:
		return m.proxyOut(&p.Exit)
	case NetworkOut:
		return m.networkOut(&p.Exit)
	case Unlogged:
		return m.unlogged(&p.Call)
	}
	return verdict{unsure, -1}
}

// Admits says whether a call reaches its workload: the network, the transport
// and the authorization have to let it in. Where mutual TLS is turned off, the
// caller's identity is not seen.
func (m *Model) Admits(c Call) Answer {
	steps := []verdict{m.networkIn(&c)}
	at := m.mutualTLS(c.To, c.Port)
	plaintext := c
	plaintext.From.ServiceAccount = ""
	switch {
	case at.mode == disabled:
		c = plaintext
	case at.mode == unset && c.From.ServiceAccount != "":
		// Mutual TLS may be off: then the call has to pass without an identity as well.
		if v := m.authorize(&plaintext); v.state != passes {
			steps = append(steps, verdict{unsure, at.ref})
		}
	}
	if c.From.ServiceAccount == "" {
		steps = append(steps, m.transport(&c))
	}
	return m.through(append(steps, m.authorize(&c))...)
}

// Leaves says whether a connection gets out: past the proxy and the network.
func (m *Model) Leaves(e Exit) Answer { return m.through(m.proxyOut(&e), m.networkOut(&e)) }

// through is the answer of layers that all have to let something pass: the
// first that stops it, or else the first that is not sure.
func (m *Model) through(steps ...verdict) Answer {
	least := steps[0]
	for _, v := range steps[1:] {
		if v.state < least.state {
			least = v
		}
	}
	out := m.answer(least)
	if least.state != passes {
		return out
	}
	for _, v := range steps[1:] {
		for _, r := range m.answer(v).By {
			if !slices.Contains(out.By, r) {
				out.By = append(out.By, r)
			}
		}
	}
	return out
}
