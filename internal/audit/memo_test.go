package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1alpha3"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// versioned gives every object of a scene the UID of its name, and a version for
// each content, as the API server does.
func versioned(s *Scene) *Scene {
	for _, list := range []*[]facts.Object{&s.Ours, &s.Others} {
		*list = slices.Clone(*list)
		for i, o := range *list {
			o, _ := o.DeepCopyObject().(facts.Object)
			text, err := json.Marshal(o)
			if err != nil {
				panic(err)
			}
			o.SetUID(types.UID(effective.RefOf(o).String() + " of " + o.GetNamespace()))
			o.SetResourceVersion(string(text))
			(*list)[i] = o
		}
	}
	return s
}

// plainly is Examine with every pod by itself and nothing kept.
func plainly(s *Scene) []Finding {
	s.kinds = []workload{}
	for _, o := range s.Facts.ByOwner() {
		s.kinds = append(s.kinds, workload{Owner: o.Owner, pods: o.Pods})
	}
	return Examine(s)
}

// kept wants nothing to be amiss where a scene comes after another one.
func kept(t interface {
	Helper()
	Errorf(string, ...any)
}, last *Memo, scene func() *Scene) *Memo {
	t.Helper()
	want := plainly(versioned(scene()))
	got, next := ExamineSince(last, versioned(scene()))
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("with what was found last:\n%s\nand anew:\n%s", lines(got), lines(want))
	}
	return next
}

func lines(findings []Finding) (out string) {
	for _, f := range findings {
		out += fmt.Sprintf("%s %s %s: %s\n", f.Check, f.Severity, f.Subject, f.Message)
	}
	return out
}

