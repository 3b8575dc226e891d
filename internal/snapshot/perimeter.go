package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	// DoorIndex finds services that are reached from outside the cluster, and
	// pods of the mesh that have ports of their nodes, by isDoor.
	DoorIndex = "door"
	// BoundIndex finds VirtualServices that the operator does not write by the
	// gateways that they are bound to, as NAMESPACE/NAME.
	BoundIndex = "boundTo"

	isDoor = "true"
)

// DoorKeys are the keys of DoorIndex.
func DoorKeys(o client.Object) []string {
	door := false
	switch o := o.(type) {
	case *corev1.Service:
		door = len(exposed(o)) > 0
	case *corev1.Pod:
		if len(hostPorts(o)) == 0 {
			return nil
		}
		f, ok := PodFacts(o)
		door = ok && len(facts.HostDoors(o.Namespace, []facts.Pod{f})) > 0
	}
	if !door {
		return nil
	}
	return []string{isDoor}
}

func boundTo(o client.Object) []string {
	vs, ok := o.(*networkingv1.VirtualService)
	if !ok || managed(vs) {
		return nil
	}
	var out []string
	for _, g := range gatewaysOf(vs) {
		out = append(out, g.Namespace+"/"+g.Name)
	}
	return out
}

// exposed says in words how a service is reached from outside the cluster, sorted.
func exposed(s *corev1.Service) []string {
	var out []string
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		out = append(out, "of type "+string(s.Spec.Type))
	}
	if len(s.Spec.ExternalIPs) > 0 {
		out = append(out, "with externalIPs "+mesh.Some(s.Spec.ExternalIPs))
	}
	return out
}

// hostPorts are the ports of a pod that are its node's as well; none where all
// of the node's network is the pod's, which is then not of the mesh.
func hostPorts(p *corev1.Pod) []facts.ServicePort {
	if p.Spec.HostNetwork {
		return nil
	}
	var out []facts.ServicePort
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				out = append(out, facts.ServicePort{Port: port.HostPort, Protocol: cmp.Or(string(port.Protocol), string(corev1.ProtocolTCP)), Target: intstr.FromInt32(port.ContainerPort)})
			}
		}
	}
	return out
}

// edge says whether a pod is a gateway, or somebody else's ingress controller.
func edge(p *corev1.Pod) bool {
	a, _ := agent(p)
	return a.Role == facts.RoleGateway || a.Role == facts.RoleIngress
}

// ofPerimeter says whether an object is one of the perimeter by itself.
func ofPerimeter(o client.Object) bool {
	switch o := o.(type) {
	case *networkingv1.Gateway:
		return !managed(o)
	case *networkingv1.VirtualService:
		return len(boundTo(o)) > 0
	case *corev1.Pod:
		return gatewayProxy(o) || len(DoorKeys(o)) > 0
	case *corev1.Service:
		return len(DoorKeys(o)) > 0
	}
	return false
}

// nearby are the namespaces of which the last look at the perimeter read more
// than ofPerimeter says: those of gateways, and those of doors, each with the
// mesh's root namespace where there is one.
type nearby struct{ gateways, doors map[string]bool }

// NearPerimeter says whether the last look at the cluster read an object for
// what is beside it.
func (r *Reader) NearPerimeter(o client.Object) bool {
	n := r.near.Load()
	if n == nil {
		return false
	}
	switch o.(type) {
	case *securityv1.AuthorizationPolicy:
		return n.gateways[o.GetNamespace()]
	case *corev1.Pod, *securityv1.PeerAuthentication:
		return n.doors[o.GetNamespace()]
	}
	return false
}

// perimeter reads where traffic comes in. What is nearby is noted before it is
// read, so that no change of it goes unseen.
func (r *Reader) perimeter(ctx context.Context, out *facts.Cluster) error {
	p := &out.Perimeter
	var err error
	if p.Proxies, err = r.proxies(ctx); err != nil {
		return err
	}
	var services corev1.ServiceList
	if err := r.Client.List(ctx, &services, client.MatchingFields{DoorIndex: isDoor}, noCopy); err != nil {
		return fmt.Errorf("list services that are reached from outside: %w", err)
	}
	var nodes corev1.PodList
	if err := r.Client.List(ctx, &nodes, client.MatchingFields{DoorIndex: isDoor}, noCopy); err != nil {
		return fmt.Errorf("list pods with ports of their nodes: %w", err)
	}
	n := &nearby{gateways: map[string]bool{}, doors: map[string]bool{}}
	for _, proxy := range p.Proxies {
		n.gateways[proxy.Namespace], n.gateways[out.Mesh.RootNamespace] = true, true
	}
	for i := range services.Items {
		n.doors[services.Items[i].Namespace], n.doors[out.Mesh.RootNamespace] = true, true
	}
	for i := range nodes.Items {
		n.doors[nodes.Items[i].Namespace], n.doors[out.Mesh.RootNamespace] = true, true
	}
	r.near.Store(n)
	if p.Policies, err = r.beside(ctx, &securityv1.AuthorizationPolicy{}, n.gateways); err != nil {
		return err
	}
	if p.PeerAuthentications, err = r.beside(ctx, &securityv1.PeerAuthentication{}, n.doors); err != nil {
		return err
	}
	if err := r.gateways(ctx, p); err != nil {
		return err
	}
	return r.doors(ctx, p, services.Items, nodes.Items)
}

