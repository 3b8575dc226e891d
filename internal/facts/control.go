package facts

import (
	"strings"

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
	Policies []Object
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
	return []Power{PowerMesh, PowerPosture, PowerProfiles, PowerSecrets, PowerTokens, PowerRights, PowerImpersonate}
}

// Grant is a binding of a role with powers.
type Grant struct {
	// Source is the binding; its namespace is empty where it is for the cluster.
	Source
	Role     Source
	Powers   []Power
	Subjects []Subject
}

// Subject is a User, a Group or a ServiceAccount, whose namespace is that of the
// binding where it is empty.
type Subject struct{ Kind, Namespace, Name string }

// The kinds of subjects.
const (
	SubjectUser           = "User"
	SubjectGroup          = "Group"
	SubjectServiceAccount = "ServiceAccount"
)

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
