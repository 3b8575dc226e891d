package mesh

import (
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

func TestGatewayTenant(t *testing.T) {
	policy := func(name, namespace string) Object {
		o := &securityv1.AuthorizationPolicy{}
		o.Name, o.Namespace = name, namespace
		return o
	}
	long := strings.Repeat("a", 63)
	for _, r := range []struct {
		name   string
		object Object
		tenant string
	}{
		{"one's own name", policy(GatewayPolicyName("pay", "out"), "out"), "pay"},
		{"the longest names, whole", policy(GatewayPolicyName(long, long), long), long},
		{"in another namespace", policy(GatewayPolicyName("pay", "out"), "shop"), ""},
		{"in the namespace that it is for", policy(GatewayPolicyName("pay", "out"), "pay"), ""},
		{"for no namespace", policy("msp-egress.gateway..out", "out"), ""},
		{"for what is no namespace", policy("msp-egress.gateway.a.b.out", "out"), ""},
		{"of a rule called egress", policy(Part(Name("egress"), "gateway"), "out"), ""},
		{"of a baseline's rule", policy("msp-baseline.gateway.pay.out", "out"), ""},
		{"of another kind", &networkingv1.Gateway{ObjectMeta: policy(GatewayPolicyName("pay", "out"), "out").(*securityv1.AuthorizationPolicy).ObjectMeta}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			if tenant, is := GatewayTenant(r.object); tenant != r.tenant && is || is != (r.tenant != "") {
				t.Errorf("%q, %t", tenant, is)
			}
		})
	}
}
