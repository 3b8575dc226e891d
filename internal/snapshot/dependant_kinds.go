package snapshot

import (
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DependantKind is a kind that tells who depends on reaching a namespace, or on
// going out of it. None of them is ever written. The operator works without
// any: what is not served tells nothing, and what can't be read is unknown.
type DependantKind struct {
	GroupKind schema.GroupKind
	// Versions that can be read, the preferred one first.
	Versions []string
	// CRD is the name of the CustomResourceDefinition that serves it; empty for
	// a kind of Kubernetes itself.
	CRD string
	// New returns an empty object of a version.
	New func(version string) client.Object
	// Concerns lists the namespaces that an object says something about, or Everywhere.
	Concerns func(client.Object) []string
}

// Name is KIND.GROUP.
func (k DependantKind) Name() string { return k.GroupKind.String() }

// Everywhere stands for every namespace.
const Everywhere = "*"

// ConcernsIndex finds objects by the namespaces that they say something about.
const ConcernsIndex = "concerns"

// AgentIndex finds the pods that act for others in many namespaces.
const AgentIndex = "agent"

func typed[T any, P interface {
	*T
	client.Object
}](string) client.Object {
	return P(new(T))
}

func untyped(group, kind string) func(string) client.Object {
	return func(version string) client.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
		return u
	}
}

const (
	monitoringGroup = "monitoring.coreos.com"
	gatewayGroup    = "gateway.networking.k8s.io"
)

var dependantKinds = []DependantKind{
	untypedKind(monitoringGroup, "ServiceMonitor", "servicemonitors", monitorConcerns, "v1"),
	untypedKind(monitoringGroup, "PodMonitor", "podmonitors", monitorConcerns, "v1"),
	untypedKind(gatewayGroup, "HTTPRoute", "httproutes", routeConcerns, "v1", "v1beta1"),
	untypedKind(gatewayGroup, "GRPCRoute", "grpcroutes", routeConcerns, "v1"),
	untypedKind(gatewayGroup, "TLSRoute", "tlsroutes", routeConcerns, "v1", "v1alpha3", "v1alpha2"),
	untypedKind(gatewayGroup, "TCPRoute", "tcproutes", routeConcerns, "v1", "v1alpha2"),
	{schema.GroupKind{Group: networkingv1.GroupName, Kind: "VirtualService"}, []string{"v1"}, "virtualservices." + networkingv1.GroupName,
		typed[networkingv1.VirtualService], virtualServiceConcerns},
	{schema.GroupKind{Group: netv1.GroupName, Kind: "Ingress"}, []string{"v1"}, "", typed[netv1.Ingress], own},
	{schema.GroupKind{Group: admissionv1.GroupName, Kind: "ValidatingWebhookConfiguration"}, []string{"v1"}, "",
		typed[admissionv1.ValidatingWebhookConfiguration], webhookConcerns},
	{schema.GroupKind{Group: admissionv1.GroupName, Kind: "MutatingWebhookConfiguration"}, []string{"v1"}, "",
		typed[admissionv1.MutatingWebhookConfiguration], webhookConcerns},
	{schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}, []string{"v1"}, "",
		untyped("apiregistration.k8s.io", "APIService"), apiServiceConcerns},
	{schema.GroupKind{Group: batchv1.GroupName, Kind: "CronJob"}, []string{"v1"}, "", typed[batchv1.CronJob], own},
	{schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}, []string{"v1"}, "", typed[rbacv1.RoleBinding], bindingConcerns},
	{schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRoleBinding"}, []string{"v1"}, "", typed[rbacv1.ClusterRoleBinding], bindingConcerns},
}

func untypedKind(group, kind, resource string, concerns func(client.Object) []string, versions ...string) DependantKind {
	return DependantKind{schema.GroupKind{Group: group, Kind: kind}, versions, resource + "." + group, untyped(group, kind), concerns}
}

// DependantKinds lists the kinds, in a fixed order; those last that tell of the
// cluster alone.
func DependantKinds() []DependantKind { return slices.Concat(dependantKinds, clusterKinds) }

func own(o client.Object) []string { return []string{o.GetNamespace()} }

func unique(namespaces []string) []string {
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

// monitorConcerns: namespaceSelector any, matchNames, or the monitor's own.
func monitorConcerns(o client.Object) []string {
	m, ok := decode[monitor](o)
	switch {
	case !ok:
		return nil
	case m.Spec.NamespaceSelector.Any:
		return []string{Everywhere}
	case len(m.Spec.NamespaceSelector.MatchNames) > 0:
		return unique(slices.Clone(m.Spec.NamespaceSelector.MatchNames))
	}
	return own(o)
}

func routeConcerns(o client.Object) []string {
	r, ok := decode[apiRoute](o)
	if !ok {
		return nil
	}
	var out []string
	for _, b := range r.backends() {
		out = append(out, orOwn(b.Namespace, o))
	}
	return unique(out)
}

func orOwn(namespace string, o client.Object) string {
	if namespace == "" {
		return o.GetNamespace()
	}
	return namespace
}

func virtualServiceConcerns(o client.Object) []string {
	vs, ok := o.(*networkingv1.VirtualService)
	if !ok || len(gatewaysOf(vs)) == 0 {
		return nil
	}
	var out []string
	for _, d := range destinations(vs) {
		_, ns := serviceOf(d.GetHost(), vs.Namespace)
		out = append(out, ns)
	}
	return unique(out)
}

// serviceOf is the service and namespace that a host of Istio's names: a short
// name is one of the object's own namespace (istio.io/docs, Destination.host).
func serviceOf(host, own string) (service, namespace string) {
	parts := strings.Split(host, ".")
	if len(parts) == 1 {
		return parts[0], own
	}
	return parts[0], parts[1]
}

func webhookConcerns(o client.Object) []string {
	var out []string
	for _, h := range webhooksOf(o) {
		if h.Service != nil {
			out = append(out, h.Service.Namespace)
		}
	}
	return unique(out)
}

func webhooksOf(o client.Object) []admissionv1.WebhookClientConfig {
	var out []admissionv1.WebhookClientConfig
	switch o := o.(type) {
	case *admissionv1.ValidatingWebhookConfiguration:
		for _, h := range o.Webhooks {
			out = append(out, h.ClientConfig)
		}
	case *admissionv1.MutatingWebhookConfiguration:
		for _, h := range o.Webhooks {
			out = append(out, h.ClientConfig)
		}
	}
	return out
}

func apiServiceConcerns(o client.Object) []string {
	s, ok := decode[apiService](o)
	if !ok || s.Spec.Service == nil {
		return nil
	}
	return []string{s.Spec.Service.Namespace}
}

func bindingConcerns(o client.Object) []string {
	var out []string
	for _, s := range subjects(o) {
		if s.Kind == rbacv1.ServiceAccountKind {
			out = append(out, orOwn(s.Namespace, o))
		}
	}
	return unique(out)
}

func subjects(o client.Object) []rbacv1.Subject {
	switch o := o.(type) {
	case *rbacv1.RoleBinding:
		return o.Subjects
	case *rbacv1.ClusterRoleBinding:
		return o.Subjects
	}
	return nil
}

// CRDConcerns are the namespaces in which versions of the kind are converted.
func CRDConcerns(o client.Object) []string {
	if svc := conversion(o); svc != nil {
		return []string{svc.Namespace}
	}
	return nil
}

// AgentRole is what a pod does for many namespaces, as an index has it; none for most pods.
func AgentRole(o client.Object) []string {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	if a, ok := agent(p); ok {
		return []string{string(a.Role)}
	}
	return nil
}
