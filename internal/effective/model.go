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
	// Partial is true where nobody looked at the mesh's root namespace, or at
	// its configuration: what only these could decide is then Unknown. Otherwise
	// an object that is not among Objects does not exist.
	Partial bool
	// NetworkEnforced says whether the cluster's network enforces NetworkPolicy,
	// and Influences are objects, known by name alone, of which it can't be worked
	// out what they do. Only whole answers, of Explain and Reach, ask for these.
	NetworkEnforced facts.Tristate
	Influences      []facts.Influence
	// EgressGateway is the one that a baseline declares; nil for none. Reach asks
	// for what the network sees of it.
	EgressGateway *facts.EgressGateway
}

// WorldOf is the world of what was observed of a namespace, with these objects:
// those of the operator and everybody else's, as they are or are to be.
func WorldOf(o facts.Observed, objects []facts.Object) World {
	f := o.Facts
	return World{
		Namespace: f.Namespace.Name, Mesh: f.Mesh, Objects: objects, Pods: f.Pods, Services: f.Services, Partial: !f.Mesh.ConfigRead,
		NetworkEnforced: f.Network.PolicyEnforced, Influences: o.Influences, EgressGateway: f.EgressGateway,
	}
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
	// Pod is what the network sees of the caller, where it is in the cluster.
	Pod Pod
}

// Pod is what NetworkPolicy sees of the other end of a connection: nothing
// where that is not a pod.
type Pod struct {
	Namespace string
	// Labels of the pod, and of its namespace besides its name.
	Labels, NamespaceLabels Labels
}

// Token is a JSON web token that a request carries. Keys name the keys that
// signed it, as a JWTRule does: jwksUri, else jwks, else the issuer's own.
type Token struct {
	Issuer, Subject, Keys string
	Audiences             []string
	// Claims by their name: of request.auth.claims[a][b] that is "a][b".
	Claims map[string][]string
}

// Call is a request into the namespace.
type Call struct {
	To   Labels
	Port int32 // the container's
	From Caller
	// HTTP is true where the proxy sees requests, rather than bytes.
	HTTP bool
	// Path is as the caller sends it, with its query.
	Method, Path, Host string
	Token              *Token
	// Attributes are what conditions ask for besides, by their key, like
	// request.headers[x-team]: names of headers in lower case.
	Attributes map[string]string
	// Protocol is TCP where it is empty; only the network knows any other.
	Protocol string
}

// Exit is a connection out of the namespace.
type Exit struct {
	From Labels
	// Host is the name that is asked for; a service's is in the cluster's
	// domain. Empty: Address alone.
	Host    string
	Address string
	Port    int32
	// Protocol is TCP where it is empty; only the network knows any other.
	Protocol string
	// Pod is what the network sees of the other end, where it is in the cluster.
	Pod Pod
	// Namespace in which the connection starts, where it is not the world's:
	// there, what counts is whether this world's objects make Host known.
	Namespace string
	// Presents is the name in the far end's certificate, where it is not Host.
	Presents string
	// Direct is true for a connection around the proxy, which only the network can stop.
	Direct bool
}

// Layer is one of the places at which something passes or is stopped. All of
// those on its way must let it pass.
type Layer string

// The layers.
const (
	// Transport: a call is accepted in plaintext (PeerAuthentication). One of a
	// caller with an identity comes in plaintext where mutual TLS is turned off.
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
	case Unlogged:
		return v1alpha1.AreaLogging
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
	// Partial is true where there was more to try than was tried.
	Partial bool
}
