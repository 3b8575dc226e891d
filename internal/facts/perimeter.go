package facts

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

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

// ServiceDoor is the door that a service is to some of its pods; false for none.
func ServiceDoor(s Service, pods []Pod) (Door, bool) {
	d := Door{Source: Source{"Service", s.Namespace, s.Name}, Ways: s.Ways}
	for _, p := range pods {
		if len(s.Ways) > 0 && len(s.Selector) > 0 && Matches(s.Selector, p.Labels) {
			d.Targets = append(d.Targets, p.targets(s.Ports)...)
		}
	}
	return d.sorted()
}

// HostDoors are the doors that pods of a namespace are by ports of their nodes.
func HostDoors(namespace string, pods []Pod) []Door {
	at := map[Owner]*Door{}
	var order []Owner
	for _, p := range pods {
		if len(p.HostPorts) == 0 {
			continue
		}
		if at[p.Owner] == nil {
			at[p.Owner] = &Door{Source: Source{p.Owner.Kind, namespace, p.Owner.Name}}
			order = append(order, p.Owner)
		}
		d := at[p.Owner]
		for _, port := range p.HostPorts {
			d.Ways = append(d.Ways, fmt.Sprintf("with hostPort %d", port.Port))
		}
		d.Targets = append(d.Targets, p.targets(p.HostPorts)...)
	}
	var out []Door
	for _, o := range order {
		if d, ok := at[o].sorted(); ok {
			out = append(out, d)
		}
	}
	SortDoors(out)
	return out
}

// SortDoors sorts by namespace, kind and name.
func SortDoors(doors []Door) {
	slices.SortFunc(doors, func(a, b Door) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// sorted has everything once; false where the door leads nowhere.
func (d Door) sorted() (Door, bool) {
	key := func(t Target) string {
		return fmt.Sprintf("%s %05d %s %t", t.Workload, t.Port, SelectorKey(t.Labels), t.Captured)
	}
	slices.SortFunc(d.Targets, func(a, b Target) int { return cmp.Compare(key(a), key(b)) })
	d.Targets = slices.CompactFunc(d.Targets, func(a, b Target) bool { return key(a) == key(b) })
	d.Ways = slices.Clone(d.Ways)
	slices.Sort(d.Ways)
	d.Ways = slices.Compact(d.Ways)
	return d, len(d.Targets) > 0
}

// targets are the ports of a workload of the mesh that ports lead to. Proxies
// capture TCP alone.
func (p Pod) targets(ports []ServicePort) []Target {
	if p.Edge || !p.Sidecar && !p.Ambient {
		return nil
	}
	var out []Target
	for _, port := range ports {
		if number, ok := p.port(port.Target); ok {
			out = append(out, Target{p.Owner, p.Labels, number, port.Protocol == "TCP" && !slices.Contains(p.Uncaptured, number)})
		}
	}
	return out
}
