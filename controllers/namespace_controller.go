package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// What the operator itself may do in the cluster, and no more. Secrets are not
// among it. What it reads in the mesh's namespace is in config/rbac/mesh_role.yaml.
//
// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecurityprofiles;meshsecuritybaselines;meshsecurityexceptions,verbs=get;list;watch
// The finalizer is part of the profile itself.
// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecurityprofiles,verbs=patch
// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecurityprofiles/status;meshsecuritybaselines/status;meshsecurityexceptions/status,verbs=update
// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecurityprofiles/finalizers,verbs=update
// +kubebuilder:rbac:groups=security.istio.io,resources=peerauthentications;requestauthentications;authorizationpolicies,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=serviceentries;sidecars;destinationrules;gateways;virtualservices,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=envoyfilters,verbs=get;list;watch
// +kubebuilder:rbac:groups=extensions.istio.io,resources=wasmplugins,verbs=get;list;watch
// +kubebuilder:rbac:groups=telemetry.istio.io,resources=telemetries,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces;pods;services;serviceaccounts,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicybindings,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// NamespaceReconciler keeps one namespace as its profile declares. The
// request's name is the namespace. One that has no profile is kept as the
// baselines say that select it.
type NamespaceReconciler struct {
	Reader *snapshot.Reader
	Writer *apply.Writer
	// Ledger knows what was written and has not come back through the cache yet.
	Ledger *apply.Ledger
	Status client.SubResourceWriter
	Events events.EventRecorder
	Clock  func() time.Time

	memory  memory
	fleet   *fleet
	reports *reports
	echoes  *echoes
}

