package effective

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func exit(t testing.TB, text string) Exit {
	t.Helper()
	var x Exit
	if err := yaml.UnmarshalStrict([]byte(text), &x); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return x
}

// services of the test's worlds.
func services() map[types.NamespacedName]facts.Service {
	out := map[types.NamespacedName]facts.Service{}
	for _, s := range []facts.Service{
		{Namespace: "pay", Name: "db", Selector: map[string]string{"app": "db"}, Ports: []facts.ServicePort{{Protocol: "TCP", Port: 5432, Target: portNumber(15432)}}},
		{Namespace: "shop", Name: "cart", Selector: map[string]string{"app": "cart"}, Ports: []facts.ServicePort{{Protocol: "TCP", Port: 80, Target: portNumber(8080)}}},
		{Namespace: "out", Name: "gw", Selector: map[string]string{"app": "gw"}, Ports: []facts.ServicePort{{Protocol: "TCP", Port: 443, Target: portNumber(8443)}}},
	} {
		out[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	return out
}

func TestReach(t *testing.T) {
	const (
		closed  = `SC s {outboundTrafficPolicy: {}, egress: [{hosts: [./*, shop/*]}]}`
		entry   = `SE e {hosts: [api.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}`
		only443 = `NP n {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}`
		host    = `{Host: api.example, Port: 443}`
		gateway = `VS v {hosts: [api.example], gateways: [mesh], tls: [{match: [{port: 443, sniHosts: [api.example]}], route: [{destination: {host: gw.out.svc.cluster.local, port: {number: 443}}}]}]}`
		toOut   = `NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: out}}, podSelector: {matchLabels: {app: gw}}}], ports: [{port: 8443}]}]}`
	)
	for _, r := range []struct {
		says, objects, exit, pod string
		world                    func(*World)
		want                     string
	}{
		{says: "the mesh's default lets out", exit: host, want: "Allowed"},
		{says: "both the proxy and the network have to", objects: closed + "\n" + entry + "\n" + only443, exit: host, want: "Allowed e n"},
		{says: "the proxy stops what nobody declares", objects: closed, exit: host, want: "Denied ProxyOut s"},
		{says: "the mesh configuration does", exit: host, world: func(w *World) { w.Mesh.RegistryOnly = facts.Yes }, want: "Denied ProxyOut"},
		{says: "the network stops a port", objects: closed + "\n" + entry + "\nNP n {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}", exit: host, want: "Denied NetworkOut n"},
		{says: "what is exported to others alone", objects: closed + "\nSE shop/e {hosts: [api.example], exportTo: [\".\"], ports: [{number: 443, name: t, protocol: TLS}]}", exit: host, want: "Denied ProxyOut s"},
		{says: "an entry that asks for another name", objects: closed + "\nSE e {hosts: [api.example], subjectAltNames: [b.example], ports: [{number: 443, name: t, protocol: TLS}]}", exit: host, want: "Denied ProxyOut e"},

		{says: "a pod without a proxy", objects: closed, exit: host, pod: `Sidecar: false`, want: "Allowed past"},
		{says: "is held by the network alone", objects: only443, exit: `{Host: api.example, Port: 80}`, pod: `Sidecar: false`, want: "Denied NetworkOut n past"},
		{says: "on its node's network by nothing for sure", objects: only443, exit: `{Host: api.example, Port: 80}`, pod: `Sidecar: false, Bypass: [hostNetwork]`, want: "Unknown NetworkOut n past"},
		{says: "an excluded port", objects: closed, exit: host, pod: `Capture: {OutPast: [443]}`, want: "Allowed past"},
		{says: "another port", objects: closed, exit: `{Host: api.example, Port: 80}`, pod: `Capture: {OutPast: [443]}`, want: "Denied ProxyOut s"},
		{says: "an excluded range", objects: closed, exit: `{Address: 10.1.1.1, Port: 1}`, pod: `Capture: {OutPastBlocks: [10.0.0.0/8]}`, want: "Allowed past"},
		{says: "an address outside of it", objects: closed, exit: `{Address: 11.1.1.1, Port: 1}`, pod: `Capture: {OutPastBlocks: [10.0.0.0/8]}`, want: "Denied ProxyOut s"},
		{says: "a host whose address is not known", objects: closed, exit: host, pod: `Capture: {OutPastBlocks: [10.0.0.0/8]}`, want: "Unknown Capture s"},
		{says: "an included range", objects: closed, exit: `{Address: 10.1.1.1, Port: 1}`, pod: `Capture: {SomeOut: true, OutBlocks: [10.0.0.0/8]}`, want: "Denied ProxyOut s"},
		{says: "an address outside of that", objects: closed, exit: `{Address: 11.1.1.1, Port: 1}`, pod: `Capture: {SomeOut: true, OutBlocks: [10.0.0.0/8]}`, want: "Allowed past"},
		{says: "an included port, whatever the range", objects: closed, exit: `{Address: 11.1.1.1, Port: 1}`, pod: `Capture: {SomeOut: true, OutBlocks: [10.0.0.0/8], OutPorts: [1]}`, want: "Denied ProxyOut s"},
		{says: "but not in an excluded range", objects: closed, exit: `{Address: 11.1.1.1, Port: 1}`, pod: `Capture: {SomeOut: true, OutBlocks: [10.0.0.0/8], OutPorts: [1], OutPastBlocks: [11.0.0.0/8]}`, want: "Allowed past"},
		{says: "nothing is led through the proxy", objects: closed, exit: host, pod: `Capture: {SomeOut: true}`, want: "Allowed past"},
		{says: "UDP", objects: closed, exit: `{Address: 11.1.1.1, Port: 1, Protocol: UDP}`, want: "Allowed past"},
		{says: "a process that evades its proxy", objects: closed, exit: `{Host: api.example, Port: 443, Direct: true}`, want: "Allowed past"},
		{says: "a container that could", objects: closed, exit: host, pod: `Tampering: [container x has the capability NET_ADMIN]`, want: "Unknown ProxyOut s"},
		{says: "is still held by the network", objects: closed + "\nNP n {podSelector: {}, policyTypes: [Egress]}", exit: host, pod: `Tampering: [container x has the capability NET_ADMIN]`, want: "Denied NetworkOut n"},
		{says: "an EnvoyFilter", objects: closed, exit: host, world: func(w *World) {
			w.Influences = []facts.Influence{{Kind: "EnvoyFilter", Namespace: "pay", Name: "f", Areas: []v1alpha1.Area{v1alpha1.AreaEgress}}}
		}, want: "Unknown ProxyOut s f"},
		{says: "the root namespace may declare it", objects: closed, exit: host, world: func(w *World) { w.Partial = true }, want: "Unknown ProxyOut s"},
		{says: "no control plane was seen", objects: closed, exit: host, world: func(w *World) { w.Mesh.Observed = false }, want: "Unknown ProxyOut s"},

		{says: "a Service that the Sidecar imports, and how it is called", objects: closed + "\nDR d {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Allowed d s"},
		{says: "one that it does not", objects: closed, exit: `{Host: other.bank.svc.cluster.local, Port: 80}`, want: "Denied ProxyOut s"},
		{says: "the network sees a Service's pods and their port", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {app: cart}}}], ports: [{port: 8080}]}]}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Allowed n"},
		{says: "not the Service's own port", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 80}]}]}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Denied NetworkOut n"},
		{says: "other pods' labels do not match", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: x}}}]}]}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Denied NetworkOut n"},
		{says: "labels that its selector does not name may", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {tier: x}}}]}]}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Unknown NetworkOut n"},
		{says: "labels of its namespace may", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: x}}}]}]}", exit: `{Host: cart.shop.svc.cluster.local, Port: 80}`, want: "Unknown NetworkOut n"},
		{says: "an address that is not known may be in a block", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}", exit: host, want: "Unknown NetworkOut n"},
		{says: "in what is open but for the cluster's ranges it is", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}", exit: host, want: "Allowed n"},
		{says: "one that is known is not", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}", exit: `{Host: api.example, Address: 198.51.100.1, Port: 443}`, want: "Denied NetworkOut n"},
		{says: "of the own namespace's pods the labels are known", objects: "NP n {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {tier: x}}}]}]}", exit: `{Host: db.pay.svc.cluster.local, Port: 5432}`, world: func(w *World) {
			w.Pods = []facts.Pod{{Name: "d", Labels: map[string]string{"app": "db", "tier": "x"}}}
		}, want: "Allowed n"},

		{says: "through an egress gateway", objects: closed + "\n" + entry + "\n" + gateway + "\n" + toOut, exit: host, want: "Allowed e v n through gw.out.svc.cluster.local"},
		{says: "of which a baseline says what pods it has", objects: closed + "\n" + entry + "\n" + gateway + "\n" + toOut, exit: host, world: func(w *World) {
			delete(w.Services, types.NamespacedName{Namespace: "out", Name: "gw"})
			w.EgressGateway = &facts.EgressGateway{Namespace: "out", Service: "gw", Selector: map[string]string{"app": "gw"}, Target: portNumber(8443)}
		}, want: "Allowed e v n through gw.out.svc.cluster.local"},
		{says: "and otherwise nobody", objects: closed + "\n" + entry + "\n" + gateway + "\n" + toOut, exit: host, world: func(w *World) {
			delete(w.Services, types.NamespacedName{Namespace: "out", Name: "gw"})
		}, want: "Unknown NetworkOut n through gw.out.svc.cluster.local"},
		{says: "which the network has to let it reach", objects: closed + "\n" + entry + "\n" + gateway + "\nNP n {podSelector: {}, policyTypes: [Egress]}", exit: host, want: "Denied NetworkOut n through gw.out.svc.cluster.local"},
		{says: "a route for another port", objects: closed + "\n" + entry + "\n" + strings.ReplaceAll(gateway, "port: 443, sni", "port: 80, sni"), exit: host, want: "Allowed e"},
		{says: "a route of a gateway's", objects: closed + "\n" + entry + "\n" + strings.ReplaceAll(gateway, "gateways: [mesh]", "gateways: [x]"), exit: host, want: "Allowed e"},
		{says: "past the proxy it goes through nothing", objects: closed + "\n" + entry + "\n" + gateway + "\n" + toOut, exit: host, pod: `Sidecar: false`, want: "Denied NetworkOut n past"},
	} {
		t.Run(r.says, func(t *testing.T) {
			w := whole(t, r.objects)
			w.Services = services()
			if r.world != nil {
				r.world(&w)
			}
			v := New(w).Reach(exit(t, r.exit), pod(t, r.pod))
			if got := told(v); got != r.want {
				t.Errorf("got %s, want %s: %s", got, r.want, v.Why)
			}
		})
	}
}

