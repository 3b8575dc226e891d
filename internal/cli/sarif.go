package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
)

const home = "https://github.com/meshsecurity/mesh-security-operator"

// levels of SARIF, and the score by which GitHub orders findings
// (docs.github.com, SARIF support for code scanning).
var levels = map[v1alpha1.Severity]struct{ level, score string }{
	v1alpha1.SeverityCritical: {"error", "9.5"},
	v1alpha1.SeverityHigh:     {"error", "8.0"},
	v1alpha1.SeverityMedium:   {"warning", "5.5"},
	v1alpha1.SeverityLow:      {"note", "2.0"},
}

// writeSARIF writes the findings as SARIF 2.1.0. Of files, each is at the
// document that it is about, or else at the namespace's profile.
func (a *app) writeSARIF(found Audit, s *scene) error {
	run := sarif.NewRunWithInformationURI("kubectl-meshsecurity", home)
	run.Tool.Driver.WithVersion(a.Version)
	for _, c := range audit.Checks() {
		level := levels[c.Severity]
		rule := run.AddRule(c.ID).WithName(c.Title).
			WithShortDescription(sarif.NewMultiformatMessageString().WithText(c.Title)).
			WithFullDescription(sarif.NewMultiformatMessageString().WithText(c.Title + ". What it can't see: " + c.Limits)).
			WithHelp(sarif.NewMultiformatMessageString().WithText("What to do: " + c.Remediation)).
			WithHelpURI(home + "/blob/main/docs/reference/checks.md")
		properties := sarif.NewPropertyBag()
		properties.Add("security-severity", level.score)
		properties.Add("tags", append([]string{"security"}, c.Compliance...))
		rule.WithProperties(properties)
	}
	all := found.all()
	for _, ns := range slices.Sorted(maps.Keys(all)) {
		for _, f := range all[ns] {
			run.AddResult(s.result(ns, f))
		}
	}
	report := sarif.NewReport()
	report.AddRun(run)
	return report.PrettyWrite(a.Out)
}

func (s *scene) result(namespace string, f v1alpha1.Finding) *sarif.Result {
	level, kind := levels[f.Severity].level, "fail"
	if f.State == v1alpha1.FindingUnknown {
		level, kind = "none", "open"
	}
	text := f.Message
	if f.Remediation != "" {
		text += ". " + f.Remediation
	}
	full := strings.Trim(namespace+"/"+f.Subject, "/")
	sum := sha256.Sum256([]byte(f.Check + " " + full))
	r := sarif.NewRuleResult(f.Check).WithLevel(level).WithKind(kind).
		WithMessage(sarif.NewTextMessage(f.Subject + ": " + text)).
		WithPartialFingerprints(map[string]string{"checkAndSubject/v1": hex.EncodeToString(sum[:16])})
	at := sarif.NewLocation().AddLogicalLocation(sarif.NewLogicalLocation().WithFullyQualifiedName(full).WithKind("resource"))
	if file, line, ok := s.where(namespace, f); ok {
		at.WithPhysicalLocation(sarif.NewPhysicalLocation().
			WithArtifactLocation(sarif.NewSimpleArtifactLocation(filepath.ToSlash(file))).
			WithRegion(sarif.NewRegion().WithStartLine(line)))
	}
	r.AddLocation(at)
	if f.State == v1alpha1.FindingExcepted {
		r.AddSuppression(sarif.NewSuppression().WithKind("external").WithJustification("MeshSecurityException/" + f.Exception))
	}
	return r
}

// where is the document that a finding is about: its subject's, else the
// profile's, else that of something in the namespace, else the first.
func (s *scene) where(namespace string, f v1alpha1.Finding) (file string, line int, ok bool) {
	parts := strings.Split(f.Subject, "/")
	kind, name := parts[0], parts[len(parts)-1]
	if len(parts) == 3 {
		namespace = parts[1]
	}
	best := -1
	for _, d := range s.docs {
		score := 0
		switch is := d.GetObjectKind().GroupVersionKind().Kind; {
		case is == kind && d.GetName() == name && cmp.Or(d.GetNamespace(), namespace) == namespace:
			score = 3
		case d.GetNamespace() != namespace:
		case is == v1alpha1.KindProfile:
			score = 2
		default:
			score = 1
		}
		if score > best {
			best, file, line, ok = score, d.File, d.Line, true
		}
	}
	return file, line, ok
}
