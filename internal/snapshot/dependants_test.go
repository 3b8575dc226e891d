package snapshot

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// dependantCases are objects with more in them than is read, and what they say.
var dependantCases = []struct {
	name, text string
	concerns   []string
	want       facts.Dependants
}{
	{"a ServiceMonitor for named namespaces", `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: all, namespace: monitoring, labels: {release: prometheus}, annotations: {note: long}}
spec:
  jobLabel: app
  namespaceSelector: {matchNames: [payments, shop]}
  selector: {matchLabels: {app: api}, matchExpressions: [{key: tier, operator: In, values: [a]}]}
  endpoints:
  - {port: http, interval: 30s, basicAuth: {password: {name: s, key: p}}, relabelings: [{action: drop}]}
  - {targetPort: 9090, path: /m}
`, []string{"payments", "shop"}, facts.Dependants{Scrapes: []facts.Scrape{{
		Source: facts.Source{Kind: "ServiceMonitor", Namespace: "monitoring", Name: "all"}, Services: true,
		Selector: facts.LabelSelector{Labels: map[string]string{"app": "api"}, Requirements: []facts.Requirement{{Key: "tier", Operator: "In", Values: []string{"a"}}}},
		Ports:    []facts.ScrapePort{{Name: "http", Path: "/metrics"}, {Target: intstr.FromInt32(9090), Path: "/m"}},
	}}}},
	{"a PodMonitor for every namespace", `
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: all, namespace: monitoring}
spec:
  namespaceSelector: {any: true}
  selector: {}
  podMetricsEndpoints: [{portNumber: 9090}, {port: web}]
`, []string{Everywhere}, facts.Dependants{Scrapes: []facts.Scrape{{
		Source: facts.Source{Kind: "PodMonitor", Namespace: "monitoring", Name: "all"},
		Ports:  []facts.ScrapePort{{Target: intstr.FromInt32(9090), Path: "/metrics"}, {Name: "web", Path: "/metrics"}},
	}}}},
	{"a monitor for its own namespace", `
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: own, namespace: payments}
spec: {selector: {}}
`, []string{"payments"}, facts.Dependants{Scrapes: []facts.Scrape{{Source: facts.Source{Kind: "PodMonitor", Namespace: "payments", Name: "own"}}}}},
	{"a route with a backend here and one elsewhere", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: edge}
spec:
  hostnames: [a.example.com]
  parentRefs: [{name: public, namespace: gateways, sectionName: https}]
  rules:
  - matches: [{path: {value: /}}]
    filters: [{type: RequestMirror}]
    backendRefs: [{name: api, namespace: payments, port: 80, weight: 1}, {name: web, port: 80}]
`, []string{"edge", "payments"}, facts.Dependants{Routes: []facts.Route{{
		Source: facts.Source{Kind: "HTTPRoute", Namespace: "edge", Name: "r"}, Service: "api", Port: intstr.FromInt32(80),
		Gateways: []facts.GatewayReference{{Namespace: "gateways", Name: "public", API: true}},
	}}}},
	{"a route within the mesh", `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: r, namespace: payments}
spec:
  parentRefs: [{kind: Service, group: "", name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
`, nil, facts.Dependants{}},
	{"a VirtualService of a gateway", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: edge}
spec:
  hosts: [shop.example.com]
  gateways: [gateways/public, own, mesh]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: api.payments.svc.cluster.local, port: {number: 80}, subset: v1}, weight: 100}]
  tcp:
  - route: [{destination: {host: local}}]
`, []string{"edge", "payments"}, facts.Dependants{Routes: []facts.Route{{
		Source: facts.Source{Kind: "VirtualService", Namespace: "edge", Name: "shop"}, Service: "api", Port: intstr.FromInt32(80),
		Gateways: []facts.GatewayReference{{Namespace: "gateways", Name: "public"}, {Namespace: "edge", Name: "own"}},
	}}}},
	{"a VirtualService of the mesh", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: payments}
spec: {hosts: [api], http: [{route: [{destination: {host: api}}]}]}
`, nil, facts.Dependants{}},
	{"an Ingress", `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i, namespace: payments}
