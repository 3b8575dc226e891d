package admission

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
	"github.com/onsi/gomega/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/standin"
)

func TestAdmission(t *testing.T) {
	log.SetLogger(GinkgoLogr)
	RegisterFailHandler(Fail)
	RunSpecs(t, "The guard at admission")
}

var (
	root, binary, scratch string
	scheme                = runtime.NewScheme()
	// shared is the cluster of all specs that change nothing of the installation.
	shared *cluster
	// latest is the operator that was started last.
	latest *operator.Process
)

var _ = BeforeSuite(func(ctx SpecContext) {
	SetDefaultEventuallyTimeout(15 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(controllers.AddToScheme(scheme)).To(Succeed())
	var err error
	root, err = operator.Root()
	Expect(err).NotTo(HaveOccurred())
	scratch, err = os.MkdirTemp("", "admission-")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, scratch)
	binary, err = operator.Build(ctx, scratch)
	Expect(err).NotTo(HaveOccurred())
	shared = newCluster(ctx)
	shared.install(ctx, filepath.Join(root, "config/default"), operator.Namespace, operator.ServiceAccount)
	shared.start()
	DeferCleanup(shared.stop)
})

var _ = ReportAfterEach(func(r SpecReport) {
	if r.Failed() && latest != nil {
		lines := strings.Split(latest.Log(), "\n")
		GinkgoWriter.Println(strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
})

// cluster is a control plane with Istio's CRDs and users.
type cluster struct {
	*controlplane.ControlPlane
	admin   client.Client // of system:masters
	users   map[string]*rest.Config
	configs map[string]string // kubeconfigs of users
	process *operator.Process
}

// Users, by the name in kubeconfigs.
const (
	admin      = "admin"     // a cluster administrator
	teamLead   = "team-lead" // has the role admin in every namespace, and writes Istio's kinds
	theCleanup = "system:serviceaccount:kube-system:generic-garbage-collector"
)

func newCluster(ctx context.Context) *cluster {
	GinkgoHelper()
	istio, err := controlplane.IstioCRDs(ctx)
	Expect(err).NotTo(HaveOccurred())
	cp, err := controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{filepath.Join(root, "config/crd/bases"), istio}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(cp.Stop)
	c := &cluster{ControlPlane: cp, users: map[string]*rest.Config{}, configs: map[string]string{}}
	c.admin, err = client.New(cp.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	for name, groups := range map[string][]string{admin: {"system:masters"}, teamLead: nil} {
		config, kubeconfig, err := cp.User(name, groups...)
		Expect(err).NotTo(HaveOccurred())
		c.users[name], c.configs[name] = config, filepath.Join(cp.Dir(), name+".kubeconfig")
		Expect(os.WriteFile(c.configs[name], kubeconfig, 0o600)).To(Succeed())
	}
	c.apply(standin.Istio)
	c.apply(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: writes-istio}
rules:
- {apiGroups: [security.istio.io, networking.istio.io, telemetry.istio.io], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [namespaces], verbs: [get, update, patch]}
`)
	for _, role := range []string{"writes-istio", "admin"} {
		c.kubectl("create", "clusterrolebinding", "lead-"+role, "--clusterrole="+role, "--user="+teamLead)
	}
	return c
}

// install applies a folder and makes a kubeconfig of the operator's account in it.
func (c *cluster) install(ctx context.Context, folder, namespace, account string) {
	GinkgoHelper()
	c.kubectl("apply", "--server-side", "-k", folder)
	Expect(c.WaitForServiceAccount(ctx, namespace, account)).To(Succeed())
	config, err := c.ServiceAccountConfig(ctx, namespace, account)
	Expect(err).NotTo(HaveOccurred())
	c.users["operator"], c.configs["operator"] = config, filepath.Join(c.Dir(), "operator.kubeconfig")
	Expect(operator.WriteKubeconfig(config, c.configs["operator"])).To(Succeed())
}

func (c *cluster) start() {
	GinkgoHelper()
	var err error
	c.process, err = operator.Start(binary, c.configs["operator"], filepath.Join(scratch, "operator.log"), "--network-policy-enforced=true")
	Expect(err).NotTo(HaveOccurred())
	latest = c.process
}

func (c *cluster) stop() {
	GinkgoHelper()
	if c.process != nil {
		Expect(c.process.Stop()).To(Succeed())
		c.process = nil
	}
}

// as runs kubectl as a user, with text on its standard input.
func (c *cluster) as(user, stdin string, args ...string) (string, error) {
	return c.Kubectl([]string{
		"KUBECONFIG=" + c.configs[user], "KUBECACHEDIR=" + filepath.Join(c.Dir(), "cache"),
		"KUBE_EDITOR=sed -i 's/mode: STRICT/mode: PERMISSIVE/'",
	}, stdin, args...)
}

func (c *cluster) kubectl(args ...string) string {
	GinkgoHelper()
	out, err := c.as(admin, "", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

func (c *cluster) apply(manifest string) {
	GinkgoHelper()
	_, err := c.as(admin, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

// client authenticates as a user, or as an administrator who impersonates one.
func (c *cluster) client(user string) client.Client {
	GinkgoHelper()
	config, ok := c.users[user]
	if !ok {
		config = c.Config()
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	}
	out, err := client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	return out
}

// guarded makes a namespace in the mesh with a profile that has the text as its spec,
// and waits until it is in force and the guard, where it has one, too.
func (c *cluster) guarded(ctx context.Context, namespace, spec string) {
	GinkgoHelper()
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: " + namespace + ", labels: {istio-injection: enabled}}}")
	DeferCleanup(func() { c.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found") })
	c.apply(profile(namespace, "main", spec))
	Eventually(c.condition(ctx, namespace, "main", v1alpha1.ConditionProgrammed)).Should(HavePrefix("True/"))
	Expect(c.WaitForServiceAccount(ctx, namespace, "default")).To(Succeed())
	if strings.Contains(spec, "guard: Managed") || strings.Contains(spec, "guard: Posture") {
		c.inForce(ctx, namespace)
	}
}

// inForce waits until the API server's own cache has the profile and the policies.
func (c *cluster) inForce(ctx context.Context, namespace string) {
	GinkgoHelper()
	probe := object(`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: msp-probe}, spec: {podSelector: {}}}`, namespace)
	Eventually(func() error { return c.admin.Create(ctx, probe.DeepCopy(), client.DryRunAll) }).Should(beRefused("msp-probe would pass for"))
}

func profile(namespace, name, spec string) string {
	return fmt.Sprintf("apiVersion: meshsecurity.io/v1alpha1\nkind: MeshSecurityProfile\nmetadata: {name: %s, namespace: %s}\nspec:\n%s", name, namespace, spec)
}

// strict declares everything, with a guard.
func strict(guard string) string {
	return `
  mutualTLS: {mode: Strict}
  authorization:
    defaultAction: Deny
    rules:
    - {name: callers, workloadSelector: {matchLabels: {app: web}}, from: [{entity: SameNamespace}], to: [{ports: [8080]}]}
  egress:
    defaultAction: Deny
    assurance: Network
    rules:
    - {name: database, to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]}
    - {name: stripe, to: [{hosts: [api.stripe.com, "*.example.com"], ports: [{port: 443, protocol: TLS}]}]}
  logging: {accessLog: Denied}
  drift: {policy: Correct, guard: ` + guard + `}
`
}

// object reads one from YAML.
func object(manifest, namespace string) *unstructured.Unstructured {
	GinkgoHelper()
	o := &unstructured.Unstructured{}
	Expect(yaml.UnmarshalStrict([]byte(manifest), &o.Object)).To(Succeed())
	if namespace != "" {
		o.SetNamespace(namespace)
	}
	return o
}

func (c *cluster) get(ctx context.Context, kind, namespace, name string) *unstructured.Unstructured {
	GinkgoHelper()
	for _, k := range mesh.ManagedKinds() {
		if k.GVK.Kind == kind {
			o := &unstructured.Unstructured{}
			o.SetGroupVersionKind(k.GVK)
			Expect(c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)).To(Succeed())
			return o
		}
	}
	Fail("not managed: " + kind)
	return nil
}

// condition reads a condition as STATUS/REASON, once the status speaks of the present generation.
func (c *cluster) condition(ctx context.Context, namespace, name, kind string) func() string {
	return func() string {
		p := &v1alpha1.MeshSecurityProfile{}
		if err := c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p); err != nil {
			return err.Error()
		}
		cond := meta.FindStatusCondition(p.Status.Conditions, kind)
		if cond == nil || p.Status.ObservedGeneration != p.Generation {
			return "not observed"
		}
		return string(cond.Status) + "/" + cond.Reason
	}
}

func (c *cluster) profile(ctx context.Context, namespace string) *v1alpha1.MeshSecurityProfile {
	GinkgoHelper()
	p := &v1alpha1.MeshSecurityProfile{}
	Expect(c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "main"}, p)).To(Succeed())
	return p
}

func (c *cluster) attention(ctx context.Context, namespace string) func() string {
	return func() string { return strings.Join(c.profile(ctx, namespace).Status.Attention, "\n") }
}

// beRefused matches an answer of the guard, 403, that has the words.
func beRefused(words string) types.GomegaMatcher {
	return And(HaveOccurred(), WithTransform(apierrors.IsForbidden, BeTrue()),
		WithTransform(error.Error, And(ContainSubstring("mesh-security-guard-"), ContainSubstring(words))))
}
