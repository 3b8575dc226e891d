package audit

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func enrolmentChecks() []Check {
	return []Check{
		{
			ID: "ENR-001", Title: "a workload is not in the mesh", Severity: v1alpha1.SeverityHigh, Aliases: []string{"IST0102", "IST0103"},
			Compliance:  []string{"NIST SP 800-204A SM-DR2"},
			Remediation: "label the namespace for injection (istio-injection=enabled, or istio.io/rev with the revision) and restart its pods; where it is not to be in the mesh, say so by an exception from ENR-001",
			Limits:      "Looked at is what pods really have: a proxy among their containers, or the annotation by which the node says that it redirects their traffic.",
			References:  []string{"https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/"},
			workload:    unenrolled, anyPlane: true,
		},
		{
			ID: "ENR-002", Title: "a workload opted out of the mesh", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR2"},
			Remediation: "take the label, annotation or hostNetwork off the pod template and roll it out; where it has to be so, have an exception from ENR-002 granted",
			Limits:      "Who may set them is not looked at: drift.guard Posture has admission refuse them.",
			References:  []string{"https://istio.io/latest/docs/reference/config/labels/#SidecarInject"},
			workload:    optedOut, anyPlane: true,
		},
		{
			ID: "ENR-003", Title: "traffic is excluded from the proxy", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR2"},
			Remediation: "take the annotation off the pod template and roll it out; where a port must not pass the proxy, have an exception from ENR-003 granted, and close it by a NetworkPolicy",
			Limits:      "Ports that the mesh's own configuration excludes everywhere are not looked at.",
			References:  []string{"https://istio.io/latest/docs/reference/config/annotations/"},
			workload:    excluded, anyPlane: true,
		},
		{
			ID: "ENR-004", Title: "a container can change or evade its proxy", Severity: v1alpha1.SeverityHigh, Aliases: []string{"IST0144"},
			Compliance:  []string{"NIST SP 800-204A SM-DR2"},
			Remediation: "take the right or the annotation away: Pod Security level baseline refuses added capabilities and privileged containers",
			Limits:      "A container that shares its pod's process namespace, or mounts the node's files, is not looked at.",
			References:  []string{"https://istio.io/latest/docs/ops/best-practices/security/#understand-traffic-capture-limitations", "https://kubernetes.io/docs/concepts/security/pod-security-standards/"},
			workload:    tampered, anyPlane: true,
		},
		{
			ID: "ENR-005", Title: "sidecar and ambient are mixed", Severity: v1alpha1.SeverityMedium, Aliases: []string{"IST0123", "KIA1311", "KIA1312", "KIA1313", "KIA1314", "KIA1315", "KIA1316"},
			Remediation: "decide for one data plane: take the label of the other off the namespace and restart its pods",
			Limits:      "Other namespaces may be in the other data plane: that is no finding.",
			References:  []string{"https://istio.io/latest/docs/ambient/migrate/"},
			workload:    mixed, examine: mixedLabels, anyPlane: true,
		},
		{
			ID: "ENR-006", Title: "a service port is not TCP, which alone the mesh carries", Severity: v1alpha1.SeverityLow,
			Remediation: "close the port by a NetworkPolicy for all but those who need it, or serve it by TCP",
			Limits:      "Ports that no service has are not looked at.",
			References:  []string{"https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/"},
			examine:     notCaptured, anyPlane: true,
		},
	}
}

// optOuts are the beginnings of what Bypass says of pods that left the mesh as a
// whole; everything else there excludes a part of their traffic.
var optOuts = []string{facts.HostNetwork, "sidecar.istio.io/inject=", "istio.io/dataplane-mode="}

func optOut(bypass string) bool {
	return slices.ContainsFunc(optOuts, func(o string) bool { return strings.HasPrefix(bypass, o) })
}

