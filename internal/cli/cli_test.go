package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"golang.org/x/tools/txtar"
)

// now is when every command runs.
var now = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// run runs a command line as main does, in the folder dir, and returns what a
// user sees: the output, and the status of the process.
func run(t *testing.T, dir, stdin, line string) (out string, status int) {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	cmd := Command(Environment{In: strings.NewReader(stdin), Out: &stdout, Err: &stderr, Now: func() time.Time { return now }, Version: "v0.0.0"})
	cmd.SetArgs(strings.Fields(line))
	err := cmd.ExecuteContext(context.Background())
	var problems ProblemsError
	switch {
	case err == nil:
		return stdout.String() + stderr.String(), 0
	case errors.As(err, &problems):
		return stdout.String() + stderr.String() + err.Error() + "\n", 2
	}
	return stdout.String() + stderr.String() + "error: " + err.Error() + "\n", 1
}

// Each file of testdata is commands, as lines that begin with $, with what they
// print below each and a line "status N" where that is not 0, and the files that
// they run on. UPDATE_GOLDEN=1 writes what is printed: review it.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range a.Files {
				path := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var got strings.Builder
			head, _, _ := strings.Cut(string(a.Comment), "$ ")
			got.WriteString(head)
			for line := range strings.Lines(string(a.Comment)) {
				command, is := strings.CutPrefix(line, "$ ")
				if !is {
					continue
				}
				out, status := run(t, dir, "", strings.TrimSpace(command))
				got.WriteString(line + out)
				if status != 0 {
					fmt.Fprintf(&got, "status %d\n", status)
				}
				got.WriteString("\n")
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				a.Comment = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Comment), got.String()); diff != "" {
				t.Errorf("not what was reviewed (-reviewed +now); write it with UPDATE_GOLDEN=1:\n%s", diff)
			}
		})
	}
}

func TestSARIFIsValid(t *testing.T) {
	dir := t.TempDir()
	base, err := os.ReadFile("../golden/testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base = append(base, []byte("\n---\n# out of the mesh\napiVersion: v1\nkind: Pod\nmetadata: {name: outsider, namespace: payments}\nspec: {hostNetwork: true, containers: [{name: app}]}\n")...)
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), base, 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := run(t, dir, "", "audit all.yaml -o sarif --fail-on never")
	if status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	report, err := sarif.FromString(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Validate(); err != nil {
		t.Error(err)
	}
	results := report.Runs[0].Results
	at := slices.IndexFunc(results, func(r *sarif.Result) bool { return *r.RuleID == "ENR-002" })
	if at < 0 {
		t.Fatal("no result of ENR-002")
	}
	if line := *results[at].Locations[0].PhysicalLocation.Region.StartLine; line != bytes.Count(base, []byte("\n"))-3 {
		t.Errorf("ENR-002 is at line %d", line)
	}
	for _, r := range results {
		if at := r.Locations[0].PhysicalLocation; at == nil || *at.ArtifactLocation.URI == "" || *at.Region.StartLine < 1 {
			t.Errorf("%s has no place in a file", *r.RuleID)
		}
	}
}
