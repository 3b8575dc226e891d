package posture

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func TestPerimeter(t *testing.T) {
	perimeter := []v1alpha1.ExternalHost{"*.example.com", "API.stripe.com"}
	for host, want := range map[v1alpha1.ExternalHost]bool{
		"a.example.com": true, "a.b.example.com": true, "*.example.com": true, "*.b.example.com": true, "api.stripe.com": true, "A.EXAMPLE.com": true,
		"example.com": false, ".example.com": false, "*.com": false, "*": false, "evilexample.com": false, "a.example.com.evil.org": false, "x.api.stripe.com": false, "stripe.com": false,
	} {
		if got := within(host, perimeter); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	for cidr, want := range map[string]bool{"10.1.0.0/16": true, "10.0.0.0/8": true, "0.0.0.0/0": false, "10.0.0.0/7": false, "11.0.0.0/8": false, "fd00::/16": true, "::/0": false, "nonsense": false} {
		if got := inside(cidr, []string{"10.0.0.0/8", "fd00::/8"}); got != want {
			t.Errorf("%s: %v", cidr, got)
		}
	}
}

func TestSelects(t *testing.T) {
	spec := &v1alpha1.MeshSecurityBaselineSpec{ExcludeNamespaces: []v1alpha1.NamespaceName{"sandbox"}}
	for ns, want := range map[string]bool{"pay": true, "sandbox": false, "kube-system": false, "kube-public": false, "kube-node-lease": false, "istio-system": false, "own": false} {
		if got := Selects(spec, ns, nil, "istio-system", "own"); got != want {
			t.Errorf("%s: %v", ns, got)
		}
	}
	spec.NamespaceSelector = v1alpha1.NamespaceSelector{
		MatchLabels:      v1alpha1.Labels{"env": "prod"},
		MatchExpressions: []v1alpha1.NamespaceSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpNotIn, Values: []v1alpha1.LabelValue{"lab"}}},
	}
	for _, r := range []struct {
		labels map[string]string
		want   bool
	}{
		{nil, false},
		{map[string]string{"env": "prod"}, true},
		{map[string]string{"env": "prod", "tier": "lab"}, false},
		{map[string]string{"env": "test"}, false},
	} {
		if got := Selects(spec, "pay", r.labels); got != r.want {
			t.Errorf("%v: %v", r.labels, got)
		}
	}
}

// A gateway that has to leave through itself cuts everybody off.
func TestABaselineDoesNotSelectItsGateway(t *testing.T) {
	spec := &v1alpha1.MeshSecurityBaselineSpec{EgressGateway: &v1alpha1.EgressGateway{Namespace: "out"}}
	if Selects(spec, "out", nil) || !Selects(spec, "pay", nil) {
		t.Error("the gateway's namespace is selected, or another is not")
	}
}

func TestApply(t *testing.T) {
	baseline := func(name string, priority int32, mode v1alpha1.UnprofiledMode) facts.Baseline {
		return facts.Baseline{Name: name, Spec: &v1alpha1.MeshSecurityBaselineSpec{Priority: &priority, NamespacesWithoutProfile: mode}}
	}
	all := []facts.Baseline{baseline("a", 1, v1alpha1.UnprofiledIgnore), baseline("b", 2, ""), baseline("c", 1, v1alpha1.UnprofiledDryRun), baseline("d", 3, v1alpha1.UnprofiledDryRun)}
	for _, r := range []struct {
		of       []facts.Baseline
		profiled bool
		want     []string
		mode     v1alpha1.UnprofiledMode
	}{
		{all, true, []string{"d", "b", "a", "c"}, v1alpha1.UnprofiledDryRun},
		{all, false, []string{"d", "c"}, v1alpha1.UnprofiledDryRun},
		{all[:2], false, []string{"b"}, v1alpha1.UnprofiledAudit},
		{all[:1], false, nil, v1alpha1.UnprofiledIgnore},
		{nil, false, nil, v1alpha1.UnprofiledIgnore},
	} {
		got, mode := Apply(r.of, r.profiled)
		var names []string
		for _, b := range got {
			names = append(names, b.Name)
		}
		if diff := cmp.Diff(r.want, names); diff != "" || mode != r.mode {
			t.Errorf("%v %s: %s", r.profiled, mode, diff)
		}
	}
}

func TestInForce(t *testing.T) {
	before := &v1alpha1.MeshSecurityBaselineSpec{}
	canary := map[string]string{"wave": "canary"}
	rollout := &v1alpha1.Rollout{CanarySelector: v1alpha1.NamespaceSelector{MatchLabels: v1alpha1.Labels{"wave": "canary"}}}
	for name, r := range map[string]struct {
		rollout *v1alpha1.Rollout
		done    *v1alpha1.RolledOut
		before  *v1alpha1.MeshSecurityBaselineSpec
		labels  map[string]string
		want    string // now, before, or nothing
	}{
		"no rollout":                 {nil, nil, nil, nil, "now"},
		"no rollout, another before": {nil, &v1alpha1.RolledOut{Revision: "old"}, before, nil, "now"},
		"new, a canary":              {rollout, nil, nil, canary, "now"},
		"new, another":               {rollout, nil, nil, nil, ""},
		"changed, a canary":          {rollout, &v1alpha1.RolledOut{Revision: "old"}, before, canary, "now"},
		"changed, another":           {rollout, &v1alpha1.RolledOut{Revision: "old"}, before, nil, "old"},
		"done":                       {rollout, &v1alpha1.RolledOut{Revision: "new"}, before, nil, "now"},
		"rollout declared together with a change": {rollout, &v1alpha1.RolledOut{Revision: "old"}, nil, nil, "now"},
	} {
		b := &v1alpha1.MeshSecurityBaseline{Spec: v1alpha1.MeshSecurityBaselineSpec{Rollout: r.rollout}, Status: v1alpha1.MeshSecurityBaselineStatus{RolledOut: r.done}}
		spec, revision := InForce(b, "new", r.before, r.labels)
		got := ""
		switch spec {
		case nil:
		case &b.Spec:
			got = "now"
		default:
			got = revision
		}
		if got != r.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOverridesSet(t *testing.T) {
	at := func(h int) *metav1.Time { return &metav1.Time{Time: noon.Add(time.Duration(h) * time.Hour)} }
	p := profile(func(*v1alpha1.MeshSecurityProfileSpec) {})
	p.CreationTimestamp = *at(0)
	entry := func(h int, fields, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: "m", Time: at(h), Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	if got := overridesSet(p); !got.Equal(noon) {
		t.Errorf("nobody: %v", got)
	}
	p.ManagedFields = []metav1.ManagedFieldsEntry{
		entry(1, `{"f:spec":{"f:mutualTLS":{"f:portOverrides":{}}}}`, ""),
		entry(5, `{"f:metadata":{"f:annotations":{}}}`, ""), entry(6, `{"f:status":{"f:portOverrides":{}}}`, "status"),
	}
	if got := overridesSet(p); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("%v", got)
	}
}
