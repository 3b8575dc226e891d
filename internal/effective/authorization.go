package effective

import (
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// attribute is what a condition looks at.
type attribute uint8

const (
	principal attribute = iota
	callerNamespace
	account
	trustDomain
	address
	requestPrincipal
	requestHost
	port
	method
	requestPath
	audience
	claim
	// other is any other key of a condition.
	other
	// strange is a key that Istio does not document: what becomes of its rule
	// depends on the control plane's version.
	strange
)

// condition is a field of a rule: one of the values, and none of the others.
type condition struct {
	of  attribute
	key string
	// http is true for what is not there on a connection.
	http      bool
	yes, none []matcher
}

// policy is an AuthorizationPolicy.
type policy struct {
	ref      int
	action   securityapi.AuthorizationPolicy_Action
	selector map[string]string
	rules    []rule
	// refuses is true for a CUSTOM whose authorizer the mesh does not have.
	refuses bool
}

// rule matches by one of from, one of to, and all of when; an empty list matches.
type rule struct {
	from, to [][]condition
	when     []condition
	// strange is true where one of when has a key that is not known.
	strange bool
}

// DryRun says whether the mesh evaluates a policy without enforcing it. Istio
// enforces a policy whose annotation it can't read.
func DryRun(o *securityv1.AuthorizationPolicy) bool {
	dry, err := strconv.ParseBool(o.GetAnnotations()[dryRunAnnotation])
	return err == nil && dry
}

// targeted says whether a policy is for gateways and waypoints by targetRefs,
// and so for no sidecar.
func targeted(s interface {
	GetTargetRef() *typeapi.PolicyTargetReference
	GetTargetRefs() []*typeapi.PolicyTargetReference
}) bool {
	return s.GetTargetRef() != nil || len(s.GetTargetRefs()) > 0
}

func (m *Model) addAuthorizationPolicy(o *securityv1.AuthorizationPolicy, ref int) {
	// AUDIT is for logging plugins: it neither allows nor denies.
	if targeted(&o.Spec) || o.Spec.GetAction() == securityapi.AuthorizationPolicy_AUDIT {
		return
	}
	// Versions of Istio differ in whether a dry-run CUSTOM asks its authorizer
	// (pilot, authz/builder), so that it counts as one that does.
	if DryRun(o) && o.Spec.GetAction() != securityapi.AuthorizationPolicy_CUSTOM {
		m.shadows = append(m.shadows, shadow{o, ref})
		return
	}
	m.policies = append(m.policies, m.policyOf(o, ref))
}

// reading is what the meaning of a policy's fields depends on.
type reading struct {
	namespace string
	trust     []string
	dots      bool
}

func (m *Model) policyOf(o *securityv1.AuthorizationPolicy, ref int) policy {
	p := policy{ref: ref, action: o.Spec.GetAction(), selector: o.Spec.GetSelector().GetMatchLabels()}
	if p.action == securityapi.AuthorizationPolicy_CUSTOM && m.Mesh.ConfigRead {
		name := o.Spec.GetProvider().GetName()
		p.refuses = !slices.ContainsFunc(m.Mesh.Authorizers, func(a facts.Authorizer) bool { return a.Name == name })
	}
	read := reading{o.Namespace, m.trust, m.dots}
	for _, r := range o.Spec.GetRules() {
		var out rule
		for _, f := range r.GetFrom() {
			out.from = append(out.from, read.source(f.GetSource()))
		}
		for _, t := range r.GetTo() {
			out.to = append(out.to, operationOf(t.GetOperation()))
		}
		for _, w := range r.GetWhen() {
			c := read.when(w)
			out.strange = out.strange || c.of == strange
			out.when = append(out.when, c)
		}
		p.rules = append(p.rules, out)
	}
	return p
}

func values(list []string, as func(string) matcher) []matcher {
	var out []matcher
	for _, v := range list {
		out = append(out, as(v))
	}
	return out
}

// fields collects conditions of those fields that say something.
type fields []condition

func (f *fields) add(of attribute, http bool, as func(string) matcher, yes, none []string) {
	if len(yes)+len(none) > 0 {
		*f = append(*f, condition{of: of, http: http, yes: values(yes, as), none: values(none, as)})
	}
}

// source: namespaces and serviceAccounts match in any trust domain.
func (r reading) source(s *securityapi.Source) []condition {
	var f fields
	f.add(principal, false, text, migrated(s.GetPrincipals(), r.trust), migrated(s.GetNotPrincipals(), r.trust))
	f.add(requestPrincipal, true, tokenName, s.GetRequestPrincipals(), s.GetNotRequestPrincipals())
	f.add(callerNamespace, false, namespaceName, s.GetNamespaces(), s.GetNotNamespaces())
	f.add(account, false, r.accounts, s.GetServiceAccounts(), s.GetNotServiceAccounts())
	f.add(trustDomain, false, text, aliased(s.GetTrustDomains(), r.trust), aliased(s.GetNotTrustDomains(), r.trust))
	f.add(address, false, addresses, s.GetIpBlocks(), s.GetNotIpBlocks())
	if remote := len(f); len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0 {
		f.add(address, false, addresses, s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
		f[remote].key = remoteAddress
	}
	return f
}

// accounts reads the service accounts of a policy of a namespace: one without a
// namespace is of that one, and in some versions of Istio a dot is any character
// (CVE-2026-39350).
func (r reading) accounts(v string) matcher {
	if !strings.Contains(v, "/") {
		v = r.namespace + "/" + v
	}
	if r.dots && strings.Contains(v, ".") {
		return matcher{how: dotted, value: v}
	}
	return matcher{value: v}
}

func operationOf(o *securityapi.Operation) []condition {
	var f fields
	f.add(requestHost, true, host, o.GetHosts(), o.GetNotHosts())
	f.add(port, false, text, o.GetPorts(), o.GetNotPorts())
	f.add(method, true, text, o.GetMethods(), o.GetNotMethods())
	f.add(requestPath, true, path, o.GetPaths(), o.GetNotPaths())
	return f
}

// migrated are principals as Istio hands them to proxies: a trust domain that is
// the mesh's own or one of its aliases, and cluster.local whatever these are
// called, stands for all of them. A principal of other than five parts, like
// cluster.local/ns/shop/*, and one of any trust domain stay as they are (pilot,
// trustdomain, ReplaceTrustDomainAliases).
func migrated(principals, trust []string) []string {
	var out []string
	for _, p := range principals {
		domain, rest, _ := strings.Cut(p, "/")
		if strings.Count(p, "/") != 4 || domain == "*" || (domain != defaultDomain && !slices.ContainsFunc(trust, func(own string) bool { return alikeDomains(domain, own) })) {
			out = append(out, p)
			continue
		}
		for _, own := range trust {
			as := own + "/" + rest
			if tail, is := strings.CutPrefix(domain, "*"); is && strings.HasSuffix(own, tail) {
				as = p
			}
			if !slices.Contains(out, as) {
				out = append(out, as)
			}
		}
	}
	return out
}

// alikeDomains: either may have a wildcard at one end.
func alikeDomains(a, b string) bool {
	x, y := text(a), text(b)
	return x.matches(b) || y.matches(a)
}

// aliased: a trust domain of the mesh's stands for all of them, and nothing else
// does (pilot, trustdomain, ExpandTrustDomainAliases).
func aliased(domains, trust []string) []string {
	var out []string
	for _, d := range domains {
		if slices.Contains(trust, d) {
			out = append(out, trust...)
		} else {
			out = append(out, d)
		}
	}
	return out
}

// defaultDomain is how principals call the mesh's own trust domain whatever its name.
const defaultDomain = "cluster.local"

// knownKey says whether a key is one of those that Istio documents
// (istio.io/docs, "Authorization Policy Conditions").
func knownKey(key string) bool {
	for _, prefix := range []string{"request.headers[", "request.auth.claims[", "experimental.envoy.filters."} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount",
		"request.auth.principal", "request.auth.audiences", "request.auth.presenter",
		"destination.ip", "destination.port", "connection.sni",
	}, key)
}

