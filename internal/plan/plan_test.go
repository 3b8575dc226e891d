package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// state is what a namespace has: KIND/NAME to spec, "!" in front of the spec for a dry run.
type state map[string]string

func (s state) objects(t *testing.T, live bool) []mesh.Object {
	t.Helper()
	var out []mesh.Object
	for key, spec := range s {
		kind, name, _ := strings.Cut(key, "/")
		spec, dry := strings.CutPrefix(spec, "!")
		raw, err := yaml.YAMLToJSON([]byte(spec))
		if err != nil {
			t.Fatal(err)
		}
		var o mesh.Object
		for _, k := range kinds() {
			if k.GVK.Kind == kind {
				o = k.New()
			}
		}
		if err := json.Unmarshal([]byte(`{"spec":`+string(raw)+`}`), o); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		m := mesh.Meta(posture.Posture{Namespace: "ns", Owner: posture.Owner{Kind: v1alpha1.KindProfile, Name: "p", UID: "u"}}, "msp-"+name, "")
		o.SetName(m.Name)
		o.SetNamespace(m.Namespace)
		o.SetLabels(m.Labels)
		o.SetOwnerReferences(m.OwnerReferences)
		if dry {
			o.SetAnnotations(map[string]string{"istio.io/dry-run": "true"})
		}
		if live {
			o.SetUID(types.UID(key))
			o.SetResourceVersion("7")
		}
		out = append(out, o)
	}
	return out
}

func kinds() []mesh.Kind { return mesh.ManagedKinds() }

// steps of the plan from one state to another, as VERB NAME.
func steps(t *testing.T, from, to state) []Step {
	t.Helper()
	return made(to.objects(t, false), from.objects(t, true))
}

func made(desired, live []mesh.Object) []Step {
	return Make(drift.Compare(desired, live, drift.Options{}), effective.World{Namespace: "ns", Objects: live})
}

func texts(steps []Step) []string {
	out := []string{}
	for _, s := range steps {
		name := strings.TrimPrefix(s.Object.GetName(), "msp-")
		if strings.HasPrefix(name, "transition.keep-") {
			name = "transition.keep-…"
		}
		out = append(out, string(s.Verb)+" "+name)
	}
	return out
}

const (
	strictMode     = `{mtls: {mode: STRICT}}`
	permissiveMode = `{mtls: {mode: PERMISSIVE}}`
	openPort       = `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}}}`
	fromBatch      = `{rules: [{from: [{source: {namespaces: [batch]}}]}]}`
	fromBatchShop  = `{rules: [{from: [{source: {namespaces: [batch, shop]}}]}]}`
	fromShop       = `{rules: [{from: [{source: {namespaces: [shop]}}]}]}`
	ofA            = `{selector: {matchLabels: {app: a}}, rules: [{from: [{source: {namespaces: [batch]}}]}]}`
	ofA2           = `{selector: {matchLabels: {app: a}}, rules: [{from: [{source: {namespaces: [shop]}}]}]}`
	ofB            = `{selector: {matchLabels: {track: b}}, rules: [{from: [{source: {namespaces: [shop]}}]}]}`
	otherPort      = `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9200": {mode: PERMISSIVE}}}`
	bothPorts      = `{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}, "9200": {mode: PERMISSIVE}}}`
	fromAnyone     = `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`
	withToken      = `{rules: [{from: [{source: {requestPrincipals: ["a/*"]}}]}]}`
	notBatch       = `{action: DENY, rules: [{from: [{source: {namespaces: [batch]}}]}]}`
	notBatchShop   = `{action: DENY, rules: [{from: [{source: {namespaces: [batch, shop]}}]}]}`
	jwt            = `{jwtRules: [{issuer: a}]}`
	registry       = `{outboundTrafficPolicy: {}, egress: [{hosts: [./*]}]}`
	registryMore   = `{outboundTrafficPolicy: {}, egress: [{hosts: [./*, b/*]}]}`
	registryOf     = `{workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {}, egress: [{hosts: [./*]}]}`
	hostA          = `{hosts: [a]}`
	hostAB         = `{hosts: [a, b]}`
	noEgress       = `{podSelector: {}, policyTypes: [Egress]}`
	someEgress     = `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}`
	egressOf       = `{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{}]}`
	accessLog      = `{accessLogging: [{providers: [{name: envoy}]}]}`
)

