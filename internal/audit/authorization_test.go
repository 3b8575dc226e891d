package audit

import (
	"testing"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const (
	allow  = securityapi.AuthorizationPolicy_ALLOW
	deny   = securityapi.AuthorizationPolicy_DENY
	custom = securityapi.AuthorizationPolicy_CUSTOM
	audits = securityapi.AuthorizationPolicy_AUDIT
)

// policyOf is an AuthorizationPolicy of the namespace, for all of its workloads.
func policyOf(name string, action securityapi.AuthorizationPolicy_Action, rules ...*securityapi.Rule) *securityv1.AuthorizationPolicy {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name}}
	p.Spec.Action, p.Spec.Rules = action, rules
	return p
}

func defaultDeny() *securityv1.AuthorizationPolicy { return policyOf("msp-default-deny", allow) }

func only(p *securityv1.AuthorizationPolicy, app string) *securityv1.AuthorizationPolicy {
	p.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
	return p
}

func dryRun(p *securityv1.AuthorizationPolicy, value string) *securityv1.AuthorizationPolicy {
	p.Annotations = map[string]string{"istio.io/dry-run": value}
	return p
}

func by(p *securityv1.AuthorizationPolicy, provider string) *securityv1.AuthorizationPolicy {
	p.Spec.ActionDetail = &securityapi.AuthorizationPolicy_Provider{Provider: &securityapi.AuthorizationPolicy_ExtensionProvider{Name: provider}}
	return p
}

func from(s *securityapi.Source) *securityapi.Rule {
	return &securityapi.Rule{From: []*securityapi.Rule_From{{Source: s}}}
}

func to(o *securityapi.Operation) *securityapi.Rule {
	return &securityapi.Rule{To: []*securityapi.Rule_To{{Operation: o}}}
}

// fromTo is a rule by shop/checkout, or whoever s is, for some operation.
func fromTo(s *securityapi.Source, o *securityapi.Operation) *securityapi.Rule {
	r := from(s)
	r.To = to(o).To
	return r
}

func when(key string, values ...string) *securityapi.Rule {
	return &securityapi.Rule{When: []*securityapi.Condition{{Key: key, Values: values}}}
}

func checkout() *securityapi.Source {
	return &securityapi.Source{ServiceAccounts: []string{"shop/checkout"}}
}

func tokens(name string, rules ...*securityapi.JWTRule) *securityv1.RequestAuthentication {
	a := &securityv1.RequestAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name}}
	a.Spec.JwtRules = rules
	return a
}

func sso() *securityapi.JWTRule {
	return &securityapi.JWTRule{Issuer: "https://sso.example.com", JwksUri: "https://sso.example.com/keys", Audiences: []string{"payments"}}
}

// peersOf is a PeerAuthentication of the namespace.
func peersOf(mode securityapi.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "mtls"}}
	p.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: mode}
	return p
}

const (
	strictly    = securityapi.PeerAuthentication_MutualTLS_STRICT
	permissibly = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
	never       = securityapi.PeerAuthentication_MutualTLS_DISABLE
)

// database gives the pod a port that a service declares as TCP.
func (s *Scene) database() {
	s.pod().Ports = append(s.pod().Ports, facts.ContainerPort{Name: "db", Number: 5432})
	s.Facts.Services[types.NamespacedName{Namespace: "payments", Name: "db"}] = facts.Service{Namespace: "payments", Name: "db",
		Selector: map[string]string{"app": "api"}, Ports: []facts.ServicePort{{Name: "tcp-db", Protocol: "TCP", Port: 5432, Target: intstr.FromString("db")}}}
}

func (s *Scene) unreadMesh() {
	m := &s.Facts.Mesh
	m.ConfigRead, m.AccessLog, m.PathNormalization, m.TrustedProxies = false, facts.Unknown, "", facts.Unknown
}

func (s *Scene) balanced() {
	key := types.NamespacedName{Namespace: "payments", Name: "api"}
	svc := s.Facts.Services[key]
	svc.HidesCallers = true
	s.Facts.Services[key] = svc
}

