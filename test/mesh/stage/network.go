package stage

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Addresses. Pods are on a bridge; the hub, where the API server and istiod are,
// has a leg there and one outside of the cluster. Both networks exist in the
// stage's own namespace alone.
const (
	hub         = "10.244.0.1"
	podPrefix   = "10.244.0."
	outsideHub  = "203.0.113.1"
	outsideHost = "203.0.113.10"
	bridge      = "br0"
)

// command runs a program; an error has what it printed.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// commands runs one program several times, with arguments separated by blanks.
func commands(name string, lines ...string) error {
	for _, line := range lines {
		if err := command(name, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// network makes the hub's side.
func network() error {
	for name, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/disable_ipv6": "1"} {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return commands("ip",
		"link set lo up",
		"link add "+bridge+" type bridge",
		"address add "+hub+"/16 dev "+bridge,
		"link set "+bridge+" up",
		// The API server looks for its own address at the default route.
		"route add default dev "+bridge,
	)
}

// attach makes a network namespace with one interface. On the bridge it is a
// pod's, else the one outside of the cluster.
func (s *Stage) attach(name, address string, pod bool) error {
	s.links++
	link := fmt.Sprintf("veth%d", s.links)
	lines := []string{
		"netns add " + name,
		"link add " + link + " type veth peer name eth0 netns " + name,
		"-n " + name + " link set lo up",
	}
	gateway := hub
	if pod {
		lines = append(lines, "link set "+link+" master "+bridge+" up", "-n "+name+" address add "+address+"/16 dev eth0")
	} else {
		gateway = outsideHub
		lines = append(lines, "address add "+outsideHub+"/24 dev "+link, "link set "+link+" up", "-n "+name+" address add "+address+"/24 dev eth0")
	}
	return commands("ip", append(lines, "-n "+name+" link set eth0 up", "-n "+name+" route add default via "+gateway)...)
}

// as is a command in a network namespace by a user, with no more environment
// than is given.
func as(namespace string, user int, env []string, program string, args ...string) *exec.Cmd {
	id := fmt.Sprint(user)
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", program}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}
