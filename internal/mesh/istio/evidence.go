package istio

import (
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// evidence says what the pods that a rule is for show: whether there are any,
// and whether their traffic passes the mesh.
func evidence(a *mesh.Assessment, f facts.Facts, selector map[string]string, area v1alpha1.Area) {
	if !f.Mesh.Observed {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "no control plane of the mesh was found in %s, so that nothing shows that anything acts on it; install Istio, or name its namespace by the operator's --istio-namespace", f.Mesh.RootNamespace)
	}
	pods := f.Select(selector)
	if len(pods) == 0 {
		if len(selector) == 0 {
			a.Say(v1alpha1.VerdictPending, "the namespace runs no workload yet; it takes effect when one appears")
		} else {
			a.Say(v1alpha1.VerdictPending, "no workload matches the workloadSelector; it takes effect when one appears")
		}
		return
	}
	var outside, evading []string
	for _, p := range pods {
		if !p.Enrolled(v1alpha1.DataPlaneSidecar) {
			outside = append(outside, withBypass(p))
			continue
		}
		for _, b := range p.Bypass {
			if concerns(b, area) {
				evading = append(evading, p.Owner.String()+" ("+b+")")
			}
		}
	}
	if outside = unique(outside); len(outside) > 0 {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "not held for workloads without the mesh's proxy: %s; have the proxy injected, by the namespace's label and without what keeps it out, and restart them", mesh.Some(outside))
	}
	if evading = unique(evading); len(evading) > 0 {
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "traffic of %s bypasses the proxy; remove the setting and restart them", mesh.Some(evading))
	}
}

// withBypass names a pod's workload and what keeps it out of the mesh.
func withBypass(p facts.Pod) string {
	if len(p.Bypass) == 0 {
		return p.Owner.String()
	}
	return p.Owner.String() + " (" + strings.Join(p.Bypass, ", ") + ")"
}

// concerns says whether a bypass setting matters for an area: an excluded
// outbound port lets nobody in, and an excluded inbound port nobody out.
func concerns(bypass string, area v1alpha1.Area) bool {
	if area == v1alpha1.AreaEgress {
		return !strings.Contains(bypass, "Inbound") && !strings.Contains(bypass, "inbound")
	}
	return !strings.Contains(bypass, "Outbound")
}

func unique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