spec:
  tls: [{secretName: s}]
  defaultBackend: {service: {name: web, port: {number: 80}}}
  rules: [{host: a, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}]}}]
`, []string{"payments"}, facts.Dependants{Routes: []facts.Route{
		{Source: facts.Source{Kind: "Ingress", Namespace: "payments", Name: "i"}, Service: "web", Port: intstr.FromInt32(80)},
		{Source: facts.Source{Kind: "Ingress", Namespace: "payments", Name: "i"}, Service: "api", Port: intstr.FromString("http")},
	}}},
	{"webhooks here, twice the same, and elsewhere", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: w}
webhooks:
- {name: a, clientConfig: {caBundle: QQ==, service: {namespace: payments, name: hook, path: /a}}}
- {name: b, clientConfig: {service: {namespace: payments, name: hook, path: /b}}}
- {name: c, clientConfig: {service: {namespace: other, name: hook, port: 8443}}}
- {name: d, clientConfig: {url: "https://example.com"}}
`, []string{"other", "payments"}, facts.Dependants{Hooks: []facts.Hook{{Source: facts.Source{Kind: "MutatingWebhookConfiguration", Name: "w"}, Service: "hook", Port: 443, For: "admission"}}}},
	{"an APIService", `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.a}
spec: {caBundle: QQ==, group: a, service: {namespace: payments, name: api, port: 6443}}
status: {conditions: [{type: Available, status: "True"}]}
`, []string{"payments"}, facts.Dependants{Hooks: []facts.Hook{{Source: facts.Source{Kind: "APIService", Name: "v1.a"}, Service: "api", Port: 6443, For: "an aggregated API"}}}},
	{"an APIService of the API server itself", `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.}
spec: {version: v1}
`, nil, facts.Dependants{}},
	{"a CronJob", `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: payments}
spec: {jobTemplate: {spec: {template: {metadata: {annotations: {sidecar.istio.io/nativeSidecar: "true", note: x}}, spec: {containers: [{name: c}]}}}}}
`, []string{"payments"}, facts.Dependants{CronJobs: []facts.CronJob{{Name: "nightly", NativeSidecar: facts.Yes}}}},
	{"a CronJob outside of the mesh", `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: payments}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {sidecar.istio.io/inject: "false"}}}}}}
`, []string{"payments"}, facts.Dependants{}},
	{"a ClusterRoleBinding", `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: view}
roleRef: {kind: ClusterRole, name: view, apiGroup: rbac.authorization.k8s.io}
subjects: [{kind: ServiceAccount, namespace: payments, name: api}, {kind: User, name: jane}, {kind: ServiceAccount, namespace: other, name: x}]
`, []string{"other", "payments"}, facts.Dependants{APIUsers: map[string]facts.Source{"api": {Kind: "ClusterRoleBinding", Name: "view"}}}},
	{"a CustomResourceDefinition that is converted here", `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: a.example.com}
spec: {conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {caBundle: QQ==, service: {namespace: payments, name: hook}}}}}
`, []string{"payments"}, facts.Dependants{}},
}

func kindOf(t *testing.T, text string) (DependantKind, client.Object) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	k := DependantKind{Concerns: CRDConcerns, New: func(string) client.Object { return &apiextensionsv1.CustomResourceDefinition{} }}
	for _, known := range DependantKinds() {
		if known.GroupKind == u.GroupVersionKind().GroupKind() {
			k = known
		}
	}
	o := k.New(u.GroupVersionKind().Version)
	if err := yaml.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return k, o
}

func said(o client.Object) facts.Dependants {
	var out facts.Dependants
	out.APIUsers = map[string]facts.Source{}
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kind != "CustomResourceDefinition" {
		describe(&out, facts.Source{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}, o, "payments")
	}
	if len(out.APIUsers) == 0 {
		out.APIUsers = nil
	}
	return out
}

