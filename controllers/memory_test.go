package controllers

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// A namespace in which nothing changed has no workload looked at again.
func TestTheAuditRemembers(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	profile := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", Generation: 1}}
	profile.Spec.MutualTLS = &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSStrict}
	o := facts.Observed{Profiles: []*v1alpha1.MeshSecurityProfile{profile}, Facts: facts.Facts{
		Namespace: facts.Namespace{Name: "pay"},
		Mesh:      facts.Mesh{Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, TrustDomain: "cluster.local"},
		Pods:      []facts.Pod{{Name: "web-0", Owner: facts.Owner{Kind: "Deployment", Name: "web"}, ServiceAccount: "web"}},
	}}
	for i, want := range decide.Act(o, now).Desired {
		live, ok := want.DeepCopyObject().(facts.Object)
		if !ok {
			t.Fatalf("%T", want)
		}
		live.SetUID(types.UID(fmt.Sprint(i)))
		live.SetResourceVersion("1")
		o.Live = append(o.Live, live)
	}
	var m memory
	var found int
	for look, want := range []int{1, 0} {
		d := decide.Act(o, now)
		m.weigh("pay", &d, o)
		if d.Seen == nil || d.Seen.Judged() != want || len(d.Examined) == 0 || look > 0 && len(d.Examined) != found {
			t.Errorf("look %d: %d findings, and %+v", look, len(d.Examined), d.Seen)
		}
		found = len(d.Examined)
	}
	m.forget("pay")
	d := decide.Act(o, now)
	if m.weigh("pay", &d, o); d.Seen.Judged() != 1 {
		t.Errorf("%d workloads were looked at of a namespace that was forgotten", d.Seen.Judged())
	}
}