func TestAuthorization(t *testing.T) {
	cases := []examined{
		{"AUTHZ-001", "declared and not in force", func(s *Scene) { s.Ours = nil }, []string{"Namespace/payments: no policy in force denies by default"}},
		{"AUTHZ-001", "under mode DryRun", func(s *Scene) { s.Ours = nil; s.Posture.Mode = v1alpha1.ModeDryRun }, []string{"Namespace/payments: enforcementMode DryRun denies nothing"}},
		{"AUTHZ-001", "held back", func(s *Scene) { s.Ours = nil; s.Posture.Held = []v1alpha1.Area{v1alpha1.AreaAuthorization} }, []string{"Namespace/payments: the preflight holds it back"}},
		{"AUTHZ-001", "evaluated alone", func(s *Scene) { s.Ours = []facts.Object{dryRun(defaultDeny(), "true")} }, []string{"Namespace/payments: no policy in force denies by default"}},
		{"AUTHZ-001", "somebody allows everything", func(s *Scene) { s.add(policyOf("all", allow, &securityapi.Rule{})) }, []string{"Namespace/payments: since AuthorizationPolicy/all allows everything"}},
		{"AUTHZ-001", "a default-deny of another revision", func(s *Scene) { s.Ours[0].SetLabels(map[string]string{"istio.io/rev": "canary"}) }, []string{"Namespace/payments: no policy in force"}},
		{"AUTHZ-001", "a default-deny of some workloads", func(s *Scene) { s.Ours = []facts.Object{only(defaultDeny(), "api")} }, []string{"Namespace/payments: no policy in force"}},
		{"AUTHZ-001", "the root namespace's", func(s *Scene) { p := defaultDeny(); p.Namespace = "istio-system"; s.Ours = nil; s.add(p) }, nil},
		{"AUTHZ-001", "nobody declares it", func(s *Scene) { s.Ours, s.Posture.Authorization = nil, nil }, []string{"Namespace/payments: neither the profile nor a baseline declares"}},
		{"AUTHZ-001", "Allow is declared", func(s *Scene) { s.Ours = nil; s.Posture.Authorization.Default = v1alpha1.DefaultAllow }, nil},
		{"AUTHZ-001", "an exception of the namespace", func(s *Scene) { s.Ours = nil; s.Posture.Authorization.Exempt = []posture.Exemption{{Name: "e"}} }, nil},
		{"AUTHZ-001", "what is mesh-wide is not known", func(s *Scene) { s.Ours = nil; s.unreadMesh() }, []string{"Namespace/payments: unknown: the mesh configuration can't be read"}},
		{"AUTHZ-001", "an authorizer that the mesh does not have denies", func(s *Scene) { s.Ours = nil; s.add(by(policyOf("ext", custom, &securityapi.Rule{}), "authz")) }, nil},
		{"AUTHZ-001", "an authorizer decides", func(s *Scene) {
			s.Ours = nil
			s.Facts.Mesh.Authorizers = []facts.Authorizer{{Name: "authz"}}
			s.add(by(policyOf("ext", custom, &securityapi.Rule{}), "authz"))
		},
			[]string{"Namespace/payments: unknown: AuthorizationPolicy/ext leaves it to an external authorizer"}},
		{"AUTHZ-001", "another mesh", func(s *Scene) { s.Ours = nil; s.Facts.Mesh.Provider = v1alpha1.ProviderLinkerd }, nil},

		{"AUTHZ-002", "no policy is in force", func(s *Scene) { s.Ours = nil }, []string{"Deployment/api: everybody may call it"}},
		{"AUTHZ-002", "a rule of nothing", func(s *Scene) { s.add(only(policyOf("all", allow, &securityapi.Rule{}), "api")) }, []string{"Deployment/api: by AuthorizationPolicy/all"}},
		{"AUTHZ-002", "in a namespace that denies undeclared", func(s *Scene) {
			s.Posture.Authorization = nil
			s.add(only(policyOf("all", allow, &securityapi.Rule{}), "api"))
		}, []string{"Deployment/api: by AuthorizationPolicy/all"}},
		{"AUTHZ-002", "every address", func(s *Scene) {
			s.add(policyOf("all", allow, from(&securityapi.Source{IpBlocks: []string{"0.0.0.0/0"}})))
		}, []string{"Deployment/api: by AuthorizationPolicy/all"}},
		{"AUTHZ-002", "some addresses", func(s *Scene) {
			s.add(policyOf("some", allow, from(&securityapi.Source{IpBlocks: []string{"192.0.2.0/24"}})))
		}, nil},
		{"AUTHZ-002", "one port", func(s *Scene) { s.add(policyOf("port", allow, to(&securityapi.Operation{Ports: []string{"8080"}}))) }, nil},
		{"AUTHZ-002", "one pod of two", func(s *Scene) {
			p := *s.pod()
			p.Name, p.Labels = "api-1", map[string]string{"app": "api", "canary": "true"}
			s.Facts.Pods = append(s.Facts.Pods, p)
			all := policyOf("all", allow, &securityapi.Rule{})
			all.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"canary": "true"}}
			s.add(all)
		}, []string{"Deployment/api: some of its pods: everybody may call it"}},
		{"AUTHZ-002", "declared for anyone", func(s *Scene) {
			s.allow(anyone)
			s.Ours = append(s.Ours, policyOf("msp-r", allow, &securityapi.Rule{}))
		}, nil},
		{"AUTHZ-002", "declared for anyone with a token", func(s *Scene) {
			s.allow(anyone)
			s.Posture.Authorization.Rules[0].JWT = &v1alpha1.JWTRequirement{Provider: "sso"}
			s.add(only(policyOf("all", allow, &securityapi.Rule{}), "api"))
		}, []string{"Deployment/api: by AuthorizationPolicy/all"}},
		{"AUTHZ-002", "an exception", func(s *Scene) {
			s.Posture.Authorization.Exempt = []posture.Exemption{{Name: "e", Selector: map[string]string{"app": "api"}}}
			s.Ours = append(s.Ours, only(policyOf("msp-exempt-e", allow, &securityapi.Rule{}), "api"))
		}, nil},
		{"AUTHZ-002", "outside of the mesh", func(s *Scene) { s.Ours = nil; s.pod().Sidecar = false }, nil},
		{"AUTHZ-002", "under mode Audit", func(s *Scene) { s.Ours = nil; s.Posture.Mode = v1alpha1.ModeAudit }, nil},
		{"AUTHZ-002", "under mode Audit, by somebody", func(s *Scene) {
			s.Posture.Mode = v1alpha1.ModeAudit
			s.Ours = nil
			s.add(policyOf("all", allow, &securityapi.Rule{}))
		}, []string{"Deployment/api: by AuthorizationPolicy/all"}},
		{"AUTHZ-002", "nobody declares it", func(s *Scene) { s.Ours, s.Posture.Authorization = nil, nil }, nil},
		{"AUTHZ-002", "what is mesh-wide is not known", func(s *Scene) { s.Ours = nil; s.unreadMesh() }, []string{"Deployment/api: unknown: the mesh configuration can't be read"}},

		{"AUTHZ-003", "left over", func(s *Scene) { s.add(dryRun(policyOf("p", deny, from(checkout())), "true")) }, []string{"AuthorizationPolicy/p: evaluated and not enforced"}},
		{"AUTHZ-003", "not a boolean", func(s *Scene) { s.add(dryRun(policyOf("p", deny, from(checkout())), "yes")) }, []string{"AuthorizationPolicy/p: the mesh enforces it"}},
		{"AUTHZ-003", "false", func(s *Scene) { s.add(dryRun(policyOf("p", deny, from(checkout())), "false")) }, nil},
		{"AUTHZ-003", "a profile's", func(s *Scene) { s.Ours = append(s.Ours, dryRun(policyOf("msp-r", deny, from(checkout())), "true")) }, nil},
		{"AUTHZ-003", "of the root namespace", func(s *Scene) {
			p := dryRun(policyOf("p", deny, from(checkout())), "true")
			p.Namespace = "istio-system"
			s.add(p)
		}, []string{"AuthorizationPolicy/istio-system/p: evaluated"}},

		{"AUTHZ-004", "allows all but", func(s *Scene) {
			s.add(policyOf("p", allow, fromTo(checkout(), &securityapi.Operation{NotPaths: []string{"/admin"}, NotMethods: []string{"PUT"}})))
		}, []string{"AuthorizationPolicy/p: by notMethods, notPaths"}},
		{"AUTHZ-004", "allows all but by a condition", func(s *Scene) {
			r := from(checkout())
			r.When = []*securityapi.Condition{{Key: "request.headers[x]", NotValues: []string{"a"}}}
			s.add(policyOf("p", allow, r))
		}, []string{"AuthorizationPolicy/p: notValues of request.headers[x]"}},
		{"AUTHZ-004", "denies paths", func(s *Scene) { s.add(policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}}))) }, []string{"AuthorizationPolicy/p: it denies the paths that it names"}},
		{"AUTHZ-004", "evaluated alone", func(s *Scene) {
			s.add(dryRun(policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}})), "true"))
		}, nil},
		{"AUTHZ-004", "for a gateway", func(s *Scene) {
			p := policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}}))
			p.Spec.TargetRefs = []*typeapi.PolicyTargetReference{{Kind: "Gateway", Name: "edge"}}
			s.add(p)
		}, nil},
		{"AUTHZ-004", "the safe ways", func(s *Scene) {
			s.add(policyOf("a", allow, fromTo(checkout(), &securityapi.Operation{Paths: []string{"/a"}})), policyOf("d", deny, to(&securityapi.Operation{NotPaths: []string{"/a"}})))
		}, nil},

		{"AUTHZ-005", "a prefix", func(s *Scene) {
			s.Facts.Mesh.PathNormalization = "BASE"
			s.Ours = append(s.Ours, policyOf("msp-r", allow, fromTo(checkout(), &securityapi.Operation{Paths: []string{"/a/*"}})))
		}, []string{"AuthorizationPolicy/msp-r: pathNormalization BASE leaves repeated and encoded slashes"}},
		{"AUTHZ-005", "denied", func(s *Scene) {
			s.Facts.Mesh.PathNormalization = "NONE"
			s.add(policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}})))
		}, []string{"AuthorizationPolicy/p: dot segments"}},
		{"AUTHZ-005", "exact paths are allowed", func(s *Scene) {
			s.Facts.Mesh.PathNormalization = "NONE"
			s.add(policyOf("p", allow, fromTo(checkout(), &securityapi.Operation{Paths: []string{"/a"}})))
		}, nil},
		{"AUTHZ-005", "merged", func(s *Scene) { s.add(policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}}))) }, nil},
		{"AUTHZ-005", "not known", func(s *Scene) {
			s.unreadMesh()
			s.add(policyOf("p", deny, to(&securityapi.Operation{Paths: []string{"/admin"}})))
		}, []string{"AuthorizationPolicy/p: unknown: it decides by paths"}},

		{"AUTHZ-006", "allows at the port by name", func(s *Scene) {
			s.database()
			s.add(policyOf("p", allow, fromTo(checkout(), &securityapi.Operation{Methods: []string{"GET"}, Ports: []string{"5432"}})))
		}, []string{"AuthorizationPolicy/p: methods at port 5432 of Deployment/api, which a Service declares as other than HTTP: it allows nothing"}},
		{"AUTHZ-006", "denies everywhere", func(s *Scene) {
			s.database()
			s.add(policyOf("p", deny, to(&securityapi.Operation{NotPaths: []string{"/a"}})))
		}, []string{"AuthorizationPolicy/p: it denies there whatever these say"}},
		{"AUTHZ-006", "allows where HTTP is spoken", func(s *Scene) {
			s.database()
			s.add(policyOf("p", allow, fromTo(checkout(), &securityapi.Operation{Methods: []string{"GET"}})))
		}, nil},
		{"AUTHZ-006", "another operation denies the port", func(s *Scene) {
			s.database()
			r := to(&securityapi.Operation{Ports: []string{"5432"}})
			r.To = append(r.To, to(&securityapi.Operation{Ports: []string{"8080"}, Methods: []string{"PUT"}}).To...)
			s.add(policyOf("p", deny, r))
		}, nil},
		{"AUTHZ-006", "no port speaks HTTP", func(s *Scene) {
			s.database()
			s.pod().Ports = s.pod().Ports[1:]
			s.add(policyOf("p", allow, fromTo(checkout(), &securityapi.Operation{Methods: []string{"GET"}})))
		}, []string{"AuthorizationPolicy/p: it allows nothing there"}},

		{"AUTHZ-007", "denies by identity", func(s *Scene) {
			s.add(policyOf("d", deny, from(checkout())), policyOf("a", allow, to(&securityapi.Operation{Ports: []string{"8080"}})))
		}, []string{"AuthorizationPolicy/d: it stops callers by serviceAccounts, and port 8080 of Deployment/api accepts plaintext"}},
		{"AUTHZ-007", "denies by a condition", func(s *Scene) {
			s.add(policyOf("d", deny, when("source.namespace", "batch")), policyOf("a", allow, to(&securityapi.Operation{Ports: []string{"8080"}})))
		}, []string{"AuthorizationPolicy/d: by source.namespace"}},
		{"AUTHZ-007", "nobody is allowed in plaintext", func(s *Scene) { s.add(policyOf("d", deny, from(checkout())), policyOf("a", allow, from(checkout()))) }, nil},
		{"AUTHZ-007", "another port is open", func(s *Scene) {
			s.add(policyOf("d", deny, from(checkout())), policyOf("a", allow, to(&securityapi.Operation{Ports: []string{"9090"}})))
		}, nil},
		{"AUTHZ-007", "under STRICT", func(s *Scene) {
			s.add(peersOf(strictly), policyOf("d", deny, from(checkout())), policyOf("a", allow, to(&securityapi.Operation{Ports: []string{"8080"}})))
		}, nil},
		{"AUTHZ-007", "allows by who they are not", func(s *Scene) {
			s.add(peersOf(permissibly), policyOf("a", allow, from(&securityapi.Source{NotNamespaces: []string{"batch"}})))
		}, []string{"AuthorizationPolicy/a: it leaves callers out by notNamespaces"}},
		{"AUTHZ-007", "allows by identity where there is none", func(s *Scene) { s.add(peersOf(never), policyOf("a", allow, from(checkout()))) }, []string{"AuthorizationPolicy/a: it lets nobody in there"}},
		{"AUTHZ-007", "the mode is not known", func(s *Scene) {
			s.unreadMesh()
			s.Facts.Mesh.Observed = false
			s.add(policyOf("d", deny, from(checkout())), policyOf("a", allow, to(&securityapi.Operation{Ports: []string{"8080"}})))
		}, []string{"AuthorizationPolicy/d: unknown: it decides by serviceAccounts"}},

		{"AUTHZ-008", "that can't match", func(s *Scene) {
			s.add(policyOf("p", allow, from(&securityapi.Source{Principals: []string{
				"spiffe://cluster.local/ns/shop/sa/a", "cluster.local/ns/*/sa/a", "old.example.com/ns/shop/sa/a", "cluster.local/ns/shop/*", "*/ns/shop/sa/a", "*",
			}})))
		}, []string{"AuthorizationPolicy/p: it names principals that no caller has: cluster.local/ns/*/sa/a (a * counts at one end alone), old.example.com/ns/shop/sa/a (of a trust domain that the mesh does not know), spiffe://cluster.local/ns/shop/sa/a (principals are written without spiffe://)"}},
		{"AUTHZ-008", "cluster.local is the mesh's own", func(s *Scene) {
			s.Facts.Mesh.TrustDomain = "prod.example.com"
			s.add(policyOf("p", allow, from(&securityapi.Source{Principals: []string{"cluster.local/ns/shop/sa/a", "prod.example.com/ns/shop/sa/b"}})))
		}, nil},
		{"AUTHZ-008", "a trust domain that is accepted", func(s *Scene) {
			s.Facts.Mesh.ForeignTrust = true
			s.add(policyOf("p", allow, from(&securityapi.Source{Principals: []string{"old.example.com/ns/shop/sa/a"}})))
		}, nil},
		{"AUTHZ-008", "trust domains are not known", func(s *Scene) {
			s.unreadMesh()
			s.add(policyOf("p", allow, from(&securityapi.Source{Principals: []string{"old.example.com/ns/shop/sa/a"}})))
		}, []string{"AuthorizationPolicy/p: unknown: the mesh configuration can't be read"}},

		{"AUTHZ-009", "nobody is asked for", func(s *Scene) { s.add(policyOf("p", allow, to(&securityapi.Operation{Methods: []string{"GET"}}))) }, []string{"AuthorizationPolicy/p: a rule says not who may call"}},
		{"AUTHZ-009", "a condition asks who", func(s *Scene) { s.add(policyOf("p", allow, when("source.namespace", "shop"))) }, nil},
		{"AUTHZ-009", "a token says who", func(s *Scene) {
			s.add(policyOf("p", allow, from(&securityapi.Source{RequestPrincipals: []string{"*"}})))
		}, nil},
		{"AUTHZ-009", "a rule of nothing is another check's", func(s *Scene) { s.add(policyOf("p", allow, &securityapi.Rule{})) }, nil},
		{"AUTHZ-009", "a default account is let in", func(s *Scene) {
			s.add(policyOf("p", allow, from(&securityapi.Source{ServiceAccounts: []string{"shop/default"}})))
		}, []string{"AuthorizationPolicy/p: it lets in a default account, which every pod without one of its own has: shop/default"}},
		{"AUTHZ-009", "the default account is shared", func(s *Scene) {
			p := *s.pod()
			p.Name, p.Owner, p.ServiceAccount, s.pod().ServiceAccount = "b-0", facts.Owner{Kind: "Deployment", Name: "b"}, "default", "default"
			s.Facts.Pods = append(s.Facts.Pods, p)
		}, []string{"Deployment/api: default account", "Deployment/b: default account"}},
		{"AUTHZ-009", "one alone has it", func(s *Scene) { s.pod().ServiceAccount = "default" }, nil},

		{"AUTHZ-010", "behind a load balancer", func(s *Scene) {
			s.balanced()
			s.Ours = append(s.Ours, policyOf("msp-r", allow, from(&securityapi.Source{IpBlocks: []string{"203.0.113.0/24"}})))
		}, []string{"Service/api: AuthorizationPolicy/msp-r decides by it"}},
		{"AUTHZ-010", "behind a Service that shows the callers", func(s *Scene) {
			s.add(policyOf("p", allow, from(&securityapi.Source{IpBlocks: []string{"203.0.113.0/24"}})))
		}, nil},
		{"AUTHZ-010", "for another workload", func(s *Scene) {
			s.balanced()
			s.add(only(policyOf("p", allow, from(&securityapi.Source{IpBlocks: []string{"203.0.113.0/24"}})), "b"))
		}, nil},
		{"AUTHZ-010", "no proxy in front is known", func(s *Scene) {
			s.Facts.Mesh.TrustedProxies = facts.No
			s.add(policyOf("p", allow, when("remote.ip", "203.0.113.0/24")))
		}, []string{"AuthorizationPolicy/p: it decides by remoteIpBlocks"}},
		{"AUTHZ-010", "nobody knows", func(s *Scene) {
			s.unreadMesh()
			s.add(policyOf("p", allow, from(&securityapi.Source{RemoteIpBlocks: []string{"203.0.113.0/24"}})))
		}, []string{"AuthorizationPolicy/p: unknown: it decides by remoteIpBlocks"}},

		{"AUTHZ-013", "nobody asks for a token", func(s *Scene) { s.add(tokens("jwt", sso()), policyOf("p", allow, from(checkout()))) }, []string{"Deployment/api: RequestAuthentication/jwt validates tokens, and no policy asks for one"}},
		{"AUTHZ-013", "nothing is denied", func(s *Scene) { s.Ours = nil; s.add(tokens("jwt", sso())) }, []string{"Deployment/api: no policy asks for one"}},
		{"AUTHZ-013", "nobody is let in", func(s *Scene) { s.add(tokens("jwt", sso())) }, nil},
		{"AUTHZ-013", "a rule asks", func(s *Scene) {
			s.add(tokens("jwt", sso()), policyOf("p", allow, from(&securityapi.Source{RequestPrincipals: []string{"*"}})))
		}, nil},
		{"AUTHZ-013", "none is denied", func(s *Scene) {
			s.Ours = nil
			s.add(tokens("jwt", sso()), policyOf("p", deny, from(&securityapi.Source{NotRequestPrincipals: []string{"*"}})))
		}, nil},
		{"AUTHZ-013", "AUDIT asks in vain", func(s *Scene) {
			s.add(tokens("jwt", sso()), policyOf("p", allow, from(checkout())), policyOf("q", audits, from(&securityapi.Source{RequestPrincipals: []string{"*"}})))
		}, []string{"Deployment/api: no policy asks for one"}},

		{"AUTHZ-014", "careless", func(s *Scene) {
			s.add(tokens("jwt", &securityapi.JWTRule{Issuer: "sso", JwksUri: "http://sso.example.com/keys",
				OutputClaimToHeaders: []*securityapi.ClaimToHeader{{Header: "X-Forwarded-For", Claim: "ip"}}}))
		}, []string{"RequestAuthentication/jwt: issuer sso: claims are written to the header X-Forwarded-For, which has a meaning of its own; issuer sso: keys are fetched by http, so that somebody on the way can put in their own; issuer sso: no audiences"}},
		{"AUTHZ-014", "keys are discovered by http", func(s *Scene) {
			s.add(tokens("jwt", &securityapi.JWTRule{Issuer: "http://sso.example.com", Audiences: []string{"a"}}))
		}, []string{"RequestAuthentication/jwt: keys are fetched by http"}},
		{"AUTHZ-014", "with care", func(s *Scene) { s.add(tokens("jwt", sso())) }, nil},

		{"AUTHZ-015", "not defined", func(s *Scene) { s.add(by(policyOf("p", custom, &securityapi.Rule{}), "authz")) }, []string{"AuthorizationPolicy/p: has no external authorizer authz"}},
		{"AUTHZ-015", "fails open", func(s *Scene) {
			s.Facts.Mesh.Authorizers = []facts.Authorizer{{Name: "authz", FailOpen: true}}
			s.add(by(policyOf("p", custom, &securityapi.Rule{}), "authz"))
		}, []string{"AuthorizationPolicy/p: fails open"}},
		{"AUTHZ-015", "fails shut", func(s *Scene) {
			s.Facts.Mesh.Authorizers = []facts.Authorizer{{Name: "authz"}}
			s.add(by(policyOf("p", custom, &securityapi.Rule{}), "authz"))
		}, nil},
		{"AUTHZ-015", "not known", func(s *Scene) { s.unreadMesh(); s.add(by(policyOf("p", custom, &securityapi.Rule{}), "authz")) }, []string{"AuthorizationPolicy/p: unknown: the mesh configuration"}},

		{"AUTHZ-016", "no pod", func(s *Scene) {
			a := tokens("jwt", sso())
			a.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "gone"}}
			s.add(only(policyOf("p", deny, from(checkout())), "gone"), a)
		}, []string{"AuthorizationPolicy/p: its selector matches no pod", "RequestAuthentication/jwt: its selector matches no pod"}},
		{"AUTHZ-016", "no pods at all", func(s *Scene) { s.Facts.Pods = nil; s.add(only(policyOf("p", deny, from(checkout())), "gone")) }, nil},
		{"AUTHZ-016", "the root namespace's may be for others", func(s *Scene) {
			p := only(policyOf("p", deny, from(checkout())), "gone")
			p.Namespace = "istio-system"
			s.add(p)
		}, nil},

		{"AUTHZ-017", "no plugin", func(s *Scene) { s.add(policyOf("p", audits, &securityapi.Rule{})) }, []string{"AuthorizationPolicy/p: logs nothing for it"}},
		{"AUTHZ-017", "perhaps a plugin", func(s *Scene) {
			s.Influences = []facts.Influence{{Kind: "WasmPlugin", Namespace: "payments", Name: "log"}}
			s.add(policyOf("p", audits, &securityapi.Rule{}))
		}, []string{"AuthorizationPolicy/p: unknown: nothing tells"}},
	}
	for i, c := range cases {
		if c.check == "AUTHZ-007" {
			cases[i].change = func(s *Scene) {
				s.Ours = s.Ours[:1] // without mutual TLS
				c.change(s)
			}
		}
	}
	exam(t, "AUTHZ", cases)
}

