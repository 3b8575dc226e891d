package istio

import (
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// AnnotationDryRun makes Istio evaluate an AuthorizationPolicy without
// enforcing it (istio.io/docs, "Dry Run" of security policies).
const AnnotationDryRun = "istio.io/dry-run"

// dryRun leaves what denies nothing that was allowed before, by kind:
//
//	PeerAuthentication     the namespace's, PERMISSIVE; none where the mesh is STRICT
//	AuthorizationPolicy    annotated, so that it is only evaluated
//	RequestAuthentication  none: it refuses invalid tokens
//	ServiceEntry           those that capture nothing but their own destination, but for an egress gateway's
//	Sidecar, NetworkPolicy none
//	Gateway, VirtualService, DestinationRule, and the policy at an egress gateway: none
//	Telemetry              as it is
func dryRun(objects []mesh.Object, f facts.Facts) []mesh.Object {
	var out []mesh.Object
	for _, o := range objects {
		switch o := o.(type) {
		case *securityv1.PeerAuthentication:
			// PERMISSIVE under a mesh-wide STRICT would open the namespace.
			if o.Spec.GetSelector() != nil || f.Mesh.RootMutualTLS == rootStrict {
				continue
			}
			o.Spec.Mtls.Mode = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
			out = append(out, o)
		case *securityv1.AuthorizationPolicy:
			if mesh.AtGateway(o) {
				// One at an egress gateway shuts it for all that have none.
				continue
			}
			if o.Annotations == nil {
				o.Annotations = map[string]string{}
			}
			o.Annotations[AnnotationDryRun] = "true"
			out = append(out, o)
		case *networkingv1.ServiceEntry:
			if !capturesPort(o) && slices.Equal(o.Spec.GetExportTo(), []string{"."}) {
				out = append(out, o)
			}
		case *telemetryv1.Telemetry:
			out = append(out, o)
		}
	}
	return out
}

// heldBack makes of the objects of areas that wait what dryRun makes of them.
// Rules that allow are among these: the mesh denies all else to a workload as
// soon as one of them is enforced.
func heldBack(objects []mesh.Object, areas []v1alpha1.Area, f facts.Facts) []mesh.Object {
	var out, waiting []mesh.Object
	for _, o := range objects {
		if slices.Contains(areas, areaOf(o)) {
			waiting = append(waiting, o)
		} else {
			out = append(out, o)
		}
	}
	return append(out, dryRun(waiting, f)...)
}

// areaOf is the area in which an object has something denied.
func areaOf(o mesh.Object) v1alpha1.Area {
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		return v1alpha1.AreaMutualTLS
	case *securityv1.AuthorizationPolicy:
		if mesh.AtGateway(o) {
			return v1alpha1.AreaEgress
		}
		return v1alpha1.AreaAuthorization
	case *securityv1.RequestAuthentication:
		return v1alpha1.AreaAuthorization
	case *networkingv1.Sidecar, *networkingv1.ServiceEntry, *networkingv1.Gateway, *networkingv1.VirtualService, *networkingv1.DestinationRule:
		return v1alpha1.AreaEgress
	case *netv1.NetworkPolicy:
		if slices.Contains(o.Spec.PolicyTypes, netv1.PolicyTypeIngress) {
			return v1alpha1.AreaAuthorization
		}
		return v1alpha1.AreaEgress
	}
	return v1alpha1.AreaLogging
}

// verdict is the status line of a rule in the posture's mode.
func verdict(o outcome, mode v1alpha1.EnforcementMode) v1alpha1.RuleStatus {
	s := v1alpha1.RuleStatus{Name: v1alpha1.RuleName(o.name), Area: o.area}
	if o.baseline != "" {
		s.From = posture.From(o.baseline)
	}
	switch mode {
	case v1alpha1.ModeAudit:
		s.Verdict = v1alpha1.VerdictPending
		s.Message = "mode Audit: nothing is written; Enforce would write " + orNothing(o.writes) + wouldBe(o)
	case v1alpha1.ModeDryRun:
		s.Verdict = v1alpha1.VerdictDryRun
		s.Message = "mode DryRun: " + o.dryRun + wouldBe(o)
	default:
		s.Verdict, s.Message = o.Verdict(), o.Message()
		s.EnforcedBy = o.enforcers
	}
	s.Message = mesh.Cut(s.Message, v1alpha1.MaxMessageBytes)
	return s
}

// wouldBe says what the rule would be worth under Enforce, where that is worth saying.
func wouldBe(o outcome) string {
	switch {
	case o.Message() == "":
		return ""
	case o.Verdict() == v1alpha1.VerdictEnforced:
		return "; under Enforce: " + o.Message()
	}
	return "; under Enforce its verdict would be " + string(o.Verdict()) + ": " + o.Message()
}

func orNothing(writes []string) string {
	if len(writes) == 0 {
		return "nothing for it"
	}
	return strings.Join(writes, ", ")
}
