package snapshot

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// right is what a rule has to allow for a power.
type right struct {
	power                    facts.Power
	groups, resources, verbs []string
	// names are those to which a rule may be limited and have the power still;
	// nil: any.
	names func(string) bool
}

var writes = []string{"create", "update", "patch", "delete", "deletecollection"}

func none(string) bool { return false }

// authoritySecrets are the secrets with the key of the mesh's authority
// (istio.io/docs, "Plug in CA Certificates").
func authoritySecrets(name string) bool { return name == "istio-ca-secret" || name == "cacerts" }

func controlAccounts(name string) bool { return strings.HasPrefix(name, "istiod") }

var rights = []right{
	{facts.PowerMesh, []string{"networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"}, nil, writes, nil},
	{facts.PowerPosture, []string{"meshsecurity.io"}, []string{"meshsecuritybaselines", "meshsecurityexceptions"}, writes, nil},
	{facts.PowerProfiles, []string{"meshsecurity.io"}, []string{"meshsecurityprofiles"}, writes, nil},
	{facts.PowerSecrets, []string{""}, []string{"secrets"}, []string{"get", "list", "watch"}, authoritySecrets},
	{facts.PowerTokens, []string{""}, []string{"serviceaccounts/token"}, []string{"create"}, controlAccounts},
	{facts.PowerRights, []string{rbacv1.GroupName}, []string{"roles", "clusterroles"}, []string{"escalate", "bind"}, none},
	{facts.PowerImpersonate, []string{""}, []string{"users", "groups", "serviceaccounts"}, []string{"impersonate"}, none},
}

// powers are those that the rules of a role give, in a fixed order. A rule for
// objects by name gives a power where one of the names is the mesh's own, and
// the power to change configuration in any case.
func powers(rules ...rbacv1.PolicyRule) []facts.Power {
	var out []facts.Power
	for _, r := range rights {
		if slices.ContainsFunc(rules, r.given) {
			out = append(out, r.power)
		}
	}
	return out
}

func (r right) given(rule rbacv1.PolicyRule) bool {
	if !allows(rule.APIGroups, r.groups) || !allows(rule.Verbs, r.verbs) {
		return false
	}
	if len(rule.ResourceNames) > 0 && r.names != nil && !slices.ContainsFunc(rule.ResourceNames, r.names) {
		return false
	}
	if r.resources == nil {
		// What is written to a status changes nothing that the mesh does.
		return slices.ContainsFunc(rule.Resources, func(s string) bool { return !strings.HasSuffix(s, "/status") })
	}
	return allows(rule.Resources, r.resources) || slices.ContainsFunc(r.resources, func(s string) bool {
		_, sub, ok := strings.Cut(s, "/")
		return ok && slices.Contains(rule.Resources, "*/"+sub)
	})
}

// allows says whether a list of a rule has one of the wanted, or all there are.
func allows(have, wanted []string) bool {
	return slices.Contains(have, "*") || slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(have, w) })
}
