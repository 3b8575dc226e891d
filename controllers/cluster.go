package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// +kubebuilder:rbac:groups=openreports.io,resources=clusterreports,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=wgpolicyk8s.io,resources=clusterpolicyreports,verbs=get;list;watch;create;update;delete

// ClusterReconciler audits the cluster as a whole, writes its report, and hands
// what it found to the baselines.
type ClusterReconciler struct {
	Client client.Client
	Reader *snapshot.Reader
	Events events.EventRecorder
	Clock  func() time.Time

	// ready is true once everything that is read is in the cache.
	ready   func() bool
	fleet   *fleet
	reports *reports
	watch   *clusterWatch
	// before are the findings of the last look; nil before the first.
	before []v1alpha1.Finding
}

// Reconcile observes, examines and reports.
func (r *ClusterReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !r.ready() {
		return reconcile.Result{RequeueAfter: retryWatch}, nil
	}
	observed, err := r.Reader.Cluster(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Clock()
	findings, next := audit.ExamineCluster(&audit.ClusterScene{Cluster: observed, Now: now})
	report.Findings("", findings)
	r.announce(ctx, findings, observed.Mesh.Namespace)
	if err := r.tell(ctx, findings); err != nil {
		return reconcile.Result{}, err
	}
	after, err := r.reports.write(ctx, metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}}, findings)
	if err != nil {
		return conflictWaits(err)
	}
	if next != nil {
		if until := max(next.Sub(now), time.Millisecond); after == 0 || until < after {
			after = until
		}
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// announce tells what is new since the last look, and what is over: where it
// counts to, so that whoever looks at that namespace sees it. What is found at
// the first look is in the report.
func (r *ClusterReconciler) announce(ctx context.Context, findings []v1alpha1.Finding, meshNamespace string) {
	if r.before != nil {
		for _, t := range transitions(r.before, findings) {
			if home := audit.Home(t.findings[0], meshNamespace); r.stays(ctx, home) {
				t.tell(r.Events, namespaceReference(home))
			}
		}
	}
	if r.before == nil || !equality.Semantic.DeepEqual(r.before, findings) {
		ctrl.LoggerFrom(ctx).Info("Audited the cluster", "findings", len(findings))
	}
	r.before = append([]v1alpha1.Finding{}, findings...)
}

// stays says whether a namespace is there to stay: one that goes takes no Events.
func (r *ClusterReconciler) stays(ctx context.Context, namespace string) bool {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, types.NamespacedName{Name: namespace}, &ns, client.UnsafeDisableDeepCopy)
	return err == nil && ns.DeletionTimestamp == nil
}

// tell the baselines and the exceptions, where what was found has changed.
func (r *ClusterReconciler) tell(ctx context.Context, findings []v1alpha1.Finding) error {
	if !r.fleet.setCluster(findings) {
		return nil
	}
	var baselines v1alpha1.MeshSecurityBaselineList
	var exceptions v1alpha1.MeshSecurityExceptionList
	if err := r.Client.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list baselines: %w", err)
	}
	if err := r.Client.List(ctx, &exceptions, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list exceptions: %w", err)
	}
	var names []string
	for i := range baselines.Items {
		names = append(names, baselines.Items[i].Name)
	}
	tell(r.fleet.baselines, names)
	names = nil
	for i := range exceptions.Items {
		names = append(names, exceptions.Items[i].Name)
	}
	tell(r.fleet.exceptions, names)
	return nil
}

func (r *ClusterReconciler) setup(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("cluster").
		WithOptions(controller.Options{RateLimiter: rateLimiter()}).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			r.watch.start(q)
			return nil
		}))
	for _, o := range []client.Object{&v1alpha1.MeshSecurityBaseline{}, &v1alpha1.MeshSecurityException{}, &corev1.Pod{}, &corev1.Service{}, &corev1.ServiceAccount{}} {
		b = b.Watches(o, r.watch)
	}
	// What guards istiod is in its own namespace.
	guards := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == r.Reader.MeshNamespace })
	b = b.Watches(&netv1.NetworkPolicy{}, r.watch, builder.WithPredicates(guards))
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("set up the controller of the cluster's audit: %w", err)
	}
	return nil
}

// clusterWatch wakes the audit of the cluster by events of what it reads. A
// burst of them is one look.
type clusterWatch struct {
	mu sync.Mutex
	q  queue
	// near says whether the last look read an object for what is beside it.
	near func(client.Object) bool
}

func (w *clusterWatch) concerned(o client.Object) bool {
	return snapshot.ConcernsCluster(o) || (w.near != nil && w.near(o))
}

func (w *clusterWatch) start(q queue) {
	w.mu.Lock()
	w.q = q
	w.mu.Unlock()
	w.wake()
}

func (w *clusterWatch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.q != nil {
		w.q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: "cluster"}}, settle)
	}
}

func (w *clusterWatch) one(o client.Object) {
	if w.concerned(o) {
		w.wake()
	}
}

func (w *clusterWatch) update(before, after client.Object) {
	if before.GetResourceVersion() == after.GetResourceVersion() || !w.concerned(before) && !w.concerned(after) {
		return
	}
	changed := dependantChanged
	switch after.(type) {
	case *v1alpha1.MeshSecurityBaseline, *v1alpha1.MeshSecurityException:
		changed = profileChanged
	case *metav1.PartialObjectMetadata:
		changed = reportChanged
	}
	if changed(before, after) {
		w.wake()
	}
}

var _ handler.EventHandler = &clusterWatch{}

// Create implements handler.EventHandler.
func (w *clusterWatch) Create(_ context.Context, e event.CreateEvent, _ queue) { w.one(e.Object) }

// Update implements handler.EventHandler.
func (w *clusterWatch) Update(_ context.Context, e event.UpdateEvent, _ queue) {
	w.update(e.ObjectOld, e.ObjectNew)
}

// Delete implements handler.EventHandler.
func (w *clusterWatch) Delete(_ context.Context, e event.DeleteEvent, _ queue) { w.one(e.Object) }

// Generic implements handler.EventHandler.
func (w *clusterWatch) Generic(_ context.Context, e event.GenericEvent, _ queue) { w.one(e.Object) }