// collect is what some pods of a workload say, each once, sorted.
func (w workload) collect(of func(facts.Pod) []string) []string {
	var out []string
	for _, p := range w.pods {
		out = append(out, of(p)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// some says how many of a workload's pods something is so of: for all, nothing.
func (w workload) some(is func(facts.Pod) bool) (text string, hit bool) {
	n := 0
	for _, p := range w.pods {
		if is(p) {
			n++
		}
	}
	if n == len(w.pods) {
		return "", n > 0
	}
	return "some of its pods: ", n > 0
}

// unenrolled looks for workloads that the mesh does not carry, though nothing
// says that it should not.
func unenrolled(s *Scene, w workload) []Finding {
	plane := s.Facts.Mesh.DataPlane
	// A pod with a proxy is in the mesh by that in ambient mode as well.
	some, hit := w.some(func(p facts.Pod) bool {
		return !p.Enrolled(plane) && !p.Sidecar && !slices.ContainsFunc(p.Bypass, optOut)
	})
	if !hit {
		return nil
	}
	return []Finding{open(w.String(), "%snot in the mesh: %s, so that none of the mesh's policies holds for it", some, absence(s.Facts, plane))}
}

func absence(f facts.Facts, plane v1alpha1.DataPlane) string {
	if plane == v1alpha1.DataPlaneAmbient {
		return "the node does not redirect its traffic to ztunnel"
	}
	if l := f.Namespace.Labels; l["istio-injection"] == "enabled" || l["istio.io/rev"] != "" {
		return "it has no proxy, though the namespace's labels ask for one: its pods are older than the label, or injection failed"
	}
	return "it has no proxy, and the namespace has no label that asks for one"
}

// optedOut looks for workloads that left the mesh by their own settings.
func optedOut(_ *Scene, w workload) []Finding {
	how := w.collect(func(p facts.Pod) []string {
		return slices.DeleteFunc(slices.Clone(p.Bypass), func(b string) bool { return !optOut(b) })
	})
	if len(how) == 0 {
		return nil
	}
	return []Finding{open(w.String(), "opted out of the mesh by %s", strings.Join(how, ", "))}
}

// excluded looks for traffic that the proxy does not see.
func excluded(_ *Scene, w workload) []Finding {
	how := w.collect(func(p facts.Pod) []string { return slices.DeleteFunc(slices.Clone(p.Bypass), optOut) })
	if len(how) == 0 {
		return nil
	}
	return []Finding{open(w.String(), "a part of its traffic evades the proxy by %s", strings.Join(how, ", "))}
}

// tampered looks for pods that can change or evade the proxy beside them.
func tampered(_ *Scene, w workload) []Finding {
	how := w.collect(func(p facts.Pod) []string {
		if !p.Sidecar {
			return nil // There is nothing to tamper with.
		}
		return p.Tampering
	})
	if len(how) == 0 {
		return nil
	}
	return []Finding{open(w.String(), "can evade or change its own proxy: %s", strings.Join(how, "; "))}
}

// mixed looks for workloads in two data planes.
func mixed(_ *Scene, w workload) []Finding {
	sidecar := slices.ContainsFunc(w.pods, func(p facts.Pod) bool { return p.Sidecar })
	ambient := slices.ContainsFunc(w.pods, func(p facts.Pod) bool { return p.Ambient })
	if !sidecar || !ambient {
		return nil
	}
	return []Finding{open(w.String(), "its pods have a proxy and are redirected to ztunnel, so that it depends on the way which policies hold")}
}

// mixedLabels looks for a namespace that asks for both.
func mixedLabels(s *Scene) []Finding {
	l := s.Facts.Namespace.Labels
	if l["istio.io/dataplane-mode"] != "ambient" || (l["istio-injection"] != "enabled" && l["istio.io/rev"] == "") {
		return nil
	}
	return []Finding{open("Namespace/"+s.Facts.Namespace.Name, "its labels ask for ambient mode and for injection")}
}

// notCaptured looks for service ports of protocols that the mesh never captures.
func notCaptured(s *Scene) []Finding {
	var out []Finding
	for _, svc := range s.services() {
		var ports []string
		for _, p := range svc.Ports {
			if p.Protocol != "TCP" {
				ports = append(ports, portText(p))
			}
		}
		if len(ports) > 0 {
			out = append(out, open("Service/"+svc.Name, "the mesh carries TCP alone, and not %s", strings.Join(ports, ", ")))
		}
	}
	return out
}

func portText(p facts.ServicePort) string {
	return strings.TrimSpace(p.Name + " " + strconv.Itoa(int(p.Port)) + "/" + p.Protocol)
}
