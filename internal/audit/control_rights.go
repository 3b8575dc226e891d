package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func rightsChecks() []Check {
	return []Check{{
		ID: "CTL-004", Title: "somebody may command the mesh", Severity: v1alpha1.SeverityHigh,
		Compliance:  []string{"PCI DSS 4.0 7.2"},
		Remediation: "take the right out of the role or the binding away; for those who need it, an exception in the binding's namespace (the mesh's, for a ClusterRoleBinding) says who and until when",
		Limits: "Looked at is what Roles, ClusterRoles and their bindings give: other authorizers of the API server are not seen, nor is who may change roles without escalate or bind, make pods that run as istiod, or write webhooks and admission policies. Who is in a group is not known. " +
			"Reading secrets, making tokens and acting as somebody count for the whole cluster, in the mesh's namespace and in the operator's; writing the mesh's kinds, and escalating or binding roles, in every namespace; writing profiles for the whole cluster alone, since each is its namespace's own affair. Medium where tenants may change the mesh's kinds in their own namespace alone, as Istio's chart lets everybody who may edit. " +
			"Left out are system:masters, kubeadm's group of administrators, the API server's own components and the controllers in kube-system with roles of the name system:…, istiod, what runs in the mesh's namespace as far as secrets go, and what runs in the operator's as far as the operator's own rights do.",
		References: []string{"https://kubernetes.io/docs/concepts/security/rbac-good-practices/", "https://istio.io/latest/docs/ops/deployment/security-model/"},
		Reads:      rightsKinds,
		cluster:    rightsGiven,
	}}
}

var rightsKinds = []string{"Role.rbac.authorization.k8s.io", "ClusterRole.rbac.authorization.k8s.io",
	"RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io"}

// powersInWords say what each lets somebody do, in the order of facts.AllPowers.
var powersInWords = map[facts.Power]string{
	facts.PowerMesh:        "change the mesh's configuration",
	facts.PowerPosture:     "change baselines or exceptions",
	facts.PowerProfiles:    "change every profile",
	facts.PowerSecrets:     "read secrets (the key of the mesh's authority among them)",
	facts.PowerTokens:      "make tokens of service accounts (istiod's or the operator's among them)",
	facts.PowerRights:      "give out rights that they do not have (escalate or bind)",
	facts.PowerImpersonate: "act as somebody else",
}

// rightsGiven looks at each binding of a role with powers. Where many namespaces
// bind one role, that is one finding about the role.
func rightsGiven(s *ClusterScene) []Finding {
	const many = 10
	out := s.untold(rightsKinds, "who may command the mesh")
	tenants := map[facts.Source][]facts.Grant{}
	for _, g := range s.Control.Grants {
		switch {
		case !slices.ContainsFunc(g.Subjects, func(to facts.Subject) bool { return len(s.holds(g, to)) > 0 }):
		case g.Namespace != "" && g.Role.Namespace == "" && !s.core(g.Namespace):
			tenants[g.Role] = append(tenants[g.Role], g)
		default:
			out = append(out, s.holder(g))
		}
	}
	for role, grants := range tenants {
		if len(grants) <= many {
			for _, g := range grants {
				out = append(out, s.holder(g))
			}
			continue
		}
		namespaces := map[string]bool{}
		for _, g := range grants {
			namespaces[g.Namespace] = true
		}
		// What counts in a tenant's namespace is the same in each.
		may := slices.DeleteFunc(slices.Clone(grants[0].Powers), func(p facts.Power) bool { return !s.counts(p, grants[0].Namespace) })
		f := open(role.In(""), "in namespaces %s, whoever it is bound to may %s", mesh.Some(slices.Sorted(maps.Keys(namespaces))), inWords(may))
		out = append(out, s.rated(f, grants[0], may))
	}
	return out
}

// rated is a finding, Medium where tenants may change the mesh's kinds in their
// own namespace and nothing else, as Istio's chart has it for everybody who may
// edit. What they do to others with it is CTL-001's.
func (s *ClusterScene) rated(f Finding, g facts.Grant, powers []facts.Power) Finding {
	if g.Namespace != "" && !s.core(g.Namespace) && slices.Equal(powers, []facts.Power{facts.PowerMesh}) {
		f.Severity = v1alpha1.SeverityMedium
	}
	return f
}

