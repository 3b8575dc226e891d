package snapshot

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// perimeterOf reads what the cache keeps of objects.
func perimeterOf(t *testing.T, objects ...client.Object) (*Reader, facts.Perimeter) {
	t.Helper()
	r := gatewayReader(t, nil, true)
	b := fake.NewClientBuilder().WithScheme(r.Client.(client.Client).Scheme()).
		WithIndex(&corev1.Pod{}, AgentIndex, AgentRole).WithIndex(&corev1.Pod{}, DoorIndex, DoorKeys).WithIndex(&corev1.Service{}, DoorIndex, DoorKeys)
	for _, i := range Indexes() {
		if k, ok := mesh.KindNamed(i.Kind.Kind); ok {
			b = b.WithIndex(k.New().(client.Object), i.Field, i.Keys)
		}
	}
	for _, o := range objects {
		kept, err := Trim(o)
		if err != nil {
			t.Fatal(err)
		}
		b = b.WithObjects(kept.(client.Object))
	}
	r.Client = b.Build()
	out := facts.Cluster{Mesh: facts.Mesh{RootNamespace: "istio-system"}}
	if err := r.perimeter(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return r, out.Perimeter
}

func workloadPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "db"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "db", Ports: []corev1.ContainerPort{{Name: "sql", ContainerPort: 5432}}}, {Name: "istio-proxy", Args: []string{"proxy", "sidecar"}},
	}}}
	change(p)
	return p
}

func nodePortService(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "db"}, Ports: []corev1.ServicePort{{Port: 5432, TargetPort: intstr.FromString("sql"), NodePort: 30432}},
	}}
	change(s)
	return s
}

func TestDoors(t *testing.T) {
	pod := func(name string) facts.Owner { return facts.Owner{Kind: "Pod", Name: name} }
	labels := map[string]string{"app": "db"}
	behind := []facts.Target{{Workload: pod("db-0"), Labels: labels, Port: 5432, Captured: true}}
	service := facts.Source{Kind: "Service", Namespace: "shop", Name: "db"}
	hostPort := func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].HostPort = 5432 }
	asIs := func(*corev1.Service) {}
	for name, c := range map[string]struct {
		objects []client.Object
		want    []facts.Door
	}{
		"a NodePort": {[]client.Object{nodePortService(asIs), workloadPod("db-0", func(*corev1.Pod) {})}, []facts.Door{{Source: service, Ways: []string{"of type NodePort"}, Targets: behind}}},
		"an external address": {[]client.Object{nodePortService(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeClusterIP, []string{"192.0.2.7"}
		}), workloadPod("db-0", func(*corev1.Pod) {})}, []facts.Door{{Source: service, Ways: []string{"with externalIPs 192.0.2.7"}, Targets: behind}}},
		"around the proxy": {[]client.Object{nodePortService(asIs), workloadPod("db-0", func(p *corev1.Pod) {
			p.Annotations = map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": "5432"}
		})}, []facts.Door{{Source: service, Ways: []string{"of type NodePort"}, Targets: []facts.Target{{Workload: pod("db-0"), Labels: labels, Port: 5432}}}}},
		"by UDP": {[]client.Object{nodePortService(func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }), workloadPod("db-0", func(*corev1.Pod) {})},
			[]facts.Door{{Source: service, Ways: []string{"of type NodePort"}, Targets: []facts.Target{{Workload: pod("db-0"), Labels: labels, Port: 5432}}}}},
		"within the cluster":  {[]client.Object{nodePortService(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }), workloadPod("db-0", func(*corev1.Pod) {})}, nil},
		"outside of the mesh": {[]client.Object{nodePortService(asIs), workloadPod("db-0", func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] })}, nil},
		"a gateway":           {[]client.Object{nodePortService(asIs), workloadPod("db-0", func(p *corev1.Pod) { p.Spec.Containers[1].Args = []string{"proxy", "router"} })}, nil},
		"an ingress controller": {[]client.Object{nodePortService(asIs), workloadPod("db-0", func(p *corev1.Pod) {
			p.Labels = map[string]string{"app": "db", "app.kubernetes.io/name": "ingress-nginx"}
		})}, nil},
		"a port of the node":        {[]client.Object{workloadPod("db-0", hostPort)}, []facts.Door{{Source: facts.Source{Kind: "Pod", Namespace: "shop", Name: "db-0"}, Ways: []string{"with hostPort 5432"}, Targets: behind}}},
		"all of the node's network": {[]client.Object{workloadPod("db-0", func(p *corev1.Pod) { hostPort(p); p.Spec.HostNetwork = true })}, nil},
	} {
		if _, got := perimeterOf(t, c.objects...); !cmp.Equal(c.want, got.Doors) {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, got.Doors))
		}
	}
}

