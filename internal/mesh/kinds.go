package mesh

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is a kind of object that the operator writes.
type Kind struct {
	GVK schema.GroupVersionKind
	// Resource is the plural name in URLs.
	Resource string
	New      func() Object
	NewList  func() runtime.Object
	// Custom is true for a kind that a CustomResourceDefinition serves, which
	// may come and go.
	Custom bool
}

// CRD is the name of the CustomResourceDefinition that serves the kind.
func (k Kind) CRD() string { return k.Resource + "." + k.GVK.Group }

var (
	security   = schema.GroupVersion{Group: "security.istio.io", Version: "v1"}
	networking = schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	telemetry  = schema.GroupVersion{Group: "telemetry.istio.io", Version: "v1"}
)

// EnvoyFilter and WasmPlugin are watched and never written, and known by name
// alone: what they do to a proxy can't be told from them.
var (
	EnvoyFilter = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilter"}
	WasmPlugin  = schema.GroupVersionKind{Group: "extensions.istio.io", Version: "v1alpha1", Kind: "WasmPlugin"}
)

// managedKinds is made once: every comparison of an object asks for its kind.
var managedKinds = []Kind{
	{security.WithKind("PeerAuthentication"), "peerauthentications", func() Object { return &securityv1.PeerAuthentication{} }, func() runtime.Object { return &securityv1.PeerAuthenticationList{} }, true},
	{security.WithKind("RequestAuthentication"), "requestauthentications", func() Object { return &securityv1.RequestAuthentication{} }, func() runtime.Object { return &securityv1.RequestAuthenticationList{} }, true},
	{security.WithKind("AuthorizationPolicy"), "authorizationpolicies", func() Object { return &securityv1.AuthorizationPolicy{} }, func() runtime.Object { return &securityv1.AuthorizationPolicyList{} }, true},
	{networking.WithKind("ServiceEntry"), "serviceentries", func() Object { return &networkingv1.ServiceEntry{} }, func() runtime.Object { return &networkingv1.ServiceEntryList{} }, true},
	{networking.WithKind("DestinationRule"), "destinationrules", func() Object { return &networkingv1.DestinationRule{} }, func() runtime.Object { return &networkingv1.DestinationRuleList{} }, true},
	{networking.WithKind("Gateway"), "gateways", func() Object { return &networkingv1.Gateway{} }, func() runtime.Object { return &networkingv1.GatewayList{} }, true},
	{networking.WithKind("VirtualService"), "virtualservices", func() Object { return &networkingv1.VirtualService{} }, func() runtime.Object { return &networkingv1.VirtualServiceList{} }, true},
	{networking.WithKind("Sidecar"), "sidecars", func() Object { return &networkingv1.Sidecar{} }, func() runtime.Object { return &networkingv1.SidecarList{} }, true},
	{telemetry.WithKind("Telemetry"), "telemetries", func() Object { return &telemetryv1.Telemetry{} }, func() runtime.Object { return &telemetryv1.TelemetryList{} }, true},
	{netv1.SchemeGroupVersion.WithKind("NetworkPolicy"), "networkpolicies", func() Object { return &netv1.NetworkPolicy{} }, func() runtime.Object { return &netv1.NetworkPolicyList{} }, false},
}

// KindNamed is the managed kind of a name; false for any other.
func KindNamed(name string) (Kind, bool) {
	for _, k := range managedKinds {
		if k.GVK.Kind == name {
			return k, true
		}
	}
	return Kind{}, false
}

// ManagedKinds lists the kinds that the operator writes, in a fixed order.
func ManagedKinds() []Kind { return slices.Clone(managedKinds) }

// KindOf returns the managed kind of an object by its Go type, since objects
// read through a typed client carry no TypeMeta.
func KindOf(o runtime.Object) (Kind, bool) {
	var want string
	switch o.(type) {
	case *securityv1.PeerAuthentication:
		want = "PeerAuthentication"
	case *securityv1.RequestAuthentication:
		want = "RequestAuthentication"
	case *securityv1.AuthorizationPolicy:
		want = "AuthorizationPolicy"
	case *networkingv1.ServiceEntry:
		want = "ServiceEntry"
	case *networkingv1.DestinationRule:
		want = "DestinationRule"
	case *networkingv1.Gateway:
		want = "Gateway"
	case *networkingv1.VirtualService:
		want = "VirtualService"
	case *networkingv1.Sidecar:
		want = "Sidecar"
	case *telemetryv1.Telemetry:
		want = "Telemetry"
	case *netv1.NetworkPolicy:
		want = "NetworkPolicy"
	}
	return KindNamed(want)
}
