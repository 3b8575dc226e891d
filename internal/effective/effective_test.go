package effective

import (
	"strings"
	"testing"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// held is a namespace in which everything declared is in force.
func held() Input {
	return Input{
		Posture: posture.Posture{
			Namespace: "pay", Mode: v1alpha1.ModeEnforce,
			MutualTLS:     &posture.MutualTLS{Mode: v1alpha1.MutualTLSStrict},
			Authorization: &posture.Authorization{Default: v1alpha1.DefaultDeny},
			Egress:        &posture.Egress{Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork},
		},
		Observed: facts.Observed{Facts: facts.Facts{
			Mesh:    facts.Mesh{Observed: true, RootNamespace: "istio-system"},
			Network: facts.Network{PolicyEnforced: facts.Yes},
			Pods:    []facts.Pod{{Name: "a-1", Owner: facts.Owner{Kind: "Deployment", Name: "a"}, Sidecar: true}},
		}},
		Assurance: v1alpha1.AssuranceNetwork,
		Settled:   true,
	}
}

// add puts objects of somebody else beside a strict mutual TLS and a default-deny.
func add(i *Input, objects ...facts.Object) {
	w := World{Namespace: "pay", Mesh: i.Observed.Facts.Mesh, Pods: i.Observed.Facts.Pods, Objects: []facts.Object{
		&securityv1.PeerAuthentication{ObjectMeta: meta("z"), Spec: securityapi.PeerAuthentication{Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT}}},
		&securityv1.AuthorizationPolicy{ObjectMeta: meta("z")},
	}}
	before := New(w)
	w.Objects = append(w.Objects, objects...)
	i.After = New(w)
	i.InForce = Compare(before, i.After)
	i.Foreign = func(r Ref) bool { return r.Name != "z" }
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "pay", Name: name} }

