package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout bounds the start of each component and the wait for the first
// service account: about 4 s when idle, much more on a machine that compiles.
const startTimeout = 2 * time.Minute

// Options of a control plane; the zero value is a complete one without CRDs.
type Options struct {
	// AssetsDir has etcd, kube-apiserver, kube-controller-manager and kubectl.
	// Absent: KUBEBUILDER_ASSETS.
	AssetsDir string
	// CRDPaths are files and folders of CRDs to install, before the controller
	// manager starts: its garbage collector learns of later ones only every 30 s.
	CRDPaths []string
	// NoControllerManager leaves it out: no service account, no garbage
	// collection, no namespace deletion. The ServiceAccount admission plugin,
	// which would refuse every Pod, is off as well.
	NoControllerManager bool
	// GOGC is the variable of that name in the environment of every program;
	// absent: as it is here. The programs of a large cluster have large heaps and
	// collect garbage seldom; here each collection takes both of two CPUs for a
	// third of a second, several times a minute.
	GOGC string
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	env         *envtest.Environment
	admin       *rest.Config
	client      client.Client
	manager     *process
	assets, dir string
	marker      int
}

// Start returns when the API server is ready, the CRDs are established and the
// controller manager works. The context bounds the start alone; call Stop.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	assets, err := findAssets(options)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mesh-security-control-plane-")
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{assets: assets, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()

	if options.GOGC != "" {
		// envtest gives its programs the environment that it has itself.
		before, set := os.LookupEnv("GOGC")
		if err := os.Setenv("GOGC", options.GOGC); err != nil {
			return nil, err
		}
		defer func() {
			if set {
				err = errors.Join(err, os.Setenv("GOGC", before))
			} else {
				err = errors.Join(err, os.Unsetenv("GOGC"))
			}
		}()
	}
	if err := c.startAPIServer(options); err != nil {
		return nil, err
	}
	if !options.NoControllerManager {
		if err := c.startControllerManager(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// findAssets returns the folder of programs, once all that are needed are there.
func findAssets(options Options) (string, error) {
	assets := options.AssetsDir
	if assets == "" {
		assets = os.Getenv("KUBEBUILDER_ASSETS")
	}
	const remedy = "`make test` provides all of it, and so does `export KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS= hack/control-plane.sh)`"
	if assets == "" {
		return "", errors.New("no control plane: KUBEBUILDER_ASSETS is not set; " + remedy)
	}
	programs := []string{"etcd", "kube-apiserver"}
	if !options.NoControllerManager {
		programs = append(programs, "kube-controller-manager")
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(assets, program)); err != nil {
			return "", fmt.Errorf("control plane %s has no %s: %w; %s", assets, program, err, remedy)
		}
	}
	return assets, nil
}

func (c *ControlPlane) startAPIServer(options Options) error {
	apiServer := &envtest.APIServer{Path: c.program("kube-apiserver"), CertDir: c.path("pki")}
	etcd := &envtest.Etcd{Path: c.program("etcd"), DataDir: c.path("etcd")}
	for _, dir := range []string{apiServer.CertDir, etcd.DataDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	args := apiServer.Configure()
	args.Set("audit-policy-file", c.path("audit-policy.yaml"))
	args.Set("audit-log-path", c.path("audit.log"))
	args.Set("audit-log-mode", "blocking")
	args.Set("audit-log-maxsize", "100000") // MB: a rotated log would lose requests
	args.Set("endpoint-reconciler-type", "none")
	if !options.NoControllerManager {
		// On as in any cluster: it fills in a Pod's service account.
		args.Disable("disable-admission-plugins")
	}
	// One member has nobody to wait for.
	etcd.Configure().Set("heartbeat-interval", "10").Set("election-timeout", "100")

	c.env = &envtest.Environment{
		ControlPlane:             envtest.ControlPlane{APIServer: apiServer, Etcd: etcd, KubectlPath: c.program("kubectl")},
		ControlPlaneStartTimeout: startTimeout,
		CRDDirectoryPaths:        options.CRDPaths,
		ErrorIfCRDPathMissing:    true,
		CRDInstallOptions:        envtest.CRDInstallOptions{MaxTime: startTimeout},
	}
	config, err := c.env.Start()
	if err != nil {
		return err
	}
	c.admin = rest.CopyConfig(config)
	c.admin.QPS = -1
	c.client, err = client.New(c.Config(), client.Options{})
	return err
}

func (c *ControlPlane) startControllerManager(ctx context.Context) error {
	// With its own name in the audit log; the role of that name alone is not
	// enough for every controller.
	kubeconfig, err := c.Kubeconfig("system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("pki", "ca.crt"), c.admin.CAData, 0o600); err != nil {
		return err
	}
	c.manager, err = startProcess(c.path("kube-controller-manager.log"), c.program("kube-controller-manager"),
		"--kubeconfig="+kubeconfig,
		"--leader-elect=false", "--secure-port=0", "--controller-start-interval=0s",
		"--service-account-private-key-file="+c.path("pki", "sa-signer.key"),
		"--root-ca-file="+c.path("pki", "ca.crt"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
	)
	if err != nil {
		return err
	}
	return c.WaitForServiceAccount(ctx, metav1.NamespaceDefault, "default")
}

// Stop ends all programs and removes their files. It may be called again.
func (c *ControlPlane) Stop() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, c.manager.stop())
	}
	if c.env != nil {
		// The API server first: without etcd it does not end by itself.
		errs = append(errs, c.env.Stop())
	}
	c.manager, c.env = nil, nil
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Config is a cluster administrator's, without a client-side rate limit.
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.admin) }

