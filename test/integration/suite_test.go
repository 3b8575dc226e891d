package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/standin"
)

func TestIntegration(t *testing.T) {
	log.SetLogger(GinkgoLogr)
	RegisterFailHandler(Fail)
	RunSpecs(t, "Operator on a real control plane")
}

var (
	root   string
	binary string
	// scratch outlives every spec, for the logs of what does.
	scratch string
	// shared is the control plane, and main the operator on it, of all specs
	// that need none of their own.
	shared *cluster
	main   *operator.Process
)

var _ = BeforeSuite(func(ctx SpecContext) {
	SetDefaultEventuallyTimeout(15 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	var err error
	root, err = operator.Root()
	Expect(err).NotTo(HaveOccurred())
	scratch, err = os.MkdirTemp("", "integration-")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, scratch)
	binary, err = operator.Build(ctx, scratch)
	Expect(err).NotTo(HaveOccurred())
	shared = newCluster(ctx, true)
	DeferCleanup(shared.Stop)
	main = shared.start("main")
	DeferCleanup(func() { _ = main.Stop() })
})

// ReportAfterEach shows the operator's log where a spec failed.
var _ = ReportAfterEach(func(r SpecReport) {
	if r.Failed() && main != nil {
		lines := strings.Split(main.Log(), "\n")
		GinkgoWriter.Println(strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
})

// cluster is a control plane with the operator's configuration in it.
type cluster struct {
	*controlplane.ControlPlane
	client     client.Client
	kubeconfig string // of an administrator
	operator   string // of the operator
}

// newCluster brings a control plane up and applies config/default to it, with Istio's CRDs or without.
func newCluster(ctx context.Context, istio bool) *cluster {
	GinkgoHelper()
	crds := []string{filepath.Join(root, "config/crd/bases")}
	if istio {
		path, err := controlplane.IstioCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		crds = append(crds, path)
	}
	cp, err := controlplane.Start(ctx, controlplane.Options{CRDPaths: crds})
	Expect(err).NotTo(HaveOccurred())
	c := &cluster{ControlPlane: cp}

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(controllers.AddToScheme(scheme)).To(Succeed())
	c.client, err = client.New(cp.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	c.kubeconfig, err = cp.Kubeconfig("admin", "system:masters")
	Expect(err).NotTo(HaveOccurred())

	c.apply(standin.Istio)
	c.kubectl("apply", "--server-side", "-k", filepath.Join(root, "config/default"))
	c.istiodRuns()
	config, err := cp.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	Expect(err).NotTo(HaveOccurred())
	c.operator = filepath.Join(cp.Dir(), "operator.kubeconfig")
	Expect(operator.WriteKubeconfig(config, c.operator)).To(Succeed())
	return c
}

// istiodRuns says of istiod's pod what a kubelet would; the controller manager
// makes the deployment's status of it.
func (c *cluster) istiodRuns() {
	GinkgoHelper()
	Eventually(func() error {
		pod, err := c.try("", "-n", "istio-system", "get", "pod", "-l", "app=istiod", "-o", "jsonpath={.items[0].metadata.name}")
		if err != nil {
			return err
		}
		_, err = c.try("", "-n", "istio-system", "patch", "pod", "--subresource=status", "--type=merge", "-p",
			`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
			pod)
		return err
	}).Should(Succeed()) // the pod is made by the controller manager
	Eventually(func() string {
		return c.kubectl("-n", "istio-system", "get", "deployment", "istiod", "-o", "jsonpath={.status.availableReplicas}")
	}).Should(Equal("1"))
}

// start runs the operator on the cluster; its log gets the name.
func (c *cluster) start(name string, args ...string) *operator.Process {
	GinkgoHelper()
	p, err := operator.Start(binary, c.operator, filepath.Join(scratch, name+".log"), append([]string{"--network-policy-enforced=true", "--operator-namespace=" + operator.Namespace}, args...)...)
	Expect(err).NotTo(HaveOccurred())
	return p
}

// try runs kubectl as an administrator, with text on its standard input.
func (c *cluster) try(stdin string, args ...string) (string, error) {
	return c.as(c.kubeconfig, stdin, args...)
}

func (c *cluster) as(kubeconfig, stdin string, args ...string) (string, error) {
	return c.Kubectl([]string{"KUBECONFIG=" + kubeconfig}, stdin, args...)
}

func (c *cluster) kubectl(args ...string) string {
	GinkgoHelper()
	out, err := c.try("", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// apply applies YAML as an administrator.
func (c *cluster) apply(yaml string) {
	GinkgoHelper()
	_, err := c.try(yaml, "apply", "--server-side", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

// namespace makes a namespace with one enrolled workload, removed after the spec.
func (c *cluster) namespace(name string) {
	GinkgoHelper()
	c.apply(fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {istio-injection: enabled}}
`, name))
	Eventually(func() error {
		_, err := c.try(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: %[1]s, labels: {app: web}}
spec:
  containers:
  - {name: app, image: registry.example.com/web, ports: [{containerPort: 8080}]}
  - {name: istio-proxy, image: "registry.example.com/istio/proxyv2:1.31.1"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: %[1]s}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
`, name), "apply", "--server-side", "-f", "-")
		return err
	}).Should(Succeed()) // the default service account takes a moment
	DeferCleanup(func() { c.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found") })
}

func (c *cluster) profile(ctx context.Context, namespace, name string) *v1alpha1.MeshSecurityProfile {
	GinkgoHelper()
	p := &v1alpha1.MeshSecurityProfile{}
	Expect(c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p)).To(Succeed())
	return p
}

// condition reads a condition of a profile as STATUS/REASON, once the status
// speaks of the profile's present generation.
func (c *cluster) condition(ctx context.Context, namespace, name, kind string) func() string {
	return func() string {
		p := &v1alpha1.MeshSecurityProfile{}
		if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p); err != nil {
			return err.Error()
		}
		if p.Status.ObservedGeneration != p.Generation {
			return "not observed"
		}
		cond := meta.FindStatusCondition(p.Status.Conditions, kind)
		if cond == nil {
			return "absent"
		}
		return string(cond.Status) + "/" + cond.Reason
	}
}

func (c *cluster) ready(ctx context.Context, namespace, name string) {
	GinkgoHelper()
	Eventually(c.condition(ctx, namespace, name, v1alpha1.ConditionReady)).Should(Equal("True/Ready"), func() string {
		out, _ := c.try("", "-n", namespace, "describe", "msp", name)
		return out
	})
}

// requests counts the operator's requests since a time, by what they ask.
func (c *cluster) requests(ctx context.Context, since time.Time) (all []controlplane.Request) {
	GinkgoHelper()
	list, err := c.Requests(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, r := range list {
		if r.User == operator.User && !r.Time.Before(since) {
			all = append(all, r)
		}
	}
	return all
}

// matching keeps the requests that do one of the verbs.
func matching(in []controlplane.Request, verbs ...string) (out []string) {
	for _, r := range in {
		for _, v := range verbs {
			if r.Verb == v && r.Resource != "events" {
				out = append(out, strings.Join([]string{r.Verb, r.Resource, r.Subresource, r.Namespace, r.Name}, " "))
			}
		}
	}
	return out
}

var (
	writeVerbs = []string{"create", "update", "patch", "delete", "deletecollection"}
	readVerbs  = []string{"get", "list"}
)

// conditionTypes are always present.
func conditionTypes(conds []metav1.Condition) (out []string) {
	for _, c := range conds {
		out = append(out, c.Type)
	}
	return out
}
