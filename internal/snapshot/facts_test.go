package snapshot

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func TestPodFacts(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "api-7d4-x", Labels: map[string]string{"app": "api", "pod-template-hash": "7d4"},
			Annotations: map[string]string{
				"traffic.sidecar.istio.io/excludeOutboundPorts": "5432",
				"traffic.sidecar.istio.io/includeInboundPorts":  "*",
				"sidecar.istio.io/interceptionMode":             "REDIRECT",
			},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "api-7d4", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			HostNetwork:    true,
			InitContainers: []corev1.Container{{Name: "istio-proxy", Image: "reg.example.com:5000/istio/proxyv2:1.31.1-distroless@sha256:ab"}},
			Containers: []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{
				{Name: "http", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}}},
		},
	}
	got, ok := PodFacts(pod)
	want := facts.Pod{
		Name: "api-7d4-x", Labels: pod.Labels, ServiceAccount: "default",
		Owner: facts.Owner{Kind: "Deployment", Name: "api"}, Sidecar: true, ProxyVersion: "1.31.1",
		Ports:   []facts.ContainerPort{{Name: "http", Number: 8080}},
		Bypass:  []string{"hostNetwork", "traffic.sidecar.istio.io/excludeOutboundPorts=5432"},
		Capture: facts.Capture{OutPast: []int32{5432}},
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Error(diff)
	}

	// The cache keeps all of that, and nothing else.
	trimmed, err := Trim(pod.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	again, _ := PodFacts(trimmed.(*corev1.Pod))
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("trimmed: %s", diff)
	}

	pod.Status.Phase = corev1.PodSucceeded
	if _, ok := PodFacts(pod); ok {
		t.Error("a pod that has ended counts")
	}
}