func TestEvaluate(t *testing.T) {
	mtls, authz, egress := v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization, v1alpha1.AreaEgress
	all := []v1alpha1.Area{mtls, authz, egress}
	for name, c := range map[string]struct {
		change func(*Input)
		want   string
		in     []v1alpha1.Area
		says   string
	}{
		"everything in place":        {func(*Input) {}, "True/Enforced", all, ""},
		"nothing declared":           {func(i *Input) { i.Posture.MutualTLS = nil }, "Unknown/NotDeclared", []v1alpha1.Area{mtls}, ""},
		"audit":                      {func(i *Input) { i.Posture.Mode = v1alpha1.ModeAudit }, "False/Audit", all, ""},
		"dry run":                    {func(i *Input) { i.Posture.Mode = v1alpha1.ModeDryRun }, "False/DryRun", all, ""},
		"not in the cluster":         {func(i *Input) { i.Settled = false }, "False/NotProgrammed", all, ""},
		"no mesh to be seen":         {func(i *Input) { i.Observed.Facts.Mesh.Observed = false }, "Unknown/MeshNotObserved", all, "istio-system"},
		"no pods":                    {func(i *Input) { i.Observed.Facts.Pods = nil }, "Unknown/NoWorkloads", all, ""},
		"a pod without a sidecar":    {func(i *Input) { i.Observed.Facts.Pods[0].Sidecar = false }, "False/BypassDetected", all, "Deployment/a"},
		"a pod that excludes a port": {func(i *Input) { i.Observed.Facts.Pods[0].Bypass = []string{"x=1"} }, "False/BypassDetected", all, "Deployment/a (x=1)"},
		"a looser egress rule": {func(i *Input) {
			i.Rules = []v1alpha1.RuleStatus{{Name: "r", Area: egress, Verdict: v1alpha1.VerdictLooser}}
		}, "False/RulesNotEnforced", []v1alpha1.Area{egress}, "rules r"},
		"a looser rule of another area": {func(i *Input) {
			i.Rules = []v1alpha1.RuleStatus{{Name: "r", Area: egress, Verdict: v1alpha1.VerdictLooser}}
		}, "True/Enforced", []v1alpha1.Area{mtls, authz}, ""},
		"less assurance than declared": {func(i *Input) { i.Assurance = v1alpha1.AssuranceProxy }, "False/AssuranceNotMet", []v1alpha1.Area{egress}, "host name"},
		"a network of which nothing is known": {func(i *Input) {
			i.Assurance, i.Observed.Facts.Network.PolicyEnforced = v1alpha1.AssuranceProxy, facts.Unknown
		}, "False/AssuranceNotMet", []v1alpha1.Area{egress}, "--network-policy-enforced=true"},
		"permissive is the least": {func(i *Input) {
			i.Posture.MutualTLS.Mode, i.Settled = v1alpha1.MutualTLSPermissive, false
		}, "True/Enforced", []v1alpha1.Area{mtls}, ""},
		"allow with a deny rule is something to hold": {func(i *Input) {
			i.Posture.Authorization = &posture.Authorization{Default: v1alpha1.DefaultAllow, Rules: []posture.Rule{{Action: v1alpha1.RuleDeny}}}
			i.Settled = false
		}, "False/NotProgrammed", []v1alpha1.Area{authz}, ""},
		"a foreign PeerAuthentication that opens": {func(i *Input) {
			add(i, &securityv1.PeerAuthentication{ObjectMeta: meta("x"), Spec: securityapi.PeerAuthentication{Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_PERMISSIVE}}})
		}, "False/Shadowed", []v1alpha1.Area{mtls}, "PeerAuthentication/x"},
		"of one area, the others hold": {func(i *Input) {
			add(i, &securityv1.PeerAuthentication{ObjectMeta: meta("x"), Spec: securityapi.PeerAuthentication{Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_PERMISSIVE}}})
		}, "True/Enforced", []v1alpha1.Area{authz, egress}, ""},
		"a foreign policy that denies": {func(i *Input) {
			add(i, &securityv1.AuthorizationPolicy{ObjectMeta: meta("x"), Spec: securityapi.AuthorizationPolicy{Action: securityapi.AuthorizationPolicy_DENY, Rules: []*securityapi.Rule{{}}}},
				&securityv1.AuthorizationPolicy{ObjectMeta: meta("y")})
		}, "True/Enforced", all, ""},
		"a foreign policy that allows": {func(i *Input) {
			add(i, &securityv1.AuthorizationPolicy{ObjectMeta: meta("x"), Spec: securityapi.AuthorizationPolicy{Rules: []*securityapi.Rule{{}}}})
		}, "False/Shadowed", []v1alpha1.Area{authz}, "AuthorizationPolicy/x"},
		"ours, changed and left so, opens one area": {func(i *Input) {
			add(i, &securityv1.AuthorizationPolicy{ObjectMeta: meta("x"), Spec: securityapi.AuthorizationPolicy{Rules: []*securityapi.Rule{{}}}})
			i.Settled, i.Foreign = false, nil
		}, "False/NotProgrammed", []v1alpha1.Area{authz}, "InSync"},
		"ours, changed and left so, leaves the others": {func(i *Input) {
			add(i, &securityv1.AuthorizationPolicy{ObjectMeta: meta("x"), Spec: securityapi.AuthorizationPolicy{Rules: []*securityapi.Rule{{}}}})
			i.Settled, i.Foreign = false, nil
		}, "True/Enforced", []v1alpha1.Area{mtls, egress}, ""},
		"ours, changed in a way that the model does not know": {func(i *Input) {
			i.Settled, i.After, i.Loosened = false, New(World{}), []v1alpha1.Area{authz}
		}, "False/NotProgrammed", []v1alpha1.Area{authz}, ""},
		"a foreign object that the model can't judge": {func(i *Input) {
			i.InForce.Unknown = []Ref{{"Sidecar", "pay", "x"}}
		}, "Unknown/ForeignPolicies", []v1alpha1.Area{egress}, "Sidecar/x"},
		"a foreign object of a kind that nobody knows": {func(i *Input) {
			i.InForce.Unknown = []Ref{{"Novelty", "istio-system", "x"}}
		}, "Unknown/ForeignPolicies", all, "Novelty/istio-system/x"},
		"more than was tried": {func(i *Input) { i.InForce.Partial = true }, "Unknown/ForeignPolicies", all, "more objects"},
		"an EnvoyFilter": {func(i *Input) {
			i.Observed.Influences = []facts.Influence{{Kind: "EnvoyFilter", Namespace: "istio-system", Name: "f", Areas: all}}
		}, "Unknown/ForeignPolicies", all, "EnvoyFilter/istio-system/f"},
	} {
		for _, area := range c.in {
			t.Run(name+"/"+string(area), func(t *testing.T) {
				in := held()
				c.change(&in)
				e := Evaluate(in, area)
				if got := string(e.Status) + "/" + e.Reason; got != c.want {
					t.Errorf("got %s (%s), want %s", got, e.Message, c.want)
				}
				if !strings.Contains(e.Message, c.says) || e.Message == "" {
					t.Errorf("message %q does not say %q", e.Message, c.says)
				}
			})
		}
	}
}

// Whatever is taken away, nothing but the full evidence gives a True for what is strict.
func TestNoTrueOnMissingEvidence(t *testing.T) {
	for _, area := range Areas() {
		for _, in := range []Input{
			{Posture: held().Posture},
			{Posture: held().Posture, Settled: true},
			{Posture: held().Posture, Settled: true, Assurance: v1alpha1.AssuranceNetwork},
		} {
			if e := Evaluate(in, area); e.Status == metav1.ConditionTrue {
				t.Errorf("%s: True on missing evidence: %+v", area, e)
			}
		}
	}
}

func TestWorkloadsAreGroupedByTheirController(t *testing.T) {
	a, b := facts.Owner{Kind: "Deployment", Name: "a"}, facts.Owner{Kind: "Pod", Name: "b"}
	got := Workloads(facts.Facts{Pods: []facts.Pod{
		{Owner: b, Sidecar: true, Bypass: []string{"y", "x"}}, {Owner: a, Sidecar: true}, {Owner: a},
	}})
	if len(got) != 2 || got[0].Owner != a || got[0].Enrolled || !got[1].Enrolled || strings.Join(got[1].Bypass, "") != "xy" {
		t.Errorf("got %+v", got)
	}
}
