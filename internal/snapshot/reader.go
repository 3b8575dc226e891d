package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Reader reads the cluster's state through a cache.
type Reader struct {
	// Client answers from the cache.
	Client client.Reader
	// Optional answers from the cache of kinds that may be forbidden: those of
	// the mesh's control plane, and those that tell who depends on a namespace.
	Optional client.Reader
	// Roots answers from the cache of what each namespace's proxies trust, which
	// may be forbidden too.
	Roots client.Reader
	// Served says whether the API server serves a kind and the cache holds it.
	Served func(schema.GroupVersionKind) bool
	// ControlPlaneRead says whether the cache holds what tells of the mesh's
	// control plane. Where it does not, the control plane is not observed.
	ControlPlaneRead func() bool
	// GuardsRead says whether the cache holds the bindings of admission
	// policies. Where it does not, it is unknown what admission refuses.
	GuardsRead func() bool
	// Dependant says whether the API server serves a kind that tells who depends
	// on a namespace (No), whether the cache holds it (Yes), and in which version;
	// Unknown: it is served and can't be read.
	Dependant func(schema.GroupKind) (version string, read facts.Tristate)
	// Scheme has the types of the kinds that are read.
	Scheme *runtime.Scheme
	// MeshNamespace is where istiod and the mesh configuration are.
	MeshNamespace string
	// ClusterDomain is the DNS domain of services.
	ClusterDomain string
	// Network is what the operator was told of the cluster's network.
	Network facts.Network
	// Namespace is the operator's own, which no baseline selects; empty where
	// it runs outside of a cluster.
	Namespace string

	revisions revisions
	// roots are the root namespaces of the meshes that were read.
	roots sync.Map
	// near is what the last look at the perimeter read beside it.
	near atomic.Pointer[nearby]
}

// noCopy hands out the cache's own objects: everything read here is read only.
var noCopy = client.UnsafeDisableDeepCopy

// Read returns what there is to know about one namespace. One that nothing is
// declared for is read no further than what baselines left there.
func (r *Reader) Read(ctx context.Context, namespace string) (facts.Observed, error) {
	var out facts.Observed
	var err error
	if out.Profiles, err = r.profiles(ctx, namespace); err != nil {
		return out, err
	}
	var ns corev1.Namespace
	if err := r.Client.Get(ctx, types.NamespacedName{Name: namespace}, &ns); err != nil {
		return r.left(ctx, namespace, fmt.Errorf("read namespace: %w", err))
	}
	out.Facts.Namespace = facts.Namespace{Name: namespace, Labels: ns.Labels, Terminating: ns.DeletionTimestamp != nil}
	out.Facts.Network = r.Network
	if err := r.declared(ctx, &out); err != nil {
		return out, err
	}
	if len(out.Profiles) == 0 {
		out.Live, err = r.live(ctx, namespace)
		return out, err
	}
	var errs []error
	collect := func(err error) { errs = append(errs, err) }

	out.Facts.Pods, err = r.pods(ctx, namespace)
	collect(err)
	collect(r.references(ctx, namespace, posture.ReferencesOf(out.Profiles[0], out.Baselines...), &out.Facts))
	out.Live, err = r.live(ctx, namespace)
	collect(err)
	out.Facts.Mesh, err = r.mesh(ctx, &ns, out.Profiles[0].Spec.Mesh)
	collect(err)
	out.Facts.EgressGateway, err = r.egressGateway(ctx, out.Baselines, out.Facts.Mesh.RootNamespace)
	collect(err)
	out.Facts.Dependants, err = r.dependants(ctx, namespace)
	collect(err)
	out.Others, err = r.others(ctx, namespace, out.Facts.Mesh.RootNamespace, out.Live)
	collect(err)
	out.Guards, err = r.guards(ctx)
	collect(err)
	out.Routings, err = r.routings(ctx, namespace, out.Facts.Mesh.RootNamespace)
	collect(err)
	out.Influences, err = r.influences(ctx, namespace, out.Facts.Mesh.RootNamespace, out.Routings)
	collect(err)
	out.Bulletins, err = r.bulletins(ctx)
	collect(err)
	return out, errors.Join(errs...)
}

