package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecuritybaselines,verbs=patch
// +kubebuilder:rbac:groups=meshsecurity.io,resources=meshsecuritybaselines/finalizers,verbs=update

// BaselineReconciler sums up how the namespaces stand to a baseline, rolls its
// changes out, and keeps a deleted one until nothing belongs to it any more. What
// a baseline declares is put in force by the NamespaceReconciler.
type BaselineReconciler struct {
	Client client.Client
	Reader *snapshot.Reader
	Writer *apply.Writer
	Events events.EventRecorder
	Clock  func() time.Time

	fleet *fleet
}

// Reconcile observes, decides and reports.
func (r *BaselineReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	b := &v1alpha1.MeshSecurityBaseline{}
	if err := r.Client.Get(ctx, req.NamespacedName, b); err != nil {
		if client.IgnoreNotFound(err) == nil {
			report.ForgetBaseline(req.Name)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if b.DeletionTimestamp != nil {
		return r.leave(ctx, b)
	}
	if writes(b) && !slices.Contains(b.Finalizers, v1alpha1.Finalizer) {
		held, err := r.Writer.HoldBaseline(ctx, b)
		if err != nil {
			return conflictWaits(err)
		}
		b = held
	}
	in, err := r.observe(ctx, b)
	if err != nil {
		return reconcile.Result{}, err
	}
	next, rolledOut, err := status.Baseline(in)
	if err != nil {
		return reconcile.Result{}, err
	}
	report.Baseline(b.Name, next.Namespaces)
	return conflictWaits(r.writeStatus(ctx, b, next, rolledOut))
}

// writes says whether objects may come to belong to the baseline itself.
func writes(b *v1alpha1.MeshSecurityBaseline) bool {
	return b.Spec.EgressGateway != nil || b.Spec.NamespacesWithoutProfile == v1alpha1.UnprofiledEnforce || b.Spec.NamespacesWithoutProfile == v1alpha1.UnprofiledDryRun
}

// observe gathers how the selected namespaces stand.
func (r *BaselineReconciler) observe(ctx context.Context, b *v1alpha1.MeshSecurityBaseline) (status.BaselineInput, error) {
	in := status.BaselineInput{Baseline: b, Now: r.Clock()}
	var err error
	if in.Revision, err = snapshot.Revision(b.Spec); err != nil {
		return in, err
	}
	in.Cluster, in.ClusterSeen = r.fleet.ofCluster()
	var list corev1.NamespaceList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return in, fmt.Errorf("list namespaces: %w", err)
	}
	for i := range list.Items {
		ns := &list.Items[i]
		if ns.DeletionTimestamp != nil {
			continue
		}
		want, selected, err := r.Reader.Selected(b, facts.Namespace{Name: ns.Name, Labels: ns.Labels})
		if err != nil {
			return in, err
		}
		if !selected {
			continue
		}
		s, seen := r.fleet.standing(ns.Name)
		in.Namespaces = append(in.Namespaces, status.Standing{
			Namespace: ns.Name, Canary: status.Canary(b, ns.Labels), Seen: seen, Applies: want != "" && s.baselines[b.UID] == want, Revision: s.baselines[b.UID],
			Enforced: s.enforced, InSync: s.inSync, Compliant: s.compliant, Untold: s.untold, Ready: s.ready, Why: s.why, Open: s.open, Findings: s.findings,
		})
	}
	return in, nil
}

func (r *BaselineReconciler) writeStatus(ctx context.Context, b *v1alpha1.MeshSecurityBaseline, next v1alpha1.MeshSecurityBaselineStatus, rolledOut bool) error {
	if equality.Semantic.DeepEqual(b.Status, next) {
		return nil
	}
	before := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionRolledOut)
	b = b.DeepCopy()
	b.Status = next
	if err := r.Client.Status().Update(ctx, b, client.FieldOwner(v1alpha1.ManagedByValue)); err != nil {
		return fmt.Errorf("write status of baseline %s: %w", b.Name, err)
	}
	after := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionRolledOut)
	log := ctrl.LoggerFrom(ctx)
	switch {
	case rolledOut && b.Spec.Rollout != nil:
		log.Info("Rolled out", "baseline", b.Name, "revision", next.RolledOut.Revision)
		r.Events.Eventf(b, nil, corev1.EventTypeNormal, v1alpha1.ReasonRolledOut, "RollOut", "%s", after.Message)
	case after != nil && after.Reason == v1alpha1.ReasonRolloutHalted && (before == nil || before.Reason != after.Reason):
		log.Info("Roll-out halted", "baseline", b.Name, "because", after.Message)
		r.Events.Eventf(b, nil, corev1.EventTypeWarning, after.Reason, "RollOut", "%s", after.Message)
	}
	return nil
}

// leave lets a deleted baseline go once nothing in the cluster belongs to it.
func (r *BaselineReconciler) leave(ctx context.Context, b *v1alpha1.MeshSecurityBaseline) (reconcile.Result, error) {
	report.ForgetBaseline(b.Name)
	if !slices.Contains(b.Finalizers, v1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	owns, err := r.owns(ctx, b.UID)
	if err != nil {
		return reconcile.Result{}, err
	}
	if owns {
		// The namespaces are told of the deletion; each that is done tells the fleet.
		return reconcile.Result{RequeueAfter: settle}, nil
	}
	if err := r.Writer.LetBaselineGo(ctx, b); err != nil {
		return conflictWaits(err)
	}
	ctrl.LoggerFrom(ctx).Info("Let a deleted baseline go", "baseline", b.Name)
	return reconcile.Result{}, nil
}

// owns says whether an object of a managed kind belongs to a baseline.
func (r *BaselineReconciler) owns(ctx context.Context, uid types.UID) (bool, error) {
	for _, k := range mesh.ManagedKinds() {
		list, ok := k.NewList().(client.ObjectList)
		if !ok || !r.Reader.Served(k.GVK) {
			continue
		}
		if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return false, fmt.Errorf("list %s: %w", k.GVK.Kind, err)
		}
		found := errors.New("found")
		err := meta.EachListItem(list, func(o runtime.Object) error {
			if obj, ok := o.(client.Object); ok {
				for _, ref := range obj.GetOwnerReferences() {
					if ref.UID == uid {
						return found
					}
				}
			}
			return nil
		})
		if errors.Is(err, found) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func (r *BaselineReconciler) setup(mgr ctrl.Manager) error {
	return r.fleet.summedBy(mgr, "baseline", &v1alpha1.MeshSecurityBaseline{}, baselineChanged, r, &r.fleet.baselines)
}

// baselineChanged says whether an update of a baseline matters.
func baselineChanged(before, after client.Object) bool {
	b, ok1 := before.(*v1alpha1.MeshSecurityBaseline)
	a, ok2 := after.(*v1alpha1.MeshSecurityBaseline)
	return !ok1 || !ok2 || profileChanged(before, after) ||
		slices.Contains(b.Finalizers, v1alpha1.Finalizer) != slices.Contains(a.Finalizers, v1alpha1.Finalizer) ||
		!equality.Semantic.DeepEqual(b.Status.RolledOut, a.Status.RolledOut)
}
