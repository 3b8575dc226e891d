package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Indexes by which the audit of the cluster reads what is out of the ordinary.
const (
	// SharedIndex finds what other namespaces see, by isShared: ServiceEntries,
	// and VirtualServices for calls within the mesh that are for more than
	// their own namespace's services.
	SharedIndex = "shared"
	// PowerIndex finds roles by the powers over the mesh that they hold.
	PowerIndex = "power"
	// RoleIndex finds bindings by the role that they bind, as roleKey has it.
	RoleIndex = "role"
	// MeshHookIndex finds configurations of istiod's webhooks, by isMeshHook.
	MeshHookIndex = "meshHook"
)

const (
	isShared   = "true"
	isMeshHook = "true"
)

// clusterKinds tell of the cluster as a whole, and of no namespace.
var clusterKinds = []DependantKind{
	{schema.GroupKind{Group: rbacv1.GroupName, Kind: "Role"}, []string{"v1"}, "", typed[rbacv1.Role], nobody},
	{schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}, []string{"v1"}, "", typed[rbacv1.ClusterRole], nobody},
}

func nobody(client.Object) []string { return nil }

// ClusterIndexes lists the indexes of an optional kind by which the audit of
// the cluster reads it.
func ClusterIndexes(kind schema.GroupKind) map[string]client.IndexerFunc {
	switch kind.Kind {
	case "Role", "ClusterRole":
		return map[string]client.IndexerFunc{PowerIndex: powerKeys}
	case "RoleBinding", "ClusterRoleBinding":
		return map[string]client.IndexerFunc{RoleIndex: roleKeys}
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return map[string]client.IndexerFunc{MeshHookIndex: meshHookKeys}
	}
	return nil
}

// concernsControl is ConcernsCluster for what Control is made of.
func concernsControl(o client.Object) bool {
	switch o := o.(type) {
	case *rbacv1.Role, *rbacv1.ClusterRole:
		return len(powerKeys(o)) > 0
	case *rbacv1.RoleBinding:
		return len(o.Subjects) > 0
	case *rbacv1.ClusterRoleBinding:
		return len(o.Subjects) > 0
	case *admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration:
		return len(meshHookKeys(o)) > 0
	case *networkingv1.VirtualService, *networkingv1.ServiceEntry:
		return len(sharedKeys(o)) > 0
	case *corev1.Service:
		return o.Labels["app"] == istiodApp
	case *netv1.NetworkPolicy:
		return true
	}
	return false
}

func (r *Reader) control(ctx context.Context, out *facts.Cluster) error {
	c := &out.Control
	c.OperatorNamespace, c.PolicyEnforced = r.Namespace, r.Network.PolicyEnforced
	return errors.Join(r.policiesOfMesh(ctx, c), r.hooksOfMesh(ctx, out), r.grants(ctx, out), r.shared(ctx, out))
}

func (r *Reader) policiesOfMesh(ctx context.Context, c *facts.Control) error {
	var list netv1.NetworkPolicyList
	if err := r.Client.List(ctx, &list, client.InNamespace(r.MeshNamespace), noCopy); err != nil {
		return fmt.Errorf("list network policies of the mesh: %w", err)
	}
	for i := range list.Items {
		c.Policies = append(c.Policies, &list.Items[i])
	}
	slices.SortFunc(c.Policies, func(a, b facts.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return nil
}

// readable says whether the cache holds an optional kind, and notes where it is
// served and can't be read.
func (r *Reader) readable(out *facts.Cluster, kind schema.GroupKind) bool {
	_, read := r.Dependant(kind)
	if read == facts.Unknown {
		out.Unread = append(out.Unread, kind.String())
	}
	return read == facts.Yes
}

// Istio's charts give its webhooks' configurations these names and labels
// (istio/istio, manifests/charts).
var (
	injectorNames  = []string{"istio-sidecar-injector", "istio-revision-tag-"}
	validatorNames = []string{"istio-validator", "istiod-default-validator"}
)

// meshHookKeys finds configurations of istiod's webhooks.
func meshHookKeys(o client.Object) []string {
	named := func(prefixes []string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(o.GetName(), p) })
	}
	is := false
	switch o.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		is = o.GetLabels()["app"] == "sidecar-injector" || named(injectorNames)
	case *admissionv1.ValidatingWebhookConfiguration:
		is = (o.GetLabels()["app"] == istiodApp && o.GetLabels()["istio"] == istiodApp) || named(validatorNames)
	}
	if !is {
		return nil
	}
	return []string{isMeshHook}
}

