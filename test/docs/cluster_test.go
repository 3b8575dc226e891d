package docs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/standin"
)

// shopNamespaces are those of config/samples/shop.yaml.
var shopNamespaces = []string{"batch", "payments", "shop"}

// argoCD is what there is of an Argo CD: its configuration.
const argoCD = `
apiVersion: v1
kind: Namespace
metadata: {name: argocd}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd}
data: {url: https://argocd.example.com}
`

// installed is what an installation is told besides what config/default says.
const installed = "--network-policy-enforced=true"

// manager is the operator's binary, built once for all tests.
var manager = sync.OnceValues(func() (string, error) { return operator.Build(context.Background(), binaries) })

// plugin is the command line, for kubectl to find.
var plugin = sync.OnceValues(func() (string, error) {
	return operator.BuildPackage(context.Background(), binaries, "kubectl-meshsecurity", "./cmd/kubectl-meshsecurity")
})

// binaries is the folder of what is built.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "docs-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(binaries); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// cluster is a control plane on which the pages' commands run.
type cluster struct {
	*controlplane.ControlPlane
	client     client.Client
	clientset  kubernetes.Interface
	kubeconfig string
	scratch    string // a folder that outlives the pages
	manager    string // the operator's binary
	kubelet    *kubelet
}

func newCluster(ctx context.Context, t *testing.T) *cluster {
	t.Helper()
	log.SetLogger(logr.Discard())
	c := &cluster{scratch: t.TempDir()}
	go func() { _, _ = manager() }() // while the API server starts
	istio, err := controlplane.IstioCRDs(ctx)
	must(t, err)
	own, err := controlplane.OperatorCRDs(ctx)
	must(t, err)
	// The operator's CRDs are there already, and the pages install them again:
	// the garbage collector learns of new ones only every 30 s.
	c.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{own, istio}})
	must(t, err)
	t.Cleanup(func() { must(t, c.Stop()) })
	c.manager, err = manager()
	must(t, err)
	_, err = plugin()
	must(t, err)

	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), controllers.AddToScheme(scheme)))
	c.client, err = client.New(c.Config(), client.Options{Scheme: scheme})
	must(t, err)
	c.clientset, err = kubernetes.NewForConfig(c.Config())
	must(t, err)
	c.kubeconfig, err = c.Kubeconfig("reader", "system:masters")
	must(t, err)
	c.kubelet = newKubelet(ctx, t, c)
	c.kubectl(ctx, t, standin.Istio+"---"+standin.Injector+"---"+argoCD, "apply", "--server-side", "-f", "-")
	c.waitForInjector(ctx, t)
	return c
}

// kubectl runs kubectl, which has to succeed.
func (c *cluster) kubectl(ctx context.Context, t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, c.KubectlPath(), args...)
	cmd.Dir = root
	cmd.Env = c.environment()
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *cluster) environment() []string {
	return append(os.Environ(),
		"KUBECONFIG="+c.kubeconfig,
		"KUBECACHEDIR="+filepath.Join(c.scratch, "cache"),
		"PATH="+filepath.Dir(c.KubectlPath())+":"+binaries+":"+os.Getenv("PATH"),
	)
}

// waitForInjector returns when a new admission policy is in force: some time
// after it is stored.
func (c *cluster) waitForInjector(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, c.CreateNamespace(ctx, "injected", map[string]string{"istio-injection": "enabled"}))
	must(t, controlplane.Eventually(ctx, func() error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "injected", Name: "probe"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}
		if err := c.client.Create(ctx, pod, client.DryRunAll); err != nil {
			return err
		}
		if len(pod.Spec.Containers) != 2 {
			return errors.New("a pod has no sidecar")
		}
		return nil
	}))
	must(t, c.client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "injected"}}))
}

// prepare brings the cluster into the state in which a page finds it.
func (c *cluster) prepare(ctx context.Context, t *testing.T) {
	t.Helper()
	c.install(ctx, t)
	must(t, c.client.DeleteAllOf(ctx, &v1alpha1.MeshSecurityBaseline{}))
	must(t, c.client.DeleteAllOf(ctx, &v1alpha1.MeshSecurityException{}))
	for _, ns := range shopNamespaces {
		// The operator lets them go once what was written for them is gone.
		c.kubectl(ctx, t, "", "-n", ns, "delete", "msp", "--all", "--ignore-not-found", "--timeout=60s")
	}
	for _, k := range mesh.ManagedKinds() {
		o, ok := k.New().(client.Object)
		if !ok {
			t.Fatalf("%s is no object", k.GVK)
		}
		for _, ns := range shopNamespaces {
			must(t, c.client.DeleteAllOf(ctx, o, client.InNamespace(ns)))
		}
	}
	c.shop(ctx, t)
}

