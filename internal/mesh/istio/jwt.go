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

// provider finds the provider that a rule asks for.
func provider(a *posture.Authorization, r posture.Rule) (v1alpha1.JWTProvider, bool) {
	for _, p := range a.Providers {
		if r.JWT != nil && p.Name == r.JWT.Provider {
			return p, true
		}
	}
	return v1alpha1.JWTProvider{}, false
}

// token is what a rule asks of the request's token. A RequestAuthentication
// alone lets requests without one pass, so that the rule has to ask for it.
func token(a *posture.Authorization, r posture.Rule) (principals []string, when []*securityapi.Condition) {
	p, ok := provider(a, r)
	if !ok {
		return nil, nil
	}
	if len(namesakes(a, p)) > 0 && len(p.Audiences) > 0 {
		c := &securityapi.Condition{Key: "request.auth.audiences"}
		for _, v := range p.Audiences {
			c.Values = append(c.Values, string(v))
		}
		when = append(when, c)
	}
	for _, claim := range r.JWT.Claims {
		c := &securityapi.Condition{Key: "request.auth.claims[" + claim.Name + "]"}
		for _, v := range claim.Values {
			c.Values = append(c.Values, string(v))
		}
		when = append(when, c)
	}
	return []string{p.Issuer + "/*"}, when
}

// namesakes are other providers with the same issuer, whose tokens the mesh
// can't tell apart by issuer.
func namesakes(a *posture.Authorization, p v1alpha1.JWTProvider) []v1alpha1.JWTProvider {
	var out []v1alpha1.JWTProvider
	for _, o := range a.Providers {
		if o.Name != p.Name && o.Issuer == p.Issuer {
			out = append(out, o)
		}
	}
	return out
}

// assessToken says what a token condition can't hold.
func assessToken(a *posture.Authorization, r posture.Rule, out *mesh.Assessment) {
	p, ok := provider(a, r)
	if !ok {
		return
	}
	for _, o := range namesakes(a, p) {
		if o.JWKSURI != p.JWKSURI || o.JWKS != p.JWKS {
			out.Say(v1alpha1.VerdictLooser, "provider %s has the same issuer and other keys, and the mesh takes its tokens for those of %s; give each provider an issuer of its own", o.Name, p.Name)
		}
	}
	if r.Action == v1alpha1.RuleDeny {
		out.Say(v1alpha1.VerdictEnforced, "it denies requests that carry such a token, and a caller may leave the token out; ask for a token in the rules that allow")
	}
}

// requestAuthentications let the workloads of rules that ask for tokens check them.
func requestAuthentications(p posture.Posture, rules []posture.Rule) map[v1alpha1.RuleName][]mesh.Object {
	out := map[v1alpha1.RuleName][]mesh.Object{}
	for _, prov := range p.Authorization.Providers {
		selectors := selectorsUsing(rules, prov.Name)
		for _, s := range selectors {
			name := mesh.Name("jwt", string(prov.Name))
			if len(selectors) > 1 {
				name = mesh.Part(name, mesh.Hash(facts.SelectorKey(s)))
			}
			out[prov.Name] = append(out[prov.Name], &securityv1.RequestAuthentication{
				TypeMeta:   metav1.TypeMeta{APIVersion: securityv1.SchemeGroupVersion.String(), Kind: "RequestAuthentication"},
				ObjectMeta: mesh.Meta(p, name, string(prov.Name)),
				Spec:       securityapi.RequestAuthentication{Selector: selects(s), JwtRules: []*securityapi.JWTRule{jwtRule(prov)}},
			})
		}
	}
	return out
}

// selectorsUsing are the distinct workloads whose rules ask for a provider's
// token, in the order of the rules; a rule for every workload covers the others.
func selectorsUsing(rules []posture.Rule, name v1alpha1.RuleName) []map[string]string {
	var out []map[string]string
	seen := map[string]bool{}
	for _, r := range rules {
		if r.JWT == nil || r.JWT.Provider != name {
			continue
		}
		if len(r.Selector) == 0 {
			return []map[string]string{nil}
		}
		if key := facts.SelectorKey(r.Selector); !seen[key] {
			seen[key] = true
			out = append(out, r.Selector)
		}
	}
	return out
}

func jwtRule(p v1alpha1.JWTProvider) *securityapi.JWTRule {
	rule := &securityapi.JWTRule{
		Issuer: p.Issuer, JwksUri: p.JWKSURI, Jwks: p.JWKS,
		// The application sees what it saw before.
		ForwardOriginalToken: true,
	}
	for _, a := range p.Audiences {
		rule.Audiences = append(rule.Audiences, string(a))
	}
	return rule
}
