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
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Indexes of the cache, by which one namespace is read without looking at
// those of all others.
const (
	// ExportIndex finds objects of other namespaces by what they are exported
	// to: a namespace, or AllNamespaces. A DestinationRule is in it only where
	// it sets a TLS mode that is not the mesh's own.
	ExportIndex = "exportedTo"
	// ImportIndex finds Sidecars by the namespaces of which they import hosts,
	// or AllNamespaces.
	ImportIndex = "importsFrom"
	// ForeignIndex finds Gateways that the operator does not write, and policies
	// that it does not write beside egress gateways, by isForeign.
	ForeignIndex = "foreign"
	// TenantIndex finds policies at egress gateways by the namespace that they
	// let use the gateway.
	TenantIndex = "tenant"
)

// AllNamespaces is how Istio's exportTo and egress.hosts name every namespace.
const AllNamespaces = "*"

// Index is one that the cache has to hold for a kind.
type Index struct {
	Kind  schema.GroupVersionKind
	Field string
	Keys  client.IndexerFunc
}

// Indexes lists what the cache has to hold.
func Indexes() []Index {
	kind := func(o client.Object) schema.GroupVersionKind { k, _ := mesh.KindOf(o); return k.GVK }
	return []Index{
		{kind(&networkingv1.ServiceEntry{}), ExportIndex, Exports},
		{kind(&networkingv1.DestinationRule{}), ExportIndex, Exports},
		{kind(&networkingv1.Sidecar{}), ImportIndex, Imports},
		{kind(&networkingv1.Gateway{}), ForeignIndex, foreignGateway},
		{kind(&networkingv1.Gateway{}), CredentialIndex, withCredential},
		{kind(&networkingv1.VirtualService{}), BoundIndex, boundTo},
		{kind(&securityv1.AuthorizationPolicy{}), TenantIndex, GatewayTenant},
		{kind(&securityv1.AuthorizationPolicy{}), ForeignIndex, foreignPolicy},
	}
}

// AllIndexes are those of every kind that the reader looks things up by.
func AllIndexes() []Index {
	out := append(Indexes(),
		Index{v1alpha1.GroupVersion.WithKind(v1alpha1.KindException), ExceptionIndex, ExceptionNamespaces},
		Index{corev1.SchemeGroupVersion.WithKind("Pod"), AgentIndex, AgentRole},
		Index{corev1.SchemeGroupVersion.WithKind("Pod"), LongLivedIndex, LongLived},
		Index{corev1.SchemeGroupVersion.WithKind("ServiceAccount"), LongLivedIndex, LongLived},
		Index{corev1.SchemeGroupVersion.WithKind("Pod"), DoorIndex, DoorKeys},
		Index{corev1.SchemeGroupVersion.WithKind("Service"), DoorIndex, DoorKeys},
		Index{apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), ConcernsIndex, CRDConcerns})
	for _, k := range DependantKinds() {
		out = append(out, Index{k.GroupKind.WithVersion(k.Versions[0]), ConcernsIndex, k.Concerns})
	}
	return out
}

// Exports are the namespaces besides its own to which an object is exported, or
// AllNamespaces: what an absent exportTo means, by Istio's defaults.
func Exports(o client.Object) []string {
	var to []string
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		to = o.Spec.GetExportTo()
	case *networkingv1.DestinationRule:
		if !overridesTLS(&o.Spec) {
			return nil
		}
		to = o.Spec.GetExportTo()
	default:
		return nil
	}
	return exports(to, o.GetNamespace())
}

func exports(to []string, own string) []string {
	if len(to) == 0 || slices.Contains(to, AllNamespaces) {
		return []string{AllNamespaces}
	}
	var out []string
	for _, ns := range to {
		if ns != "." && ns != "~" && ns != own {
			out = append(out, ns)
		}
	}
	return out
}

// overridesTLS says whether a DestinationRule has callers use anything but the
// mesh's own mutual TLS somewhere.
func overridesTLS(d *networkingapi.DestinationRule) bool {
	if policyOverridesTLS(d.GetTrafficPolicy()) {
		return true
	}
	return slices.ContainsFunc(d.GetSubsets(), func(s *networkingapi.Subset) bool { return policyOverridesTLS(s.GetTrafficPolicy()) })
}

func policyOverridesTLS(p *networkingapi.TrafficPolicy) bool {
	own := func(t *networkingapi.ClientTLSSettings) bool {
		return t == nil || t.GetMode() == networkingapi.ClientTLSSettings_ISTIO_MUTUAL
	}
	return !own(p.GetTls()) || slices.ContainsFunc(p.GetPortLevelSettings(), func(s *networkingapi.TrafficPolicy_PortTrafficPolicy) bool { return !own(s.GetTls()) })
}

