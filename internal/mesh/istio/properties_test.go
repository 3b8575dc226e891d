package istio

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

func bytesOf(t *rapid.T, r mesh.Result) string {
	out, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The same cluster in another order gives the same bytes.
func TestCompileIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := drawPosture(t), drawFacts(t)
		want := bytesOf(t, Sidecar{}.Compile(p, f))
		f.Pods = rapid.Permutation(f.Pods).Draw(t, "shuffled pods")
		f.Network.ClusterCIDRs = rapid.Permutation(f.Network.ClusterCIDRs).Draw(t, "shuffled ranges")
		f.Services = maps.Clone(f.Services)
		if diff := cmp.Diff(want, bytesOf(t, Sidecar{}.Compile(p, f))); diff != "" {
			t.Fatalf("another order, other bytes (-first +second):\n%s", diff)
		}
	})
}

// What is written is in the posture's own namespace, under names that are ours,
// with metadata that holds nothing but what every object has.
func TestCompileWritesOnlyWhatIsOurs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := drawPosture(t), drawFacts(t)
		seen := map[string]bool{}
		for _, o := range (Sidecar{}).Compile(p, f).Objects {
			id := written(o)
			if seen[id] {
				t.Fatalf("%s is written twice", id)
			}
			seen[id] = true
			name := o.GetName()
			if !strings.HasPrefix(name, mesh.NamePrefix) || len(validation.IsDNS1123Subdomain(name)) > 0 || len(name) > 63 {
				t.Fatalf("%s: not a name of ours", id)
			}
			if o.GetNamespace() != p.Namespace {
				t.Fatalf("%s is in namespace %s", id, o.GetNamespace())
			}
			annotations := maps.Clone(o.GetAnnotations())
			if annotations[AnnotationDryRun] == "true" && p.Mode == v1alpha1.ModeDryRun {
				delete(annotations, AnnotationDryRun)
			}
			want := mesh.Meta(p, name, annotations[v1alpha1.AnnotationRule])
			if diff := cmp.Diff(want.Labels, o.GetLabels()); diff != "" {
				t.Fatalf("%s: labels:\n%s", id, diff)
			}
			if diff := cmp.Diff(want.OwnerReferences, o.GetOwnerReferences()); diff != "" {
				t.Fatalf("%s: owners:\n%s", id, diff)
			}
			if len(annotations) > len(want.Annotations) || (annotations[v1alpha1.AnnotationRule] != "" && !declared(p, annotations[v1alpha1.AnnotationRule])) {
				t.Fatalf("%s: annotations %v", id, o.GetAnnotations())
			}
			if se, ok := o.(*networkingv1.ServiceEntry); ok && !slices.Equal(se.Spec.ExportTo, []string{"."}) {
				t.Fatalf("%s is exported to %v", id, se.Spec.ExportTo)
			}
		}
	})
}

// declared says whether a name is one of a rule, an override or a provider.
func declared(p posture.Posture, name string) bool {
	var all []string
	if p.MutualTLS != nil {
		for _, o := range p.MutualTLS.Overrides {
			all = append(all, o.Name)
		}
	}
	if p.Authorization != nil {
		for _, r := range p.Authorization.Rules {
			all = append(all, r.Name)
		}
		for _, v := range p.Authorization.Providers {
			all = append(all, string(v.Name))
		}
	}
	if p.Egress != nil {
		for _, r := range p.Egress.Rules {
			all = append(all, r.Name)
		}
	}
	return slices.Contains(all, name)
}