func TestBypass(t *testing.T) {
	for name, c := range map[string]struct {
		labels, annotations map[string]string
		want                int
	}{
		"none":                      {nil, nil, 0},
		"injection off by label":    {map[string]string{"sidecar.istio.io/inject": "false"}, nil, 1},
		"injection off by note":     {nil, map[string]string{"sidecar.istio.io/inject": "false"}, 1},
		"out of ambient":            {map[string]string{"istio.io/dataplane-mode": "none"}, nil, 1},
		"no inbound capture":        {nil, map[string]string{"traffic.sidecar.istio.io/includeInboundPorts": "8080"}, 1},
		"empty exclusion":           {nil, map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": ""}, 0},
		"nothing captured inbound":  {nil, map[string]string{"traffic.sidecar.istio.io/includeInboundPorts": ""}, 1},
		"nothing captured outbound": {nil, map[string]string{"traffic.sidecar.istio.io/includeOutboundIPRanges": ""}, 1},
		"outbound ranges narrowed":  {nil, map[string]string{"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8"}, 1},
		"no interception":           {nil, map[string]string{"sidecar.istio.io/interceptionMode": "NONE"}, 1},
		"interfaces left out":       {nil, map[string]string{"traffic.sidecar.istio.io/excludeInterfaces": "eth1"}, 1},
		"ambient capture left out":  {nil, map[string]string{"ambient.istio.io/bypass-inbound-capture": "true"}, 1},
		"another interception":      {nil, map[string]string{"sidecar.istio.io/interceptionMode": "TPROXY"}, 0},
		"as Istio's CNI plugin has": {nil, map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": "15020"}, 0},
		"a port beside the agent's": {nil, map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": "8080,15020"}, 1},
		"every annotation harmless": {nil, map[string]string{"ambient.istio.io/bypass-inbound-capture": "false"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := PodFacts(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: c.labels, Annotations: c.annotations}})
			if len(p.Bypass) != c.want {
				t.Errorf("got %q", p.Bypass)
			}
		})
	}
}

// What the container that sets the capture up was told counts, since the mesh's
// own defaults are in it; where there is none, annotations do.
func TestCapture(t *testing.T) {
	standard := []string{"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020", "--log_output_level=default:info"}
	with := func(pairs ...string) []string {
		out := append([]string(nil), standard...)
		for i := 0; i < len(pairs); i += 2 {
			at := slices.Index(out, pairs[i])
			if at < 0 {
				out = append(out, pairs[i], pairs[i+1])
			} else {
				out[at+1] = pairs[i+1]
			}
		}
		return out
	}
	const traffic = "traffic.sidecar.istio.io/"
	for name, c := range map[string]struct {
		annotations map[string]string
		args        []string
		want        facts.Capture
		uncaptured  []int32
		bypass      []string
	}{
		"nothing said":             {},
		"as injected":              {args: standard},
		"inbound ports":            {args: with("-d", "15090,15021,8080,15020"), uncaptured: []int32{8080}, bypass: []string{traffic + "excludeInboundPorts=15090,15021,8080,15020"}},
		"the mesh's own ranges":    {args: with("-x", "10.0.0.0/8"), want: facts.Capture{OutPastBlocks: []string{"10.0.0.0/8"}}, bypass: []string{traffic + "excludeOutboundIPRanges=10.0.0.0/8"}},
		"only some ranges":         {args: with("-i", "10.0.0.0/8, 172.16.0.0/12", "-q", "443"), want: facts.Capture{SomeOut: true, OutBlocks: []string{"10.0.0.0/8", "172.16.0.0/12"}, OutPorts: []int32{443}}, bypass: []string{traffic + "includeOutboundIPRanges=10.0.0.0/8, 172.16.0.0/12"}},
		"no inbound port":          {args: with("-b", ""), want: facts.Capture{SomeIn: true}, bypass: []string{traffic + "includeInboundPorts="}},
		"an interface":             {args: with("-c", "eth1"), want: facts.Capture{Interfaces: true}, bypass: []string{traffic + "excludeInterfaces=eth1"}},
		"an annotation too late":   {annotations: map[string]string{traffic + "excludeOutboundPorts": "5432"}, args: standard, bypass: []string{traffic + "excludeOutboundPorts=5432"}},
		"annotations":              {annotations: map[string]string{traffic + "excludeOutboundPorts": "5432", traffic + "includeInboundPorts": "80"}, want: facts.Capture{SomeIn: true, InPorts: []int32{80}, OutPast: []int32{5432}}, bypass: []string{traffic + "excludeOutboundPorts=5432", traffic + "includeInboundPorts=80"}},
		"nothing led to the proxy": {annotations: map[string]string{"sidecar.istio.io/interceptionMode": "NONE"}, want: facts.Capture{None: true}, bypass: []string{"sidecar.istio.io/interceptionMode=NONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}}
			if c.args != nil {
				p.Spec.InitContainers = []corev1.Container{{Name: "istio-init", Args: c.args}}
			}
			want, _ := PodFacts(&corev1.Pod{})
			want.Capture, want.Uncaptured, want.Bypass = c.want, c.uncaptured, c.bypass
			got, _ := PodFacts(p)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			trimmed, err := Trim(p)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := PodFacts(trimmed.(*corev1.Pod))
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("trimmed: %s", diff)
			}
		})
	}
}

func TestServiceFactsFillInTheTargetPort(t *testing.T) {
	got := ServiceFacts(&corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Port: 80}, {Port: 81, TargetPort: intstr.FromString("http"), AppProtocol: new("grpc"), Protocol: corev1.ProtocolUDP}}}}).Ports
	want := []facts.ServicePort{
		{Protocol: "TCP", Port: 80, Target: intstr.FromInt32(80)},
		{Protocol: "UDP", Port: 81, Target: intstr.FromString("http"), AppProtocol: "grpc"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of what istiod is told, the cache keeps what decides how safe it is.
func TestTrimKeepsWhatIstiodIsTold(t *testing.T) {
	d := &appsv1.Deployment{}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "discovery", Env: []corev1.EnvVar{
		{Name: "PILOT_SKIP_VALIDATE_TRUST_DOMAIN", Value: "true"}, {Name: "REVISION", Value: "true"}, {Name: "XDS_AUTH", Value: "maybe"},
	}}}
	trimmed, err := Trim(d)
	if err != nil {
		t.Fatal(err)
	}
	got := trimmed.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Env
	if len(got) != 2 || got[0].Name != "PILOT_SKIP_VALIDATE_TRUST_DOMAIN" || got[1].Name != "XDS_AUTH" {
		t.Errorf("%v", got)
	}
}

