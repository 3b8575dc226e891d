package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// GatewayTenant are the keys of TenantIndex.
func GatewayTenant(o client.Object) []string {
	if tenant, ok := mesh.GatewayTenant(o); ok {
		return []string{tenant}
	}
	return nil
}

// isForeign is the one key of ForeignIndex.
const isForeign = "true"

func foreignGateway(o client.Object) []string {
	if managed(o) {
		return nil
	}
	return []string{isForeign}
}

func foreignPolicy(o client.Object) []string {
	if mesh.AtGateway(o) {
		return nil
	}
	return []string{isForeign}
}

// gatewayPolicies lists the policies by which a namespace's workloads may use
// egress gateways, wherever these are.
func (r *Reader) gatewayPolicies(ctx context.Context, tenant string) ([]facts.Object, error) {
	k, _ := mesh.KindOf(&securityv1.AuthorizationPolicy{})
	if !r.Served(k.GVK) {
		return nil, nil
	}
	return r.listAll(ctx, k, [][]client.ListOption{{client.MatchingFields{TenantIndex: tenant}}})
}

// egressGateway finds the gateway that baselines declare for the namespace; nil
// where none does.
func (r *Reader) egressGateway(ctx context.Context, baselines []facts.Baseline, root string) (*facts.EgressGateway, error) {
	b, ok := posture.GatewayBaseline(baselines)
	if !ok {
		return nil, nil
	}
	g := b.Spec.EgressGateway
	out := &facts.EgressGateway{
		Baseline: b.Name, UID: b.UID, Namespace: string(g.Namespace), ServiceAccount: string(g.ServiceAccount),
		Selector: map[string]string{}, Port: g.Port,
	}
	for k, v := range g.Selector {
		out.Selector[k] = string(v)
	}
	var ns corev1.Namespace
	found, err := r.get(ctx, types.NamespacedName{Name: out.Namespace}, &ns)
	if err != nil || !found || ns.DeletionTimestamp != nil {
		return out, err
	}
	out.Exists = true
	if err := r.gatewayService(ctx, out); err != nil {
		return nil, err
	}
	pods, err := r.gatewayPods(ctx, out)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		pods = []map[string]string{out.Selector}
	}
	if err := r.gatewaySharers(ctx, out, pods); err != nil {
		return nil, err
	}
	return out, r.gatewayOpeners(ctx, out, root, pods)
}

// gatewayService finds the first service by name that leads to the gateway's
// pods and to no others, on its port.
func (r *Reader) gatewayService(ctx context.Context, g *facts.EgressGateway) error {
	var list corev1.ServiceList
	if err := r.Client.List(ctx, &list, client.InNamespace(g.Namespace), noCopy); err != nil {
		return fmt.Errorf("list services of the egress gateway: %w", err)
	}
	for i := range list.Items {
		s := ServiceFacts(&list.Items[i])
		if s.External || s.Headless || !facts.Matches(g.Selector, s.Selector) || (g.Service != "" && g.Service <= s.Name) {
			continue
		}
		for _, p := range s.Ports {
			if p.Protocol == string(corev1.ProtocolTCP) && p.Port == g.Port {
				g.Service, g.Target = s.Name, p.Target
			}
		}
	}
	return nil
}

// gatewayPods lists the labels of the gateway's pods, and says whether one of
// them is ready and is who the baseline says.
func (r *Reader) gatewayPods(ctx context.Context, g *facts.EgressGateway) ([]map[string]string, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(g.Namespace), client.MatchingLabels(g.Selector), noCopy); err != nil {
		return nil, fmt.Errorf("list pods of the egress gateway: %w", err)
	}
	var out []map[string]string
	for i := range list.Items {
		p := &list.Items[i]
		out = append(out, p.Labels)
		g.Ready = g.Ready || (ready(p) && cmp.Or(p.Spec.ServiceAccountName, "default") == g.ServiceAccount)
	}
	return out, nil
}

// ready says whether a pod is a proxy of the mesh that stands alone, and ready.
func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && gatewayProxy(p) && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func gatewayProxy(p *corev1.Pod) bool {
	a, _ := agent(p)
	return a.Role == facts.RoleGateway
}