// Every rule has one verdict, in order, and one that is not Enforced says why.
func TestEveryRuleHasAVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := drawPosture(t), drawFacts(t)
		var want []string
		if p.MutualTLS != nil {
			for _, o := range p.MutualTLS.Overrides {
				want = append(want, "MutualTLS/"+o.Name)
			}
		}
		if p.Authorization != nil {
			for _, r := range p.Authorization.Rules {
				want = append(want, "Authorization/"+r.Name)
			}
		}
		if p.Egress != nil {
			for _, r := range p.Egress.Rules {
				want = append(want, "Egress/"+r.Name)
			}
		}
		var got []string
		for _, r := range (Sidecar{}).Compile(p, f).Rules {
			got = append(got, string(r.Area)+"/"+string(r.Name))
			if r.Verdict != v1alpha1.VerdictEnforced && r.Message == "" {
				t.Fatalf("%s: %s without a reason", r.Name, r.Verdict)
			}
			if len(r.Message) > v1alpha1.MaxMessageBytes {
				t.Fatalf("%s: message of %d bytes", r.Name, len(r.Message))
			}
			if wrong := r.Verdict == v1alpha1.VerdictEnforced && p.Mode != v1alpha1.ModeEnforce; wrong {
				t.Fatalf("%s: Enforced in mode %s", r.Name, p.Mode)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("verdicts (-declared +given):\n%s", diff)
		}
	})
}

// Audit writes nothing, and DryRun nothing that denies.
func TestModesDenyNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := drawPosture(t), drawFacts(t)
		p.Mode = rapid.SampledFrom([]v1alpha1.EnforcementMode{v1alpha1.ModeAudit, v1alpha1.ModeDryRun}).Draw(t, "soft mode")
		for _, o := range (Sidecar{}).Compile(p, f).Objects {
			if p.Mode == v1alpha1.ModeAudit {
				t.Fatalf("Audit writes %s", written(o))
			}
			switch o := o.(type) {
			case *networkingv1.Sidecar, *netv1.NetworkPolicy, *securityv1.RequestAuthentication:
				t.Fatalf("DryRun writes %s", written(o))
			case *securityv1.AuthorizationPolicy:
				if o.Annotations[AnnotationDryRun] != "true" {
					t.Fatalf("DryRun enforces %s", written(o))
				}
			case *securityv1.PeerAuthentication:
				if o.Spec.Mtls.Mode != securityapi.PeerAuthentication_MutualTLS_PERMISSIVE || f.Mesh.RootMutualTLS == rootStrict {
					t.Fatalf("DryRun writes %s with %s under a mesh-wide %s", written(o), o.Spec.Mtls.Mode, f.Mesh.RootMutualTLS)
				}
			case *networkingv1.ServiceEntry:
				if capturesPort(o) {
					t.Fatalf("DryRun captures a port by %s", written(o))
				}
			}
		}
	})
}

// A policy that allows names its callers, unless its rule is for anyone, and
// none is written where everybody else would be denied by it.
func TestAllowsNobodyUnnamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := drawPosture(t), drawFacts(t)
		p.Mode = v1alpha1.ModeEnforce
		if p.Authorization == nil {
			p.Authorization = drawAuthorization(t)
		}
		rules := map[string]posture.Rule{}
		for _, r := range p.Authorization.Rules {
			rules[r.Name] = r
		}
		for _, o := range (Sidecar{}).Compile(p, f).Objects {
			ap, ok := o.(*securityv1.AuthorizationPolicy)
			if !ok || ap.Spec.Action != securityapi.AuthorizationPolicy_ALLOW || ap.Name == mesh.Name("default-deny") {
				continue
			}
			if p.Authorization.Default == v1alpha1.DefaultAllow {
				t.Fatalf("%s allows some callers where all are allowed", written(o))
			}
			r := rules[ap.Annotations[v1alpha1.AnnotationRule]]
			for _, rule := range ap.Spec.Rules {
				if len(rule.From) == 0 && (!r.From.Anyone || r.JWT != nil) {
					t.Fatalf("%s allows everybody", written(o))
				}
				for _, from := range rule.From {
					assertSource(t, written(o), from.Source, r)
				}
			}
		}
	})
}

func assertSource(t *rapid.T, id string, s *securityapi.Source, r posture.Rule) {
	named := len(s.Principals) + len(s.Namespaces) + len(s.ServiceAccounts) + len(s.IpBlocks)
	if named == 0 && !r.From.Anyone {
		t.Fatalf("%s has a source without a caller", id)
	}
	if r.JWT != nil && len(s.RequestPrincipals) == 0 {
		t.Fatalf("%s has a source that needs no token", id)
	}
	if len(s.ServiceAccounts) > maxServiceAccounts {
		t.Fatalf("%s has a source with %d service accounts", id, len(s.ServiceAccounts))
	}
}
