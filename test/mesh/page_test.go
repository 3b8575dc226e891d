package mesh

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// page lists the cases for readers.
const page = "../../docs/reference/mesh-cases.md"

func TestPage(t *testing.T) {
	var out bytes.Buffer
	out.WriteString("# What is tried with a real mesh\n\nGenerated from test/mesh/testdata/cases; do not edit. [How it is done](../mesh-conformance.md).\n")
	describe := func(name, about string, calls []entry) {
		fmt.Fprintf(&out, "\n### %s\n\n%s.\n\n| from | to | call | comes to |\n|---|---|---|---|\n", name, strings.ToUpper(about[:1])+about[1:])
		for _, e := range calls {
			said := string(e.Expect)
			if e.Shadow != "" {
				said += ", and by what is only evaluated: " + string(e.Shadow)
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", strings.Join(e.From, ", "), e.To, e.what(), said)
		}
	}
	out.WriteString("\n## What is in force\n")
	for _, c := range readCases(t) {
		describe(c.name, c.About, c.Calls)
	}
	out.WriteString("\n## What never changes while something does\n")
	for _, c := range readTransitions(t) {
		describe(c.name, c.About, c.Calls)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(page, out.Bytes(), 0o644); err != nil { //nolint:gosec // a page
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Errorf("%s is not of these cases: UPDATE_GOLDEN=1 make test-mesh TESTFLAGS='-run Page' writes it", page)
	}
}

// what is how a call differs from a plain one.
func (e entry) what() string {
	var out []string
	for _, part := range []string{string(e.Protocol), e.Method} {
		if part != "" {
			out = append(out, part)
		}
	}
	if e.Path != "" {
		out = append(out, "`"+e.Path+"`")
	}
	if e.Host != "" {
		out = append(out, "for "+e.Host)
	}
	if e.Token != "" {
		out = append(out, "with token "+e.Token)
	}
	if e.Direct {
		out = append(out, "by address")
	}
	return strings.Join(out, " ")
}