// changes are what may come over a namespace besides its pods.
var changes = []struct {
	name   string
	change func(*Scene)
}{
	{"mutual TLS is declared Permissive", func(s *Scene) { s.Posture.MutualTLS = &posture.MutualTLS{Mode: v1alpha1.MutualTLSPermissive} }},
	{"mutual TLS is not declared", func(s *Scene) { s.Posture.MutualTLS = nil }},
	{"a port override", func(s *Scene) {
		if s.Posture.MutualTLS != nil {
			s.override(8080)
		}
	}},
	{"the port override ends", func(s *Scene) {
		if m := s.Posture.MutualTLS; m != nil && len(m.Overrides) > 0 {
			m.Overrides[0].Expires = new(time.Unix(1<<31, 0))
		}
	}},
	{"authorization is not declared", func(s *Scene) { s.Posture.Authorization = nil }},
	{"an exemption", func(s *Scene) {
		if a := s.Posture.Authorization; a != nil {
			a.Exempt = []posture.Exemption{{Name: "legacy", Selector: map[string]string{"app": "api"}}}
		}
	}},
	{"egress is not declared", func(s *Scene) { s.Posture.Egress = nil }},
	{"egress is open", func(s *Scene) { s.Posture.Egress = &posture.Egress{Default: v1alpha1.DefaultAllow} }},
	{"a log is declared", func(s *Scene) { s.Posture.AccessLog = v1alpha1.AccessLogDenied }},
	{"audit mode", func(s *Scene) { s.Posture.Mode = v1alpha1.ModeAudit }},
	{"held back", func(s *Scene) { s.Posture.Held = []v1alpha1.Area{v1alpha1.AreaMutualTLS} }},
	{"ambient mode", func(s *Scene) { s.Facts.Mesh.DataPlane = v1alpha1.DataPlaneAmbient }},
	{"a newer control plane", func(s *Scene) { s.Facts.Mesh.Version = "1.32.0" }},
	{"the mesh is not known", (*Scene).blindMesh},
	{"the mesh does not log", func(s *Scene) { s.Facts.Mesh.AccessLog = facts.No }},
	{"the mesh lets everything out", func(s *Scene) { s.Facts.Mesh.RegistryOnly = facts.No }},
	{"no label for injection", func(s *Scene) { s.Facts.Namespace.Labels = nil }},
	{"labels for both", func(s *Scene) {
		s.Facts.Namespace.Labels = map[string]string{"istio.io/dataplane-mode": "ambient", "istio-injection": "enabled"}
	}},
	{"the network enforces nothing", func(s *Scene) { s.Facts.Network.PolicyEnforced = facts.No }},
	{"a service leads elsewhere", func(s *Scene) {
		s.withService(func(svc *facts.Service) { svc.Ports[0].Target = intstr.FromInt32(9090) })
	}},
	{"a service of UDP", func(s *Scene) { s.withService(func(svc *facts.Service) { svc.Ports[0].Protocol = "UDP" }) }},
	{"a mode of the namespace", func(s *Scene) { s.add(aPeer("payments", "old", "", peerPermissive, nil)) }},
	{"a mode of a port", func(s *Scene) {
		s.add(aPeer("payments", "old-port", "api", peerStrict, portModes{8080: peerPermissive, 9090: peerDisable}))
	}},
	{"that mode is another", func(s *Scene) {
		for _, o := range s.Others {
			if o.GetName() == "old-port" {
				o.SetLabels(map[string]string{"istio.io/rev": "canary"})
			}
		}
	}},
	{"everybody is allowed", func(s *Scene) { s.add(only(policyOf("all", allow, when("")), "ledger")) }},
	{"tokens are looked at", func(s *Scene) { s.add(tokens("sso", sso())) }},
	{"requests are asked about", func(s *Scene) { s.add(requestPolicy()) }},
	{"no log", func(s *Scene) { s.add(telemetry(&telemetryapi.AccessLogging{Disabled: wrapperspb.Bool(true)})) }},
	{"a Sidecar for everything", func(s *Scene) { s.add(workloadScope("wide", "*/*")) }},
	{"a NetworkPolicy for everything", func(s *Scene) {
		p := isolating("open", netv1.PolicyTypeIngress)
		p.Spec.Ingress = []netv1.NetworkPolicyIngressRule{{}}
		s.add(p)
	}},
	{"a ServiceEntry", func(s *Scene) { s.add(serviceEntry("payments", "partner.example.com", "HTTP", 80)) }},
	{"a DestinationRule", func(s *Scene) {
		s.add(destination("payments", "api", &networkingapi.TrafficPolicy{Tls: tlsMode(networkingapi.ClientTLSSettings_DISABLE)}))
	}},
	{"our mode is gone", func(s *Scene) { s.without("msp-mtls") }},
	{"our Sidecar is gone", func(s *Scene) { s.without("msp-egress") }},
	{"our policy is gone", func(s *Scene) { s.without("msp-default-deny") }},
	{"drift is left", func(s *Scene) { s.Drift = []Drift{{"PeerAuthentication/msp-mtls", "changed"}} }},
	{"an EnvoyFilter", func(s *Scene) {
		s.Influences = []facts.Influence{{Kind: "EnvoyFilter", Namespace: "payments", Name: "lua", What: "changes proxies"}}
	}},
	{"a route elsewhere", func(s *Scene) { s.lead([]string{"api"}, "partner.example.com") }},
	{"a table that can't be used", func(s *Scene) { s.replace("nonsense") }},
	{"years go by", func(s *Scene) { s.Now = s.Now.AddDate(5, 0, 0) }},
}

// kindsOfPods are what a pod may become.
var kindsOfPods = []func(*facts.Pod){
	func(*facts.Pod) {},
	func(p *facts.Pod) { p.Labels = map[string]string{"app": p.Owner.Name, "pod-template-hash": "2"} },
	func(p *facts.Pod) { p.Sidecar = false },
	func(p *facts.Pod) { p.Ambient = true },
	func(p *facts.Pod) { p.ServiceAccount = "default" },
	func(p *facts.Pod) { p.Bypass = []string{"hostNetwork"} },
	func(p *facts.Pod) { p.Bypass = []string{"traffic.sidecar.istio.io/excludeInboundPorts=8080"} },
	func(p *facts.Pod) { p.Tampering = []string{"container app is privileged"} },
	func(p *facts.Pod) { p.ProxyVersion = "1.11.0" },
	func(p *facts.Pod) { p.Uncaptured = []int32{8080} },
	func(p *facts.Pod) {
		p.Ports = append(slices.Clone(p.Ports), facts.ContainerPort{Name: "more", Number: 9090})
	},
	func(p *facts.Pod) { p.Labels = map[string]string{"app": p.Owner.Name, tlsModeLabel: "disabled"} },
}

