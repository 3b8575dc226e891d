package audit

import (
	"fmt"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// bind has somebody, as KIND/NAME or ServiceAccount/NAMESPACE/NAME's parts, bound
// to a role in a namespace; empty for the cluster.
func (s *ClusterScene) bind(namespace, role string, to facts.Subject, powers ...facts.Power) {
	kind := "RoleBinding"
	if namespace == "" {
		kind = "ClusterRoleBinding"
	}
	s.Control.Grants = append(s.Control.Grants, facts.Grant{
		Source: facts.Source{Kind: kind, Namespace: namespace, Name: fmt.Sprintf("b%d", len(s.Control.Grants))},
		Role:   facts.Source{Kind: "ClusterRole", Name: role}, Powers: powers, Subjects: []facts.Subject{to},
	})
}

func user(name string) facts.Subject  { return facts.Subject{Kind: facts.SubjectUser, Name: name} }
func group(name string) facts.Subject { return facts.Subject{Kind: facts.SubjectGroup, Name: name} }
func runs(namespace, name string) facts.Subject {
	return facts.Subject{Kind: facts.SubjectServiceAccount, Namespace: namespace, Name: name}
}

var rightsCases = []examinedCluster{
	{"CTL-004", "everything", func(s *ClusterScene) { s.bind("", "cluster-admin", user("eve"), facts.AllPowers()...) },
		[]string{"ClusterRoleBinding/b0: by ClusterRole/cluster-admin, User/eve may in every namespace change the mesh's configuration, change baselines or exceptions, change every profile, read secrets (the key of the mesh's authority among them), make tokens of service accounts (istiod's or the operator's among them), give out rights that they do not have (escalate or bind), act as somebody else"}},
	{"CTL-004", "a namespace's editor", func(s *ClusterScene) {
		s.bind("payments", "edit", user("dev"), facts.PowerMesh, facts.PowerProfiles, facts.PowerSecrets, facts.PowerTokens, facts.PowerImpersonate)
	}, []string{"RoleBinding/payments/b0: by ClusterRole/edit, User/dev may in namespace payments change the mesh's configuration"}},
	{"CTL-004", "a namespace's editor where nothing of the mesh is in it", func(s *ClusterScene) {
		s.bind("payments", "edit", user("dev"), facts.PowerProfiles, facts.PowerSecrets, facts.PowerTokens, facts.PowerImpersonate)
	}, nil},
	{"CTL-004", "an editor of the mesh's namespace", func(s *ClusterScene) {
		s.bind("istio-system", "edit", group("platform"), facts.PowerSecrets, facts.PowerTokens)
	}, []string{"RoleBinding/istio-system/b0: Group/platform may in namespace istio-system read secrets"}},
	{"CTL-004", "an editor of the operator's namespace", func(s *ClusterScene) {
		s.bind("mesh-security-system", "edit", group("platform"), facts.PowerSecrets, facts.PowerTokens)
	}, []string{"RoleBinding/mesh-security-system/b0: may in namespace mesh-security-system make tokens"}},
	{"CTL-004", "those who are meant to", func(s *ClusterScene) {
		s.bind("", "cluster-admin", group("system:masters"), facts.AllPowers()...)
		s.bind("", "cluster-admin", group("kubeadm:cluster-admins"), facts.AllPowers()...)
		s.bind("", "system:kube-controller-manager", user("system:kube-controller-manager"), facts.PowerSecrets, facts.PowerTokens)
		s.bind("", "system:controller:clusterrole-aggregation-controller", runs("kube-system", "clusterrole-aggregation-controller"), facts.PowerRights)
		s.bind("", "istiod-clusterrole-istio-system", runs("istio-system", "istiod"), facts.PowerMesh, facts.PowerSecrets)
		s.bind("", "istio-reader-clusterrole-istio-system", runs("istio-system", "istio-reader-service-account"), facts.PowerSecrets)
		s.bind("", "mesh-security-operator", runs("mesh-security-system", "mesh-security-operator"), facts.PowerMesh, facts.PowerPosture, facts.PowerProfiles)
	}, nil},
	{"CTL-004", "those who are not", func(s *ClusterScene) {
		s.bind("", "system:controller:namespace-controller", group("system:authenticated"), facts.PowerRights)
		s.bind("", "addon", runs("kube-system", "addon"), facts.PowerSecrets)
		s.bind("", "kiali", runs("istio-system", "kiali"), facts.PowerMesh)
		s.bind("", "operator", runs("mesh-security-system", "mesh-security-operator"), facts.PowerMesh, facts.PowerTokens)
	}, []string{"ClusterRoleBinding/b0: Group/system:authenticated may in every namespace give out rights", "ClusterRoleBinding/b1: ServiceAccount/kube-system/addon may in every namespace read secrets",
		"ClusterRoleBinding/b2: ServiceAccount/istio-system/kiali may in every namespace change the mesh's", "ClusterRoleBinding/b3: ServiceAccount/mesh-security-system/mesh-security-operator may in every namespace make tokens"}},
	{"CTL-004", "in many namespaces", func(s *ClusterScene) {
		for i := range 11 {
			s.bind(fmt.Sprintf("team-%02d", i), "edit", group("dev"), facts.PowerMesh)
		}
		s.bind("istio-system", "edit", group("dev"), facts.PowerMesh)
	}, []string{"RoleBinding/istio-system/b11: Group/dev", "ClusterRole/edit: in namespaces team-00, team-01, team-02 and more, whoever it is bound to may change the mesh's configuration"}},
	{"CTL-004", "not read", func(s *ClusterScene) { s.Unread = []string{"ClusterRole.rbac.authorization.k8s.io"} },
		[]string{"ClusterRole.rbac.authorization.k8s.io/*: nothing tells who may command the mesh"}},
}