func scope(namespace string) string {
	if namespace == "" {
		return " in every namespace"
	}
	return " in namespace " + namespace
}

func inWords(powers []facts.Power) string {
	var out []string
	for _, p := range powers {
		out = append(out, powersInWords[p])
	}
	return strings.Join(out, ", ")
}

// holds are the powers that a binding gives somebody who is not meant to have them.
func (s *ClusterScene) holds(g facts.Grant, to facts.Subject) []facts.Power {
	var out []facts.Power
	for _, p := range g.Powers {
		if s.counts(p, g.Namespace) && !s.meant(p, g, to) {
			out = append(out, p)
		}
	}
	return out
}

// holder is the finding about one binding.
func (s *ClusterScene) holder(g facts.Grant) Finding {
	given := map[facts.Power]bool{}
	var holders []string
	for _, to := range g.Subjects {
		held := s.holds(g, to)
		if len(held) == 0 {
			continue
		}
		for _, p := range held {
			given[p] = true
		}
		name := to.Kind + "/" + to.Name
		if to.Kind == facts.SubjectServiceAccount {
			name = to.Kind + "/" + cmp.Or(to.Namespace, g.Namespace) + "/" + to.Name
		}
		holders = append(holders, name)
	}
	slices.Sort(holders)
	may := slices.DeleteFunc(facts.AllPowers(), func(p facts.Power) bool { return !given[p] })
	f := open(g.In(""), "by %s, %s may%s %s", g.Role.In(g.Namespace), mesh.Some(slices.Compact(holders)), scope(g.Namespace), inWords(may))
	return s.rated(f, g, may)
}

// core says whether a namespace is the mesh's own or the operator's.
func (s *ClusterScene) core(namespace string) bool {
	return slices.Contains([]string{s.Mesh.Namespace, s.Mesh.RootNamespace, s.Control.OperatorNamespace}, namespace)
}

// counts says whether a power that is given in a namespace is one over the mesh;
// empty for the whole cluster.
func (s *ClusterScene) counts(p facts.Power, namespace string) bool {
	switch p {
	case facts.PowerMesh, facts.PowerRights:
		return true
	case facts.PowerPosture, facts.PowerProfiles:
		return namespace == ""
	case facts.PowerSecrets:
		return namespace == "" || namespace == s.Mesh.Namespace || namespace == s.Mesh.RootNamespace
	}
	return namespace == "" || s.core(namespace)
}

// meant says whether somebody is to have a power.
func (s *ClusterScene) meant(p facts.Power, g facts.Grant, subject facts.Subject) bool {
	switch subject.Kind {
	case facts.SubjectGroup:
		return subject.Name == "system:masters" || (subject.Name == "kubeadm:cluster-admins" && g.Role.Name == "cluster-admin")
	case facts.SubjectUser:
		return slices.Contains([]string{"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"}, subject.Name)
	}
	switch namespace := cmp.Or(subject.Namespace, g.Namespace); namespace {
	case "kube-system":
		return strings.HasPrefix(g.Role.Name, "system:")
	case s.Mesh.Namespace:
		return p == facts.PowerSecrets || s.istiod(subject.Name)
	case s.Control.OperatorNamespace:
		// It writes the mesh's kinds, and finalizers of what it writes them for.
		return slices.Contains([]facts.Power{facts.PowerMesh, facts.PowerProfiles, facts.PowerPosture}, p)
	}
	return false
}

// istiod says whether it runs as a service account of the mesh's namespace.
func (s *ClusterScene) istiod(account string) bool {
	if !s.ControlPlaneRead {
		return strings.HasPrefix(account, "istiod")
	}
	return slices.ContainsFunc(s.ControlPlanes, func(cp facts.ControlPlane) bool { return cp.ServiceAccount == account })
}

// untold are unknown findings for kinds that the API server serves and the
// operator can't read.
func (s *ClusterScene) untold(kinds []string, what string) []Finding {
	var out []Finding
	for _, kind := range kinds {
		if slices.Contains(s.Unread, kind) {
			f := unknown(kind+"/*", "the API server serves %s and the operator can't read it, so that nothing tells %s", kind, what)
			f.Remediation = "give the operator the right to get, list and watch it, as config/rbac does"
			out = append(out, f)
		}
	}
	return out
}
