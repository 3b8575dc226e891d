package audit

import (
	"slices"
	"strconv"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func controlPlaneChecks() []Check {
	return []Check{
		{
			ID: "CTL-006", Title: "istiod is told to leave a guard off", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "take the setting out of istiod's environment, so that Istio's default holds again",
			Limits:      "Looked at are the environment variables of istiod's own deployment in the mesh's namespace. An istiod elsewhere is not seen.",
			References:  []string{"https://istio.io/latest/docs/reference/commands/pilot-discovery/", "https://istio.io/latest/docs/ops/best-practices/security/"},
			cluster:     guardsOff,
		},
	}
}

// guards are settings of istiod, what each has to be, and what it means where it is not.
var guards = []struct {
	name  string
	is    bool
	means string
}{
	{"XDS_AUTH", true, "proxies are not authenticated, so that anybody who reaches istiod gets the configuration of every proxy"},
	{"PILOT_ENABLE_XDS_IDENTITY_CHECK", true, "a proxy may ask for the configuration of another identity, secrets among it"},
	{"ENABLE_DEBUG_ENDPOINT_AUTH", true, "istiod's debug pages answer to everybody who reaches them"},
	{"UNSAFE_ENABLE_ADMIN_ENDPOINTS", false, "istiod's pages for administrators answer to everybody who reaches them"},
}

func guardsOff(s *ClusterScene) []Finding {
	if !s.ControlPlaneRead {
		return []Finding{unknown("Namespace/"+s.Mesh.Namespace, "istiod's deployment can't be read in namespace %s", s.Mesh.Namespace)}
	}
	var out []Finding
	for _, cp := range s.ControlPlanes {
		var off, means, unread []string
		for _, g := range guards {
			text, set := cp.Settings[g.name]
			on, err := strconv.ParseBool(text)
			switch {
			case slices.Contains(cp.SettingsElsewhere, g.name):
				unread = append(unread, g.name)
			case set && err == nil && on != g.is:
				off, means = append(off, g.name+"="+text), append(means, g.means)
			}
		}
		subject := cp.Kind + "/" + cp.Namespace + "/" + cp.Name
		if len(off) > 0 {
			out = append(out, open(subject, "it is set to %s: %s", mesh.Some(off), mesh.Some(means)))
		}
		if len(unread) > 0 {
			out = append(out, unknown(subject, "%s is taken from another object, which is not read", mesh.Some(unread)))
		}
	}
	return out
}
