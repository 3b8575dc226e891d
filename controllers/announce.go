package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// announce tells of transitions, by a log line, a metric and an Event each. An
// Event is a write, so that a first success, which status shows, has none.
func (r *NamespaceReconciler) announce(ctx context.Context, o facts.Observed, d decide.Decision, c status.Result) {
	next := c.Status
	log := ctrl.LoggerFrom(ctx)
	about := regarding(o, d)
	report.Profile(d.Profile.Namespace, next.Conditions, d.Paused)
	report.Findings(d.Profile.Namespace, c.Findings)
	for _, rec := range c.Fresh {
		var related runtime.Object
		kind, _, _ := strings.Cut(rec.Resource, "/")
		for _, c := range slices.Concat(d.Changes, d.Shadows) {
			if c.Resource() == rec.Resource {
				if c.Live != nil {
					related = c.Live.DeepCopyObject()
					related.GetObjectKind().SetGroupVersionKind(c.Key.GroupVersionKind)
				}
			}
		}
		report.Drift(kind, rec)
		log.Info("Found drift", "resource", rec.Resource, "type", rec.Type, "actor", rec.Actor, "effect", rec.Effect, "resolution", rec.Resolution)
		warning := corev1.EventTypeWarning
		if rec.Type == v1alpha1.DriftShadowed && rec.Resolution == v1alpha1.ResolutionCorrected {
			warning = corev1.EventTypeNormal
		}
		r.Events.Eventf(about, related, warning, "Drift"+string(rec.Resolution), "Compare", "%s", status.Describe(rec))
	}
	if before, known := r.findingsBefore(o, d, c); known {
		for _, t := range transitions(before, c.Findings) {
			t.tell(r.Events, about)
		}
	}
	was := meta.FindStatusCondition(d.Profile.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionReady)
	if is == nil || (was != nil && was.Status == is.Status && was.Reason == is.Reason) {
		return
	}
	switch {
	case is.Status != metav1.ConditionTrue:
		r.Events.Eventf(about, nil, corev1.EventTypeWarning, is.Reason, "Reconcile", "%s", is.Message)
	case was != nil:
		r.Events.Eventf(about, nil, corev1.EventTypeNormal, is.Reason, "Reconcile", "%s", is.Message)
	}
}

// findingsBefore are those of the look before; false where they are not known,
// or where this look could not find any.
func (r *NamespaceReconciler) findingsBefore(o facts.Observed, d decide.Decision, c status.Result) ([]v1alpha1.Finding, bool) {
	if !d.Compiled {
		return nil, false
	}
	declared := fmt.Sprintf("%s %d", d.Profile.UID, d.Profile.Generation)
	for _, b := range o.Baselines {
		declared += " " + b.Revision
	}
	return r.memory.found(d.Profile, declared, c.Findings)
}

// regarding is what an Event is about: the profile, or without one the
// namespace that baselines say something of.
func regarding(o facts.Observed, d decide.Decision) runtime.Object {
	if !d.Implied() {
		return d.Profile
	}
	return namespaceReference(o.Facts.Namespace.Name)
}

// readiness is the status and reason of Ready, for a log line.
func readiness(s v1alpha1.MeshSecurityProfileStatus) string {
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); c != nil {
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return "absent"
}
