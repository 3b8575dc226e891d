package facts

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// Facts is what was observed for one namespace.
type Facts struct {
	Namespace Namespace
	Mesh      Mesh
	Network   Network
	// Pods of the namespace that have not ended, sorted by name.
	Pods []Pod
	// Services of the namespace, and those elsewhere that the profile names.
	Services map[types.NamespacedName]Service
	// Namespaces that the profile names and that exist.
	Namespaces map[string]bool
	// ServiceAccounts that the profile names and that exist.
	ServiceAccounts map[types.NamespacedName]bool
	Dependants      Dependants
	// EgressGateway that baselines declare for the namespace; nil for none.
	EgressGateway *EgressGateway
}

// EgressGateway is the gateway that a baseline declares, and what of it there is.
type EgressGateway struct {
	// Baseline that declares it, and what it declares.
	Baseline                  string
	UID                       types.UID
	Namespace, ServiceAccount string
	Selector                  map[string]string
	Port                      int32
	// Exists is true where its namespace does.
	Exists bool
	// Service that leads to its pods, and to no others, on the port; empty for none.
	Service string
	// Target is the port of its pods.
	Target intstr.IntOrString
	// Ready is true where one of its pods is, and runs as the service account.
	Ready bool
	// Sharers are others' Gateways that open ports of its pods, sorted.
	Sharers []Source
	// Openers are others' AuthorizationPolicies that let callers into its pods, sorted.
	Openers []Source
}

// Namespace is the namespace that a posture is for.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Terminating bool
}

// Mesh is the service mesh that carries the namespace's traffic.
type Mesh struct {
	Provider  v1alpha1.MeshProvider
	DataPlane v1alpha1.DataPlane
	// Observed is true when the mesh's control plane or its configuration was
	// seen in the cluster. Without it nothing shows that what is written is acted upon.
	Observed bool
	Revision string
	// Version of the control plane; empty where it can't be told.
	Version string
	// Namespace of its control plane and its configuration.
	Namespace string
	// RootNamespace holds the mesh-wide policies; istio-system where it can't be told.
	RootNamespace string
	// ConfigRead is true when the mesh configuration was found and understood;
	// the fields below it hold Istio's defaults otherwise.
	ConfigRead bool
	// TrustDomain of the mesh's identities.
	TrustDomain string
	// ForeignTrust is true when the mesh accepts identities of trust domains
	// besides its own: aliases or additional certificate authorities.
	ForeignTrust bool
	// TrustDomainAliases are the trust domains that count as its own.
	TrustDomainAliases []string
	// AnyTrustDomain is true when its control plane is told not to have proxies
	// look at the trust domain of their callers.
	AnyTrustDomain bool
	// MinTLSVersion is the lowest that proxies accept of each other, and
	// CipherSuites what they accept below TLS 1.3, as the mesh configuration
	// writes them; empty for Istio's defaults.
	MinTLSVersion string
	CipherSuites  []string
	// RegistryOnly says whether proxies let out only what is registered, where no
	// Sidecar says so, by the mesh configuration.
	RegistryOnly Tristate
	// AutoMutualTLS says whether proxies use mutual TLS towards workloads of the
	// mesh where no DestinationRule says so, by the mesh configuration.
	AutoMutualTLS Tristate
	// CertificateTTL is the lifetime that proxies are told to ask for, by the mesh
	// configuration (SECRET_TTL); empty for Istio's default.
	CertificateTTL string
	// FurtherAuthorities are certificates that the mesh configuration has proxies
	// trust besides the mesh's own, as PEM.
	FurtherAuthorities []string
	// RouteExports and EntryExports are the namespaces to which VirtualServices
	// and ServiceEntries are exported that do not say so, by the mesh
	// configuration; none: every one.
	RouteExports, EntryExports []string
	// AccessLogProviders are the mesh's default access log providers.
	AccessLogProviders []string
	// Providers are the names of all that the mesh configuration defines besides
	// Istio's own, sorted.
	Providers []string
	// AccessLog says whether proxies log where no Telemetry and no default
	// provider says so, by the mesh configuration.
	AccessLog Tristate
	// LogFormats are the access log formats that the mesh configuration gives
	// instead of Istio's own, sorted by provider.
	LogFormats []LogFormat
	// PathNormalization is what proxies do to a request's path before they
	// compare it, by the mesh configuration: NONE, BASE, MERGE_SLASHES or
	// DECODE_AND_MERGE_SLASHES, and empty where it can't be told.
	PathNormalization string
	// TrustedProxies says whether gateways know of proxies in front of them, by
	// the mesh configuration.
	TrustedProxies Tristate
	// Authorizers are the mesh's external authorizers, by the mesh
	// configuration, sorted by name.
	Authorizers []Authorizer
	// ProviderHosts are NAMESPACE/HOST of services that proxies call for
	// authorization, tracing or logging, by the mesh configuration.
	ProviderHosts []string
	// RootMutualTLS is the mode of the mesh-wide PeerAuthentication: STRICT,
	// PERMISSIVE, DISABLE, or empty where there is none.
	RootMutualTLS string
	// ClusterDomain is the DNS domain of services, mostly cluster.local.
	ClusterDomain string
	// MissingKinds are kinds of the mesh that the API server does not serve, as GROUP/KIND.
	MissingKinds []string
}

