package istio

import (
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// rootStrict is the mesh-wide mode that accepts mutual TLS alone.
const rootStrict = "STRICT"

var modes = map[v1alpha1.MutualTLSMode]securityapi.PeerAuthentication_MutualTLS_Mode{
	v1alpha1.MutualTLSStrict:     securityapi.PeerAuthentication_MutualTLS_STRICT,
	v1alpha1.MutualTLSPermissive: securityapi.PeerAuthentication_MutualTLS_PERMISSIVE,
}

var portModes = map[v1alpha1.PortMode]securityapi.PeerAuthentication_MutualTLS_Mode{
	v1alpha1.PortPermissive: securityapi.PeerAuthentication_MutualTLS_PERMISSIVE,
	v1alpha1.PortDisable:    securityapi.PeerAuthentication_MutualTLS_DISABLE,
}

// mutualTLS writes the namespace's mode, and one PeerAuthentication for every
// set of workloads with overrides: the mesh applies the oldest alone of those
// that select a workload.
func mutualTLS(p posture.Posture, f facts.Facts) ([]mesh.Object, []outcome) {
	m := p.MutualTLS
	if m == nil {
		return nil, nil
	}
	objects := []mesh.Object{peerAuthentication(p, mesh.Name("mtls"), "", nil)}
	pods := listeners(f)
	var outcomes []outcome
	workloads := exemptions(p)
	for _, w := range workloads {
		objects = append(objects, w)
	}
	for _, o := range m.Overrides {
		out := outcome{name: o.Name, area: v1alpha1.AreaMutualTLS, dryRun: dryRunOverride(f)}
		pa, fresh := overridden(p, workloads, o, &out.Assessment)
		if pa != nil {
			if fresh {
				workloads = append(workloads, pa)
				objects = append(objects, pa)
			}
			pa.Spec.PortLevelMtls[uint32(o.Port)] = &securityapi.PeerAuthentication_MutualTLS{Mode: portModes[o.Mode]} //nolint:gosec // the API allows 1 to 65535
			out.writes = []string{written(pa)}
			out.enforcers = enforced(v1alpha1.EnforcerSidecar)
			if m.Mode == v1alpha1.MutualTLSPermissive && o.Mode == v1alpha1.PortPermissive {
				out.Say(v1alpha1.VerdictEnforced, "mode Permissive accepts plaintext on every port, so that this override changes nothing")
			}
			assessServicePort(pods, o.Selector, o.Port, &out.Assessment)
			evidence(&out.Assessment, f, o.Selector, v1alpha1.AreaMutualTLS)
		}
		outcomes = append(outcomes, out)
	}
	return objects, outcomes
}

// exemptions are workloads with a mode of their own, by an exception. Of those
// that overlap the first holds, as the mesh applies one to a workload.
func exemptions(p posture.Posture) []*securityv1.PeerAuthentication {
	var out []*securityv1.PeerAuthentication
	for _, e := range p.MutualTLS.Exempt {
		if slices.ContainsFunc(out, func(o *securityv1.PeerAuthentication) bool {
			return facts.Overlap(o.Spec.GetSelector().GetMatchLabels(), e.Selector)
		}) {
			continue
		}
		pa := peerAuthentication(p, mesh.Part(mesh.Name("mtls"), e.Name), v1alpha1.KindException+"/"+e.Name, e.Selector)
		pa.Spec.Mtls.Mode = modes[e.Mode]
		out = append(out, pa)
	}
	return out
}

// overridden finds or makes the PeerAuthentication that holds an override; nil
// where another override stands in the way.
func overridden(p posture.Posture, workloads []*securityv1.PeerAuthentication, o posture.Override, a *mesh.Assessment) (pa *securityv1.PeerAuthentication, fresh bool) {
	for _, w := range workloads {
		selector := w.Spec.GetSelector().GetMatchLabels()
		other := w.Annotations[v1alpha1.AnnotationRule]
		if !strings.Contains(other, "/") {
			other = "override " + other
		}
		if facts.SelectorKey(selector) == facts.SelectorKey(o.Selector) {
			if _, taken := w.Spec.GetPortLevelMtls()[uint32(o.Port)]; taken { //nolint:gosec // the API allows 1 to 65535
				a.Say(v1alpha1.VerdictConflict, "an earlier override of the same workloads sets port %d; nothing is written for this one: remove one of the two", o.Port)
				return nil, false
			}
			return w, false
		}
		if facts.Overlap(selector, o.Selector) {
			a.Say(v1alpha1.VerdictConflict, "its workloads may overlap with those of %s, and the mesh applies one PeerAuthentication to a workload; nothing is written for it: give both the same workloadSelector, or selectors with different values of one label", other)
			return nil, false
		}
	}
	return peerAuthentication(p, mesh.Name("mtls", o.Name), o.Name, o.Selector), true
}

func peerAuthentication(p posture.Posture, name, rule string, selector map[string]string) *securityv1.PeerAuthentication {
	pa := &securityv1.PeerAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: securityv1.SchemeGroupVersion.String(), Kind: "PeerAuthentication"},
		ObjectMeta: mesh.Meta(p, name, rule),
		Spec: securityapi.PeerAuthentication{
			Selector: selects(selector),
			// Explicit also for workloads: with an unset mode ambient proxies ignore a disabled port.
			Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: modes[p.MutualTLS.Mode]},
		},
	}
	if len(selector) > 0 {
		pa.Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{}
	}
	return pa
}

// selects is the mesh's form of a selector; nil selects every workload.
func selects(selector map[string]string) *typeapi.WorkloadSelector {
	if len(selector) == 0 {
		return nil
	}
	return &typeapi.WorkloadSelector{MatchLabels: selector}
}

func dryRunOverride(f facts.Facts) string {
	if f.Mesh.RootMutualTLS == rootStrict {
		return "the mesh-wide mode STRICT stays in force, since PERMISSIVE would open the namespace, and nothing is written for this override"
	}
	return "plaintext is accepted on every port, so that nothing is written for this override"
}

// acceptsPlaintext says why a caller of the workloads can do without mutual
// TLS, and with it without an identity; empty where it can't.
func acceptsPlaintext(p posture.Posture, f facts.Facts, selector map[string]string) string {
	switch {
	case p.MutualTLS == nil && f.Mesh.RootMutualTLS != rootStrict:
		return "mutualTLS is not declared"
	case p.MutualTLS == nil:
		return ""
	case p.MutualTLS.Mode != v1alpha1.MutualTLSStrict:
		return "mutualTLS.mode is Permissive"
	}
	for _, o := range p.MutualTLS.Overrides {
		if facts.Overlap(o.Selector, selector) {
			return "port override " + o.Name + " lets plaintext in"
		}
	}
	for _, e := range p.MutualTLS.Exempt {
		if facts.Overlap(e.Selector, selector) {
			return "exception " + e.Name + " lets plaintext in"
		}
	}
	return ""
}