// shop brings the sample shop up, unless it is there and as it was.
func (c *cluster) shop(ctx context.Context, t *testing.T) {
	t.Helper()
	var list appsv1.DeploymentList
	must(t, c.client.List(ctx, &list))
	here := 0
	for _, d := range list.Items {
		switch {
		case !slices.Contains(shopNamespaces, d.Namespace):
		case d.Generation == 1 && d.Status.AvailableReplicas > 0:
			here++
		default: // what a page changed of it would outlive the page
			c.kubectl(ctx, t, "", "-n", d.Namespace, "delete", "deployment", d.Name)
		}
	}
	if here == 6 {
		return
	}
	c.kubectl(ctx, t, "", "apply", "-f", "config/samples/shop.yaml")
	for _, ns := range shopNamespaces {
		c.kubectl(ctx, t, "", "-n", ns, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
	}
}

// install installs the operator as README.md does, or takes back what a page
// changed of it.
func (c *cluster) install(ctx context.Context, t *testing.T) {
	t.Helper()
	var d appsv1.Deployment
	err := c.client.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: operator.ServiceAccount}, &d)
	if apierrors.IsNotFound(err) {
		c.kubectl(ctx, t, "", "apply", "-k", "config/default")
		err = c.client.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: operator.ServiceAccount}, &d)
	}
	must(t, err)
	want := slices.DeleteFunc(slices.Clone(d.Spec.Template.Spec.Containers[0].Args), func(a string) bool {
		return strings.HasPrefix(a, "--network-policy-enforced") || strings.HasPrefix(a, "--cluster-cidrs")
	})
	want = append(want, installed)
	if slices.Equal(want, d.Spec.Template.Spec.Containers[0].Args) && *d.Spec.Replicas == 1 {
		return
	}
	d.Spec.Template.Spec.Containers[0].Args, *d.Spec.Replicas = want, 1
	must(t, c.client.Update(ctx, &d))
	c.kubectl(ctx, t, "", "-n", operator.Namespace, "rollout", "status", "deployment", operator.ServiceAccount, "--timeout=60s")
}

// kubelet reports pods as running. The operator's it really runs, as a process
// with the arguments of the container and the rights of its service account;
// only the addresses that it listens at are others, since many listen here.
type kubelet struct {
	*cluster

	mu      sync.Mutex
	running map[types.UID]*operator.Process
	stopped bool
	failed  []error
}

func newKubelet(ctx context.Context, t *testing.T, c *cluster) *kubelet {
	t.Helper()
	k := &kubelet{cluster: c, running: map[types.UID]*operator.Process{}}
	ctx, stop := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactory(c.clientset, 0)
	pods := factory.Core().V1().Pods().Informer()
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if p, ok := o.(*corev1.Pod); ok && p.Status.Phase == corev1.PodPending {
				go k.run(ctx, p)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if p, ok := o.(*corev1.Pod); ok {
				go k.end(ctx, p.UID)
			}
		},
	})
	must(t, err)
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		t.Fatal("pods can't be listed")
	}
	t.Cleanup(func() { // before the API server ends
		k.mu.Lock()
		k.stopped = true
		var left []types.UID
		for uid := range k.running {
			left = append(left, uid)
		}
		k.mu.Unlock()
		for _, uid := range left {
			k.end(ctx, uid)
		}
		stop()
		factory.Shutdown()
	})
	return k
}

const runs = `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`

func (k *kubelet) run(ctx context.Context, p *corev1.Pod) {
	if p.Labels["app.kubernetes.io/name"] == operator.ServiceAccount {
		if err := k.start(ctx, p); err != nil {
			k.fail(ctx, fmt.Errorf("the operator's pod: %w", err))
			return
		}
	}
	_, err := k.clientset.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, []byte(runs), metav1.PatchOptions{}, "status")
	if client.IgnoreNotFound(err) != nil {
		k.fail(ctx, fmt.Errorf("a pod can't be reported as running: %w", err))
	}
}

// fail keeps a problem, unless the test has ended.
func (k *kubelet) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	k.failed = append(k.failed, err)
	k.mu.Unlock()
}

func (k *kubelet) problems() []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// start runs the operator and returns when it is ready.
func (k *kubelet) start(ctx context.Context, p *corev1.Pod) error {
	config, err := k.ServiceAccountConfig(ctx, p.Namespace, p.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(k.scratch, p.Name+".kubeconfig")
	if err := operator.WriteKubeconfig(config, kubeconfig); err != nil {
		return err
	}
	probes, err := operator.FreeAddress()
	if err != nil {
		return err
	}
	metrics, err := operator.FreeAddress()
	if err != nil {
		return err
	}
	args := []string{"--leader-election-namespace=" + p.Namespace, "--operator-namespace=" + p.Namespace}
	for _, a := range p.Spec.Containers[0].Args {
		switch flag, _, _ := strings.Cut(a, "="); flag {
		case "--health-probe-bind-address":
			a = flag + "=" + probes
		case "--metrics-bind-address":
			a = flag + "=" + metrics
		}
		args = append(args, a)
	}
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return nil
	}
	process, err := operator.Start(k.manager, kubeconfig, filepath.Join(k.scratch, p.Name+".log"), args...)
	if err == nil {
		k.running[p.UID] = process
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	return controlplane.Eventually(ctx, func() error {
		err := ready(ctx, "http://"+probes+"/readyz")
		if err != nil && k.ended(p.UID) {
			return nil // another pod is in its place
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, process.Log())
		}
		return nil
	})
}

func (k *kubelet) ended(uid types.UID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running[uid] == nil
}

func ready(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

func (k *kubelet) end(ctx context.Context, uid types.UID) {
	k.mu.Lock()
	p := k.running[uid]
	delete(k.running, uid)
	k.mu.Unlock()
	if p == nil {
		return
	}
	if err := p.Stop(); err != nil {
		k.fail(ctx, fmt.Errorf("the operator's end: %w\n%s", err, p.Log()))
	}
}

// log is the last that the running operators have logged.
func (k *kubelet) log() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for _, p := range k.running {
		lines := strings.Split(strings.TrimSpace(p.Log()), "\n")
		out = append(out, lines[max(0, len(lines)-15):]...)
	}
	return strings.Join(out, "\n")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pause between two attempts at the same thing.
const pause = 100 * time.Millisecond
