package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
	"github.com/meshsecurity/mesh-security-operator/test/standin"
)

// profile has something of everything: it compiles to eight objects.
const profile = `
enforcementMode: Enforce
mutualTLS: {mode: Strict}
authorization:
  defaultAction: Deny
  rules:
  - name: callers
    workloadSelector: {matchLabels: {app: web}}
    from: [{entity: SameNamespace}]
    to: [{ports: [8080], methods: [GET], paths: ["/api/*"]}]
egress:
  defaultAction: Deny
  assurance: Network
  rules:
  - name: database
    to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]
logging: {accessLog: Denied}
`

// profiles is the kind of the profiles.
var profiles = wire.Resource{Group: "meshsecurity.io", Version: "v1alpha1", Resource: "meshsecurityprofiles"}

const (
	// objectsEach is what profile compiles to.
	objectsEach = 8
	// profileName is the name of the profile in each namespace.
	profileName = "main"
	// setters is how many requests are under way at a time while the scene is set.
	setters = 8
	// patience is for what takes far less on any machine.
	patience = 2 * time.Minute
)

// cluster is a control plane with namespaces, profiles and all that the
// operator needs.
type cluster struct {
	*controlplane.ControlPlane
	settings
	client         client.Client
	wire           *wire.Client
	dir            string
	kubeconfig     string // of the operator
	manager, floor string // binaries
	// enforced is when the operator began and ended to put the profiles in force.
	enforced [2]time.Time
}

func startCluster(ctx context.Context, s settings, dir string) (_ *cluster, err error) {
	c := &cluster{settings: s, dir: dir}
	if c.manager, c.floor, err = binaries(ctx, dir); err != nil {
		return nil, err
	}
	own, err := controlplane.OperatorCRDs(ctx)
	if err != nil {
		return nil, err
	}
	istio, err := controlplane.IstioCRDs(ctx)
	if err != nil {
		return nil, err
	}
	if c.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{own, istio}, GOGC: "800"}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), controllers.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if c.client, err = client.New(c.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if c.wire, err = wire.New(c.Config()); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{c.install, c.namespaces, c.enforce} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// install puts what config/default has into the cluster, and what stands for Istio.
func (c *cluster) install(ctx context.Context) error {
	root, err := operator.Root()
	if err != nil {
		return err
	}
	admin, err := c.Kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	env := []string{"KUBECONFIG=" + admin}
	if _, err := c.Kubectl(env, standin.Istio, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	if _, err := c.Kubectl(env, "", "apply", "--server-side", "-k", filepath.Join(root, "config/default")); err != nil {
		return err
	}
	// istiod's pod, made by the controller manager, runs: so a kubelet would say.
	if err := controlplane.Eventually(ctx, func() error {
		var pods corev1.PodList
		if err := c.client.List(ctx, &pods, client.InNamespace("istio-system"), client.MatchingLabels{"app": "istiod"}); err != nil || len(pods.Items) == 0 {
			return errors.Join(err, errors.New("istiod has no pod"))
		}
		pod := &pods.Items[0]
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		return c.client.Status().Update(ctx, pod)
	}); err != nil {
		return err
	}
	config, err := c.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	if err != nil {
		return err
	}
	c.kubeconfig = filepath.Join(c.dir, "operator.kubeconfig")
	return operator.WriteKubeconfig(config, c.kubeconfig)
}

func name(i int) string { return fmt.Sprintf("bench-%05d", i) }

// namespaces makes them, each with a workload and a service.
func (c *cluster) namespaces(ctx context.Context) error {
	return each(ctx, c.profiles, func(ctx context.Context, i int) error {
		if err := c.CreateNamespace(ctx, name(i), map[string]string{"istio-injection": "enabled"}); err != nil {
			return err
		}
		at := metav1.ObjectMeta{Namespace: name(i), Name: "web", Labels: map[string]string{"app": "web"}}
		return errors.Join(
			c.client.Create(ctx, &corev1.Pod{ObjectMeta: at, Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "app", Image: "registry.example.com/web", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
				{Name: "istio-proxy", Image: "registry.example.com/istio/proxyv2:1.31.1"},
			}}}),
			c.client.Create(ctx, &corev1.Service{ObjectMeta: at, Spec: corev1.ServiceSpec{
				Selector: at.Labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
			}}))
	})
}