// What an object says is read of it whole, and of what the cache keeps of it,
// which is less.
func TestDependants(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range dependantCases {
		t.Run(c.name, func(t *testing.T) {
			k, o := kindOf(t, c.text)
			seen[k.Name()] = true
			whole, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if got := k.Concerns(o); !slices.Equal(got, c.concerns) {
				t.Errorf("concerns %v, want %v", got, c.concerns)
			}
			if diff := cmp.Diff(c.want, said(o)); diff != "" {
				t.Error(diff)
			}
			trimmed, err := Trim(o)
			if err != nil {
				t.Fatal(err)
			}
			kept, ok := trimmed.(client.Object)
			if !ok {
				t.Fatalf("%T", trimmed)
			}
			if got := k.Concerns(kept); !slices.Equal(got, c.concerns) {
				t.Errorf("trimmed, concerns %v, want %v", got, c.concerns)
			}
			if diff := cmp.Diff(c.want, said(kept)); diff != "" {
				t.Errorf("trimmed: %s", diff)
			}
			text, err := yaml.Marshal(kept)
			if err != nil {
				t.Fatal(err)
			}
			for _, dropped := range []string{"caBundle", "basicAuth", "relabelings", "filters", "secretName", "note", "Available"} {
				if bytes.Contains(text, []byte(dropped)) {
					t.Errorf("keeps %s of\n%s", dropped, whole)
				}
			}
		})
	}
	for _, k := range dependantKinds {
		// Alike in all that is read.
		alike := map[string]string{"TLSRoute": "HTTPRoute", "TCPRoute": "HTTPRoute", "ValidatingWebhookConfiguration": "MutatingWebhookConfiguration", "RoleBinding": "ClusterRoleBinding"}
		name := k
		if other, ok := alike[k.GroupKind.Kind]; ok {
			name.GroupKind.Kind = other
		}
		if !seen[name.Name()] {
			t.Errorf("no case for %s", k.Name())
		}
	}
}

// A route to another namespace is not one to this.
func TestVirtualServicesShortNames(t *testing.T) {
	_, o := kindOf(t, dependantCases[5].text)
	vs, ok := o.(*networkingv1.VirtualService)
	if !ok {
		t.Fatalf("%T", o)
	}
	got := virtualServiceRoutes(vs, facts.Source{Kind: "VirtualService", Namespace: "edge", Name: "shop"}, "edge")
	if len(got) != 1 || got[0].Service != "local" {
		t.Errorf("%+v", got)
	}
}

const injected = `
metadata:
  name: api
  namespace: payments
  labels: {app: api}
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: "9090"
    traffic.sidecar.istio.io/excludeInboundPorts: "9443, 9444"
spec:
  volumes:
  - {name: istio-token, projected: {sources: [{serviceAccountToken: {audience: istio-ca, path: t}}]}}
  - {name: kube-api-access-x, projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: c}}]}}
  initContainers:
  - {name: istio-proxy, image: "istio/proxyv2:1.31.1", restartPolicy: Always, readinessProbe: {httpGet: {port: 15021}}}
  containers:
  - name: app
    env: [{name: A, value: b}]
    ports: [{name: web, containerPort: 8080}]
    startupProbe: {httpGet: {port: 15020, path: /app-health/app/startupz}}
    readinessProbe: {httpGet: {port: web, path: /ready}, periodSeconds: 3}
    livenessProbe: {tcpSocket: {port: 8080}}
  - name: rpc
    livenessProbe: {grpc: {port: 9000}}
`

