package istio

import (
	"cmp"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Sidecar compiles for Istio's sidecar data plane.
type Sidecar struct{}

// outcome is what became of one rule or override.
type outcome struct {
	mesh.Assessment
	name string
	// baseline is the name of the one that adds the rule; empty for the profile's own.
	baseline  string
	area      v1alpha1.Area
	enforcers []v1alpha1.Enforcer
	// writes are the objects that hold it, as KIND/NAME; none where nothing is written.
	writes []string
	// dryRun says what DryRun does with it.
	dryRun string
}

// Compile turns the posture into resources and verdicts.
func (Sidecar) Compile(p posture.Posture, f facts.Facts) mesh.Result {
	peerObjects, overrides := mutualTLS(p, f)
	authzObjects, rules := authorization(p, f)
	egressObjects, egressRules, assurance := egress(p, f)
	outcomes := slices.Concat(overrides, rules, egressRules)

	objects := slices.Concat(peerObjects, authzObjects, egressObjects, accessLog(p, f))
	switch p.Mode {
	case v1alpha1.ModeAudit:
		objects, assurance = nil, ""
	case v1alpha1.ModeDryRun:
		objects, assurance = dryRun(objects, f), ""
	case v1alpha1.ModeEnforce:
		objects = heldBack(objects, p.Held, f)
		if slices.Contains(p.Held, v1alpha1.AreaEgress) {
			assurance = ""
		}
	}
	slices.SortFunc(objects, func(a, b mesh.Object) int {
		return cmp.Or(
			cmp.Compare(a.GetObjectKind().GroupVersionKind().Kind, b.GetObjectKind().GroupVersionKind().Kind),
			cmp.Compare(a.GetName(), b.GetName()))
	})
	result := mesh.Result{Objects: objects, Assurance: assurance}
	for _, o := range outcomes {
		result.Rules = append(result.Rules, verdict(o, p.Mode))
	}
	return result
}

// enforced are the parts of the data plane that hold a rule that is written.
func enforced(parts ...v1alpha1.Enforcer) []v1alpha1.Enforcer { return parts }

// written names an object for a message.
func written(o mesh.Object) string {
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + o.GetName()
}
