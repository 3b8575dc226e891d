package audit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// input is a namespace with one workload, closed in every way: each case of the
// tables changes it.
func input() Input {
	return Input{
		Posture: posture.Posture{
			Namespace: "payments", Mode: v1alpha1.ModeEnforce,
			MutualTLS:     &posture.MutualTLS{Mode: v1alpha1.MutualTLSStrict},
			Authorization: &posture.Authorization{Default: v1alpha1.DefaultDeny},
			Egress:        &posture.Egress{Default: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceNetwork},
		},
		Facts: facts.Facts{
			Namespace: facts.Namespace{Name: "payments"},
			Mesh:      facts.Mesh{Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar},
			Pods: []facts.Pod{{Name: "api-0", Labels: map[string]string{"app": "api"}, ServiceAccount: "api", Sidecar: true,
				Owner: facts.Owner{Kind: "Deployment", Name: "api"}, Ports: []facts.ContainerPort{{Name: "web", Number: 8080}}}},
			Services: map[types.NamespacedName]facts.Service{
				{Namespace: "payments", Name: "api"}: {Namespace: "payments", Name: "api", Labels: map[string]string{"team": "pay"}, Selector: map[string]string{"app": "api"},
					Ports: []facts.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromString("web")}}},
			},
		},
	}
}

func (in *Input) pod() *facts.Pod { return &in.Facts.Pods[0] }

func (in *Input) allow(c posture.Callers, to ...v1alpha1.Operation) {
	in.Posture.Authorization.Rules = append(in.Posture.Authorization.Rules, posture.Rule{Name: "r", Action: v1alpha1.RuleAllow, From: c, To: to})
}

func (in *Input) override(port int32) {
	in.Posture.MutualTLS.Overrides = append(in.Posture.MutualTLS.Overrides, posture.Override{Selector: map[string]string{"app": "api"}, Port: port, Mode: v1alpha1.PortPermissive})
}

var (
	anyone  = posture.Callers{Anyone: true}
	range10 = posture.Callers{IPBlocks: []v1alpha1.IPBlock{{CIDR: "10.0.0.0/8"}}}
)

func account(ns, name string) posture.Callers {
	return posture.Callers{ServiceAccounts: []types.NamespacedName{{Namespace: ns, Name: name}}}
}

func (in *Input) monitor(services bool) {
	s := facts.Scrape{Source: facts.Source{Kind: "PodMonitor", Namespace: "monitoring", Name: "all"}, Ports: []facts.ScrapePort{{Name: "web", Path: "/metrics"}}}
	if services {
		s.Kind, s.Services, s.Ports[0].Name = "ServiceMonitor", true, "http"
		s.Selector = facts.LabelSelector{Requirements: []facts.Requirement{{Key: "team", Operator: "In", Values: []string{"pay"}}}}
	}
	in.Facts.Dependants.Scrapes = []facts.Scrape{s}
}

func (in *Input) agent(role facts.Role, ns, account string, meshed bool) {
	in.Facts.Dependants.Agents = append(in.Facts.Dependants.Agents, facts.Agent{Role: role, Namespace: ns, ServiceAccount: account, Meshed: meshed})
}

func (in *Input) hook() {
	in.Facts.Dependants.Hooks = []facts.Hook{{Source: facts.Source{Kind: "ValidatingWebhookConfiguration", Name: "guard"}, Service: "api", Port: 80, For: "admission"}}
}

func (in *Input) route(gateways ...facts.GatewayReference) {
	in.Facts.Dependants.Routes = []facts.Route{{Source: facts.Source{Kind: "VirtualService", Namespace: "istio-ingress", Name: "shop"}, Service: "api", Gateways: gateways}}
}

func (in *Input) members() {
	second := *in.pod()
	second.Name = "api-1"
	in.Facts.Pods = append(in.Facts.Pods, second)
	for i := range in.Facts.Pods {
		in.Facts.Pods[i].Owner.Kind = "StatefulSet"
	}
	key := types.NamespacedName{Namespace: "payments", Name: "api"}
	svc := in.Facts.Services[key]
	svc.Headless = true
	in.Facts.Services[key] = svc
}

const (
	none  = ""
	tls   = "MutualTLS"
	authz = "Authorization"
	both  = "MutualTLS Authorization"
)

