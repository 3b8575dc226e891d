package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// cluster holds the objects of one namespace, as an API server would. Its
// writes leave the one that they are made to as it is.
type cluster struct {
	live    []mesh.Object // sorted by kind and name
	version int
}

func index(live []mesh.Object, o mesh.Object) (int, bool) {
	at, _ := drift.KeyOf(o)
	return slices.BinarySearchFunc(live, at.String(), func(o mesh.Object, s string) int {
		k, _ := drift.KeyOf(o)
		return strings.Compare(k.String(), s)
	})
}

func (c cluster) write(verb Verb, o mesh.Object) cluster {
	i, there := index(c.live, o)
	if there == (verb == Create) {
		panic(fmt.Sprintf("%s %s: there: %t", verb, o.GetName(), there))
	}
	c.version++
	live := slices.Clone(c.live)
	if verb == Delete {
		c.live = slices.Delete(live, i, i+1)
		return c
	}
	o = o.DeepCopyObject().(mesh.Object)
	if verb == Create {
		o.SetUID(types.UID(fmt.Sprint("uid-", c.version)))
		o.SetCreationTimestamp(metav1.Unix(int64(c.version), 0))
		live = slices.Insert(live, i, o)
	} else {
		o.SetUID(live[i].GetUID())
		o.SetCreationTimestamp(live[i].GetCreationTimestamp())
		live[i] = o
	}
	o.SetResourceVersion(fmt.Sprint(c.version))
	c.live = live
	return c
}

// views are what the proxies let pass, and what they do together with the
// network: whoever is in the mesh has to pass both, and a cluster's network
// need not enforce anything.
type views struct{ proxies, both *effective.Model }

func (x *transition) views(live []mesh.Object) views {
	w := x.world(live)
	both := effective.New(w)
	w.Objects = slices.DeleteFunc(slices.Clone(w.Objects), func(o facts.Object) bool { _, is := o.(*netv1.NetworkPolicy); return is })
	return views{effective.New(w), both}
}

// trial is something that may pass.
type trial struct {
	what   string
	passes func(views) effective.Answer
	// neverMore: it is something that really happens, rather than what one of
	// several layers would let pass. neverLess: it must pass where it passes
	// before and after.
	neverMore, neverLess bool
	call                 effective.Call
	exit                 effective.Exit
}

// trials are made of every value that something in one of the worlds tells
// apart. Each layer is tried with every combination of those; all together,
// with some that do not repeat each other.
func trials(was, is views) ([]trial, bool) {
	probes, complete := effective.Probes(6000, was.both, is.both)
	by := map[effective.Layer][]effective.Probe{}
	var out []trial
	for _, p := range probes {
		by[p.Layer] = append(by[p.Layer], p)
		alone := slices.Contains([]effective.Layer{effective.NetworkIn, effective.NetworkOut, effective.Unlogged}, p.Layer)
		out = append(out, trial{fmt.Sprintf("%+v", p), func(v views) effective.Answer { return v.both.Pass(p) }, alone, p.Layer != effective.Unlogged && (p.Layer != effective.Transport || p.Call.From.ServiceAccount == ""), p.Call, p.Exit})
	}
	chance := rand.New(rand.NewPCG(1, 2))
	drawn := func(l effective.Layer, with effective.Labels, of func(effective.Probe) effective.Labels) (effective.Probe, effective.Labels) {
		for range 4 {
			p := by[l][chance.IntN(len(by[l]))]
			if facts.Overlap(of(p), with) {
				both := maps.Clone(of(p))
				if both == nil {
					both = effective.Labels{}
				}
				maps.Copy(both, with)
				return p, both
			}
		}
		return effective.Probe{}, with
	}
	to := func(p effective.Probe) effective.Labels { return p.Call.To }
	from := func(p effective.Probe) effective.Labels { return p.Exit.From }
	for _, p := range by[effective.Authorization] {
		c := p.Call
		admits := func(c effective.Call) {
			out = append(out, trial{fmt.Sprintf("past the proxy: %+v", c), func(v views) effective.Answer { return v.proxies.Admits(c) }, true, true, c, effective.Exit{}})
		}
		admits(c)
		t, workload := drawn(effective.Transport, c.To, to)
		c.To, c.Port = workload, t.Call.Port
		admits(c)
		c = p.Call
		n, workload := drawn(effective.NetworkIn, c.To, to)
		c.To, c.From.Pod = workload, n.Call.From.Pod
		if c.From.ServiceAccount != "" {
			// An identity is one of a pod in its namespace.
			c.From.Pod.Namespace = c.From.Namespace
		}
		if c.From.Address == "" {
			c.From.Address = n.Call.From.Address
		}
		if chance.IntN(2) == 0 {
			c.Port = n.Call.Port
		}
		out = append(out, trial{fmt.Sprintf("call: %+v", c), func(v views) effective.Answer { return v.both.Admits(c) }, true, true, c, effective.Exit{}})
	}
	for _, p := range by[effective.ProxyOut] {
		e := p.Exit
		out = append(out, trial{fmt.Sprintf("past the proxy: %+v", e), func(v views) effective.Answer { return v.proxies.Leaves(p.Exit) }, true, true, effective.Call{}, e})
		n, workload := drawn(effective.NetworkOut, e.From, from)
		e.From, e.Pod = workload, n.Exit.Pod
		if e.Address == "" {
			e.Address = n.Exit.Address
		}
		out = append(out, trial{fmt.Sprintf("exit: %+v", e), func(v views) effective.Answer { return v.both.Leaves(e) }, true, true, effective.Call{}, e})
	}
	return out, complete
}

