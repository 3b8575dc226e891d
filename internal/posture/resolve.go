package posture

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Problem is something in a profile that a person has to mend.
type Problem struct {
	// Reason of the condition that it shows in.
	Reason string
	// Path of the field in the profile.
	Path string
	// Message says what is wrong and what to do.
	Message string
}

// Resolution is what became of a profile.
type Resolution struct {
	Posture Posture
	// Invalid problems make the profile unacceptable: nothing is compiled.
	Invalid []Problem
	// Missing are references without which nothing can be compiled: the last
	// good posture stays in force.
	Missing []Problem
	// Dangling are references to what does not exist (yet): the posture is
	// compiled all the same, since an identity is a name and a rule about
	// nobody lets nobody in.
	Dangling []Problem
}

// Compilable says whether the posture may be compiled.
func (r Resolution) Compilable() bool { return len(r.Invalid) == 0 && len(r.Missing) == 0 }

// Resolve turns the profile in force into the namespace's posture at the time now.
func Resolve(p *v1alpha1.MeshSecurityProfile, f facts.Facts, now time.Time) Resolution {
	r := &resolver{own: p.Namespace, facts: f, now: now}
	spec := p.Spec
	out := Posture{
		Namespace:      p.Namespace,
		Owner:          Owner{Kind: v1alpha1.KindProfile, Name: p.Name, UID: p.UID},
		Mode:           cmp.Or(spec.EnforcementMode, v1alpha1.ModeEnforce),
		DriftPolicy:    v1alpha1.DriftCorrect,
		Guard:          v1alpha1.GuardNone,
		DeletionPolicy: cmp.Or(spec.DeletionPolicy, v1alpha1.DeletionDelete),
		Preflight:      spec.Preflight,
	}
	if p.Namespace == f.Mesh.RootNamespace {
		r.bad("metadata.namespace", "%s is the mesh's root namespace: what is written there holds in every namespace of the mesh, and would deny calls to all of them; declare a profile in the namespace that it is for", p.Namespace)
	}
	if spec.EnforcementMode == "" {
		r.byDefault("enforcementMode")
	}
	if m := spec.MutualTLS; m != nil {
		out.MutualTLS = r.mutualTLS(m)
	}
	if a := spec.Authorization; a != nil {
		out.Authorization = r.authorization(a)
	}
	if e := spec.Egress; e != nil {
		out.Egress = r.egress(e)
	}
	if l := spec.Logging; l != nil {
		out.AccessLog = l.AccessLog
	}
	if d := spec.Drift; d != nil {
		out.DriftPolicy = d.Policy
		out.Guard = cmp.Or(d.Guard, v1alpha1.GuardNone)
	} else {
		r.byDefault("drift.policy")
	}
	slices.SortFunc(r.origins, func(a, b v1alpha1.Origin) int { return cmp.Compare(a.Field, b.Field) })
	out.Origins, out.Expired, out.NextChange = r.origins, r.expired, r.next
	return Resolution{Posture: out, Invalid: r.invalid, Missing: r.missing, Dangling: r.dangling}
}

type resolver struct {
	own     string
	facts   facts.Facts
	now     time.Time
	origins []v1alpha1.Origin
	expired []Override
	next    *time.Time

	invalid, missing, dangling []Problem
}

func (r *resolver) byDefault(field string) {
	r.origins = append(r.origins, v1alpha1.Origin{Field: field, From: "Default"})
}

func (r *resolver) bad(path, format string, args ...any) {
	r.invalid = append(r.invalid, Problem{v1alpha1.ReasonInvalid, path, fmt.Sprintf(format, args...)})
}

func (r *resolver) mutualTLS(m *v1alpha1.MutualTLS) *MutualTLS {
	out := &MutualTLS{Mode: m.Mode}
	for i, o := range m.PortOverrides {
		v := Override{
			Name: string(o.Name), Selector: r.selector(&o.WorkloadSelector, fmt.Sprintf("spec.mutualTLS.portOverrides[%d]", i)),
			Port: o.Port, Mode: o.Mode,
		}
		if o.ExpiresAt != nil {
			at := o.ExpiresAt.Time
			v.Expires = &at
			if !r.now.Before(at) {
				r.expired = append(r.expired, v)
				continue
			}
			if r.next == nil || at.Before(*r.next) {
				r.next = &at
			}
		}
		out.Overrides = append(out.Overrides, v)
	}
	return out
}

func (r *resolver) authorization(a *v1alpha1.Authorization) *Authorization {
	out := &Authorization{Default: a.DefaultAction, Providers: a.JWTProviders}
	providers := map[v1alpha1.RuleName]bool{}
	for i, p := range a.JWTProviders {
		providers[p.Name] = true
		if p.JWKS != "" {
			r.keySet(p.JWKS, fmt.Sprintf("spec.authorization.jwtProviders[%d].jwks", i))
		}
	}
	for i, rule := range a.Rules {
		path := fmt.Sprintf("spec.authorization.rules[%d]", i)
		if rule.JWT != nil && !providers[rule.JWT.Provider] {
			r.missing = append(r.missing, Problem{v1alpha1.ReasonProviderNotFound, path + ".jwt.provider",
				fmt.Sprintf("rule %s asks for a token of provider %s, which jwtProviders does not have; add it or correct the name", rule.Name, rule.JWT.Provider)})
		}
		out.Rules = append(out.Rules, Rule{
			Name:     string(rule.Name),
			Action:   cmp.Or(rule.Action, v1alpha1.RuleAllow),
			Selector: r.selector(rule.WorkloadSelector, path),
			From:     r.callers(rule, path),
			To:       rule.To,
			JWT:      rule.JWT,
		})
	}
	return out
}