// Dir is the folder of the control plane's own files and logs, gone after Stop.
func (c *ControlPlane) Dir() string { return c.dir }

// KubectlPath is where kubectl is, which AssetsDir may lack.
func (c *ControlPlane) KubectlPath() string { return c.program("kubectl") }

// Kubectl runs kubectl with text on its standard input, and variables added to
// the environment, KUBECONFIG=PATH at the least. It returns what kubectl
// printed; the error has that too.
func (c *ControlPlane) Kubectl(env []string, stdin string, args ...string) (string, error) {
	cmd := exec.Command(c.KubectlPath(), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// User makes a user of these groups with no rights but what RBAC grants, and
// returns its configuration, also as a kubeconfig.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, []byte, error) {
	user, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return nil, nil, err
	}
	kubeconfig, err := user.KubeConfig()
	return user.Config(), kubeconfig, err
}

// Kubeconfig makes a user and writes its kubeconfig to a file in Dir.
func (c *ControlPlane) Kubeconfig(name string, groups ...string) (string, error) {
	_, kubeconfig, err := c.User(name, groups...)
	if err != nil {
		return "", err
	}
	path := c.path(filepath.Base(name) + ".kubeconfig")
	return path, os.WriteFile(path, kubeconfig, 0o600)
}

// ServiceAccountConfig authenticates as a service account that exists, by a
// token that the API server issues for a day.
func (c *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	seconds := int64((24 * time.Hour).Seconds())
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := c.client.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("requesting a token of service account %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token.Status.Token
	return config, nil
}

// CreateNamespace also waits for the default service account, without which
// Pods are refused.
func (c *ControlPlane) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := c.client.Create(ctx, namespace); err != nil {
		return err
	}
	return c.WaitForServiceAccount(ctx, name, "default")
}

// WaitForServiceAccount returns when the service account exists.
func (c *ControlPlane) WaitForServiceAccount(ctx context.Context, namespace, name string) error {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		if c.manager != nil {
			if err := c.manager.exited(); err != nil {
				return false, err
			}
		}
		err := c.client.Get(ctx, key, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("waiting for service account %s: %w", key, err)
	}
	return nil
}

// DeleteNamespace also waits until the namespace is gone: 5 s at least, which
// is the namespace controller's own delay.
func (c *ControlPlane) DeleteNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.client.Delete(ctx, namespace); client.IgnoreNotFound(err) != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		err := c.client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the end of namespace %s: %w", name, err)
	}
	return nil
}

// Eventually calls check until it returns nil, for 30 s at most, and then
// returns its last error.
func Eventually(ctx context.Context, check func() error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	return errors.Join(err, last)
}

func (c *ControlPlane) program(name string) string { return filepath.Join(c.assets, name) }

func (c *ControlPlane) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}
