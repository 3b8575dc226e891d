package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// hold puts the finalizer on the profile in force before anything is written
// for it: were it deleted right after, the garbage collector would remove its
// objects in no order. Where nothing is to be written it may do without.
func (r *NamespaceReconciler) hold(ctx context.Context, o *facts.Observed, d *decide.Decision) error {
	if d.Profile == nil || d.Implied() || !d.Holds() || slices.Contains(d.Profile.Finalizers, v1alpha1.Finalizer) {
		return nil
	}
	held, err := r.Writer.Hold(ctx, d.Profile)
	if err != nil {
		return err
	}
	r.Ledger.Record(held.Namespace, apply.WrittenObject(held))
	d.Profile, o.Profiles[0] = held, held
	return nil
}

// conflictWaits is for a profile that is not the one that was seen.
func conflictWaits(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{}, err
}

// letGo lets profiles that are being deleted go, when nothing keeps them.
func (r *NamespaceReconciler) letGo(ctx context.Context, d decide.Decision) error {
	if !d.LetGo {
		return nil
	}
	var errs []error
	for _, p := range d.Leaving {
		if err := r.Writer.LetGo(ctx, p); err != nil {
			errs = append(errs, err)
			continue
		}
		ctrl.LoggerFrom(ctx).Info("Let a deleted profile go", "profile", p.Name)
	}
	return errors.Join(errs...)
}

// reportLeaving says on a profile that is being deleted what it waits for.
func (r *NamespaceReconciler) reportLeaving(ctx context.Context, d decide.Decision, out apply.Outcome, now time.Time) error {
	if d.LetGo || (out.Done() && !waiting(d)) {
		// It is over within moments: nobody could read it.
		return nil
	}
	var errs []error
	for _, p := range d.Leaving {
		err := r.writeStatus(ctx, p, status.Leaving(p, d, failures(out), now))
		if err != nil {
			errs = append(errs, fmt.Errorf("while it is being deleted: %w", err))
		}
	}
	return errors.Join(errs...)
}

// waiting says whether objects are there still that were deleted before: a
// finalizer of somebody else holds them.
func waiting(d decide.Decision) bool {
	for _, c := range d.Changes {
		if c.Waiting {
			return true
		}
	}
	return false
}
