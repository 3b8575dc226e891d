package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// newTable has one bulletin each of a low and of a critical CVSS, about versions
// that the built-in table has none of.
const newTable = `
asOf: "2026-11-01"
releases: [{minor: "1.32", endOfLife: "2027-06-30"}, {minor: "1.31", endOfLife: "2027-02-28"}]
bulletins:
- {id: LOW, cvss: 2.1, components: [Proxy], affected: [1.31.0 to 1.31.1], url: "https://example.com/low"}
- {id: CRITICAL, cvss: 9.8, components: [ControlPlane], affected: [1.31.0 to 1.31.1], url: "https://example.com/critical"}
`

// current has the mesh run what nothing is known against.
func (s *Scene) current() {
	s.Now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s.Facts.Mesh.Version, s.Facts.Mesh.Revision = "1.31.1", "default"
	s.pod().ProxyVersion = "1.31.1"
}

func (s *Scene) runs(version string) {
	s.Facts.Mesh.Version, s.pod().ProxyVersion = version, version
}

func (s *Scene) replace(table string) { s.Bulletins = &table }

func TestVulnerabilities(t *testing.T) {
	exam(t, "VUL", []examined{
		{"VUL-001", "both", func(s *Scene) { s.runs("1.29.1") }, []string{
			"ControlPlane/default: the control plane 1.29.1 has published vulnerabilities, the gravest of CVSS 7.7: ISTIO-SECURITY-2026-006, ISTIO-SECURITY-2026-003 (by the table of 2026-09-30)",
			"Proxy/1.29.1: the proxy 1.29.1 of Deployment/api has published vulnerabilities, the gravest of CVSS 7.5: ISTIO-SECURITY-2026-006, ISTIO-SECURITY-2026-004",
		}},
		{"VUL-001", "a proxy that was not restarted", func(s *Scene) { s.pod().ProxyVersion = "1.30.3" }, []string{"Proxy/1.30.3: Deployment/api"}},
		{"VUL-001", "no version", func(s *Scene) { s.runs("") }, []string{"ControlPlane/default: unknown: nothing tells the version", "Proxy: unknown: nothing tells the version of the proxy of Deployment/api"}},
		{"VUL-001", "a build of no release", func(s *Scene) { s.runs("1.32-alpha.4f1c") }, []string{`ControlPlane/default: unknown: the version of the control plane, "1.32-alpha.4f1c"`, "Proxy/1.32-alpha.4f1c: unknown: "}},
		{"VUL-001", "no proxy", func(s *Scene) { s.pod().Sidecar, s.pod().ProxyVersion = false, "" }, nil},
		{"VUL-001", "another table", func(s *Scene) { s.replace(newTable) }, []string{"ControlPlane/default: CRITICAL (by the table of 2026-11-01)", "Proxy/1.31.1: LOW"}},
		{"VUL-001", "a table that is none", func(s *Scene) { s.replace("asOf: tomorrow") }, []string{`ConfigMap/mesh-security-bulletins: unknown: the table in key istio.yaml can't be used, and the built-in one of 2026-09-30 is instead: asOf: "tomorrow" is not a day`}},

		{"VUL-004", "an annotation", func(s *Scene) { s.pod().Obsolete = []string{"sidecar.istio.io/extraStatTags"} },
			[]string{"Deployment/api: it is set up by sidecar.istio.io/extraStatTags, which Istio means to drop"}},
		{"VUL-002", "ended", func(s *Scene) { s.runs("1.28.10") }, []string{
			"ControlPlane/default: support for the control plane 1.28.10 was expected to end on 2026-06-29 (by the table of 2026-09-30)",
			"Proxy/1.28.10: support for the proxy 1.28.10",
		}},
		{"VUL-002", "long ended", func(s *Scene) { s.runs("1.9.9") }, []string{"ControlPlane/default: older than every version", "Proxy/1.9.9: older than every version"}},
		{"VUL-002", "it ends while nobody changes anything", func(s *Scene) { s.Now = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC) }, []string{"ControlPlane/default: expected to end on 2027-02-28", "Proxy/1.31.1: expected to end on 2027-02-28"}},
		{"VUL-002", "newer than the table", func(s *Scene) { s.runs("1.33.0") }, []string{"ControlPlane/default: unknown: the table of 2026-09-30 is older than the control plane 1.33.0", "Proxy/1.33.0: unknown: "}},
		{"VUL-002", "without an end", func(s *Scene) { s.runs("1.30.5"); s.Now = s.Now.AddDate(0, 1, 0) }, []string{"ControlPlane/default: unknown: the table of 2026-09-30 has no end of support", "Proxy/1.30.5: unknown: "}},
		{"VUL-002", "no version", func(s *Scene) { s.Facts.Mesh.Version = "" }, []string{"ControlPlane/default: unknown: "}},
		{"VUL-002", "another table", func(s *Scene) { s.replace(newTable); s.runs("1.32.0") }, nil},

		{"VUL-003", "a patch", func(s *Scene) { s.pod().ProxyVersion = "1.31.0" }, []string{"Deployment/api: pods run the proxy 1.31.0, older than the control plane 1.31.1"}},
		{"VUL-003", "newer", func(s *Scene) { s.pod().ProxyVersion = "1.31.2" }, nil},
		{"VUL-003", "a variant of the same", func(s *Scene) { s.pod().ProxyVersion = "1.31.1-vendor" }, nil},
		{"VUL-003", "some pods", func(s *Scene) {
			p := *s.pod()
			p.Name, p.ProxyVersion = "api-1", "1.30.5"
			s.Facts.Pods = append(s.Facts.Pods, p)
		}, []string{"Deployment/api: 1.30.5"}},
		{"VUL-003", "no version of the proxy", func(s *Scene) { s.pod().ProxyVersion = "" }, []string{"Deployment/api: unknown: the version of its proxy"}},
		{"VUL-003", "no version of the control plane", func(s *Scene) { s.Facts.Mesh.Version = "" }, []string{"Deployment/api: unknown: the control plane's version"}},
	})
}

