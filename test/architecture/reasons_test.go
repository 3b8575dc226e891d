package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every reason of a condition is reached by some test: a golden case's status,
// or a test that names it.
func TestEveryReasonIsReached(t *testing.T) {
	reasons := constants(t, "../../api/v1alpha1/conditions.go", "Reason")
	var text strings.Builder
	for _, dir := range []string{"../../internal", "../integration"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "status.yaml" {
				b, err := os.ReadFile(path)
				text.Write(b)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range reasons {
		reached := false
		for _, form := range []string{"reason: " + value + "\n", "/" + value + `"`, `"` + value + `"`, "v1alpha1." + name} {
			reached = reached || strings.Contains(text.String(), form)
		}
		if !reached {
			t.Errorf("no test reaches %s (%s)", name, value)
		}
	}
}

// constants reads the string constants of a file whose names have a prefix.
func constants(t *testing.T, path, prefix string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if lit, ok := spec.Values[i].(*ast.BasicLit); ok && strings.HasPrefix(name.Name, prefix) {
				if out[name.Name], err = strconv.Unquote(lit.Value); err != nil {
					t.Fatal(err)
				}
			}
		}
		return true
	})
	return out
}