// enforce lets the operator put a profile in force in every namespace.
func (c *cluster) enforce(ctx context.Context) error {
	began := time.Now()
	p, err := c.startOperator(ctx, "enforce")
	if err != nil {
		return err
	}
	if _, err = c.createProfiles(ctx); err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(p))
	}
	c.enforced = [2]time.Time{began, time.Now()}
	return errors.Join(err, p.Stop())
}

// createProfiles returns when all are in force, and how long that took.
func (c *cluster) createProfiles(ctx context.Context) (time.Duration, error) {
	var spec v1alpha1.MeshSecurityProfileSpec
	if err := yaml.UnmarshalStrict([]byte(profile), &spec); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, version, err := c.wire.List(ctx, profiles, "")
	if err != nil {
		return 0, err
	}
	waiting := map[string]bool{}
	for i := range c.profiles {
		waiting[name(i)] = true
	}
	all := make(chan time.Time, 1)
	ended, err := c.wire.Watch(ctx, profiles, "", version, func(e wire.Event) {
		if len(waiting) > 0 && e.Type == "MODIFIED" && isReady(e.Object.Status) {
			if delete(waiting, e.Object.Metadata.Namespace); len(waiting) == 0 {
				all <- time.Now()
			}
		}
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := each(ctx, c.profiles, func(ctx context.Context, i int) error {
		return c.client.Create(ctx, &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: name(i), Name: profileName}, Spec: spec})
	}); err != nil {
		return 0, err
	}
	select {
	case at := <-all:
		return at.Sub(began), nil
	case err := <-ended:
		return 0, errors.Join(errors.New("not all profiles came into force"), err, ctx.Err())
	}
}

func isReady(status []byte) bool {
	var s struct{ Conditions []metav1.Condition }
	return json.Unmarshal(status, &s) == nil && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady)
}

// startOperator returns when the operator is ready and has looked at everything.
func (c *cluster) startOperator(ctx context.Context, name string, args ...string) (*operator.Process, error) {
	args = append([]string{"--network-policy-enforced=true"}, args...)
	if c.workers != 0 {
		args = append(args, fmt.Sprintf("--workers=%d", c.workers))
	}
	if c.pprof != "" {
		args = append(args, "--pprof-bind-address="+c.pprof)
	}
	return c.start(ctx, c.manager, "operator-"+name, args...)
}

// startFloor returns when the floor has read everything.
func (c *cluster) startFloor(ctx context.Context, args ...string) (*operator.Process, error) {
	return c.start(ctx, c.floor, "floor-"+args[0], args...)
}

func (c *cluster) start(ctx context.Context, binary, name string, args ...string) (*operator.Process, error) {
	p, _, err := c.startTimed(ctx, binary, name, args...)
	if err != nil {
		return nil, err
	}
	if err := quiet(ctx, p); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// startTimed returns as soon as the program is ready, and how long that took.
func (c *cluster) startTimed(ctx context.Context, binary, name string, args ...string) (*operator.Process, time.Duration, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	p, err := operator.Start(binary, c.kubeconfig, filepath.Join(c.dir, name+".log"), append([]string{"--health-probe-bind-address=" + address}, args...)...)
	if err != nil {
		return nil, 0, err
	}
	err = eventually(ctx, name+" is ready", func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
	took := time.Since(began)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w\n%s", err, tail(p)), p.Stop())
	}
	return p, took, nil
}

// freeAddress is one on loopback that nobody listens at now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// quiet waits until a program has nothing to do any more: what it does at its
// start is no part of what is measured then.
func quiet(ctx context.Context, p *operator.Process) error {
	const pause = 100 * time.Millisecond // ten ticks of the processor's account
	before, err := p.CPU()
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, pause, patience, false, func(context.Context) (bool, error) {
		now, err := p.CPU()
		idle := now == before
		before = now
		return idle, err
	})
}

func tail(p *operator.Process) string {
	lines := strings.Split(p.Log(), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// eventually asks until the answer is yes.
func eventually(ctx context.Context, what string, ask func() (bool, error)) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 2*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		var ok bool
		ok, last = ask()
		return ok && last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waited in vain until %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// each does something for every number below n, several at a time.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	numbers := make(chan int)
	errs := make([]error, setters)
	var wg sync.WaitGroup
	for w := range setters {
		wg.Go(func() {
			for i := range numbers {
				if errs[w] == nil {
					if errs[w] = do(ctx, i); errs[w] != nil {
						cancel()
					}
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	return errors.Join(errs...)
}
