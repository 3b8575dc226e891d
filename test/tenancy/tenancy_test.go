package tenancy

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/providers"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

var hostileProfiles = flag.Int("profiles", 10000, "how many hostile profiles TestNothingEscapesItsNamespace draws")

// hostile are strings that a tenant could hope something is made of: another
// place to write to, markup of what renders text, or the operator's own marks.
// The CRD refuses most of them, and the core must not depend on that.
var hostile = []string{
	"a", "web", "shop", "kube-system", "istio-system", "mesh-security-system", "default-deny", "mtls", "egress", "baseline", "jwt-a",
	"../kube-system", "..", "/", "a/b", "kube-system/x", "./*", "*", "**", "~", "*/*", ".", "",
	"{{ .Namespace }}", "${NAMESPACE}", "$(id)", "%s", "%!d", "{{request.object.metadata.namespace}}",
	"a\nnamespace: kube-system", "a: {b: c}", "&anchor", "*alias", "!!binary", "# x", "--- \n", "a\x00b", "\u202e", "é", "a,b", "a=b",
	"meshsecurity.io/paused", "argocd.argoproj.io/instance", "istio.io/dry-run", "app.kubernetes.io/managed-by", "kubectl.kubernetes.io/last-applied-configuration",
	"443.api.example.com", "443.api.example.com.victim.egress.meshsecurity.invalid", "victim.egress.meshsecurity.invalid", "victim/*", "victim/443.api.example.com",
	"svc.cluster.local", "kubernetes.default.svc.cluster.local", "*.svc.cluster.local", "*.local", "api.example.com", "*.example.com",
	strings.Repeat("a", 63), strings.Repeat("a", 253), strings.Repeat("x.", 100) + "com",
}

type hostility struct{ *rand.Rand }

func (h hostility) text() string {
	s := hostile[h.IntN(len(hostile))]
	if h.IntN(4) == 0 {
		s += hostile[h.IntN(len(hostile))]
	}
	return s
}

func (h hostility) labels() v1alpha1.Labels {
	out := v1alpha1.Labels{}
	for range 1 + h.IntN(3) {
		out[h.text()] = v1alpha1.LabelValue(h.text())
	}
	return out
}

func (h hostility) selector() *v1alpha1.WorkloadSelector {
	if h.IntN(2) == 0 {
		return nil
	}
	return &v1alpha1.WorkloadSelector{MatchLabels: h.labels()}
}

func (h hostility) account() *v1alpha1.ServiceAccountReference {
	return &v1alpha1.ServiceAccountReference{Namespace: v1alpha1.NamespaceName(h.text()), Name: v1alpha1.ObjectName(h.text())}
}

func (h hostility) rule() v1alpha1.AuthorizationRule {
	r := v1alpha1.AuthorizationRule{Name: v1alpha1.RuleName(h.text()), WorkloadSelector: h.selector(), Action: []v1alpha1.RuleAction{"", "Allow", "Deny"}[h.IntN(3)]}
	for range 1 + h.IntN(3) {
		r.From = append(r.From, []v1alpha1.Caller{
			{ServiceAccount: h.account()}, {Namespace: v1alpha1.NamespaceName(h.text())}, {Entity: v1alpha1.EntityAnyone},
			{IPBlock: &v1alpha1.IPBlock{CIDR: v1alpha1.CIDR(h.text())}},
		}[h.IntN(4)])
	}
	if h.IntN(2) == 0 {
		r.To = []v1alpha1.Operation{{Ports: []int32{h.Int32N(70000)}, Paths: []v1alpha1.HTTPPath{v1alpha1.HTTPPath(h.text())}, Hosts: []v1alpha1.Host{v1alpha1.Host(h.text())}}}
	}
	if h.IntN(4) == 0 {
		r.JWT = &v1alpha1.JWTRequirement{Provider: "a"}
	}
	return r
}

func (h hostility) target() v1alpha1.EgressTarget {
	ports := []v1alpha1.EgressPort{{Port: h.Int32N(70000), Protocol: []v1alpha1.EgressProtocol{"TLS", "TCP", "HTTP"}[h.IntN(3)]}}
	return []v1alpha1.EgressTarget{
		{Hosts: []v1alpha1.ExternalHost{v1alpha1.ExternalHost(h.text()), v1alpha1.ExternalHost(h.text())}, Ports: ports},
		{CIDRs: []v1alpha1.CIDR{v1alpha1.CIDR(h.text()), "203.0.113.0/24"}, Ports: ports},
		{Namespace: v1alpha1.NamespaceName(h.text())},
		{Service: &v1alpha1.ServiceReference{Namespace: v1alpha1.NamespaceName(h.text()), Name: v1alpha1.RuleName(h.text())}},
	}[h.IntN(4)]
}

