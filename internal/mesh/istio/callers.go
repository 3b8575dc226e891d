package istio

import (
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// maxServiceAccounts is how many a source may name (istio.io/api, Source).
const maxServiceAccounts = 16

// identity is the way in which a rule recognises mesh identities.
//
// source.serviceAccounts and source.namespaces match in every trust domain that
// the mesh accepts. Principals name the trust domain, and every version of
// Istio knows them; "*/ns/…" leaves it open again.
type identity struct {
	// fields: use serviceAccounts and namespaces instead of principals.
	accounts, namespaces bool
	// domain of principals, or "*".
	domain string
}

// identities chooses the way for a rule. A rule that allows must not match more
// than the mesh's own trust domain, one that denies must not match less.
func identities(r posture.Rule, f facts.Facts) identity {
	// The API server would drop a field that it does not know, and leave a source that matches everybody.
	known := atLeast(f.Mesh.Version, hasServiceAccounts) && (!dotted(r.From.ServiceAccounts) || !DotsMatchAnything(f.Mesh.Version))
	if r.Action == v1alpha1.RuleDeny {
		return identity{accounts: known, namespaces: true, domain: "*"}
	}
	return identity{accounts: known && !f.Mesh.ForeignTrust, namespaces: !f.Mesh.ForeignTrust, domain: f.Mesh.TrustDomain}
}

func dotted(accounts []types.NamespacedName) bool {
	return slices.ContainsFunc(accounts, func(a types.NamespacedName) bool { return strings.Contains(a.Name, ".") })
}

// sources are the callers of a rule; each must present a token of the request
// principals too, where there are any. None means every caller.
func sources(c posture.Callers, id identity, requestPrincipals []string) []*securityapi.Rule_From {
	var out []*securityapi.Rule_From
	from := func(s *securityapi.Source) {
		s.RequestPrincipals = requestPrincipals
		out = append(out, &securityapi.Rule_From{Source: s})
	}
	switch {
	case c.Anyone:
		if len(requestPrincipals) > 0 {
			from(&securityapi.Source{})
		}
		return out
	case c.AnyAuthenticated && id.namespaces:
		from(&securityapi.Source{Principals: []string{"*"}})
	case c.AnyAuthenticated:
		from(&securityapi.Source{Principals: []string{id.domain + "/*"}})
	default:
		accountSources(c.ServiceAccounts, id, from)
		namespaceSources(c.Namespaces, id, from)
	}
	for _, b := range c.IPBlocks {
		s := &securityapi.Source{IpBlocks: []string{string(b.CIDR)}}
		for _, e := range b.Except {
			s.NotIpBlocks = append(s.NotIpBlocks, string(e))
		}
		from(s)
	}
	return out
}

func accountSources(accounts []types.NamespacedName, id identity, from func(*securityapi.Source)) {
	if !id.accounts {
		var principals []string
		for _, a := range accounts {
			principals = append(principals, id.domain+"/ns/"+a.Namespace+"/sa/"+a.Name)
		}
		if len(principals) > 0 {
			from(&securityapi.Source{Principals: principals})
		}
		return
	}
	for chunk := range slices.Chunk(accounts, maxServiceAccounts) {
		s := &securityapi.Source{}
		for _, a := range chunk {
			s.ServiceAccounts = append(s.ServiceAccounts, a.Namespace+"/"+a.Name)
		}
		from(s)
	}
}

func namespaceSources(namespaces []string, id identity, from func(*securityapi.Source)) {
	if len(namespaces) == 0 {
		return
	}
	if id.namespaces {
		from(&securityapi.Source{Namespaces: namespaces})
		return
	}
	s := &securityapi.Source{}
	for _, ns := range namespaces {
		s.Principals = append(s.Principals, id.domain+"/ns/"+ns+"/*")
	}
	from(s)
}

// assessCallers says how exactly the callers are recognised, and whether they exist.
func assessCallers(r posture.Rule, p posture.Posture, f facts.Facts, a *mesh.Assessment) {
	if r.From.ByIdentity() {
		assessTrust(r, f, a)
		if why := acceptsPlaintext(p, f, r.Selector); r.Action == v1alpha1.RuleDeny && why != "" {
			a.Say(v1alpha1.VerdictLooser, "a denied caller evades it by calling in plaintext, without an identity, since %s; make mutualTLS Strict for these workloads", why)
		}
	}
	missing := missingCallers(r.From, p.Namespace, f)
	if len(missing) == 0 {
		return
	}
	others := r.From.Anyone || r.From.AnyAuthenticated || len(r.From.IPBlocks) > 0 ||
		len(missing) < len(r.From.ServiceAccounts)+len(r.From.Namespaces)
	if r.Action == v1alpha1.RuleAllow && !others {
		a.Say(v1alpha1.VerdictPending, "none of its callers exists yet: %s", mesh.Some(missing))
	} else {
		a.Say(v1alpha1.VerdictEnforced, "not found: %s", mesh.Some(missing))
	}
}

func assessTrust(r posture.Rule, f facts.Facts, a *mesh.Assessment) {
	deny := r.Action == v1alpha1.RuleDeny
	switch {
	case !f.Mesh.Observed:
		// Said already: there is no mesh whose trust could matter.
	case !f.Mesh.ConfigRead:
		a.Say(v1alpha1.VerdictNeedsPrerequisite, "the mesh configuration (ConfigMap istio in %s) could not be read, so that it can't be told whose identities the mesh trusts; let the operator read it", f.Mesh.RootNamespace)
	case f.Mesh.ForeignTrust && deny:
		a.Say(v1alpha1.VerdictStricter, "the mesh trusts more than its own trust domain %s: callers of the same name in any of them are denied", f.Mesh.TrustDomain)
	case f.Mesh.ForeignTrust:
		a.Say(v1alpha1.VerdictEnforced, "the mesh trusts more than its own trust domain: only identities of %s, and of its aliases for service accounts, are let in", f.Mesh.TrustDomain)
	}
}

// missingCallers lists service accounts and namespaces that do not exist.
func missingCallers(c posture.Callers, own string, f facts.Facts) []string {
	if c.Anyone {
		return nil
	}
	var out []string
	for _, sa := range c.ServiceAccounts {
		if !f.ServiceAccounts[sa] {
			out = append(out, "service account "+sa.String())
		}
	}
	for _, ns := range c.Namespaces {
		if ns != own && !f.Namespaces[ns] {
			out = append(out, "namespace "+ns)
		}
	}
	return out
}
