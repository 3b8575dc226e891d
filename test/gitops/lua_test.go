package gitops

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	root   = "../.."
	argocd = root + "/config/argocd"
	group  = "meshsecurity.io"
	// scripts are laid out as in Argo CD's own repository, to be taken there as they are.
	scripts = argocd + "/resource_customizations/" + group
)

var kinds = []string{"MeshSecurityProfile", "MeshSecurityBaseline", "MeshSecurityException"}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	return raw
}

// decode reads one object, with integers as a client of the API server has them.
func decode(t testing.TB, raw []byte) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(raw)
	must(t, err)
	o := &unstructured.Unstructured{}
	must(t, o.UnmarshalJSON(text))
	return o
}

// overrides are what Argo CD reads out of argocd-cm, which says under
// resource.customizations.TYPE.GROUP_KIND what holds for GROUP/KIND.
func overrides(t testing.TB, configMap *unstructured.Unstructured) lua.ResourceHealthOverrides {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(configMap.Object, "data")
	must(t, err)
	out := lua.ResourceHealthOverrides{}
	for key, value := range data {
		rest, ok := strings.CutPrefix(key, "resource.customizations.")
		if !ok {
			continue
		}
		what, about, _ := strings.Cut(rest, ".")
		key := strings.ReplaceAll(about, "_", "/")
		o := out[key]
		switch what {
		case "health":
			o.HealthLua = value
		case "actions":
			o.Actions = value
		default:
			t.Errorf("%s: Argo CD knows no such key", key)
		}
		out[key] = o
	}
	return out
}

var shippedOnce sync.Once
var shippedOverrides lua.ResourceHealthOverrides

// shipped are the overrides of config/argocd.
func shipped(t testing.TB) lua.ResourceHealthOverrides {
	t.Helper()
	shippedOnce.Do(func() { shippedOverrides = overrides(t, decode(t, read(t, argocd+"/argocd-cm.yaml"))) })
	return shippedOverrides
}

// argo is what Argo CD shows of an object.
func argo(t testing.TB, o *unstructured.Unstructured) health.HealthStatus {
	t.Helper()
	h, err := health.GetResourceHealth(o, shipped(t))
	must(t, err)
	if h == nil {
		t.Fatalf("Argo CD knows no health of %s", o.GetKind())
	}
	return *h
}

// The patch says what the scripts say.
func TestConfigMapHasTheScripts(t *testing.T) {
	data := map[string]string{}
	for _, kind := range kinds {
		data["resource.customizations.health."+group+"_"+kind] = string(read(t, filepath.Join(scripts, kind, "health.lua")))
		actions := filepath.Join(scripts, kind, "actions")
		if _, err := os.Stat(actions); os.IsNotExist(err) {
			continue
		}
		all := appv1.ResourceActions{ActionDiscoveryLua: string(read(t, actions+"/discovery.lua"))}
		files, err := filepath.Glob(actions + "/*/action.lua")
		must(t, err)
		for _, f := range files {
			all.Definitions = append(all.Definitions, appv1.ResourceActionDefinition{Name: filepath.Base(filepath.Dir(f)), ActionLua: string(read(t, f))})
		}
		raw, err := yaml.Marshal(all)
		must(t, err)
		data["resource.customizations.actions."+group+"_"+kind] = string(raw)
	}
	raw, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "argocd-cm"}, "data": data})
	must(t, err)
	want := "# Made of resource_customizations by `UPDATE_GOLDEN=1 make test-gitops`.\n" + string(raw)
	file := argocd + "/argocd-cm.yaml"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(file, []byte(want), 0o600))
	}
	if diff := cmp.Diff(want, string(read(t, file))); diff != "" {
		t.Errorf("%s is not made of the scripts (-scripts +file); `UPDATE_GOLDEN=1 make test-gitops` makes it:\n%s", file, diff)
	}
}

const theirConfigMap = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels: {app.kubernetes.io/part-of: argocd}
data:
  url: https://argocd.example.com
  resource.customizations.health.example.com_Thing: return { status = "Healthy" }
