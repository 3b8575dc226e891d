package gitops

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// manager is what Argo CD writes as.
	manager = "argocd-controller"
	// The two ways in which Argo CD marks what is its own.
	trackingLabel      = "app.kubernetes.io/instance"
	trackingAnnotation = "argocd.argoproj.io/tracking-id"
)

// cluster is an API server with our CRDs and Istio's, and what Argo CD has of
// it. No controller manager runs, and the operator not before it is started.
type cluster struct {
	client   client.Client
	config   *rest.Config
	dir      string // of the operator's files
	resource kube.ResourceOperations
	parser   *managedfields.GvkParser
	dryRun   diff.ServerSideDryRunner
	kubectl  *kube.KubectlCmd
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	kubectl(t) // says what is missing
	log.SetLogger(logr.Discard())
	out, err := command(t, "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	must(t, err)
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{
			root + "/config/crd/bases",
			filepath.Join(strings.TrimSpace(string(out)), "kubernetes/customresourcedefinitions.gen.yaml"),
		},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: 2 * time.Minute, // on a machine that compiles
	}
	config, err := env.Start()
	t.Cleanup(func() { must(t, env.Stop()) })
	must(t, err)
	config.QPS = -1
	c := &cluster{config: config, dir: t.TempDir()}
	c.client, err = client.New(config, client.Options{})
	must(t, err)
	must(t, os.WriteFile(c.dir+"/kubeconfig", env.KubeConfig, 0o600))

	c.kubectl = &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	schemas, parser, err := c.kubectl.LoadOpenAPISchema(config)
	must(t, err)
	c.parser = parser
	resource, done, err := c.kubectl.ManageResources(config, schemas)
	must(t, err)
	t.Cleanup(done)
	c.resource = resource
	applier, done, err := kube.ManageServerSideDiffDryRuns(config, schemas, tracing.NopTracer{}, logr.Discard(), nil)
	must(t, err)
	t.Cleanup(done)
	c.dryRun = diff.NewK8sServerSideDryRunner(applier)
	return c
}

// command runs in the operator's module.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	return cmd
}

// operate builds and runs the operator until the test ends.
func (c *cluster) operate(t *testing.T) {
	t.Helper()
	must(t, command(t, "go", "build", "-trimpath", "-o", c.dir+"/manager", ".").Run())
	out, err := os.Create(c.dir + "/manager.log")
	must(t, err)
	cmd := exec.Command(c.dir+"/manager", "--operator-namespace=mesh-security-system", "--network-policy-enforced=true")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.dir+"/kubeconfig")
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		err := <-ended
		if err != nil || t.Failed() {
			lines := strings.Split(string(read(t, c.dir+"/manager.log")), "\n")
			t.Logf("the operator ended with %v, and says:\n%s", err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
		must(t, out.Close())
	})
}

// tracked is an object as Argo CD applies it.
func tracked(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[trackingLabel] = "mesh-security"
	annotations[trackingAnnotation] = "mesh-security:" + group + "/" + o.GetKind() + ":" + o.GetNamespace() + "/" + o.GetName()
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	return o
}

func (c *cluster) apply(t *testing.T, o *unstructured.Unstructured, serverSide bool) {
	t.Helper()
	if _, err := c.resource.ApplyResource(t.Context(), o, cmdutil.DryRunNone, false, true, serverSide, manager); err != nil {
		t.Fatalf("%s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
}

// live is an object as it is in the cluster.
func (c *cluster) live(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(o.GroupVersionKind())
	must(t, c.client.Get(t.Context(), client.ObjectKeyFromObject(o), out))
	return out
}

func (c *cluster) there(t *testing.T, o *unstructured.Unstructured) bool {
	t.Helper()
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(o.GroupVersionKind())
	err := c.client.Get(t.Context(), client.ObjectKeyFromObject(o), out)
	must(t, client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	ns := object("v1", "Namespace", "", name)
	ns.SetLabels(map[string]string{"istio-injection": "enabled"})
	must(t, c.client.Create(t.Context(), ns))
}

func object(version, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// written is what the operator wrote into a namespace.
func (c *cluster) written(t *testing.T, namespace string) (out []unstructured.Unstructured) {
	t.Helper()
	for _, k := range []schema.GroupVersionKind{
		{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}, {Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"},
		{Group: "networking.istio.io", Version: "v1", Kind: "Sidecar"}, {Group: "networking.istio.io", Version: "v1", Kind: "ServiceEntry"},
		{Group: "telemetry.istio.io", Version: "v1", Kind: "Telemetry"}, {Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k)
		must(t, c.client.List(t.Context(), list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "mesh-security-operator"}))
		out = append(out, list.Items...)
	}
	return out
}

// eventually waits for the operator, which another process runs.
func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ready() {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two looks, with a deadline
	}
}

// settled waits until the operator has said all that it has to say of an object.
func (c *cluster) settled(t *testing.T, o *unstructured.Unstructured, want string) {
	t.Helper()
	var got string
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		h := argo(t, c.live(t, o))
		if got = string(h.Status); got == want {
			return
		}
		if errors.Is(deadline.Err(), context.DeadlineExceeded) {
			t.Fatalf("%s %s is %s (%s), want %s", o.GetKind(), o.GetName(), got, h.Message, want)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two looks, with a deadline
	}
}

// watched is Argo CD's view of the cluster, which takes for its own what has its label.
func (c *cluster) watched(t *testing.T) cache.ClusterCache {
	t.Helper()
	return cache.NewClusterCache(c.config, cache.SetLogr(logr.Discard()), cache.SetPopulateResourceInfoHandler(
		func(o *unstructured.Unstructured, _ bool) (any, bool) {
			_, labelled := o.GetLabels()[trackingLabel]
			_, annotated := o.GetAnnotations()[trackingAnnotation]
			return labelled || annotated, labelled || annotated
		}))
}
