package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

type accountName = types.NamespacedName

// prometheus looks for scrapes that would be refused.
func prometheus(in Input) []Finding {
	by := callers(agents(in.Facts, facts.RoleScraper))
	var out []Finding
	for _, s := range scrapes(in.Facts) {
		var r refusals
		for _, port := range s.Ports {
			for _, to := range in.Facts.ScrapeEndpoints(s, port) {
				r.try(in, to, by, request{method: "GET", path: port.Path})
			}
		}
		out = append(out, r.finding(s.In(in.Facts.Namespace.Name), "%s scrapes %s", scraper(by))...)
	}
	return out
}

func scraper(by []caller) string {
	switch c := by[0]; {
	case c.unknown:
		return "Prometheus (none was found, so that nobody knows its identity)"
	case c.identity == nil:
		return "Prometheus (outside of the mesh)"
	default:
		return fmt.Sprintf("Prometheus (%s/%s)", c.identity.Namespace, c.identity.ServiceAccount)
	}
}

// scrapes are those of monitors, and those that annotations ask for.
func scrapes(f facts.Facts) []facts.Scrape {
	out := slices.Clone(f.Dependants.Scrapes)
	seen := map[facts.Owner]bool{}
	for _, pod := range f.Pods {
		// The pods of a workload are alike.
		if len(pod.Scraped) > 0 && !seen[pod.Owner] {
			seen[pod.Owner] = true
			out = append(out, facts.Scrape{Source: facts.Source{Kind: pod.Owner.Kind, Name: pod.Owner.Name},
				Selector: facts.LabelSelector{Labels: pod.Labels}, Ports: pod.Scraped})
		}
	}
	for _, svc := range services(f) {
		if len(svc.Scraped) > 0 && len(svc.Selector) > 0 {
			out = append(out, facts.Scrape{Source: facts.Source{Kind: "Service", Name: svc.Name},
				Selector: facts.LabelSelector{Labels: svc.Selector}, Ports: svc.Scraped})
		}
	}
	return out
}

