package facts

import "k8s.io/apimachinery/pkg/types"

// Perimeter is where traffic comes into the mesh, and leaves it.
type Perimeter struct {
	// Proxies are the mesh's proxies that stand alone, those alike once, sorted.
	Proxies []Proxy
	// Gateways that the operator does not write and that select a proxy, sorted by namespace and name.
	Gateways []Object
	// Routes are the VirtualServices that are bound to those Gateways of which it
	// matters, sorted by namespace and name.
	Routes map[types.NamespacedName][]Object
	// Policies are the AuthorizationPolicies of the proxies' namespaces and of the
	// mesh's root namespace, whoever wrote them, sorted by namespace and name.
	Policies []Object
	// Doors lead from outside the cluster to workloads of the mesh that are no
	// gateways, sorted.
	Doors []Door
	// PeerAuthentications are those of the doors' namespaces, whoever wrote them,
	// sorted by namespace and name.
	PeerAuthentications []Object
}

// Proxy is a proxy of the mesh that stands alone.
type Proxy struct {
	Namespace string
	Owner     Owner
	Labels    map[string]string
}

// Source names the workload.
func (p Proxy) Source() Source { return Source{p.Owner.Kind, p.Namespace, p.Owner.Name} }

// Door is an object that leads traffic from outside the cluster to workloads.
type Door struct {
	// Source is a service, or a workload whose pods have ports of their nodes.
	Source
	// Ways say in words how it is reached from outside, sorted.
	Ways []string
	// Targets are the ports of workloads of the mesh that it leads to, those alike
	// once, sorted.
	Targets []Target
}

// Target is a port of a workload.
type Target struct {
	Workload Owner
	Labels   map[string]string
	Port     int32
	// Captured is false where calls to it do not pass the proxy.
	Captured bool
}
