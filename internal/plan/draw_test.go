package plan

import (
	"fmt"
	"maps"
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Of everything there are few values, so that what is declared meets: the same
// names, workloads, callers and ports come up again and again.

func one[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func often(t *rapid.T, label string) bool { return rapid.IntRange(0, 3).Draw(t, label) > 0 }

func seldom(t *rapid.T, label string) bool { return rapid.IntRange(0, 7).Draw(t, label) == 0 }

var workloads = []map[string]string{nil, {"app": "api"}, {"app": "ledger"}, {"track": "blue"}}

func drawFacts(t *rapid.T) facts.Facts {
	f := facts.Facts{
		Namespace: facts.Namespace{Name: "pay"},
		Mesh: facts.Mesh{
			Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, Observed: true, ConfigRead: true, Version: "1.28.0",
			RootMutualTLS: one(t, "root", "", "STRICT"), RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local",
			RegistryOnly: one(t, "registry only", facts.No, facts.Yes), AutoMutualTLS: facts.Yes,
		},
		Network: facts.Network{PolicyEnforced: facts.Yes, ClusterCIDRs: []string{"10.0.0.0/8"}, DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}}},
		Services: map[types.NamespacedName]facts.Service{
			{Namespace: "pay", Name: "api"}: {Namespace: "pay", Name: "api", Selector: map[string]string{"app": "api"}, Ports: []facts.ServicePort{
				{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromInt32(80)}, {Name: "tcp", Protocol: "TCP", Port: 81, Target: intstr.FromInt32(81)}}},
			{Namespace: "shop", Name: "cart"}: {Namespace: "shop", Name: "cart", Selector: map[string]string{"app": "cart"}, Ports: []facts.ServicePort{
				{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromInt32(8080)}}},
		},
		Namespaces:      map[string]bool{"shop": true, "batch": true},
		ServiceAccounts: map[types.NamespacedName]bool{{Namespace: "shop", Name: "cart"}: true},
	}
	for i, l := range []map[string]string{{"app": "api", "track": "blue"}, {"app": "api"}, {"app": "ledger"}, {}} {
		f.Pods = append(f.Pods, facts.Pod{Name: fmt.Sprint("pod-", i), Labels: l, Sidecar: true, Ports: []facts.ContainerPort{{Number: 80}, {Number: 81}}})
	}
	return f
}

// drawPair is what was declared and what is: the same but for some of it.
func drawPair(t *rapid.T) (was, is posture.Posture) {
	was = posture.Posture{
		Namespace: "pay", Owner: posture.Owner{Kind: v1alpha1.KindProfile, Name: "main", UID: "uid"}, Mode: drawMode(t),
		MutualTLS: drawMutualTLS(t, nil), Authorization: drawAuthorization(t, nil), Egress: drawEgress(t, nil),
		AccessLog: one(t, "log", "", v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll),
	}
	is = was
	if seldom(t, "another mode") {
		is.Mode = drawMode(t)
	}
	if often(t, "another mutual TLS") {
		is.MutualTLS = drawMutualTLS(t, was.MutualTLS)
	}
	if often(t, "another authorization") {
		is.Authorization = drawAuthorization(t, was.Authorization)
	}
	if often(t, "another egress") {
		is.Egress = drawEgress(t, was.Egress)
	}
	is.AccessLog = one(t, "log", "", v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll)
	return was, is
}

func drawMode(t *rapid.T) v1alpha1.EnforcementMode {
	return one(t, "mode", v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeDryRun, v1alpha1.ModeAudit)
}

// several draws up to n things with unique names; of those that were there under
// a name, some stay.
func several[T any](t *rapid.T, n int, was []T, name func(T) string, draw func(name string) T) []T {
	var out []T
	for i := range n {
		called := string(rune('a' + i))
		had := slices.IndexFunc(was, func(v T) bool { return name(v) == called })
		switch {
		case had >= 0 && rapid.Bool().Draw(t, "stays"):
			out = append(out, was[had])
		case rapid.Bool().Draw(t, "is"):
			out = append(out, draw(called))
		}
	}
	return out
}