// services are the namespace's own, sorted by name.
func services(f facts.Facts) []facts.Service {
	var out []facts.Service
	for _, svc := range f.Services {
		if svc.Namespace == f.Namespace.Name {
			out = append(out, svc)
		}
	}
	slices.SortFunc(out, func(a, b facts.Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func agents(f facts.Facts, roles ...facts.Role) []facts.Agent {
	var out []facts.Agent
	for _, a := range f.Dependants.Agents {
		if slices.Contains(roles, a.Role) {
			out = append(out, a)
		}
	}
	return out
}

// ingress looks for routes from outside whose gateway would be refused.
func ingress(in Input) []Finding {
	var out []Finding
	for _, route := range in.Facts.Dependants.Routes {
		svc, ok := in.Facts.Services[types.NamespacedName{Namespace: in.Facts.Namespace.Name, Name: route.Service}]
		if !ok {
			continue
		}
		var near []string
		for _, g := range route.Gateways {
			near = append(near, g.Namespace)
		}
		by := callers(carriers(in.Facts, route), near...)
		var r refusals
		for _, to := range in.Facts.Endpoints(svc, route.Port) {
			r.try(in, to, by, request{any: true})
		}
		out = append(out, r.finding(route.In(in.Facts.Namespace.Name), "%s leads traffic from outside to %s", gateway(by))...)
	}
	return out
}

func gateway(by []caller) string {
	switch c := by[0]; {
	case c.unknown:
		return "a gateway whose pods were not found, so that nobody knows its identity,"
	case c.identity == nil:
		return "a gateway outside of the mesh"
	default:
		return fmt.Sprintf("the gateway %s/%s", c.identity.Namespace, c.identity.ServiceAccount)
	}
}

// carriers are the pods that may carry a route.
func carriers(f facts.Facts, r facts.Route) []facts.Agent {
	if len(r.Gateways) == 0 {
		return agents(f, facts.RoleIngress, facts.RoleGateway)
	}
	var exact []facts.Agent
	all, byName := agents(f, facts.RoleGateway), false
	for _, ref := range r.Gateways {
		byName = byName || ref.API
		for _, a := range all {
			if a.Namespace == ref.Namespace && (!ref.API || a.Gateway == ref.Name) {
				exact = append(exact, a)
			}
		}
	}
	if len(exact) == 0 && !byName {
		// The pods of one of Istio's gateways may be in another namespace.
		return all
	}
	return exact
}

// hooks looks for calls of the API server that would be refused.
func hooks(in Input) []Finding {
	var out []Finding
	for _, h := range in.Facts.Dependants.Hooks {
		svc, ok := in.Facts.Services[types.NamespacedName{Namespace: in.Facts.Namespace.Name, Name: h.Service}]
		if !ok {
			continue
		}
		var r refusals
		for _, to := range in.Facts.Endpoints(svc, intstr.FromInt32(h.Port)) {
			r.try(in, to, []caller{anonymous}, request{opaque: true})
		}
		out = append(out, r.finding(h.In(""), "the API server calls %[2]s for %[1]s", h.For)...)
	}
	return out
}

// probes looks for the kubelet's probes that pass the proxy and would be refused.
func probes(in Input) []Finding {
	byOwner := map[facts.Owner]*refusals{}
	for _, pod := range in.Facts.Pods {
		for _, p := range pod.Probes {
			what := request{method: "POST", path: "/grpc.health.v1.Health/Check"}
			if p.HTTP {
				what = request{method: "GET", path: p.Path}
			}
			r := byOwner[pod.Owner]
			if r == nil {
				r = &refusals{}
				byOwner[pod.Owner] = r
			}
			// The network lets a node's own kubelet in; the proxy alone matters.
			if pod.Enrolled(in.Facts.Mesh.DataPlane) {
				r.try(in, facts.Endpoint{Pod: pod, Port: p.Port}, []caller{anonymous}, what)
			}
		}
	}
	var out []Finding
	for owner, r := range byOwner {
		out = append(out, r.finding(owner.String(), "the kubelet probes %s through the proxy")...)
	}
	return out
}

// jobs looks for jobs that never end, since their proxy does not.
func jobs(in Input) []Finding {
	const message = "the mesh's proxy runs beside its containers and does not end when they do, so that the job never completes"
	finding := func(subject, message string) Finding {
		return Finding{Finding: v1alpha1.Finding{Subject: subject, Message: message}}
	}
	subjects := map[string]bool{}
	native, plain := false, false
	for _, pod := range in.Facts.Pods {
		if !pod.Sidecar {
			continue
		}
		native, plain = native || pod.NativeSidecar, plain || !pod.NativeSidecar
		if pod.Owner.Kind == "Job" && !pod.NativeSidecar {
			subjects[pod.Owner.String()] = true
		}
	}
	var out []Finding
	for _, s := range slices.Sorted(maps.Keys(subjects)) {
		out = append(out, finding(s, message))
	}
	for _, j := range in.Facts.Dependants.CronJobs {
		switch {
		case j.NativeSidecar == facts.Yes, j.NativeSidecar == facts.Unknown && native && !plain:
		case j.NativeSidecar == facts.No, plain && !native:
			out = append(out, finding("CronJob/"+j.Name, message))
		default:
			out = append(out, finding("CronJob/"+j.Name, "unknown: no pod of the namespace shows whether the mesh's proxy ends with its containers; where it does not, the job never completes"))
		}
	}
	return out
}

// peers looks for stateful workloads whose members would not reach each other.
func peers(in Input) []Finding {
	var out []Finding
	for _, svc := range services(in.Facts) {
		if !svc.Headless {
			continue
		}
		members := map[facts.Owner][]facts.Pod{}
		for _, pod := range in.Facts.Select(svc.Selector) {
			if len(svc.Selector) > 0 && pod.Owner.Kind == "StatefulSet" {
				members[pod.Owner] = append(members[pod.Owner], pod)
			}
		}
		for _, owner := range slices.SortedFunc(maps.Keys(members), func(a, b facts.Owner) int { return strings.Compare(a.Name, b.Name) }) {
			pods := members[owner]
			if len(pods) < 2 {
				continue
			}
			member := facts.Agent{Namespace: in.Facts.Namespace.Name, ServiceAccount: pods[0].ServiceAccount, Meshed: pods[0].Enrolled(in.Facts.Mesh.DataPlane)}
			var r refusals
			for _, to := range in.Facts.Endpoints(svc, intstr.IntOrString{}) {
				if to.Pod.Owner == owner {
					r.try(in, to, callers([]facts.Agent{member}), request{any: true})
				}
			}
			out = append(out, r.finding(owner.String(), "its pods find each other by the headless service %s and call %s", svc.Name)...)
		}
	}
	return out
}

// apiUsers looks for workloads that need the API server and would not reach it.
func apiUsers(in Input) []Finding {
	if !Denies(in.Posture, v1alpha1.AreaEgress) {
		return nil
	}
	users := map[facts.Owner]facts.Pod{}
	for _, pod := range in.Facts.Pods {
		if _, bound := in.Facts.Dependants.APIUsers[pod.ServiceAccount]; bound && pod.APIToken && !reachesAPI(in.Posture.Egress, pod) {
			users[pod.Owner] = pod
		}
	}
	var out []Finding
	for owner, pod := range users {
		binding := in.Facts.Dependants.APIUsers[pod.ServiceAccount]
		out = append(out, Finding{Areas: []v1alpha1.Area{v1alpha1.AreaEgress}, Finding: v1alpha1.Finding{
			Subject: owner.String(),
			Message: fmt.Sprintf("it is handed a token for the API server, and %s gives its service account %s rights there; no egress rule lets it reach the API server",
				binding.In(in.Facts.Namespace.Name), pod.ServiceAccount),
		}})
	}
	return out
}

// reachesAPI says whether a rule opens the API server's service, or a range of
// addresses on its ports: whether it is in the range can't be told.
func reachesAPI(e *posture.Egress, pod facts.Pod) bool {
	open := func(t v1alpha1.EgressTarget) bool {
		switch {
		case t.Service != nil:
			return t.Service.Namespace == "default" && t.Service.Name == "kubernetes"
		case t.Namespace != "":
			return t.Namespace == "default"
		}
		return len(t.CIDRs) > 0 && (len(t.Ports) == 0 || slices.ContainsFunc(t.Ports, func(p v1alpha1.EgressPort) bool { return p.Port == 443 || p.Port == 6443 }))
	}
	return slices.ContainsFunc(e.Rules, func(r posture.EgressRule) bool {
		return facts.Matches(r.Selector, pod.Labels) && slices.ContainsFunc(r.To, open)
	})
}

// sharedGateway looks for others' Gateways at the pods of the egress gateway: the
// policies beside it would shut them.
func sharedGateway(in Input) []Finding {
	g := in.Facts.EgressGateway
	if g == nil || in.Posture.Egress == nil || in.Posture.Egress.Gateway == nil || !slices.ContainsFunc(in.Posture.Egress.Rules, in.Posture.Egress.Through) {
		return nil
	}
	var out []Finding
	for _, s := range g.Sharers {
		out = append(out, Finding{Areas: []v1alpha1.Area{v1alpha1.AreaEgress}, Finding: v1alpha1.Finding{
			Subject: s.In(in.Facts.Namespace.Name),
			Message: fmt.Sprintf("it leads traffic through the pods of the egress gateway in namespace %s, which refuse all of it that no AuthorizationPolicy allows once a namespace leaves through them", g.Namespace),
		}})
	}
	return out
}
