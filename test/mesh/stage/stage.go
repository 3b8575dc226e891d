package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// patience is how long anything here may take. Nothing takes nearly as long
// where it works.
const patience = 60 * time.Second

// Options of a stage.
type Options struct {
	// Dir is what Enter returned.
	Dir string
	// Assets has the programs that hack/mesh-assets.sh provides.
	Assets string
	// Operator is the operator's binary, and Root the folder of its module.
	Operator, Root string
	// Scheme has the types that Client is to know.
	Scheme *runtime.Scheme
	// Hosts are names outside of the cluster; all are of one host.
	Hosts []string
}

// Stage is a mesh that runs.
type Stage struct {
	// Client is an administrator's.
	Client client.Client

	Options
	plane      *controlplane.ControlPlane
	kubeconfig string
	logs       string
	links      int
	processes  []*process
	operator   *operator.Process
	pods       map[string]*Pod
	barriers   int
	// installed is the mesh configuration that Istio was installed with, and
	// settings what was added to it.
	installed, settings string
}

// Set brings up a network, a control plane, istiod and the operator. Nothing
// has to be stopped: all of it ends with the namespaces that Enter made.
func Set(ctx context.Context, o Options) (*Stage, error) {
	o.Dir = work(o.Dir)
	s := &Stage{Options: o, logs: filepath.Join(o.Dir, "logs"), pods: map[string]*Pod{}}
	if err := os.Mkdir(s.logs, 0o755); err != nil { //nolint:gosec // nothing secret
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		func(context.Context) error { return network() },
		func(context.Context) error { return s.share() },
		func(context.Context) error { return s.serveNames() },
		s.startPlane, s.startIstiod, s.startOperator,
	} {
		if err := step(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// share makes programs readable for the users of proxies and workloads.
func (s *Stage) share() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.Dir, "bin"), 0o755); err != nil { //nolint:gosec // that is what it is for
		return err
	}
	for name, source := range map[string]string{
		"envoy": "", "envoy_bootstrap.json": "", "pilot-agent": "", "workload": self,
	} {
		if source == "" {
			if source, err = filepath.EvalSymlinks(filepath.Join(s.Assets, name)); err != nil {
				return err
			}
		}
		target := s.bin(name)
		if err := os.WriteFile(target, nil, 0o755); err != nil { //nolint:gosec // that is what it is for
			return err
		}
		if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return nil
}

func (s *Stage) bin(name string) string { return filepath.Join(s.Dir, "bin", name) }

func (s *Stage) startPlane(ctx context.Context) error {
	istio, err := controlplane.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	own, err := controlplane.OperatorCRDs(ctx)
	if err != nil {
		return err
	}
	s.plane, err = controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{own, istio}})
	if err != nil {
		return err
	}
	if s.kubeconfig, err = s.plane.Kubeconfig("admin", "system:masters"); err != nil {
		return err
	}
	s.Client, err = client.New(s.plane.Config(), client.Options{Scheme: s.Scheme})
	return err
}

// Kubectl runs kubectl as an administrator, with text on its standard input.
func (s *Stage) Kubectl(stdin string, args ...string) (string, error) {
	return s.plane.Kubectl([]string{"KUBECONFIG=" + s.kubeconfig}, stdin, args...)
}

// Apply applies YAML.
func (s *Stage) Apply(yaml string) error {
	_, err := s.Kubectl(yaml, "apply", "--server-side", "-f", "-")
	return err
}

// account writes a kubeconfig of a service account, and returns its path.
func (s *Stage) account(ctx context.Context, namespace, name string) (string, error) {
	config, err := s.plane.ServiceAccountConfig(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Dir, name+".kubeconfig")
	return path, operator.WriteKubeconfig(config, path)
}

func (s *Stage) startOperator(ctx context.Context) error {
	if _, err := s.Kubectl("", "apply", "--server-side", "-k", filepath.Join(s.Root, "config/default")); err != nil {
		return err
	}
	kubeconfig, err := s.account(ctx, operator.Namespace, operator.ServiceAccount)
	if err != nil {
		return err
	}
	// Nothing here enforces NetworkPolicy.
	s.operator, err = operator.Start(s.Operator, kubeconfig, filepath.Join(s.logs, "operator.log"),
		"--network-policy-enforced=false", "--operator-namespace="+operator.Namespace)
	return err
}

// Eventually calls check until it returns nil, and then returns what it was
// waited for with the last error where that never was.
func (s *Stage) Eventually(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		for _, p := range s.processes {
			if err := p.alive(); err != nil {
				return false, err
			}
		}
		err := check(ctx)
		if ctx.Err() == nil { // else it says no more than that
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// Logs are the last lines of every program's log.
func (s *Stage) Logs(lines int) string {
	var out strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.logs, "*.log")) // the pattern is valid
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte(err.Error())
		}
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&out, "--- %s\n%s\n", filepath.Base(f), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return out.String()
}

// KeepConfiguration puts what a pod's proxy works by beside the logs, under a name.
func (s *Stage) KeepConfiguration(ctx context.Context, p *Pod, name string) error {
	if !p.Meshed {
		return nil
	}
	for file, what := range map[string]string{".json": "config_dump?include_eds", ".stats": "stats"} {
		body, err := p.Fetch(ctx, admin+what)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.logs, name+"-"+strings.ReplaceAll(p.Name, "/", "-")+file), body, 0o644); err != nil { //nolint:gosec // nothing secret
			return err
		}
	}
	return nil
}

// KeepLogs copies every log to a folder outside of the stage.
func (s *Stage) KeepLogs(to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(s.logs))
}
