package decide

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// profile that denies all but one rule; a bad one names a peer that nobody declares.
func profile(name string, change ...func(*v1alpha1.MeshSecurityProfile)) *v1alpha1.MeshSecurityProfile {
	p := &v1alpha1.MeshSecurityProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: name, UID: types.UID("uid-" + name), Finalizers: []string{v1alpha1.Finalizer}},
		Spec: v1alpha1.MeshSecurityProfileSpec{
			MutualTLS: &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSStrict},
			Authorization: &v1alpha1.Authorization{DefaultAction: v1alpha1.DefaultDeny, Rules: []v1alpha1.AuthorizationRule{{
				Name: "callers", From: []v1alpha1.Caller{{Entity: v1alpha1.EntitySameNamespace}},
			}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func deleted(p *v1alpha1.MeshSecurityProfile) { p.DeletionTimestamp = &metav1.Time{Time: now} }
func paused(p *v1alpha1.MeshSecurityProfile) {
	p.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
}
func bad(p *v1alpha1.MeshSecurityProfile) {
	p.Spec.Authorization.Rules[0].From = []v1alpha1.Caller{{Peer: "nobody"}}
}
func retain(p *v1alpha1.MeshSecurityProfile) { p.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
func orphan(p *v1alpha1.MeshSecurityProfile) {
	p.Finalizers = append(p.Finalizers, metav1.FinalizerOrphanDependents)
}

func observed(live []mesh.Object, profiles ...*v1alpha1.MeshSecurityProfile) facts.Observed {
	return facts.Observed{
		Profiles: profiles, Live: live,
		Facts: facts.Facts{
			Namespace: facts.Namespace{Name: "pay"},
			Mesh:      facts.Mesh{Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar, RootNamespace: "istio-system", TrustDomain: "cluster.local"},
		},
	}
}

// written are the live objects that a profile's decision leads to; the profile remembers them.
func written(p *v1alpha1.MeshSecurityProfile) []mesh.Object {
	d := Make(observed(nil, p), now)
	p.Status.AppliedDigest = d.Digest
	var out []mesh.Object
	for i, o := range d.Desired {
		o = o.DeepCopyObject().(mesh.Object)
		o.SetUID(types.UID(fmt.Sprint("live-", i)))
		o.SetResourceVersion("5")
		out = append(out, o)
	}
	return out
}

func did(d Decision) []string {
	var out []string
	for _, s := range d.Steps {
		owner := ""
		for _, r := range s.Object.GetOwnerReferences() {
			owner = " of " + r.Name
		}
		if s.Verb == "delete" {
			owner = ""
		}
		out = append(out, string(s.Verb)+" "+strings.TrimPrefix(s.Object.GetName(), mesh.NamePrefix)+owner)
	}
	return out
}

func TestLeaving(t *testing.T) {
	removal := []string{"delete default-deny", "delete callers", "delete mtls"}
	release := []string{"replace callers", "replace default-deny", "replace mtls"}
	takeover := []string{"replace mtls of next", "replace callers of next", "replace default-deny of next"}
	terminating := func(o *facts.Observed) { o.Facts.Namespace.Terminating = true }
	foreign := func(o *facts.Observed) {
		o.Live = append(o.Live, &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "theirs"}})
	}
	gone := func(o *facts.Observed) { o.Live = nil }
	for name, r := range map[string]struct {
		profiles []*v1alpha1.MeshSecurityProfile
		change   func(*facts.Observed)
		want     []string
		letGo    bool
	}{
		"removed in order":                      {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted)}, nil, removal, false},
		"removed in order, though paused":       {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted, paused)}, nil, removal, false},
		"nothing is there any more":             {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted)}, gone, nil, true},
		"what is somebody else's stays":         {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted)}, foreign, []string{"delete callers", "delete default-deny", "delete mtls"}, false},
		"the namespace goes":                    {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted)}, terminating, nil, true},
		"retained":                              {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted, retain)}, nil, release, false},
		"orphaned":                              {[]*v1alpha1.MeshSecurityProfile{profile("main", deleted, orphan)}, nil, release, false},
		"handed over":                           {[]*v1alpha1.MeshSecurityProfile{profile("next"), profile("main", deleted)}, nil, takeover, false},
		"handed over, nothing left":             {[]*v1alpha1.MeshSecurityProfile{profile("next"), profile("main", deleted)}, gone, []string{"create mtls of next", "create callers of next", "create default-deny of next"}, true},
		"the successor keeps the last good":     {[]*v1alpha1.MeshSecurityProfile{profile("next", bad), profile("main", deleted)}, nil, takeover, false},
		"a paused successor takes nothing over": {[]*v1alpha1.MeshSecurityProfile{profile("next", paused), profile("main", deleted)}, nil, release, false},
		"the successor knows no last good": {[]*v1alpha1.MeshSecurityProfile{profile("next", bad), profile("main", deleted)},
			func(o *facts.Observed) { o.Profiles[1].Status.AppliedDigest = "" }, release, false},
	} {
		t.Run(name, func(t *testing.T) {
			first := r.profiles[len(r.profiles)-1]
			base := profile(first.Name)
			live := written(base)
			first.Status.AppliedDigest = base.Status.AppliedDigest
			o := observed(live, r.profiles...)
			if r.change != nil {
				r.change(&o)
			}
			d := Make(o, now)
			got := did(d)
			if strings.HasPrefix(strings.Join(r.want, ""), "replace callersr") {
				slices.Sort(got)
			}
			if diff := cmp.Diff(r.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if d.LetGo != r.letGo {
				t.Errorf("let go: %v", d.LetGo)
			}
		})
	}
}

