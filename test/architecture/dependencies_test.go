package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every direct dependency of every module has its reason in docs/dependencies.md.
func TestEveryDependencyHasItsReason(t *testing.T) {
	doc, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../*/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, "../../go.mod") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		block, _, _ := strings.Cut(string(b), "\n)")
		_, block, _ = strings.Cut(block, "require (")
		for line := range strings.SplitSeq(block, "\n") {
			fields := strings.Fields(line)
			if len(fields) < 2 || strings.Contains(line, "// indirect") || fields[0] == module {
				continue
			}
			name := regexp.MustCompile(`/v[0-9]+$`).ReplaceAllString(fields[0], "")
			if !strings.Contains(string(doc), name) {
				t.Errorf("%s needs %s: give the reason in docs/dependencies.md", f, name)
			}
		}
	}
}
