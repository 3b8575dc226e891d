package architecture

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/meshsecurity/mesh-security-operator"

// Value types: what the pure packages may stand on, by prefix.
var values = []string{
	module + "/api", module + "/internal/facts", module + "/internal/posture", module + "/internal/mesh", module + "/internal/drift",
	module + "/internal/plan", module + "/internal/effective", module + "/internal/audit", module + "/internal/decide", module + "/internal/status",
	"k8s.io/api/", "k8s.io/apimachinery", "istio.io/", "google.golang.org/protobuf", "sigs.k8s.io/structured-merge-diff",
}

// allowed lists, for each package, the modules of this repository and of
// others that its own files may import besides the standard library.
var allowed = map[string][]string{
	"api/v1alpha1":            {"k8s.io/apimachinery"},
	"internal/facts":          {module + "/api", "k8s.io/apimachinery"},
	"internal/posture":        {module + "/api", module + "/internal/facts", "k8s.io/apimachinery"},
	"internal/mesh":           {module + "/api", module + "/internal/facts", module + "/internal/posture", "k8s.io/api/", "k8s.io/apimachinery", "istio.io/"},
	"internal/mesh/istio":     values,
	"internal/mesh/network":   values,
	"internal/mesh/providers": values,
	"internal/drift":          values,
	"internal/plan":           values,
	"internal/effective":      values,
	"internal/audit":          values,
	"internal/decide":         values,
	"internal/status":         values,
}

// impure are packages that no pure package may pull in by any way: a client, a
// log, a source of chance.
var impure = []string{
	"sigs.k8s.io/controller-runtime", "k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "k8s.io/client-go/tools",
	"github.com/go-logr/zapr", "go.uber.org/zap",
}

// effects are packages of the standard library that a pure package has no use for.
var effects = []string{"context", "crypto/rand", "log", "log/slog", "math/rand", "math/rand/v2", "net/http", "os", "os/exec", "sync"}

func list(t *testing.T, format string, patterns ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-f", format}, patterns...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestPurePackagesImportValuesAlone(t *testing.T) {
	for pkg, may := range allowed {
		for _, path := range list(t, `{{join .Imports "\n"}}`, "./"+pkg) {
			if slices.Contains(effects, path) {
				t.Errorf("%s imports %s: it is pure, see docs/architecture.md", pkg, path)
			}
			if !standard(path) && !slices.ContainsFunc(may, func(p string) bool { return strings.HasPrefix(path, p) }) {
				t.Errorf("%s imports %s: see docs/architecture.md", pkg, path)
			}
		}
	}
}

func TestPurePackagesPullInNothingImpure(t *testing.T) {
	for pkg := range allowed {
		for _, path := range list(t, `{{join .Deps "\n"}}`, "./"+pkg) {
			if slices.ContainsFunc(impure, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
				t.Errorf("%s pulls in %s: see docs/architecture.md", pkg, path)
			}
		}
	}
}

// Every package below internal is on one of the lists: a new one has to be placed.
func TestEveryPackageHasItsPlace(t *testing.T) {
	shell := []string{"internal/snapshot", "internal/apply", "internal/report", "internal/golden", "internal/corpus", "internal/offline", "internal/cli"}
	// Pure, but that it remembers the last table that it read.
	shell = append(shell, "internal/audit/bulletins")
	for _, path := range list(t, "{{.ImportPath}}", "./internal/...") {
		pkg := strings.TrimPrefix(path, module+"/")
		if _, pure := allowed[pkg]; !pure && !slices.Contains(shell, pkg) {
			t.Errorf("%s is on no list here, and in no row of docs/architecture.md", pkg)
		}
	}
}

// The writer and the reader are the only packages that hold a client, besides
// the controllers and the command line, which has no writer.
func TestOnlyReaderAndWriterHoldAClient(t *testing.T) {
	for _, path := range list(t, "{{.ImportPath}}", "./internal/...") {
		pkg := strings.TrimPrefix(path, module+"/")
		for _, imported := range list(t, `{{join .Imports "\n"}}`, "./"+pkg) {
			if imported == "sigs.k8s.io/controller-runtime/pkg/client" && !slices.Contains([]string{"internal/snapshot", "internal/apply", "internal/offline", "internal/cli"}, pkg) {
				t.Errorf("%s imports a client", pkg)
			}
		}
	}
}

// The command line writes nothing to a cluster.
func TestTheCommandLineHasNoWriter(t *testing.T) {
	for _, path := range list(t, `{{join .Deps "\n"}}`, "./cmd/...") {
		if path == module+"/internal/apply" || path == module+"/controllers" {
			t.Errorf("it pulls in %s", path)
		}
	}
}
