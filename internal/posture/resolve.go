package posture

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
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
	// Violations are where the profile declares less than a baseline mandates:
	// the stricter value is in force.
	Violations []Problem
	// Allowed is what exceptions let the profile have less of than is mandated.
	Allowed []Allowance
	// Exceptions are those that are in force here.
	Exceptions []Exception
}

// Compilable says whether the posture may be compiled.
func (r Resolution) Compilable() bool { return len(r.Invalid) == 0 && len(r.Missing) == 0 }

// Input is what a posture is resolved from.
type Input struct {
	// Profile in force. In a namespace without one it is implied by the
	// baselines: it has no name, and declares a mode alone.
	Profile *v1alpha1.MeshSecurityProfile
	// Baselines that apply to the namespace, in the order of Apply.
	Baselines []facts.Baseline
	// Exceptions that name the namespace, sorted by name.
	Exceptions []*v1alpha1.MeshSecurityException
}

// Implied says whether a profile is not in the cluster, but stands for what
// baselines say of a namespace that has none.
func Implied(p *v1alpha1.MeshSecurityProfile) bool { return p.Name == "" }

// owner is what the posture's resources belong to: the profile, and without one
// the first baseline that asks for them.
func (in Input) owner() Owner {
	if Implied(in.Profile) && len(in.Baselines) > 0 {
		return Owner{Kind: v1alpha1.KindBaseline, Name: in.Baselines[0].Name, UID: in.Baselines[0].UID}
	}
	return Owner{Kind: v1alpha1.KindProfile, Name: in.Profile.Name, UID: in.Profile.UID}
}

// Resolve turns the profile in force, and the baselines and exceptions that
// apply to its namespace, into the namespace's posture at the time now:
//
//	value = the stricter of  the profile's, else a baseline's default, else the operator's own
//	        and              the strictest mandate, unless an exception lets less through
func Resolve(in Input, f facts.Facts, now time.Time) Resolution {
	p := in.Profile
	r := &resolver{in: in, own: p.Namespace, facts: f, now: now}
	r.admit()
	spec := p.Spec
	out := Posture{
		Namespace:      p.Namespace,
		Owner:          in.owner(),
		Mode:           r.mode(spec.EnforcementMode),
		DeletionPolicy: cmp.Or(spec.DeletionPolicy, v1alpha1.DeletionDelete),
		Preflight:      spec.Preflight,
	}
	if p.Namespace == f.Mesh.RootNamespace {
		r.bad("metadata.namespace", "%s is the mesh's root namespace: what is written there holds in every namespace of the mesh, and would deny calls to all of them; declare a profile in the namespace that it is for", p.Namespace)
	}
	out.MutualTLS = r.mutualTLS(spec.MutualTLS)
	out.Authorization = r.authorization(spec.Authorization)
	out.Egress = r.egress(spec.Egress)
	out.AccessLog = r.accessLog(spec.Logging)
	out.DriftPolicy, out.Guard = r.drift(spec.Drift)
	out.Origins, out.Expired, out.Refused, out.NextChange = r.sortedOrigins(), r.expired, r.refused, r.next
	return Resolution{
		Posture: out, Invalid: r.invalid, Missing: r.missing, Dangling: r.dangling, Violations: r.violations,
		Allowed: r.allowed, Exceptions: r.exceptions,
	}
}

type resolver struct {
	in      Input
	own     string
	facts   facts.Facts
	now     time.Time
	origins map[string]string
	expired []Override
	refused []Refusal
	next    *time.Time

	exceptions []Exception
	allowed    []Allowance
	violations []Problem

	invalid, missing, dangling []Problem
}

func (r *resolver) bad(path, format string, args ...any) {
	r.invalid = append(r.invalid, Problem{v1alpha1.ReasonInvalid, path, fmt.Sprintf(format, args...)})
}

// changes says that the posture changes by itself at a time to come.
func (r *resolver) changes(at time.Time) {
	if r.now.Before(at) && (r.next == nil || at.Before(*r.next)) {
		r.next = &at
	}
}

const ownDefault = "Default"

