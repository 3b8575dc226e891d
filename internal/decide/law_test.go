package decide

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// The law of baselines: whatever the profile says, no less is in force than is
// mandated; another mandate opens nothing; and an exception opens nothing but
// for what it is for, while it lasts. What is in force is asked of the model of
// the mesh, not read off the posture.

func TestMain(m *testing.M) {
	// So many cases are drawn where nobody asks for another number: 3 seconds.
	if err := flag.Set("rapid.checks", "3000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// Of everything there are few values, so that what is declared meets.

func one[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func maybe[T any](t *rapid.T, label string, draw func(*rapid.T) T) *T {
	if !rapid.Bool().Draw(t, label) {
		return nil
	}
	v := draw(t)
	return &v
}

func some[T any](t *rapid.T, label string, most int, draw func(*rapid.T, int) T) []T {
	var out []T
	for i := range rapid.IntRange(0, most).Draw(t, label) {
		out = append(out, draw(t, i))
	}
	return out
}

func workload(t *rapid.T) *v1alpha1.WorkloadSelector {
	return one(t, "workload", nil, &v1alpha1.WorkloadSelector{MatchLabels: v1alpha1.Labels{"app": "api"}},
		&v1alpha1.WorkloadSelector{MatchLabels: v1alpha1.Labels{"app": "ledger"}})
}

func drawRule(t *rapid.T, i int) v1alpha1.AuthorizationRule {
	return v1alpha1.AuthorizationRule{
		Name: v1alpha1.RuleName(fmt.Sprint("rule-", i)), Action: one(t, "action", "", v1alpha1.RuleAllow, v1alpha1.RuleDeny), WorkloadSelector: workload(t),
		From: []v1alpha1.Caller{one(t, "from", v1alpha1.Caller{Entity: v1alpha1.EntityAnyone}, v1alpha1.Caller{Namespace: "shop"},
			v1alpha1.Caller{Peer: "ingress"}, v1alpha1.Caller{Entity: v1alpha1.EntityAnyAuthenticated})},
		To: one(t, "to", nil, []v1alpha1.Operation{{Ports: []int32{80}}}),
	}
}

func drawOverride(t *rapid.T, i int) v1alpha1.PortOverride {
	o := v1alpha1.PortOverride{
		Name: v1alpha1.RuleName(fmt.Sprint("override-", i)), Port: one(t, "port", int32(80), 81), Mode: one(t, "port mode", v1alpha1.PortPermissive, v1alpha1.PortDisable),
		WorkloadSelector: v1alpha1.WorkloadSelector{MatchLabels: v1alpha1.Labels{"app": one(t, "app", v1alpha1.LabelValue("api"), "ledger")}},
	}
	if ends := one(t, "ends", 0, -time.Hour, time.Hour, 1000*time.Hour); ends != 0 {
		o.ExpiresAt = &metav1.Time{Time: now.Add(ends)}
	}
	return o
}

func drawEgressRule(t *rapid.T, i int) v1alpha1.EgressRule {
	port := []v1alpha1.EgressPort{{Port: 443, Protocol: v1alpha1.ProtocolTLS}}
	return v1alpha1.EgressRule{
		Name: v1alpha1.RuleName(fmt.Sprint("out-", i)), WorkloadSelector: workload(t), Via: one(t, "via", "", v1alpha1.ViaDirect),
		To: []v1alpha1.EgressTarget{one(t, "target", v1alpha1.EgressTarget{Hosts: []v1alpha1.ExternalHost{"api.example.com", "evil.example.org"}, Ports: port},
			v1alpha1.EgressTarget{Hosts: []v1alpha1.ExternalHost{"*.example.com"}, Ports: port},
			v1alpha1.EgressTarget{CIDRs: []v1alpha1.CIDR{"203.0.113.0/24"}, Ports: []v1alpha1.EgressPort{{Port: 443, Protocol: v1alpha1.ProtocolTCP}}},
			v1alpha1.EgressTarget{Namespace: "shop"})},
	}
}

func drawProfile(t *rapid.T) *v1alpha1.MeshSecurityProfile {
	p := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", UID: "uid", CreationTimestamp: metav1.Time{Time: now.Add(-time.Hour)}}}
	p.Spec.EnforcementMode = one(t, "mode", "", v1alpha1.ModeAudit, v1alpha1.ModeDryRun, v1alpha1.ModeEnforce)
	p.Spec.MutualTLS = maybe(t, "mutual TLS", func(t *rapid.T) v1alpha1.MutualTLS {
		return v1alpha1.MutualTLS{Mode: one(t, "tls", v1alpha1.MutualTLSStrict, v1alpha1.MutualTLSPermissive), PortOverrides: some(t, "overrides", 2, drawOverride)}
	})
	p.Spec.Authorization = maybe(t, "authorization", func(t *rapid.T) v1alpha1.Authorization {
		return v1alpha1.Authorization{DefaultAction: one(t, "default", v1alpha1.DefaultDeny, v1alpha1.DefaultAllow), Rules: some(t, "rules", 3, drawRule)}
	})
	p.Spec.Egress = maybe(t, "egress", func(t *rapid.T) v1alpha1.Egress {
		return v1alpha1.Egress{DefaultAction: one(t, "egress default", v1alpha1.DefaultDeny, v1alpha1.DefaultAllow), Assurance: one(t, "assurance", "", v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork), Rules: some(t, "egress rules", 3, drawEgressRule)}
	})
	p.Spec.Logging = maybe(t, "logging", func(t *rapid.T) v1alpha1.Logging {
		return v1alpha1.Logging{AccessLog: one(t, "log", v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll)}
	})
	p.Spec.Drift = maybe(t, "drift", func(t *rapid.T) v1alpha1.Drift {
		return v1alpha1.Drift{Policy: one(t, "drift policy", v1alpha1.DriftCorrect, v1alpha1.DriftReport)}
	})
	return p
}

func drawMandates(t *rapid.T) v1alpha1.BaselineMandates {
	m := v1alpha1.BaselineMandates{
		EnforcementMode: one(t, "mandated mode", "", v1alpha1.ModeDryRun, v1alpha1.ModeEnforce), MutualTLS: one(t, "mandated tls", "", v1alpha1.MutualTLSPermissive, v1alpha1.MutualTLSStrict),
		Authorization: one(t, "mandated authorization", "", v1alpha1.DefaultAllow, v1alpha1.DefaultDeny), Egress: one(t, "mandated egress", "", v1alpha1.DefaultAllow, v1alpha1.DefaultDeny),
		EgressAssurance: one(t, "mandated assurance", "", v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork, v1alpha1.AssuranceGateway),
		AccessLog:       one(t, "mandated log", "", v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll), DriftPolicy: one(t, "mandated drift policy", "", v1alpha1.DriftCorrect),
		MaxOverrideDuration: one(t, "lasting", "", v1alpha1.Duration("24h"), "2000h"),
	}
	m.EgressHosts = maybe(t, "perimeter", func(t *rapid.T) []v1alpha1.ExternalHost {
		return one(t, "hosts", nil, []v1alpha1.ExternalHost{"api.example.com"}, []v1alpha1.ExternalHost{"*.example.com", "*.example.org"})
	})
	return m
}

func drawBaseline(t *rapid.T, i int) facts.Baseline {
	spec := &v1alpha1.MeshSecurityBaselineSpec{Mandates: maybe(t, "mandates", drawMandates)}
	spec.Defaults = maybe(t, "defaults", func(t *rapid.T) v1alpha1.BaselineDefaults {
		return v1alpha1.BaselineDefaults{
			EnforcementMode: one(t, "default mode", "", v1alpha1.ModeDryRun, v1alpha1.ModeEnforce),
			MutualTLS: maybe(t, "default tls", func(*rapid.T) v1alpha1.DefaultMutualTLS {
				return v1alpha1.DefaultMutualTLS{Mode: v1alpha1.MutualTLSStrict}
			}),
			Authorization: maybe(t, "default authorization", func(t *rapid.T) v1alpha1.DefaultAuthorization {
				return v1alpha1.DefaultAuthorization{DefaultAction: one(t, "default action", v1alpha1.DefaultDeny, v1alpha1.DefaultAllow)}
			}),
			Egress: maybe(t, "default egress", func(*rapid.T) v1alpha1.DefaultEgress {
				return v1alpha1.DefaultEgress{DefaultAction: v1alpha1.DefaultDeny}
			}),
		}
	})
	spec.AuthorizationRules = some(t, "added rules", 2, drawRule)
	spec.Peers = []v1alpha1.Peer{{Name: "ingress", ServiceAccounts: []v1alpha1.ServiceAccountReference{{Namespace: "edge", Name: "gateway"}}}}
	priority := rapid.Int32Range(0, 2).Draw(t, "priority")
	spec.Priority = &priority
	return facts.Baseline{Name: fmt.Sprint("baseline-", i), UID: types.UID(fmt.Sprint("baseline-", i)), Spec: spec}
}

func drawException(t *rapid.T, i int) *v1alpha1.MeshSecurityException {
	checks := []v1alpha1.CheckID{posture.CheckMode, posture.CheckMutualTLS, posture.CheckPortOverride, posture.CheckAuthorization, posture.CheckEgress,
		posture.CheckEgressAssurance, posture.CheckEgressHosts, posture.CheckAccessLog, posture.CheckDriftPolicy}
	return &v1alpha1.MeshSecurityException{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("exception-", i), CreationTimestamp: metav1.Time{Time: now.Add(-time.Hour)}},
		Spec: v1alpha1.MeshSecurityExceptionSpec{
			Namespaces: []v1alpha1.NamespaceName{"pay"}, WorkloadSelector: workload(t),
			Checks:    []v1alpha1.CheckID{one(t, "check", checks...), one(t, "other check", checks...)},
			ExpiresAt: metav1.Time{Time: now.Add(one(t, "expires", time.Hour, 0, -time.Hour, 1000*time.Hour))},
		},
	}
}

func seen(p *v1alpha1.MeshSecurityProfile, baselines []facts.Baseline, exceptions ...*v1alpha1.MeshSecurityException) facts.Observed {
	o := observed(nil, p)
	o.Baselines, _ = posture.Apply(baselines, true)
	o.Exceptions = exceptions
	o.Facts.Mesh.Observed, o.Facts.Mesh.ConfigRead, o.Facts.Mesh.Version, o.Facts.Mesh.ClusterDomain = true, true, "1.31.1", "cluster.local"
	o.Facts.Mesh.RegistryOnly, o.Facts.Mesh.AutoMutualTLS = facts.No, facts.Yes
	o.Facts.Network = facts.Network{PolicyEnforced: facts.Yes, ClusterCIDRs: []string{"10.0.0.0/8"}}
	o.Facts.Namespaces = map[string]bool{"shop": true}
	for _, app := range []string{"api", "ledger", "web"} {
		o.Facts.Pods = append(o.Facts.Pods, facts.Pod{Name: app, Labels: map[string]string{"app": app}, Sidecar: true, Ports: []facts.ContainerPort{{Number: 80}, {Number: 81}}})
	}
	return o
}

// inMesh is the model of what a decision writes.
func inMesh(o facts.Observed, d Decision) *effective.Model {
	w := world(o)
	w.Objects = append(w.Objects, d.Desired...)
	return effective.New(w)
}

// opened is what passes with a decision and not with the one before.
func opened(o facts.Observed, before, after Decision) []effective.Difference {
	return effective.Compare(inMesh(o, before), inMesh(o, after)).Opens
}

func atLeast[T comparable](t *rapid.T, what string, order []T, have, want T) {
	var zero T
	if want != zero && slices.Index(order, have) < slices.Index(order, want) {
		t.Fatalf("%s: %v is in force and %v is mandated", what, have, want)
	}
}

// holds fails where less is in force than one baseline mandates.
func holds(t *rapid.T, p posture.Posture, b facts.Baseline, longest time.Duration) {
	m := b.Spec.Mandates
	if m == nil {
		return
	}
	atLeast(t, "mode", []v1alpha1.EnforcementMode{v1alpha1.ModeAudit, v1alpha1.ModeDryRun, v1alpha1.ModeEnforce}, p.Mode, m.EnforcementMode)
	atLeast(t, "access log", []v1alpha1.AccessLog{v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll}, p.AccessLog, m.AccessLog)
	atLeast(t, "drift policy", []v1alpha1.DriftPolicy{v1alpha1.DriftReport, v1alpha1.DriftCorrect}, p.DriftPolicy, m.DriftPolicy)
	if m.MutualTLS != "" {
		atLeast(t, "mutual TLS", []v1alpha1.MutualTLSMode{v1alpha1.MutualTLSPermissive, v1alpha1.MutualTLSStrict}, p.MutualTLS.Mode, m.MutualTLS)
		for _, o := range p.MutualTLS.Overrides {
			if longest == 0 && m.MutualTLS != v1alpha1.MutualTLSStrict {
				continue
			}
			if m.MutualTLS == v1alpha1.MutualTLSStrict && m.MaxOverrideDuration == "" || o.Expires == nil || o.Expires.After(now.Add(longest)) {
				t.Fatalf("override %s ends at %v", o.Name, o.Expires)
			}
		}
	}
	actions := []v1alpha1.DefaultAction{v1alpha1.DefaultAllow, v1alpha1.DefaultDeny}
	if m.Authorization != "" {
		atLeast(t, "authorization", actions, p.Authorization.Default, m.Authorization)
	}
	if m.Egress != "" {
		atLeast(t, "egress", actions, p.Egress.Default, m.Egress)
	}
	if p.Egress != nil && p.Egress.Default == v1alpha1.DefaultDeny {
		atLeast(t, "assurance", []v1alpha1.EgressAssurance{v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork, v1alpha1.AssuranceGateway}, p.Egress.Assurance, m.EgressAssurance)
	}
	if m.EgressHosts != nil {
		atLeast(t, "egress", actions, p.Egress.Default, v1alpha1.DefaultDeny)
		for _, r := range p.Egress.Rules {
			for _, to := range r.To {
				if len(to.CIDRs) > 0 || slices.Contains(to.Hosts, "evil.example.org") && !slices.Contains(*m.EgressHosts, "*.example.org") ||
					slices.Contains(to.Hosts, "*.example.com") && !slices.Contains(*m.EgressHosts, "*.example.com") {
					t.Fatalf("rule %s reaches %v beyond %v", r.Name, to, *m.EgressHosts)
				}
			}
		}
	}
}

func lasting(baselines []facts.Baseline) (longest time.Duration) {
	for _, b := range baselines {
		if m := b.Spec.Mandates; m != nil && m.MaxOverrideDuration != "" {
			d, _ := time.ParseDuration(string(m.MaxOverrideDuration))
			longest = cmp.Or(min(cmp.Or(longest, d), d), d)
		}
	}
	return longest
}

func TestLawOfBaselines(t *testing.T) {
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		cases++
		p, baselines := drawProfile(t), some(t, "baselines", 3, drawBaseline)
		o := seen(p, baselines)
		before := Make(o, now)
		longest := lasting(baselines)
		if longest > 0 {
			longest -= time.Hour // the profile is an hour old
		}
		for _, b := range baselines {
			holds(t, before.Resolution.Posture, b, longest)
		}
		if !before.Compiled {
			return
		}

		// Another mandate opens nothing, and neither does a rule that denies.
		another := facts.Baseline{Name: "another", Spec: &v1alpha1.MeshSecurityBaselineSpec{Mandates: &v1alpha1.BaselineMandates{}}}
		*another.Spec.Mandates = drawMandates(t)
		if rapid.Bool().Draw(t, "another deny") {
			rule := drawRule(t, 9)
			rule.Action = v1alpha1.RuleDeny
			rule.From = []v1alpha1.Caller{{Namespace: "shop"}}
			another.Spec.AuthorizationRules = []v1alpha1.AuthorizationRule{rule}
		}
		stricter := Make(seen(p, append(slices.Clone(baselines), another)), now)
		if d := opened(o, before, stricter); len(d) > 0 && !resigned(before, stricter) {
			t.Fatalf("a mandate opens %+v\nbefore %v\nafter %v", d[0], names(before.Desired), names(stricter.Desired))
		}

		// An exception opens nothing that it is not for, and nothing once it is over.
		e := drawException(t, 0)
		excepted := Make(seen(p, append(slices.Clone(baselines), another), e), now)
		limit := lasting(append(slices.Clone(baselines), another))
		over := !now.Before(e.Spec.ExpiresAt.Time) || limit > 0 && e.Spec.ExpiresAt.After(e.CreationTimestamp.Add(limit))
		for _, d := range opened(o, stricter, excepted) {
			if over {
				t.Fatalf("an exception that is over, or may not last as long, opens %+v", d)
			}
			if s := e.Spec.WorkloadSelector; s != nil && ofWorkload(d.Probe)["app"] != string(s.MatchLabels["app"]) {
				t.Fatalf("an exception for %v opens %+v", s.MatchLabels, d)
			}
		}
	})
	t.Logf("%d cases", cases)
}

// resigned says whether the mode rose from one in which nothing is denied to one
// in which what the profile itself asks for is in force, as it asks: its ports
// without mutual TLS among this.
func resigned(before, after Decision) bool {
	return before.Resolution.Posture.Mode != after.Resolution.Posture.Mode
}

// ofWorkload is the labels of the namespace's own workload that a probe is about.
func ofWorkload(p effective.Probe) effective.Labels {
	if p.Exit.From != nil {
		return p.Exit.From
	}
	return p.Call.To
}

func names(objects []mesh.Object) (out []string) {
	for _, o := range objects {
		out = append(out, o.GetName())
	}
	return out
}