// left is what is left of a namespace that is gone: policies at egress gateways,
// which are in other namespaces.
func (r *Reader) left(ctx context.Context, namespace string, gone error) (facts.Observed, error) {
	var out facts.Observed
	if !apierrors.IsNotFound(gone) {
		return out, gone
	}
	var err error
	out.Facts.Namespace = facts.Namespace{Name: namespace, Terminating: true}
	if out.Live, err = r.gatewayPolicies(ctx, namespace); err != nil || len(out.Live) > 0 {
		return out, err
	}
	return out, gone
}

func (r *Reader) profiles(ctx context.Context, namespace string) ([]*v1alpha1.MeshSecurityProfile, error) {
	var list v1alpha1.MeshSecurityProfileList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), noCopy); err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	out := make([]*v1alpha1.MeshSecurityProfile, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	slices.SortFunc(out, func(a, b *v1alpha1.MeshSecurityProfile) int {
		return cmp.Or(
			compareBool(a.DeletionTimestamp != nil, b.DeletionTimestamp != nil),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (r *Reader) pods(ctx context.Context, namespace string) ([]facts.Pod, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), noCopy); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var out []facts.Pod
	for i := range list.Items {
		if p, ok := PodFacts(&list.Items[i]); ok {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b facts.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// references reads the namespace's services and what the profile names.
func (r *Reader) references(ctx context.Context, namespace string, refs posture.References, f *facts.Facts) error {
	f.Services = map[types.NamespacedName]facts.Service{}
	f.Namespaces = map[string]bool{}
	f.ServiceAccounts = map[types.NamespacedName]bool{}

	var own corev1.ServiceList
	if err := r.Client.List(ctx, &own, client.InNamespace(namespace), noCopy); err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	for i := range own.Items {
		f.Services[client.ObjectKeyFromObject(&own.Items[i])] = ServiceFacts(&own.Items[i])
	}
	for _, key := range refs.Services {
		if _, ok := f.Services[key]; ok {
			continue
		}
		var svc corev1.Service
		found, err := r.get(ctx, key, &svc)
		if err != nil {
			return err
		}
		if found {
			f.Services[key] = ServiceFacts(&svc)
		}
	}
	for _, name := range refs.Namespaces {
		found, err := r.get(ctx, types.NamespacedName{Name: name}, &corev1.Namespace{})
		if err != nil {
			return err
		}
		if found {
			f.Namespaces[name] = true
		}
	}
	for _, key := range refs.ServiceAccounts {
		found, err := r.get(ctx, key, &corev1.ServiceAccount{})
		if err != nil {
			return err
		}
		if found {
			f.ServiceAccounts[key] = true
		}
	}
	return nil
}

func (r *Reader) get(ctx context.Context, key types.NamespacedName, obj client.Object) (bool, error) {
	return r.getFrom(ctx, r.Client, key, obj)
}

func (*Reader) getFrom(ctx context.Context, c client.Reader, key types.NamespacedName, obj client.Object) (bool, error) {
	err := c.Get(ctx, key, obj, noCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %T %s: %w", obj, key, err)
	}
	return true, nil
}

// live are the objects of managed kinds in the namespace, and after them the
// policies by which its workloads may use egress gateways. Those of other
// namespaces for a gateway here are no affair of this one.
func (r *Reader) live(ctx context.Context, namespace string) ([]facts.Object, error) {
	var out []facts.Object
	for _, k := range mesh.ManagedKinds() {
		if !r.Served(k.GVK) {
			continue
		}
		items, err := r.list(ctx, k, client.InNamespace(namespace))
		if err != nil {
			return nil, err
		}
		out = append(out, slices.DeleteFunc(items, mesh.AtGateway)...)
	}
	policies, err := r.gatewayPolicies(ctx, namespace)
	return append(out, policies...), err
}

func (r *Reader) list(ctx context.Context, k mesh.Kind, opts ...client.ListOption) ([]facts.Object, error) {
	list, ok := k.NewList().(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%s: not a list type", k.GVK)
	}
	if err := r.Client.List(ctx, list, append(opts, noCopy)...); err != nil {
		return nil, fmt.Errorf("list %s: %w", k.GVK.Kind, err)
	}
	var out []facts.Object
	err := meta.EachListItem(list, func(o runtime.Object) error {
		obj, ok := o.(facts.Object)
		if !ok {
			return fmt.Errorf("%s: %T is not an object", k.GVK, o)
		}
		out = append(out, obj)
		return nil
	})
	slices.SortFunc(out, func(a, b facts.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out, err
}
