package main

import (
	"context"
	"fmt"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// profile compiles to ten objects.
const profile = `
enforcementMode: Enforce
mutualTLS:
  mode: Strict
  portOverrides:
  - {name: metrics, workloadSelector: {matchLabels: {app: w0}}, port: 9090, mode: Permissive, reason: scraped}
authorization:
  defaultAction: Deny
  rules:
  - name: callers
    workloadSelector: {matchLabels: {app: w0}}
    from: [{entity: SameNamespace}]
    to: [{ports: [8080], methods: [GET], paths: ["/api/*"]}]
  - name: among
    workloadSelector: {matchLabels: {app: w1}}
    from: [{entity: SameNamespace}]
egress:
  defaultAction: Deny
  assurance: Network
  rules:
  - name: partner
    to: [{hosts: [partner.example.com], ports: [{port: 443, protocol: TLS}]}]
  - name: database
    to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]
logging: {accessLog: Denied}
`

// meshConfig is Istio's ConfigMap.
const meshConfig = `
rootNamespace: istio-system
trustDomain: cluster.local
accessLogFile: /dev/stdout
pathNormalization: {normalization: MERGE_SLASHES}
`

var (
	now   = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	began = metav1.NewTime(now.Add(-time.Hour))
)

// town is a cluster in memory.
type town struct {
	store   store
	reader  *snapshot.Reader
	version int
	// objects of the mesh in it.
	objects int
}

func newTown() (*town, error) {
	t := &town{store: store{}}
	t.reader = &snapshot.Reader{
		Client: t.store, Optional: t.store, Served: func(schema.GroupVersionKind) bool { return true },
		ControlPlaneRead: func() bool { return true }, GuardsRead: func() bool { return false },
		Dependant:     func(schema.GroupKind) (string, facts.Tristate) { return "", facts.No },
		MeshNamespace: "istio-system", ClusterDomain: "cluster.local",
		Network: facts.Network{PolicyEnforced: facts.Yes, ClusterCIDRs: []string{"10.0.0.0/8"}, DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}}},
	}
	istiod := labels.Set{"app": "istiod", "istio.io/rev": "default"}
	strict := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "default"}}
	strict.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT}
	logs := &telemetryv1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "default"}}
	logs.Spec.AccessLogging = []*telemetryapi.AccessLogging{{Providers: []*telemetryapi.ProviderRef{{Name: "envoy"}}}}
	return t, t.put(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio"}, Data: map[string]string{"mesh": meshConfig}},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod", Labels: istiod},
			Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: istiod}, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "discovery", Image: "istio/pilot:1.31.1"}},
			}}},
			Status: appsv1.DeploymentStatus{AvailableReplicas: 1},
		}, strict, logs)
}

// put stores objects, each with a version of its own.
func (t *town) put(objects ...client.Object) error {
	for _, o := range objects {
		t.version++
		o.SetResourceVersion(fmt.Sprint(t.version))
		if o.GetUID() == "" {
			o.SetUID(types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", t.version)))
			o.SetCreationTimestamp(began)
		}
		if err := t.store.put(o); err != nil {
			return err
		}
	}
	return nil
}

// pod is a replica of a workload. Of those of one kind nothing but the name differs.
func pod(namespace string, workload, replica, kind int) *corev1.Pod {
	app, yes := fmt.Sprintf("w%d", workload), true
	hash := fmt.Sprintf("5d4f8c7b%d", kind)
	container := corev1.Container{Name: "app", Image: "registry.example.com/" + app + ":1.2.3", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "metrics", ContainerPort: 9090}}}
	container.Env = []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%05d", app, replica),
			Labels: map[string]string{
				"app": app, "pod-template-hash": hash, "security.istio.io/tlsMode": "istio",
				"service.istio.io/canonical-name": app, "service.istio.io/canonical-revision": "latest", "app.kubernetes.io/part-of": "town",
			},
			Annotations:     map[string]string{"sidecar.istio.io/status": `{"revision":"default"}`, "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-" + hash, Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: app,
			Containers:         []corev1.Container{container, {Name: "istio-proxy", Image: "istio/proxyv2:1.31.1"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// settle adds a namespace of as many workloads with as many replicas each, and
// puts its profile in force.
func (t *town) settle(ctx context.Context, namespace string, workloads, replicas int) error {
	var spec v1alpha1.MeshSecurityProfileSpec
	if err := yaml.UnmarshalStrict([]byte(profile), &spec); err != nil {
		return err
	}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"istio-injection": "enabled"}}},
		&v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main", Generation: 1}, Spec: spec},
	}
	for w := range workloads {
		app := fmt.Sprintf("w%d", w)
		objects = append(objects, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")},
				{Name: "http-metrics", Port: 9090, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(9090)},
			},
		}})
		for r := range replicas {
			objects = append(objects, pod(namespace, w, r, 0))
		}
	}
	// Somebody else's, in every namespace, for one of its workloads.
	foreign := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probers"}}
	foreign.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "w0"}}
	foreign.Spec.Action = securityapi.AuthorizationPolicy_DENY
	foreign.Spec.Rules = []*securityapi.Rule{{
		From: []*securityapi.Rule_From{{Source: &securityapi.Source{NotNamespaces: []string{namespace}}}},
		To:   []*securityapi.Rule_To{{Operation: &securityapi.Operation{Ports: []string{"9090"}}}},
	}}
	if err := t.put(append(objects, foreign)...); err != nil {
		return err
	}
	o, err := t.reader.Read(ctx, namespace)
	if err != nil {
		return err
	}
	d := decide.Act(o, now)
	if !d.Compiled || len(d.Steps) == 0 {
		return fmt.Errorf("the profile of %s is not compiled", namespace)
	}
	for _, o := range d.Desired {
		obj, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("%T is not an object", o)
		}
		if err := t.put(obj); err != nil {
			return err
		}
	}
	t.objects += len(d.Desired) + 1
	return nil
}

func labelsOf(o client.Object) labels.Set { return o.GetLabels() }