func (h hostility) profile() *v1alpha1.MeshSecurityProfile {
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{
		Namespace: "pay", Name: h.text() + "x", UID: "uid", CreationTimestamp: metav1.Time{Time: now},
		Labels: map[string]string{h.text(): h.text()}, Annotations: map[string]string{h.text(): h.text()},
	}}
	p.Spec.EnforcementMode = []v1alpha1.EnforcementMode{"", v1alpha1.ModeDryRun, v1alpha1.ModeEnforce}[h.IntN(3)]
	p.Spec.Logging = &v1alpha1.Logging{AccessLog: v1alpha1.AccessLogAll}
	p.Spec.MutualTLS = &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSStrict}
	for range h.IntN(3) {
		p.Spec.MutualTLS.PortOverrides = append(p.Spec.MutualTLS.PortOverrides, v1alpha1.PortOverride{
			Name: v1alpha1.RuleName(h.text()), WorkloadSelector: v1alpha1.WorkloadSelector{MatchLabels: h.labels()}, Port: h.Int32N(70000), Mode: v1alpha1.PortDisable, Reason: h.text()})
	}
	p.Spec.Authorization = &v1alpha1.Authorization{DefaultAction: v1alpha1.DefaultDeny, JWTProviders: []v1alpha1.JWTProvider{{Name: "a", Issuer: h.text(), JWKSURI: h.text()}}}
	for range h.IntN(4) {
		p.Spec.Authorization.Rules = append(p.Spec.Authorization.Rules, h.rule())
	}
	p.Spec.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Assurance: []v1alpha1.EgressAssurance{"", v1alpha1.AssuranceGateway}[h.IntN(2)]}
	for range h.IntN(4) {
		p.Spec.Egress.Rules = append(p.Spec.Egress.Rules, v1alpha1.EgressRule{
			Name: v1alpha1.RuleName(h.text()), WorkloadSelector: h.selector(), To: []v1alpha1.EgressTarget{h.target()}, Via: []v1alpha1.EgressVia{"", v1alpha1.ViaDirect, v1alpha1.ViaGateway}[h.IntN(3)]})
	}
	return p
}

// Whatever a profile says, what is written for it stays in its namespace, is
// seen there alone, and carries the operator's marks and no others.
func TestNothingEscapesItsNamespace(t *testing.T) {
	out, policies := &sink{}, 0
	writer := apply.NewWriter(out)
	for seed := range *hostileProfiles {
		p := hostility{rand.New(rand.NewPCG(uint64(seed), 1))}.profile() //nolint:gosec // not for secrets
		out.objects = nil
		outcome := writer.Apply(t.Context(), "pay", plan.Make(drift.Compare(compiled(p, floor("floor", "probe")), nil, drift.Options{}), effective.World{Namespace: "pay"}), apply.Gateway{Namespace: "egress", Baseline: "floor"})
		if err := outcome.Err(); err != nil {
			t.Fatalf("seed %d: the writer refuses what was compiled: %v", seed, err)
		}
		for _, o := range out.objects {
			what := escapes(o, p)
			if _, is := mesh.GatewayTenant(o); is {
				what = escapesAtTheGateway(o)
				policies++
			}
			if what != "" {
				raw, _ := json.Marshal(o)
				t.Fatalf("seed %d: %s: %s", seed, what, raw)
			}
		}
		out.count += len(out.objects)
	}
	t.Logf("%d hostile profiles, %d objects, %d policies at the gateway", *hostileProfiles, out.count, policies)
	if out.count < *hostileProfiles || policies < *hostileProfiles/100 {
		t.Error("hardly anything was compiled")
	}
}