`

// What is in argocd-cm already stays there, by kustomize and by kubectl patch.
func TestConfigMapIsAddedTo(t *testing.T) {
	theirs := decode(t, []byte(theirConfigMap))
	ours := decode(t, read(t, argocd+"/argocd-cm.yaml"))
	want := theirs.DeepCopy()
	for _, o := range []*unstructured.Unstructured{theirs, ours} {
		data, _, err := unstructured.NestedMap(o.Object, "data")
		must(t, err)
		for k, v := range data {
			must(t, unstructured.SetNestedField(want.Object, v, "data", k))
		}
	}

	dir := t.TempDir()
	abs, err := filepath.Abs(argocd)
	must(t, err)
	rel, err := filepath.Rel(dir, abs)
	must(t, err)
	must(t, os.WriteFile(dir+"/argocd-cm.yaml", []byte(theirConfigMap), 0o600))
	must(t, os.WriteFile(dir+"/kustomization.yaml", []byte("resources: [argocd-cm.yaml]\ncomponents: ["+rel+"]\n"), 0o600))
	built, err := exec.CommandContext(t.Context(), kubectl(t), "kustomize", dir).Output()
	must(t, err)
	if diff := cmp.Diff(want, decode(t, built)); diff != "" {
		t.Errorf("kustomize (-want +got):\n%s", diff)
	}

	before, err := json.Marshal(theirs)
	must(t, err)
	patch, err := json.Marshal(ours)
	must(t, err)
	merged, err := jsonpatch.MergePatch(before, patch)
	must(t, err)
	if diff := cmp.Diff(want, decode(t, merged)); diff != "" {
		t.Errorf("merge patch (-want +got):\n%s", diff)
	}
}

// Argo CD's own test of its repository does the same with health_test.yaml.
func TestHealth(t *testing.T) {
	for _, kind := range kinds {
		var cases struct {
			Tests []struct {
				InputPath    string              `json:"inputPath"`
				HealthStatus health.HealthStatus `json:"healthStatus"`
			} `json:"tests"`
		}
		dir := filepath.Join(scripts, kind)
		must(t, yaml.UnmarshalStrict(read(t, dir+"/health_test.yaml"), &cases))
		var listed []string
		for _, c := range cases.Tests {
			listed = append(listed, filepath.Join(dir, c.InputPath))
			t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(c.InputPath), ".yaml"), func(t *testing.T) {
				if diff := cmp.Diff(c.HealthStatus, argo(t, decode(t, read(t, filepath.Join(dir, c.InputPath))))); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
		files, err := filepath.Glob(dir + "/testdata/*.yaml")
		must(t, err)
		slices.Sort(listed)
		if diff := cmp.Diff(files, listed); diff != "" {
			t.Errorf("%s: -testdata +health_test.yaml:\n%s", kind, diff)
		}
	}
}

// An object that is on its way out is neither healthy nor broken.
func TestHealthOfWhatIsDeleted(t *testing.T) {
	o := decode(t, read(t, scripts+"/MeshSecurityProfile/testdata/healthy.yaml"))
	must(t, unstructured.SetNestedField(o.Object, "2026-11-22T10:00:00Z", "metadata", "deletionTimestamp"))
	if h := argo(t, o); h.Status != health.HealthStatusProgressing || h.Message != "Pending deletion" {
		t.Errorf("%+v", h)
	}
}

// An action changes an annotation and nothing else, and is offered where it does something.
func TestActions(t *testing.T) {
	for _, kind := range []string{"MeshSecurityProfile", "MeshSecurityBaseline"} {
		dir := filepath.Join(scripts, kind, "actions")
		vm := lua.VM{ResourceOverrides: shipped(t)}
		var cases struct {
			DiscoveryTests []struct {
				InputPath string                 `json:"inputPath"`
				Result    []appv1.ResourceAction `json:"result"`
			} `json:"discoveryTests"`
			ActionTests []struct {
				Action             string `json:"action"`
				InputPath          string `json:"inputPath"`
				ExpectedOutputPath string `json:"expectedOutputPath"`
			} `json:"actionTests"`
		}
		must(t, yaml.UnmarshalStrict(read(t, dir+"/action_test.yaml"), &cases))
		if len(cases.DiscoveryTests) == 0 || len(cases.ActionTests) == 0 {
			t.Errorf("%s has no tests of actions", kind)
		}
		for _, c := range cases.DiscoveryTests {
			o := decode(t, read(t, filepath.Join(dir, c.InputPath)))
			discovery, err := vm.GetResourceActionDiscovery(o)
			must(t, err)
			got, err := vm.ExecuteResourceActionDiscovery(o, discovery)
			must(t, err)
			slices.SortFunc(got, func(a, b appv1.ResourceAction) int { return strings.Compare(a.Name, b.Name) })
			for i := range got {
				got[i] = appv1.ResourceAction{Name: got[i].Name, Disabled: got[i].Disabled}
			}
			if diff := cmp.Diff(c.Result, got); diff != "" {
				t.Errorf("%s, %s: -want +got:\n%s", kind, c.InputPath, diff)
			}
		}
		for _, c := range cases.ActionTests {
			o := decode(t, read(t, filepath.Join(dir, c.InputPath)))
			action, err := vm.GetResourceAction(o, c.Action)
			must(t, err)
			impacted, err := vm.ExecuteResourceAction(o, action.ActionLua, nil)
			must(t, err)
			if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
				t.Fatalf("%s, %s: %+v", kind, c.Action, impacted)
			}
			// What Argo CD sends: a merge patch from what there is to what the script returned.
			before, err := json.Marshal(o)
			must(t, err)
			after, err := json.Marshal(impacted[0].UnstructuredObj)
			must(t, err)
			patch, err := jsonpatch.CreateMergePatch(before, after)
			must(t, err)
			want := map[string]string{
				"pause":  `{"metadata":{"annotations":{"meshsecurity.io/paused":"true"}}}`,
				"resume": `{"metadata":{"annotations":{"meshsecurity.io/paused":null}}}`,
			}[c.Action]
			if string(patch) != want {
				t.Errorf("%s, %s of %s sends %s, want %s", kind, c.Action, c.InputPath, patch, want)
			}
			merged, err := jsonpatch.MergePatch(before, patch)
			must(t, err)
			if diff := cmp.Diff(decode(t, read(t, filepath.Join(dir, c.ExpectedOutputPath))), decode(t, merged)); diff != "" {
				t.Errorf("%s, %s of %s: -want +got:\n%s", kind, c.Action, c.InputPath, diff)
			}
		}
	}
}

func kubectl(t testing.TB) string {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("no control plane: KUBEBUILDER_ASSETS is not set; `make test-gitops` provides it")
	}
	return filepath.Join(assets, "kubectl")
}
