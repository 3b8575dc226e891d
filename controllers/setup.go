package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// Config is what the operator is told at start.
type Config struct {
	// MeshNamespace is where istiod and the mesh configuration are.
	MeshNamespace string
	// ClusterDomain is the DNS domain of services.
	ClusterDomain string
	// Namespace is the operator's own; empty outside of a cluster.
	Namespace string
	// Network is what is known of the cluster's network.
	Network facts.Network
	// Workers is how many namespaces are worked on at a time.
	Workers int
	// Clock tells the time; nil: the real one.
	Clock func() time.Time
}

// AddToScheme registers every kind that the operator reads or writes, beyond Kubernetes' own.
func AddToScheme(s *runtime.Scheme) error {
	return errors.Join(
		v1alpha1.AddToScheme(s),
		apiextensionsv1.AddToScheme(s),
		securityv1.AddToScheme(s),
		networkingv1.AddToScheme(s),
		telemetryv1.AddToScheme(s),
	)
}

// CacheOptions says what the cache holds. A read of a kind that is not watched
// fails instead of starting a watch. What is trimmed goes by an object's type:
// options by kind would need the kinds of the mesh to be served at start.
func CacheOptions(meshNamespace string) cache.Options {
	guards := labels.NewSelector()
	if labelled, err := labels.NewRequirement(v1alpha1.LabelGuard, selection.Exists, nil); err == nil {
		guards = guards.Add(*labelled)
	}
	inMesh := cache.ByObject{Namespaces: map[string]cache.Config{meshNamespace: {}}}
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ConfigMap{}: inMesh, &appsv1.Deployment{}: inMesh,
			&admissionv1.ValidatingAdmissionPolicyBinding{}: {Label: guards},
		},
		DefaultTransform:            trim,
		ReaderFailOnMissingInformer: true,
	}
}

func trim(in any) (any, error) {
	if o, ok := in.(client.Object); ok && !trimmed(o) {
		if _, managed := mesh.KindOf(o); managed {
			return drift.Transform(in)
		}
	}
	return snapshot.Trim(in)
}

// maxBackoff is the longest pause before a failed namespace is tried again;
// controller-runtime's default is 1,000 seconds.
const maxBackoff = time.Minute

func rateLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, maxBackoff)
}

