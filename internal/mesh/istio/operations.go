package istio

import (
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// operations are the requests of a rule, in two lists. On a connection that it
// does not read as HTTP, Istio drops a whole rule that allows and that asks for
// anything of HTTP, so that operations which ask for ports alone get a rule of
// their own. Both lists empty: every request.
func operations(r posture.Rule, pods []listener, a *mesh.Assessment) (connections, requests []*securityapi.Rule_To) {
	known := listening(pods, r.Selector)
	declared := r.To
	if len(declared) == 0 {
		if r.JWT == nil || r.Action != v1alpha1.RuleDeny {
			return nil, nil
		}
		// A token is something of HTTP too.
		declared = []v1alpha1.Operation{{}}
	}
	for _, op := range declared {
		for _, port := range op.Ports {
			assessServicePort(pods, r.Selector, port, a)
		}
		if r.JWT == nil && !readsRequest(op) {
			if len(op.Ports) == 0 {
				return nil, nil
			}
			connections = append(connections, &securityapi.Rule_To{Operation: &securityapi.Operation{Ports: portNames(op.Ports)}})
			continue
		}
		out := &securityapi.Operation{Ports: portNames(op.Ports), Paths: paths(op.Paths), Hosts: hosts(op.Hosts, r.Action, a)}
		for _, m := range op.Methods {
			out.Methods = append(out.Methods, string(m))
		}
		assessPorts(op, r.Action, known, a)
		if r.Action == v1alpha1.RuleDeny && len(op.Ports) == 0 {
			out.NotPorts = spared(known, anyRuns(pods, r.Selector), a)
		}
		if r.Action == v1alpha1.RuleDeny && len(op.Ports) == 0 && len(out.NotPorts) == 0 && !readsRequest(op) {
			// Nothing is left to say: an empty operation is not valid, none means every request.
			continue
		}
		requests = append(requests, &securityapi.Rule_To{Operation: out})
	}
	return connections, requests
}

// readsRequest says whether an operation asks for anything that only HTTP has.
func readsRequest(op v1alpha1.Operation) bool {
	return len(op.Methods) > 0 || len(op.Paths) > 0 || len(op.Hosts) > 0
}

// assessPorts says what becomes of an HTTP condition on ports where the mesh
// does not read HTTP: a rule that allows matches nothing there, one that denies
// matches everything.
func assessPorts(op v1alpha1.Operation, action v1alpha1.RuleAction, known map[int32]speech, a *mesh.Assessment) {
	var blind []int32
	for _, port := range op.Ports {
		if known[port] == opaque {
			blind = append(blind, port)
		}
	}
	if len(blind) == 0 {
		return
	}
	slices.Sort(blind)
	effect := "it allows nothing there"
	if action == v1alpha1.RuleDeny {
		effect = "it denies every connection there"
	}
	a.Say(v1alpha1.VerdictStricter, "its HTTP conditions can't be read on port %s, which a Service declares as other than HTTP, and %s; name the Service's port http-… or set its appProtocol", mesh.Some(blind), effect)
}

// spared are the ports that a rule which denies HTTP requests on every port
// leaves out. There the rule would lose its HTTP conditions and deny every
// connection. Naming the HTTP ports instead would leave open those that nothing
// declares.
func spared(known map[int32]speech, running bool, a *mesh.Assessment) []string {
	blind, maybe := portsThat(known, opaque), portsThat(known, detected)
	if len(blind) > 0 {
		a.Say(v1alpha1.VerdictEnforced, "port %s is left out: a Service declares that it does not speak HTTP", mesh.Some(blind))
	}
	switch {
	case len(maybe) > 0:
		a.Say(v1alpha1.VerdictStricter, "on port %s, whose protocol no Service declares, it denies connections that are not HTTP as well; name the Service's port http-… or tcp-…, or list ports in the rule", mesh.Some(maybe))
	case len(known) == 0 && running:
		a.Say(v1alpha1.VerdictStricter, "no port of these workloads is known, and it denies connections that are not HTTP as well; declare their ports in a Service, or list ports in the rule")
	}
	return portNames(blind)
}

func portNames(ports []int32) []string {
	sorted := slices.Clone(ports)
	slices.Sort(sorted)
	var out []string
	for _, p := range sorted {
		out = append(out, strconv.Itoa(int(p)))
	}
	return out
}

// paths are in the mesh's form. Its /x* would match /xy, so that everything
// below /x is /x and /x/*.
func paths(declared []v1alpha1.HTTPPath) []string {
	var out []string
	for _, p := range declared {
		path := string(p)
		if base, ok := strings.CutSuffix(path, "/*"); ok && base != "" {
			out = append(out, base)
		}
		out = append(out, path)
	}
	return unique(out)
}

// hosts are in the mesh's form. It compares the whole Host header, where a
// client may put a port, and a dot at the end of the name.
func hosts(declared []v1alpha1.Host, action v1alpha1.RuleAction, a *mesh.Assessment) []string {
	var out []string
	for _, h := range declared {
		host := string(h)
		out = append(out, host)
		if strings.HasPrefix(host, "*") {
			if action == v1alpha1.RuleDeny {
				a.Say(v1alpha1.VerdictLooser, "a caller evades host %s by giving a port in the Host header, since the mesh knows one wildcard a value; list exact hosts, or deny by path or port", host)
			} else {
				a.Say(v1alpha1.VerdictEnforced, "a request whose Host header gives a port is not matched by %s, and not allowed by it: the mesh knows one wildcard a value", host)
			}
			continue
		}
		out = append(out, host+":*")
		if action == v1alpha1.RuleDeny {
			out = append(out, host+".", host+".:*")
		}
	}
	return unique(out)
}