// when reads a condition by its key (istio.io/docs, "Authorization Policy Conditions").
func (r reading) when(w *securityapi.Condition) condition {
	key := attributeKey(w.GetKey())
	c := condition{of: other, key: key, http: strings.HasPrefix(key, "request.")}
	as, yes, none := text, w.GetValues(), w.GetNotValues()
	switch key {
	case "source.ip":
		c.of, c.key, as = address, "", addresses
	case "remote.ip":
		c.of, c.key, as = address, remoteAddress, addresses
	case "source.namespace":
		c.of, as = callerNamespace, namespaceName
	case "source.principal":
		c.of, yes, none = principal, migrated(yes, r.trust), migrated(none, r.trust)
	case "source.serviceAccount":
		c.of, as = account, r.accounts
	case "destination.port":
		c.of = port
	case "destination.ip":
		as = addresses
	case "request.auth.principal":
		c.of, as = requestPrincipal, tokenName
	case "request.auth.audiences":
		c.of = audience
	case "request.auth.presenter":
		c.of, c.key = claim, "azp"
	default:
		if name, ok := strings.CutPrefix(key, "request.auth.claims["); ok {
			c.of, c.key = claim, strings.TrimSuffix(name, "]")
		} else if !knownKey(key) {
			c.of = strange
		}
	}
	c.yes, c.none = values(yes, as), values(none, as)
	return c
}

