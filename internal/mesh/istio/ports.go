package istio

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// speech is what the mesh takes a port to speak.
type speech int

const (
	// detected: the mesh looks at each connection, so that both HTTP and other rules apply.
	detected speech = iota
	// http: the mesh reads requests.
	http
	// opaque: the mesh reads connections alone.
	opaque
)

// spoken are the protocols that services declare, by Istio's protocol selection.
var spoken = map[string]speech{
	"http": http, "http2": http, "grpc": http, "grpc-web": http, "kubernetes.io/h2c": http, "kubernetes.io/ws": http,
	"tcp": opaque, "tls": opaque, "https": opaque, "mongo": opaque, "redis": opaque, "mysql": opaque, "kubernetes.io/wss": opaque,
}

// serverFirst are service ports that Istio never inspects, since their servers
// speak first: SMTP, DNS, MySQL and MongoDB.
var serverFirst = []int32{25, 53, 3306, 27017}

// speaks is what the mesh takes a service's port to speak: appProtocol, else
// the prefix of its name.
func speaks(p facts.ServicePort) speech {
	name := strings.ToLower(p.AppProtocol)
	if s, ok := spoken[name]; ok && name != "" {
		return s
	}
	if name == "" {
		name = strings.ToLower(p.Name)
	}
	if strings.HasPrefix(name, "grpc-web") {
		return http
	}
	prefix, _, _ := strings.Cut(name, "-")
	if s, ok := spoken[prefix]; ok {
		return s
	}
	if slices.Contains(serverFirst, p.Port) {
		return opaque
	}
	return detected
}

// ReadsRequests says whether the mesh reads requests on a service's port: No
// where it reads connections alone, Unknown where it looks at each connection.
func ReadsRequests(p facts.ServicePort) facts.Tristate {
	return map[speech]facts.Tristate{http: facts.Yes, opaque: facts.No, detected: facts.Unknown}[speaks(p)]
}

// listener is what the ports of one pod speak, as its services declare.
type listener struct {
	labels map[string]string
	// speech by the container's port; a port that no service has is detected.
	speech map[int32]speech
	// targets are the containers' ports behind the services' own.
	targets map[int32]int32
}

// listeners look at every pod once.
func listeners(f facts.Facts) []listener {
	services := ownServices(f)
	var out []listener
	for _, pod := range f.Pods {
		l := listener{pod.Labels, map[int32]speech{}, map[int32]int32{}}
		for _, svc := range services {
			if len(svc.Selector) == 0 || !facts.Matches(svc.Selector, pod.Labels) {
				continue
			}
			for _, p := range svc.Ports {
				if p.Protocol != "TCP" {
					continue
				}
				if number, ok := TargetPort(p.Target, pod); ok {
					add(l.speech, number, speaks(p))
					l.targets[p.Port] = number
				}
			}
		}
		for _, c := range pod.Ports {
			if _, ok := l.speech[c.Number]; !ok {
				l.speech[c.Number] = detected
			}
		}
		out = append(out, l)
	}
	return out
}

// listening is what the ports of the selected workloads speak.
func listening(pods []listener, selector map[string]string) map[int32]speech {
	ports := map[int32]speech{}
	for _, l := range pods {
		if facts.Matches(selector, l.labels) {
			for number, s := range l.speech {
				add(ports, number, s)
			}
		}
	}
	return ports
}

// anyRuns says whether a pod matches the selector.
func anyRuns(pods []listener, selector map[string]string) bool {
	return slices.ContainsFunc(pods, func(l listener) bool { return facts.Matches(selector, l.labels) })
}

// assessServicePort says where a rule names a Service's port: the mesh's
// policies see the container's.
func assessServicePort(pods []listener, selector map[string]string, port int32, a *mesh.Assessment) {
	known := listening(pods, selector)
	if _, ok := known[port]; ok {
		return
	}
	var targets []int32
	for _, l := range pods {
		if target, ok := l.targets[port]; ok && facts.Matches(selector, l.labels) {
			targets = append(targets, target)
		}
	}
	if len(targets) > 0 {
		a.Say(v1alpha1.VerdictPending, "port %d is a Service's, and no container declares it; name the container's port, %d", port, slices.Min(targets))
	}
}

// add notes what a port speaks; where two services or pods differ nothing is certain.
func add(ports map[int32]speech, number int32, s speech) {
	if have, ok := ports[number]; ok && have != s {
		s = detected
	}
	ports[number] = s
}

// ownServices are the namespace's services in a fixed order.
func ownServices(f facts.Facts) []facts.Service {
	var keys []types.NamespacedName
	for k := range f.Services {
		if k.Namespace == f.Namespace.Name {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
	out := make([]facts.Service, len(keys))
	for i, k := range keys {
		out[i] = f.Services[k]
	}
	return out
}

// TargetPort is the container's port behind a service's, false where the pod has none.
func TargetPort(target intstr.IntOrString, pod facts.Pod) (int32, bool) {
	if target.Type == intstr.Int {
		return target.IntVal, target.IntVal > 0
	}
	for _, c := range pod.Ports {
		if c.Name == target.StrVal {
			return c.Number, true
		}
	}
	return 0, false
}

// portsThat lists the ports that speak so, sorted.
func portsThat(ports map[int32]speech, s speech) []int32 {
	var out []int32
	for number, have := range ports {
		if have == s {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}
