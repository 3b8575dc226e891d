package istio

import (
	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

var actions = map[v1alpha1.RuleAction]securityapi.AuthorizationPolicy_Action{
	v1alpha1.RuleAllow: securityapi.AuthorizationPolicy_ALLOW,
	v1alpha1.RuleDeny:  securityapi.AuthorizationPolicy_DENY,
}

// authorization writes the default action, and one policy for every rule.
func authorization(p posture.Posture, f facts.Facts) ([]mesh.Object, []outcome) {
	a := p.Authorization
	if a == nil {
		return nil, nil
	}
	var objects []mesh.Object
	if a.Default == v1alpha1.DefaultDeny {
		// An empty spec allows nothing; one empty rule would allow everything.
		objects = append(objects, policy(p, mesh.Name("default-deny"), ""))
	}
	for _, e := range a.Exempt {
		if a.Default == v1alpha1.DefaultDeny {
			objects = append(objects, exempt(p, e))
		}
	}
	var inForce []posture.Rule
	for _, r := range a.Rules {
		if toBeWritten(a, r) {
			inForce = append(inForce, r)
		}
	}
	authentications := requestAuthentications(p, inForce)
	for _, prov := range a.Providers {
		objects = append(objects, authentications[prov.Name]...)
	}
	pods := listeners(f)
	var outcomes []outcome
	for _, r := range a.Rules {
		out := outcome{name: r.Name, baseline: r.Baseline, area: v1alpha1.AreaAuthorization, dryRun: "calls are evaluated and none is denied"}
		switch {
		case toBeWritten(a, r):
			ap := rulePolicy(p, f, pods, r, &out.Assessment)
			objects = append(objects, ap)
			out.enforcers = enforced(v1alpha1.EnforcerSidecar)
			out.writes = []string{written(ap)}
			if r.JWT != nil {
				for _, o := range authentications[r.JWT.Provider] {
					out.writes = append(out.writes, written(o))
				}
				out.dryRun += ", and without a RequestAuthentication, which would refuse invalid tokens, every token counts as missing"
			}
			assessCallers(r, p, f, &out.Assessment)
			assessToken(a, r, &out.Assessment)
			evidence(&out.Assessment, f, r.Selector, v1alpha1.AreaAuthorization)
		case r.Action == v1alpha1.RuleAllow && a.Default == v1alpha1.DefaultAllow:
			out.Say(v1alpha1.VerdictEnforced, "defaultAction Allow already lets these calls through; nothing is written, since a policy that allows some callers would deny the others")
			out.dryRun = "nothing is denied"
		case r.JWT != nil:
			out.Say(v1alpha1.VerdictUnsupported, "jwtProviders has no provider %s; nothing is written", r.JWT.Provider)
		default:
			out.Say(v1alpha1.VerdictUnsupported, "no caller is known for it, and a policy without callers would match everybody; nothing is written")
		}
		outcomes = append(outcomes, out)
	}
	return objects, outcomes
}

// toBeWritten says whether a rule becomes a policy.
func toBeWritten(a *posture.Authorization, r posture.Rule) bool {
	if r.Action != v1alpha1.RuleDeny && a.Default == v1alpha1.DefaultAllow {
		return false
	}
	if r.JWT != nil {
		if _, ok := provider(a, r); !ok {
			return false
		}
	}
	return r.From.Anyone || r.From.ByIdentity() || len(r.From.IPBlocks) > 0
}

// rulePolicy is the policy of one rule.
func rulePolicy(p posture.Posture, f facts.Facts, pods []listener, r posture.Rule, a *mesh.Assessment) *securityv1.AuthorizationPolicy {
	principals, when := token(p.Authorization, r)
	from := sources(r.From, identities(r, f), principals)
	connections, requests := operations(r, pods, a)

	rule := r.Name
	if r.Baseline != "" {
		rule = r.Baseline + "/" + r.Name
	}
	ap := policy(p, mesh.RuleName(r), rule)
	ap.Spec.Selector = selects(r.Selector)
	ap.Spec.Action = actions[r.Action]
	for _, to := range [][]*securityapi.Rule_To{connections, requests} {
		if len(to) > 0 {
			ap.Spec.Rules = append(ap.Spec.Rules, &securityapi.Rule{From: from, To: to, When: when})
		}
	}
	if len(ap.Spec.Rules) == 0 {
		ap.Spec.Rules = []*securityapi.Rule{{From: from, When: when}}
	}
	return ap
}

// exempt lets everybody call workloads that an exception takes out of default-deny.
func exempt(p posture.Posture, e posture.Exemption) *securityv1.AuthorizationPolicy {
	ap := policy(p, mesh.Part(mesh.Name("exempt"), e.Name), v1alpha1.KindException+"/"+e.Name)
	ap.Spec.Selector = selects(e.Selector)
	ap.Spec.Rules = []*securityapi.Rule{{}}
	return ap
}

func policy(p posture.Posture, name, rule string) *securityv1.AuthorizationPolicy {
	return &securityv1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: securityv1.SchemeGroupVersion.String(), Kind: "AuthorizationPolicy"},
		ObjectMeta: mesh.Meta(p, name, rule),
	}
}
