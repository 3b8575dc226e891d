package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func vulnerabilityChecks() []Check {
	const upgrade = "upgrade istiod to the newest patch of a supported minor version, and then restart the workloads, so that they get its proxy"
	return []Check{
		{
			ID: "VUL-001", Title: "a version with published vulnerabilities runs", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 6.3.3"},
			Remediation: upgrade,
			Limits:      tableLimits + " Severity is by the highest CVSS of its bulletins: Critical from 9, High from 7, Medium from 4, else Low. Whether the vulnerable part is in use is not looked at. Versions are the tags of images: builds of vendors are judged by their numbers, whatever was mended in them. ztunnel and the CNI plug-in are not looked at.",
			References:  []string{"https://istio.io/latest/news/security/"},
			examine:     vulnerable, anyPlane: true,
		},
		{
			ID: "VUL-002", Title: "a version runs that is out of support", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"PCI DSS 4.0 6.3.3"},
			Remediation: upgrade,
			Limits:      tableLimits + " It is Istio's own support; that of a vendor may be longer.",
			References:  []string{"https://istio.io/latest/docs/releases/supported-releases/"},
			examine:     unsupported, anyPlane: true,
		},
		{
			ID: "VUL-003", Title: "a proxy is older than the control plane", Severity: v1alpha1.SeverityMedium, Aliases: []string{"IST0158"},
			Compliance:  []string{"PCI DSS 4.0 6.3.3"},
			Remediation: "restart the workload, so that it gets the control plane's proxy; where it still gets the older one, look for the annotation sidecar.istio.io/proxyImage and for the revision of the namespace",
			Limits:      "Versions are the tags of images, without what vendors add to their numbers.",
			References:  []string{"https://istio.io/latest/docs/setup/upgrade/canary/", "https://istio.io/latest/docs/releases/supported-releases/"},
			workload:    outdated, anyPlane: true,
		},
		{
			ID: "VUL-004", Title: "a workload is set up by what Istio means to drop", Severity: v1alpha1.SeverityLow, Aliases: []string{"IST0135"},
			Remediation: "take the annotation out of the pods' template; of sidecar.istio.io/inject make a label, of the others settings of the annotation proxy.istio.io/config or of a Telemetry",
			Limits:      "Looked at are annotations of pods that Istio 1.31's own registry calls deprecated. Fields of policies are not looked at: none of those that are in use is called so.",
			References:  []string{"https://istio.io/latest/docs/reference/config/analysis/ist0135/", "https://istio.io/latest/docs/reference/config/annotations/"},
			examine:     obsolete, anyPlane: true,
		},
	}
}

const tableLimits = "It is told by a table that is built into the operator and says in each finding until when it is. ConfigMap " + bulletins.ConfigMap + " in the mesh's namespace, key " + bulletins.Key + ", replaces it; internal/audit/bulletins/istio.yaml is the built-in one, and an example."

// part is a component of the mesh that runs in a version.
type part struct {
	subject, text string
	component     bulletins.Component
	// version is nil where it can't be told.
	version *version.Version
	// in are workloads that run it, sorted.
	in []string
}

// says is the part in words.
func (p part) says() string {
	if p.component == bulletins.Proxy {
		return fmt.Sprintf("the proxy %s of %s", p.text, mesh.Some(p.in))
	}
	return "the control plane " + p.text
}

// untold says why nothing can be told of a part.
func (p part) untold() Finding {
	what := "the control plane"
	if p.component == bulletins.Proxy {
		what = "the proxy of " + mesh.Some(p.in)
	}
	f := unknown(p.subject, "the version of %s, %q, is none of a release", what, p.text)
	if p.text == "" {
		why := "its image has no tag"
		if p.component == bulletins.ControlPlane {
			why = "no istiod of this revision was found, or its image has no tag"
		}
		f = unknown(p.subject, "nothing tells the version of %s: %s", what, why)
	}
	f.Remediation = "run an image whose tag is the version of a release, like 1.31.1; where istiod runs outside of the cluster, have its version looked at there"
	return f
}

// parts are the control plane and the proxies of the namespace, by version.
func (s *Scene) parts() []part {
	if s.versions == nil {
		s.versions = s.partsOf()
	}
	return s.versions
}

func (s *Scene) partsOf() []part {
	parse := func(text string) *version.Version {
		v, err := bulletins.Parse(text)
		if err != nil {
			return nil
		}
		return v
	}
	m := s.Facts.Mesh
	out := []part{{subject: "ControlPlane/" + m.Revision, text: m.Version, component: bulletins.ControlPlane, version: parse(m.Version)}}
	in := map[string][]string{}
	for _, w := range s.workloads() {
		for _, v := range w.collect(proxyVersion) {
			in[v] = append(in[v], w.String())
		}
	}
	for v, workloads := range in {
		out = append(out, part{subject: strings.TrimSuffix("Proxy/"+v, "/"), text: v, component: bulletins.Proxy, version: parse(v), in: workloads})
	}
	slices.SortFunc(out, func(a, b part) int { return strings.Compare(a.subject, b.subject) })
	return out
}