// The writer lets nothing pass that is in another namespace, or under another
// name than the operator gives: not even beside what it would let pass.
func TestTheWriterRefusesAllElse(t *testing.T) {
	out := &sink{}
	writer := apply.NewWriter(out)
	h := hostility{rand.New(rand.NewPCG(3, 4))} //nolint:gosec // not for secrets
	tried := 0
	for range *hostileProfiles {
		steps := plan.Make(drift.Compare(compiled(h.profile(), floor("floor", "probe")), nil, drift.Options{}), effective.World{Namespace: "pay"})
		if len(steps) == 0 {
			continue
		}
		i, bad := h.IntN(len(steps)), h.text()
		if _, is := mesh.GatewayTenant(steps[i].Object); is && bad == "egress" {
			continue // it is there already
		}
		if h.IntN(2) == 0 {
			steps[i].Object.SetNamespace(bad)
		} else {
			steps[i].Object.SetName(bad)
		}
		tried++
		if outcome := writer.Apply(t.Context(), "pay", steps, apply.Gateway{Namespace: "egress", Baseline: "floor"}); outcome.Done() || len(out.objects) > 0 {
			t.Fatalf("%q: %d objects were written", bad, len(out.objects))
		}
	}
	t.Logf("%d plans with one hostile step", tried)
}

// sink takes what is written.
type sink struct {
	client.Writer
	objects []mesh.Object
	count   int
}

func (s *sink) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	s.objects = append(s.objects, o)
	return nil
}

func (s *sink) Delete(context.Context, client.Object, ...client.DeleteOption) error { return nil }

// Update is for what is written in two halves.
func (s *sink) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	s.objects = append(s.objects, o)
	return nil
}

// escapes says in which way an object is not the profile's namespace's own.
func escapes(o mesh.Object, p *v1alpha1.MeshSecurityProfile) string {
	owner := o.GetOwnerReferences()
	switch {
	case o.GetNamespace() != "pay":
		return "it is in namespace " + o.GetNamespace()
	case !strings.HasPrefix(o.GetName(), mesh.NamePrefix) || len(o.GetName()) > 63:
		return "its name is " + o.GetName()
	case len(owner) != 1 || owner[0].Kind != v1alpha1.KindProfile || owner[0].UID != "uid" || owner[0].Name != p.Name:
		return fmt.Sprint("its owners are ", owner)
	case len(o.GetFinalizers()) > 0:
		return "it has finalizers"
	}
	for k := range o.GetLabels() {
		if !slices.Contains([]string{v1alpha1.LabelManagedBy, v1alpha1.LabelPartOf, v1alpha1.LabelProfile}, k) {
			return "it has the label " + k
		}
	}
	for k := range o.GetAnnotations() {
		if k != v1alpha1.AnnotationRule && k != "istio.io/dry-run" {
			return "it has the annotation " + k
		}
	}
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		return beyond(o.Spec.GetExportTo(), o.Spec.GetHosts())
	case *networkingv1.VirtualService:
		if what := beyond(o.Spec.GetExportTo(), o.Spec.GetHosts()); what != "" {
			return what
		}
		for _, g := range o.Spec.GetGateways() {
			if g != "mesh" && g != "pay/msp-egress" {
				return "it is bound to the gateway " + g
			}
		}
	case *networkingv1.DestinationRule:
		if !slices.Equal(o.Spec.GetExportTo(), []string{"."}) || o.Spec.GetHost() != "gateway.egress.svc.cluster.local" {
			return fmt.Sprint("it is for ", o.Spec.GetHost(), ", exported to ", o.Spec.GetExportTo())
		}
		for _, s := range o.Spec.GetSubsets() {
			if !theirs(s.GetTrafficPolicy().GetTls().GetSni()) {
				return "it enters the tunnel " + s.GetTrafficPolicy().GetTls().GetSni()
			}
		}
	case *networkingv1.Gateway:
		if len(o.Spec.GetSelector()) == 0 {
			return "it opens ports of every gateway"
		}
		for _, s := range o.Spec.GetServers() {
			if h, own := strings.CutPrefix(s.GetHosts()[0], "./"); len(s.GetHosts()) != 1 || !own || !theirs(h) {
				return fmt.Sprint("it serves ", s.GetHosts())
			}
		}
	}
	return ""
}

// theirs says whether a name at the egress gateway is one that only namespace
// pay can have.
func theirs(name string) bool {
	rest, ok := strings.CutSuffix(name, ".pay.egress.meshsecurity.invalid")
	return ok && len(rest) > 0 && !strings.ContainsAny(name, "/* \n{}$%") && len(name) <= 253
}

