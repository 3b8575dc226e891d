package gitops

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const examples = root + "/docs/examples/gitops"

// documents are those of a stream of YAML.
func documents(t testing.TB, raw []byte) (out [][]byte) {
	t.Helper()
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		if len(bytes.TrimSpace(doc)) > 0 {
			out = append(out, doc)
		}
	}
}

// built is what kustomize makes of a folder.
func built(t testing.TB, dir string) (out []*unstructured.Unstructured) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), kubectl(t), "kustomize", dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for _, doc := range documents(t, raw) {
		out = append(out, decode(t, doc))
	}
	return out
}

var checksOnce sync.Once
var checks []kustomize.CustomHealthCheck

// fluxChecks are the expressions of the example, for Flux's Kustomizations.
func fluxChecks(t testing.TB) []kustomize.CustomHealthCheck {
	t.Helper()
	checksOnce.Do(func() {
		files, err := filepath.Glob(examples + "/clusters/*/flux/*.yaml")
		must(t, err)
		for _, f := range files {
			for _, doc := range documents(t, read(t, f)) {
				var k kustomizev1.Kustomization
				if !bytes.Contains(doc, []byte("kind: Kustomization")) {
					continue
				}
				must(t, yaml.UnmarshalStrict(doc, &k))
				for _, c := range k.Spec.HealthCheckExprs {
					if i := slices.IndexFunc(checks, func(o kustomize.CustomHealthCheck) bool { return o.Kind == c.Kind }); i < 0 {
						checks = append(checks, c)
					} else if checks[i] != c {
						t.Errorf("%s: %s is judged otherwise than elsewhere", f, c.Kind)
					}
				}
			}
		}
		if len(checks) != 2 {
			t.Fatalf("%d kinds have expressions", len(checks))
		}
	})
	return checks
}

// What is for Argo CD and Flux is what they know, field by field.
func TestExamplesAreOfKnownFields(t *testing.T) {
	files, err := filepath.Glob(examples + "/clusters/*/*/*.yaml")
	must(t, err)
	seen := map[string]int{}
	for _, f := range files {
		for _, doc := range documents(t, read(t, f)) {
			var head struct {
				Kind string `json:"kind"`
			}
			must(t, yaml.Unmarshal(doc, &head))
			seen[head.Kind]++
			into := map[string]any{
				"AppProject": &appv1.AppProject{}, "Application": &appv1.Application{}, "ApplicationSet": &appv1.ApplicationSet{},
				"Kustomization": &kustomizev1.Kustomization{},
			}[head.Kind]
			if into == nil {
				continue // Kubernetes' own: accountsKeepTeamsApart applies them
			}
			if err := yaml.UnmarshalStrict(doc, into); err != nil {
				t.Errorf("%s: %v\n%s", f, err, doc)
			}
		}
	}
	for _, kind := range []string{"AppProject", "Application", "ApplicationSet", "Kustomization", "RoleBinding"} {
		if seen[kind] == 0 {
			t.Errorf("no example has a %s", kind)
		}
	}
}

// A team's folder has a project of its name, that lets it write in its own namespace alone, and a Kustomization.
func TestExamplesKeepTeamsApart(t *testing.T) {
	teams, err := filepath.Glob(examples + "/teams/*")
	must(t, err)
	if len(teams) < 2 {
		t.Fatalf("teams: %v", teams)
	}
	argo := string(read(t, examples+"/clusters/production/argo-cd/teams.yaml"))
	projects := map[string]appv1.AppProject{}
	for _, doc := range documents(t, []byte(argo)) {
		if strings.Contains(string(doc), "kind: AppProject") {
			var p appv1.AppProject
			must(t, yaml.UnmarshalStrict(doc, &p))
			projects[p.Name] = p
		}
	}
	flux := map[string]kustomizev1.Kustomization{}
	for _, doc := range documents(t, read(t, examples+"/clusters/production/flux/teams.yaml")) {
		if strings.Contains(string(doc), "kind: Kustomization") {
			var k kustomizev1.Kustomization
			must(t, yaml.UnmarshalStrict(doc, &k))
			flux[k.Namespace] = k
		}
	}
	for _, dir := range teams {
		team := filepath.Base(dir)
		for _, o := range built(t, dir) {
			if o.GetNamespace() != team || o.GetKind() != "MeshSecurityProfile" {
				t.Errorf("%s has a %s in %s", team, o.GetKind(), o.GetNamespace())
			}
		}
		here := &appv1.Cluster{Server: "https://kubernetes.default.svc"}
		may := func(kind schema.GroupKind, namespace string) bool {
			is, err := projects[team].IsResourcePermitted(kind, namespace, here, func(string) ([]*appv1.Cluster, error) { return nil, nil })
			must(t, err)
			return is
		}
		profile := schema.GroupKind{Group: group, Kind: "MeshSecurityProfile"}
		if !may(profile, team) || may(profile, "default") || may(schema.GroupKind{Group: group, Kind: "MeshSecurityBaseline"}, "") ||
			may(schema.GroupKind{Kind: "ConfigMap"}, team) || may(schema.GroupKind{Kind: "Namespace"}, "") {
			t.Errorf("project of %s: %+v", team, projects[team].Spec)
		}
		if k := flux[team]; k.Spec.TargetNamespace != team || k.Spec.ServiceAccountName == "" || k.Spec.Path != "./teams/"+team {
			t.Errorf("Kustomization of %s: %+v", team, k.Spec)
		}
	}
}

// CRDs, then the operator, then what it acts upon.
func TestExamplesHaveWaves(t *testing.T) {
	wave := func(o *unstructured.Unstructured) string { return o.GetAnnotations()["argocd.argoproj.io/sync-wave"] }
	count := 0
	for _, o := range built(t, examples+"/operator") {
		want := "-1"
		if o.GetKind() == "CustomResourceDefinition" {
			want = "-2"
			count++
		}
		if wave(o) != want {
			t.Errorf("%s %s is in wave %q", o.GetKind(), o.GetName(), wave(o))
		}
	}
	if count != 3 {
		t.Errorf("%d CRDs", count)
	}
	for _, o := range built(t, examples+"/baselines") {
		if wave(o) != "" {
			t.Errorf("%s %s is in wave %q", o.GetKind(), o.GetName(), wave(o))
		}
	}
}
