package audit

import (
	"slices"
	"strings"

	analysis "istio.io/api/analysis/v1alpha1"
	metaapi "istio.io/api/meta/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func statusChecks() []Check {
	return []Check{{
		ID: "CTL-008", Title: "the mesh does not take an object as it is", Severity: v1alpha1.SeverityHigh,
		Compliance:  []string{"NIST SP 800-204A SM-DR12"},
		Remediation: "change the object as the message says; where it is the operator's, change what the profile asks for, or the workloads that it is about",
		Limits:      "Looked at is what istiod writes to the status of the namespace's own objects, where it speaks of their present state: which it does for ambient mode, and of what its analysis finds only where that is turned on. Of DestinationRules, VirtualServices and Gateways, the operator's alone are looked at. Whether a proxy has the latest configuration, or refused it, can't be seen from the API server. Low where istiod merely warns.",
		References:  []string{"https://istio.io/latest/docs/reference/config/config-status/", "https://istio.io/latest/docs/ambient/usage/l4-policy/"},
		examine:     rejected,
	}}
}

// verdict is what istiod says of an object.
type verdict struct {
	conditions []*metaapi.IstioCondition
	messages   []*analysis.AnalysisMessageBase
}

// verdictOn is empty for an object of which nothing is said.
func verdictOn(o facts.Object) verdict {
	of := func(s *metaapi.IstioStatus) verdict { return verdict{s.GetConditions(), s.GetValidationMessages()} }
	switch o := o.(type) {
	case *securityv1.AuthorizationPolicy:
		return of(&o.Status)
	case *securityv1.PeerAuthentication:
		return of(&o.Status)
	case *securityv1.RequestAuthentication:
		return of(&o.Status)
	case *networkingv1.Sidecar:
		return of(&o.Status)
	case *networkingv1.DestinationRule:
		return of(&o.Status)
	case *networkingv1.VirtualService:
		return of(&o.Status)
	case *networkingv1.Gateway:
		return of(&o.Status)
	case *networkingv1.ServiceEntry:
		return verdict{o.Status.GetConditions(), o.Status.GetValidationMessages()}
	case *telemetryv1.Telemetry:
		return of(&o.Status)
	}
	return verdict{}
}

// taking says whether a condition tells that the mesh took an object.
func taking(kind string) bool {
	return strings.HasSuffix(kind, "Accepted") || slices.Contains([]string{"Programmed", "PassedValidation", "PassedAnalysis"}, kind)
}

func rejected(s *Scene) []Finding {
	var out []Finding
	for _, o := range s.Objects() {
		if o.GetNamespace() != s.Facts.Namespace.Name {
			continue
		}
		v := verdictOn(o)
		var refusals, warnings []string
		for _, c := range v.conditions {
			present := c.GetObservedGeneration() == 0 || c.GetObservedGeneration() == o.GetGeneration()
			if c.GetStatus() == "False" && taking(c.GetType()) && present {
				refusals = append(refusals, strings.TrimSuffix(c.GetType()+"=False ("+c.GetReason()+"): "+c.GetMessage(), ": "))
			}
		}
		for _, m := range v.messages {
			text := strings.TrimSpace(m.GetType().GetCode() + " " + m.GetType().GetName())
			switch m.GetLevel() {
			case analysis.AnalysisMessageBase_ERROR:
				refusals = append(refusals, text)
			case analysis.AnalysisMessageBase_WARNING:
				warnings = append(warnings, text)
			}
		}
		slices.Sort(refusals)
		slices.Sort(warnings)
		switch {
		case len(refusals) > 0:
			out = append(out, open(s.subject(o), "what it says is not in force, or not all of it: istiod reports %s", mesh.Some(refusals)))
		case len(warnings) > 0:
			f := open(s.subject(o), "istiod warns of it: %s", mesh.Some(warnings))
			f.Severity = v1alpha1.SeverityLow
			out = append(out, f)
		}
	}
	return out
}