// LogFormat is a format of access logs.
type LogFormat struct {
	// Provider whose it is; empty for the proxies' own log.
	Provider string
	// Text of the format, or of all of its labels.
	Text string
}

// Authorizer is an external authorizer of the mesh.
type Authorizer struct {
	Name string
	// FailOpen is true where calls are let in while it does not answer.
	FailOpen bool
}

// Tristate is yes, no or unknown; the zero value is unknown.
type Tristate string

// The values of a Tristate.
const (
	Unknown Tristate = ""
	Yes     Tristate = "Yes"
	No      Tristate = "No"
)

// Network is what is known of the cluster's network.
type Network struct {
	// PolicyEnforced says whether the cluster's network enforces NetworkPolicy.
	PolicyEnforced Tristate
	// ClusterCIDRs are the address ranges that count as inside the cluster's
	// network, for rules that open everything outside of it.
	ClusterCIDRs []string
	// DNS selects the pods that resolve names.
	DNS DNS
}

// DNS selects the pods that resolve names for the cluster.
type DNS struct {
	Namespace string
	PodLabels map[string]string
}

// Pod is what matters of a pod.
type Pod struct {
	Name           string
	Labels         map[string]string
	ServiceAccount string
	// Owner is the controller's kind and name, a Deployment rather than its
	// ReplicaSet; the pod itself where it has none.
	Owner Owner
	Ports []ContainerPort
	// Sidecar is true when the pod runs the mesh's proxy container.
	Sidecar bool
	// ProxyVersion is the tag of the proxy's image; empty where it has none.
	ProxyVersion string
	// Gateway is true when that is a proxy that stands alone.
	Gateway bool
	// Ambient is true when the node redirects the pod's traffic to ztunnel.
	Ambient bool
	// Bypass lists, in words, settings of the pod by which traffic evades the
	// mesh: host network, injection turned off, ports or addresses excluded.
	Bypass []string
	// Tampering lists, in words, settings of the pod by which its containers can
	// change or evade the proxy beside them.
	Tampering []string
	// Obsolete are the names of annotations of it that Istio means to drop, sorted.
	Obsolete []string
	// NativeSidecar is true when the proxy ends by itself once the pod's own
	// containers have.
	NativeSidecar bool
	// Probes that pass the proxy like everybody's calls.
	Probes []Probe
	// Uncaptured are ports whose calls do not pass the proxy; its own are not among them.
	Uncaptured []int32
	// Capture is what besides does not pass it.
	Capture Capture
	// APIToken is true when its containers are handed a token for the API server.
	APIToken bool
	// Scraped are the ports that its own annotations ask to be scraped.
	Scraped []ScrapePort
	// Edge is true for a gateway, or somebody else's ingress controller, which are
	// there to be reached from outside.
	Edge bool
	// HostPorts are those that are ports of its node as well; none where all of the
	// node's network is the pod's.
	HostPorts []ServicePort
}

