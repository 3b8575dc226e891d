package facts

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// Dependants are what is known to call the namespace's workloads from outside
// of the mesh's own rules: what would notice first if nobody could call any more.
type Dependants struct {
	// Scrapes, sorted: who is told to scrape here.
	Scrapes []Scrape
	// Routes, sorted: who leads traffic from outside the cluster here.
	Routes []Route
	// Hooks, sorted: what the API server calls here.
	Hooks []Hook
	// Agents are the pods of the cluster that scrape, or lead traffic in.
	Agents []Agent
	// CronJobs of the namespace, sorted.
	CronJobs []CronJob
	// APIUsers are the namespace's service accounts that hold rights at the API
	// server, and the binding that gives them.
	APIUsers map[string]Source
	// Unread are kinds, as KIND.GROUP, that the API server serves and the
	// operator can't read: what they would have said is unknown.
	Unread []string
}

// Source is the object that a fact was read from.
type Source struct{ Kind, Namespace, Name string }

// In names a source, shorter for one of the namespace itself.
func (s Source) In(namespace string) string {
	if s.Namespace == "" || s.Namespace == namespace {
		return s.Kind + "/" + s.Name
	}
	return s.Kind + "/" + s.Namespace + "/" + s.Name
}

// Scrape is a request for metrics of some pods.
type Scrape struct {
	Source
	// Pods that are scraped, by the labels of their services where Services is
	// true, else by their own.
	Selector LabelSelector
	Services bool
	Ports    []ScrapePort
}

// ScrapePort is a port that is scraped: by the name of a service's or a
// container's port, else as the container's own.
type ScrapePort struct {
	Name   string
	Target intstr.IntOrString
	// Path of the request; never empty.
	Path string
}

// Route leads traffic from outside the cluster to a service of the namespace.
type Route struct {
	Source
	Service string
	// Port of the service; 0 and empty for every one.
	Port intstr.IntOrString
	// Gateways that carry it, where they are known by name.
	Gateways []GatewayReference
}

// GatewayReference names a gateway of Istio's, of which only the namespace
// says something of its pods, or one of the Gateway API, whose pods bear its name.
type GatewayReference struct {
	Namespace, Name string
	// API is true for one of the Gateway API.
	API bool
}

// Hook is a service of the namespace that the API server calls.
type Hook struct {
	Source
	Service string
	Port    int32
	// For says what it is called for, in words.
	For string
}

// Role is what an agent does.
type Role string

// The roles.
const (
	RoleScraper Role = "Scraper"
	// RoleGateway is a proxy of the mesh that stands alone.
	RoleGateway Role = "Gateway"
	// RoleIngress is an ingress controller that is not the mesh's own.
	RoleIngress Role = "Ingress"
)

// Agent is a pod that calls many namespaces on somebody else's behalf.
type Agent struct {
	Role                      Role
	Namespace, ServiceAccount string
	// Gateway of the Gateway API that it is a pod of; empty for none.
	Gateway string
	// Meshed is true when its calls carry its identity.
	Meshed bool
}

// CronJob is one that makes pods of the mesh.
type CronJob struct {
	Name string
	// NativeSidecar is what its pods' annotation says of the proxy.
	NativeSidecar Tristate
}

// LabelSelector is one with expressions.
type LabelSelector struct {
	Labels       map[string]string
	Requirements []Requirement
}

// Requirement is In, NotIn, Exists or DoesNotExist.
type Requirement struct {
	Key, Operator string
	Values        []string
}

// Matches says whether labels meet the selector; an empty one matches all. An
// unknown operator matches: what can't be told may be meant.
func (s LabelSelector) Matches(labels map[string]string) bool {
	if !Matches(s.Labels, labels) {
		return false
	}
	for _, r := range s.Requirements {
		v, has := labels[r.Key]
		switch r.Operator {
		case "In":
			has = has && slices.Contains(r.Values, v)
		case "NotIn":
			has = !has || !slices.Contains(r.Values, v)
		case "DoesNotExist":
			has = !has
		case "Exists":
		default:
			has = true
		}
		if !has {
			return false
		}
	}
	return true
}

// Probe is one that the kubelet makes through the pod's proxy, since the mesh
// did not redirect it to its own agent.
type Probe struct {
	// HTTP is true for a request, false for gRPC.
	HTTP bool
	Port int32
	Path string
}

// Endpoint is a port of a pod.
type Endpoint struct {
	Pod  Pod
	Port int32
}

// Endpoints are what a service's port leads to; every port's where port is empty.
func (f Facts) Endpoints(s Service, port intstr.IntOrString) []Endpoint {
	var out []Endpoint
	if len(s.Selector) == 0 {
		return nil
	}
	for _, p := range s.Ports {
		if p.Protocol != "TCP" || !names(port, p.Name, p.Port) {
			continue
		}
		for _, pod := range f.Select(s.Selector) {
			if number, ok := pod.port(p.Target); ok {
				out = append(out, Endpoint{pod, number})
			}
		}
	}
	return out
}

func names(want intstr.IntOrString, name string, number int32) bool {
	if want.Type == intstr.String && want.StrVal != "" {
		return want.StrVal == name
	}
	return want.IntVal == 0 || want.IntVal == number
}

// port is the number of a container's port; false for a name that no container has.
func (p Pod) port(want intstr.IntOrString) (int32, bool) {
	if want.Type == intstr.Int {
		return want.IntVal, true
	}
	for _, c := range p.Ports {
		if c.Name == want.StrVal {
			return c.Number, true
		}
	}
	return 0, false
}

// ScrapeEndpoints are the ports that a scrape reaches.
func (f Facts) ScrapeEndpoints(s Scrape, port ScrapePort) []Endpoint {
	want := port.Target
	if want.IntVal == 0 && want.StrVal == "" {
		want = intstr.FromString(port.Name)
	}
	var out []Endpoint
	if !s.Services {
		for _, pod := range f.Pods {
			if number, ok := pod.port(want); ok && s.Selector.Matches(pod.Labels) {
				out = append(out, Endpoint{pod, number})
			}
		}
		return out
	}
	for _, svc := range f.Services {
		if svc.Namespace != f.Namespace.Name || !s.Selector.Matches(svc.Labels) || len(svc.Selector) == 0 {
			continue
		}
		if port.Name != "" {
			out = append(out, f.Endpoints(svc, intstr.FromString(port.Name))...)
			continue
		}
		for _, pod := range f.Select(svc.Selector) {
			if number, ok := pod.port(want); ok {
				out = append(out, Endpoint{pod, number})
			}
		}
	}
	return out
}
