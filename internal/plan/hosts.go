package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// An entry makes its hosts known to all workloads of the namespace that a
// Sidecar does not keep them from. Mostly it has to be there before the Sidecars
// that know its hosts, and until these are gone. But what the mesh refuses by
// default, or another workload's Sidecar already imports, it would open to more
// workloads than are to reach it; then it waits for the Sidecars.

// maxTrials bounds what is tried to place an entry.
const maxTrials = 4000

// placeHosts finds the entries that have to change after the Sidecars that shut,
// rather than before, or before those that open, rather than after.
func placeHosts(steps []Step, before, after effective.World) {
	if slices.ContainsFunc(steps, routes) {
		// Which way a host is reached is known by its route as well, which the model
		// does not have: entries are there before routes, and go after them.
		return
	}
	before, after = outbound(before), outbound(after)
	shut, open := known(steps, before, after)
	for i := range steps {
		s := &steps[i]
		if _, is := subject(*s).(*networkingv1.ServiceEntry); !is || s.temporary && s.Verb == Create {
			continue
		}
		hosts := hostsOf(s.Change.Live, s.Change.Desired)
		before, after, shut, open := about(before, hosts), about(after, hosts), about(shut, hosts), about(open, hosts)
		// The state next to which it may open something, and the one on the way
		// that it would open it in, or otherwise be missing in.
		end, with, without := before, carriedOut(before, []Step{*s}), undone(shut, *s)
		if s.forgets() {
			end, with, without = after, undone(after, *s), carriedOut(open, []Step{*s})
		}
		s.swapped = stray(end, with, end).opens && !stray(before, without, after).shuts
	}
}

// routes says whether a step is of a route.
func routes(s Step) bool { _, is := subject(s).(*networkingv1.VirtualService); return is }

// known are the states in which every entry that comes is there and none has
// gone: with the Sidecars of after, but for those that come last, and of before.
func known(steps []Step, before, after effective.World) (shut, open effective.World) {
	shut, open = after, before
	for _, s := range steps {
		_, entry := subject(s).(*networkingv1.ServiceEntry)
		switch {
		case s.restrictsAgain(), entry && s.forgets():
			shut = undone(shut, s)
			if s.temporary {
				open = undone(open, s)
			}
		case entry && !s.temporary:
			open = carriedOut(open, []Step{s})
		}
	}
	return shut, open
}

// alone says whether a Sidecar is replaced by one that lets more through, or
// less, given all entries of before and after; never of anything else.
func alone(s Step, before, after effective.World) (opens, shuts bool) {
	if _, is := s.Change.Desired.(*networkingv1.Sidecar); !is || s.Verb != Replace {
		return false, false
	}
	had, has := imports(s.Change.Live), imports(s.Change.Desired)
	differ := slices.Concat(lacks(had, has), lacks(has, had))
	entries := before
	entries.Objects = nil
	for _, w := range []effective.World{about(before, differ), about(after, differ)} {
		for _, o := range w.Objects {
			if _, is := o.(*networkingv1.ServiceEntry); is {
				entries.Objects = append(entries.Objects, o)
			}
		}
	}
	with := func(o mesh.Object) *effective.Model {
		return effective.New(about(plus(entries, o), differ))
	}
	c := effective.Compare(with(s.Change.Live), with(s.Change.Desired))
	return len(c.Opens) > 0, len(c.Shuts) > 0
}

// restrictsAgain says whether a Sidecar of some workloads that lets everything
// out is replaced by one of the same workloads that does not.
func (s Step) restrictsAgain() bool {
	have, ok := s.Change.Live.(*networkingv1.Sidecar)
	want, is := s.Change.Desired.(*networkingv1.Sidecar)
	return ok && is && s.Verb == Replace && len(restriction(want)) > 0 && maps.Equal(restriction(have), restriction(want)) && anywhere(have) && !anywhere(want)
}

func anywhere(sc *networkingv1.Sidecar) bool {
	return sc.Spec.GetOutboundTrafficPolicy().GetMode() == networkingapi.OutboundTrafficPolicy_ALLOW_ANY
}

// forgets says whether a step makes hosts unknown, and none known.
func (s Step) forgets() bool {
	return s.Verb == Delete || s.Verb == Replace && !s.kept && loses(s.Change.Live, s.Change.Desired)
}

// loses says whether an entry makes something known that another one does not.
func loses(one, other mesh.Object) bool {
	a, ok := one.(*networkingv1.ServiceEntry)
	b, is := other.(*networkingv1.ServiceEntry)
	if !ok || !is {
		return false
	}
	if !slices.Equal(way(a), way(b)) {
		return true
	}
	ports := func(e *networkingv1.ServiceEntry) (out []string) {
		for _, p := range e.Spec.GetPorts() {
			out = append(out, fmt.Sprint(p.GetNumber(), p.GetProtocol()))
		}
		return out
	}
	for _, list := range [][2][]string{{a.Spec.GetHosts(), b.Spec.GetHosts()}, {a.Spec.GetAddresses(), b.Spec.GetAddresses()}, {ports(a), ports(b)}} {
		if len(lacks(list[0], list[1])) > 0 {
			return true
		}
	}
	return false
}