// What nobody declares is worth less than what is declared and not in force.
func TestWhatNobodyDeclaresIsLessGrave(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Scene)
		check  string
		want   v1alpha1.Severity
	}{
		"authorization, declared":   {func(s *Scene) { s.Ours = nil }, "AUTHZ-001", v1alpha1.SeverityHigh},
		"authorization, undeclared": {func(s *Scene) { s.Ours, s.Posture.Authorization = nil, nil }, "AUTHZ-001", v1alpha1.SeverityMedium},
		"logging, declared": {func(s *Scene) {
			s.Facts.Mesh.AccessLog, s.Posture.AccessLog = facts.No, v1alpha1.AccessLogDenied
		}, "AUD-001", v1alpha1.SeverityHigh},
		"logging, undeclared": {func(s *Scene) { s.Facts.Mesh.AccessLog = facts.No }, "AUD-001", v1alpha1.SeverityMedium},
	} {
		t.Run(name, func(t *testing.T) {
			s := scene()
			c.change(s)
			found := false
			for _, f := range Examine(s) {
				if f.Check == c.check {
					found = true
					if f.Severity != c.want {
						t.Errorf("%s %s", f.Severity, f.Message)
					}
				}
			}
			if !found {
				t.Error("not found")
			}
		})
	}
}