// Severity is by CVSS, in the bands of its specification.
func TestSeverityByCVSS(t *testing.T) {
	for cvss, want := range map[float64]v1alpha1.Severity{
		10: v1alpha1.SeverityCritical, 9: v1alpha1.SeverityCritical, 8.9: v1alpha1.SeverityHigh, 7: v1alpha1.SeverityHigh,
		6.9: v1alpha1.SeverityMedium, 4: v1alpha1.SeverityMedium, 3.9: v1alpha1.SeverityLow, 0: v1alpha1.SeverityLow,
	} {
		if got := severityOf(cvss); got != want {
			t.Errorf("%g is %s, want %s", cvss, got, want)
		}
	}
	s := scene()
	s.replace(newTable)
	var got []v1alpha1.Severity
	for _, f := range Examine(s) {
		got = append(got, f.Severity)
	}
	if want := []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityLow}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The longest list of bulletins fits into a message whole.
func TestBulletinsFitIntoAMessage(t *testing.T) {
	s := scene()
	for _, name := range []string{"b", "c", "d", "e"} {
		p := *s.pod()
		p.Owner = facts.Owner{Kind: "Deployment", Name: strings.Repeat(name, 63)}
		s.Facts.Pods = append(s.Facts.Pods, p)
	}
	for i := range s.Facts.Pods {
		s.Facts.Pods[i].ProxyVersion = "1.11.0"
	}
	for _, f := range Examine(s) {
		if f.Check == "VUL-001" && !strings.HasSuffix(f.Message, "(by the table of "+date(bulletins.BuiltIn().AsOf)+")") {
			t.Errorf("%d bytes: %s", len(f.Message), f.Message)
		}
	}
}

// A namespace in which nothing happens is looked at again when support ends.
func TestNextChange(t *testing.T) {
	day := func(year, month, day int) time.Time {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	}
	older := func(s *Scene) { s.pod().ProxyVersion = "1.30.5" }
	for _, c := range []struct {
		name   string
		change func(*Scene)
		want   *time.Time
	}{
		{"one version", func(*Scene) {}, new(day(2027, 3, 1))},
		{"the first of two", older, new(day(2026, 11, 11))},
		{"after both", func(s *Scene) { older(s); s.Now = day(2027, 3, 1) }, nil},
		{"of no version", func(s *Scene) { s.pod().ProxyVersion = ""; s.runs("") }, nil},
	} {
		s := scene()
		c.change(s)
		if got := NextChange(s); (got == nil) != (c.want == nil) || got != nil && !got.Equal(*c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