// hooksOfMesh reads the webhooks of the istiods in the mesh's namespace, and of
// those outside of the cluster.
func (r *Reader) hooksOfMesh(ctx context.Context, out *facts.Cluster) error {
	ours := client.MatchingFields{MeshHookIndex: isMeshHook}
	if r.readable(out, schema.GroupKind{Group: admissionv1.GroupName, Kind: "MutatingWebhookConfiguration"}) {
		var list admissionv1.MutatingWebhookConfigurationList
		if err := r.Optional.List(ctx, &list, ours, noCopy); err != nil {
			return fmt.Errorf("list injectors: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			c := facts.WebhookConfiguration{Source: facts.Source{Kind: "MutatingWebhookConfiguration", Name: o.Name}, Injector: true, Revision: o.Labels[istioRevision]}
			for _, h := range o.Webhooks {
				c.Hooks = append(c.Hooks, webhook(h.Name, h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.MatchConditions, h.ClientConfig.Service))
			}
			out.Control.Webhooks = append(out.Control.Webhooks, c)
		}
	}
	if r.readable(out, schema.GroupKind{Group: admissionv1.GroupName, Kind: "ValidatingWebhookConfiguration"}) {
		var list admissionv1.ValidatingWebhookConfigurationList
		if err := r.Optional.List(ctx, &list, ours, noCopy); err != nil {
			return fmt.Errorf("list validators: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			c := facts.WebhookConfiguration{Source: facts.Source{Kind: "ValidatingWebhookConfiguration", Name: o.Name}, Revision: o.Labels[istioRevision]}
			for _, h := range o.Webhooks {
				c.Hooks = append(c.Hooks, webhook(h.Name, h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.MatchConditions, h.ClientConfig.Service))
			}
			out.Control.Webhooks = append(out.Control.Webhooks, c)
		}
	}
	// Another mesh's, in a namespace of its own, is not looked at.
	out.Control.Webhooks = slices.DeleteFunc(out.Control.Webhooks, func(c facts.WebhookConfiguration) bool {
		return slices.ContainsFunc(c.Hooks, func(h facts.Webhook) bool { return h.Service.Name != "" && h.Service.Namespace != r.MeshNamespace })
	})
	for _, c := range out.Control.Webhooks {
		for i := range c.Hooks {
			if c.Hooks[i].Service.Name == "" {
				continue
			}
			found, err := r.get(ctx, c.Hooks[i].Service, &corev1.Service{})
			if err != nil {
				return err
			}
			c.Hooks[i].Exists = found
		}
	}
	slices.SortFunc(out.Control.Webhooks, func(a, b facts.WebhookConfiguration) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

func webhook(name string, policy *admissionv1.FailurePolicyType, namespaces, objects *metav1.LabelSelector, conditions []admissionv1.MatchCondition, to *admissionv1.ServiceReference) facts.Webhook {
	out := facts.Webhook{Name: name, Open: policy != nil && *policy == admissionv1.Ignore, Namespaces: labelSelector(namespaces), Objects: labelSelector(objects)}
	for _, c := range conditions {
		out.Conditions = append(out.Conditions, c.Name)
	}
	if to != nil {
		out.Service = types.NamespacedName{Namespace: to.Namespace, Name: to.Name}
	}
	return out
}

func labelSelector(s *metav1.LabelSelector) facts.LabelSelector {
	if s == nil {
		return facts.LabelSelector{}
	}
	out := facts.LabelSelector{Labels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.Requirements = append(out.Requirements, facts.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return out
}

func rulesOf(o client.Object) []rbacv1.PolicyRule {
	switch o := o.(type) {
	case *rbacv1.Role:
		return o.Rules
	case *rbacv1.ClusterRole:
		return o.Rules
	}
	return nil
}

func powerKeys(o client.Object) []string {
	var out []string
	for _, p := range powers(rulesOf(o)...) {
		out = append(out, string(p))
	}
	return out
}

// powerful are the rules of a role that hold a power over the mesh.
func powerful(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		if len(powers(r)) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func roleKey(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

func roleKeys(o client.Object) []string {
	var ref rbacv1.RoleRef
	namespace := ""
	switch o := o.(type) {
	case *rbacv1.RoleBinding:
		ref = o.RoleRef
		if ref.Kind == "Role" {
			namespace = o.Namespace
		}
	case *rbacv1.ClusterRoleBinding:
		ref = o.RoleRef
	}
	return []string{roleKey(ref.Kind, namespace, ref.Name)}
}

// everywhere are the powers that count in every namespace; the others count for
// the whole cluster, in the mesh's namespace and in the operator's alone.
func everywhere(p facts.Power) bool { return p == facts.PowerMesh || p == facts.PowerRights }

// grants reads who is bound to roles with powers: the roles by an index, and
// the bindings of each by another.
func (r *Reader) grants(ctx context.Context, out *facts.Cluster) error {
	kinds := map[string]bool{}
	for _, k := range []string{"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} {
		kinds[k] = r.readable(out, schema.GroupKind{Group: rbacv1.GroupName, Kind: k})
	}
	roles := map[facts.Source][]facts.Power{}
	for _, p := range facts.AllPowers() {
		by := client.MatchingFields{PowerIndex: string(p)}
		if kinds["Role"] {
			var list rbacv1.RoleList
			if err := r.Optional.List(ctx, &list, by, noCopy); err != nil {
				return fmt.Errorf("list roles: %w", err)
			}
			for i := range list.Items {
				s := facts.Source{Kind: "Role", Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
				roles[s] = append(roles[s], p)
			}
		}
		if kinds["ClusterRole"] {
			var list rbacv1.ClusterRoleList
			if err := r.Optional.List(ctx, &list, by, noCopy); err != nil {
				return fmt.Errorf("list cluster roles: %w", err)
			}
			for i := range list.Items {
				s := facts.Source{Kind: "ClusterRole", Name: list.Items[i].Name}
				roles[s] = append(roles[s], p)
			}
		}
	}
	for role, held := range roles {
		if err := r.bindings(ctx, out, role, held, kinds); err != nil {
			return err
		}
	}
	slices.SortFunc(out.Control.Grants, func(a, b facts.Grant) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

func (r *Reader) bindings(ctx context.Context, out *facts.Cluster, role facts.Source, held []facts.Power, kinds map[string]bool) error {
	by := client.MatchingFields{RoleIndex: roleKey(role.Kind, role.Namespace, role.Name)}
	if kinds["RoleBinding"] {
		scopes := [][]client.ListOption{{by}}
		if !slices.ContainsFunc(held, everywhere) {
			// Every namespace may bind it: of most, nothing follows.
			scopes = nil
			for _, ns := range unique([]string{out.Mesh.Namespace, out.Mesh.RootNamespace, r.Namespace}) {
				if ns != "" {
					scopes = append(scopes, []client.ListOption{by, client.InNamespace(ns)})
				}
			}
		}
		for _, opts := range scopes {
			var list rbacv1.RoleBindingList
			if err := r.Optional.List(ctx, &list, append(opts, noCopy)...); err != nil {
				return fmt.Errorf("list role bindings: %w", err)
			}
			for i := range list.Items {
				b := &list.Items[i]
				out.Control.Grants = append(out.Control.Grants, facts.Grant{
					Source: facts.Source{Kind: "RoleBinding", Namespace: b.Namespace, Name: b.Name}, Role: role, Powers: held, Subjects: bound(b.Subjects)})
			}
		}
	}
	if kinds["ClusterRoleBinding"] && role.Kind == "ClusterRole" {
		var list rbacv1.ClusterRoleBindingList
		if err := r.Optional.List(ctx, &list, by, noCopy); err != nil {
			return fmt.Errorf("list cluster role bindings: %w", err)
		}
		for i := range list.Items {
			b := &list.Items[i]
			out.Control.Grants = append(out.Control.Grants, facts.Grant{
				Source: facts.Source{Kind: "ClusterRoleBinding", Name: b.Name}, Role: role, Powers: held, Subjects: bound(b.Subjects)})
		}
	}
	return nil
}

func bound(subjects []rbacv1.Subject) []facts.Subject {
	var out []facts.Subject
	for _, s := range subjects {
		out = append(out, facts.Subject{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name})
	}
	return out
}

// sharedKeys finds what other namespaces see.
func sharedKeys(o client.Object) []string {
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		if len(exports(o.Spec.GetExportTo(), o.Namespace)) == 0 {
			return nil
		}
	case *networkingv1.VirtualService:
		// The operator's own are for their namespace alone: a name and a label that
		// look like its own exempt nothing.
		if len(exports(o.Spec.GetExportTo(), o.Namespace)) == 0 {
			return nil
		}
		if g := o.Spec.GetGateways(); len(g) > 0 && !slices.Contains(g, "mesh") {
			return nil
		}
		if !slices.ContainsFunc(o.Spec.GetHosts(), func(h string) bool { return ofOthers(h, o.Namespace) }) {
			return nil
		}
	default:
		return nil
	}
	return []string{isShared}
}

// ofOthers says whether a host may be another namespace's: one with dots that is
// not a service of this one, in whatever domain.
func ofOthers(host, namespace string) bool {
	if !strings.Contains(host, ".") {
		return false
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(host, "*."), ".")
	if strings.HasPrefix(host, "*.") {
		rest = strings.TrimPrefix(host, "*.")
	}
	return rest != namespace && rest != namespace+".svc" && !strings.HasPrefix(rest, namespace+".svc.")
}

// shared reads what namespaces show to others. Where the mesh configuration has
// another default than every namespace for what does not say to whom, that holds.
func (r *Reader) shared(ctx context.Context, out *facts.Cluster) error {
	seen := client.MatchingFields{SharedIndex: isShared}
	to := func(declared, byDefault []string, own string) []string {
		if len(declared) == 0 {
			declared = byDefault
		}
		return exports(declared, own)
	}
	routes, _ := mesh.KindOf(&networkingv1.VirtualService{})
	if r.Served(routes.GVK) {
		items, err := r.listAll(ctx, routes, [][]client.ListOption{{seen}})
		if err != nil {
			return err
		}
		for _, o := range items {
			v, ok := o.(*networkingv1.VirtualService)
			if !ok || v.Namespace == out.Mesh.RootNamespace {
				continue
			}
			exported := to(v.Spec.GetExportTo(), out.Mesh.RouteExports, v.Namespace)
			if len(exported) == 0 {
				continue
			}
			s := facts.SharedRoute{Source: facts.Source{Kind: routes.GVK.Kind, Namespace: v.Namespace, Name: v.Name}, Exported: exported, Hosts: v.Spec.GetHosts(), Delegates: delegates(v)}
			for _, d := range destinations(v) {
				if !slices.Contains(s.Destinations, d.GetHost()) {
					s.Destinations = append(s.Destinations, d.GetHost())
				}
			}
			out.Control.Routes = append(out.Control.Routes, s)
		}
	}
	entries, _ := mesh.KindOf(&networkingv1.ServiceEntry{})
	if r.Served(entries.GVK) {
		items, err := r.listAll(ctx, entries, [][]client.ListOption{{seen}})
		if err != nil {
			return err
		}
		for _, o := range items {
			e, ok := o.(*networkingv1.ServiceEntry)
			if !ok {
				continue
			}
			exported := to(e.Spec.GetExportTo(), out.Mesh.EntryExports, e.Namespace)
			if len(exported) == 0 {
				continue
			}
			out.Control.Entries = append(out.Control.Entries, facts.SharedEntry{
				Source: facts.Source{Kind: entries.GVK.Kind, Namespace: e.Namespace, Name: e.Name}, Exported: exported, Hosts: e.Spec.GetHosts(), Created: e.CreationTimestamp,
				Endpoints: len(e.Spec.GetEndpoints()) > 0 || len(e.Spec.GetWorkloadSelector().GetLabels()) > 0,
			})
		}
	}
	return r.around(ctx, out)
}

// around reads where routes may lead: to services that stand for other hosts,
// and to gateways.
func (r *Reader) around(ctx context.Context, out *facts.Cluster) error {
	if len(out.Control.Routes) == 0 {
		return nil
	}
	out.Control.Aliases = map[types.NamespacedName]string{}
	for _, route := range out.Control.Routes {
		for _, d := range route.Destinations {
			at, inside := facts.Place(d, route.Namespace, out.Mesh.ClusterDomain)
			if !inside {
				continue
			}
			var svc corev1.Service
			found, err := r.get(ctx, at, &svc)
			if err != nil {
				return err
			}
			if found && svc.Spec.Type == corev1.ServiceTypeExternalName {
				out.Control.Aliases[at] = svc.Spec.ExternalName
			}
		}
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{AgentIndex: string(facts.RoleGateway)}, noCopy); err != nil {
		return fmt.Errorf("list gateways: %w", err)
	}
	for i := range list.Items {
		out.Control.Gateways = append(out.Control.Gateways, list.Items[i].Namespace)
	}
	out.Control.Gateways = unique(out.Control.Gateways)
	return nil
}