// lockouts has, for each check, a case that fails, one that passes and one that
// can't be told. want is the areas of the check's finding, "pass" for no
// finding, and "unknown …" for one that says so.
var lockouts = []struct {
	check, name string
	given       func(*Input)
	want        string
}{
	{"LOCK-001", "a ServiceMonitor, and Prometheus in the mesh", func(in *Input) { in.monitor(true); in.agent(facts.RoleScraper, "monitoring", "prometheus", true) }, authz},
	{"LOCK-001", "a PodMonitor, and Prometheus outside of it", func(in *Input) { in.monitor(false); in.agent(facts.RoleScraper, "monitoring", "prometheus", false) }, both},
	{"LOCK-001", "a monitor, and no Prometheus", func(in *Input) { in.monitor(true) }, both},
	{"LOCK-001", "annotations of a pod", func(in *Input) {
		in.pod().Scraped = []facts.ScrapePort{{Target: intstr.FromInt32(8080), Path: "/metrics"}}
	}, both},
	{"LOCK-001", "annotations of a service", func(in *Input) {
		key := types.NamespacedName{Namespace: "payments", Name: "api"}
		svc := in.Facts.Services[key]
		svc.Scraped = []facts.ScrapePort{{Target: intstr.FromInt32(8080), Path: "/metrics"}}
		in.Facts.Services[key] = svc
	}, both},
	{"LOCK-001", "a monitor that selects nothing here", func(in *Input) {
		in.monitor(true)
		in.Facts.Dependants.Scrapes[0].Selector = facts.LabelSelector{Labels: map[string]string{"team": "other"}}
	}, "pass"},
	{"LOCK-001", "a rule for Prometheus", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", true)
		in.allow(account("monitoring", "prometheus"), v1alpha1.Operation{Ports: []int32{8080}})
	}, "pass"},
	{"LOCK-001", "a rule for other workloads", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", true)
		in.allow(account("monitoring", "prometheus"))
		in.Posture.Authorization.Rules[0].Selector = map[string]string{"app": "web"}
	}, authz},
	{"LOCK-001", "a rule that denies", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", true)
		in.allow(account("monitoring", "prometheus"))
		in.Posture.Authorization.Rules[0].Action = v1alpha1.RuleDeny
	}, authz},
	{"LOCK-001", "a rule that asks for a token", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", true)
		in.allow(account("monitoring", "prometheus"))
		in.Posture.Authorization.Rules[0].JWT = &v1alpha1.JWTRequirement{Provider: "corp"}
	}, authz},
	{"LOCK-001", "a rule for another path", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", true)
		in.allow(account("monitoring", "prometheus"), v1alpha1.Operation{Ports: []int32{8080}, Paths: []v1alpha1.HTTPPath{"/api/*"}})
	}, authz},
	{"LOCK-001", "a rule for a caller of another namespace, and nobody knows Prometheus", func(in *Input) {
		in.monitor(true)
		in.allow(account("observability", "scraper"), v1alpha1.Operation{Ports: []int32{8080}})
	}, "pass"},
	{"LOCK-001", "a rule for its identity, which plaintext does not carry", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", false)
		in.allow(account("monitoring", "prometheus"))
	}, both},
	{"LOCK-001", "a range and an override", func(in *Input) {
		in.monitor(true)
		in.agent(facts.RoleScraper, "monitoring", "prometheus", false)
		in.allow(range10)
		in.override(8080)
	}, "pass"},
	{"LOCK-001", "the sidecar's own metrics", func(in *Input) {
		in.pod().Scraped = []facts.ScrapePort{{Target: intstr.FromInt32(15090), Path: "/metrics"}}
	}, "pass"},
	{"LOCK-001", "monitors that can't be read", func(in *Input) {
		in.Facts.Dependants.Unread = []string{"ServiceMonitor.monitoring.coreos.com"}
	}, "unknown " + both},

	{"LOCK-002", "a gateway of the mesh", func(in *Input) { in.route(); in.agent(facts.RoleGateway, "istio-ingress", "gw", true) }, authz},
	{"LOCK-002", "a controller outside of it", func(in *Input) { in.route(); in.agent(facts.RoleIngress, "ingress", "nginx", false) }, both},
	{"LOCK-002", "a rule for the gateway", func(in *Input) {
		in.route(facts.GatewayReference{Namespace: "istio-ingress", Name: "public"})
		in.agent(facts.RoleGateway, "istio-ingress", "gw", true)
		in.agent(facts.RoleGateway, "other", "gw", true)
		in.allow(account("istio-ingress", "gw"), v1alpha1.Operation{Paths: []v1alpha1.HTTPPath{"/shop/*"}})
	}, "pass"},
	{"LOCK-002", "a rule for another gateway than the route's", func(in *Input) {
		in.route(facts.GatewayReference{Namespace: "istio-ingress", Name: "public"})
		in.agent(facts.RoleGateway, "istio-ingress", "gw", true)
		in.agent(facts.RoleGateway, "other", "gw", true)
		in.allow(account("other", "gw"))
	}, authz},
	{"LOCK-002", "a rule for somebody, and the gateway's pods are not known", func(in *Input) {
		in.route(facts.GatewayReference{Namespace: "istio-ingress", Name: "public", API: true})
		in.allow(account("shop", "checkout"))
	}, both},
	{"LOCK-002", "a route to a service that is not here", func(in *Input) { in.route(); in.Facts.Dependants.Routes[0].Service = "gone" }, "pass"},
	{"LOCK-002", "routes that can't be read", func(in *Input) {
		in.Facts.Dependants.Unread = []string{"HTTPRoute.gateway.networking.k8s.io"}
	}, "unknown " + both},

	{"LOCK-003", "a webhook", func(in *Input) { in.hook() }, both},
	{"LOCK-003", "a rule that asks for HTTP, which nobody can read in another's TLS", func(in *Input) {
		in.hook()
		in.allow(anyone, v1alpha1.Operation{Ports: []int32{8080}, Methods: []v1alpha1.HTTPMethod{"POST"}})
		in.override(8080)
	}, authz},
	{"LOCK-003", "a rule for everybody with an identity", func(in *Input) {
		in.hook()
		in.allow(posture.Callers{AnyAuthenticated: true})
		in.override(8080)
	}, authz},
	{"LOCK-003", "an override for another port", func(in *Input) { in.hook(); in.allow(anyone); in.override(9443) }, tls},
	{"LOCK-003", "an override and a rule for everybody", func(in *Input) {
		in.hook()
		in.allow(anyone, v1alpha1.Operation{Ports: []int32{8080}})
		in.override(8080)
	}, "pass"},
	{"LOCK-003", "Permissive and no default-deny", func(in *Input) {
		in.hook()
		in.Posture.MutualTLS.Mode, in.Posture.Authorization = v1alpha1.MutualTLSPermissive, nil
	}, "pass"},
	{"LOCK-003", "a port that the proxy does not see, closed by the network", func(in *Input) { in.hook(); in.pod().Uncaptured = []int32{8080} }, authz},
	{"LOCK-003", "a port that the proxy does not see", func(in *Input) {
		in.hook()
		in.pod().Uncaptured = []int32{8080}
		in.Posture.Egress = nil
	}, "pass"},
	{"LOCK-003", "a pod outside of the mesh", func(in *Input) {
		in.hook()
		in.pod().Sidecar = false
		in.Posture.Egress.Assurance = v1alpha1.AssuranceProxy
	}, "pass"},
	{"LOCK-003", "webhooks that can't be read", func(in *Input) {
		in.Facts.Dependants.Unread = []string{"MutatingWebhookConfiguration.admissionregistration.k8s.io"}
	}, "unknown " + both},

	{"LOCK-004", "a probe by HTTP", func(in *Input) { in.pod().Probes = []facts.Probe{{HTTP: true, Port: 8080, Path: "/ready"}} }, both},
	{"LOCK-004", "a probe by gRPC", func(in *Input) { in.pod().Probes = []facts.Probe{{Port: 8080}} }, both},
	{"LOCK-004", "a rule for its path, and an override", func(in *Input) {
		in.pod().Probes = []facts.Probe{{HTTP: true, Port: 8080, Path: "/ready"}}
		in.allow(range10, v1alpha1.Operation{Methods: []v1alpha1.HTTPMethod{"GET"}, Paths: []v1alpha1.HTTPPath{"/ready"}})
		in.override(8080)
	}, "pass"},
	{"LOCK-004", "a pod outside of the mesh, which the node's kubelet always reaches", func(in *Input) {
		in.pod().Probes = []facts.Probe{{Port: 8080}}
		in.pod().Sidecar = false
	}, "pass"},

	{"LOCK-005", "a job", func(in *Input) { in.pod().Owner.Kind = "Job" }, none},
	{"LOCK-005", "a job with a native sidecar", func(in *Input) { in.pod().Owner.Kind, in.pod().NativeSidecar = "Job", true }, "pass"},
	{"LOCK-005", "a CronJob where sidecars are not native", func(in *Input) { in.Facts.Dependants.CronJobs = []facts.CronJob{{Name: "nightly"}} }, none},
	{"LOCK-005", "a CronJob where sidecars are native", func(in *Input) {
		in.Facts.Dependants.CronJobs = []facts.CronJob{{Name: "nightly"}}
		in.pod().NativeSidecar = true
	}, "pass"},
	{"LOCK-005", "a CronJob that asks for a native sidecar", func(in *Input) {
		in.Facts.Dependants.CronJobs = []facts.CronJob{{Name: "nightly", NativeSidecar: facts.Yes}}
	}, "pass"},
	{"LOCK-005", "a CronJob where nothing runs", func(in *Input) {
		in.Facts.Dependants.CronJobs = []facts.CronJob{{Name: "nightly"}}
		in.Facts.Pods = nil
	}, "unknown "},

	{"LOCK-006", "members of a StatefulSet", func(in *Input) { in.members() }, authz},
	{"LOCK-006", "a rule for the namespace", func(in *Input) { in.members(); in.allow(posture.Callers{Namespaces: []string{"payments"}}) }, "pass"},
	{"LOCK-006", "a rule for their account and another port", func(in *Input) {
		in.members()
		in.allow(account("payments", "api"), v1alpha1.Operation{Ports: []int32{9999}})
	}, authz},
	{"LOCK-006", "a single member", func(in *Input) { in.members(); in.Facts.Pods = in.Facts.Pods[:1] }, "pass"},

	{"LOCK-007", "an account with rights", func(in *Input) { in.user() }, "Egress"},
	{"LOCK-007", "no token", func(in *Input) { in.user(); in.pod().APIToken = false }, "pass"},
	{"LOCK-007", "an account without rights", func(in *Input) { in.pod().APIToken = true }, "pass"},
	{"LOCK-007", "egress is not denied", func(in *Input) { in.user(); in.Posture.Egress.Default = v1alpha1.DefaultAllow }, "pass"},
	{"LOCK-007", "a rule to the API server", func(in *Input) {
		in.user()
		in.reach(v1alpha1.EgressTarget{Service: &v1alpha1.ServiceReference{Namespace: "default", Name: "kubernetes"}})
	}, "pass"},
	{"LOCK-007", "a rule to a range on its port", func(in *Input) {
		in.user()
		in.reach(v1alpha1.EgressTarget{CIDRs: []v1alpha1.CIDR{"10.0.0.1/32"}, Ports: []v1alpha1.EgressPort{{Port: 443}}})
	}, "pass"},
	{"LOCK-007", "a rule to a range on another port", func(in *Input) {
		in.user()
		in.reach(v1alpha1.EgressTarget{CIDRs: []v1alpha1.CIDR{"203.0.113.0/24"}, Ports: []v1alpha1.EgressPort{{Port: 5432}}})
	}, "Egress"},
	{"LOCK-007", "bindings that can't be read", func(in *Input) { in.Facts.Dependants.Unread = []string{"RoleBinding.rbac.authorization.k8s.io"} }, "unknown Egress"},

	{"LOCK-008", "somebody else's Gateway", func(in *Input) { in.through("edge/theirs") }, "Egress"},
	{"LOCK-008", "the gateway is the operator's alone", func(in *Input) { in.through("") }, "pass"},
	{"LOCK-008", "no rule goes through it", func(in *Input) { in.through("edge/theirs"); in.Posture.Egress.Rules = nil }, "pass"},
	{"LOCK-008", "it can't be used", func(in *Input) { in.through("edge/theirs"); in.Posture.Egress.Gateway = nil }, "pass"},
}

