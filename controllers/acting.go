package controllers

import (
	"context"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// actingLookup finds the namespaces on which an object of another one acts: all
// of those with a profile for the mesh's root namespace, and where things are
// exported, those that can see them.
type actingLookup struct {
	profiles profileLookup
	root     func(namespace string) bool
}

// of a kind of object.
func (l actingLookup) of(kind string) func(client.Object) []string {
	return func(o client.Object) []string {
		ctx := context.Background()
		switch kind {
		case "NetworkPolicy", "VirtualService":
			return nil
		case "Gateway":
			return l.profiles.behindGateway(o)
		case "AuthorizationPolicy":
			if mesh.AtGateway(o) {
				// Each is its tenant's affair.
				return nil
			}
			if !l.root(o.GetNamespace()) {
				return l.profiles.fleet.behind(o.GetNamespace())
			}
		case "ServiceEntry":
			return l.importing(ctx, o)
		case "DestinationRule":
			if l.root(o.GetNamespace()) {
				return l.profiles.all(ctx)
			}
			exports := snapshot.Exports(o)
			if slices.Contains(exports, snapshot.AllNamespaces) {
				return l.profiles.all(ctx)
			}
			return exports
		}
		if l.root(o.GetNamespace()) {
			return l.profiles.all(ctx)
		}
		return nil
	}
}

// importing lists the namespaces that a ServiceEntry is exported to and whose
// Sidecars take hosts of its namespace.
func (l actingLookup) importing(ctx context.Context, o client.Object) []string {
	exports := snapshot.Exports(o)
	if len(exports) == 0 {
		return nil
	}
	var out []string
	for _, key := range []string{o.GetNamespace(), snapshot.AllNamespaces} {
		var list networkingv1.SidecarList
		if err := l.profiles.client.List(ctx, &list, client.MatchingFields{snapshot.ImportIndex: key}, client.UnsafeDisableDeepCopy); err != nil {
			// Sidecars are not served, or not listed yet: every profile is reconciled when they are.
			l.profiles.log.V(1).Info("Sidecars can't be listed yet", "error", err.Error())
			return nil
		}
		for _, s := range list.Items {
			switch {
			case l.root(s.Namespace):
				// The mesh's default for every namespace without a Sidecar of its own.
				out = append(out, l.withoutSidecar(ctx)...)
			case slices.Contains(exports, snapshot.AllNamespaces) || slices.Contains(exports, s.Namespace):
				out = append(out, s.Namespace)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// withoutSidecar lists the namespaces with a profile that no Sidecar of their own is for.
func (l actingLookup) withoutSidecar(ctx context.Context) []string {
	var list networkingv1.SidecarList
	if err := l.profiles.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return l.profiles.all(ctx)
	}
	has := map[string]bool{}
	for _, s := range list.Items {
		has[s.Namespace] = has[s.Namespace] || len(s.Spec.GetWorkloadSelector().GetLabels()) == 0
	}
	return slices.DeleteFunc(l.profiles.all(ctx), func(ns string) bool { return has[ns] })
}

// actsOtherwise says whether an update can change what the mesh makes of an
// object. The API server counts every change of a spec as a generation.
func actsOtherwise(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID() ||
		!maps.Equal(significant(before.GetLabels()), significant(after.GetLabels())) ||
		!maps.Equal(significant(before.GetAnnotations()), significant(after.GetAnnotations()))
}

func significant(in map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if drift.Significant(k) {
			out[k] = v
		}
	}
	return out
}