// attributeKey is a condition's key as attributes of a call have it: names of
// headers are the same in upper and lower case.
func attributeKey(key string) string {
	if strings.HasPrefix(key, "request.headers[") {
		return strings.ToLower(key)
	}
	return key
}

// remoteAddress marks a condition on the remote address. A sidecar takes the last
// address of X-Forwarded-For for it, whoever wrote that (Envoy's
// use_remote_address, which Istio leaves off at sidecars); without one, that is
// the direct address.
const (
	remoteAddress = "remote"
	forwardedFor  = "request.headers[x-forwarded-for]"
)

// seen is a call as the server's proxy sees it.
type seen struct {
	*Call
	port string
	// path is the call's, normalised.
	path string
	// token is the call's, where it was validated.
	token *Token
}

func (c *condition) holds(s *seen) bool {
	switch c.of {
	case strange:
		return true
	case audience:
		return s.token != nil && c.anyOf(s.token.Audiences) || s.token == nil && c.anyOf(nil)
	case claim:
		if s.token == nil {
			return c.anyOf(nil)
		}
		return c.anyOf(s.token.Claims[c.key])
	}
	v := s.value(c)
	return (len(c.yes) == 0 || matchesAny(c.yes, v)) && !matchesAny(c.none, v)
}

func (c *condition) anyOf(list []string) bool {
	has := func(ms []matcher) bool {
		return slices.ContainsFunc(list, func(v string) bool { return matchesAny(ms, v) })
	}
	return (len(c.yes) == 0 || has(c.yes)) && !has(c.none)
}

func matchesAny(ms []matcher, v string) bool {
	for i := range ms {
		if ms[i].matches(v) {
			return true
		}
	}
	return false
}

// value is what a call shows of an attribute, empty where it has none.
func (s *seen) value(c *condition) string {
	identity := s.From.ServiceAccount != ""
	switch c.of {
	case address:
		if c.key == remoteAddress && s.HTTP {
			if forwarded := s.Attributes[forwardedFor]; forwarded != "" {
				return strings.TrimSpace(forwarded[strings.LastIndexByte(forwarded, ',')+1:])
			}
		}
		return s.From.Address
	case port:
		return s.port
	case requestHost:
		return strings.ToLower(s.Host)
	case method:
		return s.Method
	case requestPath:
		return s.path
	case other:
		return s.Attributes[c.key]
	case requestPrincipal:
		if s.token != nil {
			return s.token.Issuer + tokenParts + s.token.Subject
		}
	case principal:
		if identity {
			return s.From.TrustDomain + "/ns/" + s.From.Namespace + "/sa/" + s.From.ServiceAccount
		}
	case callerNamespace:
		if identity {
			return s.From.Namespace
		}
	case account:
		if identity {
			return s.From.Namespace + "/" + s.From.ServiceAccount
		}
	case trustDomain:
		if identity {
			return s.From.TrustDomain
		}
	case audience, claim, strange:
	}
	return ""
}

// matches says whether a rule matches a call. On a connection that is not HTTP,
// a rule that allows and asks for anything of HTTP is dropped, and one that
// denies loses that condition (istio.io/docs, "Authorization Policy", on TCP).
func (r *rule) matches(s *seen, denies bool) bool {
	if !s.HTTP && !denies && r.asksHTTP() {
		return false
	}
	all := func(conditions []condition) bool {
		for i := range conditions {
			if !s.HTTP && conditions[i].http {
				continue
			}
			if !conditions[i].holds(s) {
				return false
			}
		}
		return true
	}
	return (len(r.from) == 0 || slices.ContainsFunc(r.from, all)) &&
		(len(r.to) == 0 || slices.ContainsFunc(r.to, all)) && all(r.when)
}

func (r *rule) asksHTTP() bool {
	asks := func(conditions []condition) bool {
		return slices.ContainsFunc(conditions, func(c condition) bool { return c.http })
	}
	return slices.ContainsFunc(r.from, asks) || slices.ContainsFunc(r.to, asks) || asks(r.when)
}