func (in *Input) user() {
	in.pod().APIToken = true
	in.Facts.Dependants.APIUsers = map[string]facts.Source{"api": {Kind: "RoleBinding", Namespace: "payments", Name: "api"}}
}

func (in *Input) reach(t v1alpha1.EgressTarget) {
	in.Posture.Egress.Rules = []posture.EgressRule{{Name: "r", To: []v1alpha1.EgressTarget{t}}}
}

// through has a rule go through an egress gateway that a Gateway of others shares.
func (in *Input) through(other string) {
	in.Facts.EgressGateway = &facts.EgressGateway{Namespace: "out"}
	if ns, name, ok := strings.Cut(other, "/"); ok {
		in.Facts.EgressGateway.Sharers = []facts.Source{{Kind: "Gateway", Namespace: ns, Name: name}}
	}
	in.Posture.Egress.Gateway = &posture.Gateway{Namespace: "out"}
	in.reach(v1alpha1.EgressTarget{Hosts: []v1alpha1.ExternalHost{"api.example.com"}})
	in.Posture.Egress.Rules[0].Via = v1alpha1.ViaGateway
}

func TestLockouts(t *testing.T) {
	outcomes := map[string][]string{}
	for _, c := range lockouts {
		kind, _, _ := strings.Cut(c.want, " ")
		switch kind {
		case "pass", "unknown":
		default:
			kind = "fail"
		}
		outcomes[c.check] = append(outcomes[c.check], kind)
		t.Run(c.check+" "+c.name, func(t *testing.T) {
			in := input()
			c.given(&in)
			got := "pass"
			for _, f := range Preflight(in) {
				if f.Check != c.check {
					t.Errorf("also %s: %s", f.Check, f.Message)
					continue
				}
				var areas []string
				for _, a := range f.Areas {
					areas = append(areas, string(a))
				}
				got = strings.Join(areas, " ")
				if strings.HasPrefix(f.Message, "unknown") {
					got = "unknown " + got
				}
				if f.Subject == "" || f.Remediation == "" || f.Severity == "" {
					t.Errorf("not complete: %+v", f)
				}
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	for _, check := range lockChecks() {
		for _, want := range []string{"fail", "pass", "unknown"} {
			// What needs nothing but the namespace's own pods and services is always known.
			if !slices.Contains(outcomes[check.ID], want) && (want != "unknown" || len(check.Reads) > 0) {
				t.Errorf("%s has no case that is to be %s", check.ID, want)
			}
		}
	}
}

// Nothing is refused where nothing is denied, whatever depends on the namespace.
func TestNothingDeclaredLocksNobodyOut(t *testing.T) {
	for _, c := range lockouts {
		in := input()
		c.given(&in)
		in.Posture = posture.Posture{Namespace: "payments"}
		if found := Preflight(in); len(found) > 0 {
			t.Errorf("%s %s: %+v", c.check, c.name, found)
		}
	}
}

func TestFindingsAreOrdered(t *testing.T) {
	in := input()
	in.monitor(true)
	in.hook()
	in.route()
	in.pod().Probes = []facts.Probe{{Port: 8080}}
	var got []string
	for _, f := range Preflight(in) {
		got = append(got, f.Check)
	}
	if want := []string{"LOCK-002", "LOCK-003", "LOCK-001", "LOCK-004"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSelectorsAndPaths(t *testing.T) {
	labels := map[string]string{"app": "api"}
	for _, c := range []struct {
		requirement facts.Requirement
		want        bool
	}{
		{facts.Requirement{Key: "app", Operator: "In", Values: []string{"api"}}, true},
		{facts.Requirement{Key: "app", Operator: "NotIn", Values: []string{"api"}}, false},
		{facts.Requirement{Key: "tier", Operator: "NotIn", Values: []string{"api"}}, true},
		{facts.Requirement{Key: "tier", Operator: "Exists"}, false},
		{facts.Requirement{Key: "tier", Operator: "DoesNotExist"}, true},
		{facts.Requirement{Key: "tier", Operator: "Gt"}, true},
	} {
		if got := (facts.LabelSelector{Requirements: []facts.Requirement{c.requirement}}).Matches(labels); got != c.want {
			t.Errorf("%+v: %t", c.requirement, got)
		}
	}
	for declared, want := range map[string]bool{"/metrics": true, "/metrics/*": true, "/*": true, "/met": false, "/metrics/x": false} {
		if within(declared, "/metrics") != want {
			t.Errorf("%s: %t", declared, !want)
		}
	}
}

// The page of the catalogue is what the registry says.
func TestCataloguePageIsCurrent(t *testing.T) {
	const path = "../../docs/reference/checks.md"
	want := Page()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the registry says (%v); write it with make golden", path, err)
	}
}
