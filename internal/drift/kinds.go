package drift

import (
	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// message is the spec of one of Istio's kinds, and nil for any other object.
func message(o mesh.Object) proto.Message {
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		return &o.Spec
	case *securityv1.AuthorizationPolicy:
		return &o.Spec
	case *securityv1.RequestAuthentication:
		return &o.Spec
	case *networkingv1.Sidecar:
		return &o.Spec
	case *networkingv1.ServiceEntry:
		return &o.Spec
	case *networkingv1.DestinationRule:
		return &o.Spec
	case *networkingv1.Gateway:
		return &o.Spec
	case *networkingv1.VirtualService:
		return &o.Spec
	case *telemetryv1.Telemetry:
		return &o.Spec
	}
	return nil
}

// Key identifies an object within a namespace.
type Key struct {
	schema.GroupVersionKind
	Name string
}

// String is KIND/NAME.
func (k Key) String() string { return k.Kind + "/" + k.Name }

// KeyOf is the key of an object of a managed kind; it is false for any other.
func KeyOf(o mesh.Object) (Key, bool) {
	k, ok := mesh.KindOf(o)
	return Key{k.GVK, o.GetName()}, ok
}