func drawMutualTLS(t *rapid.T, was *posture.MutualTLS) *posture.MutualTLS {
	if !often(t, "mutual TLS") {
		return nil
	}
	if was == nil {
		was = &posture.MutualTLS{}
	}
	return &posture.MutualTLS{
		Mode: one(t, "mode", v1alpha1.MutualTLSStrict, v1alpha1.MutualTLSStrict, v1alpha1.MutualTLSPermissive),
		Overrides: several(t, 3, was.Overrides, func(o posture.Override) string { return o.Name }, func(name string) posture.Override {
			return posture.Override{Name: name, Selector: one(t, "selector", workloads[1:]...), Port: one(t, "port", int32(80), 81), Mode: one(t, "mode", v1alpha1.PortPermissive, v1alpha1.PortPermissive, v1alpha1.PortDisable)}
		}),
	}
}

func drawAuthorization(t *rapid.T, was *posture.Authorization) *posture.Authorization {
	if !often(t, "authorization") {
		return nil
	}
	if was == nil {
		was = &posture.Authorization{}
	}
	return &posture.Authorization{
		Default: one(t, "default", v1alpha1.DefaultDeny, v1alpha1.DefaultDeny, v1alpha1.DefaultAllow),
		Providers: []v1alpha1.JWTProvider{
			{Name: "corp", Issuer: "https://corp.example", JWKSURI: "https://corp.example/" + one(t, "keys", "1", "1", "1", "2")},
			{Name: "idp", Issuer: "https://idp.example", JWKSURI: "https://idp.example/1"},
		},
		Rules: several(t, 4, was.Rules, func(r posture.Rule) string { return r.Name }, func(name string) posture.Rule { return drawRule(t, name) }),
	}
}

func drawRule(t *rapid.T, name string) posture.Rule {
	r := posture.Rule{
		Name: name, Action: one(t, "action", v1alpha1.RuleAllow, v1alpha1.RuleAllow, v1alpha1.RuleDeny),
		Selector: rapid.SampledFrom(workloads).Draw(t, "selector"),
	}
	switch rapid.IntRange(0, 6).Draw(t, "from") {
	case 0:
		r.From.Anyone = true
	case 1:
		r.From.AnyAuthenticated = true
	case 2:
		r.From.ServiceAccounts = []types.NamespacedName{{Namespace: "shop", Name: "cart"}}
	case 3:
		r.From.IPBlocks = []v1alpha1.IPBlock{{CIDR: "10.0.0.0/8", Except: one(t, "except", nil, []v1alpha1.CIDR{"10.1.0.0/16"})}}
	default:
		r.From.Namespaces = one(t, "namespaces", []string{"batch"}, []string{"shop"}, []string{"batch", "shop"})
	}
	switch rapid.IntRange(0, 5).Draw(t, "to") {
	case 0:
		r.To = []v1alpha1.Operation{{Methods: []v1alpha1.HTTPMethod{"GET"}}}
	case 1:
		r.To = []v1alpha1.Operation{{Ports: []int32{80}, Paths: one(t, "paths", []v1alpha1.HTTPPath{"/a"}, []v1alpha1.HTTPPath{"/*"})}}
	case 2:
		r.To = []v1alpha1.Operation{{Ports: one(t, "ports", []int32{80}, []int32{81}, []int32{80, 81})}}
	}
	if seldom(t, "jwt") {
		r.JWT = &v1alpha1.JWTRequirement{Provider: one[v1alpha1.RuleName](t, "provider", "corp", "idp")}
	}
	return r
}

