package decide

import (
	"slices"
	"testing"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

var everything = []v1alpha1.Area{v1alpha1.AreaAuthorization, v1alpha1.AreaEgress, v1alpha1.AreaMutualTLS}

func closed() posture.Posture {
	return posture.Posture{
		Namespace: "payments", Mode: v1alpha1.ModeEnforce, Preflight: v1alpha1.PreflightBlock,
		MutualTLS:     &posture.MutualTLS{Mode: v1alpha1.MutualTLSStrict},
		Authorization: &posture.Authorization{Default: v1alpha1.DefaultDeny},
		Egress:        &posture.Egress{Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork},
	}
}

// What waits for the preflight, and what does not.
func TestHeld(t *testing.T) {
	refused := []audit.Finding{{Areas: everything}}
	full := func() []facts.Object { return istio.Sidecar{}.Compile(closed(), facts.Facts{}).Objects }
	only := func(pick func(facts.Object) bool) []facts.Object {
		return slices.DeleteFunc(full(), func(o facts.Object) bool { return !pick(o) })
	}
	for name, c := range map[string]struct {
		change   func(*posture.Posture)
		findings []audit.Finding
		before   []v1alpha1.Area
		live     []facts.Object
		want     []v1alpha1.Area
	}{
		"nothing there yet":            {findings: refused, want: everything},
		"nothing found":                {},
		"found, and no area of it":     {findings: []audit.Finding{{}}},
		"one area found":               {findings: []audit.Finding{{Areas: []v1alpha1.Area{v1alpha1.AreaEgress}}}, want: []v1alpha1.Area{v1alpha1.AreaEgress}},
		"Warn":                         {change: func(p *posture.Posture) { p.Preflight = v1alpha1.PreflightWarn }, findings: refused},
		"absent":                       {change: func(p *posture.Posture) { p.Preflight = "" }, findings: refused},
		"DryRun":                       {change: func(p *posture.Posture) { p.Mode = v1alpha1.ModeDryRun }, findings: refused},
		"Permissive denies nothing":    {change: func(p *posture.Posture) { p.MutualTLS.Mode = v1alpha1.MutualTLSPermissive }, findings: refused, want: everything[:2]},
		"enforced before, and deleted": {findings: refused, before: everything},
		"enforced one area before":     {findings: refused, before: everything[:1], want: everything[1:]},
		"in the cluster":               {findings: refused, live: full()},
		"mutual TLS in the cluster": {findings: refused, want: everything[:2],
			live: only(func(o facts.Object) bool { _, ok := o.(*securityv1.PeerAuthentication); return ok })},
		"default-deny in the cluster": {findings: refused, want: everything[1:],
			live: only(func(o facts.Object) bool { _, ok := o.(*securityv1.AuthorizationPolicy); return ok })},
		"the Sidecar in the cluster": {findings: refused, want: []v1alpha1.Area{v1alpha1.AreaAuthorization, v1alpha1.AreaMutualTLS},
			live: only(func(o facts.Object) bool { _, ok := o.(*networkingv1.Sidecar); return ok })},
		"the NetworkPolicy for callers in the cluster": {findings: refused, want: everything,
			live: only(func(o facts.Object) bool { np, ok := o.(*netv1.NetworkPolicy); return ok && np.Name == "msp-ingress" })},
		"in the cluster as in DryRun": {findings: refused, want: everything, live: asInDryRun()},
	} {
		t.Run(name, func(t *testing.T) {
			p := closed()
			if c.change != nil {
				c.change(&p)
			}
			if got := held(p, c.findings, c.before, full(), c.live); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func asInDryRun() []facts.Object {
	p := closed()
	p.Mode = v1alpha1.ModeDryRun
	return istio.Sidecar{}.Compile(p, facts.Facts{}).Objects
}

// What an area writes while it is held back denies nothing, whatever the others do.
func TestWhatWaitsDeniesNothing(t *testing.T) {
	for _, area := range everything {
		p := closed()
		p.Held = []v1alpha1.Area{area}
		for _, o := range (istio.Sidecar{}).Compile(p, facts.Facts{}).Objects {
			if denies(o, area) {
				t.Errorf("%s: %s denies", area, o.GetName())
			}
			if ap, ok := o.(*securityv1.AuthorizationPolicy); ok && area == v1alpha1.AreaAuthorization && ap.Spec.GetAction() == securityapi.AuthorizationPolicy_ALLOW && ap.Annotations["istio.io/dry-run"] != "true" {
				t.Errorf("%s: a rule that allows denies the rest", ap.Name)
			}
		}
		for _, other := range everything {
			if other != area && !slices.ContainsFunc((istio.Sidecar{}).Compile(p, facts.Facts{}).Objects, func(o facts.Object) bool { return denies(o, other) }) {
				t.Errorf("%s holds %s back", area, other)
			}
		}
	}
}
