package effective

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// World is what the mesh acts on, as far as it concerns one namespace.
type World struct {
	// Namespace that is judged.
	Namespace string
	Mesh      facts.Mesh
	// Objects that decide, of whatever namespace: those of the namespace
	// itself, of the mesh's root namespace, and those of others that are
	// exported to it. Kinds that the model does not know are listed as unknown
	// in a Comparison, never passed over.
	Objects []facts.Object
	// Pods of the namespace, and the services that are known.
	Pods     []facts.Pod
	Services map[types.NamespacedName]facts.Service
}

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }

// Labels are a workload as the mesh's policies see it.
type Labels map[string]string

// Caller is who calls. Without a service account it has no identity: the call
// comes in plaintext.
type Caller struct {
	TrustDomain, Namespace, ServiceAccount string
	// Address is the caller's IP address.
	Address string
}

// Token is a JSON web token that was validated.
type Token struct {
	Issuer, Subject string
	Audiences       []string
	Claims          map[string][]string
}

// Call is a request into the namespace.
type Call struct {
	To   Labels
	Port int32 // the container's
	From Caller
	// HTTP is true where the proxy sees requests, rather than bytes.
	HTTP               bool
	Method, Path, Host string
	Token              *Token
}

// Exit is a connection out of the namespace.
type Exit struct {
	From Labels
	// Host is the name that is asked for; a service's is in the cluster's
	// domain. Empty: Address alone.
	Host    string
	Address string
	Port    int32
	// Direct is true for a connection around the proxy, which only the network can stop.
	Direct bool
}

// Layer is one of the places at which something passes or is stopped. All of
// those on its way must let it pass.
type Layer string

// The layers.
const (
	// Transport: a call in plaintext is accepted (PeerAuthentication).
	Transport Layer = "Transport"
	// Authorization: a call is allowed, its transport aside (AuthorizationPolicy, RequestAuthentication).
	Authorization Layer = "Authorization"
	// NetworkIn: NetworkPolicy lets a connection in.
	NetworkIn Layer = "NetworkIn"
	// ClientTransport: a call to a service of the mesh leaves in plaintext (DestinationRule).
	ClientTransport Layer = "ClientTransport"
	// ProxyOut: the proxy lets a connection out (Sidecar, ServiceEntry).
	ProxyOut Layer = "ProxyOut"
	// NetworkOut: NetworkPolicy lets a connection out.
	NetworkOut Layer = "NetworkOut"
	// Unlogged: a call is denied and leaves no line in a log (Telemetry).
	Unlogged Layer = "Unlogged"
)

// Area is the area of a posture that a layer belongs to.
func (l Layer) Area() v1alpha1.Area {
	switch l {
	case Transport, ClientTransport:
		return v1alpha1.AreaMutualTLS
	case ProxyOut, NetworkOut:
		return v1alpha1.AreaEgress
	}
	return v1alpha1.AreaAuthorization
}

// Probe is one thing that may pass a layer: a Call for those of the way in, an
// Exit for those of the way out.
type Probe struct {
	Layer Layer
	Call  Call
	Exit  Exit
}

// Answer says whether a probe passes, and which objects decide so.
type Answer struct {
	Passes bool
	// By are the objects that decide; empty where the mesh's default does.
	By []Ref
	// Unknown is true where the model can't tell; Passes is then the open one
	// of the possible answers.
	Unknown bool
}

// Difference is something that passes on one side of a comparison alone.
type Difference struct {
	Probe Probe
	// By are the objects that decide on the side on which it passes, or, where
	// there are none, on the other side.
	By []Ref
	// What says in words what passes, like "calls in plaintext to app=ledger on port 8080".
	What string
}

// Comparison is what sets two worlds apart.
type Comparison struct {
	// Opens passes after and not before; Shuts passed before and not after.
	// Each is sorted, with what is the most general first.
	Opens, Shuts []Difference
	// Unknown are objects, in one of the worlds and not the same in the other,
	// of which the model can't tell what they do.
	Unknown []Ref
}
