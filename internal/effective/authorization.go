package effective

import (
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
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
}

// rule matches by one of from, one of to, and all of when; an empty list matches.
type rule struct {
	from, to [][]condition
	when     []condition
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
	if DryRun(o) || targeted(&o.Spec) || o.Spec.GetAction() == securityapi.AuthorizationPolicy_AUDIT {
		return
	}
	p := policy{ref: ref, action: o.Spec.GetAction(), selector: o.Spec.GetSelector().GetMatchLabels()}
	for _, r := range o.Spec.GetRules() {
		var out rule
		for _, f := range r.GetFrom() {
			out.from = append(out.from, sourceOf(f.GetSource(), o.Namespace))
		}
		for _, t := range r.GetTo() {
			out.to = append(out.to, operationOf(t.GetOperation()))
		}
		for _, w := range r.GetWhen() {
			out.when = append(out.when, whenOf(w, o.Namespace))
		}
		p.rules = append(p.rules, out)
	}
	m.policies = append(m.policies, p)
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

// sourceOf: namespaces and serviceAccounts match in any trust domain.
func sourceOf(s *securityapi.Source, own string) []condition {
	var f fields
	f.add(principal, false, text, s.GetPrincipals(), s.GetNotPrincipals())
	f.add(requestPrincipal, true, text, s.GetRequestPrincipals(), s.GetNotRequestPrincipals())
	f.add(callerNamespace, false, namespaceName, s.GetNamespaces(), s.GetNotNamespaces())
	f.add(account, false, accountIn(own), s.GetServiceAccounts(), s.GetNotServiceAccounts())
	f.add(trustDomain, false, text, s.GetTrustDomains(), s.GetNotTrustDomains())
	f.add(address, false, addresses, s.GetIpBlocks(), s.GetNotIpBlocks())
	// Behind no trusted proxy the remote address is the direct one.
	f.add(address, false, addresses, s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
	return f
}

// accountIn completes a service account without a namespace by the policy's.
func accountIn(own string) func(string) matcher {
	return func(v string) matcher {
		if !strings.Contains(v, "/") {
			v = own + "/" + v
		}
		return matcher{value: v}
	}
}

func operationOf(o *securityapi.Operation) []condition {
	var f fields
	f.add(requestHost, true, host, o.GetHosts(), o.GetNotHosts())
	f.add(port, false, text, o.GetPorts(), o.GetNotPorts())
	f.add(method, true, text, o.GetMethods(), o.GetNotMethods())
	f.add(requestPath, true, path, o.GetPaths(), o.GetNotPaths())
	return f
}

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

// whenOf reads a condition by its key (istio.io/docs, "Authorization Policy Conditions").
func whenOf(w *securityapi.Condition, own string) condition {
	key := w.GetKey()
	c := condition{of: other, key: key, http: strings.HasPrefix(key, "request.")}
	as := text
	switch key {
	case "source.ip", "remote.ip":
		c.of, as = address, addresses
	case "source.namespace":
		c.of, as = callerNamespace, namespaceName
	case "source.principal":
		c.of = principal
	case "source.serviceAccount":
		c.of, as = account, accountIn(own)
	case "destination.port":
		c.of = port
	case "destination.ip":
		as = addresses
	case "request.auth.principal":
		c.of = requestPrincipal
	case "request.auth.audiences":
		c.of = audience
	case "request.auth.presenter":
		c.of, c.key = claim, "azp"
	default:
		if name, ok := strings.CutPrefix(key, "request.auth.claims["); ok {
			c.of, c.key = claim, strings.TrimSuffix(name, "]")
		}
	}
	c.yes, c.none = values(w.GetValues(), as), values(w.GetNotValues(), as)
	return c
}

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
			return s.token.Issuer + "/" + s.token.Subject
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
	case audience, claim:
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

func (p *policy) matches(s *seen) bool {
	for i := range p.rules {
		if p.rules[i].matches(s, p.action != securityapi.AuthorizationPolicy_ALLOW) {
			return true
		}
	}
	return false
}

// authorize: tokens first, then CUSTOM, DENY and ALLOW. With one ALLOW in force
// for a workload, what none of them matches is denied.
func (m *Model) authorize(c *Call) verdict {
	s := seen{Call: c, port: strconv.Itoa(int(c.Port)), path: normalPath(c.Path, m.Mesh.PathNormalization)}
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
	custom, allow, implicit := -1, -1, -1
	for i := range m.policies {
		p := &m.policies[i]
		if !selects(p.selector, c.To) {
			continue
		}
		switch p.action {
		case securityapi.AuthorizationPolicy_DENY:
			if p.matches(&s) {
				return verdict{stops, p.ref}
			}
		case securityapi.AuthorizationPolicy_CUSTOM:
			if custom < 0 && p.matches(&s) {
				custom = p.ref
			}
		case securityapi.AuthorizationPolicy_ALLOW:
			if implicit < 0 || len(p.rules) == 0 {
				implicit = p.ref
			}
			if allow < 0 && p.matches(&s) {
				allow = p.ref
			}
		case securityapi.AuthorizationPolicy_AUDIT:
		}
	}
	switch {
	case implicit >= 0 && allow < 0:
		return verdict{stops, implicit}
	case custom >= 0:
		// Whom the external authorizer lets through is its own affair.
		return verdict{unsure, custom}
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
