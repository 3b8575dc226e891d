package plan

import (
	"maps"
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// modes tell which ports accept plaintext before and after. What shuts a port
// comes before everything that opens, and what opens one after everything that shuts.
type modes struct {
	before, after *effective.Model
	workloads     []effective.Labels
	ports         []int32
}

func modesOf(before, after effective.World) modes {
	m := modes{before: effective.New(peersOf(before)), after: effective.New(peersOf(after)), workloads: []effective.Labels{{}}}
	// One that nobody names, for those without a mode of their own.
	m.ports = []int32{-1}
	for _, w := range []effective.World{before, after} {
		for _, o := range w.Objects {
			pa, ok := o.(*securityv1.PeerAuthentication)
			if !ok {
				continue
			}
			for number := range pa.Spec.GetPortLevelMtls() {
				m.ports = append(m.ports, int32(number)) //nolint:gosec // the API allows 1 to 65535
			}
			for _, have := range m.workloads[:len(m.workloads):len(m.workloads)] {
				if s := pa.Spec.GetSelector().GetMatchLabels(); len(s) > 0 && facts.Overlap(s, have) && len(m.workloads) < maxWorkloads {
					both := maps.Clone(have)
					maps.Copy(both, s)
					m.workloads = append(m.workloads, both)
				}
			}
		}
	}
	slices.Sort(m.ports)
	m.ports = slices.Compact(m.ports)
	return m
}

// maxWorkloads bounds how many sets of labels are looked at.
const maxWorkloads = 128

func peersOf(w effective.World) effective.World {
	w.Objects = slices.DeleteFunc(slices.Clone(w.Objects), func(o facts.Object) bool {
		_, is := o.(*securityv1.PeerAuthentication)
		return !is
	})
	return w
}

// open says whether a port accepts plaintext, as far as is known.
func open(m *effective.Model, to effective.Labels, port int32) bool {
	mode, _ := m.MutualTLS(to, port)
	return mode != securityapi.PeerAuthentication_MutualTLS_STRICT.String()
}

// changes says whether some port that a step has to do with is opened, or shut,
// from before to after.
func (m modes) changes(s Step) (opens, shuts bool) {
	for _, to := range m.workloads {
		if !selects(s, to) {
			continue
		}
		for _, port := range m.ports {
			was, is := open(m.before, to, port), open(m.after, to, port)
			opens, shuts = opens || is && !was, shuts || was && !is
		}
	}
	return opens, shuts
}

// selects says whether the object of a step is for a workload, before or after;
// one for the namespace is for those without another.
func selects(s Step, to effective.Labels) bool {
	for _, o := range []facts.Object{s.Change.Live, s.Change.Desired} {
		pa, ok := o.(*securityv1.PeerAuthentication)
		if !ok || pa == nil {
			continue
		}
		if sel := pa.Spec.GetSelector().GetMatchLabels(); len(sel) == 0 && len(to) == 0 || len(sel) > 0 && facts.Matches(sel, to) {
			return true
		}
	}
	return false
}

// falls says whether the namespace accepts plaintext afterwards, and not before:
// until then, a workload that loses its exception would be shut.
func (m modes) falls() bool {
	return open(m.after, effective.Labels{}, m.ports[0]) && !open(m.before, effective.Labels{}, m.ports[0])
}

// halves splits the steps that shut some ports and open others, or that have to
// keep some open before the object that did goes: the first half opens nothing.
func (m modes) halves(steps []Step) []Step {
	var out []Step
	for _, s := range steps {
		want, ok := s.Change.Desired.(*securityv1.PeerAuthentication)
		if !ok || s.Verb == Delete || !exception(want) {
			out = append(out, s)
			continue
		}
		opens, shuts := m.changes(s)
		first, takesOver := m.first(want, s.Change.Live)
		if s.Verb == Replace {
			// Where the namespace accepts plaintext from now on, others' ports stay open.
			takesOver = shuts || takesOver && !m.falls()
		}
		if !opens || !takesOver {
			out = append(out, s)
			continue
		}
		half := s
		half.half = true
		half.Object = first
		if s.Verb == Replace {
			half.Object = drift.Overlay(first, s.Change.Live)
		}
		half.Reason += "; what opens follows"
		s.Verb, s.Object, s.rest = Replace, want, true
		out = append(out, half, s)
	}
	return out
}

// first is an exception with those of its ports open alone that were so before
// for some of its workloads, and whether it was others that kept some of these
// open. Its own mode is that of the ports that it does not name.
func (m modes) first(want *securityv1.PeerAuthentication, live mesh.Object) (out *securityv1.PeerAuthentication, takesOver bool) {
	out = want.DeepCopy()
	selector := want.Spec.GetSelector().GetMatchLabels()
	var had *securityapi.PeerAuthentication
	if have, ok := live.(*securityv1.PeerAuthentication); ok && maps.Equal(have.Spec.GetSelector().GetMatchLabels(), selector) {
		had = &have.Spec
	}
	shut := func(mode, had *securityapi.PeerAuthentication_MutualTLS, port int32) {
		if mode.GetMode() == securityapi.PeerAuthentication_MutualTLS_STRICT {
			return
		}
		was := slices.ContainsFunc(m.workloads, func(to effective.Labels) bool {
			return facts.Matches(selector, to) && open(m.before, to, port)
		})
		takesOver = takesOver || was && (had == nil || had.GetMode() == securityapi.PeerAuthentication_MutualTLS_STRICT)
		if !was {
			mode.Mode = securityapi.PeerAuthentication_MutualTLS_STRICT
		}
	}
	for number, mode := range out.Spec.GetPortLevelMtls() {
		shut(mode, had.GetPortLevelMtls()[number], int32(number)) //nolint:gosec // the API allows 1 to 65535
	}
	if own := want.Spec.GetMtls(); own != nil {
		shut(out.Spec.Mtls, had.GetMtls(), m.ports[0])
		for _, port := range m.ports[1:] {
			number := uint32(port) //nolint:gosec // a port
			if out.Spec.GetPortLevelMtls()[number] != nil || out.Spec.GetMtls().GetMode() == own.GetMode() {
				continue
			}
			// What is open by its own mode afterwards has to be named, or is shut with it.
			mode := &securityapi.PeerAuthentication_MutualTLS{Mode: own.GetMode()}
			if shut(mode, had.GetPortLevelMtls()[number], port); mode.GetMode() == own.GetMode() {
				if out.Spec.PortLevelMtls == nil {
					out.Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{}
				}
				out.Spec.PortLevelMtls[number] = mode
			}
		}
	}
	return out, takesOver
}

// rank of a PeerAuthentication.
func (m modes) rank(o *securityv1.PeerAuthentication, s Step) rank {
	opens, shuts := m.changes(s)
	switch {
	case !exception(o):
		return pick(opens, mutualTLSDown, mutualTLSUp)
	case s.Verb == Delete:
		return pick(shuts, exceptionUp, exceptionLast)
	}
	switch {
	case opens && !s.half, s.Verb == Replace && !shuts && m.falls():
		return exceptionDown
	case s.Verb == Replace:
		// It may be one less for workloads that others are for by now.
		return exceptionChange
	}
	return exceptionFirst
}