// Reconcile observes, decides, acts and reports.
func (r *NamespaceReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.echoes.begin(req.Name)
	defer r.echoes.end(req.Name)
	// Observe.
	observed, err := r.Reader.Read(ctx, req.Name)
	if apierrors.IsNotFound(err) {
		r.forget(req.Name)
		r.fleet.forget(req.Name)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Clock()
	if r.stale(req.Name, observed, now) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	// Decide.
	r.memory.recall(req.Name, &observed, now)
	decision := decide.Act(observed, now)
	if decision.Idle() {
		r.forget(req.Name)
		r.fleet.set(req.Name, standing{})
		return reconcile.Result{}, r.reports.remove(ctx, req.Name)
	}
	r.memory.decided(req.Name, observed, decision)
	// Act.
	if decision.Unheld(observed) {
		// The baseline that is to own what is written is held in a moment.
		return reconcile.Result{}, nil
	}
	if err := r.hold(ctx, &observed, &decision); err != nil {
		return conflictWaits(err)
	}
	outcome := r.Writer.Apply(ctx, req.Name, decision.Steps, gateways(observed)...)
	r.Ledger.Record(req.Name, outcome.Written...)
	if complete(decision, outcome) {
		r.echoes.wrote(req.Name, outcome.Written)
	}
	r.memory.weigh(req.Name, &decision, observed)
	r.memory.acted(req.Name, outcome, decision, now)
	count(outcome)
	switch {
	case outcome.Stale:
		// Somebody was faster: what they did is on its way through the cache.
		return reconcile.Result{RequeueAfter: apply.Patience}, nil
	case terminating(outcome):
		return reconcile.Result{}, nil
	}
	// Report.
	again, reported := r.report(ctx, observed, decision, outcome, now)
	reported = errors.Join(reported, r.letGo(ctx, decision))
	if apierrors.IsConflict(reported) {
		return reconcile.Result{RequeueAfter: soon}, outcome.Err()
	}
	if err := errors.Join(outcome.Err(), reported); err != nil {
		return reconcile.Result{}, err
	}
	next := requeue(decision, outcome, now)
	if again > 0 && (next.RequeueAfter == 0 || next.RequeueAfter > again) {
		next.RequeueAfter = again
	}
	return next, nil
}

// forget what is known of a namespace that nothing is declared for.
func (r *NamespaceReconciler) forget(namespace string) {
	report.Forget(namespace)
	r.Ledger.Forget(namespace)
	r.memory.forget(namespace)
}

// stale says whether the cache does not show yet what was last written here:
// acting on it would write twice, and take our own change for somebody else's.
func (r *NamespaceReconciler) stale(namespace string, o facts.Observed, now time.Time) bool {
	live := o.Live
	for _, p := range o.Profiles {
		live = append(live, p)
	}
	return r.Ledger.Stale(namespace, live, now)
}

// soon is when a reconcile looks again at the latest that gave way because the
// cache does not show yet what became of a profile. The event of a status wakes
// only those that had given way when it came; drift would stay for as long as
// nothing else happens.
const soon = 50 * time.Millisecond

// rejectedRetry is when a refused write is tried again: what refused it, like
// an admission policy, may have changed without an event that is seen here.
const rejectedRetry = time.Minute

func requeue(d decide.Decision, o apply.Outcome, now time.Time) reconcile.Result {
	var after time.Duration
	if d.Profile != nil && d.Resolution.Posture.NextChange != nil {
		after = max(d.Resolution.Posture.NextChange.Sub(now), time.Millisecond)
	}
	sooner := func(d time.Duration) {
		if d = max(d, time.Millisecond); after == 0 || after > d {
			after = d
		}
	}
	if d.NextFindings != nil {
		sooner(d.NextFindings.Sub(now))
	}
	if o.Rejected() {
		sooner(rejectedRetry)
	}
	for _, f := range d.Fights {
		sooner(f.Until.Sub(now))
	}
	return reconcile.Result{RequeueAfter: after}
}

// report writes the status of every profile of the namespace, and tells of changes
// by others. again is when to look at the report once more; 0: not by itself.
func (r *NamespaceReconciler) report(ctx context.Context, o facts.Observed, d decide.Decision, out apply.Outcome, now time.Time) (again time.Duration, err error) {
	if d.Profile == nil {
		return 0, r.reportLeaving(ctx, d, out, now)
	}
	computed := status.Compute(status.Input{Profile: d.Profile, Observed: o, Decision: d, Outcome: failures(out), Now: now})
	next := computed.Status
	if d.Implied() {
		r.memory.reported(d.Profile.Namespace, &next)
	} else {
		r.memory.reported(d.Profile.Namespace, nil)
		err = r.writeStatus(ctx, d.Profile, next)
	}
	if err == nil {
		r.announce(ctx, o, d, computed)
		r.fleet.set(d.Profile.Namespace, standingOf(o, d, computed))
	}
	errs := []error{err}
	if d.Compiled {
		again, err = r.reports.write(ctx, mesh.Meta(d.Resolution.Posture, report.DocumentName, ""), computed.Findings)
		errs = append(errs, err)
	}
	for _, p := range o.Profiles[1:] {
		if p.DeletionTimestamp == nil {
			errs = append(errs, r.writeStatus(ctx, p, status.Superseded(p, d.Profile.Name, now)))
		}
	}
	return again, errors.Join(append(errs, r.reportLeaving(ctx, d, out, now))...)
}

// writeStatus sends one request, or none when nothing changed.
func (r *NamespaceReconciler) writeStatus(ctx context.Context, p *v1alpha1.MeshSecurityProfile, next v1alpha1.MeshSecurityProfileStatus) error {
	if equality.Semantic.DeepEqual(p.Status, next) {
		return nil
	}
	p = p.DeepCopy()
	p.Status = next
	// The cache has a part of them alone.
	p.ManagedFields = nil
	if err := r.Status.Update(ctx, p, client.FieldOwner(v1alpha1.ManagedByValue)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("write status of profile %s: %w", p.Name, err)
	}
	r.Ledger.Record(p.Namespace, apply.WrittenObject(p))
	ctrl.LoggerFrom(ctx).Info("Wrote status", "profile", p.Name, "ready", readiness(next))
	return nil
}
