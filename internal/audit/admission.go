package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// caller is who calls, as far as it can be told.
type caller struct {
	// identity is NAMESPACE and service account; nil for a call in plaintext.
	identity *facts.Agent
	// unknown is true where nobody knows who calls: it may have an identity or
	// not. A rule that names somebody of another namespace then counts for it.
	unknown bool
	// near are the namespaces that an unknown caller may be in; empty: any.
	near []string
}

// anonymous is the API server and the kubelet: outside of the mesh.
var anonymous = caller{}

// callers are the agents as callers: where there are none, one unknown caller
// in one of the namespaces.
func callers(agents []facts.Agent, near ...string) []caller {
	if len(agents) == 0 {
		return []caller{{unknown: true, near: near}}
	}
	var out []caller
	for _, a := range agents {
		if a.Meshed {
			out = append(out, caller{identity: &a})
		} else {
			out = append(out, anonymous)
		}
	}
	return out
}

// request is what is asked.
type request struct {
	// any is true where something of HTTP is asked and nobody can tell what.
	any bool
	// opaque is true where the proxy reads no request, since it is encrypted
	// with other keys than the mesh's.
	opaque       bool
	method, path string
}

// refused lists the areas by which the posture refuses a call to an endpoint.
func refused(in Input, to facts.Endpoint, by caller, what request) []v1alpha1.Area {
	if slices.Contains(facts.AgentPorts(), to.Port) {
		return nil
	}
	var out []v1alpha1.Area
	proxied := to.Pod.Enrolled(in.Facts.Mesh.DataPlane) && !slices.Contains(to.Pod.Uncaptured, to.Port)
	allowed, named := admission(in, to, by, what)
	if proxied && acceptsIdentityAlone(in.Posture, to) && by.identity == nil && !named {
		out = append(out, v1alpha1.AreaMutualTLS)
	}
	if (proxied || closedByNetwork(in)) && Denies(in.Posture, v1alpha1.AreaAuthorization) && !allowed {
		out = append(out, v1alpha1.AreaAuthorization)
	}
	return out
}

// acceptsIdentityAlone says whether mutual TLS is asked for at the endpoint.
func acceptsIdentityAlone(p posture.Posture, to facts.Endpoint) bool {
	if !Denies(p, v1alpha1.AreaMutualTLS) {
		return false
	}
	return !posture.Exempted(p.MutualTLS.Exempt, to.Pod.Labels) && !slices.ContainsFunc(p.MutualTLS.Overrides, func(o posture.Override) bool {
		return o.Port == to.Port && facts.Matches(o.Selector, to.Pod.Labels)
	})
}

// closedByNetwork says whether a NetworkPolicy goes with default-deny, which
// holds also where no proxy is.
func closedByNetwork(in Input) bool {
	return Denies(in.Posture, v1alpha1.AreaEgress) && in.Posture.Egress.Assurance != v1alpha1.AssuranceProxy &&
		in.Facts.Network.PolicyEnforced != facts.No
}

// admission says whether a rule allows the call, and whether one does so that
// names a caller which is not known otherwise.
func admission(in Input, to facts.Endpoint, by caller, what request) (allowed, named bool) {
	if in.Posture.Authorization == nil {
		return true, false
	}
	for _, r := range in.Posture.Authorization.Rules {
		if r.Action == v1alpha1.RuleDeny || !facts.Matches(r.Selector, to.Pod.Labels) || !covers(r, to.Port, what) {
			continue
		}
		ok, n := admits(r.From, by, in.Posture.Namespace)
		allowed, named = allowed || ok, named || n
	}
	return allowed || in.Posture.Authorization.Default == v1alpha1.DefaultAllow || posture.Exempted(in.Posture.Authorization.Exempt, to.Pod.Labels), named
}

// admits says whether callers include one. An address range includes whoever
// has no identity: where they call from can't be told.
func admits(c posture.Callers, by caller, own string) (allowed, named bool) {
	switch {
	case by.identity != nil:
		a := *by.identity
		account := func(sa accountName) bool { return sa.Namespace == a.Namespace && sa.Name == a.ServiceAccount }
		allowed = c.AnyAuthenticated || slices.Contains(c.Namespaces, a.Namespace) || slices.ContainsFunc(c.ServiceAccounts, account)
	case by.unknown:
		there := func(ns string) bool { return ns != own && (len(by.near) == 0 || slices.Contains(by.near, ns)) }
		named = c.AnyAuthenticated || slices.ContainsFunc(c.Namespaces, there) ||
			slices.ContainsFunc(c.ServiceAccounts, func(sa accountName) bool { return there(sa.Namespace) })
		allowed = named
	}
	return allowed || c.Anyone || len(c.IPBlocks) > 0, named
}

// covers says whether a rule is about a request on a port.
func covers(r posture.Rule, port int32, what request) bool {
	if r.JWT != nil && !what.any {
		return false
	}
	if len(r.To) == 0 {
		return true
	}
	return slices.ContainsFunc(r.To, func(op v1alpha1.Operation) bool {
		if len(op.Ports) > 0 && !slices.Contains(op.Ports, port) {
			return false
		}
		switch {
		case what.any:
			return true
		case what.opaque:
			// An ALLOW that asks for anything of HTTP matches nothing here.
			return len(op.Methods)+len(op.Paths)+len(op.Hosts) == 0
		}
		return len(op.Hosts) == 0 &&
			(len(op.Methods) == 0 || slices.ContainsFunc(op.Methods, func(m v1alpha1.HTTPMethod) bool { return string(m) == what.method })) &&
			(len(op.Paths) == 0 || slices.ContainsFunc(op.Paths, func(p v1alpha1.HTTPPath) bool { return within(string(p), what.path) }))
	})
}

// within says whether a path is the declared one, or below it where it ends in /*.
func within(declared, path string) bool {
	if base, ok := strings.CutSuffix(declared, "/*"); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return declared == "*" || declared == path
}

// refusals collects the endpoints at which a call would be refused.
type refusals struct {
	areas []v1alpha1.Area
	at    []string
}

// try adds what every one of the callers is refused: where one is let in, the
// call is.
func (r *refusals) try(in Input, to facts.Endpoint, by []caller, what request) {
	var least []v1alpha1.Area
	for i, c := range by {
		areas := refused(in, to, c, what)
		if len(areas) == 0 {
			return
		}
		if i == 0 || len(areas) < len(least) {
			least = areas
		}
	}
	r.areas = append(r.areas, least...)
	r.at = append(r.at, fmt.Sprintf("port %d of %s", to.Port, to.Pod.Owner))
}

// finding is one about what was collected, nil where nothing was. Its format
// has one place for the endpoints.
func (r *refusals) finding(subject, format string, args ...any) []Finding {
	if len(r.at) == 0 {
		return nil
	}
	slices.Sort(r.at)
	slices.Sort(r.areas)
	areas := slices.Compact(r.areas)
	// In the order of the conditions.
	slices.SortFunc(areas, func(a, b v1alpha1.Area) int { return cmp.Compare(b, a) })
	var why []string
	for _, a := range areas {
		why = append(why, map[v1alpha1.Area]string{
			v1alpha1.AreaMutualTLS:     "mutualTLS.mode Strict refuses a call in plaintext",
			v1alpha1.AreaAuthorization: "no rule allows it",
		}[a])
	}
	args = append(args, mesh.Some(slices.Compact(r.at)))
	return []Finding{{Areas: areas, Finding: v1alpha1.Finding{
		Subject: subject, Message: fmt.Sprintf(format, args...) + ", which the profile refuses: " + strings.Join(why, "; "),
	}}}
}