// Setup adds the controllers to the manager and returns a check that is nil
// once every cache is filled.
func Setup(mgr ctrl.Manager, cfg Config) (ready func() error, err error) {
	ctx := context.Background()
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	c, warm := mgr.GetClient(), true
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MeshSecurityProfile{}, referenceIndex, referenceKeys); err != nil {
		return nil, fmt.Errorf("index profiles: %w", err)
	}
	known := &fleet{}
	profiles := profileLookup{client: c, log: mgr.GetLogger(), fleet: known}
	if err := indexCore(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	own := owners
	reader := &snapshot.Reader{Client: c, MeshNamespace: cfg.MeshNamespace, ClusterDomain: cfg.ClusterDomain, Network: cfg.Network, Namespace: cfg.Namespace}
	acting := actingLookup{profiles: profiles, root: reader.Root}
	mine := newEchoes()
	handle := func(gvk schema.GroupVersionKind) enqueue {
		e := enqueue{priority: priorityDrift, namespaces: own, wide: acting.of(gvk.Kind), acts: actsOtherwise}
		if _, ok := mesh.KindNamed(gvk.Kind); !ok {
			e.priority = priorityFacts
		} else {
			e.echoes = mine
		}
		e.changed = managedChanged
		return e
	}
	optional, err := optionalCache(mgr, cfg.MeshNamespace)
	if err != nil {
		return nil, err
	}
	reader.Optional, reader.Scheme = optional, mgr.GetScheme()
	kinds, err := NewMeshKinds(mgr.GetCache(), optional, mgr.GetLogger().WithName("mesh"), profiles.all, handle,
		enqueue{priority: priorityFanOut, namespaces: func(client.Object) []string { return profiles.all(ctx) }, changed: bindingChanged},
		map[client.Object]enqueue{
			&corev1.ConfigMap{}:  {priority: priorityFanOut, namespaces: profiles.ofControlPlane, changed: configChanged},
			&appsv1.Deployment{}: {priority: priorityFanOut, namespaces: profiles.ofControlPlane, changed: deploymentChanged},
		}, profiles.dependent)
	if err != nil {
		return nil, err
	}
	kinds.cluster.near = reader.NearPerimeter
	told, err := reportsCache(mgr)
	roots, rootsErr := rootsCache(mgr)
	if err = errors.Join(err, rootsErr); err != nil {
		return nil, err
	}
	kinds.roots(roots)
	kinds.tell(told, enqueue{priority: priorityFacts, namespaces: own, changed: reportChanged})
	reader.GuardsRead, reader.Roots = kinds.GuardsRead, roots
	reader.Served, reader.ControlPlaneRead, reader.Dependant = kinds.Served, kinds.ControlPlaneRead, kinds.Dependant
	ledger := apply.NewLedger()
	r := &NamespaceReconciler{
		Reader:  reader,
		Writer:  apply.NewWriter(c),
		Ledger:  ledger,
		Status:  c.Status(),
		Events:  mgr.GetEventRecorder(v1alpha1.ManagedByValue),
		Clock:   cfg.Clock,
		fleet:   known,
		reports: &reports{cache: told, client: c, served: kinds.Told, clock: cfg.Clock, kinds: report.DocumentKinds(), of: map[string]reported{}},
		echoes:  mine,
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("profile").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: max(cfg.Workers, 1), RateLimiter: rateLimiter(),
			// A replica that waits for its turn has its caches filled.
			EnableWarmup: &warm,
			LogConstructor: func(req *reconcile.Request) logr.Logger {
				log := mgr.GetLogger().WithValues("controller", "profile")
				if req != nil {
					log = log.WithValues("namespace", req.Name)
				}
				return log
			},
		}).
		Watches(&v1alpha1.MeshSecurityProfile{}, profileEvents(ledger)).
		Watches(&v1alpha1.MeshSecurityBaseline{}, enqueue{priority: priorityFanOut, namespaces: profiles.ofBaseline, changed: baselineChanged, moves: true}).
		Watches(&v1alpha1.MeshSecurityException{}, enqueue{priority: priorityEdit, namespaces: snapshot.ExceptionNamespaces, changed: profileChanged, moves: true}).
		Watches(&corev1.Pod{}, enqueue{namespaces: profiles.ofPod, changed: podChanged, moves: true, wide: profiles.behindPod, acts: snapshot.GatewayPodChanged}).
		Watches(&corev1.Service{}, enqueue{namespaces: profiles.ofService, changed: serviceChanged}).
		Watches(&corev1.Namespace{}, enqueue{namespaces: profiles.ofNamespace, changed: namespaceChanged}).
		Watches(&corev1.ServiceAccount{}, enqueue{namespaces: profiles.ofServiceAccount, changed: never})
	for _, k := range mesh.ManagedKinds() {
		if o, ok := k.New().(client.Object); ok && !k.Custom {
			b = b.Watches(o, handle(k.GVK))
		}
	}
	if err := b.WatchesRawSource(kinds).Complete(r); err != nil {
		return nil, fmt.Errorf("set up the profile controller: %w", err)
	}
	baselines := &BaselineReconciler{Client: c, Reader: reader, Writer: r.Writer, Events: r.Events, Clock: cfg.Clock, fleet: known}
	exceptions := &ExceptionReconciler{Client: c, Reader: reader, Events: r.Events, Clock: cfg.Clock, fleet: known}
	whole := &ClusterReconciler{
		Client: c, Reader: reader, Events: r.Events, Clock: cfg.Clock, ready: kinds.listed.Load, fleet: known, watch: kinds.cluster,
		reports: &reports{cache: told, client: c, served: kinds.Told, clock: cfg.Clock, kinds: report.ClusterDocumentKinds(), of: map[string]reported{}},
	}
	return kinds.Ready, errors.Join(baselines.setup(mgr), exceptions.setup(mgr), whole.setup(mgr))
}

