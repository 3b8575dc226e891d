package istio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
	"sigs.k8s.io/yaml"
)

const corpus = "../../internal/corpus/testdata"

// message is one of istioctl's, as internal/corpus reads it.
type message struct {
	Code      string `json:"code"`
	Level     string `json:"level"`
	Namespace string `json:"namespace,omitempty"`
	Subject   string `json:"subject,omitempty"`
	Message   string `json:"message"`
}

// TestGoldenMessages runs istioctl's analyzers over every cluster of the corpus,
// with what the operator writes there.
func TestGoldenMessages(t *testing.T) {
	dirs, err := filepath.Glob(corpus + "/clusters/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no clusters in %s: %v", corpus, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got, err := yaml.Marshal(analyzeApart(t, inputs(t, dir)))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "out", "istioctl.yaml")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; write it with make golden-istio", err)
			}
			if !bytes.Equal(want, got) {
				t.Errorf("%s is not what istioctl says; update it with make golden-istio. It says:\n%s", file, got)
			}
		})
	}
}

// inputs are the files of a cluster, as internal/corpus has them, and what the
// operator writes there.
func inputs(t *testing.T, dir string) []string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{corpus + "/common/*.yaml", dir + "/*.yaml", dir + "/out/resources.yaml"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			files[filepath.Base(f)] = f
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, files[name])
	}
	return out
}

// The variables by which the test's own process is told to analyze files, and
// the folder for what it writes.
const (
	analyzeFiles = "MSO_ANALYZE_FILES"
	analyzeDir   = "MSO_ANALYZE_DIR"
)

func TestMain(m *testing.M) {
	files, is := os.LookupEnv(analyzeFiles)
	if !is {
		os.Exit(m.Run())
	}
	if err := analyze(filepath.SplitList(files), os.Getenv(analyzeDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// analyzeApart analyzes files in a process of their own, as istioctl does: some
// analyzers keep the first mesh configuration that they see.
func analyzeApart(t *testing.T, files []string) []message {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), analyzeFiles+"="+strings.Join(files, string(filepath.ListSeparator)), analyzeDir+"="+dir)
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("analyze: %v\n%s", err, log)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "messages.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out []message
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// analyze does what `istioctl analyze --all-namespaces` does with a cluster: all
// analyzers, on all kinds that they read, with the mesh configuration of the
// cluster. (With --use-kube=false it would leave pods, namespaces, services and
// secrets out, and 21 analyzers with them.)
func analyze(files []string, dir string) error {
	a := local.NewIstiodAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	var sources []local.ReaderSource
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		sources = append(sources, local.ReaderSource{Name: filepath.Base(f), Reader: bytes.NewReader(raw)})
	}
	if err := addMeshConfig(a, files, dir); err != nil {
		return err
	}
	if err := a.AddTestReaderKubeSource(sources); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	result, err := a.Analyze(stop)
	if err != nil {
		return err
	}
	if len(result.SkippedAnalyzers) > 0 {
		return fmt.Errorf("analyzers are left out: %v", result.SkippedAnalyzers)
	}
	out := []message{}
	for _, m := range result.Messages {
		out = append(out, messageOf(m))
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "messages.json"), raw, 0o600)
}

func messageOf(m diag.Message) message {
	out := message{Code: m.Type.Code(), Level: m.Type.Level().String(), Message: fmt.Sprintf(m.Type.Template(), m.Parameters...)}
	if m.Resource != nil {
		meta := m.Resource.Metadata
		out.Subject = meta.Schema.Kind() + "/" + meta.FullName.Name.String()
		out.Namespace = meta.FullName.Namespace.String()
	}
	return out
}

// addMeshConfig gives the analyzers the mesh configuration that is in the files,
// which istioctl reads from the cluster. Without one, Istio's defaults hold.
func addMeshConfig(a *local.IstiodAnalyzer, files []string, dir string) error {
	for _, f := range files {
		docs, err := read(f)
		if err != nil {
			return err
		}
		for _, doc := range docs {
			var cm struct {
				Kind     string                           `json:"kind"`
				Metadata struct{ Name, Namespace string } `json:"metadata"`
				Data     map[string]string                `json:"data"`
			}
			if yaml.Unmarshal(doc, &cm) != nil || cm.Kind != "ConfigMap" || cm.Metadata.Namespace+"/"+cm.Metadata.Name != "istio-system/istio" {
				continue
			}
			file := filepath.Join(dir, "mesh.yaml")
			if err := os.WriteFile(file, []byte(cm.Data["mesh"]), 0o600); err != nil {
				return err
			}
			return a.AddFileKubeMeshConfig(file)
		}
	}
	return nil
}
