package decide

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// compile makes resources of the posture, of areas that wait those that deny nothing.
func (d *Decision) compile(compiler mesh.Compiler, o facts.Observed) {
	p := d.Resolution.Posture
	d.Result = compiler.Compile(p, o.Facts)
	d.Findings = audit.Preflight(audit.Input{Posture: p, Facts: o.Facts})
	if wait := held(p, d.Findings, d.Profile.Status.EnforcedAreas, d.Result.Objects, o.Live); len(wait) > 0 {
		d.Resolution.Posture.Held = wait
		d.Result = compiler.Compile(d.Resolution.Posture, o.Facts)
	}
}

// held lists the areas, sorted, that wait: preflight is Block, enforcing them
// would lock out what a finding names, and they were never enforced before.
// What was stays enforced, also when somebody deletes what enforces it.
func held(p posture.Posture, findings []audit.Finding, before []v1alpha1.Area, full []mesh.Object, live []facts.Object) []v1alpha1.Area {
	if p.Preflight != v1alpha1.PreflightBlock || p.Mode != v1alpha1.ModeEnforce {
		return nil
	}
	var out []v1alpha1.Area
	for _, area := range DenyingAreas(p) {
		refuses := func(f audit.Finding) bool { return slices.Contains(f.Areas, area) }
		if slices.ContainsFunc(findings, refuses) && !slices.Contains(before, area) && !inForce(area, full, live) {
			out = append(out, area)
		}
	}
	return out
}

// DenyingAreas lists the areas, sorted, in which the posture has something denied.
func DenyingAreas(p posture.Posture) []v1alpha1.Area {
	areas := []v1alpha1.Area{v1alpha1.AreaAuthorization, v1alpha1.AreaEgress, v1alpha1.AreaMutualTLS}
	return slices.DeleteFunc(areas, func(a v1alpha1.Area) bool { return !audit.Denies(p, a) })
}

// inForce says whether some object that denies in the area is in the cluster
// already, under its name and denying.
func inForce(area v1alpha1.Area, full []mesh.Object, live []facts.Object) bool {
	wanted := map[drift.Key]bool{}
	for _, o := range full {
		if key, ok := drift.KeyOf(o); ok && denies(o, area) {
			wanted[key] = true
		}
	}
	return slices.ContainsFunc(live, func(o facts.Object) bool {
		key, ok := drift.KeyOf(o)
		return ok && wanted[key] && denies(o, area)
	})
}

// denies says whether an object by itself has something denied to the whole namespace.
func denies(o facts.Object, area v1alpha1.Area) bool {
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		return area == v1alpha1.AreaMutualTLS && len(o.Spec.GetSelector().GetMatchLabels()) == 0 &&
			o.Spec.GetMtls().GetMode() == securityapi.PeerAuthentication_MutualTLS_STRICT
	case *securityv1.AuthorizationPolicy:
		return area == v1alpha1.AreaAuthorization && drift.DefaultDeny(o) && !drift.DryRun(o)
	case *networkingv1.Sidecar:
		return area == v1alpha1.AreaEgress && o.Spec.GetOutboundTrafficPolicy() != nil
	case *netv1.NetworkPolicy:
		return area == v1alpha1.AreaEgress && slices.Contains(o.Spec.PolicyTypes, netv1.PolicyTypeEgress)
	}
	return false
}