func (r *resolver) mode(declared v1alpha1.EnforcementMode) v1alpha1.EnforcementMode {
	const field = "enforcementMode"
	if Implied(r.in.Profile) {
		// namespacesWithoutProfile says all that there is to say.
		r.origin(field, From(r.in.Baselines[0].Name))
		return declared
	}
	have := declared
	if have == "" {
		var ok bool
		if have, ok = byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.EnforcementMode { return given(d.EnforcementMode) }); !ok {
			have = v1alpha1.ModeEnforce
			r.origin(field, ownDefault)
		}
	}
	return raise(r, mandate[v1alpha1.EnforcementMode]{field, CheckMode, modes,
		func(m *v1alpha1.BaselineMandates) v1alpha1.EnforcementMode { return m.EnforcementMode }}, have, declared != "")
}

func (r *resolver) accessLog(l *v1alpha1.Logging) v1alpha1.AccessLog {
	const field = "logging.accessLog"
	var have v1alpha1.AccessLog
	if l != nil {
		have = l.AccessLog
	} else if d, ok := byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.Logging { return d.Logging }); ok {
		have = d.AccessLog
	}
	return raise(r, mandate[v1alpha1.AccessLog]{field, CheckAccessLog, accessLogs,
		func(m *v1alpha1.BaselineMandates) v1alpha1.AccessLog { return m.AccessLog }}, have, l != nil)
}

func (r *resolver) drift(declared *v1alpha1.Drift) (v1alpha1.DriftPolicy, v1alpha1.Guard) {
	const field = "drift.policy"
	have := v1alpha1.Drift{Policy: v1alpha1.DriftCorrect}
	if declared != nil {
		have = *declared
	} else if d, ok := byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.Drift { return d.Drift }); ok {
		have = d
		if d.Guard != "" {
			r.origin("drift.guard", r.origins[field])
		}
	} else {
		r.origin(field, ownDefault)
	}
	policy := raise(r, mandate[v1alpha1.DriftPolicy]{field, CheckDriftPolicy, driftPolicies,
		func(m *v1alpha1.BaselineMandates) v1alpha1.DriftPolicy { return m.DriftPolicy }}, have.Policy, declared != nil)
	return policy, cmp.Or(have.Guard, v1alpha1.GuardNone)
}

func (r *resolver) mutualTLS(declared *v1alpha1.MutualTLS) *MutualTLS {
	const field = "mutualTLS.mode"
	m := declared
	if m == nil {
		if d, ok := byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.DefaultMutualTLS { return d.MutualTLS }); ok {
			m = &v1alpha1.MutualTLS{Mode: d.Mode}
		} else {
			m = &v1alpha1.MutualTLS{}
		}
	}
	out := &MutualTLS{Mode: raise(r, mandate[v1alpha1.MutualTLSMode]{field, CheckMutualTLS, tlsModes,
		func(m *v1alpha1.BaselineMandates) v1alpha1.MutualTLSMode { return m.MutualTLS }}, m.Mode, declared != nil)}
	if out.Mode == "" {
		return nil
	}
	if declared != nil && out.Mode != m.Mode {
		for _, e := range r.perWorkload(CheckMutualTLS) {
			out.Exempt = append(out.Exempt, Exemption{Name: e.Name, Selector: e.Selector, Mode: m.Mode})
			r.allow(e, CheckMutualTLS, field, fmt.Sprintf("%v instead of %v", m.Mode, out.Mode))
		}
	}
	var refused []Override
	for i, o := range m.PortOverrides {
		path := fmt.Sprintf("spec.mutualTLS.portOverrides[%d]", i)
		v := Override{Name: string(o.Name), Selector: r.selector(&o.WorkloadSelector, path), Port: o.Port, Mode: o.Mode}
		if o.ExpiresAt != nil {
			at := o.ExpiresAt.Time
			v.Expires = &at
			if !r.now.Before(at) {
				r.expired = append(r.expired, v)
				continue
			}
			r.changes(at)
		}
		if !r.mayOverride(&v, path, refused) {
			refused = append(refused, v)
			continue
		}
		out.Overrides = append(out.Overrides, v)
	}
	return out
}

// mayOverride says whether every baseline lets a port override be, or an
// exception does: one that mandates Strict lets none, but for those that end
// within the time that it gives itself. One that an earlier override stands in
// the way of does not come into force as that one is refused.
func (r *resolver) mayOverride(o *Override, path string, refused []Override) bool {
	why, remedy := r.unlasting(*o)
	for _, f := range refused {
		if why == "" && facts.Overlap(f.Selector, o.Selector) && (!maps.Equal(f.Selector, o.Selector) || f.Port == o.Port) {
			why, remedy = "override "+f.Name+", which is refused, stands in its way", "remove that one, or "
		}
	}
	if why == "" {
		return true
	}
	if e := r.excepted(CheckPortOverride, o.Selector); e != nil {
		o.Exception = e.Name
		r.allow(*e, CheckPortOverride, path, "port override "+o.Name)
		return true
	}
	message := fmt.Sprintf("%s: override %s is not applied; %sask for an exception from %s", why, o.Name, remedy, CheckPortOverride)
	r.refused = append(r.refused, Refusal{Rule: o.Name, Area: v1alpha1.AreaMutualTLS, Message: message})
	r.violate(path, message)
	return false
}

