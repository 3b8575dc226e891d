package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// ExceptionReconciler says whether an exception is in force, and what it covers.
// What it lets through is let through by the NamespaceReconciler.
type ExceptionReconciler struct {
	Client client.Client
	Reader *snapshot.Reader
	Events events.EventRecorder
	Clock  func() time.Time

	fleet *fleet
}

// Reconcile observes and reports.
func (r *ExceptionReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	e := &v1alpha1.MeshSecurityException{}
	if err := r.Client.Get(ctx, req.NamespacedName, e); err != nil {
		if client.IgnoreNotFound(err) == nil {
			report.ForgetException(req.Name)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	in := status.ExceptionInput{Exception: e, Now: r.Clock()}
	for _, name := range e.Spec.Namespaces {
		if err := r.observe(ctx, string(name), &in); err != nil {
			return reconcile.Result{}, err
		}
	}
	found, _ := r.fleet.ofCluster()
	for _, f := range found {
		if f.Exception == e.Name {
			in.Matched++
		}
	}
	next := status.Exception(in)
	after := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionActive)
	report.Exception(e.Name, after.Reason)
	if err := r.writeStatus(ctx, e, next); err != nil {
		return conflictWaits(err)
	}
	return reconcile.Result{RequeueAfter: untilChange(e, in.Now)}, nil
}

func (r *ExceptionReconciler) observe(ctx context.Context, name string, in *status.ExceptionInput) error {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &ns, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		in.Absent = append(in.Absent, name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read namespace %s: %w", name, err)
	}
	baselines, err := r.Reader.Baselines(ctx, facts.Namespace{Name: name, Labels: ns.Labels})
	if err != nil {
		return err
	}
	if why := posture.Overlong(in.Exception, baselines); why != "" {
		in.Refused = append(in.Refused, name+": "+why)
	}
	s, seen := r.fleet.standing(name)
	in.Unseen = in.Unseen || !seen || s.declared && s.exceptions[in.Exception.Name] != in.Exception.Generation
	in.Matched += s.excepted[in.Exception.Name]
	return nil
}

// untilChange is how long until the exception's state changes by itself; zero for never.
func untilChange(e *v1alpha1.MeshSecurityException, now time.Time) time.Duration {
	for _, at := range []time.Time{e.Spec.ExpiresAt.Add(-posture.Notice), e.Spec.ExpiresAt.Time} {
		if now.Before(at) {
			return max(at.Sub(now), time.Millisecond)
		}
	}
	return 0
}

func (r *ExceptionReconciler) writeStatus(ctx context.Context, e *v1alpha1.MeshSecurityException, next v1alpha1.MeshSecurityExceptionStatus) error {
	if equality.Semantic.DeepEqual(e.Status, next) {
		return nil
	}
	before := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionActive)
	e = e.DeepCopy()
	e.Status = next
	if err := r.Client.Status().Update(ctx, e, client.FieldOwner(v1alpha1.ManagedByValue)); err != nil {
		return fmt.Errorf("write status of exception %s: %w", e.Name, err)
	}
	after := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionActive)
	if before != nil && before.Reason == after.Reason {
		return nil
	}
	switch after.Reason {
	case v1alpha1.ReasonEndsSoon, v1alpha1.ReasonExpired:
		r.Events.Eventf(e, nil, corev1.EventTypeWarning, after.Reason, "Watch", "%s", after.Message)
	}
	return nil
}

func (r *ExceptionReconciler) setup(mgr ctrl.Manager) error {
	return r.fleet.summedBy(mgr, "exception", &v1alpha1.MeshSecurityException{}, profileChanged, r, &r.fleet.exceptions)
}