// keySet checks what CEL can't: that the document parses and holds keys.
func (r *resolver) keySet(doc, path string) {
	var set struct {
		Keys []struct {
			Kty string `json:"kty"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(doc), &set); err != nil {
		r.bad(path, "jwks is not valid JSON (%v); paste the issuer's key set as it is served", err)
		return
	}
	if len(set.Keys) == 0 {
		r.bad(path, `jwks has no entry in "keys", so that no token could ever be valid; paste the issuer's key set as it is served`)
	}
	for _, k := range set.Keys {
		if k.Kty == "" {
			r.bad(path, `jwks has a key without "kty"; paste the issuer's key set as it is served`)
			return
		}
	}
}

func (r *resolver) callers(rule v1alpha1.AuthorizationRule, path string) Callers {
	var out Callers
	for j, c := range rule.From {
		at := fmt.Sprintf("%s.from[%d]", path, j)
		switch {
		case c.ServiceAccount != nil:
			sa := named(r.own, c.ServiceAccount.Namespace, string(c.ServiceAccount.Name))
			out.ServiceAccounts = append(out.ServiceAccounts, sa)
			if !r.facts.ServiceAccounts[sa] {
				r.dangling = append(r.dangling, Problem{v1alpha1.ReasonServiceAccountNotFound, at + ".serviceAccount",
					fmt.Sprintf("rule %s names the service account %s, which does not exist; create it or correct the name", rule.Name, sa)})
			}
		case c.Namespace != "":
			out.Namespaces = append(out.Namespaces, string(c.Namespace))
			r.needNamespace(string(rule.Name), string(c.Namespace), at+".namespace")
		case c.Peer != "":
			r.missing = append(r.missing, Problem{v1alpha1.ReasonPeerNotFound, at + ".peer",
				fmt.Sprintf("rule %s names the peer %s, which no baseline declares; use serviceAccount, since this version does not act on baselines", rule.Name, c.Peer)})
		case c.Entity == v1alpha1.EntitySameNamespace:
			out.Namespaces = append(out.Namespaces, r.own)
		case c.Entity == v1alpha1.EntityAnyAuthenticated:
			out.AnyAuthenticated = true
		case c.Entity == v1alpha1.EntityAnyone:
			out.Anyone = true
		case c.IPBlock != nil:
			out.IPBlocks = append(out.IPBlocks, *c.IPBlock)
		}
	}
	out.ServiceAccounts = sortedNames(out.ServiceAccounts)
	slices.Sort(out.Namespaces)
	out.Namespaces = slices.Compact(out.Namespaces)
	return out
}

func (r *resolver) needNamespace(rule, ns, path string) {
	if !r.facts.Namespaces[ns] {
		r.dangling = append(r.dangling, Problem{v1alpha1.ReasonNamespaceNotFound, path,
			fmt.Sprintf("rule %s names the namespace %s, which does not exist; create it or correct the name", rule, ns)})
	}
}

func (r *resolver) egress(e *v1alpha1.Egress) *Egress {
	out := &Egress{Default: e.DefaultAction, Assurance: cmp.Or(e.Assurance, v1alpha1.AssuranceNetwork)}
	if e.Assurance == "" {
		r.byDefault("egress.assurance")
	}
	if out.Assurance == v1alpha1.AssuranceGateway {
		r.missing = append(r.missing, Problem{v1alpha1.ReasonEgressGatewayNotFound, "spec.egress.assurance",
			"assurance Gateway needs an egress gateway, which no baseline declares; use assurance Network, since this version does not act on baselines"})
	}
	for i, rule := range e.Rules {
		path := fmt.Sprintf("spec.egress.rules[%d]", i)
		if rule.Via == v1alpha1.ViaGateway {
			r.missing = append(r.missing, Problem{v1alpha1.ReasonEgressGatewayNotFound, path + ".via",
				fmt.Sprintf("rule %s goes via Gateway, and no baseline declares an egress gateway; use via Direct, since this version does not act on baselines", rule.Name)})
		}
		v := EgressRule{Name: string(rule.Name), Selector: r.selector(rule.WorkloadSelector, path), Via: rule.Via}
		for j, t := range rule.To {
			t = *t.DeepCopy()
			switch {
			case t.Service != nil:
				svc := named(r.own, t.Service.Namespace, string(t.Service.Name))
				t.Service.Namespace = v1alpha1.NamespaceName(svc.Namespace)
				if _, ok := r.facts.Services[svc]; !ok {
					r.dangling = append(r.dangling, Problem{v1alpha1.ReasonServiceNotFound, fmt.Sprintf("%s.to[%d].service", path, j),
						fmt.Sprintf("rule %s names the service %s, which does not exist; create it or correct the name", rule.Name, svc)})
				}
			case t.Namespace != "":
				r.needNamespace(string(rule.Name), string(t.Namespace), fmt.Sprintf("%s.to[%d].namespace", path, j))
			}
			v.To = append(v.To, t)
		}
		out.Rules = append(out.Rules, v)
	}
	return out
}

// selector checks what CEL can't: that the keys are label keys.
func (r *resolver) selector(s *v1alpha1.WorkloadSelector, path string) map[string]string {
	if s == nil {
		return nil
	}
	out := make(map[string]string, len(s.MatchLabels))
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if errs := validation.IsQualifiedName(k); len(errs) > 0 {
			r.bad(path+".workloadSelector.matchLabels", "%q is not a label key: %s", k, strings.Join(errs, "; "))
		}
		out[k] = string(s.MatchLabels[k])
	}
	return out
}
