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
		door = len(nodePorts(o)) > 0
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

// nodePorts are the ports of its node that a pod of the mesh has, sorted; none
// where all of the node's network is the pod's, which is then not of the mesh.
func nodePorts(p *corev1.Pod) []string {
	if p.Spec.HostNetwork || !meshed(p) {
		return nil
	}
	var out []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				out = append(out, fmt.Sprintf("with hostPort %d", port.HostPort))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meshed says whether a proxy of the mesh carries the traffic of a workload: not
// so of a gateway, or of somebody else's ingress, which are there to be reached.
func meshed(p *corev1.Pod) bool {
	a, is := agent(p)
	if is && a.Role != facts.RoleScraper || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	return p.Annotations[ambientRedirection] == "enabled" ||
		slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c corev1.Container) bool { return c.Name == proxyContainer })
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
// than ofPerimeter says: policies, and pods.
type nearby struct{ policies, pods map[string]bool }

// NearPerimeter says whether the last look at the cluster read an object for
// what is beside it.
func (r *Reader) NearPerimeter(o client.Object) bool {
	n := r.near.Load()
	if n == nil {
		return false
	}
	switch o.(type) {
	case *securityv1.AuthorizationPolicy:
		return n.policies[o.GetNamespace()]
	case *corev1.Pod:
		return n.pods[o.GetNamespace()]
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
	n := &nearby{policies: map[string]bool{}, pods: map[string]bool{}}
	if len(p.Proxies) > 0 {
		n.policies[out.Mesh.RootNamespace] = true
	}
	for _, proxy := range p.Proxies {
		n.policies[proxy.Namespace] = true
	}
	for i := range services.Items {
		n.pods[services.Items[i].Namespace] = true
	}
	r.near.Store(n)
	if p.Policies, err = r.policiesOf(ctx, n.policies); err != nil {
		return err
	}
	if err := r.gateways(ctx, p); err != nil {
		return err
	}
	return r.doors(ctx, p, services.Items)
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

func (r *Reader) policiesOf(ctx context.Context, namespaces map[string]bool) ([]*securityv1.AuthorizationPolicy, error) {
	k, _ := mesh.KindOf(&securityv1.AuthorizationPolicy{})
	if !r.Served(k.GVK) || len(namespaces) == 0 {
		return nil, nil
	}
	var lists [][]client.ListOption
	for ns := range namespaces {
		lists = append(lists, []client.ListOption{client.InNamespace(ns)})
	}
	items, err := r.listAll(ctx, k, lists)
	return only[*securityv1.AuthorizationPolicy](items), err
}

func only[T facts.Object](objects []facts.Object) []T {
	var out []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
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
	p.Gateways = slices.DeleteFunc(only[*networkingv1.Gateway](items), func(g *networkingv1.Gateway) bool {
		return !slices.ContainsFunc(p.Proxies, func(x facts.Proxy) bool { return facts.Matches(g.Spec.GetSelector(), x.Labels) })
	})
	if !r.Served(routes.GVK) {
		return nil
	}
	asks := slices.ContainsFunc(p.Gateways, func(g *networkingv1.Gateway) bool {
		return slices.ContainsFunc(g.Spec.GetServers(), asksForCertificates)
	})
	for _, g := range p.Gateways {
		if !slices.ContainsFunc(g.Spec.GetServers(), func(s *networkingapi.Server) bool {
			return !s.GetTls().GetHttpsRedirect() && (asks || !strings.EqualFold(s.GetPort().GetProtocol(), "HTTPS"))
		}) {
			continue
		}
		bound, err := r.listAll(ctx, routes, [][]client.ListOption{{client.MatchingFields{BoundIndex: g.Namespace + "/" + g.Name}}})
		if err != nil {
			return err
		}
		if len(bound) > 0 {
			if p.Routes == nil {
				p.Routes = map[types.NamespacedName][]*networkingv1.VirtualService{}
			}
			p.Routes[client.ObjectKeyFromObject(g)] = only[*networkingv1.VirtualService](bound)
		}
	}
	return nil
}

func asksForCertificates(s *networkingapi.Server) bool {
	return s.GetTls().GetMode() == networkingapi.ServerTLSSettings_MUTUAL
}

// doors reads which workloads of the mesh are reached past the gateways.
func (r *Reader) doors(ctx context.Context, p *facts.Perimeter, services []corev1.Service) error {
	for i := range services {
		s := &services[i]
		if len(s.Spec.Selector) == 0 {
			continue
		}
		var pods corev1.PodList
		if err := r.Client.List(ctx, &pods, client.InNamespace(s.Namespace), client.MatchingLabels(s.Spec.Selector), noCopy); err != nil {
			return fmt.Errorf("list pods of services that are reached from outside: %w", err)
		}
		var behind []facts.Owner
		for j := range pods.Items {
			if meshed(&pods.Items[j]) {
				behind = append(behind, owner(&pods.Items[j]))
			}
		}
		if len(behind) > 0 {
			p.Doors = append(p.Doors, facts.Door{Source: facts.Source{Kind: "Service", Namespace: s.Namespace, Name: s.Name}, Ways: exposed(s), Workloads: sorted(behind)})
		}
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.MatchingFields{DoorIndex: isDoor}, noCopy); err != nil {
		return fmt.Errorf("list pods with ports of their nodes: %w", err)
	}
	ways := map[facts.Source][]string{}
	for i := range pods.Items {
		o := owner(&pods.Items[i])
		at := facts.Source{Kind: o.Kind, Namespace: pods.Items[i].Namespace, Name: o.Name}
		ways[at] = append(ways[at], nodePorts(&pods.Items[i])...)
	}
	for at, w := range ways {
		slices.Sort(w)
		p.Doors = append(p.Doors, facts.Door{Source: at, Ways: slices.Compact(w), Workloads: []facts.Owner{{Kind: at.Kind, Name: at.Name}}})
	}
	slices.SortFunc(p.Doors, func(a, b facts.Door) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

func sorted(owners []facts.Owner) []facts.Owner {
	slices.SortFunc(owners, func(a, b facts.Owner) int { return cmp.Compare(a.String(), b.String()) })
	return slices.Compact(owners)
}
