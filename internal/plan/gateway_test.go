package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// outwards is a namespace that leaves the mesh through a gateway in namespace out.
var outwards = state{
	"AuthorizationPolicy/egress.gateway.ns.out": `{selector: {matchLabels: {a: b}}, rules: [{from: [{source: {namespaces: [ns]}}]}]}`,
	"AuthorizationPolicy/default-deny":          `{}`, "AuthorizationPolicy/batch": fromBatch,
	"ServiceEntry/host": hostA, "DestinationRule/clients": `{host: gw.out.svc.cluster.local}`, "Gateway/tunnels": `{selector: {a: b}}`,
	"VirtualService/route": `{hosts: [a]}`, "Sidecar/egress": registry, "NetworkPolicy/net": noEgress,
}

func atTheGateway(objects []mesh.Object) []mesh.Object {
	for _, o := range objects {
		if o.GetName() == mesh.GatewayPolicyName("ns", "out") {
			o.SetNamespace("out")
		}
	}
	return objects
}

func stepsOut(t *testing.T, from, to state) []Step {
	t.Helper()
	live := atTheGateway(from.objects(t, true))
	return Make(drift.Compare(atTheGateway(to.objects(t, false)), live, drift.Options{}), effective.World{Namespace: "ns", Objects: live})
}

// What lets through the gateway comes before anything leads there, and goes last.
// It is no rule of the namespace's own: what becomes of these does not depend on it.
func TestOrderThroughAGateway(t *testing.T) {
	for _, r := range []struct {
		name     string
		from, to state
		want     []string
	}{
		{"up", nil, outwards, []string{
			"create egress.gateway.ns.out", "create host", "create clients", "create tunnels", "create route", "create net", "create batch",
			"create default-deny", "create egress",
		}},
		{"down", outwards, nil, []string{
			"delete net", "delete egress", "delete default-deny", "delete batch", "delete route", "delete tunnels", "delete clients", "delete host",
			"delete egress.gateway.ns.out",
		}},
		{
			"down, where the mesh refuses what is not registered", with(outwards, state{"ServiceEntry/tunnel": `{hosts: [t.example], exportTo: [out], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}`}), nil, []string{
				"delete net", "delete egress", "delete default-deny", "delete batch", "delete route", "delete tunnels", "delete clients", "delete host",
				"delete tunnel", "delete egress.gateway.ns.out",
			},
		},
		{"emptied by somebody", with(outwards, state{"AuthorizationPolicy/egress.gateway.ns.out": `{}`}), outwards, []string{"replace egress.gateway.ns.out"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.want, texts(stepsOut(t, r.from, r.to))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHoldsThroughAGateway(t *testing.T) {
	for _, r := range []struct {
		name     string
		from, to state
		fails    string
		held     []string
	}{
		{"no policy: nothing leads to the gateway, and nothing is shut", nil, outwards, "egress.gateway.ns.out", []string{"route", "net", "egress"}},
		{"no server: nothing leads to it", nil, outwards, "tunnels", []string{"route", "net", "egress"}},
		{"a route that stays: so does what it leads to", outwards, nil, "route", []string{"tunnels", "clients", "host", "egress.gateway.ns.out"}},
		{"a Sidecar that stays: so does all that it needs", outwards, nil, "egress", []string{"route", "tunnels", "clients", "host", "egress.gateway.ns.out"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.held, heldAfter(t, stepsOut(t, r.from, r.to), r.fails)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
