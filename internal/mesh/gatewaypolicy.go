package mesh

import (
	"strings"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// gatewayPolicy begins the names of policies at egress gateways. Two dots: no
// object of a rule has a name with these words before its second one.
const gatewayPolicy = NamePrefix + "egress.gateway."

// GatewayPolicyName is the name of the policy, in the namespace of an egress
// gateway, that lets another namespace's workloads use it. It holds both names
// whole, so that no two are alike: it has up to 146 characters, of the 253 that
// the API server allows.
func GatewayPolicyName(tenant, gateway string) string { return gatewayPolicy + tenant + "." + gateway }

// GatewayTenant is the namespace whose workloads an object lets use the egress
// gateway of its own namespace; false for any other object. It goes by the kind
// and the name alone, which nobody can strip off.
func GatewayTenant(o Object) (string, bool) {
	if _, is := o.(*securityv1.AuthorizationPolicy); !is {
		return "", false
	}
	return GatewayPolicyTenant(o.GetName(), o.GetNamespace())
}

// AtGateway says whether an object is a policy beside an egress gateway.
func AtGateway(o Object) bool {
	_, is := GatewayTenant(o)
	return is
}

// GatewayPolicyTenant is the same for the name and the namespace of an AuthorizationPolicy.
func GatewayPolicyTenant(name, namespace string) (string, bool) {
	rest, ok := strings.CutPrefix(name, gatewayPolicy)
	if !ok {
		return "", false
	}
	tenant, ok := strings.CutSuffix(rest, "."+namespace)
	return tenant, ok && tenant != "" && !strings.Contains(tenant, ".")
}