// Only a value that istiod takes for true turns the check off.
func TestSkipsTrustDomain(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "1": true, "false": false, "": false, "maybe": false} {
		if got := skipsTrustDomain(corev1.EnvVar{Name: skipTrustDomain, Value: value}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestServicesThatHideTheirCallers(t *testing.T) {
	for _, c := range []struct {
		kind  corev1.ServiceType
		local bool
		want  bool
	}{{corev1.ServiceTypeClusterIP, false, false}, {corev1.ServiceTypeLoadBalancer, false, true}, {corev1.ServiceTypeLoadBalancer, true, false}, {corev1.ServiceTypeNodePort, false, true}} {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: c.kind, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster}}
		if c.local {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		if got := ServiceFacts(trimService(s)).HidesCallers; got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestAServiceKeepsWhatItStandsFor(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com"}}
	trimmed, err := Trim(svc.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if got := ServiceFacts(trimmed.(*corev1.Service)); !got.External || got.ExternalName != "db.example.com" {
		t.Errorf("%+v", got)
	}
}

func TestReadMeshConfig(t *testing.T) {
	m := facts.Mesh{RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}
	readMeshConfig(`
rootNamespace: mesh-root
trustDomain: prod.example.com
trustDomainAliases: [old.example.com]
meshMTLS: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}
defaultProviders: {accessLogging: [otel]}
extensionProviders:
- name: authz
  envoyExtAuthzGrpc: {service: authz.security.svc.cluster.local, port: 9000}
- name: otel
  envoyOtelAls: {service: telemetry/collector.telemetry.svc.cluster.local, port: 4317}
- name: elsewhere
  zipkin: {service: zipkin.example.com, port: 9411}
- name: weak
  envoyExtAuthzHttp: {service: weak.example.com, port: 80, failOpen: true}
- name: json
  envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {why: "%RESPONSE_CODE_DETAILS%", code: "%RESPONSE_CODE%"}}}
accessLogFile: /dev/stdout
accessLogFormat: "%RESPONSE_CODE%"
pathNormalization: {normalization: MERGE_SLASHES}
defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}
`, &m)
	want := facts.Mesh{
		RootNamespace: "mesh-root", TrustDomain: "prod.example.com", ClusterDomain: "cluster.local", ConfigRead: true, ForeignTrust: true,
		TrustDomainAliases: []string{"old.example.com"}, MinTLSVersion: "TLSV1_3", CipherSuites: []string{"ECDHE-RSA-AES128-GCM-SHA256"},
		RegistryOnly: facts.No, AutoMutualTLS: facts.Yes,
		AccessLogProviders: []string{"otel"}, Providers: []string{"authz", "elsewhere", "json", "otel", "weak"}, AccessLog: facts.Yes,
		LogFormats:        []facts.LogFormat{{Text: "%RESPONSE_CODE%"}, {Provider: "json", Text: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"}},
		PathNormalization: "MERGE_SLASHES", TrustedProxies: facts.Yes,
		Authorizers:   []facts.Authorizer{{Name: "authz"}, {Name: "weak", FailOpen: true}},
		ProviderHosts: []string{"security/authz.security.svc.cluster.local", "telemetry/collector.telemetry.svc.cluster.local"},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}

	var closed facts.Mesh
	readMeshConfig("enableAutoMtls: false\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}", &closed)
	if closed.RegistryOnly != facts.Yes || closed.AutoMutualTLS != facts.No || closed.AccessLog != facts.No ||
		closed.PathNormalization != "BASE" || closed.TrustedProxies != facts.No {
		t.Errorf("%+v", closed)
	}

	broken := facts.Mesh{TrustDomain: "cluster.local"}
	readMeshConfig("trustDomain: [", &broken)
	if broken.ConfigRead || broken.RegistryOnly != facts.Unknown || broken.AccessLog != facts.Unknown || broken.PathNormalization != "" || broken.TrustDomain != "cluster.local" {
		t.Errorf("what can't be read must stay unknown: %+v", broken)
	}
}

func TestAnnotationsThatIstioMeansToDrop(t *testing.T) {
	p := &corev1.Pod{}
	p.Annotations = map[string]string{"sidecar.istio.io/inject": "true", "sidecar.istio.io/extraStatTags": "a", "sidecar.istio.io/proxyCPU": "1", "alpha.istio.io/identity": "x"}
	got, _ := PodFacts(trimPod(p))
	if diff := cmp.Diff([]string{"sidecar.istio.io/extraStatTags", "sidecar.istio.io/inject"}, got.Obsolete); diff != "" {
		t.Error(diff)
	}
}
