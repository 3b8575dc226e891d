package status

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// ExceptionInput is what the status of an exception is computed from.
type ExceptionInput struct {
	Exception *v1alpha1.MeshSecurityException
	// Absent are namespaces that it names and that do not exist.
	Absent []string
	// Refused are namespaces in which it may not last as long, and why.
	Refused []string
	// Matched counts the findings that it covers.
	Matched int32
	// Unseen is true where some namespace was not looked at since the operator
	// started, so that what it covers is not known.
	Unseen bool
	Now    time.Time
}

// Exception returns the status of an exception.
func Exception(in ExceptionInput) v1alpha1.MeshSecurityExceptionStatus {
	e := in.Exception
	c := &conditioner{generation: e.Generation, now: metav1.NewTime(in.Now.Truncate(time.Second)), before: e.Status.Conditions}
	out := *e.Status.DeepCopy()
	out.ObservedGeneration = e.Generation
	if !in.Unseen {
		out.MatchedFindings = &in.Matched
	}
	var wide []string
	for _, check := range e.Spec.Checks {
		if is, perWorkload := posture.Mandated(string(check)); is && !perWorkload && e.Spec.WorkloadSelector != nil {
			wide = append(wide, string(check))
		}
	}
	switch {
	case len(in.Refused) > 0:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonTooLong,
			fmt.Sprintf("it is not in force in %s; give it an earlier expiresAt, or grant another one", mesh.Some(in.Refused)))
	case len(wide) > 0:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid,
			fmt.Sprintf("the mandates of %s hold for a namespace as a whole, so that an exception for some workloads lets nothing through; leave workloadSelector out", mesh.Some(wide)))
	default:
		c.set(v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the exception is valid")
	}
	active := c.active(in)
	c.set(v1alpha1.ConditionActive, active.status, active.reason, active.message)
	// There is no Ready: without these, whoever waits by the kstatus convention
	// would take it for done.
	switch accepted := c.get(v1alpha1.ConditionAccepted); {
	case accepted.Status != metav1.ConditionTrue:
		c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, accepted.Reason, accepted.Message)
	case active.reason == v1alpha1.ReasonPending:
		c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, active.reason, active.message)
	}
	out.Conditions = c.conds
	return out
}

// active says whether the exception is in force and covers something.
func (c *conditioner) active(in ExceptionInput) progress {
	e := in.Exception
	at := e.Spec.ExpiresAt.UTC().Format(time.RFC3339)
	old := find(c.before, v1alpha1.ConditionActive)
	switch {
	case !in.Now.Before(e.Spec.ExpiresAt.Time):
		return progress{status: metav1.ConditionFalse, reason: v1alpha1.ReasonExpired, message: "it ended at " + at + "; delete it, or grant another one"}
	case len(in.Refused) == len(e.Spec.Namespaces):
		return progress{status: metav1.ConditionFalse, reason: v1alpha1.ReasonTooLong, message: c.get(v1alpha1.ConditionAccepted).Message}
	case in.Unseen && old != nil && old.ObservedGeneration == e.Generation:
		// Just started: what was found before is as good as it gets.
		return progress{status: old.Status, reason: old.Reason, message: old.Message}
	case in.Unseen:
		return progress{status: metav1.ConditionUnknown, reason: v1alpha1.ReasonPending, message: "the namespaces that it names are being looked at"}
	case in.Matched == 0:
		message := "nothing is found, or mandated, in its namespaces that it would let through; delete it if it is not needed any more"
		if len(in.Absent) > 0 {
			message = fmt.Sprintf("namespaces that do not exist: %s; otherwise %s", mesh.Some(in.Absent), message)
		}
		return progress{status: metav1.ConditionFalse, reason: v1alpha1.ReasonNothingMatched, message: message}
	case !in.Now.Before(e.Spec.ExpiresAt.Add(-posture.Notice)):
		return progress{status: metav1.ConditionTrue, reason: v1alpha1.ReasonEndsSoon, message: "it ends at " + at + ": from then on what it lets through is refused, and its findings count"}
	}
	return progress{status: metav1.ConditionTrue, reason: v1alpha1.ReasonActive, message: "it is in force until " + at}
}
