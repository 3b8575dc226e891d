package posture

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func profile(change func(*v1alpha1.MeshSecurityProfileSpec)) *v1alpha1.MeshSecurityProfile {
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", UID: "1"}}
	change(&p.Spec)
	return p
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestPortOverrideEndsToTheSecond(t *testing.T) {
	override := func(name string, at time.Time) v1alpha1.PortOverride {
		ends := metav1.NewTime(at)
		return v1alpha1.PortOverride{Name: v1alpha1.RuleName(name), Port: 80, Mode: v1alpha1.PortPermissive, ExpiresAt: &ends,
			WorkloadSelector: v1alpha1.WorkloadSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "a"}}}
	}
	p := profile(func(s *v1alpha1.MeshSecurityProfileSpec) {
		s.MutualTLS = &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSStrict, PortOverrides: []v1alpha1.PortOverride{
			override("now", noon), override("later", noon.Add(2*time.Hour)), override("soon", noon.Add(time.Second)),
		}}
	})
	got := Resolve(Input{Profile: p}, facts.Facts{}, noon).Posture
	if len(got.Expired) != 1 || got.Expired[0].Name != "now" {
		t.Errorf("expired: %+v", got.Expired)
	}
	if len(got.MutualTLS.Overrides) != 2 {
		t.Errorf("overrides: %+v", got.MutualTLS.Overrides)
	}
	if got.NextChange == nil || !got.NextChange.Equal(noon.Add(time.Second)) {
		t.Errorf("next change: %v", got.NextChange)
	}
}

func TestCallersAreTheUnionOfFrom(t *testing.T) {
	p := profile(func(s *v1alpha1.MeshSecurityProfileSpec) {
		s.Authorization = &v1alpha1.Authorization{DefaultAction: v1alpha1.DefaultDeny, Rules: []v1alpha1.AuthorizationRule{{
			Name: "a",
			From: []v1alpha1.Caller{
				{ServiceAccount: &v1alpha1.ServiceAccountReference{Name: "b"}},
				{ServiceAccount: &v1alpha1.ServiceAccountReference{Namespace: "pay", Name: "b"}},
				{ServiceAccount: &v1alpha1.ServiceAccountReference{Namespace: "batch", Name: "c"}},
				{Namespace: "shop"}, {Entity: v1alpha1.EntitySameNamespace}, {Namespace: "pay"},
				{IPBlock: &v1alpha1.IPBlock{CIDR: "10.0.0.0/8"}},
			},
		}}}
	})
	f := facts.Facts{Namespaces: map[string]bool{"shop": true}, ServiceAccounts: map[types.NamespacedName]bool{{Namespace: "pay", Name: "b"}: true}}
	r := Resolve(Input{Profile: p}, f, noon)
	want := Callers{
		ServiceAccounts: []types.NamespacedName{{Namespace: "batch", Name: "c"}, {Namespace: "pay", Name: "b"}},
		Namespaces:      []string{"pay", "shop"},
		IPBlocks:        []v1alpha1.IPBlock{{CIDR: "10.0.0.0/8"}},
	}
	if diff := cmp.Diff(want, r.Posture.Authorization.Rules[0].From); diff != "" {
		t.Error(diff)
	}
	if r.Posture.Authorization.Rules[0].Action != v1alpha1.RuleAllow {
		t.Error("an absent action is Allow")
	}
	// What is missing is said, and the rest goes on.
	if len(r.Dangling) != 2 || r.Dangling[1].Reason != v1alpha1.ReasonNamespaceNotFound || r.Dangling[0].Path != "spec.authorization.rules[0].from[2].serviceAccount" || !r.Compilable() {
		t.Errorf("dangling: %+v", r.Dangling)
	}
}

func TestWhatCanNotBeCompiled(t *testing.T) {
	rule := v1alpha1.AuthorizationRule{Name: "a", From: []v1alpha1.Caller{{Entity: v1alpha1.EntityAnyone}}}
	for name, c := range map[string]struct {
		change func(*v1alpha1.MeshSecurityProfileSpec)
		reason string
		path   string
	}{
		"peer": {func(s *v1alpha1.MeshSecurityProfileSpec) {
			r := rule
			r.From = []v1alpha1.Caller{{Peer: "ingress"}}
			s.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{r}}
		}, v1alpha1.ReasonPeerNotFound, "spec.authorization.rules[0].from[0].peer"},
		"provider": {func(s *v1alpha1.MeshSecurityProfileSpec) {
			r := rule
			r.JWT = &v1alpha1.JWTRequirement{Provider: "corp"}
			s.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{r}}
		}, v1alpha1.ReasonProviderNotFound, "spec.authorization.rules[0].jwt.provider"},
		"key set": {func(s *v1alpha1.MeshSecurityProfileSpec) {
			s.Authorization = &v1alpha1.Authorization{JWTProviders: []v1alpha1.JWTProvider{{Name: "corp", JWKS: `{"keys": [{}]}`}}}
		}, v1alpha1.ReasonInvalid, "spec.authorization.jwtProviders[0].jwks"},
		"no JSON": {func(s *v1alpha1.MeshSecurityProfileSpec) {
			s.Authorization = &v1alpha1.Authorization{JWTProviders: []v1alpha1.JWTProvider{{Name: "corp", JWKS: `{keys}`}}}
		}, v1alpha1.ReasonInvalid, "spec.authorization.jwtProviders[0].jwks"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Resolve(Input{Profile: profile(c.change)}, facts.Facts{}, noon)
			problems := slices.Concat(r.Invalid, r.Missing)
			if r.Compilable() || len(problems) != 1 || problems[0].Reason != c.reason || problems[0].Path != c.path {
				t.Errorf("got %+v", problems)
			}
		})
	}
}

