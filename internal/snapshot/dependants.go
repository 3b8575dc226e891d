package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// The parts that matter of kinds whose types are not imported: Prometheus
// Operator's API (monitoring.coreos.com/v1), the Gateway API and kube-aggregator.
type (
	monitor struct {
		Spec struct {
			Selector          metav1.LabelSelector `json:"selector"`
			NamespaceSelector struct {
				Any        bool     `json:"any"`
				MatchNames []string `json:"matchNames"`
			} `json:"namespaceSelector"`
			Endpoints           []monitorEndpoint `json:"endpoints"`
			PodMetricsEndpoints []monitorEndpoint `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	monitorEndpoint struct {
		Port       string             `json:"port"`
		PortNumber int32              `json:"portNumber"`
		TargetPort intstr.IntOrString `json:"targetPort"`
		Path       string             `json:"path"`
	}
	apiRoute struct {
		Spec struct {
			ParentRefs []routeReference `json:"parentRefs"`
			Rules      []struct {
				BackendRefs []routeReference `json:"backendRefs"`
			} `json:"rules"`
		} `json:"spec"`
	}
	routeReference struct {
		Group     string `json:"group"`
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Port      int32  `json:"port"`
	}
	apiService struct {
		Spec struct {
			Service *struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
				Port      int32  `json:"port"`
			} `json:"service"`
		} `json:"spec"`
	}
)

func decode[T any](o client.Object) (T, bool) {
	var out T
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return out, false
	}
	return out, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out) == nil
}

// backends are the services that a route leads to from a gateway; none where
// its parents are services, since that is a route within the mesh.
func (r apiRoute) backends() []routeReference {
	if !slices.ContainsFunc(r.Spec.ParentRefs, routeReference.gateway) {
		return nil
	}
	var out []routeReference
	for _, rule := range r.Spec.Rules {
		for _, b := range rule.BackendRefs {
			if b.Kind == "" || b.Kind == "Service" {
				out = append(out, b)
			}
		}
	}
	return out
}

func (r routeReference) gateway() bool { return r.Kind == "" || r.Kind == "Gateway" }

// dependants reads who depends on the namespace.
func (r *Reader) dependants(ctx context.Context, namespace string) (facts.Dependants, error) {
	out := facts.Dependants{APIUsers: map[string]facts.Source{}}
	var errs []error
	for _, k := range dependantKinds {
		version, read := r.Dependant(k.GroupKind)
		switch read {
		case facts.No:
			continue
		case facts.Unknown:
			out.Unread = append(out.Unread, k.Name())
			continue
		}
		objects, err := r.concerning(ctx, k, version, namespace)
		errs = append(errs, err)
		for _, o := range objects {
			describe(&out, facts.Source{Kind: k.GroupKind.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}, o, namespace)
		}
	}
	errs = append(errs, r.conversions(ctx, &out, namespace), r.agents(ctx, &out))
	slices.Sort(out.Unread)
	bySource := func(a, b facts.Source) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	}
	slices.SortStableFunc(out.Scrapes, func(a, b facts.Scrape) int { return bySource(a.Source, b.Source) })
	slices.SortStableFunc(out.Routes, func(a, b facts.Route) int { return bySource(a.Source, b.Source) })
	slices.SortStableFunc(out.Hooks, func(a, b facts.Hook) int { return bySource(a.Source, b.Source) })
	slices.SortFunc(out.CronJobs, func(a, b facts.CronJob) int { return cmp.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

// concerning lists the objects of a kind that say something about the namespace.
func (r *Reader) concerning(ctx context.Context, k DependantKind, version, namespace string) ([]client.Object, error) {
	var out []client.Object
	for _, key := range []string{namespace, Everywhere} {
		list, err := r.newList(k.GroupKind.WithVersion(version), k.New(version))
		if err != nil {
			return nil, err
		}
		if err := r.Optional.List(ctx, list, client.MatchingFields{ConcernsIndex: key}, noCopy); err != nil {
			return nil, fmt.Errorf("list %s: %w", k.Name(), err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			obj, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("%s: %T is not an object", k.Name(), o)
			}
			out = append(out, obj)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

func (r *Reader) newList(gvk schema.GroupVersionKind, of client.Object) (client.ObjectList, error) {
	gvk.Kind += "List"
	if _, ok := of.(*unstructured.Unstructured); ok {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		return list, nil
	}
	o, err := r.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("a list of %s: %w", gvk.Kind, err)
	}
	list, ok := o.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", gvk.Kind)
	}
	return list, nil
}

// describe adds what an object says.
func describe(out *facts.Dependants, from facts.Source, o client.Object, namespace string) {
	switch o := o.(type) {
	case *networkingv1.VirtualService:
		out.Routes = append(out.Routes, virtualServiceRoutes(o, from, namespace)...)
	case *netv1.Ingress:
		out.Routes = append(out.Routes, ingressRoutes(o, from)...)
	case *batchv1.CronJob:
		if j, ok := cronJob(o); ok {
			out.CronJobs = append(out.CronJobs, j)
		}
	case *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
		for _, s := range subjects(o) {
			_, had := out.APIUsers[s.Name]
			if s.Kind == rbacv1.ServiceAccountKind && orOwn(s.Namespace, o) == namespace && !had {
				out.APIUsers[s.Name] = from
			}
		}
	case *unstructured.Unstructured:
		describeUntyped(out, from, o, namespace)
	default:
		for _, h := range webhooksOf(o) {
			if h.Service != nil && h.Service.Namespace == namespace {
				hook := facts.Hook{Source: from, Service: h.Service.Name, Port: 443, For: "admission"}
				if h.Service.Port != nil {
					hook.Port = *h.Service.Port
				}
				if !slices.Contains(out.Hooks, hook) {
					out.Hooks = append(out.Hooks, hook)
				}
			}
		}
	}
}

func describeUntyped(out *facts.Dependants, from facts.Source, o *unstructured.Unstructured, namespace string) {
	switch o.GroupVersionKind().Group {
	case monitoringGroup:
		if m, ok := decode[monitor](o); ok {
			out.Scrapes = append(out.Scrapes, m.scrape(from))
		}
	case gatewayGroup:
		if route, ok := decode[apiRoute](o); ok {
			out.Routes = append(out.Routes, route.routes(from, namespace)...)
		}
	default:
		if s, ok := decode[apiService](o); ok && s.Spec.Service != nil {
			out.Hooks = append(out.Hooks, facts.Hook{Source: from, Service: s.Spec.Service.Name, Port: cmp.Or(s.Spec.Service.Port, 443), For: "an aggregated API"})
		}
	}
}

func (m monitor) scrape(from facts.Source) facts.Scrape {
	out := facts.Scrape{Source: from, Services: from.Kind == "ServiceMonitor", Selector: facts.LabelSelector{Labels: m.Spec.Selector.MatchLabels}}
	for _, e := range m.Spec.Selector.MatchExpressions {
		out.Selector.Requirements = append(out.Selector.Requirements, facts.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	for _, e := range slices.Concat(m.Spec.Endpoints, m.Spec.PodMetricsEndpoints) {
		target := e.TargetPort
		if e.PortNumber != 0 {
			target = intstr.FromInt32(e.PortNumber)
		}
		out.Ports = append(out.Ports, facts.ScrapePort{Name: e.Port, Target: target, Path: cmp.Or(e.Path, defaultPath)})
	}
	return out
}

// defaultPath is where Prometheus scrapes where nothing else is said.
const defaultPath = "/metrics"

func (r apiRoute) routes(from facts.Source, namespace string) []facts.Route {
	var gateways []facts.GatewayReference
	for _, p := range r.Spec.ParentRefs {
		if p.gateway() {
			gateways = append(gateways, facts.GatewayReference{Namespace: cmp.Or(p.Namespace, from.Namespace), Name: p.Name, API: true})
		}
	}
	var out []facts.Route
	for _, b := range r.backends() {
		if cmp.Or(b.Namespace, from.Namespace) == namespace {
			out = append(out, facts.Route{Source: from, Service: b.Name, Port: intstr.FromInt32(b.Port), Gateways: gateways})
		}
	}
	return out
}

// gatewaysOf are the gateways that a VirtualService is bound to; "mesh" stands
// for the sidecars.
func gatewaysOf(vs *networkingv1.VirtualService) []facts.GatewayReference {
	var out []facts.GatewayReference
	for _, g := range vs.Spec.GetGateways() {
		if g == "mesh" {
			continue
		}
		ns, name, ok := strings.Cut(g, "/")
		if !ok {
			ns, name = vs.Namespace, g
		}
		out = append(out, facts.GatewayReference{Namespace: ns, Name: name})
	}
	return out
}

func virtualServiceRoutes(vs *networkingv1.VirtualService, from facts.Source, namespace string) []facts.Route {
	var out []facts.Route
	gateways := gatewaysOf(vs)
	if len(gateways) == 0 {
		return nil
	}
	for _, d := range destinations(vs) {
		service, ns := serviceOf(d.GetHost(), vs.Namespace)
		if ns == namespace {
			port := intstr.FromInt32(int32(d.GetPort().GetNumber())) //nolint:gosec // a port
			out = append(out, facts.Route{Source: from, Service: service, Port: port, Gateways: gateways})
		}
	}
	return out
}

func ingressRoutes(i *netv1.Ingress, from facts.Source) []facts.Route {
	var out []facts.Route
	add := func(b *netv1.IngressBackend) {
		if b == nil || b.Service == nil {
			return
		}
		port := intstr.FromInt32(b.Service.Port.Number)
		if b.Service.Port.Name != "" {
			port = intstr.FromString(b.Service.Port.Name)
		}
		out = append(out, facts.Route{Source: from, Service: b.Service.Name, Port: port})
	}
	add(i.Spec.DefaultBackend)
	for _, r := range i.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for j := range r.HTTP.Paths {
			add(&r.HTTP.Paths[j].Backend)
		}
	}
	return out
}

// cronJob is false for one whose pods have no sidecar.
func cronJob(j *batchv1.CronJob) (facts.CronJob, bool) {
	t := j.Spec.JobTemplate.Spec.Template
	if t.Labels[sidecarInject] == "false" || t.Annotations[sidecarInject] == "false" {
		return facts.CronJob{}, false
	}
	out := facts.CronJob{Name: j.Name}
	switch t.Annotations[nativeSidecar] {
	case "true":
		out.NativeSidecar = facts.Yes
	case "false":
		out.NativeSidecar = facts.No
	}
	return out, true
}

func conversion(o client.Object) *apiextensionsv1.ServiceReference {
	crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
	if !ok || crd.Spec.Conversion == nil || crd.Spec.Conversion.Webhook == nil || crd.Spec.Conversion.Webhook.ClientConfig == nil {
		return nil
	}
	return crd.Spec.Conversion.Webhook.ClientConfig.Service
}

// conversions adds the kinds whose versions are converted in the namespace.
func (r *Reader) conversions(ctx context.Context, out *facts.Dependants, namespace string) error {
	var list apiextensionsv1.CustomResourceDefinitionList
	if err := r.Client.List(ctx, &list, client.MatchingFields{ConcernsIndex: namespace}, noCopy); err != nil {
		return fmt.Errorf("list CustomResourceDefinitions: %w", err)
	}
	for i := range list.Items {
		svc := conversion(&list.Items[i])
		hook := facts.Hook{Source: facts.Source{Kind: "CustomResourceDefinition", Name: list.Items[i].Name}, Service: svc.Name, Port: 443, For: "a conversion"}
		if svc.Port != nil {
			hook.Port = *svc.Port
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return nil
}

// agents adds the pods that scrape or lead traffic in, those alike once.
func (r *Reader) agents(ctx context.Context, out *facts.Dependants) error {
	for _, role := range []facts.Role{facts.RoleScraper, facts.RoleGateway, facts.RoleIngress} {
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.MatchingFields{AgentIndex: string(role)}, noCopy); err != nil {
			return fmt.Errorf("list pods of role %s: %w", role, err)
		}
		for i := range list.Items {
			if a, ok := agent(&list.Items[i]); ok && !slices.Contains(out.Agents, a) {
				out.Agents = append(out.Agents, a)
			}
		}
	}
	slices.SortFunc(out.Agents, func(a, b facts.Agent) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ServiceAccount, b.ServiceAccount), cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(strconv.FormatBool(a.Meshed), strconv.FormatBool(b.Meshed)))
	})
	return nil
}

// Names by which programs are known that scrape, and those that lead traffic in
// beside the mesh's own gateways: the label app.kubernetes.io/name of their
// charts and operators.
var (
	scrapers = []string{"prometheus", "prometheus-agent", "vmagent"}
	ingress  = []string{"ingress-nginx", "nginx-ingress", "traefik", "haproxy-ingress", "kubernetes-ingress", "kong", "contour", "envoy", "emissary-ingress"}
)

const (
	nameLabel        = "app.kubernetes.io/name"
	gatewayNameLabel = gatewayGroup + "/gateway-name"
	nativeSidecar    = "sidecar.istio.io/nativeSidecar"
)

// agent says what a pod does for many namespaces; false for most.
func agent(p *corev1.Pod) (facts.Agent, bool) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return facts.Agent{}, false
	}
	out := facts.Agent{Namespace: p.Namespace, ServiceAccount: cmp.Or(p.Spec.ServiceAccountName, "default"), Gateway: p.Labels[gatewayNameLabel]}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == proxyContainer {
			out.Meshed = true
			if slices.Contains(c.Args, "router") {
				out.Role = facts.RoleGateway
			}
		}
	}
	switch {
	case out.Role != "":
	case slices.Contains(scrapers, p.Labels[nameLabel]) || p.Labels["app"] == "prometheus":
		out.Role = facts.RoleScraper
	case slices.Contains(ingress, p.Labels[nameLabel]):
		out.Role = facts.RoleIngress
	}
	out.Meshed = out.Meshed || p.Annotations[ambientRedirection] == "enabled"
	return out, out.Role != ""
}