// Whatever happens in a namespace, what was kept and what is looked at anew say
// the same. An event of pods has their workloads looked at and no others; a
// replica more, or one less of several, none.
func TestKeptIsAsAnew(t *testing.T) {
	template := *scene().pod()
	rapid.Check(t, func(t *rapid.T) {
		on := map[int]bool{}
		pods := map[string]facts.Pod{}
		var memo *Memo
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			touched := map[facts.Owner]bool{}
			surroundings := false
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0, 1, 2:
				i := rapid.IntRange(0, len(changes)-1).Draw(t, "change")
				on[i] = !on[i]
				surroundings = true
				t.Logf("%s: %t", changes[i].name, on[i])
			case 3:
				if names := slices.Sorted(maps.Keys(pods)); len(names) > 0 {
					name := rapid.SampledFrom(names).Draw(t, "gone")
					touched[pods[name].Owner] = true
					delete(pods, name)
					t.Logf("%s is gone", name)
				}
			default:
				owner := rapid.SampledFrom([]string{"api", "ledger", "report"}).Draw(t, "owner")
				name := fmt.Sprintf("%s-%d", owner, rapid.IntRange(0, 2).Draw(t, "replica"))
				kind := rapid.IntRange(0, len(kindsOfPods)-1).Draw(t, "kind")
				p := template
				p.Name, p.Owner.Name, p.Labels = name, owner, map[string]string{"app": owner}
				kindsOfPods[kind](&p)
				pods[name] = p
				touched[p.Owner] = true
				t.Logf("%s is of kind %d", name, kind)
			}
			memo = kept(t, memo, func() *Scene {
				s := scene()
				s.Facts.Pods = nil
				for _, name := range slices.Sorted(maps.Keys(pods)) {
					s.Facts.Pods = append(s.Facts.Pods, pods[name])
				}
				for i, c := range changes {
					if on[i] {
						c.change(s)
					}
				}
				return s
			})
			if memo.Judged() > len(touched) && !surroundings {
				t.Fatalf("%d workloads were looked at after an event of %v", memo.Judged(), touched)
			}
		}
	})
}

func TestReplicasAreNotLookedAt(t *testing.T) {
	replicas := func(n int) func() *Scene {
		return func() *Scene {
			s := scene()
			for i := range n {
				p := *s.pod()
				p.Name = fmt.Sprintf("api-%d", i+1)
				s.Facts.Pods = append(s.Facts.Pods, p)
			}
			return s
		}
	}
	memo := kept(t, nil, replicas(0))
	if memo.Judged() != 1 {
		t.Errorf("%d workloads were looked at, of one", memo.Judged())
	}
	for _, n := range []int{1, 99, 3} {
		if memo = kept(t, memo, replicas(n)); memo.Judged() != 0 {
			t.Errorf("%d workloads were looked at for %d replicas more", memo.Judged(), n)
		}
	}
}

// An object that is yet to be written has no version by which it could be told
// from what becomes of it.
func TestNothingIsKeptOfWhatIsYetToBeWritten(t *testing.T) {
	_, memo := ExamineSince(nil, versioned(scene()))
	for range 2 {
		if _, memo = ExamineSince(memo, scene()); memo.Judged() != 1 {
			t.Errorf("%d workloads were looked at", memo.Judged())
		}
	}
	if _, memo = ExamineSince(memo, versioned(scene())); memo.Judged() != 1 {
		t.Errorf("%d workloads were looked at", memo.Judged())
	}
}

