package controllers

import (
	"context"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// profileLookup finds the namespaces whose profile an event concerns.
type profileLookup struct {
	client client.Reader
	log    logr.Logger
	fleet  *fleet
}

// all lists the namespaces that have a profile, or for which a baseline implies one.
func (l profileLookup) all(ctx context.Context) []string {
	out := append(l.list(ctx), l.fleet.declared()...)
	slices.Sort(out)
	return slices.Compact(out)
}

// ofBaseline lists the namespaces that a baseline selects or applies to.
func (l profileLookup) ofBaseline(o client.Object) []string {
	b, ok := o.(*v1alpha1.MeshSecurityBaseline)
	if !ok {
		return nil
	}
	out := l.fleet.under(b.UID)
	var list corev1.NamespaceList
	if err := l.client.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		l.log.V(1).Info("Namespaces can't be listed yet", "error", err.Error())
		return out
	}
	for i := range list.Items {
		if posture.Selects(&b.Spec, list.Items[i].Name, list.Items[i].Labels) {
			out = append(out, list.Items[i].Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (l profileLookup) list(ctx context.Context, opts ...client.ListOption) []string {
	var list v1alpha1.MeshSecurityProfileList
	if err := l.client.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		// Only while the cache starts, and then every profile is reconciled anyway.
		l.log.V(1).Info("Profiles can't be listed yet", "error", err.Error())
		return nil
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Namespace)
	}
	return out
}

// ofServiceAccount lists the namespaces for which a profile names the service
// account, or a baseline does.
func (l profileLookup) ofServiceAccount(o client.Object) []string {
	out := l.naming("serviceaccount")(o)
	var list v1alpha1.MeshSecurityBaselineList
	if err := l.client.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		l.log.V(1).Info("Baselines can't be listed yet", "error", err.Error())
		return out
	}
	for i := range list.Items {
		if posture.Names(&list.Items[i].Spec, client.ObjectKeyFromObject(o)) {
			out = append(out, l.fleet.under(list.Items[i].UID)...)
		}
	}
	return out
}

// naming lists the namespaces whose profiles name the object.
func (l profileLookup) naming(kind string) func(client.Object) []string {
	return func(o client.Object) []string {
		return l.list(context.Background(), client.MatchingFields{referenceIndex: kind + ":" + client.ObjectKeyFromObject(o).String()})
	}
}

// withOwn is naming, and the object's own namespace.
func (l profileLookup) withOwn(kind string) func(client.Object) []string {
	naming := l.naming(kind)
	return func(o client.Object) []string { return append(naming(o), o.GetNamespace()) }
}

// ofNamespace lists the namespace itself, those whose profiles name it, and those
// whose egress gateway is in it.
func (l profileLookup) ofNamespace(o client.Object) []string {
	out := append(l.list(context.Background(), client.MatchingFields{referenceIndex: "namespace:" + o.GetName()}), o.GetName())
	return append(out, l.fleet.behind(o.GetName())...)
}

// ofControlPlane lists every namespace with a profile, for an object that tells of
// the mesh's control plane.
func (l profileLookup) ofControlPlane(o client.Object) []string {
	if !snapshot.OfControlPlane(o) {
		return nil
	}
	return l.all(context.Background())
}