func drawEgress(t *rapid.T, was *posture.Egress) *posture.Egress {
	if !rapid.Bool().Draw(t, "egress") {
		return nil
	}
	if was == nil {
		was = &posture.Egress{}
	}
	return &posture.Egress{
		Default:   one(t, "default", v1alpha1.DefaultDeny, v1alpha1.DefaultDeny, v1alpha1.DefaultDeny, v1alpha1.DefaultAllow),
		Assurance: one(t, "assurance", v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork),
		Rules: several(t, 3, was.Rules, func(r posture.EgressRule) string { return r.Name }, func(name string) posture.EgressRule {
			return posture.EgressRule{
				Name: name, Selector: rapid.SampledFrom(workloads).Draw(t, "selector"), Via: v1alpha1.ViaDirect, To: []v1alpha1.EgressTarget{drawTarget(t)},
			}
		}),
	}
}

func drawTarget(t *rapid.T) v1alpha1.EgressTarget {
	switch rapid.IntRange(0, 3).Draw(t, "target") {
	case 0:
		return v1alpha1.EgressTarget{CIDRs: []v1alpha1.CIDR{one[v1alpha1.CIDR](t, "cidr", "203.0.113.0/24", "10.2.0.0/16")}, Ports: []v1alpha1.EgressPort{{Port: one(t, "port", int32(443), 5432), Protocol: v1alpha1.ProtocolTCP}}}
	case 1:
		return v1alpha1.EgressTarget{Service: &v1alpha1.ServiceReference{Namespace: "shop", Name: "cart"}}
	}
	return v1alpha1.EgressTarget{
		Hosts: one(t, "hosts", []v1alpha1.ExternalHost{"a.example"}, []v1alpha1.ExternalHost{"b.example"}, []v1alpha1.ExternalHost{"a.example", "b.example"}, []v1alpha1.ExternalHost{"*.example"}),
		Ports: []v1alpha1.EgressPort{{Port: one(t, "port", int32(443), 8443), Protocol: v1alpha1.ProtocolTLS}},
	}
}

// drawTampering is what somebody did to what is there.
func drawTampering(t *rapid.T, live []mesh.Object) []mesh.Object {
	var out []mesh.Object
	for _, o := range live {
		switch {
		case often(t, "as written"):
		case rapid.Bool().Draw(t, "deleted"):
			continue
		default:
			o = o.DeepCopyObject().(mesh.Object)
			tamper(t, o)
		}
		out = append(out, o)
	}
	return out
}

func tamper(t *rapid.T, o mesh.Object) {
	switch o := o.(type) {
	case *securityv1.PeerAuthentication:
		o.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: one(t, "mode",
			securityapi.PeerAuthentication_MutualTLS_STRICT, securityapi.PeerAuthentication_MutualTLS_PERMISSIVE, securityapi.PeerAuthentication_MutualTLS_DISABLE)}
	case *securityv1.AuthorizationPolicy:
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			o.Spec.Rules = []*securityapi.Rule{{}}
		case 1:
			o.Spec.Action = one(t, "action", securityapi.AuthorizationPolicy_ALLOW, securityapi.AuthorizationPolicy_DENY, securityapi.AuthorizationPolicy_AUDIT)
		case 2:
			o.Annotations = maps.Clone(o.Annotations)
			if o.Annotations["istio.io/dry-run"] != "" {
				delete(o.Annotations, "istio.io/dry-run")
			} else {
				o.SetAnnotations(map[string]string{"istio.io/dry-run": "true"})
			}
		case 3:
			o.Spec.Rules = nil
		}
	case *securityv1.RequestAuthentication:
		o.Spec.JwtRules = nil
	case *networkingv1.Sidecar:
		o.Spec.OutboundTrafficPolicy = &networkingapi.OutboundTrafficPolicy{Mode: networkingapi.OutboundTrafficPolicy_ALLOW_ANY}
	case *networkingv1.ServiceEntry:
		o.Spec.Hosts = append(slices.Clone(o.Spec.Hosts), "evil.example")
	case *netv1.NetworkPolicy:
		o.Spec.Ingress, o.Spec.Egress = []netv1.NetworkPolicyIngressRule{{}}, []netv1.NetworkPolicyEgressRule{{}}
	case *telemetryv1.Telemetry:
		o.Spec.AccessLogging = nil
	}
}
