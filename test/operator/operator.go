// Package operator builds the operator's binary and runs it against a control
// plane, as it will run: as its own service account, with the rights that
// config/ grants and no others.
package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Namespace and ServiceAccount are what config/default gives the operator.
const (
	Namespace      = "mesh-security-system"
	ServiceAccount = "mesh-security-operator"
)

// User is the operator's name in the API server's audit log.
const User = "system:serviceaccount:" + Namespace + ":" + ServiceAccount

// module is the product's.
const module = "github.com/meshsecurity/mesh-security-operator"

// Root is the folder of the product's module, also where a test is of another module.
func Root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Build compiles the operator into dir and returns the binary's path.
func Build(ctx context.Context, dir string) (string, error) {
	return BuildPackage(ctx, dir, "manager", ".")
}

// BuildPackage compiles a program of the module into dir, under a name.
func BuildPackage(ctx context.Context, dir, name, pkg string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// WriteKubeconfig writes a kubeconfig for a configuration that authenticates by token.
func WriteKubeconfig(config *rest.Config, path string) error {
	kc := clientcmdapi.NewConfig()
	kc.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kc.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kc.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	kc.CurrentContext = "x"
	return clientcmd.WriteToFile(*kc, path)
}

// Process is a running operator.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan error
}

// Start runs the binary; its log goes to the file.
func Start(binary, kubeconfig, log string, args ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the process has its own
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = f, f
	// A signal to the terminal's whole group is for the test, which stops the operator itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, log: log, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// Stop asks the operator to end, as Kubernetes does, and waits until it has.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-time.After(30 * time.Second): // longer than the operator's own limit
		return errors.Join(errors.New("the operator did not end in 30 s"), p.cmd.Process.Kill())
	}
}

// Kill ends the operator at once, as a node does that fails, and waits until it has.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	var killed *exec.ExitError // by the signal, which is what was asked for
	if err := <-p.done; err != nil && !errors.As(err, &killed) {
		return err
	}
	return nil
}

// Log is what the operator has logged.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// CPU is the processor time that the operator has taken so far, to 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything; user and system time are the
	// 12th and the 13th field after it, in ticks of which there are always 100 a second.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("no processor time")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// ResidentMiB is the memory that the operator holds now.
func (p *Process) ResidentMiB() (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// FreeAddress is one on loopback at which nobody listens now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
