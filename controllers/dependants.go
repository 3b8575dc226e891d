package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// What tells who depends on a namespace is read, and never written.
//
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=servicemonitors;podmonitors,verbs=get;list;watch
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes;grpcroutes;tlsroutes;tcproutes,verbs=get;list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations;mutatingwebhookconfigurations,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiregistration.k8s.io,resources=apiservices,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings;clusterrolebindings;roles;clusterroles,verbs=get;list;watch

// indexCore prepares the look-ups of kinds that are always watched.
func indexCore(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range snapshot.CoreIndexes() {
		if err := indexer.IndexField(ctx, i.Object, i.Field, i.Keys); err != nil {
			return fmt.Errorf("index %T by %s: %w", i.Object, i.Field, err)
		}
	}
	return nil
}

// anyReplica is started whether or not the replica leads.
type anyReplica struct{ cache.Cache }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (anyReplica) NeedLeaderElection() bool { return false }

// optionalCache is a cache for kinds that may be forbidden.
func optionalCache(mgr ctrl.Manager, meshNamespace string) (cache.Cache, error) {
	opts := CacheOptions(meshNamespace)
	opts.Scheme, opts.Mapper, opts.HTTPClient = mgr.GetScheme(), mgr.GetRESTMapper(), mgr.GetHTTPClient()
	c, err := cache.New(mgr.GetConfig(), opts)
	if err != nil {
		return nil, fmt.Errorf("make a cache: %w", err)
	}
	return c, mgr.Add(anyReplica{c})
}

// dependent maps a kind's events to the namespaces that its objects say something about.
func (l profileLookup) dependent(k snapshot.DependantKind) enqueue {
	return enqueue{priority: priorityFacts, changed: dependantChanged, moves: true, namespaces: func(o client.Object) []string {
		namespaces := k.Concerns(o)
		if slices.Contains(namespaces, snapshot.Everywhere) {
			return l.all(context.Background())
		}
		return namespaces
	}}
}

// dependantChanged looks at what the cache keeps of an object, which is what is read.
func dependantChanged(before, after client.Object) bool {
	if _, is := mesh.KindOf(after); is {
		// Istio's messages can't be compared by their fields.
		return before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID() ||
			!maps.Equal(before.GetLabels(), after.GetLabels()) || !maps.Equal(before.GetAnnotations(), after.GetAnnotations())
	}
	b, ok1 := before.DeepCopyObject().(client.Object)
	a, ok2 := after.DeepCopyObject().(client.Object)
	if !ok1 || !ok2 {
		return true
	}
	for _, o := range []client.Object{b, a} {
		o.SetResourceVersion("")
		o.SetGeneration(0)
	}
	return !equality.Semantic.DeepEqual(b, a)
}

// lockedOutKey finds the profiles for which it matters who scrapes or leads traffic in.
const lockedOutKey = "locked-out"

func lockedOut(p *v1alpha1.MeshSecurityProfile) bool {
	return slices.ContainsFunc(p.Status.Findings, func(f v1alpha1.Finding) bool { return f.Check == "LOCK-001" || f.Check == "LOCK-002" })
}

// ofPod lists the pod's own namespace; for one that scrapes or leads traffic in
// also those where such a one is refused, since this may be one that is not.
func (l profileLookup) ofPod(o client.Object) []string {
	out := []string{o.GetNamespace()}
	if len(snapshot.AgentRole(o)) > 0 {
		out = append(out, l.list(context.Background(), client.MatchingFields{referenceIndex: lockedOutKey})...)
	}
	return out
}