// matches says whether a policy matches a call: it may, by a rule that asks for
// something that is not known, and that some versions of Istio leave out.
func (p *policy) matches(s *seen) (yes, may bool) {
	for i := range p.rules {
		r := &p.rules[i]
		if !r.matches(s, p.action != securityapi.AuthorizationPolicy_ALLOW) {
			continue
		}
		if !r.strange {
			return true, true
		}
		may = true
	}
	return false, may
}

// authorize: tokens first, then CUSTOM, DENY and ALLOW. With one ALLOW in force
// for a workload, what none of them matches is denied.
func (m *Model) authorize(c *Call) verdict { return m.authorizeBy(c, m.Mesh.PathNormalization) }

// authorizeBy is authorize where proxies normalise a request's path so.
func (m *Model) authorizeBy(c *Call, how string) verdict {
	s := seen{Call: c, port: strconv.Itoa(int(c.Port)), path: normalPath(c.Path, how)}
	if c.HTTP && c.Token != nil {
		accepted, by := m.validate(c.To, c.Token)
		if !accepted && by >= 0 {
			return verdict{stops, by}
		}
		if accepted || m.Partial {
			// The root namespace's rules may accept it.
			s.token = c.Token
		}
	}
	custom, doubt, allow, mayAllow, implicit := -1, -1, -1, -1, -1
	for i := range m.policies {
		p := &m.policies[i]
		if !selects(p.selector, c.To) {
			continue
		}
		yes, may := false, false
		if allow < 0 || p.action != securityapi.AuthorizationPolicy_ALLOW {
			yes, may = p.matches(&s)
		}
		switch p.action {
		case securityapi.AuthorizationPolicy_DENY:
			if yes {
				return verdict{stops, p.ref}
			}
			if may && doubt < 0 {
				doubt = p.ref
			}
		case securityapi.AuthorizationPolicy_CUSTOM:
			if yes && p.refuses {
				// Istio denies what it can't ask anybody about (pilot, authz/builder, getBadCustomDenyRules).
				return verdict{stops, p.ref}
			}
			if may && custom < 0 {
				custom = p.ref
			}
		case securityapi.AuthorizationPolicy_ALLOW:
			if implicit < 0 || len(p.rules) == 0 {
				implicit = p.ref
			}
			switch {
			case yes:
				allow = p.ref
			case may && mayAllow < 0:
				mayAllow = p.ref
			}
		case securityapi.AuthorizationPolicy_AUDIT:
		}
	}
	switch {
	case implicit >= 0 && allow < 0 && mayAllow < 0:
		return verdict{stops, implicit}
	case custom >= 0:
		// Whom the external authorizer lets through is its own affair.
		return verdict{unsure, custom}
	case doubt >= 0:
		return verdict{unsure, doubt}
	case implicit >= 0 && allow < 0:
		return verdict{unsure, mayAllow}
	case implicit < 0 && m.Partial:
		return verdict{unsure, -1}
	}
	return verdict{passes, allow}
}

// authentication is a rule of a RequestAuthentication.
type authentication struct {
	ref          int
	selector     map[string]string
	issuer, keys string
	audiences    []string
}

func (m *Model) addRequestAuthentication(o *securityv1.RequestAuthentication, ref int) {
	if targeted(&o.Spec) {
		return
	}
	for _, r := range o.Spec.GetJwtRules() {
		m.authentications = append(m.authentications, authentication{
			ref: ref, selector: o.Spec.GetSelector().GetMatchLabels(), issuer: r.GetIssuer(), keys: keysOf(r), audiences: r.GetAudiences(),
		})
	}
}

// keysOf names the keys that validate a rule's tokens.
func keysOf(r *securityapi.JWTRule) string {
	switch {
	case r.GetJwksUri() != "":
		return r.GetJwksUri()
	case r.GetJwks() != "":
		return r.GetJwks()
	}
	return r.GetIssuer()
}

// validate: a token that is there has to be valid by one of the workload's
// rules; where it has none, nobody looks at tokens. A request without a token passes.
func (m *Model) validate(to Labels, t *Token) (accepted bool, by int) {
	by = -1
	for i := range m.authentications {
		a := &m.authentications[i]
		if !selects(a.selector, to) {
			continue
		}
		by = a.ref
		if a.issuer == t.Issuer && a.keys == t.Keys &&
			(len(a.audiences) == 0 || slices.ContainsFunc(t.Audiences, func(v string) bool { return slices.Contains(a.audiences, v) })) {
			return true, by
		}
	}
	return false, by
}
