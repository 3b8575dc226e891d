package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Standing is how one selected namespace stands to a baseline.
type Standing struct {
	Namespace string
	Canary    bool
	// Seen is false where the namespace was not looked at since the operator
	// started: nothing can be said of it.
	Seen bool
	// Applies is true where that of the baseline is in force which is to be.
	// Revision is the one that is.
	Applies  bool
	Revision string

	Enforced, InSync, Compliant, Ready bool
	// Untold is true where it can't be told whether it is compliant.
	Untold bool
	// Why says why it is not ready, and Open why it does not enforce: reasons.
	Why, Open string
	Findings  v1alpha1.FindingCounts
}

// BaselineInput is what the status of a baseline is computed from.
type BaselineInput struct {
	Baseline *v1alpha1.MeshSecurityBaseline
	// Revision is the fingerprint of its spec.
	Revision string
	// Namespaces that its spec selects, sorted by name.
	Namespaces []Standing
	// Cluster are the findings about the cluster as a whole; ClusterSeen is false
	// where it was not looked at since the operator started.
	Cluster     []v1alpha1.Finding
	ClusterSeen bool
	Now         time.Time
}

// Canary says whether a namespace is one that a change of the baseline reaches first.
func Canary(b *v1alpha1.MeshSecurityBaseline, labels map[string]string) bool {
	return b.Spec.Rollout != nil && posture.Matches(b.Spec.Rollout.CanarySelector, labels)
}

// Baseline returns the status of a baseline, and whether its spec has reached
// every namespace only now.
func Baseline(in BaselineInput) (out v1alpha1.MeshSecurityBaselineStatus, rolledOut bool, err error) {
	b := in.Baseline
	c := &conditioner{generation: b.Generation, now: metav1.NewTime(in.Now.Truncate(time.Second)), before: b.Status.Conditions}
	out = *b.Status.DeepCopy()
	out.ObservedGeneration = b.Generation
	if !slices.ContainsFunc(in.Namespaces, func(s Standing) bool { return !s.Seen }) {
		out.Namespaces, out.Worst = counts(in)
	}
	accepted := c.acceptedBaseline(b)
	r := rollout(in)
	if r.done {
		rolledOut = b.Status.RolledOut == nil || b.Status.RolledOut.Revision != in.Revision
		if out.RolledOut, err = state(b, in.Revision); err != nil {
			return out, false, err
		}
	}
	c.set(v1alpha1.ConditionRolledOut, r.status, r.reason, r.message)
	c.compliantBaseline(in)
	switch {
	case !accepted:
		c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalid, c.get(v1alpha1.ConditionAccepted).Message)
		c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid, c.get(v1alpha1.ConditionAccepted).Message)
	case b.Annotations[v1alpha1.AnnotationPaused] == "true":
		c.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused, "the annotation "+v1alpha1.AnnotationPaused+" stops all writes in the namespaces that it selects; remove the annotation")
	case r.status == metav1.ConditionTrue:
		c.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "the baseline applies to every namespace that it selects; how they stand is in status.namespaces")
	case r.reason == v1alpha1.ReasonRollingOut:
		c.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, r.reason, r.message)
		c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, r.reason, r.message)
	default:
		c.set(v1alpha1.ConditionReady, metav1.ConditionFalse, r.reason, r.message)
		c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, r.reason, r.message)
	}
	out.Conditions = c.conds
	return out, rolledOut, nil
}

// compliantBaseline says whether the namespaces, and the cluster that they are
// in, are free of grave findings. Until all were looked at, after a start, the
// answer of before stays.
func (c *conditioner) compliantBaseline(in BaselineInput) {
	if !in.ClusterSeen || slices.ContainsFunc(in.Namespaces, func(s Standing) bool { return !s.Seen }) {
		if before := find(c.before, v1alpha1.ConditionCompliant); before != nil && before.ObservedGeneration == c.generation {
			c.conds = append(c.conds, *before)
			return
		}
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonNotEvaluated, "not all of the namespaces and the cluster were looked at yet")
		return
	}
	var open, untold []string
	for _, s := range in.Namespaces {
		switch {
		case s.Untold || !s.Applies:
			untold = append(untold, "namespace "+s.Namespace)
		case !s.Compliant:
			open = append(open, "namespace "+s.Namespace)
		}
	}
	for _, f := range in.Cluster {
		about := f.Check + " " + f.Subject
		switch {
		case !grave(f) || f.State == v1alpha1.FindingExcepted:
		case f.State == v1alpha1.FindingUnknown:
			untold = append(untold, about)
		default:
			open = append(open, about)
		}
	}
	const where = "; status.worst and the namespaces' profiles say more of these, the cluster's report and the metric meshsec_findings of what is the cluster's"
	switch {
	case len(open) > 0:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonFindingsOpen, "findings of severity High or above are open: "+mesh.Some(open)+where)
	case len(untold) > 0:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonFindingsUnknown, "it can't be told for "+mesh.Some(untold)+where)
	case len(in.Namespaces) == 0:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonCompliant, "no namespace is selected, and no finding of severity High or above is open about the cluster")
	default:
		c.set(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonCompliant, "no finding of severity High or above is open in the namespaces that it selects, nor about the cluster")
	}
}