// Capture is how much of a pod's TCP traffic is led through its proxy; the zero
// value is all of it. Traffic that is not TCP never is.
type Capture struct {
	// None is true where nothing is.
	None bool
	// Interfaces is true where the traffic of some network interfaces is not.
	Interfaces bool
	// SomeIn is true where calls to InPorts alone are, and SomeOut where
	// connections to the blocks of OutBlocks are, besides those to OutPorts.
	SomeIn, SomeOut bool
	InPorts         []int32
	OutBlocks       []string
	OutPorts        []int32
	// OutPast are the ports, and OutPastBlocks the blocks of addresses, to which
	// connections are not.
	OutPast       []int32
	OutPastBlocks []string
}

// AgentPorts are the ports of a pod's proxy and its agent: merged metrics,
// health and the proxy's own metrics. Calls to them never pass the proxy's
// policies.
func AgentPorts() []int32 { return []int32{15020, 15021, 15090} }

// Owner is the controller of a pod.
type Owner struct{ Kind, Name string }

// String is KIND/NAME.
func (o Owner) String() string { return o.Kind + "/" + o.Name }

// ContainerPort is a declared port of a container.
type ContainerPort struct {
	Name   string
	Number int32
}

// Service is what matters of a service.
type Service struct {
	Namespace, Name string
	Labels          map[string]string
	Selector        map[string]string
	// External is true for a service of type ExternalName, and ExternalName what
	// it stands for.
	External     bool
	ExternalName string
	// Headless is true for a service whose name stands for its pods' addresses.
	Headless bool
	// HidesCallers is true for a service that is reached from outside of the
	// cluster and shows its pods a node's address instead of the caller's.
	HidesCallers bool
	// Ways say in words how it is reached from outside of the cluster, sorted;
	// empty where it is not.
	Ways  []string
	Ports []ServicePort
	// Scraped are the ports of its pods that its annotations ask to be scraped.
	Scraped []ScrapePort
}

// ServicePort is a port of a service.
type ServicePort struct {
	Name, AppProtocol string
	// Protocol is TCP, UDP or SCTP.
	Protocol string
	Port     int32
	Target   intstr.IntOrString
}

// HostNetwork is how Bypass names a pod that uses its node's network.
const HostNetwork = "hostNetwork"

// Enrolled says whether the mesh's data plane carries the pod's traffic.
func (p Pod) Enrolled(plane v1alpha1.DataPlane) bool {
	if plane == v1alpha1.DataPlaneAmbient {
		return p.Ambient
	}
	return p.Sidecar
}

// Matches says whether labels have every one of the selector's.
func Matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// Overlap says whether some pod could match both selectors: they do unless
// they ask for different values of one label.
func Overlap(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; ok && w != v {
			return false
		}
	}
	return true
}

// Owned are the pods of one controller.
type Owned struct {
	Owner Owner
	Pods  []Pod
}

// ByOwner gathers the pods by their controller, sorted by it.
func (f Facts) ByOwner() []Owned {
	var out []Owned
	at := map[Owner]int{}
	for _, p := range f.Pods {
		i, ok := at[p.Owner]
		if !ok {
			i = len(out)
			at[p.Owner] = i
			out = append(out, Owned{Owner: p.Owner})
		}
		out[i].Pods = append(out[i].Pods, p)
	}
	slices.SortFunc(out, func(a, b Owned) int {
		if a.Owner.Kind == b.Owner.Kind {
			return strings.Compare(a.Owner.Name, b.Owner.Name)
		}
		return strings.Compare(a.Owner.String(), b.Owner.String())
	})
	return out
}

// Select returns the pods that match the selector; an empty one matches all.
func (f Facts) Select(selector map[string]string) []Pod {
	var out []Pod
	for _, p := range f.Pods {
		if Matches(selector, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

// SelectorKey is a canonical text of a selector, equal for equal selectors.
func SelectorKey(selector map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		b.WriteString(k + "=" + selector[k] + ",")
	}
	return b.String()
}