const (
	stops = iota
	unsure
	passes
)

func outcome(a effective.Answer) int {
	switch {
	case a.Unknown:
		return unsure
	case a.Passes:
		return passes
	}
	return stops
}

// transition is a way from what is there to what is desired.
type transition struct {
	facts   facts.Facts
	others  []facts.Object
	desired []mesh.Object
	was     cluster

	trials      []trial
	before, end []int
	// most is what passes before or after as well, for whoever asks for it.
	most []int
	// checked are states that were looked at.
	checked map[string]bool
	// texts are those of objects, which never change: a write makes another one.
	texts map[mesh.Object]string
	found []string
}

// tally counts what was tried, so that a test which tries nothing is seen.
type tally struct {
	pairs, plans, states, trials, unsure, spared, cut int
	why                                               map[string]int
}

func (x *transition) world(live []mesh.Object) effective.World {
	f := x.facts
	return effective.World{Namespace: f.Namespace.Name, Mesh: f.Mesh, Pods: f.Pods, Services: f.Services, Objects: slices.Concat(live, x.others)}
}

func (x *transition) plan(c cluster) []Step {
	return Make(drift.Compare(x.desired, c.live, drift.Options{}), x.world(c.live))
}

func (x *transition) done(c cluster) bool {
	return len(drift.Compare(x.desired, c.live, drift.Options{})) == 0
}

func apply(c cluster, s Step) cluster { return c.write(s.Verb, s.Object) }

// spare leaves out what can't be had, since one object is the most that can be
// written at once, and says why; empty where nothing is. Every case is in doc.go.
func (x *transition) spare(t *trial, was, is views) string {
	c := t.call
	before, after := x.authenticated(x.was.live, c.To), x.authenticated(x.desired, c.To)
	switch {
	case t.exit.Address != "" && byName(was, t.exit) != byName(is, t.exit):
		// Known by a range of addresses in one state, and by its name in the other.
		t.neverLess = false
		return "address or name"
	case c.From.ServiceAccount != "" && disabled(was, c) != disabled(is, c):
		// Whoever calls a port that is turned to Disable, or back, has another identity after.
		t.neverLess, t.neverMore = false, false
		return "another identity"
	case c.From.ServiceAccount == "" && c.Port != 0 && x.moves(c):
		// The port of two exceptions, one of which goes as the other comes for
		// some of its workloads, and others.
		t.neverMore = false
		return "exceptions that overlap"
	case c.Token != nil && (before == 0) != (after == 0) && before+after > 1:
		// The first of several RequestAuthentications refuses the others' tokens.
		t.neverLess = false
		return "several providers"
	case c.Token != nil && x.otherKeys(c):
		// Valid by the keys that the issuer had, or gets, alone.
		t.neverMore = false
		return "other keys"
	case c.Token != nil && before == 0 && after > 0 && x.tampered(c.To):
		// What somebody made of a rule about tokens, while these were not validated.
		t.neverLess, t.neverMore = false, false
		return "a rule about tokens that was changed"
	}
	return ""
}

