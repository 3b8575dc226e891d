package audit

import (
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// field is a field of a rule of an AuthorizationPolicy, or a condition.
type field struct {
	// name as it is written, and what it is about: a condition's is that of the
	// field that asks for the same, where there is one.
	name, about string
	values      []string
	// not is true for values of which none may match.
	not bool
}

// The fields of a rule, by Istio's names.
const (
	ofPrincipals        = "principals"
	ofRequestPrincipals = "requestPrincipals"
	ofNamespaces        = "namespaces"
	ofServiceAccounts   = "serviceAccounts"
	ofTrustDomains      = "trustDomains"
	ofIPBlocks          = "ipBlocks"
	ofRemoteIPBlocks    = "remoteIpBlocks"
	ofHosts             = "hosts"
	ofPorts             = "ports"
	ofMethods           = "methods"
	ofPaths             = "paths"
)

// conditionKeys are what conditions are about, where a field asks for the same
// (istio.io/docs, "Authorization Policy Conditions").
var conditionKeys = map[string]string{
	"source.principal": ofPrincipals, "source.namespace": ofNamespaces, "source.serviceAccount": ofServiceAccounts,
	"source.ip": ofIPBlocks, "remote.ip": ofRemoteIPBlocks, "request.auth.principal": ofRequestPrincipals, "destination.port": ofPorts,
}

// clauses are a rule's: one of from, one of to, and all of when.
type clauses struct {
	from, to [][]field
	when     []field
	// fields are all of these.
	fields []field
}

func clausesOf(r *securityapi.Rule) clauses {
	var out clauses
	for _, f := range r.GetFrom() {
		s := f.GetSource()
		var fs []field
		for _, x := range []struct {
			name    string
			yes, no []string
		}{
			{ofPrincipals, s.GetPrincipals(), s.GetNotPrincipals()},
			{ofRequestPrincipals, s.GetRequestPrincipals(), s.GetNotRequestPrincipals()},
			{ofNamespaces, s.GetNamespaces(), s.GetNotNamespaces()},
			{ofServiceAccounts, s.GetServiceAccounts(), s.GetNotServiceAccounts()},
			{ofTrustDomains, s.GetTrustDomains(), s.GetNotTrustDomains()},
			{ofIPBlocks, s.GetIpBlocks(), s.GetNotIpBlocks()},
			{ofRemoteIPBlocks, s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks()},
		} {
			fs = withNot(fs, x.name, x.yes, x.no)
		}
		out.from = append(out.from, fs)
	}
	for _, t := range r.GetTo() {
		o := t.GetOperation()
		var fs []field
		fs = withNot(fs, ofHosts, o.GetHosts(), o.GetNotHosts())
		fs = withNot(fs, ofPorts, o.GetPorts(), o.GetNotPorts())
		fs = withNot(fs, ofMethods, o.GetMethods(), o.GetNotMethods())
		out.to = append(out.to, withNot(fs, ofPaths, o.GetPaths(), o.GetNotPaths()))
	}
	for _, w := range r.GetWhen() {
		about := w.GetKey()
		if same, ok := conditionKeys[about]; ok {
			about = same
		}
		if len(w.GetValues()) > 0 {
			out.when = append(out.when, field{w.GetKey(), about, w.GetValues(), false})
		}
		if len(w.GetNotValues()) > 0 {
			out.when = append(out.when, field{"notValues of " + w.GetKey(), about, w.GetNotValues(), true})
		}
	}
	out.fields = slices.Concat(slices.Concat(out.from...), slices.Concat(out.to...), out.when)
	return out
}

func withNot(fs []field, name string, yes, no []string) []field {
	if len(yes) > 0 {
		fs = append(fs, field{name, name, yes, false})
	}
	if len(no) > 0 {
		fs = append(fs, field{"not" + strings.ToUpper(name[:1]) + name[1:], name, no, true})
	}
	return fs
}

// identity says whether a field is about what a caller's certificate says.
func (f field) identity() bool {
	return slices.Contains([]string{ofPrincipals, ofNamespaces, ofServiceAccounts, ofTrustDomains}, f.about)
}

// http says whether a field is about what only requests have.
func (f field) http() bool {
	return slices.Contains([]string{ofHosts, ofMethods, ofPaths, ofRequestPrincipals}, f.about) || strings.HasPrefix(f.about, "request.")
}

// token says whether a field is about what a validated token says.
func (f field) token() bool {
	return f.about == ofRequestPrincipals || strings.HasPrefix(f.about, "request.auth.")
}

// asks says whether some field is so.
func asks(fs []field, is func(field) bool) bool { return slices.ContainsFunc(fs, is) }

// fieldNames are those of fields that are so, each once, sorted.
func fieldNames(fs []field, is func(field) bool) []string {
	var out []string
	for _, f := range fs {
		if is(f) {
			out = append(out, f.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// portsIn are the numbers that fields name; none where every port matches.
func portsIn(fs []field) []int32 {
	var out []int32
	for _, f := range fs {
		if f.about != ofPorts || f.not {
			continue
		}
		for _, v := range f.values {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				out = append(out, int32(n))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ruled is an AuthorizationPolicy with the clauses of its rules, and all their fields.
type ruled struct {
	*securityv1.AuthorizationPolicy
	rules  []clauses
	fields []field
}

func ruledBy(policies []*securityv1.AuthorizationPolicy) []ruled {
	var out []ruled
	for _, p := range policies {
		r := ruled{AuthorizationPolicy: p}
		for _, rule := range p.Spec.GetRules() {
			c := clausesOf(rule)
			r.rules = append(r.rules, c)
			r.fields = append(r.fields, c.fields...)
		}
		out = append(out, r)
	}
	return out
}

func (r ruled) selector() map[string]string { return r.Spec.GetSelector().GetMatchLabels() }

// istio says whether Istio carries the namespace's traffic.
func (s *Scene) istio() bool { return s.Facts.Mesh.Provider == v1alpha1.ProviderIstio }

// acting are the objects of a Go type that act on the namespace's workloads.
func acting[T facts.Object](s *Scene) (ours, others []T) {
	if !s.istio() {
		return nil, nil
	}
	ours, others = of[T](s)
	idle := func(o T) bool { return !s.Model().Acts(o) }
	return slices.DeleteFunc(ours, idle), slices.DeleteFunc(others, idle)
}

// ruledOf are policies of the operator and of others.
type ruledOf struct{ ours, others []ruled }

// policies are the AuthorizationPolicies that act on the namespace's workloads.
// With enforced, those that are only evaluated are left out.
func (s *Scene) policies(enforced bool) (ours, others []ruled) {
	at := &s.acts[0]
	if enforced {
		at = &s.acts[1]
	}
	if *at == nil {
		o, t := acting[*securityv1.AuthorizationPolicy](s)
		dry := func(p *securityv1.AuthorizationPolicy) bool { return enforced && effective.DryRun(p) }
		*at = &ruledOf{slices.Clip(ruledBy(slices.DeleteFunc(o, dry))), slices.Clip(ruledBy(slices.DeleteFunc(t, dry)))}
	}
	return (*at).ours, (*at).others
}

// selected are the pods of a workload that a policy is for, and that the mesh carries.
func (s *Scene) selected(w workload, selector map[string]string) []facts.Pod {
	return those(w.pods, func(p facts.Pod) bool {
		return p.Enrolled(s.Facts.Mesh.DataPlane) && facts.Matches(selector, p.Labels)
	})
}

// named are objects, as KIND/NAME, in words.
func (s *Scene) named(refs []effective.Ref) string {
	var out []string
	for _, r := range refs {
		out = append(out, facts.Source{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}.In(s.Facts.Namespace.Name))
	}
	return strings.Join(out, ", ")
}
