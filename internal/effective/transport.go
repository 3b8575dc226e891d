package effective

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

type mode = securityapi.PeerAuthentication_MutualTLS_Mode

const (
	unset      = securityapi.PeerAuthentication_MutualTLS_UNSET
	permissive = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
	disabled   = securityapi.PeerAuthentication_MutualTLS_DISABLE
	strict     = securityapi.PeerAuthentication_MutualTLS_STRICT
)

// peers is a PeerAuthentication of some workloads.
type peers struct {
	ref      int
	selector map[string]string
	mode     mode
	ports    map[int32]mode
}

// setting is a mode, and what sets it.
type setting struct {
	mode mode
	ref  int
}

// addPeerAuthentication relies on being called with the oldest first: the first
// of a level counts. A selector in the root namespace has no meaning for mutual
// TLS, and port modes need a selector (pilot, ComposePeerAuthentication).
func (m *Model) addPeerAuthentication(o *securityv1.PeerAuthentication, ref int) {
	root := o.Namespace == m.Mesh.RootNamespace
	selector := o.Spec.GetSelector().GetMatchLabels()
	own := o.Spec.GetMtls().GetMode()
	switch {
	case len(selector) > 0 && root:
	case len(selector) > 0:
		p := peers{ref: ref, selector: selector, mode: own, ports: map[int32]mode{}}
		for number, mtls := range o.Spec.GetPortLevelMtls() {
			p.ports[int32(number)] = mtls.GetMode() //nolint:gosec // the API allows 1 to 65535
		}
		m.peers = append(m.peers, p)
	case root && m.rootPeers.ref < 0:
		m.rootPeers = setting{own, ref}
	case !root && m.namespacePeers.ref < 0:
		m.namespacePeers = setting{own, ref}
	}
}

// mutualTLS: port over workload over namespace over root namespace; UNSET
// inherits, and the mesh's default is PERMISSIVE. UNSET is returned where only
// the root namespace could tell, and it is not known.
func (m *Model) mutualTLS(to Labels, port int32) setting {
	at := m.rootPeers
	if m.namespacePeers.mode != unset {
		at = m.namespacePeers
	}
	for i := range m.peers {
		p := &m.peers[i]
		if !selects(p.selector, to) {
			continue
		}
		if p.mode != unset {
			at = setting{p.mode, p.ref}
		}
		if mode := p.ports[port]; mode != unset {
			at = setting{mode, p.ref}
		}
		break
	}
	if at.mode == unset && !m.Partial {
		at = setting{permissive, -1}
	}
	return at
}

// MutualTLS is the mode of a workload's port, STRICT, PERMISSIVE or DISABLE, and
// what sets it: nothing where it is the mesh's default. The mode is UNSET where
// it can't be told.
func (m *Model) MutualTLS(to Labels, port int32) (string, Ref) {
	at := m.mutualTLS(to, port)
	if at.ref < 0 {
		return at.mode.String(), Ref{}
	}
	return at.mode.String(), m.refs[at.ref]
}

// plaintext says whether ports that a rule is for, of pods that it selects, take
// plaintext, and by which objects: none where that is the mesh's default. Of a
// rule for every port, it is every port that a pod or a PeerAuthentication
// names, and any other.
func (m *Model) plaintext(pods []facts.Pod, r posture.Rule) (open bool, by []Ref) {
	for _, pod := range pods {
		if !facts.Matches(r.Selector, pod.Labels) {
			continue
		}
		ports := rulePorts(r)
		if len(ports) == 0 {
			ports = m.ports(pod)
		}
		for _, port := range ports {
			at := m.mutualTLS(pod.Labels, port)
			if at.mode != permissive && at.mode != disabled {
				continue
			}
			open = true
			if at.ref >= 0 {
				by = append(by, m.refs[at.ref])
			}
		}
	}
	return open, by
}

// rulePorts are the ports that a rule is for; none for all.
func rulePorts(r posture.Rule) (out []int32) {
	for _, to := range r.To {
		if len(to.Ports) == 0 {
			return nil
		}
		out = append(out, to.Ports...)
	}
	return out
}

func (m *Model) ports(pod facts.Pod) []int32 {
	out := []int32{0}
	for _, p := range pod.Ports {
		out = append(out, p.Number)
	}
	for i := range m.peers {
		for port := range m.peers[i].ports {
			out = append(out, port)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *Model) transport(c *Call) verdict {
	at := m.mutualTLS(c.To, c.Port)
	open := at.mode != strict
	if c.From.ServiceAccount != "" {
		// Its proxy uses mutual TLS wherever the server's accepts it.
		open = at.mode == disabled
	}
	switch {
	case at.mode == unset:
		return verdict{unsure, at.ref}
	case open:
		return verdict{passes, at.ref}
	}
	return verdict{stops, at.ref}
}