// tampered says whether a policy of a workload that tells tokens apart is
// not as it should be.
func (x *transition) tampered(to effective.Labels) bool {
	return slices.ContainsFunc(x.was.live, func(o mesh.Object) bool {
		ap, is := o.(*securityv1.AuthorizationPolicy)
		if !is || !inForce(ap) || !facts.Matches(selectorOf(ap), to) || !strings.Contains(text(o), "requestPrincipals") {
			return false
		}
		i, there := index(x.desired, o)
		return !there || text(x.desired[i]) != text(o)
	})
}

func byName(v views, e effective.Exit) bool {
	e.Address = ""
	return v.proxies.Leaves(e).Passes
}

// moves says whether an exception comes by which a port accepts plaintext, and
// another one with the same port goes that shares some workloads, not all.
func (x *transition) moves(c effective.Call) bool {
	exceptions := func(objects []mesh.Object) (out []*securityv1.PeerAuthentication) {
		for _, o := range objects {
			pa, is := o.(*securityv1.PeerAuthentication)
			if is && exception(pa) && pa.Spec.GetPortLevelMtls()[uint32(c.Port)] != nil { //nolint:gosec // a port
				out = append(out, pa)
			}
		}
		return out
	}
	selector := func(pa *securityv1.PeerAuthentication) map[string]string {
		return pa.Spec.GetSelector().GetMatchLabels()
	}
	return slices.ContainsFunc(exceptions(x.desired), func(a *securityv1.PeerAuthentication) bool {
		return facts.Matches(selector(a), c.To) && slices.ContainsFunc(exceptions(x.was.live), func(b *securityv1.PeerAuthentication) bool {
			return facts.Overlap(selector(a), selector(b)) && !maps.Equal(selector(a), selector(b))
		})
	})
}

// authenticated counts the RequestAuthentications of a workload.
func (x *transition) authenticated(objects []mesh.Object, to effective.Labels) int {
	n := 0
	for _, o := range objects {
		if ra, is := o.(*securityv1.RequestAuthentication); is && len(ra.Spec.GetJwtRules()) > 0 && facts.Matches(ra.Spec.GetSelector().GetMatchLabels(), to) {
			n++
		}
	}
	return n
}

// restricts says whether egress is restricted for the whole namespace.
func restricts(live []mesh.Object) bool {
	return slices.ContainsFunc(live, func(o mesh.Object) bool {
		sc, is := o.(*networkingv1.Sidecar)
		return is && sc.Spec.GetWorkloadSelector() == nil
	})
}

// mixtures are the proxies before and after, each with the hosts of both.
func mixtures(was, is views) (out [2]*effective.Model) {
	for i, v := range []views{was, is} {
		w := v.proxies.World
		w.Objects = slices.DeleteFunc(slices.Concat(was.proxies.Objects, is.proxies.Objects), func(o facts.Object) bool {
			_, sidecar := o.(*networkingv1.Sidecar)
			return sidecar && !slices.Contains(v.proxies.Objects, o)
		})
		out[i] = effective.New(w)
	}
	return out
}

// mixed is what may pass while egress changes from one restriction to another:
// what the Sidecars of before or after let out, and the network before or after.
func mixed(t trial, proxies [2]*effective.Model, was, is views) int {
	most := max(outcome(proxies[0].Leaves(t.exit)), outcome(proxies[1].Leaves(t.exit)))
	if strings.HasPrefix(t.what, "past the proxy") {
		return most
	}
	network := effective.Probe{Layer: effective.NetworkOut, Exit: t.exit}
	return min(most, max(outcome(was.both.Pass(network)), outcome(is.both.Pass(network))))
}