// whole is a namespace with something of everything.
var whole = state{
	"RequestAuthentication/jwt": jwt, "PeerAuthentication/mtls": strictMode, "PeerAuthentication/mtls-a": openPort,
	"AuthorizationPolicy/batch": fromBatch, "AuthorizationPolicy/no-shop": notBatchShop, "AuthorizationPolicy/default-deny": `{}`,
	"ServiceEntry/host": hostA, "Sidecar/egress": registry, "Sidecar/egress-a": registryOf,
	"NetworkPolicy/net": noEgress, "NetworkPolicy/net-a": egressOf, "Telemetry/log": accessLog,
}

// hostsAB are two entries.
var hostsAB = state{
	"ServiceEntry/a": `{hosts: [a.example], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}`,
	"ServiceEntry/b": `{hosts: [b.example], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}`,
}

func dryRun(s state) state {
	out := state{}
	for k, v := range s {
		if strings.HasPrefix(k, "AuthorizationPolicy") {
			v = "!" + v
		}
		out[k] = v
	}
	return out
}

func with(s state, more state) state {
	out := state{}
	for _, m := range []state{s, more} {
		for k, v := range m {
			out[k] = v
			if v == "" {
				delete(out, k)
			}
		}
	}
	return out
}

func TestOrder(t *testing.T) {
	closed := state{"AuthorizationPolicy/default-deny": `{}`, "PeerAuthentication/mtls": strictMode}
	for _, r := range []struct {
		name     string
		from, to state
		want     []string
	}{
		{"nothing", whole, whole, []string{}},
		{"everything up", nil, whole, []string{
			"create mtls-a", "create mtls", "create no-shop", "create jwt", "create host", "create net-a", "create net", "create batch", "create default-deny",
			"create egress-a", "create egress", "create log",
		}},
		{"everything down", whole, nil, []string{
			"delete net", "delete net-a", "delete egress", "delete egress-a", "delete default-deny", "delete batch",
			"delete host", "delete no-shop", "delete jwt", "delete mtls", "delete mtls-a", "delete log",
		}},
		{"mutual TLS up: in place", state{"PeerAuthentication/mtls": permissiveMode}, state{"PeerAuthentication/mtls": strictMode}, []string{"replace mtls"}},
		{
			"mutual TLS up: exceptions are there before", state{"PeerAuthentication/mtls": permissiveMode},
			state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/mtls-a": openPort}, []string{"create mtls-a", "replace mtls"},
		},
		{
			"mutual TLS down: exceptions go after", state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/mtls-a": openPort},
			state{"PeerAuthentication/mtls": permissiveMode}, []string{"replace mtls", "delete mtls-a"},
		},
		{
			"an exception is renamed", state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/mtls-a": openPort},
			state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/mtls-z": openPort}, []string{"create mtls-z", "delete mtls-a"},
		},
		{
			"an exception goes while rules come: it shuts first", with(closed, state{"PeerAuthentication/mtls-a": openPort}),
			with(closed, state{"AuthorizationPolicy/open": fromAnyone}), []string{"delete mtls-a", "create open"},
		},
		{
			"an exception comes while rules go: it opens last", with(closed, state{"AuthorizationPolicy/open": fromAnyone}),
			with(closed, state{"PeerAuthentication/mtls-a": openPort}), []string{"delete open", "create mtls-a"},
		},
		{
			"authorization up: STRICT, then DENY, then every ALLOW, then default-deny", state{"PeerAuthentication/mtls": permissiveMode},
			state{"PeerAuthentication/mtls": strictMode, "AuthorizationPolicy/default-deny": `{}`, "AuthorizationPolicy/z": fromBatch, "AuthorizationPolicy/a": notBatch, "RequestAuthentication/jwt": jwt},
			[]string{"replace mtls", "create a", "create jwt", "create z", "create default-deny"},
		},
		{
			"authorization down: default-deny, then the ALLOWs, then the DENYs", with(closed, state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": notBatch}),
			state{"PeerAuthentication/mtls": permissiveMode}, []string{"delete default-deny", "delete a", "delete b", "replace mtls"},
		},
		{
			"to a dry run: default-deny, then the ALLOWs, then the DENYs",
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": notBatch, "AuthorizationPolicy/z-default-deny": `{}`},
			dryRun(state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": notBatchShop, "AuthorizationPolicy/z-default-deny": `{}`}),
			[]string{"replace z-default-deny", "replace a", "replace b"},
		},
		{
			"from a dry run: DENYs, ALLOWs, default-deny",
			dryRun(state{"AuthorizationPolicy/b": fromBatch, "AuthorizationPolicy/c": notBatch, "AuthorizationPolicy/a-default-deny": `{}`}),
			state{"AuthorizationPolicy/b": fromBatch, "AuthorizationPolicy/c": notBatch, "AuthorizationPolicy/a-default-deny": `{}`},
			[]string{"replace c", "replace b", "replace a-default-deny"},
		},
		{
			"rules change: new ALLOWs before old ones go", with(closed, state{"AuthorizationPolicy/a-old": fromBatch}),
			with(closed, state{"AuthorizationPolicy/z-new": fromBatch}), []string{"create z-new", "delete a-old"},
		},
		{
			"rules change: the rule that gains a caller before the one that loses it",
			with(closed, state{"AuthorizationPolicy/a": fromBatchShop, "AuthorizationPolicy/z": fromBatch}),
			with(closed, state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/z": fromBatchShop}), []string{"replace z", "replace a"},
		},
		{
			"rules change: default-deny before a last ALLOW goes", state{"AuthorizationPolicy/a": fromBatch},
			state{"AuthorizationPolicy/default-deny": `{}`}, []string{"create default-deny", "delete a"},
		},
		{
			"rules change: a DENY that grows first, one that shrinks last",
			with(closed, state{"AuthorizationPolicy/a": notBatchShop, "AuthorizationPolicy/m": fromBatch, "AuthorizationPolicy/z": notBatch}),
			with(closed, state{"AuthorizationPolicy/a": notBatch, "AuthorizationPolicy/n": fromBatch, "AuthorizationPolicy/z": notBatchShop}),
			[]string{"replace z", "create n", "delete m", "replace a"},
		},
		{
			"default-deny is renamed: rules that go do not wait for it to be gone", with(closed, state{"AuthorizationPolicy/a": fromBatch}),
			state{"PeerAuthentication/mtls": strictMode, "AuthorizationPolicy/deny-all": `{}`}, []string{"create deny-all", "delete a", "delete default-deny"},
		},
		{
			"default-deny made whole after the ALLOWs", state{"AuthorizationPolicy/default-deny": `{rules: [{}]}`},
			with(closed, state{"AuthorizationPolicy/z": fromBatch, "PeerAuthentication/mtls": ""}), []string{"create z", "replace default-deny"},
		},
		{
			"egress up: hosts, network, Sidecar", nil,
			state{"ServiceEntry/y": hostA, "Sidecar/a": registry, "NetworkPolicy/z": noEgress}, []string{"create y", "create z", "create a"},
		},
		{
			"egress down: the reverse", state{"ServiceEntry/a": hostA, "Sidecar/b": registry, "NetworkPolicy/c": noEgress}, nil,
			[]string{"delete c", "delete b", "delete a"},
		},
		{
			"egress to more: known, then let through, in the network first",
			state{"ServiceEntry/a": hostA, "Sidecar/b": registry, "NetworkPolicy/c": noEgress},
			state{"ServiceEntry/a": hostAB, "Sidecar/b": registryMore, "NetworkPolicy/c": someEgress}, []string{"replace a", "replace c", "replace b"},
		},
		{
			"egress to less: refused, then forgotten",
			state{"ServiceEntry/a": hostA, "Sidecar/b": registryMore, "NetworkPolicy/c": someEgress},
			state{"Sidecar/b": registry, "NetworkPolicy/c": noEgress}, []string{"replace c", "replace b", "delete a"},
		},
		{
			"a host moves: the entry that gains it first",
			state{"ServiceEntry/a": hostAB, "ServiceEntry/z": hostA}, state{"ServiceEntry/a": hostA, "ServiceEntry/z": hostAB}, []string{"replace z", "replace a"},
		},
		{
			"the Sidecar shuts before the network opens", state{"NetworkPolicy/a": noEgress},
			state{"NetworkPolicy/a": someEgress, "Sidecar/z": registry}, []string{"create z", "replace a"},
		},
		{
			"the network shuts before the Sidecar opens", state{"Sidecar/a": registry, "NetworkPolicy/z": someEgress},
			state{"Sidecar/a": registryMore, "NetworkPolicy/z": noEgress}, []string{"replace z", "replace a"},
		},
		{
			"some pods before all pods, and all before some when they go",
			state{"NetworkPolicy/b-all": noEgress, "NetworkPolicy/a-some": egressOf, "Sidecar/b": registry, "Sidecar/a": registryOf},
			state{"NetworkPolicy/c-all": someEgress, "NetworkPolicy/d-some": egressOf},
			[]string{"create d-some", "create c-all", "delete b-all", "delete a-some", "delete b", "delete a"},
		},
		{
			"several rules for the first time: a cover until all of them are there", nil,
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`},
			[]string{"create transition.allow", "create a", "create b", "create default-deny", "delete transition.allow"},
		},
		{
			"several rules no longer: a cover until all of them are gone",
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`}, nil,
			[]string{"create transition.allow", "delete default-deny", "delete a", "delete b", "delete transition.allow"},
		},
		{
			"several rules are there already: no cover", with(closed, state{"AuthorizationPolicy/a": fromBatch}),
			with(closed, state{"AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/c": fromBatchShop}), []string{"create b", "create c", "delete a"},
		},
		{
			"several rules of workloads some of which have one: a cover that allows what these rules do",
			state{"AuthorizationPolicy/c": ofB}, state{"AuthorizationPolicy/c": ofB, "AuthorizationPolicy/a": ofA, "AuthorizationPolicy/b": ofA2},
			[]string{"create transition.allow-2dc82fe9", "create a", "create b", "delete transition.allow-2dc82fe9"},
		},
		{
			"a cover is there already: it is used and removed", state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/transition.allow": `{rules: [{}]}`},
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`},
			[]string{"create b", "create default-deny", "delete transition.allow"},
		},
		{
			"to a dry run, as a DENY: still the ALLOW that it was",
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`},
			dryRun(state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": notBatch, "AuthorizationPolicy/default-deny": `{}`}),
			[]string{"create transition.allow", "replace default-deny", "replace a", "replace b", "delete transition.allow"},
		},
		{
			"a rule that lets in others than before: the old one stays as a copy", with(closed, state{"AuthorizationPolicy/a": fromBatch}),
			with(closed, state{"AuthorizationPolicy/a": fromShop}), []string{"create transition.keep-…", "replace a", "delete transition.keep-…"},
		},
		{
			"an exception shuts one port and opens another: in two halves",
			state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/a": openPort},
			state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/a": otherPort, "AuthorizationPolicy/c": fromAnyone},
			[]string{"replace a", "create c", "replace a"},
		},
		{
			"the Sidecar loses a host that a workload keeps: the workload's first",
			with(hostsAB, state{"Sidecar/egress": `{outboundTrafficPolicy: {}, egress: [{hosts: [./a.example]}]}`}),
			with(hostsAB, state{"Sidecar/egress": `{outboundTrafficPolicy: {}, egress: [{hosts: [./b.example]}]}`, "Sidecar/z": `{workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {}, egress: [{hosts: [./a.example]}]}`}),
			[]string{"create z", "replace egress"},
		},
		{
			"tokens are validated before rules ask for them, and after", state{"RequestAuthentication/a": jwt, "AuthorizationPolicy/b": withToken},
			state{"RequestAuthentication/z": jwt, "AuthorizationPolicy/y": withToken}, []string{"create z", "create y", "delete b", "delete a"},
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.want, texts(steps(t, r.from, r.to))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The first half of an exception opens nothing, and shuts nothing that another
// one keeps open which goes.
func TestHalves(t *testing.T) {
	got := steps(t, state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/a": openPort},
		state{"PeerAuthentication/mtls": permissiveMode, "PeerAuthentication/z": `{selector: {matchLabels: {track: b}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {"9200": {mode: PERMISSIVE}}}`})
	if diff := cmp.Diff([]string{"create z", "replace mtls", "replace z", "delete a"}, texts(got)); diff != "" {
		t.Fatal(diff)
	}
	want := state{"PeerAuthentication/z": `{selector: {matchLabels: {track: b}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}, "9200": {mode: STRICT}}}`}.objects(t, false)[0]
	if text(got[0].Object) != text(want) {
		t.Errorf("%s is not %s", text(got[0].Object), text(want))
	}
}

func TestSteps(t *testing.T) {
	want := state{"PeerAuthentication/mtls": strictMode}.objects(t, false)[0]
	live := state{"PeerAuthentication/mtls": permissiveMode}.objects(t, true)[0]
	live.SetLabels(map[string]string{"team": "x", v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue})
	key, _ := drift.KeyOf(want)
	for _, r := range []struct {
		name   string
		change drift.Change
		verb   Verb
		reason string
	}{
		{"missing", drift.Change{Type: drift.Missing, Desired: want, OutOfSync: true}, Create, "declared and not there"},
		{"deleted", drift.Change{Type: drift.Missing, Desired: want, Drift: true}, Create, "deleted by somebody else"},
		{"modified", drift.Change{Type: drift.Modified, Desired: want, Live: live, OutOfSync: true}, Replace, "not as declared"},
		{"drifted", drift.Change{Type: drift.Modified, Desired: want, Live: live, Drift: true, Actor: "kubectl"}, Replace, "changed by kubectl"},
		{"adopted", drift.Change{Type: drift.Modified, Desired: want, Live: live, Adopted: true}, Replace, "asks to be taken over"},
		{"unexpected", drift.Change{Type: drift.Unexpected, Live: live}, Delete, "nothing asks for it"},
		{"conflict", drift.Change{Type: drift.Conflict, Desired: want, Live: live}, "", ""},
		{"going", drift.Change{Type: drift.Missing, Desired: want, Live: live, Waiting: true}, "", ""},
		{"going too", drift.Change{Type: drift.Unexpected, Live: live, Waiting: true}, "", ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			r.change.Key = key
			got := Make([]drift.Change{r.change}, effective.World{})
			if r.verb == "" {
				if len(got) > 0 {
					t.Fatalf("%+v", got)
				}
				return
			}
			s := got[0]
			if s.Verb != r.verb || s.Reason != r.reason || s.Resource() != "PeerAuthentication/msp-mtls" {
				t.Errorf("%s: %s of %s", s.Verb, s.Reason, s.Resource())
			}
			if s.Verb == Replace && (s.Object.GetUID() != live.GetUID() || s.Object.GetResourceVersion() != "7" || s.Object.GetLabels()["team"] != "x") {
				t.Error("not guarded by what was seen, or without others' labels")
			}
		})
	}
	// A name that the operator never gives is nobody's to delete.
	live.SetName("mtls")
	key.Name = "mtls"
	if got := Make([]drift.Change{{Type: drift.Unexpected, Live: live, Key: key}}, effective.World{}); len(got) > 0 {
		t.Error("an object without the prefix is deleted")
	}
}

func TestHolds(t *testing.T) {
	openNS := state{}
	closed := state{"AuthorizationPolicy/default-deny": `{}`}
	for _, r := range []struct {
		name     string
		from, to state
		fails    string
		held     []string
	}{
		{
			"an ALLOW: no default-deny, the rest goes on", nil, whole, "batch",
			[]string{"default-deny"},
		},
		{"mutual TLS: all goes on that only shuts", nil, whole, "mtls", []string{}},
		{"an exception: the namespace does not become STRICT", nil, whole, "mtls-a", []string{"mtls"}},
		{"tokens: no rules that allow, no default-deny", nil, whole, "jwt", []string{"batch", "default-deny"}},
		{"a host: no Sidecar", nil, whole, "host", []string{"egress-a", "egress"}},
		{"a workload's Sidecar: not the namespace's", nil, whole, "egress-a", []string{"egress"}},
		{"a workload's network: not the namespace's", nil, whole, "net-a", []string{"net"}},
		{"access log: nothing", nil, whole, "log", []string{}},
		{"down, the network: not the workloads'", whole, nil, "net", []string{"net-a"}},
		{"down, the Sidecar: not its hosts", whole, nil, "egress", []string{"egress-a", "host"}},
		{"down, default-deny: not the ALLOWs and what they need", whole, nil, "default-deny", []string{"batch", "no-shop", "jwt"}},
		{"down, an ALLOW: not the DENYs and what they need", whole, nil, "batch", []string{"no-shop", "jwt"}},
		{"down, mutual TLS: not its exceptions", whole, nil, "mtls", []string{"mtls-a"}},
		{
			"a DENY in a closed namespace: no ALLOW", closed,
			with(closed, state{"AuthorizationPolicy/a": notBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/c": fromAnyone}), "a", []string{"b", "c"},
		},
		{
			"a DENY in an open namespace: it is shut all the same", openNS,
			with(closed, state{"AuthorizationPolicy/a": notBatch, "AuthorizationPolicy/b": fromShop}), "a", []string{},
		},
		{
			"STRICT in a closed namespace: no ALLOW without an identity", with(closed, state{"PeerAuthentication/m": permissiveMode}),
			with(closed, state{"PeerAuthentication/m": strictMode, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/c": fromAnyone, "AuthorizationPolicy/d": withToken}),
			"m", []string{"c", "d"},
		},
		{
			"a new ALLOW: the old one stays", with(closed, state{"AuthorizationPolicy/a": fromBatch}),
			with(closed, state{"AuthorizationPolicy/z": fromBatch}), "z", []string{"a"},
		},
		{
			"default-deny: a workload keeps its last ALLOW", state{"AuthorizationPolicy/a": fromBatch}, closed, "default-deny", []string{"a"},
		},
		{
			"what shuts: nothing opens", with(whole, state{"AuthorizationPolicy/b2": fromShop}),
			with(whole, state{"AuthorizationPolicy/no-shop": "", "PeerAuthentication/mtls": permissiveMode}), "b2", []string{"no-shop", "mtls"},
		},
		{
			"the network shuts: the Sidecar does not open", state{"Sidecar/a": registry, "NetworkPolicy/z": someEgress},
			state{"Sidecar/a": registryMore, "NetworkPolicy/z": noEgress}, "z", []string{"a"},
		},
		{
			"a cover: no rule by itself", nil,
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`}, "transition.allow",
			[]string{"a", "b", "default-deny"},
		},
		{
			"a rule: the cover stays", nil,
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`}, "b",
			[]string{"default-deny", "transition.allow"},
		},
		{
			"a rule that does not go: the cover stays",
			state{"AuthorizationPolicy/a": fromBatch, "AuthorizationPolicy/b": fromShop, "AuthorizationPolicy/default-deny": `{}`}, nil, "b",
			[]string{"transition.allow"},
		},
		{
			"the network: a workload keeps its own", state{"NetworkPolicy/net": someEgress, "NetworkPolicy/net-a": egressOf},
			state{"NetworkPolicy/net": noEgress}, "net", []string{"net-a"},
		},
		{
			"the Sidecar: a workload keeps its own", state{"Sidecar/egress": registryMore, "Sidecar/egress-a": registryOf},
			state{"Sidecar/egress": registry}, "egress", []string{"egress-a"},
		},
		{
			"a host: a workload keeps its Sidecar",
			state{"ServiceEntry/a": hostsAB["ServiceEntry/a"], "Sidecar/egress": `{outboundTrafficPolicy: {}, egress: [{hosts: [./c]}]}`, "Sidecar/egress-a": `{workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {}, egress: [{hosts: [./a.example]}]}`},
			with(hostsAB, state{"Sidecar/egress": `{outboundTrafficPolicy: {}, egress: [{hosts: [./b.example]}]}`}), "b", []string{"egress-a"},
		},
		{
			"a DENY: tokens do not open rules that are there already", with(closed, state{"AuthorizationPolicy/b": withToken}),
			with(closed, state{"AuthorizationPolicy/b": withToken, "AuthorizationPolicy/no": notBatch, "RequestAuthentication/jwt": jwt}), "no", []string{"jwt"},
		},
		{
			"tokens: those that are validated stay so", state{"RequestAuthentication/a": jwt}, state{"RequestAuthentication/z": jwt}, "z", []string{"a"},
		},
		{
			"STRICT: tokens do not open rules that are there already", with(closed, state{"PeerAuthentication/mtls": permissiveMode, "AuthorizationPolicy/b": withToken}),
			with(closed, state{"AuthorizationPolicy/b": withToken, "RequestAuthentication/jwt": jwt}), "mtls", []string{"jwt"},
		},
		{
			"an exception: the other one stays", state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/a": openPort},
			state{"PeerAuthentication/mtls": strictMode, "PeerAuthentication/z": bothPorts}, "z", []string{"a"},
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.held, heldAfter(t, steps(t, r.from, r.to), r.fails)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A workload keeps its Sidecar while a host that it would reach by the
// namespace's is not known: whether that one is there already, or opens.
func TestHoldsOfSidecarsThatGo(t *testing.T) {
	for _, r := range []rank{egressSomeAway, egressSomeDown} {
		if _, held := (Step{rank: r}).HeldBackBy(Step{rank: hostUp}); !held {
			t.Errorf("rank %d goes on", r)
		}
	}
}

// What is tried to place one entry must not grow with all the others.
func TestAboutSomeHosts(t *testing.T) {
	live := state{
		"ServiceEntry/a": `{hosts: [a.example]}`, "ServiceEntry/b": `{hosts: [b.other]}`, "ServiceEntry/w": `{hosts: ["*.example"]}`,
		"ServiceEntry/net": `{hosts: [net.invalid], addresses: [10.0.0.0/8]}`,
		"Sidecar/all":      `{egress: [{hosts: [./a.example, ./b.other, "./*.example", ./net.invalid, "./*.ns.svc.cluster.local"]}]}`,
	}.objects(t, true)
	w := about(effective.World{Namespace: "ns", Mesh: facts.Mesh{ClusterDomain: "cluster.local"}, Objects: live}, []string{"a.example"})
	var got []string
	for _, o := range w.Objects {
		got = append(got, hostsOf(o)...)
		got = append(got, imports(o)...)
	}
	slices.Sort(got)
	want := []string{"*.example", "*.example", "*.ns.svc.cluster.local", "a.example", "a.example", "net.invalid", "net.invalid"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, o := range live {
		if o.GetName() == "msp-all" && len(imports(o)) != 5 {
			t.Error("the cache's object was changed")
		}
	}
}

// heldAfter is what does not go on when one step fails, in order.
func heldAfter(t *testing.T, steps []Step, name string) []string {
	t.Helper()
	var failed []Step
	held := []string{}
	for _, s := range steps {
		short := strings.TrimPrefix(s.Object.GetName(), "msp-")
		if short == name {
			failed = append(failed, s)
			continue
		}
		for _, f := range failed {
			if because, yes := s.HeldBackBy(f); yes {
				if because == "" {
					t.Error("no reason")
				}
				failed = append(failed, s)
				held = append(held, short)
				break
			}
		}
	}
	if len(failed) == 0 {
		t.Fatalf("no step is called %s", name)
	}
	return held
}

// Every hold concerns a step that comes later: one that came before could not be held.
func TestHoldsLookForward(t *testing.T) {
	for _, h := range holds {
		for _, f := range h.failed {
			for _, r := range h.held {
				if r <= f {
					t.Errorf("%s: rank %d is not after %d", h.because, r, f)
				}
			}
		}
	}
}

func TestOrderDoesNotDependOnTheInput(t *testing.T) {
	changes := drift.Compare(with(whole, state{"AuthorizationPolicy/new": fromShop}).objects(t, false),
		with(whole, state{"Sidecar/egress": registryMore, "AuthorizationPolicy/old": fromShop, "ServiceEntry/host": ""}).objects(t, true), drift.Options{})
	want := texts(Make(changes, effective.World{}))
	rapid.Check(t, func(r *rapid.T) {
		if diff := cmp.Diff(want, texts(Make(rapid.Permutation(slices.Clone(changes)).Draw(r, "changes"), effective.World{}))); diff != "" {
			r.Fatal(diff)
		}
	})
}
