package facts

import (
	"slices"
	"strings"

	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Control is what is known of who commands the mesh, and of what guards its
// control plane.
type Control struct {
	// OperatorNamespace is the operator's own; empty where it is not known.
	OperatorNamespace string
	// PolicyEnforced says whether the cluster's network enforces NetworkPolicy.
	PolicyEnforced Tristate
	// Policies are the NetworkPolicies of the mesh's namespace, sorted by name.
	// They are the cache's own.
	Policies []*netv1.NetworkPolicy
	// Webhooks are the configurations by which the API server calls istiod,
	// sorted.
	Webhooks []WebhookConfiguration
	// Grants are the bindings of roles that hold a power over the mesh, sorted.
	Grants []Grant
	// Routes are VirtualServices for calls within the mesh that other
	// namespaces see and that are for more than their own namespace's services;
	// Entries the ServiceEntries that other namespaces see. Both sorted.
	Routes  []SharedRoute
	Entries []SharedEntry
	// Aliases are the hosts that services stand for to which one of Routes leads.
	Aliases map[types.NamespacedName]string
	// Gateways are the namespaces with a gateway of the mesh; only where there
	// are Routes.
	Gateways []string
}

// SharedRoute is a VirtualService that namespaces besides its own see.
type SharedRoute struct {
	Source
	// Exported are these namespaces, or * for every one.
	Exported []string
	// Hosts whose calls it leads, and Destinations that it leads or mirrors them to.
	Hosts, Destinations []string
	// Delegates is true where it leaves some calls to another VirtualService.
	Delegates bool
}

// SharedEntry is a ServiceEntry that namespaces besides its own see.
type SharedEntry struct {
	Source
	Exported []string
	Hosts    []string
	Created  metav1.Time
	// Endpoints is true where it says itself where its hosts are.
	Endpoints bool
}

// WebhookConfiguration has the API server call istiod.
type WebhookConfiguration struct {
	Source
	// Injector is true where it adds proxies to pods, false where it looks at
	// the mesh's configuration.
	Injector bool
	Revision string
	Hooks    []Webhook
}

// Webhook is one of a configuration.
type Webhook struct {
	Name string
	// Open is true where what it is asked goes through when it does not answer.
	Open bool
	// Namespaces and Objects are what it is asked about.
	Namespaces, Objects LabelSelector
	// Conditions names the match conditions that leave something out.
	Conditions []string
	// Service that is called, and whether there is one; empty for a URL.
	Service types.NamespacedName
	Exists  bool
}

// Power is what a role lets somebody do to the mesh.
type Power string

// The powers.
const (
	// PowerMesh: write networking, security, telemetry or extensions.istio.io.
	PowerMesh Power = "Mesh"
	// PowerPosture: write baselines or exceptions.
	PowerPosture Power = "Posture"
	// PowerProfiles: write profiles.
	PowerProfiles Power = "Profiles"
	// PowerSecrets: read secrets.
	PowerSecrets Power = "Secrets"
	// PowerTokens: make tokens of service accounts.
	PowerTokens Power = "Tokens"
	// PowerRights: escalate or bind roles.
	PowerRights Power = "Rights"
	// PowerImpersonate: act as users, groups or service accounts.
	PowerImpersonate Power = "Impersonate"
)

// AllPowers are the powers, in a fixed order.
func AllPowers() []Power {
	var out []Power
	for _, r := range rights {
		out = append(out, r.power)
	}
	return out
}

// Grant is a binding of a role with powers.
type Grant struct {
	// Source is the binding; its namespace is empty where it is for the cluster.
	Source
	Role     Source
	Powers   []Power
	Subjects []rbacv1.Subject
}

// right is what a rule has to allow for a power.
type right struct {
	power                    Power
	groups, resources, verbs []string
	// names are those to which a rule may be limited and have the power still;
	// nil: any.
	names func(string) bool
}

var writes = []string{"create", "update", "patch", "delete", "deletecollection"}

func none(string) bool { return false }

// authoritySecrets are the secrets with the key of the mesh's authority
// (istio.io/docs, "Plug in CA Certificates").
func authoritySecrets(name string) bool { return name == "istio-ca-secret" || name == "cacerts" }

func controlAccounts(name string) bool { return strings.HasPrefix(name, "istiod") }

const rbacGroup = rbacv1.GroupName

var rights = []right{
	{PowerMesh, []string{"networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"}, nil, writes, nil},
	{PowerPosture, []string{"meshsecurity.io"}, []string{"meshsecuritybaselines", "meshsecurityexceptions"}, writes, nil},
	{PowerProfiles, []string{"meshsecurity.io"}, []string{"meshsecurityprofiles"}, writes, nil},
	{PowerSecrets, []string{""}, []string{"secrets"}, []string{"get", "list", "watch"}, authoritySecrets},
	{PowerTokens, []string{""}, []string{"serviceaccounts/token"}, []string{"create"}, controlAccounts},
	{PowerRights, []string{rbacGroup}, []string{"roles", "clusterroles"}, []string{"escalate", "bind"}, none},
	{PowerImpersonate, []string{""}, []string{"users", "groups", "serviceaccounts"}, []string{"impersonate"}, none},
}

// Powers are those that the rules of a role give, in a fixed order. A rule for
// objects by name gives a power where one of the names is the mesh's own, and
// the power to change configuration in any case.
func Powers(rules ...rbacv1.PolicyRule) []Power {
	var out []Power
	for _, r := range rights {
		if slices.ContainsFunc(rules, r.given) {
			out = append(out, r.power)
		}
	}
	return out
}

func (r right) given(rule rbacv1.PolicyRule) bool {
	if !allows(rule.APIGroups, r.groups) || !allows(rule.Verbs, r.verbs) {
		return false
	}
	if len(rule.ResourceNames) > 0 && r.names != nil && !slices.ContainsFunc(rule.ResourceNames, r.names) {
		return false
	}
	if r.resources == nil {
		// What is written to a status changes nothing that the mesh does.
		return slices.ContainsFunc(rule.Resources, func(s string) bool { return !strings.HasSuffix(s, "/status") })
	}
	return allows(rule.Resources, r.resources) || slices.ContainsFunc(r.resources, func(s string) bool {
		_, sub, ok := strings.Cut(s, "/")
		return ok && slices.Contains(rule.Resources, "*/"+sub)
	})
}

// allows says whether a list of a rule has one of the wanted, or all there are.
func allows(have, wanted []string) bool {
	return slices.Contains(have, "*") || slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(have, w) })
}

// Place is the service and namespace that a host of the mesh stands for, as an
// object of a namespace names it: a name without a dot is one of its own
// namespace, every other one is complete (istio.io/docs, Destination.host). It
// is false for a host that no service of the cluster has.
func Place(host, own, domain string) (at types.NamespacedName, inside bool) {
	if !strings.Contains(host, ".") {
		return types.NamespacedName{Namespace: own, Name: host}, true
	}
	short, ok := strings.CutSuffix(host, ".svc."+domain)
	if !ok {
		short, ok = strings.CutSuffix(host, ".svc")
	}
	if !ok {
		short = host
	}
	name, namespace, dotted := strings.Cut(short, ".")
	if !dotted || strings.Contains(namespace, ".") || (!ok && namespace != own) {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, true
}
