package bulletins

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheBuiltInTableLoads(t *testing.T) {
	if _, err := Load(builtIn); err != nil {
		t.Fatal(err)
	}
}

func TestAffecting(t *testing.T) {
	for _, c := range []struct {
		component Component
		version   string
		want      []string
	}{
		{ControlPlane, "1.29.1", []string{"ISTIO-SECURITY-2026-006", "ISTIO-SECURITY-2026-003"}},
		{ControlPlane, "1.29.2", []string{"ISTIO-SECURITY-2026-006"}},
		{ControlPlane, "1.29.7", nil},
		{ControlPlane, "1.27.8", []string{"ISTIO-SECURITY-2026-006", "ISTIO-SECURITY-2026-003"}},
		{ControlPlane, "1.27.9", []string{"ISTIO-SECURITY-2026-006"}},
		{ControlPlane, "1.28.6-tetrate0", []string{"ISTIO-SECURITY-2026-006"}},
		{Proxy, "1.29.1", []string{"ISTIO-SECURITY-2026-006", "ISTIO-SECURITY-2026-004"}},
		{Proxy, "1.30.4", nil},
		{Proxy, "1.31.1", nil},
		{Proxy, "1.11.0", []string{"ISTIO-SECURITY-2024-001", "ISTIO-SECURITY-2023-003", "ISTIO-SECURITY-2023-001", "ISTIO-SECURITY-2024-004", "ISTIO-SECURITY-2024-003",
			"ISTIO-SECURITY-2024-002", "ISTIO-SECURITY-2023-004", "ISTIO-SECURITY-2023-002", "ISTIO-SECURITY-2022-005"}},
	} {
		v, err := Parse(c.version)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range BuiltIn().Affecting(c.component, v) {
			got = append(got, b.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %v, want %v", c.component, c.version, got, c.want)
		}
	}
}

func TestSupports(t *testing.T) {
	at := func(s string) time.Time {
		out, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		version, now string
		want         Support
	}{
		{"1.29.8", "2026-10-12 23:59:59", Supported},
		{"1.29.8", "2026-10-13 00:00:00", Ended},
		{"1.30.0", "2026-11-01 00:00:00", Supported},
		{"1.30.0", "2026-12-01 00:00:00", NoEnd},
		{"1.32.0", "2026-11-01 00:00:00", Newer},
		{"2.0.0", "2026-11-01 00:00:00", Newer},
		{"1.9.0", "2026-11-01 00:00:00", Ended},
	} {
		v, err := Parse(c.version)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := BuiltIn().Supports(v, at(c.now))
		if got != c.want {
			t.Errorf("%s at %s: %s, want %s", c.version, c.now, got, c.want)
		}
		if until, changes := BuiltIn().Until(v); changes {
			before, _ := BuiltIn().Supports(v, until.Add(-1))
			if after, _ := BuiltIn().Supports(v, until); before != Supported || after == Supported {
				t.Errorf("%s does not change at %s, from %s to %s", c.version, until, before, after)
			}
		} else if got == Supported {
			t.Errorf("%s is supported for ever", c.version)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, bad := range []string{"", "latest", "1.30", "1.30-alpha.4f1c", "1.x.0", "1.2.3.4", "4f1c9e7d"} {
		if v, err := Parse(bad); err == nil {
			t.Errorf("%q is %s", bad, v)
		}
	}
	for text, want := range map[string]string{"1.29.2": "1.29.2", "v1.29.2": "1.29.2", "1.29.2-asm.1": "1.29.2", "1.30.0-rc.1": "1.30.0"} {
		if v, err := Parse(text); err != nil || v.String() != want {
			t.Errorf("%q is %s, %v", text, v, err)
		}
	}
}

func TestTablesThatAreWrong(t *testing.T) {
	const good = `
asOf: "2026-09-30"
releases: [{minor: "1.31", endOfLife: "2027-02-28"}]
bulletins: [{id: A, cvss: 7.5, components: [Proxy], affected: [1.31.0 to 1.31.2, before 1.30.0], fixed: [1.31.3], url: "https://example.com/a"}]
`
	table, err := Load(good)
	if err != nil || len(table.Bulletins) != 1 {
		t.Fatalf("%+v, %v", table, err)
	}
	for _, c := range []struct{ old, replacement, want string }{
		{"asOf", "since", "unknown field"},
		{`"2026-09-30"`, `"30.9.2026"`, `asOf: "30.9.2026" is not a day like 2026-01-31`},
		{`[{minor: "1.31", endOfLife: "2027-02-28"}]`, "[]", "releases: at least one"},
		{`"1.31"`, `"1.31.0"`, `releases[0]: minor "1.31.0" is not like`},
		{`"2027-02-28"`, `soon`, `releases[0]: endOfLife: "soon"`},
		{"id: A, ", "", "bulletins[0] : id is missing"},
		{"7.5", "75", "bulletins[0] A: cvss 75"},
		{"[Proxy]", "[]", "components are missing"},
		{"[Proxy]", "[Istiod]", `component "Istiod" is neither`},
		{"[Proxy]", "[Proxy, Proxy]", "given twice"},
		{"1.31.0 to 1.31.2", "1.31.2 to 1.31.0", "ends before it begins"},
		{"1.31.0 to 1.31.2", "1.31.x", `affected: "1.31.x" is not a version`},
		{"before 1.30.0", "before all", `"all" is not a version`},
		{"[1.31.3]", "[next]", `fixed: "next"`},
		{"https://", "http://", "is not an https URL"},
	} {
		text := strings.Replace(good, c.old, c.replacement, 1)
		if _, err := Load(text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.replacement, err, c.want)
		}
	}
}

func TestReplaced(t *testing.T) {
	if _, err := Replaced("{"); err == nil {
		t.Error("no error of a text that is no YAML")
	}
	a, err := Replaced(builtIn)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := Replaced(builtIn); a != b {
		t.Error("the same text is loaded twice")
	}
	if _, err := Replaced("{"); err == nil {
		t.Error("the table before it is kept for a text that is none")
	}
}
