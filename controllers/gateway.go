package controllers

import (
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// gateways are the egress gateways at which something may be written for a
// namespace: what baselines that apply to it declare, and nothing that a profile says.
func gateways(o facts.Observed) []apply.Gateway {
	var out []apply.Gateway
	for _, b := range o.Baselines {
		if g := b.Spec.EgressGateway; g != nil {
			out = append(out, apply.Gateway{Namespace: string(g.Namespace), Baseline: b.UID})
		}
	}
	return out
}

// owners are the namespace of an object and, of a policy at an egress gateway,
// the one that it lets use the gateway.
func owners(o client.Object) []string {
	if tenant, is := mesh.GatewayTenant(o); is {
		return []string{tenant, o.GetNamespace()}
	}
	return []string{o.GetNamespace()}
}

// written says whether an object of a kind that others write as well bears a
// name of the operator's.
func written(o client.Object) bool { return strings.HasPrefix(o.GetName(), mesh.NamePrefix) }

// behindPod lists the namespaces for which a baseline declares an egress gateway
// where the pod is.
func (l profileLookup) behindPod(o client.Object) []string {
	return l.fleet.behind(o.GetNamespace())
}

// ofService lists the namespaces that a service is of, or that name it, or that
// leave the mesh through it.
func (l profileLookup) ofService(o client.Object) []string {
	return append(l.withOwn("service")(o), l.fleet.behind(o.GetNamespace())...)
}

// behindGateway lists the namespaces whose egress gateway somebody else's Gateway
// may share: which pods it selects is asked when they are looked at.
func (l profileLookup) behindGateway(o client.Object) []string {
	if _, is := o.(*networkingv1.Gateway); !is || written(o) {
		return nil
	}
	return l.fleet.list(func(s standing) bool { return s.gateway != "" })
}

// trimmed says whether an object is of a kind of which others' objects are kept
// in part alone.
func trimmed(o client.Object) bool {
	switch o.(type) {
	case *networkingv1.DestinationRule, *networkingv1.Gateway, *networkingv1.VirtualService:
		return !written(o)
	}
	return false
}

// behind lists the namespaces whose egress gateway is in a namespace, sorted.
func (f *fleet) behind(namespace string) []string {
	return f.list(func(s standing) bool { return s.gateway == namespace })
}