func disabled(v views, c effective.Call) bool {
	mode, _ := v.both.MutualTLS(c.To, c.Port)
	return mode == "DISABLE"
}

// otherKeys says whether a token's issuer has other keys for a workload after
// than before, and only one of these validate the token.
func (x *transition) otherKeys(c effective.Call) bool {
	keys := func(objects []mesh.Object) (issuer, valid bool) {
		for _, o := range objects {
			ra, is := o.(*securityv1.RequestAuthentication)
			if !is || !facts.Matches(ra.Spec.GetSelector().GetMatchLabels(), c.To) {
				continue
			}
			for _, r := range ra.Spec.GetJwtRules() {
				issuer = issuer || r.GetIssuer() == c.Token.Issuer
				valid = valid || r.GetIssuer() == c.Token.Issuer && r.GetJwksUri() == c.Token.Keys
			}
		}
		return issuer, valid
	}
	had, was := keys(x.was.live)
	has, is := keys(x.desired)
	return had && has && was != is
}

// all carries out a plan, without those steps that fail and those that these hold back.
func all(c cluster, steps []Step, fails func(int) bool, reached func(c cluster, after string)) cluster {
	var failed []Step
	for i, s := range steps {
		held := slices.ContainsFunc(failed, func(f Step) bool { _, yes := s.HeldBackBy(f); return yes })
		if held || fails != nil && fails(i) {
			failed = append(failed, s)
			continue
		}
		c = apply(c, s)
		reached(c, fmt.Sprintf("%s %s", s.Verb, s.Resource()))
	}
	return c
}

// fingerprint of a state: what is there, the oldest first.
func (x *transition) fingerprint(c cluster) string {
	live := slices.Clone(c.live)
	slices.SortStableFunc(live, func(a, b mesh.Object) int {
		return a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time)
	})
	if x.texts == nil {
		x.texts = map[mesh.Object]string{}
	}
	var b strings.Builder
	for _, o := range live {
		if x.texts[o] == "" {
			x.texts[o] = text(o)
		}
		b.WriteString(x.texts[o])
	}
	return b.String()
}

func text(of ...mesh.Object) string {
	var b strings.Builder
	for _, o := range of {
		raw, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		var fields struct{ Spec json.RawMessage }
		if err := json.Unmarshal(raw, &fields); err != nil {
			panic(err)
		}
		k, _ := drift.KeyOf(o)
		fmt.Fprintf(&b, "%s %s %s\n", k, o.GetAnnotations()["istio.io/dry-run"], fields.Spec)
	}
	return b.String()
}

// look checks one state, once.
func (x *transition) look(c cluster, way string, n *tally) (fresh bool) {
	key := x.fingerprint(c)
	if x.checked[key] {
		return false
	}
	x.checked[key] = true
	n.states++
	v := x.views(c.live)
	for i, t := range x.trials {
		have := outcome(t.passes(v))
		switch {
		case t.neverMore && have > max(x.before[i], x.end[i], x.most[i]):
			x.found = append(x.found, fmt.Sprintf("MORE OPEN (%d, %d, %d) after %s\n  %s", x.before[i], have, x.end[i], way, t.what))
			return true
		case t.neverLess && have < min(x.before[i], x.end[i]):
			x.found = append(x.found, fmt.Sprintf("LOCKED OUT (%d, %d, %d) after %s\n  %s", x.before[i], have, x.end[i], way, t.what))
			return true
		}
	}
	return true
}

// follow looks at every state that is reached from one by crashes alone: after
// each write the plan is made anew.
func (x *transition) follow(c cluster, way string, n *tally) {
	steps := x.plan(c)
	n.plans++
	end := all(c, steps, nil, func(c cluster, after string) {
		way += ", " + after
		if x.look(c, way, n) {
			x.follow(c, way+", CRASH", n)
		}
	})
	if !x.done(end) {
		x.found = append(x.found, fmt.Sprintf("NOT FINISHED after %s: %s", way, drift.Compare(x.desired, end.live, drift.Options{})[0].Resource()))
	}
}