func TestEgressGateway(t *testing.T) {
	assurance := func(s *v1alpha1.MeshSecurityProfileSpec) {
		s.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Assurance: v1alpha1.AssuranceGateway}
	}
	via := func(s *v1alpha1.MeshSecurityProfileSpec) {
		s.Egress = &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultDeny, Rules: []v1alpha1.EgressRule{{Name: "a", Via: v1alpha1.ViaGateway}}}
	}
	gateway := func(change func(*facts.EgressGateway)) *facts.EgressGateway {
		g := &facts.EgressGateway{Baseline: "prod", Namespace: "out", ServiceAccount: "gw", Selector: map[string]string{"a": "b"}, Port: 443, Exists: true, Service: "gw", Ready: true}
		change(g)
		return g
	}
	for name, c := range map[string]struct {
		change  func(*v1alpha1.MeshSecurityProfileSpec)
		gateway *facts.EgressGateway
		path    string
		missing string
		usable  bool
	}{
		"none is declared":       {assurance, nil, "spec.egress.assurance", "no baseline that selects this namespace declares an egress gateway", false},
		"none, for a rule":       {via, nil, "spec.egress.rules[0].via", "no baseline", false},
		"no namespace":           {assurance, gateway(func(g *facts.EgressGateway) { g.Exists = false }), "spec.egress.assurance", "MeshSecurityBaseline/prod is in namespace out, which does not exist", false},
		"no service":             {assurance, gateway(func(g *facts.EgressGateway) { g.Service = "" }), "spec.egress.assurance", "no service in namespace out: one with a cluster address, port 443, and a selector that has all of a=b", false},
		"no ready pod":           {via, gateway(func(g *facts.EgressGateway) { g.Ready = false }), "spec.egress.rules[0].via", "no ready pod in namespace out", true},
		"there":                  {via, gateway(func(*facts.EgressGateway) {}), "", "", true},
		"not asked for, nor bad": {func(*v1alpha1.MeshSecurityProfileSpec) {}, gateway(func(g *facts.EgressGateway) { g.Exists = false }), "", "", false},
		"nothing is denied": {func(s *v1alpha1.MeshSecurityProfileSpec) {
			assurance(s)
			s.Egress.DefaultAction = v1alpha1.DefaultAllow
		}, nil, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := Resolve(Input{Profile: profile(c.change)}, facts.Facts{EgressGateway: c.gateway}, noon)
			if !r.Compilable() || (len(r.Dangling) > 0) != (c.missing != "") {
				t.Fatalf("%+v", r.Dangling)
			}
			if c.missing != "" && (r.Dangling[0].Reason != v1alpha1.ReasonEgressGatewayNotFound || r.Dangling[0].Path != c.path || !strings.Contains(r.Dangling[0].Message, c.missing)) {
				t.Errorf("%+v", r.Dangling)
			}
			if usable := r.Posture.Egress != nil && r.Posture.Egress.Gateway != nil; usable != c.usable {
				t.Errorf("usable %t", usable)
			}
		})
	}
}

func TestGatewayOfTheHigherPriority(t *testing.T) {
	of := func(name string, priority int32, gateway bool) facts.Baseline {
		b := facts.Baseline{Name: name, Spec: &v1alpha1.MeshSecurityBaselineSpec{Priority: &priority}}
		if gateway {
			b.Spec.EgressGateway = &v1alpha1.EgressGateway{}
		}
		return b
	}
	applying, _ := Apply([]facts.Baseline{of("a", 1, true), of("b", 5, true), of("c", 5, true), of("d", 9, false)}, true)
	if b, ok := GatewayBaseline(applying); !ok || b.Name != "b" {
		t.Errorf("%t, %s", ok, b.Name)
	}
	if _, ok := GatewayBaseline([]facts.Baseline{of("d", 9, false)}); ok {
		t.Error("one without a gateway counts")
	}
}

func TestAbsentSectionsAreNotDeclared(t *testing.T) {
	got := Resolve(Input{Profile: profile(func(*v1alpha1.MeshSecurityProfileSpec) {})}, facts.Facts{}, noon).Posture
	want := Posture{
		Namespace: "pay", Owner: Owner{Kind: "MeshSecurityProfile", Name: "main", UID: "1"},
		Mode: v1alpha1.ModeEnforce, DriftPolicy: v1alpha1.DriftCorrect, Guard: v1alpha1.GuardNone, DeletionPolicy: v1alpha1.DeletionDelete,
		Origins: []v1alpha1.Origin{{Field: "drift.policy", From: "Default"}, {Field: "enforcementMode", From: "Default"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