// unlasting says why a baseline does not let a port override be, and what to do
// about it; empty where all do.
func (r *resolver) unlasting(o Override) (why, remedy string) {
	for _, b := range r.in.Baselines {
		m := b.Spec.Mandates
		switch {
		case m == nil:
			continue
		case m.MaxOverrideDuration == "" && m.MutualTLS == v1alpha1.MutualTLSStrict:
			return From(b.Name) + " mandates Strict, and lets no port override be", ""
		case m.MaxOverrideDuration == "":
			continue
		}
		latest := overridesSet(r.in.Profile).Add(lasts(m))
		if o.Expires == nil || o.Expires.After(latest) {
			return fmt.Sprintf("%s lets a port override last %s from when it was declared", From(b.Name), m.MaxOverrideDuration),
				fmt.Sprintf("give it an expiresAt, %s at the latest, or ", latest.UTC().Format(time.RFC3339))
		}
	}
	return "", ""
}

func (r *resolver) authorization(declared *v1alpha1.Authorization) *Authorization {
	const field = "authorization.defaultAction"
	a := declared
	if a == nil {
		if d, ok := byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.DefaultAuthorization { return d.Authorization }); ok {
			a = &v1alpha1.Authorization{DefaultAction: d.DefaultAction}
		} else {
			a = &v1alpha1.Authorization{}
		}
	}
	out := &Authorization{Providers: a.JWTProviders}
	out.Default = raise(r, mandate[v1alpha1.DefaultAction]{field, CheckAuthorization, defaultActions,
		func(m *v1alpha1.BaselineMandates) v1alpha1.DefaultAction { return m.Authorization }}, a.DefaultAction, declared != nil)
	if declared != nil && out.Default != a.DefaultAction {
		for _, e := range r.perWorkload(CheckAuthorization) {
			out.Exempt = append(out.Exempt, Exemption{Name: e.Name, Selector: e.Selector})
			r.allow(e, CheckAuthorization, field, fmt.Sprintf("%v instead of %v", a.DefaultAction, out.Default))
		}
	}
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
		out.Rules = append(out.Rules, r.rule(rule, path, nil))
	}
	for i := range r.in.Baselines {
		b := &r.in.Baselines[i]
		for j, rule := range b.Spec.AuthorizationRules {
			out.Rules = append(out.Rules, r.rule(rule, fmt.Sprintf("%s: spec.authorizationRules[%d]", From(b.Name), j), b))
		}
	}
	switch {
	case out.Default == "" && len(out.Rules) == 0:
		return nil
	case out.Default == "":
		// A baseline denies something, and nothing else is declared.
		out.Default = v1alpha1.DefaultAllow
		r.origin(field, ownDefault)
	}
	return out
}