func TestGatewaysAreReadWithWhatIsBesideThem(t *testing.T) {
	plain := gatewayOf("open", map[string]string{"istio": "egressgateway"}, nil)
	plain.Spec.Servers = []*networkingapi.Server{{Port: &networkingapi.Port{Number: 80, Protocol: "HTTP"}, Hosts: []string{"*"}}}
	idle := gatewayOf("idle", map[string]string{"istio": "none"}, nil)
	ours := gatewayOf("msp-egress", map[string]string{"istio": "egressgateway"}, map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue})
	bound := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bound"}, Spec: networkingapi.VirtualService{Hosts: []string{"a.example.com"}, Gateways: []string{"open"}}}
	free := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "free"}, Spec: networkingapi.VirtualService{Hosts: []string{"a.example.com"}}}
	r, got := perimeterOf(t, gatewayPod(func(*corev1.Pod) {}), gatewayPod(func(p *corev1.Pod) { p.Name = "gw-1" }), plain, idle, ours, bound, free,
		allowAt("out", "beside", nil), allowAt("istio-system", "root", nil), allowAt("shop", "elsewhere", nil))
	if len(got.Gateways) != 1 || got.Gateways[0].GetName() != "open" || serversOf(got.Gateways[0])[0].GetPort().GetNumber() != 80 {
		t.Errorf("Gateways: %v", got.Gateways)
	}
	if vs := got.Routes[types.NamespacedName{Namespace: "shop", Name: "open"}]; len(vs) != 1 || vs[0].GetName() != "bound" {
		t.Errorf("routes: %v", got.Routes)
	}
	var names []string
	for _, p := range got.Policies {
		names = append(names, p.GetNamespace()+"/"+p.GetName())
	}
	if !slices.Equal(names, []string{"istio-system/root", "out/beside"}) {
		t.Errorf("policies: %v", names)
	}
	for _, c := range []struct {
		o    client.Object
		want bool
	}{
		{allowAt("out", "x", nil), true}, {allowAt("istio-system", "x", nil), true}, {allowAt("shop", "x", nil), false},
		{workloadPod("x", func(*corev1.Pod) {}), false}, {&securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}}, false},
	} {
		if r.NearPerimeter(c.o) != c.want {
			t.Errorf("near %T %s: %t", c.o, c.o.GetNamespace(), !c.want)
		}
	}
	r, _ = perimeterOf(t, nodePortService(func(*corev1.Service) {}))
	for _, o := range []client.Object{workloadPod("x", func(*corev1.Pod) {}), &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}}} {
		if !r.NearPerimeter(o) {
			t.Errorf("a %T beside a door is not near", o)
		}
	}
}

// Of everything else the audit of the cluster is not woken.
func TestPerimeterConcerns(t *testing.T) {
	vs := func(gateways ...string) *networkingv1.VirtualService {
		return &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}, Spec: networkingapi.VirtualService{Gateways: gateways}}
	}
	for _, c := range []struct {
		o    client.Object
		want bool
	}{
		{vs("mesh"), false}, {vs("mesh", "open"), true}, {workloadPod("x", func(*corev1.Pod) {}), false}, {gatewayPod(func(*corev1.Pod) {}), true},
		{workloadPod("x", func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].HostPort = 80 }), true},
		{nodePortService(func(*corev1.Service) {}), true}, {nodePortService(func(s *corev1.Service) { s.Spec.Type = "" }), false},
		{gatewayOf("x", nil, nil), true}, {gatewayOf("msp-egress", nil, map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}), false},
	} {
		if ConcernsCluster(c.o) != c.want {
			t.Errorf("%T %s: %t", c.o, c.o.GetName(), !c.want)
		}
	}
}

const everyRoute = `
spec:
  hosts: [a.example.com]
  gateways: [out/gw, mesh]
  http:
  - {match: [{port: 80, uri: {prefix: /a}}, {port: 8080}], redirect: {scheme: https, authority: b.example.com}}
  - {match: [{port: 8080}, {port: 80, uri: {prefix: /b}}], redirect: {scheme: HTTPS}}
  - {match: [{gateways: [mesh]}], route: [{destination: {host: gw.out.svc.cluster.local}, weight: 10}], mirrors: [{destination: {host: shadow}}]}
  - {match: [{uri: {prefix: /c}}], redirect: {uri: /d}}
  - {fault: {abort: {percentage: {value: 100}, httpStatus: 421}}, route: [{destination: {host: a}}]}
  - {fault: {abort: {percentage: {value: 50}, httpStatus: 421}}, route: [{destination: {host: b}}], mirror: {host: copy}}
  - {directResponse: {status: 403}}
  - {directResponse: {status: 200}}
  tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: c}}]}]
  tcp: [{route: [{destination: {host: d, port: {number: 1}}}]}]
`

const keptRoutes = `
spec:
  hosts: [a.example.com]
  gateways: [out/gw, mesh]
  http:
  - {match: [{port: 80}, {port: 8080}], redirect: {scheme: https}}
  - {match: [{gateways: [mesh]}], route: [{destination: {host: gw.out.svc.cluster.local}}], mirrors: [{destination: {host: shadow}}]}
  - {route: [{destination: {host: b}}], mirrors: [{destination: {host: copy}}]}
  - {route: [{destination: {host: a}}], directResponse: {status: 421}}
  tcp: [{route: [{destination: {host: c}}, {destination: {host: d, port: {number: 1}}}]}]
`

// The cache may trim an object twice.
func TestVirtualServicesKeepWhereTheyLead(t *testing.T) {
	var want, whole networkingv1.VirtualService
	for text, into := range map[string]*networkingv1.VirtualService{everyRoute: &whole, keptRoutes: &want} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	once := trimVirtualService(&whole)
	twice := trimVirtualService(once.DeepCopy())
	for _, got := range []*networkingv1.VirtualService{once, twice} {
		if got.Spec.String() != want.Spec.String() {
			t.Errorf("kept %s\nwant %s", &got.Spec, &want.Spec)
		}
	}
	if got := destinations(once); len(got) != len(destinations(&whole)) {
		t.Errorf("leads to %v, not %v", got, destinations(&whole))
	}
}