// profileEvents are those about profiles. The status that we wrote is none but
// where a namespace waits for it: somebody changed something meanwhile.
func profileEvents(ledger *apply.Ledger) enqueue {
	return enqueue{
		priority:   priorityEdit,
		namespaces: func(o client.Object) []string { return []string{o.GetNamespace()} },
		changed: func(before, after client.Object) bool {
			return ledger.Awaited(after.GetNamespace()) || profileChanged(before, after)
		},
	}
}

// The functions below say whether an update matters. What they compare is what
// the reader uses of an object; a heartbeat in a status changes nothing.

// managedChanged: of an object of ours everything counts, of others' what they do.
func managedChanged(before, after client.Object) bool {
	_, managed := mesh.KindOf(after)
	return (managed && !trimmed(after)) || actsOtherwise(before, after)
}

func never(_, _ client.Object) bool { return false }

func profileChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() ||
		before.GetUID() != after.GetUID() ||
		before.GetAnnotations()[v1alpha1.AnnotationPaused] != after.GetAnnotations()[v1alpha1.AnnotationPaused] ||
		(before.GetDeletionTimestamp() == nil) != (after.GetDeletionTimestamp() == nil) ||
		after.GetDeletionTimestamp() == nil && held(before) && !held(after)
}

// held says whether an object has our finalizer.
func held(o client.Object) bool { return slices.Contains(o.GetFinalizers(), v1alpha1.Finalizer) }

func podChanged(before, after client.Object) bool {
	b, ok1 := before.(*corev1.Pod)
	a, ok2 := after.(*corev1.Pod)
	if !ok1 || !ok2 {
		return true
	}
	fb, okB := snapshot.PodFacts(b)
	fa, okA := snapshot.PodFacts(a)
	return okB != okA || !equality.Semantic.DeepEqual(fb, fa)
}

func serviceChanged(before, after client.Object) bool {
	b, ok1 := before.(*corev1.Service)
	a, ok2 := after.(*corev1.Service)
	return !ok1 || !ok2 || !equality.Semantic.DeepEqual(snapshot.ServiceFacts(b), snapshot.ServiceFacts(a))
}

func namespaceChanged(before, after client.Object) bool {
	return !equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
		!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
		(before.GetDeletionTimestamp() == nil) != (after.GetDeletionTimestamp() == nil)
}

func configChanged(before, after client.Object) bool {
	b, ok1 := before.(*corev1.ConfigMap)
	a, ok2 := after.(*corev1.ConfigMap)
	return !ok1 || !ok2 || b.Data["mesh"] != a.Data["mesh"] || b.Data[bulletins.Key] != a.Data[bulletins.Key]
}

func deploymentChanged(before, after client.Object) bool {
	b, ok1 := before.(*appsv1.Deployment)
	a, ok2 := after.(*appsv1.Deployment)
	return !ok1 || !ok2 ||
		(b.Status.AvailableReplicas > 0) != (a.Status.AvailableReplicas > 0) ||
		!equality.Semantic.DeepEqual(b.Labels, a.Labels) || !equality.Semantic.DeepEqual(b.Spec, a.Spec)
}

func bindingChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() ||
		before.GetLabels()[v1alpha1.LabelGuard] != after.GetLabels()[v1alpha1.LabelGuard]
}

// referenceIndex finds profiles by what they name.
const referenceIndex = "references"

func referenceKeys(o client.Object) []string {
	p, ok := o.(*v1alpha1.MeshSecurityProfile)
	if !ok {
		return nil
	}
	refs := posture.ReferencesOf(p)
	var keys []string
	for _, ns := range refs.Namespaces {
		keys = append(keys, "namespace:"+ns)
	}
	for _, sa := range refs.ServiceAccounts {
		keys = append(keys, "serviceaccount:"+sa.String())
	}
	for _, svc := range refs.Services {
		keys = append(keys, "service:"+svc.String())
	}
	if lockedOut(p) {
		keys = append(keys, lockedOutKey)
	}
	return keys
}
