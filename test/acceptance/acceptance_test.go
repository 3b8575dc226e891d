package acceptance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

const cases = "../../internal/golden/testdata/cases"

func TestGoldenCasesAreAccepted(t *testing.T) {
	ctx := t.Context()
	c := connect(ctx, t)
	dirs, err := filepath.Glob(cases + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases in %s: %v", cases, err)
	}
	sent := 0
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for _, o := range documents(t, filepath.Join(dir, "in.yaml")) {
				if o.GetKind() == v1alpha1.KindProfile {
					create(ctx, t, c, o)
				}
			}
			for _, o := range documents(t, filepath.Join(dir, "resources.yaml")) {
				create(ctx, t, c, o)
				sent++
			}
		})
	}
	t.Logf("%d resources of %d cases accepted as they are", sent, len(dirs))
}

// connect starts an API server with the CRDs, the namespace of every case, and
// that of an egress gateway.
func connect(ctx context.Context, t *testing.T) client.Client {
	t.Helper()
	istio, err := controlplane.IstioCRDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own, err := controlplane.OperatorCRDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{own, istio}, NoControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(plane.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"payments", "istio-egress"} {
		if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	return client.WithFieldValidation(client.NewDryRunClient(c), "Strict")
}

// create sends an object and compares what comes back with what was sent.
func create(ctx context.Context, t *testing.T, c client.Client, o *unstructured.Unstructured) {
	t.Helper()
	id := o.GetKind() + "/" + o.GetName()
	stored := o.DeepCopy()
	if err := c.Create(ctx, stored); err != nil {
		t.Errorf("%s: %v", id, err)
		return
	}
	if diff := cmp.Diff(spec(t, o), spec(t, stored)); diff != "" {
		t.Errorf("%s is stored in another form (-sent +stored):\n%s", id, diff)
	}
}

func spec(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	out, err := yaml.Marshal(o.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func documents(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	var out []*unstructured.Unstructured
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", file, err))
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &o.Object); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", file, err))
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}