// acceptedBaseline says whether all of the baseline can be used.
func (c *conditioner) acceptedBaseline(b *v1alpha1.MeshSecurityBaseline) bool {
	for i, r := range b.Spec.AuthorizationRules {
		for j, from := range r.From {
			if from.Peer != "" && !slices.ContainsFunc(b.Spec.Peers, func(p v1alpha1.Peer) bool { return p.Name == from.Peer }) {
				c.set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid,
					fmt.Sprintf("spec.authorizationRules[%d].from[%d].peer: rule %s names the peer %s, which this baseline does not declare, so that nobody is meant; add it to spec.peers or correct the name", i, j, r.Name, from.Peer))
				return false
			}
		}
	}
	c.set(v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the baseline is valid")
	return true
}

// progress is how far a change got.
type progress struct {
	done            bool
	status          metav1.ConditionStatus
	reason, message string
}

// rollout says how far the baseline's spec got: to every namespace, or to the
// canaries, and what it waits for.
func rollout(in BaselineInput) progress {
	b := in.Baseline
	if b.Spec.Rollout == nil {
		return progress{true, metav1.ConditionTrue, v1alpha1.ReasonRolledOut, "no rollout is declared: every change reaches all selected namespaces at once"}
	}
	if done := b.Status.RolledOut; done != nil && (done.Revision == in.Revision || done.Spec == nil) {
		// Where the spec before is not known, nothing could be held back.
		return progress{true, metav1.ConditionTrue, v1alpha1.ReasonRolledOut, "every selected namespace has it"}
	}
	var canaries, waiting, failing []string
	for _, s := range in.Namespaces {
		if !s.Canary {
			continue
		}
		canaries = append(canaries, s.Namespace)
		switch {
		case !s.Seen || !s.Applies || s.Revision != in.Revision:
			waiting = append(waiting, s.Namespace)
		case !s.Ready:
			failing = append(failing, fmt.Sprintf("%s (%s)", s.Namespace, s.Why))
		}
	}
	const keep = "the others keep what they have"
	switch {
	case len(canaries) == 0:
		return progress{false, metav1.ConditionFalse, v1alpha1.ReasonNoCanaries, "rollout.canarySelector selects none of the namespaces, so that nothing can show that the change is safe; " + keep + " until it selects one, or rollout is removed"}
	case len(failing) > 0:
		return progress{false, metav1.ConditionFalse, v1alpha1.ReasonRolloutHalted, fmt.Sprintf("canaries are not Ready with the change: %s; %s; see their profiles, then edit this baseline: to go on mend it, to roll back restore it", mesh.Some(failing), keep)}
	case len(waiting) > 0:
		return progress{false, metav1.ConditionFalse, v1alpha1.ReasonRollingOut, fmt.Sprintf("the change is on its way to the canaries: %s; %s until these are Ready", mesh.Some(waiting), keep)}
	}
	return progress{true, metav1.ConditionTrue, v1alpha1.ReasonRolledOut, "every selected namespace has it"}
}

// state is what status keeps of the spec that has reached every namespace.
func state(b *v1alpha1.MeshSecurityBaseline, revision string) (*v1alpha1.RolledOut, error) {
	out := &v1alpha1.RolledOut{Revision: revision}
	if b.Spec.Rollout == nil {
		return out, nil
	}
	spec := b.Spec.DeepCopy()
	spec.Rollout = nil
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("keep the spec of baseline %s: %w", b.Name, err)
	}
	if old := b.Status.RolledOut; old != nil && old.Revision == revision && old.Spec != nil {
		// The API server writes it in an order of its own.
		out.Spec = old.Spec
		return out, nil
	}
	out.Spec = &runtime.RawExtension{Raw: raw}
	return out, nil
}

// maxWorst is how many namespaces are listed.
const maxWorst = 20

func counts(in BaselineInput) (*v1alpha1.NamespaceCounts, []v1alpha1.NamespaceFindings) {
	out := &v1alpha1.NamespaceCounts{Selected: int32(len(in.Namespaces))} //nolint:gosec // a number of namespaces
	var worst []v1alpha1.NamespaceFindings
	count := func(n *int32, yes bool) {
		if yes {
			*n++
		}
	}
	for _, s := range in.Namespaces {
		count(&out.Enforced, s.Applies && s.Enforced)
		count(&out.InSync, s.Applies && s.InSync)
		count(&out.Compliant, s.Applies && s.Compliant)
		if !s.Applies {
			s.Open = v1alpha1.ReasonPending
		}
		if f := s.Findings; f.Critical+f.High+f.Medium+f.Low > 0 || s.Open != "" {
			worst = append(worst, v1alpha1.NamespaceFindings{Namespace: v1alpha1.NamespaceName(s.Namespace), Findings: f, Reason: s.Open})
		}
	}
	slices.SortStableFunc(worst, func(a, b v1alpha1.NamespaceFindings) int {
		x, y := a.Findings, b.Findings
		return cmp.Or(cmp.Compare(y.Critical, x.Critical), cmp.Compare(y.High, x.High), cmp.Compare(y.Medium, x.Medium),
			cmp.Compare(y.Low, x.Low), cmp.Compare(a.Namespace, b.Namespace))
	})
	return out, worst[:min(len(worst), maxWorst)]
}
