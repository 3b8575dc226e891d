package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Page is the catalogue as a page of the documentation.
func Page() string {
	var b strings.Builder
	b.WriteString(`# Checks

Findings in ` + "`status.findings`" + `, and in the [report](../how-to/findings.md#what-is-of-the-whole-cluster) of the cluster, name one of these. The page is made from the registry in ` + "`internal/audit`" + ` by ` + "`make golden`" + `; IDs never change.

LOCK is the [lock-out preflight](../how-to/adopt-without-outage.md#let-the-preflight-look): what is known to call in, or to go out, and that the profile refuses. With ` + "`preflight: Block`" + ` every finding that has areas holds these back before they are enforced for the first time.
`)
	controls := map[string][]string{}
	b.WriteString("\n| check | severity | about |\n|---|---|---|\n")
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| [%s](#%s) %s | %s | %s |\n", c.ID, anchor(c), c.Title, c.Severity, c.about())
		for _, control := range c.Compliance {
			controls[control] = append(controls[control], fmt.Sprintf("[%s](#%s)", c.ID, anchor(c)))
		}
	}
	b.WriteString("\n## By published controls\n\nThe mapping is ours: no public source gives it. A check bears on a control; it does not prove that it is met.\n\n| control | checks |\n|---|---|\n")
	for _, control := range slices.Sorted(maps.Keys(controls)) {
		fmt.Fprintf(&b, "| %s | %s |\n", control, strings.Join(controls[control], ", "))
	}
	for _, c := range Checks() {
		fmt.Fprintf(&b, "\n## %s: %s\n\nSeverity %s, about %s.\n\n- What to do: %s.\n- What it can't see: %s\n", c.ID, c.Title, c.Severity, c.about(), c.Remediation, c.Limits)
		if len(c.Reads) > 0 {
			fmt.Fprintf(&b, "- Reads, and says unknown where it can't: %s.\n", strings.Join(c.Reads, ", "))
		}
		if len(c.Aliases) > 0 {
			fmt.Fprintf(&b, "- Known elsewhere as: %s.\n", strings.Join(c.Aliases, ", "))
		}
		if len(c.Compliance) > 0 {
			fmt.Fprintf(&b, "- Bears on (our mapping): %s.\n", strings.Join(c.Compliance, "; "))
		}
		b.WriteString("- More: ")
		for i, r := range c.References {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "<%s>", r)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// anchor is how a heading of a check is linked to.
func anchor(c Check) string {
	var b strings.Builder
	for _, r := range strings.ToLower(c.ID + ": " + c.Title) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// about says what a check looks at.
func (c Check) about() string {
	switch {
	case c.find != nil:
		return "what a profile declares"
	case c.examine == nil:
		return "the cluster"
	case c.cluster == nil:
		return "a namespace"
	}
	return "a namespace and the cluster"
}