// beyond says where something is seen besides its namespace: the gateway's own
// proxies may, and then under a name that nobody else can have.
func beyond(exported, hosts []string) string {
	switch {
	case slices.Equal(exported, []string{"."}):
	case !slices.Equal(exported, []string{"egress"}):
		return fmt.Sprint("it is exported to ", exported)
	case len(hosts) != 1 || !theirs(hosts[0]):
		return fmt.Sprint("the gateway sees ", hosts)
	}
	return ""
}

// escapesAtTheGateway says in which way a policy at the gateway is not what the
// baseline lets the namespace have there.
func escapesAtTheGateway(o mesh.Object) string {
	ap, _ := o.(*securityv1.AuthorizationPolicy)
	owner := o.GetOwnerReferences()
	switch {
	case o.GetNamespace() != "egress" || o.GetName() != "msp-egress.gateway.pay.egress":
		return "it is " + o.GetNamespace() + "/" + o.GetName()
	case len(owner) != 1 || owner[0].Kind != v1alpha1.KindBaseline || owner[0].UID != "floor":
		return fmt.Sprint("its owners are ", owner)
	case len(o.GetAnnotations()) > 0 || len(o.GetFinalizers()) > 0 || len(o.GetLabels()) != 3:
		return "it has marks of others"
	case len(ap.Spec.GetSelector().GetMatchLabels()) == 0 || len(ap.Spec.GetRules()) != 1:
		return "it is for more than the gateway"
	}
	r := ap.Spec.GetRules()[0]
	if len(r.GetFrom()) != 1 || !slices.Equal(r.GetFrom()[0].GetSource().GetNamespaces(), []string{"pay"}) || len(r.GetWhen()) != 1 {
		return "it lets others in"
	}
	for _, name := range r.GetWhen()[0].GetValues() {
		if !theirs(name) {
			return "it lets in to " + name
		}
	}
	return ""
}

// Whatever the hosts are, no two tunnels of different namespaces, hosts or ports
// have one name.
func TestNoTwoTunnelsAreOne(t *testing.T) {
	seen := map[string]string{}
	h := hostility{rand.New(rand.NewPCG(5, 6))} //nolint:gosec // not for secrets
	for range *hostileProfiles {
		host, port := v1alpha1.ExternalHost(h.text()), 1+h.Int32N(3)
		for _, namespace := range []string{"pay", "victim", "443"} {
			p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"}}
			p.Spec.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceGateway, Rules: []v1alpha1.EgressRule{{
				Name: "a", To: []v1alpha1.EgressTarget{{Hosts: []v1alpha1.ExternalHost{host}, Ports: []v1alpha1.EgressPort{{Port: port, Protocol: "TLS"}}}}}}}
			for _, o := range compiled(p, floor("floor", "probe")) {
				if g, is := o.(*networkingv1.Gateway); is {
					name, what := g.Spec.GetServers()[0].GetHosts()[0], fmt.Sprintf("%s %q %d", namespace, host, port)
					if other := seen[name]; other != "" && other != what {
						t.Fatalf("%s is %s and %s", name, other, what)
					}
					seen[name] = what
				}
			}
		}
	}
	if len(seen) < 100 {
		t.Fatalf("%d names", len(seen))
	}
}