// What is there only meanwhile has to be gone before anything is as declared: it
// counts with what is to be changed, on the way in and out.
func TestWhatIsThereOnlyMeanwhileIsAChange(t *testing.T) {
	p := profile("main", func(p *v1alpha1.MeshSecurityProfile) {
		rules := &p.Spec.Authorization.Rules
		*rules = append(*rules, v1alpha1.AuthorizationRule{Name: "authenticated", From: []v1alpha1.Caller{{Entity: v1alpha1.EntityAnyAuthenticated}}})
	})
	in := Make(observed(nil, p), now)
	live := written(p)
	deleted(p)
	out := Make(observed(live, p), now)
	for name, d := range map[string]Decision{"in": in, "out": out} {
		brought := 0
		for _, s := range d.Steps {
			if mesh.IsTemporary(s.Change.Key.Name) {
				brought++
			}
			if !slices.ContainsFunc(d.Changes, func(c drift.Change) bool { return c.Key == s.Change.Key }) {
				t.Errorf("%s: %s %s is no change", name, s.Verb, s.Resource())
			}
		}
		if brought != 2 {
			t.Errorf("%s: %d steps for what is there only meanwhile: it comes and goes", name, brought)
		}
	}
}

func TestLastGoodIsKept(t *testing.T) {
	good := profile("main")
	live := written(good)
	unusable := profile("main", bad)
	unusable.Status.AppliedDigest = good.Status.AppliedDigest

	d := Make(observed(live, unusable), now)
	if d.Compiled || d.LastGood == nil || len(d.Steps) > 0 {
		t.Fatalf("compiled %v, %d objects, %d steps", d.Compiled, len(d.LastGood), len(d.Steps))
	}

	// It is remembered by now, and somebody changes something.
	o := observed(slices.Clone(live), unusable)
	o.LastGood = d.LastGood
	at := slices.IndexFunc(live, func(o mesh.Object) bool { return o.GetName() == "msp-mtls" })
	weaker := live[at].DeepCopyObject().(*securityv1.PeerAuthentication)
	weaker.Spec.Mtls.Mode = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
	o.Live[at] = weaker
	d = Make(o, now)
	if len(d.Changes) != 1 || !d.Changes[0].Drift || d.Changes[0].Effect != v1alpha1.EffectWeakens {
		t.Errorf("%+v", d.Changes)
	}
	if diff := cmp.Diff([]string{"replace mtls of main"}, did(d)); diff != "" {
		t.Error(diff)
	}

	// After a restart nobody can tell what it should be.
	o.LastGood = nil
	if d = Make(o, now); d.LastGood != nil || len(d.Steps) > 0 {
		t.Errorf("%d steps from what was changed", len(d.Steps))
	}
}

func TestFightsAreLeft(t *testing.T) {
	p := profile("main")
	live := written(p)
	o := observed(live[:len(live)-1], p)
	d := Make(o, now)
	if len(d.Changes) != 1 || len(d.Steps) != 1 {
		t.Fatalf("%+v", d.Changes)
	}
	c := d.Changes[0]
	o.Fights = []facts.Fight{{Resource: c.Resource(), Actor: "somebody else"}}
	if d = Make(o, now); len(d.Steps) != 1 {
		t.Error("another actor's change was left")
	}
	o.Fights = []facts.Fight{{Resource: c.Resource(), Actor: c.Actor}}
	if d = Make(o, now); len(d.Steps) != 0 || !d.Left(c) {
		t.Error("corrected in the middle of a fight")
	}
}
