package facts

import (
	"net/http"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Perimeter is where traffic comes into the mesh, and leaves it.
type Perimeter struct {
	// Proxies are the mesh's proxies that stand alone, those alike once, sorted.
	Proxies []Proxy
	// Gateways that the operator does not write, sorted by namespace and name.
	Gateways []*networkingv1.Gateway
	// Routes are the VirtualServices that are bound to those Gateways of which it
	// matters, sorted by namespace and name.
	Routes map[types.NamespacedName][]*networkingv1.VirtualService
	// Policies are the AuthorizationPolicies of the proxies' namespaces and of the
	// mesh's root namespace, whoever wrote them, sorted by namespace and name.
	Policies []*securityv1.AuthorizationPolicy
	// Doors lead from outside the cluster to workloads of the mesh that are no
	// gateways, sorted.
	Doors []Door
	// PeerAuthentications are those of the doors' namespaces, whoever wrote them,
	// sorted by namespace and name.
	PeerAuthentications []*securityv1.PeerAuthentication
}

// Proxy is a proxy of the mesh that stands alone.
type Proxy struct {
	Namespace string
	Owner     Owner
	Labels    map[string]string
}

// Source names the workload.
func (p Proxy) Source() Source { return Source{p.Owner.Kind, p.Namespace, p.Owner.Name} }

// Door is an object that leads traffic from outside the cluster to workloads.
type Door struct {
	// Source is a service, or a workload whose pods have ports of their nodes.
	Source
	// Ways say in words how it is reached from outside, sorted.
	Ways []string
	// Targets are the ports of workloads of the mesh that it leads to, those alike
	// once, sorted.
	Targets []Target
}

// Target is a port of a workload.
type Target struct {
	Workload Owner
	Labels   map[string]string
	Port     int32
	// Captured is false where calls to it do not pass the proxy.
	Captured bool
}

// ToHTTPS says whether a route sends callers to HTTPS.
func ToHTTPS(r *networkingapi.HTTPRoute) bool { return strings.EqualFold(r.GetRedirect().GetScheme(), "https") }

// Refuses says whether a route answers every request by an error, and leads none on.
func Refuses(r *networkingapi.HTTPRoute) bool {
	abort := r.GetFault().GetAbort()
	return r.GetDirectResponse().GetStatus() >= http.StatusBadRequest || (abort.GetPercentage().GetValue() >= 100 && abort.GetHttpStatus() >= http.StatusBadRequest)
}
