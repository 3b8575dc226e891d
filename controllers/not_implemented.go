package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// notImplemented answers, in its status, an object of a kind that this version
// stores and does not act on: a user must not take it for being in force.
type notImplemented struct {
	client client.Client
	kind   string
	new    func() client.Object
	// status returns the object's generation field and conditions.
	status func(client.Object) (observed *int64, conditions *[]metav1.Condition)
}

// Reconcile implements reconcile.Reconciler.
func (n *notImplemented) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	obj := n.new()
	if err := n.client.Get(ctx, req.NamespacedName, obj); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	before := obj.DeepCopyObject()
	observed, conditions := n.status(obj)
	*observed = obj.GetGeneration()
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonNotImplemented,
		ObservedGeneration: obj.GetGeneration(),
		Message:            fmt.Sprintf("this version stores a %s and does not act on it: nothing that it says is in force", n.kind),
	})
	if equality.Semantic.DeepEqual(before, obj) {
		return reconcile.Result{}, nil
	}
	if err := n.client.Status().Update(ctx, obj); err != nil {
		return reconcile.Result{}, fmt.Errorf("write status: %w", err)
	}
	return reconcile.Result{}, nil
}

func setupNotImplemented(mgr ctrl.Manager) error {
	for _, n := range []*notImplemented{
		{kind: v1alpha1.KindBaseline, new: func() client.Object { return &v1alpha1.MeshSecurityBaseline{} },
			status: func(o client.Object) (*int64, *[]metav1.Condition) {
				b, _ := o.(*v1alpha1.MeshSecurityBaseline)
				return &b.Status.ObservedGeneration, &b.Status.Conditions
			}},
		{kind: v1alpha1.KindException, new: func() client.Object { return &v1alpha1.MeshSecurityException{} },
			status: func(o client.Object) (*int64, *[]metav1.Condition) {
				e, _ := o.(*v1alpha1.MeshSecurityException)
				return &e.Status.ObservedGeneration, &e.Status.Conditions
			}},
	} {
		n.client = mgr.GetClient()
		if err := ctrl.NewControllerManagedBy(mgr).
			Named(n.kind).
			For(n.new(), builderPredicates(predicate.GenerationChangedPredicate{})).
			WithOptions(controller.Options{RateLimiter: rateLimiter()}).
			Complete(n); err != nil {
			return fmt.Errorf("set up %s: %w", n.kind, err)
		}
	}
	return nil
}