// What a profile says never lets the writer write beside a gateway: the baseline
// has to declare it, and own what is written.
func TestTheWriterKnowsGatewaysByBaselines(t *testing.T) {
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", UID: "uid"}}
	p.Spec.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceGateway, Rules: []v1alpha1.EgressRule{{
		Name: "a", To: []v1alpha1.EgressTarget{{Hosts: []v1alpha1.ExternalHost{"api.example.com"}, Ports: []v1alpha1.EgressPort{{Port: 443, Protocol: "TLS"}}}}}}}
	for _, r := range []struct {
		name      string
		namespace string
		gateway   apply.Gateway
		change    func(mesh.Object)
		written   bool
	}{
		{"as declared", "pay", apply.Gateway{Namespace: "egress", Baseline: "floor"}, func(mesh.Object) {}, true},
		{"no gateway", "pay", apply.Gateway{}, func(mesh.Object) {}, false},
		{"another baseline's", "pay", apply.Gateway{Namespace: "egress", Baseline: "other"}, func(mesh.Object) {}, false},
		{"another namespace", "pay", apply.Gateway{Namespace: "istio-system", Baseline: "floor"}, func(mesh.Object) {}, false},
		{"for another namespace", "pay", apply.Gateway{Namespace: "egress", Baseline: "floor"}, func(o mesh.Object) { o.SetName("msp-egress.gateway.shop.egress") }, false},
		{"owned by the profile", "pay", apply.Gateway{Namespace: "egress", Baseline: "floor"}, func(o mesh.Object) {
			refs := o.GetOwnerReferences()
			refs[0].Kind = v1alpha1.KindProfile
			o.SetOwnerReferences(refs)
		}, false},
		{"owned by nobody", "pay", apply.Gateway{Namespace: "egress", Baseline: "floor"}, func(o mesh.Object) { o.SetOwnerReferences(nil) }, false},
		{"under a rule's name", "pay", apply.Gateway{Namespace: "egress", Baseline: "floor"}, func(o mesh.Object) { o.SetName("msp-default-deny") }, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			out := &sink{}
			steps := plan.Make(drift.Compare(compiled(p, floor("floor", "probe")), nil, drift.Options{}), effective.World{Namespace: "pay"})
			found := false
			for _, s := range steps {
				if _, is := mesh.GatewayTenant(s.Object); is {
					found = true
					r.change(s.Object)
				}
			}
			if outcome := apply.NewWriter(out).Apply(t.Context(), r.namespace, steps, r.gateway); !found || outcome.Done() != r.written || (len(out.objects) > 0) != r.written {
				t.Errorf("found %t, %d objects, %v", found, len(out.objects), outcome.Err())
			}
		})
	}
}

// A name of a profile's rule never takes the place of an object of a baseline.
func TestNoRuleTakesABaselinesPlace(t *testing.T) {
	h := hostility{rand.New(rand.NewPCG(1, 2))} //nolint:gosec // not for secrets
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main"}}
	theirs := map[string]bool{}
	for range 2000 {
		for _, o := range compiled(p, floor(h.text()+"b", h.text())) {
			theirs[o.GetName()] = true
		}
	}
	if len(theirs) < 100 {
		t.Fatalf("%d names", len(theirs))
	}
	for name := range theirs {
		if rule := strings.TrimPrefix(name, mesh.NamePrefix); len(validation.IsDNS1123Label(rule)) == 0 {
			t.Errorf("a rule may have the name %s", rule)
		}
	}
}

// floor is a baseline with a rule.
func floor(name, rule string) facts.Baseline {
	return facts.Baseline{Name: name, UID: "floor", Spec: &v1alpha1.MeshSecurityBaselineSpec{AuthorizationRules: []v1alpha1.AuthorizationRule{
		{Name: v1alpha1.RuleName(rule), Action: v1alpha1.RuleDeny, From: []v1alpha1.Caller{{Namespace: "shop"}}},
	}, EgressGateway: &v1alpha1.EgressGateway{Namespace: "egress", ServiceAccount: "gateway", Selector: v1alpha1.Labels{"istio": "egressgateway"}, Port: 443}}}
}

// compiled is what would be written for a profile, were nothing wrong with it.
func compiled(p *v1alpha1.MeshSecurityProfile, b facts.Baseline) []mesh.Object {
	f := facts.Facts{
		Namespace: facts.Namespace{Name: p.Namespace},
		EgressGateway: &facts.EgressGateway{
			Baseline: b.Name, UID: b.UID, Namespace: "egress", ServiceAccount: "gateway", Selector: map[string]string{"istio": "egressgateway"},
			Port: 443, Exists: true, Service: "gateway", Target: intstr.FromInt32(8443), Ready: true,
		},
		Mesh: facts.Mesh{
			Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, RootNamespace: "istio-system",
			TrustDomain: "cluster.local", ClusterDomain: "cluster.local", Version: "1.31.1", ConfigRead: true, Observed: true,
		},
		Network: facts.Network{PolicyEnforced: facts.Yes, ClusterCIDRs: []string{"10.0.0.0/8"}},
		Pods:    []facts.Pod{{Name: "web", Labels: map[string]string{"app": "web"}, Sidecar: true, Ports: []facts.ContainerPort{{Number: 80}}}},
	}
	compiler, _ := providers.Find(f.Mesh.Provider, f.Mesh.DataPlane)
	r := posture.Resolve(posture.Input{Profile: p, Baselines: []facts.Baseline{b}}, f, now)
	return compiler.Compile(r.Posture, f).Objects
}
