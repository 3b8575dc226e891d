package cel_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// kubectl runs the real one and returns what it prints.
func kubectl(input []byte, args ...string) string {
	GinkgoHelper()
	output, err := tryKubectl(input, args...)
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(args, " "), output)
	return output
}

func tryKubectl(input []byte, args ...string) (string, error) {
	cmd := exec.Command(plane.KubectlPath(), append([]string{"--kubeconfig", kubeconfig, "--cache-dir", filepath.Join(plane.Dir(), "kubectl")}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

var _ = Describe("kubectl", func() {
	for _, k := range kinds {
		Describe("with a "+k.name, func() {
			names := k.crd.Spec.Names
			printed := strings.ToLower(names.Kind) + "." + k.crd.Spec.Group + "/example"

			It("finds it by its short name and its category, and the status says that nobody has seen it", func() {
				Expect(kubectl(asJSON(k.object(k.full)), "apply", "-f", "-")).To(ContainSubstring("created"))
				DeferCleanup(func(ctx context.Context) { Expect(api.Delete(ctx, k.object(nil))).To(Succeed()) })

				Expect(names.ShortNames).To(HaveLen(1))
				Expect(kubectl(nil, "get", names.ShortNames[0], "-o", "name")).To(Equal(printed + "\n"))
				Expect(kubectl(nil, "get", "meshsecurity", "-o", "name")).To(Equal(printed + "\n"))
				Expect(kubectl(nil, "get", names.ShortNames[0], "example", "-o", "jsonpath={.status}")).To(MatchJSON(`{"observedGeneration":-1}`))
			})

			It("refuses a field that does not exist, and says which", func() {
				spec, typos := k.full, []string{}
				for _, n := range nodes(nil, k.spec) {
					if n.schema.Properties != nil && !k.barred(n.path) {
						at := k.example(n.path).property("typo")
						spec, typos = with(spec, at, "x"), append(typos, at.String())
					}
				}
				output, err := tryKubectl(asJSON(k.object(spec)), "apply", "--dry-run=server", "-f", "-")
				Expect(err).To(HaveOccurred())
				for _, typo := range typos {
					Expect(output).To(ContainSubstring(`unknown field "` + typo + `"`))
				}
			})

			It("explains every field", func() {
				for _, root := range []string{"spec", "status"} {
					s := k.spec
					if root == "status" {
						s = k.status
					}
					output := kubectl(nil, "explain", "--recursive", names.Plural+"."+root)
					for _, n := range nodes(nil, s) {
						if last := len(n.path) - 1; last >= 0 && n.path[last].in == '.' {
							Expect(output).To(MatchRegexp(`(?m)^\s+` + regexp.QuoteMeta(n.path[last].property) + `\t`))
						}
					}
				}
				// Each by itself has a text.
				for _, name := range []string{"", ".spec", ".status"} {
					Expect(kubectl(nil, "explain", names.Plural+name)).NotTo(ContainSubstring("<empty>"))
				}
			})
		})
	}

	It("reads back what it applied: there are no defaults in spec", func(ctx context.Context) {
		var objects []*unstructured.Unstructured
		for _, k := range kinds {
			objects = append(objects, k.object(k.full), k.object(readSpec("testdata/"+k.name+"/minimal.yaml")))
		}
		for _, o := range append(objects, samples()...) {
			if o.GetNamespace() != "" {
				o.SetNamespace(metav1.NamespaceDefault)
			}
			want := asJSON(o.Object["spec"])
			Expect(api.Create(ctx, o, client.DryRunAll)).To(Succeed(), "%s %s", o.GetKind(), o.GetName())
			Expect(asJSON(o.Object["spec"])).To(Equal(want))
		}
	})
})

// samples are the objects of this API in config/samples.
func samples() []*unstructured.Unstructured {
	GinkgoHelper()
	var all []*unstructured.Unstructured
	files, err := filepath.Glob("../../config/samples/*.yaml")
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		text, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(text), -1) {
			o := &unstructured.Unstructured{}
			Expect(yaml.Unmarshal([]byte(document), &o.Object)).To(Succeed(), file)
			if o.GetAPIVersion() == v1alpha1.GroupVersion.String() {
				o.Object = runtime.DeepCopyJSON(o.Object)
				all = append(all, o)
			}
		}
	}
	return all
}