func TestExits(t *testing.T) {
	w := whole(t, `
		SC s {outboundTrafficPolicy: {}, egress: [{hosts: [./*, shop/*]}]}
		SE e {hosts: [b.example, a.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}
		SE f {hosts: [x.invalid], addresses: [203.0.113.0/24], exportTo: ["."], resolution: NONE, ports: [{number: 5432, name: t, protocol: TCP}]}
		SE bank/g {hosts: [c.example], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]}
		VS v {hosts: [a.example], gateways: [mesh], tls: [{match: [{port: 443, sniHosts: [a.example]}], route: [{destination: {host: gw.out.svc.cluster.local, port: {number: 443}}}]}]}
		NP n {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}, {to: [{namespaceSelector: {}}]}]}`)
	w.Services = services()
	got := New(w).Exits(pod(t, `Capture: {OutPast: [25]}, Tampering: [container x is privileged]`))
	var declared []string
	for _, d := range got.Declared {
		declared = append(declared, fmt.Sprintf("%s%s:%d %s", d.Host, d.Block, d.Port, told(d.Verdict)))
	}
	want := "a.example:443 Allowed e v n through gw.out.svc.cluster.local\nb.example:443 Allowed e n"
	if s := strings.Join(declared, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if s, want := strings.Join(got.Past, "; "), "port 25 (excludeOutboundPorts); whatever a container makes it: container x is privileged; what is not TCP"; s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if s := strings.Join(got.Imports, " "); s != "pay/* shop/*" {
		t.Error(s)
	}
	if got.Rest.Outcome != Unknown || got.Network.Outcome != Denied {
		t.Errorf("%+v, %+v", got.Rest, got.Network)
	}
	if got := New(w).Exits(pod(t, "")); got.Rest.Outcome != Denied || got.Rest.By[0].Name != "s" {
		t.Errorf("%+v", got.Rest)
	}
	if got := New(w).Exits(pod(t, "Sidecar: false")); got.Rest != nil || len(got.Declared) > 0 || got.Past[0] != "everything: the pod has no proxy" {
		t.Errorf("%+v", got)
	}
}

// Reach says what the layers say, and Denied by the network alone where a
// connection goes past the proxy.
func TestReachAgreesWithTheLayers(t *testing.T) {
	one := func(rt *rapid.T, name string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, name) }
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(t, rt)
		w.NetworkEnforced = facts.Yes
		m := New(w)
		p := drawPod(rt, labelsOf(one(rt, "from", "", "app=a", "app=b")))
		x := Exit{From: p.Labels, Host: one(rt, "host", "a.example", "b.example", "q.test"), Address: one(rt, "address", "10.0.0.9", "192.0.2.9"), Port: int32(rapid.SampledFrom([]int{80, 443}).Draw(rt, "port"))}
		v, layers, network := m.Reach(x, p), m.Leaves(x), m.Pass(Probe{Layer: NetworkOut, Exit: x})
		past := !p.Sidecar || p.Capture.None || (len(p.Capture.OutPast) > 0 && x.Port == 443) || (p.Capture.SomeOut && x.Address != "10.0.0.9")
		switch {
		case past != (v.Past != ""):
			rt.Fatalf("past %v, %+v", past, v)
		case past && (v.Outcome == Denied) == network.Passes:
			rt.Fatalf("past the proxy, the network says %+v: %+v", network, v)
		case past:
		case v.Outcome == Denied && layers.Passes, v.Outcome == Allowed && (!layers.Passes || layers.Unknown):
			rt.Fatalf("layers say %+v: %+v", layers, v)
		case v.Outcome == Unknown && !layers.Unknown && !w.Partial && !p.Capture.Interfaces:
			rt.Fatalf("layers say %+v: %+v", layers, v)
		case v.Outcome == Denied && p.Capture.Interfaces && network.Passes:
			rt.Fatalf("denied, and could go past the proxy: %+v", v)
		}
	})
}