func pod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := yaml.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func TestPodsDependOnWhatPassesTheProxy(t *testing.T) {
	p := pod(t, injected)
	got, _ := PodFacts(p)
	want := facts.Pod{
		Name: "api", Labels: map[string]string{"app": "api"}, ServiceAccount: "default", Owner: facts.Owner{Kind: "Pod", Name: "api"},
		Sidecar: true, NativeSidecar: true, ProxyVersion: "1.31.1", APIToken: true,
		Ports:      []facts.ContainerPort{{Name: "web", Number: 8080}},
		Bypass:     []string{"traffic.sidecar.istio.io/excludeInboundPorts=9443, 9444"},
		Uncaptured: []int32{9443, 9444},
		Probes:     []facts.Probe{{HTTP: true, Port: 8080, Path: "/ready"}, {Port: 9000}},
		Scraped:    []facts.ScrapePort{{Target: intstr.FromInt32(9090), Path: "/metrics"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	trimmed, err := Trim(p)
	if err != nil {
		t.Fatal(err)
	}
	kept, ok := trimmed.(*corev1.Pod)
	if !ok {
		t.Fatalf("%T", trimmed)
	}
	again, _ := PodFacts(kept)
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("trimmed: %s", diff)
	}

	// What the injector redirected to its agent is no scrape of the application.
	p.Annotations["prometheus.io/port"] = "15020"
	if got, _ := PodFacts(p); got.Scraped != nil {
		t.Errorf("%+v", got.Scraped)
	}
}

func TestGatewayPods(t *testing.T) {
	for args, want := range map[string]bool{"[proxy, router, --domain, x]": true, "[proxy, sidecar]": false} {
		p := pod(t, `spec: {containers: [{name: istio-proxy, image: "istio/proxyv2:1.31.1", args: `+args+`}]}`)
		trimmed, err := Trim(p.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []any{p, trimmed} {
			if got, _ := PodFacts(p.(*corev1.Pod)); got.Gateway != want || !got.Sidecar {
				t.Errorf("%s: %+v", args, got)
			}
		}
	}
}

func TestAgents(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       facts.Agent
	}{
		{"a gateway of the mesh", `
metadata: {name: gw, namespace: edge, labels: {gateway.networking.k8s.io/gateway-name: public}}
spec: {serviceAccountName: gw, containers: [{name: istio-proxy, image: "istio/proxyv2:1.31.1", args: [proxy, router, --domain, x]}]}
`, facts.Agent{Role: facts.RoleGateway, Namespace: "edge", ServiceAccount: "gw", Gateway: "public", Meshed: true}},
		{"Prometheus outside of the mesh", `
metadata: {name: p, namespace: monitoring, labels: {app.kubernetes.io/name: prometheus}}
spec: {containers: [{name: prometheus, args: [--web]}]}
`, facts.Agent{Role: facts.RoleScraper, Namespace: "monitoring", ServiceAccount: "default"}},
		{"Prometheus with a sidecar", `
metadata: {name: p, namespace: monitoring, labels: {app: prometheus}}
spec: {containers: [{name: prometheus}, {name: istio-proxy, args: [proxy, sidecar]}]}
`, facts.Agent{Role: facts.RoleScraper, Namespace: "monitoring", ServiceAccount: "default", Meshed: true}},
		{"an ingress controller", `
metadata: {name: n, namespace: edge, labels: {app.kubernetes.io/name: ingress-nginx}}
`, facts.Agent{Role: facts.RoleIngress, Namespace: "edge", ServiceAccount: "default"}},
		{"one that has ended", `
metadata: {name: n, namespace: edge, labels: {app.kubernetes.io/name: ingress-nginx}}
status: {phase: Failed}
`, facts.Agent{}},
		{"anybody else", injected, facts.Agent{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(t, c.text)
			got, ok := agent(p)
			if !ok {
				got = facts.Agent{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			trimmed, err := Trim(p)
			if err != nil {
				t.Fatal(err)
			}
			kept, isPod := trimmed.(*corev1.Pod)
			if !isPod {
				t.Fatalf("%T", trimmed)
			}
			if again, stays := agent(kept); stays != ok || (ok && again != got) {
				t.Errorf("trimmed: %+v", again)
			}
		})
	}
}