func (r *resolver) rule(rule v1alpha1.AuthorizationRule, path string, of *facts.Baseline) Rule {
	out := Rule{
		Name:     string(rule.Name),
		Action:   cmp.Or(rule.Action, v1alpha1.RuleAllow),
		Selector: r.selector(rule.WorkloadSelector, path),
		From:     r.callers(rule, path, of),
		To:       rule.To,
		JWT:      rule.JWT,
	}
	if of != nil {
		out.Baseline = of.Name
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

func (r *resolver) callers(rule v1alpha1.AuthorizationRule, path string, of *facts.Baseline) Callers {
	var out Callers
	for j, c := range rule.From {
		at := fmt.Sprintf("%s.from[%d]", path, j)
		switch {
		case c.ServiceAccount != nil:
			sa := named(r.own, c.ServiceAccount.Namespace, string(c.ServiceAccount.Name))
			out.ServiceAccounts = append(out.ServiceAccounts, sa)
			if of == nil && !r.facts.ServiceAccounts[sa] {
				r.dangling = append(r.dangling, Problem{v1alpha1.ReasonServiceAccountNotFound, at + ".serviceAccount",
					fmt.Sprintf("rule %s names the service account %s, which does not exist; create it or correct the name", rule.Name, sa)})
			}
		case c.Namespace != "":
			out.Namespaces = append(out.Namespaces, string(c.Namespace))
			if of == nil {
				r.needNamespace(string(rule.Name), string(c.Namespace), at+".namespace")
			}
		case c.Peer != "":
			accounts, ok := r.peer(c.Peer, of)
			if !ok && of == nil {
				r.missing = append(r.missing, Problem{v1alpha1.ReasonPeerNotFound, at + ".peer",
					fmt.Sprintf("rule %s names the peer %s, which no baseline that selects this namespace declares; have it added to one, correct the name, or use serviceAccount", rule.Name, c.Peer)})
			}
			out.ServiceAccounts = append(out.ServiceAccounts, accounts...)
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

// peer is the service accounts of a named peer: that of the baseline whose rule
// it is, else that of the highest priority. A service account that does not
// exist (yet) is nobody, and no reason to hold anything up.
func (r *resolver) peer(name v1alpha1.RuleName, of *facts.Baseline) ([]types.NamespacedName, bool) {
	if of != nil {
		return peer(name, r.own, append([]facts.Baseline{*of}, r.in.Baselines...))
	}
	return peer(name, r.own, r.in.Baselines)
}

func (r *resolver) egress(declared *v1alpha1.Egress) *Egress {
	const field = "egress.defaultAction"
	e := declared
	if e == nil {
		if d, ok := byDefault(r, field, func(d *v1alpha1.BaselineDefaults) *v1alpha1.DefaultEgress { return d.Egress }); ok {
			e = &v1alpha1.Egress{DefaultAction: d.DefaultAction, Assurance: d.Assurance}
			if d.Assurance != "" {
				r.origin("egress.assurance", r.origins[field])
			}
		} else {
			e = &v1alpha1.Egress{}
		}
	}
	perimeter := r.perimeter()
	out := &Egress{}
	out.Default = raise(r, mandate[v1alpha1.DefaultAction]{field, CheckEgress, defaultActions,
		func(m *v1alpha1.BaselineMandates) v1alpha1.DefaultAction {
			if m.EgressHosts != nil {
				// What may be reached is limited only where the rest is denied.
				return v1alpha1.DefaultDeny
			}
			return m.Egress
		}}, e.DefaultAction, declared != nil)
	assurance := e.Assurance
	if assurance == "" {
		assurance = v1alpha1.AssuranceNetwork
		if out.Default != "" {
			r.origin("egress.assurance", ownDefault)
		}
	}
	out.Assurance = raise(r, mandate[v1alpha1.EgressAssurance]{"egress.assurance", CheckEgressAssurance, assurances,
		func(m *v1alpha1.BaselineMandates) v1alpha1.EgressAssurance { return m.EgressAssurance }}, assurance, declared != nil && e.Assurance != "")
	if out.Default == "" {
		delete(r.origins, "egress.assurance")
		return nil
	}
	mandated := out.Assurance == v1alpha1.AssuranceGateway && assurance != out.Assurance
	var asking []string
	if out.Assurance == v1alpha1.AssuranceGateway {
		asking = append(asking, "spec.egress.assurance")
	}
	for i, rule := range e.Rules {
		path := fmt.Sprintf("spec.egress.rules[%d]", i)
		if rule.Via == v1alpha1.ViaGateway {
			asking = append(asking, path+".via")
		}
		v := EgressRule{Name: string(rule.Name), Selector: r.selector(rule.WorkloadSelector, path), Via: rule.Via}
		if mandated && rule.Via == v1alpha1.ViaDirect {
			r.violate(path+".via", fmt.Sprintf("rule %s goes out directly, and assurance Gateway is mandated; leave via out", rule.Name))
			v.Via = ""
		}
		var refusals []string
		for j, t := range rule.To {
			t = *t.DeepCopy()
			at := fmt.Sprintf("%s.to[%d]", path, j)
			switch {
			case t.Service != nil:
				svc := named(r.own, t.Service.Namespace, string(t.Service.Name))
				t.Service.Namespace = v1alpha1.NamespaceName(svc.Namespace)
				if _, ok := r.facts.Services[svc]; !ok {
					r.dangling = append(r.dangling, Problem{v1alpha1.ReasonServiceNotFound, at + ".service",
						fmt.Sprintf("rule %s names the service %s, which does not exist; create it or correct the name", rule.Name, svc)})
				}
			case t.Namespace != "":
				r.needNamespace(string(rule.Name), string(t.Namespace), at+".namespace")
			}
			refusals = append(refusals, r.confine(&t, v, at, perimeter)...)
			if len(t.Hosts)+len(t.CIDRs) > 0 || t.Service != nil || t.Namespace != "" {
				v.To = append(v.To, t)
			}
		}
		if len(refusals) > 0 {
			r.refused = append(r.refused, Refusal{Rule: v.Name, Area: v1alpha1.AreaEgress, Message: strings.Join(refusals, "; "), Rest: len(v.To) > 0})
		}
		if len(v.To) > 0 || len(rule.To) == 0 {
			out.Rules = append(out.Rules, v)
		}
	}
	if len(asking) > 0 && out.Default == v1alpha1.DefaultDeny {
		out.Gateway = r.gateway(asking[0])
	}
	return out
}

// gateway is the egress gateway that is asked for at a path; nil where it can't
// be used, and then what needs it is not let out, while all else is in force. So
// it is where no pod of it is ready: what is written stays as it is.
func (r *resolver) gateway(path string) *Gateway {
	g := r.facts.EgressGateway
	what := ""
	if g != nil {
		what = fmt.Sprintf("the egress gateway of %s", From(g.Baseline))
	}
	missing := func(format string, args ...any) {
		r.dangling = append(r.dangling, Problem{v1alpha1.ReasonEgressGatewayNotFound, path,
			fmt.Sprintf(format, args...) + "; until then hosts that need the gateway are not let out"})
	}
	switch {
	case g == nil:
		missing("no baseline that selects this namespace declares an egress gateway; have spec.egressGateway added to one")
	case !g.Exists:
		missing("%s is in namespace %s, which does not exist; install the gateway there, or correct spec.egressGateway", what, g.Namespace)
	case g.Service == "":
		missing("%s has no service in namespace %s: one with a cluster address, port %d, and a selector that has all of %s; create it, or correct spec.egressGateway",
			what, g.Namespace, g.Port, strings.TrimSuffix(facts.SelectorKey(g.Selector), ","))
	default:
		if !g.Ready {
			missing("%s has no ready pod in namespace %s that runs Istio's proxy as a gateway, as service account %s, with labels %s; start it, or correct spec.egressGateway",
				what, g.Namespace, g.ServiceAccount, strings.TrimSuffix(facts.SelectorKey(g.Selector), ","))
		}
		return &Gateway{
			Baseline:  Owner{Kind: v1alpha1.KindBaseline, Name: g.Baseline, UID: g.UID},
			Namespace: g.Namespace, ServiceAccount: g.ServiceAccount, Selector: g.Selector,
			Service: g.Service, Port: g.Port, Target: g.Target, Ready: g.Ready,
		}
	}
	return nil
}

// confine takes out of a target what is outside of the perimeter: hosts that it
// does not have, and addresses outside of the cluster, which no host stands for.
func (r *resolver) confine(t *v1alpha1.EgressTarget, rule EgressRule, path string, perimeter []facts.Baseline) []string {
	e := r.excepted(CheckEgressHosts, rule.Selector)
	var out []string
	for _, b := range perimeter {
		var outside []string
		refuse := func(what string) bool {
			if e != nil {
				r.allow(*e, CheckEgressHosts, path, what)
				return false
			}
			outside = append(outside, what)
			return true
		}
		t.Hosts = slices.DeleteFunc(t.Hosts, func(h v1alpha1.ExternalHost) bool {
			return !within(h, *b.Spec.Mandates.EgressHosts) && refuse(string(h))
		})
		t.CIDRs = slices.DeleteFunc(t.CIDRs, func(c v1alpha1.CIDR) bool {
			return !inside(string(c), r.facts.Network.ClusterCIDRs) && refuse(string(c))
		})
		if len(outside) == 0 {
			continue
		}
		message := fmt.Sprintf("%s is outside of the hosts that %s lets a profile allow, and is refused to rule %s; leave it out, have it added to mandates.egressHosts, or ask for an exception from %s",
			strings.Join(outside, ", "), From(b.Name), rule.Name, CheckEgressHosts)
		r.violate(path, message)
		out = append(out, message)
	}
	return out
}

// inside says whether an address range lies within one of others.
func inside(cidr string, ranges []string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && slices.ContainsFunc(ranges, func(s string) bool {
		q, err := netip.ParsePrefix(s)
		return err == nil && q.Bits() <= p.Bits() && q.Contains(p.Addr())
	})
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