func (r *Reader) proxies(ctx context.Context) ([]facts.Proxy, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{AgentIndex: string(facts.RoleGateway)}, noCopy); err != nil {
		return nil, fmt.Errorf("list gateways' pods: %w", err)
	}
	key := func(p facts.Proxy) string {
		return p.Namespace + " " + p.Owner.String() + " " + facts.SelectorKey(p.Labels)
	}
	var out []facts.Proxy
	for i := range list.Items {
		p := &list.Items[i]
		out = append(out, facts.Proxy{Namespace: p.Namespace, Owner: owner(p), Labels: p.Labels})
	}
	slices.SortFunc(out, func(a, b facts.Proxy) int { return cmp.Compare(key(a), key(b)) })
	return slices.CompactFunc(out, func(a, b facts.Proxy) bool { return key(a) == key(b) }), nil
}

// beside lists the objects of a kind in namespaces.
func (r *Reader) beside(ctx context.Context, kind client.Object, namespaces map[string]bool) ([]facts.Object, error) {
	k, _ := mesh.KindOf(kind)
	if !r.Served(k.GVK) || len(namespaces) == 0 {
		return nil, nil
	}
	var lists [][]client.ListOption
	for ns := range namespaces {
		lists = append(lists, []client.ListOption{client.InNamespace(ns)})
	}
	return r.listAll(ctx, k, lists)
}

// gateways reads others' Gateways that select a proxy, and of those what is bound
// to them whose servers let in more or less by it.
func (r *Reader) gateways(ctx context.Context, p *facts.Perimeter) error {
	k, _ := mesh.KindOf(&networkingv1.Gateway{})
	routes, _ := mesh.KindOf(&networkingv1.VirtualService{})
	if !r.Served(k.GVK) {
		return nil
	}
	items, err := r.listAll(ctx, k, [][]client.ListOption{{client.MatchingFields{ForeignIndex: isForeign}}})
	if err != nil {
		return err
	}
	p.Gateways = slices.DeleteFunc(items, func(o facts.Object) bool {
		g, ok := o.(*networkingv1.Gateway)
		return !ok || !slices.ContainsFunc(p.Proxies, func(x facts.Proxy) bool { return facts.Matches(g.Spec.GetSelector(), x.Labels) })
	})
	if !r.Served(routes.GVK) {
		return nil
	}
	asks := slices.ContainsFunc(p.Gateways, func(o facts.Object) bool { return slices.ContainsFunc(serversOf(o), asksForCertificates) })
	for _, g := range p.Gateways {
		if !slices.ContainsFunc(serversOf(g), func(s *networkingapi.Server) bool {
			return !s.GetTls().GetHttpsRedirect() && (asks || !strings.EqualFold(s.GetPort().GetProtocol(), "HTTPS"))
		}) {
			continue
		}
		at := types.NamespacedName{Namespace: g.GetNamespace(), Name: g.GetName()}
		bound, err := r.listAll(ctx, routes, [][]client.ListOption{{client.MatchingFields{BoundIndex: at.String()}}})
		if err != nil {
			return err
		}
		if p.Routes == nil {
			p.Routes = map[types.NamespacedName][]facts.Object{}
		}
		p.Routes[at] = bound
	}
	return nil
}

func serversOf(o facts.Object) []*networkingapi.Server {
	if g, ok := o.(*networkingv1.Gateway); ok {
		return g.Spec.GetServers()
	}
	return nil
}

func asksForCertificates(s *networkingapi.Server) bool {
	return s.GetTls().GetMode() == networkingapi.ServerTLSSettings_MUTUAL
}

// doors reads which workloads of the mesh are reached past the gateways.
func (r *Reader) doors(ctx context.Context, p *facts.Perimeter, services []corev1.Service, nodes []corev1.Pod) error {
	for i := range services {
		s := &services[i]
		if len(s.Spec.Selector) == 0 {
			continue
		}
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels(s.Spec.Selector), noCopy); err != nil {
			return fmt.Errorf("list pods of services that are reached from outside: %w", err)
		}
		if d, ok := facts.ServiceDoor(ServiceFacts(s), factsOf(list.Items)); ok {
			p.Doors = append(p.Doors, d)
		}
	}
	byNamespace := map[string][]corev1.Pod{}
	for _, n := range nodes {
		byNamespace[n.Namespace] = append(byNamespace[n.Namespace], n)
	}
	for namespace, pods := range byNamespace {
		p.Doors = append(p.Doors, facts.HostDoors(namespace, factsOf(pods))...)
	}
	facts.SortDoors(p.Doors)
	return nil
}

func factsOf(pods []corev1.Pod) []facts.Pod {
	var out []facts.Pod
	for i := range pods {
		if f, ok := PodFacts(&pods[i]); ok {
			out = append(out, f)
		}
	}
	return out
}