// lacks are those of a that are not in b.
func lacks(a, b []string) (out []string) {
	have := map[string]bool{}
	for _, v := range b {
		have[v] = true
	}
	for _, v := range a {
		if !have[v] {
			out = append(out, v)
		}
	}
	return out
}

// hostsOf are those of entries.
func hostsOf(objects ...mesh.Object) (out []string) {
	for _, o := range objects {
		if e, is := o.(*networkingv1.ServiceEntry); is && e != nil {
			out = append(out, e.Spec.GetHosts()...)
		}
	}
	return out
}

// imports are the hosts that a Sidecar knows, without their namespaces.
func imports(o mesh.Object) (out []string) {
	if sc, is := o.(*networkingv1.Sidecar); is && sc != nil {
		for _, l := range sc.Spec.GetEgress() {
			for _, h := range l.GetHosts() {
				_, host, _ := strings.Cut(h, "/")
				out = append(out, host)
			}
		}
	}
	return out
}

// about is what a world says of some hosts: with hundreds of others, it would
// take seconds to try them all. An entry with addresses says something of every
// host that has one of these.
func about(w effective.World, hosts []string) effective.World {
	one := func(host string) bool {
		return slices.ContainsFunc(hosts, func(h string) bool { return sameHost(h, host) })
	}
	objects := w.Objects
	w.Objects = nil
	var kept []string
	for _, o := range objects {
		if e, is := o.(*networkingv1.ServiceEntry); is {
			if !slices.ContainsFunc(e.Spec.GetHosts(), one) && len(e.Spec.GetAddresses()) == 0 {
				continue
			}
			kept = append(kept, e.Spec.GetHosts()...)
		}
		w.Objects = append(w.Objects, o)
	}
	hosts = append(slices.Clone(hosts), kept...)
	for i, o := range w.Objects {
		if sc, is := o.(*networkingv1.Sidecar); is {
			sc = sc.DeepCopy()
			for _, l := range sc.Spec.GetEgress() {
				l.Hosts = slices.DeleteFunc(l.Hosts, func(h string) bool {
					_, host, _ := strings.Cut(h, "/")
					return !one(host) && !strings.HasSuffix(host, ".svc."+w.Mesh.ClusterDomain)
				})
			}
			w.Objects[i] = sc
		}
	}
	return w
}

// sameHost says whether two hosts, each of which may be a wildcard, share one.
func sameHost(a, b string) bool {
	within := func(a, b string) bool {
		suffix, wild := strings.CutPrefix(a, "*")
		return wild && strings.HasSuffix(b, suffix)
	}
	return a == b || within(a, b) || within(b, a)
}

// way is how an entry's hosts are known; another one is neither more nor less.
func way(e *networkingv1.ServiceEntry) []string {
	return append([]string{e.Spec.GetResolution().String(), e.Spec.GetLocation().String(), fmt.Sprint(e.Spec.GetEndpoints()), fmt.Sprint(len(e.Spec.GetAddresses()) == 0)},
		append(slices.Clone(e.Spec.GetSubjectAltNames()), e.Spec.GetExportTo()...)...)
}

// undone is a world without what a step did.
func undone(w effective.World, s Step) effective.World {
	out := w
	out.Objects = slices.DeleteFunc(slices.Clone(w.Objects), func(o facts.Object) bool {
		key, ok := drift.KeyOf(o)
		return ok && key == s.Change.Key && o.GetNamespace() == w.Namespace
	})
	if s.Change.Live != nil {
		out.Objects = append(out.Objects, s.Change.Live)
	}
	return out
}

// outbound is a world with nothing but what tells where proxies let connections go.
func outbound(w effective.World) effective.World {
	out := w
	out.Objects = nil
	for _, o := range w.Objects {
		switch o.(type) {
		case *networkingv1.Sidecar, *networkingv1.ServiceEntry:
			out.Objects = append(out.Objects, o)
		}
	}
	return out
}

// strays say what sets a state on the way apart: it opens what neither end
// lets pass, or shuts what both do.
type strays struct{ opens, shuts bool }

func stray(before, on, after effective.World) strays {
	was, is, will := effective.New(before), effective.New(on), effective.New(after)
	var out strays
	probes, _ := effective.Probes(maxTrials, was, is, will)
	for _, p := range probes {
		a, x, b := was.Pass(p).Passes, is.Pass(p).Passes, will.Pass(p).Passes
		out.opens = out.opens || x && !a && !b
		// A service by an address in a range that becomes known, or unknown, is left out.
		byAddress := p.Exit.Address != "" && strings.HasSuffix(p.Exit.Host, ".svc."+before.Mesh.ClusterDomain)
		out.shuts = out.shuts || !x && a && b && !byAddress
	}
	return out
}