// table is the one to go by, with a finding where the one that replaces it
// can't be used.
func (s *Scene) table() (*bulletins.Table, []Finding) {
	if s.Bulletins == nil {
		return bulletins.BuiltIn(), nil
	}
	t, err := bulletins.Replaced(*s.Bulletins)
	if err == nil {
		return t, nil
	}
	f := unknown("ConfigMap/"+bulletins.ConfigMap, "the table in key %s can't be used, and the built-in one of %s is instead: %s",
		bulletins.Key, date(bulletins.BuiltIn().AsOf), strings.ReplaceAll(err.Error(), "\n", "; "))
	f.Remediation = "correct the ConfigMap, or delete it"
	return bulletins.BuiltIn(), []Finding{f}
}

func date(t time.Time) string { return t.Format(time.DateOnly) }

// vulnerable looks for versions that bulletins name.
func vulnerable(s *Scene) []Finding {
	t, out := s.table()
	for _, p := range s.parts() {
		if p.version == nil {
			out = append(out, p.untold())
			continue
		}
		about := t.Affecting(p.component, p.version)
		if len(about) == 0 {
			continue
		}
		var names []string
		for _, b := range about {
			names = append(names, b.ID)
		}
		f := open(p.subject, "%s has published vulnerabilities, the gravest of CVSS %.1f: %s (by the table of %s)",
			p.says(), about[0].CVSS, strings.Join(names, ", "), date(t.AsOf))
		f.Severity = severityOf(about[0].CVSS)
		out = append(out, f)
	}
	return out
}

// severityOf is by the bands of CVSS 3.1.
func severityOf(cvss float64) v1alpha1.Severity {
	switch {
	case cvss >= 9:
		return v1alpha1.SeverityCritical
	case cvss >= 7:
		return v1alpha1.SeverityHigh
	case cvss >= 4:
		return v1alpha1.SeverityMedium
	}
	return v1alpha1.SeverityLow
}

// unsupported looks for minor versions that get no mends any more.
func unsupported(s *Scene) []Finding {
	t, _ := s.table() // VUL-001 says what is wrong with it.
	var out []Finding
	for _, p := range s.parts() {
		if p.version == nil {
			out = append(out, p.untold())
			continue
		}
		support, r := t.Supports(p.version, s.Now)
		switch {
		case support == bulletins.Newer:
			out = append(out, unknown(p.subject, "the table of %s is older than %s: it knows neither the end of its support nor its vulnerabilities", date(t.AsOf), p.says()))
		case support == bulletins.NoEnd:
			out = append(out, unknown(p.subject, "the table of %s has no end of support for %s", date(t.AsOf), p.says()))
		case support == bulletins.Ended && r.Minor == "":
			out = append(out, open(p.subject, "%s is older than every version of which the table of %s knows the end of support: vulnerabilities are not mended in it any more", p.says(), date(t.AsOf)))
		case support == bulletins.Ended:
			ended := "ended on "
			if r.Expected {
				ended = "was expected to end on "
			}
			out = append(out, open(p.subject, "support for %s %s%s (by the table of %s): vulnerabilities are not mended in it any more", p.says(), ended, date(r.EndOfLife), date(t.AsOf)))
		}
	}
	return out
}

// NextChange is when findings change by themselves, after Now; nil where they
// do not.
func NextChange(s *Scene) *time.Time {
	t, _ := s.table()
	var next *time.Time
	for _, p := range s.parts() {
		if p.version == nil {
			continue
		}
		if at, changes := t.Until(p.version); changes && at.After(s.Now) && (next == nil || at.Before(*next)) {
			next = &at
		}
	}
	return next
}

// outdated looks for proxies that an older control plane injected.
func outdated(s *Scene, w workload) []Finding {
	m := s.Facts.Mesh
	control := s.parts()[slices.IndexFunc(s.parts(), func(p part) bool { return p.component == bulletins.ControlPlane })].version
	var older, untold []string
	for _, text := range w.collect(proxyVersion) {
		if text == m.Version && control != nil {
			continue
		}
		v, err := bulletins.Parse(text)
		switch {
		case control == nil || err != nil:
			untold = append(untold, text)
		case v.LessThan(control):
			older = append(older, text)
		}
	}
	switch {
	case len(older) > 0:
		return []Finding{open(w.String(), "pods run the proxy %s, older than the control plane %s: what is mended since does not hold for them", mesh.Some(older), m.Version)}
	case len(untold) > 0 && control == nil:
		return []Finding{unknown(w.String(), "the control plane's version can't be told, so that nothing tells whether its proxy is older")}
	case len(untold) > 0:
		return []Finding{unknown(w.String(), "the version of its proxy can't be told")}
	}
	return nil
}

// proxyVersion is that of a pod's proxy, where it has one.
func proxyVersion(p facts.Pod) []string {
	if !p.Sidecar {
		return nil
	}
	return []string{p.ProxyVersion}
}

// obsolete looks for annotations that will mean nothing one day.
func obsolete(s *Scene) []Finding {
	var out []Finding
	for _, w := range s.workloads() {
		if names := w.collect(func(p facts.Pod) []string { return p.Obsolete }); len(names) > 0 {
			out = append(out, open(w.String(), "it is set up by %s, which Istio means to drop: a later version may not heed it", mesh.Some(names)))
		}
	}
	return out
}
