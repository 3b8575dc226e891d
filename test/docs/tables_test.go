package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	_ "github.com/meshsecurity/mesh-security-operator/internal/report" // its metrics
)

// section is a page's text from the first heading that has the words to the
// next heading of the same or a higher level.
func section(t *testing.T, p page, words string) string {
	t.Helper()
	var out []string
	level := 0
	for line := range strings.Lines(p.text) {
		if m := headingMark.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			depth := strings.IndexByte(line, ' ')
			switch {
			case level > 0 && depth <= level:
				return strings.Join(out, "")
			case level == 0 && strings.Contains(m[1], words):
				level = depth
			}
		}
		if level > 0 {
			out = append(out, line)
		}
	}
	if level == 0 {
		t.Fatalf("%s has no heading with %q", p.path, words)
	}
	return strings.Join(out, "")
}

// rows are the tables' rows by what is in code font in the first cell; the
// cells after it as they are.
func rows(text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if name, ok := strings.CutPrefix(cells[0], "`"); ok {
			out[strings.TrimSuffix(name, "`")] = cells[1:]
		}
	}
	return out
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// group is a block of constants with its comment.
type group struct {
	comment string
	values  []string
}

// constants are the string constants of a file whose name begins so, by blocks.
func constants(t *testing.T, file, prefix string) (out []group) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ParseComments)
	must(t, err)
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		g := group{comment: decl.Doc.Text()}
		for _, s := range decl.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) != 1 {
				continue
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				v, err := strconv.Unquote(literal.Value)
				must(t, err)
				g.values = append(g.values, v)
			}
		}
		if len(g.values) > 0 {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return out
}

const (
	conditionsFile  = "api/v1alpha1/conditions.go"
	statusFile      = "api/v1alpha1/profile_status.go"
	troubleshooting = "docs/how-to/troubleshooting.md"
	operations      = "docs/how-to/operations.md"
)

// Every condition has a section, and every reason a row in those of its
// conditions; a row is no reason that the code does not know.
func TestConditionsAndReasonsAreExplained(t *testing.T) {
	p := parse(t, troubleshooting)
	all := map[string]bool{}
	var conditions []string
	for _, g := range constants(t, conditionsFile, "Condition") {
		conditions = append(conditions, g.values...)
	}
	for _, g := range constants(t, conditionsFile, "Reason") {
		for _, reason := range g.values {
			all[reason] = true
		}
		found := false
		for _, condition := range conditions {
			if !regexp.MustCompile(`\b` + condition + `\b`).MatchString(g.comment) {
				continue
			}
			found = true
			explained := rows(section(t, p, condition))
			for _, reason := range g.values {
				if _, ok := explained[reason]; !ok {
					t.Errorf("%s does not explain reason %s of %s", p.path, reason, condition)
				}
			}
		}
		if !found {
			t.Errorf("%s: %q names no condition", conditionsFile, g.comment)
		}
	}
	for _, condition := range conditions {
		for reason, cells := range rows(section(t, p, condition)) {
			if !all[reason] {
				t.Errorf("%s explains reason %s of %s, which does not exist", p.path, reason, condition)
			}
			if len(cells) != 3 || cells[1] == "" || cells[2] == "" {
				t.Errorf("%s: reason %s of %s is to have a status, a meaning and a remedy: %q", p.path, reason, condition, cells)
			}
		}
	}
}

func TestStatusWordsAreExplained(t *testing.T) {
	for _, c := range []struct{ page, heading, prefix string }{
		{troubleshooting, "Verdicts", "Verdict"},
		{"docs/how-to/drift.md", "type", "Drift"},
		{"docs/how-to/drift.md", "effect", "Effect"},
		{"docs/how-to/drift.md", "resolution", "Resolution"},
	} {
		var want []string
		for _, g := range constants(t, statusFile, c.prefix) {
			want = append(want, g.values...)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, names(rows(section(t, parse(t, c.page), c.heading)))); diff != "" {
			t.Errorf("%s, %s (-code +page):\n%s", c.page, c.heading, diff)
		}
	}
}

func TestFlagsAreExplained(t *testing.T) {
	binary, err := manager()
	must(t, err)
	help, err := exec.CommandContext(t.Context(), binary, "--help").CombinedOutput()
	must(t, err)
	want := map[string]string{}
	flag := ""
	for line := range strings.Lines(string(help)) {
		if m := regexp.MustCompile(`^  -([a-z-]+)`).FindStringSubmatch(line); m != nil {
			flag = "--" + m[1]
			want[flag] = ""
		}
		if m := regexp.MustCompile(`\(default "?(.*?)"?\)\n$`).FindStringSubmatch(line); m != nil {
			want[flag] = m[1]
		}
	}
	have := map[string]string{}
	for name, cells := range rows(section(t, parse(t, operations), "Flags")) {
		have[name] = strings.Trim(cells[0], "`–")
		if len(cells) < 2 || cells[1] == "" {
			t.Errorf("%s says nothing of %s", operations, name)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("flags and their defaults (-help +%s):\n%s", operations, diff)
	}
}

func TestMetricsAreExplained(t *testing.T) {
	registry, ok := metrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatalf("%T does not describe its metrics", metrics.Registry)
	}
	descriptions := make(chan *prometheus.Desc, 1000)
	registry.Describe(descriptions)
	close(descriptions)
	want := map[string]string{}
	for d := range descriptions {
		m := regexp.MustCompile(`fqName: "(meshsec_[a-z_]+)".*variableLabels: {(.*?)}`).FindStringSubmatch(d.String())
		if m != nil {
			want[m[1]] = m[2]
		}
	}
	have := map[string]string{}
	for name, cells := range rows(section(t, parse(t, operations), "Metrics")) {
		have[name] = strings.ReplaceAll(strings.ReplaceAll(cells[0], "`", ""), " ", "")
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("metrics and their labels (-code +%s):\n%s", operations, diff)
	}
}

func TestRolesAreExplained(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "config", "*", "*role.yaml"))
	must(t, err)
	var want []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		must(t, err)
		var role struct {
			Kind     string
			Metadata struct{ Name string }
		}
		must(t, yaml.Unmarshal(raw, &role))
		if strings.HasSuffix(role.Kind, "Role") && !slices.Contains(want, role.Metadata.Name) {
			want = append(want, role.Metadata.Name)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, names(rows(section(t, parse(t, operations), "Roles")))); diff != "" {
		t.Errorf("roles (-config +%s):\n%s", operations, diff)
	}
}

// What README.md shows of the demo is what the demo says.
func TestDemoExcerpt(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "hack/demo/main.go"))
	must(t, err)
	said := string(raw)
	count := 0
	for _, f := range parse(t, "README.md").fences {
		for line := range strings.Lines(f.text) {
			if m := regexp.MustCompile(`^=== \[ *[0-9.]+s\] (.*)\n$`).FindStringSubmatch(line); m != nil {
				count++
				if !strings.Contains(said, `"`+regexp.MustCompile(`[0-9]+`).ReplaceAllString(m[1], "%d")+`"`) {
					t.Errorf("the demo does not say: %s", m[1])
				}
			}
		}
	}
	if count == 0 {
		t.Error("README.md has no excerpt")
	}
}