// Imports are the namespaces besides its own of which a Sidecar takes hosts, or AllNamespaces.
func Imports(o client.Object) []string {
	s, ok := o.(*networkingv1.Sidecar)
	if !ok {
		return nil
	}
	var out []string
	for _, l := range s.Spec.GetEgress() {
		for _, h := range l.GetHosts() {
			ns, _, ok := strings.Cut(h, "/")
			switch {
			case !ok || ns == AllNamespaces:
				return []string{AllNamespaces}
			case ns != "." && ns != "~" && ns != s.Namespace && !slices.Contains(out, ns):
				out = append(out, ns)
			}
		}
	}
	return out
}

// rootKinds are the kinds that act on every namespace from the mesh's root namespace.
var rootKinds = []string{"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy", "Sidecar", "ServiceEntry", "DestinationRule", "Telemetry"}

// ActsFromRoot says whether objects of a kind in the mesh's root namespace act on every namespace.
func ActsFromRoot(kind string) bool { return slices.Contains(rootKinds, kind) }

// Root says whether a namespace is the root namespace of a mesh that was read.
func (r *Reader) Root(namespace string) bool {
	_, is := r.roots.Load(namespace)
	return is || namespace == r.MeshNamespace
}

// others lists the objects besides live that take part in what is in force.
func (r *Reader) others(ctx context.Context, namespace, root string, live []facts.Object) ([]facts.Object, error) {
	r.roots.Store(root, true)
	var out []facts.Object
	sidecars := live
	// Sidecars come before the ServiceEntries, which are sought where they look.
	for _, kind := range rootKinds {
		k, ok := mesh.KindNamed(kind)
		if !ok || !r.Served(k.GVK) {
			continue
		}
		var lists [][]client.ListOption
		switch kind {
		case "DestinationRule":
			lists = [][]client.ListOption{
				{client.MatchingFields{ExportIndex: AllNamespaces}}, {client.MatchingFields{ExportIndex: namespace}},
			}
		case "ServiceEntry":
			lists = imported(namespace, sidecars)
		}
		if namespace != root {
			lists = append(lists, []client.ListOption{client.InNamespace(root)})
		}
		items, err := r.listAll(ctx, k, lists)
		if err != nil {
			return nil, err
		}
		if kind == "Sidecar" && !slices.ContainsFunc(live, wholeNamespace) {
			sidecars = append(slices.Clone(live), items...)
		}
		for _, o := range items {
			if mesh.AtGateway(o) {
				// At a gateway in the root namespace: each is its tenant's affair.
				continue
			}
			if !exportable(kind) || (o.GetNamespace() != namespace && visible(o, namespace)) {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

func exportable(kind string) bool { return kind == "ServiceEntry" || kind == "DestinationRule" }

func wholeNamespace(o facts.Object) bool {
	s, ok := o.(*networkingv1.Sidecar)
	return ok && len(s.Spec.GetWorkloadSelector().GetLabels()) == 0
}

// imported says where ServiceEntries of other namespaces are to be looked for:
// what no Sidecar here imports does not exist for the proxies. Without a
// Sidecar nothing restricts them, and an entry more opens nothing.
func imported(namespace string, sidecars []facts.Object) (out [][]client.ListOption) {
	seen := map[string]bool{}
	for _, o := range sidecars {
		s, ok := o.(*networkingv1.Sidecar)
		if !ok {
			continue
		}
		for _, ns := range Imports(s) {
			if ns == AllNamespaces {
				return [][]client.ListOption{
					{client.MatchingFields{ExportIndex: AllNamespaces}}, {client.MatchingFields{ExportIndex: namespace}},
				}
			}
			if !seen[ns] {
				seen[ns] = true
				out = append(out, []client.ListOption{client.InNamespace(ns)})
			}
		}
	}
	return out
}

// visible says whether an object of another namespace is exported to this one.
func visible(o facts.Object, namespace string) bool {
	var to []string
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		to = o.Spec.GetExportTo()
	case *networkingv1.DestinationRule:
		to = o.Spec.GetExportTo()
	case *networkingv1.VirtualService:
		to = o.Spec.GetExportTo()
	}
	e := exports(to, o.GetNamespace())
	return slices.Contains(e, AllNamespaces) || slices.Contains(e, namespace)
}

// listAll is several lists of a kind, each object once, sorted by namespace and
// name.
func (r *Reader) listAll(ctx context.Context, k mesh.Kind, lists [][]client.ListOption) ([]facts.Object, error) {
	var out []facts.Object
	for _, opts := range lists {
		items, err := r.list(ctx, k, opts...)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
	}
	slices.SortFunc(out, func(a, b facts.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return slices.CompactFunc(out, func(a, b facts.Object) bool {
		return a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName()
	}), nil
}

// influences lists objects of others, by name, of which it can't be worked out
// what they do here.
func (r *Reader) influences(ctx context.Context, namespace, root string, routings []facts.Routing) ([]facts.Influence, error) {
	var out []facts.Influence
	namespaces := slices.Compact([]string{namespace, root})
	for _, e := range []struct {
		kind  schema.GroupVersionKind
		areas []v1alpha1.Area
		what  string
	}{
		{mesh.EnvoyFilter, []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization, v1alpha1.AreaEgress}, "can change anything that the proxies do"},
		{mesh.WasmPlugin, []v1alpha1.Area{v1alpha1.AreaAuthorization, v1alpha1.AreaEgress}, "runs in the proxies, can change requests and call others"},
	} {
		if !r.Served(e.kind) {
			continue
		}
		for _, ns := range namespaces {
			list := MetadataList(e.kind)
			if err := r.Client.List(ctx, list, client.InNamespace(ns), noCopy); err != nil {
				return nil, fmt.Errorf("list %s: %w", e.kind.Kind, err)
			}
			for _, o := range list.Items {
				out = append(out, facts.Influence{Kind: e.kind.Kind, Namespace: ns, Name: o.Name, Areas: e.areas, What: e.what})
			}
		}
	}
	for _, v := range routings {
		// Istio lets proxies reach what a route leads to, whether or not their
		// Sidecar names it.
		if leadsAway(v, r.ClusterDomain) {
			out = append(out, facts.Influence{Kind: "VirtualService", Namespace: v.Namespace, Name: v.Name,
				Areas: []v1alpha1.Area{v1alpha1.AreaEgress}, What: "leads calls to hosts of other namespaces"})
		}
	}
	slices.SortFunc(out, func(a, b facts.Influence) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// routings lists where VirtualServices lead calls within the mesh: those of the
// namespace, and of the root namespace where they are exported to it.
func (r *Reader) routings(ctx context.Context, namespace, root string) ([]facts.Routing, error) {
	kind, _ := mesh.KindOf(&networkingv1.VirtualService{})
	if !r.Served(kind.GVK) {
		return nil, nil
	}
	items, err := r.listAll(ctx, kind, [][]client.ListOption{{client.InNamespace(namespace)}, {client.InNamespace(root)}})
	if err != nil {
		return nil, err
	}
	var out []facts.Routing
	for _, o := range items {
		v, ok := o.(*networkingv1.VirtualService)
		if !ok || (v.Namespace == namespace && managed(v)) || (v.Namespace != namespace && !visible(v, namespace)) {
			continue
		}
		if g := v.Spec.GetGateways(); len(g) > 0 && !slices.Contains(g, "mesh") {
			continue
		}
		routing := facts.Routing{Namespace: v.Namespace, Name: v.Name, Hosts: v.Spec.GetHosts(), Delegates: delegates(v)}
		for _, d := range destinations(v) {
			if !slices.Contains(routing.Destinations, d.GetHost()) {
				routing.Destinations = append(routing.Destinations, d.GetHost())
			}
		}
		if routing.Gateways, err = r.gatewaysAmong(ctx, v.Namespace, routing); err != nil {
			return nil, err
		}
		out = append(out, routing)
	}
	return out, nil
}

// managed says whether an object has a name and the label that the operator
// gives: such a one is compared with what is desired, or removed.
func managed(o client.Object) bool {
	return strings.HasPrefix(o.GetName(), mesh.NamePrefix) && o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue
}

// leadsAway says whether calls are led from a host to another namespace's.
func leadsAway(v facts.Routing, domain string) bool {
	return v.Delegates || slices.ContainsFunc(v.Destinations, func(h string) bool {
		return !slices.Contains(v.Hosts, h) && !within(h, v.Namespace, domain)
	})
}

// within says whether a host, short or not, is a service of the namespace.
func within(host, namespace, domain string) bool {
	_, rest, dotted := strings.Cut(host, ".")
	return !dotted || rest == namespace || rest == namespace+".svc" || rest == namespace+".svc."+domain
}

// destinations are what a VirtualService leads to. What calls are mirrored to is
// among them once, without a port.
func destinations(v *networkingv1.VirtualService) []*networkingapi.Destination {
	var out []*networkingapi.Destination
	for _, r := range v.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			out = append(out, d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTls() {
		for _, d := range r.GetRoute() {
			out = append(out, d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTcp() {
		for _, d := range r.GetRoute() {
			out = append(out, d.GetDestination())
		}
	}
	mirrored := func(to *networkingapi.Destination) {
		h := to.GetHost()
		if h != "" && !slices.ContainsFunc(out, func(d *networkingapi.Destination) bool { return d.GetHost() == h }) {
			out = append(out, &networkingapi.Destination{Host: h})
		}
	}
	for _, r := range v.Spec.GetHttp() {
		for _, m := range r.GetMirrors() {
			mirrored(m.GetDestination())
		}
		mirrored(r.GetMirror())
	}
	return out
}

// delegates says whether a VirtualService leaves some calls to another one.
func delegates(v *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(v.Spec.GetHttp(), func(r *networkingapi.HTTPRoute) bool { return r.GetDelegate() != nil })
}

// Metadata is the form in which a kind is cached of which only existence matters.
func Metadata(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk)
	return m
}

// MetadataList is a list of the same form.
func MetadataList(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	m := &metav1.PartialObjectMetadataList{}
	m.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	return m
}