// GatewayPodChanged says whether an update of a pod can change what there is to
// know of an egress gateway.
func GatewayPodChanged(before, after client.Object) bool {
	b, ok1 := before.(*corev1.Pod)
	a, ok2 := after.(*corev1.Pod)
	return !ok1 || !ok2 || ((gatewayProxy(a) || gatewayProxy(b)) && ready(b) != ready(a))
}

// gatewaySharers finds others' Gateways that open ports of the same pods.
func (r *Reader) gatewaySharers(ctx context.Context, g *facts.EgressGateway, pods []map[string]string) error {
	k, _ := mesh.KindOf(&networkingv1.Gateway{})
	if !r.Served(k.GVK) {
		return nil
	}
	items, err := r.listAll(ctx, k, [][]client.ListOption{{client.MatchingFields{ForeignIndex: isForeign}}})
	if err != nil {
		return err
	}
	for _, o := range items {
		gw, ok := o.(*networkingv1.Gateway)
		if ok && selectsAny(gw.Spec.GetSelector(), pods) {
			g.Sharers = append(g.Sharers, facts.Source{Kind: k.GVK.Kind, Namespace: gw.Namespace, Name: gw.Name})
		}
	}
	return nil
}

func selectsAny(selector map[string]string, pods []map[string]string) bool {
	return slices.ContainsFunc(pods, func(l map[string]string) bool { return facts.Matches(selector, l) })
}

// gatewayOpeners finds others' policies that let callers into the gateway's pods,
// of its own namespace and of the mesh's root namespace.
func (r *Reader) gatewayOpeners(ctx context.Context, g *facts.EgressGateway, root string, pods []map[string]string) error {
	k, _ := mesh.KindOf(&securityv1.AuthorizationPolicy{})
	if !r.Served(k.GVK) {
		return nil
	}
	foreign := client.MatchingFields{ForeignIndex: isForeign}
	items, err := r.listAll(ctx, k, [][]client.ListOption{{client.InNamespace(g.Namespace), foreign}, {client.InNamespace(root), foreign}})
	if err != nil {
		return err
	}
	for _, o := range items {
		ap, ok := o.(*securityv1.AuthorizationPolicy)
		// Without a rule it lets nobody in, and by targetRefs it is for gateways of the Gateway API.
		if ok && ap.Spec.GetAction() == securityapi.AuthorizationPolicy_ALLOW && len(ap.Spec.GetRules()) > 0 && !drift.DryRun(ap) &&
			len(ap.Spec.GetTargetRefs()) == 0 && ap.Spec.GetTargetRef() == nil && selectsAny(ap.Spec.GetSelector().GetMatchLabels(), pods) {
			g.Openers = append(g.Openers, facts.Source{Kind: k.GVK.Kind, Namespace: ap.Namespace, Name: ap.Name})
		}
	}
	return nil
}

// gatewaysAmong are those destinations of hosts outside the cluster that are
// services of gateways.
func (r *Reader) gatewaysAmong(ctx context.Context, own string, to facts.Routing) ([]string, error) {
	if !slices.ContainsFunc(to.Hosts, func(h string) bool {
		return strings.Contains(h, ".") && !strings.HasSuffix(h, ".svc."+r.ClusterDomain) && !strings.HasSuffix(h, ".svc")
	}) {
		return nil, nil
	}
	var out []string
	for _, host := range to.Destinations {
		name, namespace := serviceOf(host, own)
		var svc corev1.Service
		found, err := r.get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &svc)
		if err != nil {
			return nil, err
		}
		if !found || len(svc.Spec.Selector) == 0 || slices.Contains(to.Hosts, host) {
			continue
		}
		var pods corev1.PodList
		if err := r.Client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingFields{AgentIndex: string(facts.RoleGateway)}, client.MatchingLabels(svc.Spec.Selector), noCopy); err != nil {
			return nil, fmt.Errorf("list pods of gateways: %w", err)
		}
		if len(pods.Items) > 0 {
			out = append(out, host)
		}
	}
	return out, nil
}
