package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// inside is set in the environment of a program in the namespaces, to its folder.
const inside = "MESH_STAGE"

// namespaces of mounts, processes and the network: what is in them ends with
// the first process in them, however that ends.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC

// netns is where iproute2 keeps named network namespaces.
const netns = "/run/netns"

// Enter runs the program once more in namespaces of its own, and ends with its
// exit code. It returns in that second run alone, with a folder. Prepare, which
// may use the network and fill the folder, is called before.
func Enter(prepare func(dir string) error) (dir string, err error) {
	if dir := os.Getenv(inside); dir != "" {
		return dir, settleIn(dir)
	}
	code, err := outside(prepare)
	if err != nil {
		return "", err
	}
	os.Exit(code)
	return "", nil
}

func outside(prepare func(dir string) error) (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("network namespaces and traffic capture need root: run it as root, or in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
	dir, err := os.MkdirTemp("", "mesh-stage-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // proxies and workloads have their own users
		return 0, err
	}
	if _, err := os.Stat(netns); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(netns, 0o755); err != nil { //nolint:gosec // as iproute2 makes it
			return 0, err
		}
		defer func() { _ = os.Remove(netns) }() // empty, unless somebody uses it by now
	}
	if err := prepare(dir); err != nil {
		return 0, err
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+dir, "TMPDIR="+work(dir))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Death of the thread that started it counts as this program's.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make namespaces: %w; in a container this needs CAP_SYS_ADMIN and CAP_NET_ADMIN", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-signals:
		_, _ = cmd.Process.Kill(), <-done // killed, unless it ended before
		return 130, nil
	case err := <-done:
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return max(1, exit.ExitCode()), nil
		}
		return 0, err
	}
}

// work is the part of the folder that is in memory, and ends with the namespaces.
func work(dir string) string { return filepath.Join(dir, "work") }

// settleIn makes the namespaces a place to work in.
func settleIn(dir string) error {
	if err := os.Mkdir(work(dir), 0o755); err != nil { //nolint:gosec // proxies and workloads have their own users
		return err
	}
	resolve := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolve, []byte("nameserver "+hub+"\n"), 0o644); err != nil { //nolint:gosec // read by every user
		return err
	}
	// In which a name that the machine's own file links to is found.
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", netns, "tmpfs", 0},
		{"tmpfs", work(dir), "tmpfs", 0},
		{resolve, target, "", syscall.MS_BIND},
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}