// examine looks at every state that the way can lead through.
func (x *transition) examine(n *tally, fails ...func(int) bool) {
	steps := x.plan(x.was)
	end := all(x.was, steps, nil, func(cluster, string) {})
	was, is := x.views(x.was.live), x.views(end.live)
	var complete bool
	x.trials, complete = trials(was, is)
	n.pairs++
	n.trials += len(x.trials)
	if !complete {
		n.cut++
	}
	restricted, proxies := restricts(x.was.live) && restricts(end.live), mixtures(was, is)
	for i := range x.trials {
		t := &x.trials[i]
		if why := x.spare(t, was, is); why != "" {
			n.spared++
			n.why[why]++
		}
		x.before, x.end = append(x.before, outcome(t.passes(was))), append(x.end, outcome(t.passes(is)))
		if restricted && t.exit.Port != 0 {
			x.most = append(x.most, mixed(*t, proxies, was, is))
			continue
		}
		if c := t.call; t.neverMore && c.Token != nil {
			// Whoever has a token may leave it out.
			c.Token = nil
			v := was.proxies
			if strings.HasPrefix(t.what, "call") {
				x.most = append(x.most, max(outcome(was.both.Admits(c)), outcome(is.both.Admits(c))))
			} else {
				x.most = append(x.most, max(outcome(v.Admits(c)), outcome(is.proxies.Admits(c))))
			}
		} else {
			x.most = append(x.most, stops)
		}
		if x.before[len(x.before)-1] == unsure || x.end[len(x.end)-1] == unsure {
			n.unsure++
		}
	}
	x.checked = map[string]bool{}
	x.follow(x.was, "", n)
	for i := range steps {
		fails = append(fails, func(j int) bool { return i == j })
	}
	for _, f := range fails {
		way := ""
		for i, s := range steps {
			if f(i) {
				way += "FAILS " + s.Resource() + ", "
			}
		}
		all(x.was, steps, f, func(c cluster, after string) {
			way += ", " + after
			if x.look(c, way, n) {
				x.follow(c, way+", AGAIN", n)
			}
		})
	}
}

func written(objects []mesh.Object) cluster {
	var c cluster
	for _, o := range objects {
		c = c.write(Create, o)
	}
	return c
}

// No state on the way is more open than before and after, nor does it deny what
// both allow: whatever crashes and whatever fails, and however often the plan is
// made anew. It draws 100 pairs of each kind; -rapid.checks has another number.
func TestEveryPrefix(t *testing.T) {
	for _, r := range []struct {
		name string
		draw func(*rapid.T) transition
	}{
		{"what is declared changes", func(rt *rapid.T) transition {
			f := drawFacts(rt)
			was, is := drawPair(rt)
			return transition{facts: f, desired: istio.Sidecar{}.Compile(is, f).Objects, was: written(istio.Sidecar{}.Compile(was, f).Objects)}
		}},
		{"drift is corrected", func(rt *rapid.T) transition {
			f := drawFacts(rt)
			is, _ := drawPair(rt)
			desired := istio.Sidecar{}.Compile(is, f).Objects
			return transition{facts: f, desired: desired, was: written(drawTampering(rt, desired))}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			n := tally{why: map[string]int{}}
			rapid.Check(t, func(rt *rapid.T) {
				x := r.draw(rt)
				some := rapid.Uint64().Draw(rt, "failures")
				x.examine(&n, func(i int) bool { return some>>(i%64)&1 == 1 })
				if len(x.found) > 0 {
					rt.Fatalf("%d violations\n%s\nfrom\n%s\nto\n%s", len(x.found), x.found[0], text(x.was.live...), text(x.desired...))
				}
			})
			t.Logf("%d pairs of postures, %d plans, %d states; %d trials, of which %d can't be told and %d are left out: %v; not everything was tried in %d pairs",
				n.pairs, n.plans, n.states, n.trials, n.unsure, n.spared, n.why, n.cut)
			// What can't be told passes everything, and so does what is left out: they
			// must stay the exception. A single pair may have many of either.
			if n.unsure*20 > n.trials || n.spared*3 > n.trials || n.cut*10 > n.pairs {
				t.Error("too much is not tried")
			}
		})
	}
}