// No field of anything that is looked at can change without the fingerprint.
func TestFingerprintIsOfEverything(t *testing.T) {
	s := &Scene{}
	fill(reflect.ValueOf(s).Elem(), 1)
	was, known := s.around()
	if !known {
		t.Fatal("no fingerprint")
	}
	n := 0
	vary(reflect.ValueOf(s).Elem(), "Scene", func(path string) {
		n++
		if is, _ := s.around(); is == was {
			t.Errorf("%s is left out", path)
		}
	}, "Scene.Input.Facts.Pods", "Scene.Now")
	p := facts.Pod{}
	fill(reflect.ValueOf(&p).Elem(), 1)
	_, before := kindsOf([]facts.Pod{p}, 1)
	vary(reflect.ValueOf(&p).Elem(), "Pod", func(path string) {
		n++
		if _, after := kindsOf([]facts.Pod{p}, 1); equality.Semantic.DeepEqual(before, after) {
			t.Errorf("%s is left out", path)
		}
	}, "Pod.Name")
	if n < 300 {
		t.Errorf("%d values were varied, and there are more", n)
	}
}

var objectType = reflect.TypeFor[facts.Object]()

// fill gives everything in a value something, two of what there can be several of.
func fill(v reflect.Value, n int64) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("s", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(n)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n+int64(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range int64(2) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n+i)
			fill(value, n+i)
			v.SetMapIndex(key, value)
		}
	case reflect.Interface:
		o := aPeer("payments", fmt.Sprint(n), "", peerStrict, nil)
		o.UID, o.ResourceVersion = types.UID(fmt.Sprint(n)), "1"
		v.Set(reflect.ValueOf(o))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(n, 0)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	default:
		panic(v.Kind())
	}
}

// vary makes every single value in v another one for the time of a call.
func vary(v reflect.Value, path string, see func(path string), but ...string) {
	if slices.Contains(but, path) {
		return
	}
	with := func(value reflect.Value, path string) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		v.Set(value)
		see(path)
		v.Set(was)
	}
	switch v.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		other := reflect.New(v.Type()).Elem()
		fill(other, 7)
		with(other, path)
	case reflect.Bool:
		with(reflect.Zero(v.Type()), path)
	case reflect.Pointer:
		with(reflect.Zero(v.Type()), path+" none")
		vary(v.Elem(), path, see, but...)
	case reflect.Slice:
		with(reflect.Zero(v.Type()), path+" none")
		with(v.Slice(0, 1), path+" one")
		if v.Type().Elem() != objectType { // whose order is as it was read
			swapped := reflect.MakeSlice(v.Type(), 2, 2)
			swapped.Index(0).Set(v.Index(1))
			swapped.Index(1).Set(v.Index(0))
			with(swapped, path+" swapped")
		}
		for i := range v.Len() {
			vary(v.Index(i), fmt.Sprintf("%s[%d]", path, i), see, but...)
		}
	case reflect.Map:
		with(reflect.Zero(v.Type()), path+" none")
		for _, key := range v.MapKeys() {
			value := v.MapIndex(key)
			other := reflect.New(value.Type()).Elem()
			other.Set(value)
			vary(other, fmt.Sprintf("%s[%v]", path, key), func(path string) {
				v.SetMapIndex(key, other)
				see(path)
			}, but...)
			v.SetMapIndex(key, reflect.Value{})
			see(path + " less one")
			v.SetMapIndex(key, value)
		}
	case reflect.Interface:
		o := aPeer("payments", "p", "", peerStrict, nil)
		o.UID, o.ResourceVersion = "1", "2"
		with(reflect.ValueOf(o), path+" changed")
		o = o.DeepCopy()
		o.UID, o.ResourceVersion = "7", "1"
		with(reflect.ValueOf(o), path+" another")
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			with(reflect.ValueOf(time.Unix(7, 0)), path)
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				vary(v.Field(i), path+"."+f.Name, see, but...)
			}
		}
	default:
		panic(v.Kind())
	}
}
