package mesh

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
)

const casesDir = "testdata/cases"

// outcome is what becomes of a call. Each is told by evidence of its own, so
// that a call which fails for another reason is none of them.
type outcome string

const (
	// passes: the workload that was meant answered, and was told by its proxy who called.
	passes outcome = "passes"
	// denied: the workload's proxy said so, or, by TCP, closed the connection and counted it as denied.
	denied outcome = "denied"
	// refused: the workload's proxy took no plaintext.
	refused outcome = "refused"
	// blocked: the caller's own proxy did not let it out.
	blocked outcome = "blocked"
)

var outcomes = []outcome{passes, denied, refused, blocked}

// call is one entry of a case's calls, for one caller.
type call struct {
	// From is NAMESPACE/POD, or the host outside.
	From string
	// To is NAMESPACE/POD:PORT, the port being the container's, or HOST:PORT.
	To string
	// Protocol is by the port's kind where it is empty: HTTP/1.1, gRPC, TCP or TLS.
	Protocol traffic.Protocol
	// Method and Path of HTTP are GET and / where they are empty, and Host the
	// name of the service.
	Method, Path, Host string
	// Token is the name of one of the suite's tokens.
	Token string
	// Direct calls the pod's address, as no client does that knows the service:
	// its proxy does not know whom it calls, and uses no mutual TLS.
	Direct bool
	// Expect is empty where no case says what becomes of it.
	Expect outcome
	// Shadow is what a policy that is only evaluated would have done: denied or
	// passes. Empty: nobody looks.
	Shadow outcome
}

// entry is a call of several callers.
type entry struct {
	From     []string         `json:"from"`
	To       string           `json:"to"`
	Protocol traffic.Protocol `json:"protocol"`
	Method   string           `json:"method"`
	Path     string           `json:"path"`
	Host     string           `json:"host"`
	Token    string           `json:"token"`
	Direct   bool             `json:"direct"`
	Expect   outcome          `json:"expect"`
	Shadow   outcome          `json:"shadow"`
}

// claims are what a profile's status says. What is not named is not compared,
// but for drift.
type claims struct {
	// Conditions by their type, as STATUS or STATUS/REASON.
	Conditions map[string]string `json:"conditions"`
	// Rules by their name: the verdict.
	Rules map[string]string `json:"rules"`
	// Drift as TYPE RESOURCE EFFECT.
	Drift []string `json:"drift"`
	// anyDrift: drift is not compared.
	anyDrift bool
}

// scenario is a case as its folder has it.
type scenario struct {
	name            string
	objects, tamper string
	// mesh is what is added to the mesh configuration.
	mesh string
	// About says what the case is for.
	About  string  `json:"about"`
	Status claims  `json:"status"`
	Calls  []entry `json:"calls"`
}

// calls are one for each caller.
func (c *scenario) calls() (out []call) {
	for _, e := range c.Calls {
		for _, from := range e.From {
			out = append(out, call{from, e.To, e.Protocol, e.Method, e.Path, e.Host, e.Token, e.Direct, e.Expect, e.Shadow})
		}
	}
	return out
}

// groups are the objects in the order in which they are made, a second apart: what
// is before the profile, the profile, and what is after it.
func (c *scenario) groups(t *testing.T) (out []string) {
	t.Helper()
	docs, err := stage.Documents([]byte(c.objects))
	if err != nil {
		t.Fatal(err)
	}
	isProfile := func(doc string) bool { return strings.Contains(doc, "kind: "+v1alpha1.KindProfile+"\n") }
	at := slices.IndexFunc(docs, isProfile)
	for _, group := range [][]string{docs[:at], docs[at : at+1], docs[at+1:]} {
		if len(group) > 0 {
			out = append(out, strings.Join(group, "---\n"))
		}
	}
	return out
}

func readCases(t *testing.T) (out []scenario) {
	t.Helper()
	dirs, err := filepath.Glob(casesDir + "/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases in %s: %v", casesDir, err)
	}
	for _, dir := range dirs {
		text := map[string]string{}
		files, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text[filepath.Base(file)] = withKeys(string(raw))
		}
		c := scenario{name: filepath.Base(dir), objects: text["objects.yaml"], tamper: text["tamper.yaml"], mesh: text["mesh.yaml"]}
		if err := yaml.UnmarshalStrict([]byte(text["calls.yaml"]), &c); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		delete(text, "tamper.yaml")
		delete(text, "mesh.yaml")
		if len(text) != 2 || c.objects == "" || len(c.Calls) == 0 {
			t.Fatalf("%s: a case has calls.yaml, objects.yaml and maybe tamper.yaml and mesh.yaml, and no other file", dir)
		}
		for _, call := range c.calls() {
			if !slices.Contains(outcomes, call.Expect) {
				t.Fatalf("%s: outcome %q", dir, call.Expect)
			}
		}
		out = append(out, c)
	}
	return out
}

func (c call) String() string {
	text := fmt.Sprintf("%s → %s", c.From, c.To)
	if c.Protocol != "" {
		text += " " + string(c.Protocol)
	}
	for _, part := range []string{c.Method, c.Path} {
		if part != "" {
			text += " " + part
		}
	}
	if c.Host != "" {
		text += " for " + c.Host
	}
	if c.Token != "" {
		text += " with token " + c.Token
	}
	if c.Direct {
		text += " by address"
	}
	return text
}

// route is how a call is made on a stage.
type route struct {
	call
	from, to *stage.Pod
	// port is the container's, and service the port that the caller asks for.
	port, service int32
	// name is the service's, or the host's outside of the cluster.
	name    string
	address string
	// kind of what listens.
	kind string
}

// routeOf finds the way from a caller: one with a proxy calls the service, as
// its proxy knows no pods; others call the pod.
func routeOf(s *stage.Stage, services []corev1.Service, c call) (route, error) {
	target, number, err := net.SplitHostPort(c.To)
	if err != nil {
		return route{}, err
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return route{}, err
	}
	r := route{call: c, from: s.Pods()[c.From], to: s.Pods()[target], port: int32(n), service: int32(n), name: target}
	if r.from == nil {
		return r, fmt.Errorf("nobody is called %s", c.From)
	}
	if r.to == nil && slices.Contains(hosts, target) {
		r.to = s.Pods()[outsider]
		r.kind = map[int32]string{80: "http", 443: "tls", 5432: "tcp"}[r.port]
		r.address = net.JoinHostPort(r.to.Address, number)
		return r, nil
	}
	if r.to == nil || r.to.Pod == nil {
		return r, fmt.Errorf("nothing is called %s", target)
	}
	r.address = net.JoinHostPort(r.to.Address, number)
	for i := range services {
		svc := &services[i]
		if svc.Namespace != r.to.Pod.Namespace || svc.Spec.Selector["app"] != r.to.Pod.Labels["app"] {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if p.TargetPort.IntVal != r.port {
				continue
			}
			r.kind, r.service = kindOf(p.Name), p.Port
			r.name = svc.Name + "." + svc.Namespace + ".svc.cluster.local"
			if r.from.Meshed && !c.Direct {
				r.address = net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(p.Port)))
			}
			return r, nil
		}
	}
	return r, fmt.Errorf("no service has %s", c.To)
}
