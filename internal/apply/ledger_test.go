package apply

import (
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

var noon = time.Unix(1_790_000_000, 0)

func version(o mesh.Object, uid, rv string) mesh.Object {
	o.SetUID(types.UID(uid))
	o.SetResourceVersion(rv)
	return o
}

func wrote(verb plan.Verb, o mesh.Object) Written {
	w := written(verb, o)
	w.At = noon
	return w
}

func TestLedger(t *testing.T) {
	going := version(mtls(strict), "a", "10")
	now := metav1.NewTime(noon)
	going.SetDeletionTimestamp(&now)
	profile := func(rv string) mesh.Object {
		p := &v1alpha1.MeshSecurityProfile{}
		p.Namespace, p.Name = ns, "p"
		return version(p, "p", rv)
	}
	for _, r := range []struct {
		name  string
		wrote Written
		live  []mesh.Object
		after time.Duration
		stale bool
	}{
		{"created, not seen", wrote(plan.Create, version(mtls(strict), "a", "10")), nil, 0, true},
		{"created, seen", wrote(plan.Create, version(mtls(strict), "a", "10")), []mesh.Object{version(mtls(strict), "a", "10")}, 0, false},
		{"created, seen in a later version", wrote(plan.Create, version(mtls(strict), "a", "9")), []mesh.Object{version(mtls(strict), "a", "10")}, 0, false},
		{"created, another one seen since", wrote(plan.Create, version(mtls(strict), "a", "9")), []mesh.Object{version(mtls(strict), "b", "10")}, 0, false},
		{"created, another object of its name seen", wrote(plan.Create, version(allow("mtls", "x"), "a", "9")), []mesh.Object{version(mtls(strict), "b", "10")}, 0, true},
		{"replaced, older seen", wrote(plan.Replace, version(mtls(strict), "a", "10")), []mesh.Object{version(mtls(permissive), "a", "9")}, 0, true},
		{"replaced, seen", wrote(plan.Replace, version(mtls(strict), "a", "10")), []mesh.Object{version(mtls(strict), "a", "10")}, 0, false},
		{"replaced, deleted since", wrote(plan.Replace, version(mtls(strict), "a", "10")), nil, 0, false},
		{"replaced, versions that are no numbers", wrote(plan.Replace, version(mtls(strict), "a", "x")), []mesh.Object{version(mtls(permissive), "a", "y")}, 0, false},
		{"deleted, still seen", wrote(plan.Delete, version(mtls(strict), "a", "9")), []mesh.Object{version(mtls(strict), "a", "9")}, 0, true},
		{"deleted, gone", wrote(plan.Delete, version(mtls(strict), "a", "9")), nil, 0, false},
		{"deleted, going", wrote(plan.Delete, version(mtls(strict), "a", "9")), []mesh.Object{going}, 0, false},
		{"deleted, another one there", wrote(plan.Delete, version(mtls(strict), "a", "9")), []mesh.Object{version(mtls(strict), "b", "11")}, 0, false},
		{"status written, older seen", wrote(plan.Replace, profile("10")), []mesh.Object{profile("9")}, 0, true},
		{"status written, seen", wrote(plan.Replace, profile("10")), []mesh.Object{profile("10")}, 0, false},
		{"not seen for long", wrote(plan.Create, version(mtls(strict), "a", "10")), nil, Patience, false},
		{"not seen for almost as long", wrote(plan.Create, version(mtls(strict), "a", "10")), nil, Patience - 1, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			l := NewLedger()
			l.Record(r.wrote.Key.Namespace, r.wrote)
			if l.Stale("another", nil, noon) {
				t.Error("stale elsewhere")
			}
			if got := l.Stale(ns, r.live, noon.Add(r.after)); got != r.stale {
				t.Errorf("stale %t", got)
			}
			if !r.stale && (l.count != 0 || len(l.entries) != 0) {
				t.Error("not forgotten")
			}
		})
	}
}

func TestLedgerForgetsOneByOne(t *testing.T) {
	l := NewLedger()
	a, b := version(mtls(strict), "a", "10"), version(allow("x", "y"), "b", "11")
	l.Record(ns, wrote(plan.Create, a), wrote(plan.Create, b))
	if !l.Stale(ns, []mesh.Object{a}, noon) {
		t.Error("one was not seen")
	}
	// a deleted later: it was seen, so that this says nothing.
	if l.Stale(ns, []mesh.Object{b}, noon) {
		t.Error("both were seen")
	}
	l.Record(ns, wrote(plan.Create, a))
	l.Record(ns, wrote(plan.Replace, version(mtls(strict), "a", "12")))
	if !l.Stale(ns, []mesh.Object{version(mtls(strict), "a", "10")}, noon) {
		t.Error("the later write counts")
	}
	l.Forget(ns)
	if l.Stale(ns, nil, noon) || l.count != 0 {
		t.Error("not forgotten")
	}
}

// What was created and deleted at once is absent from a cache that has seen
// neither, and there in one that has seen the first alone.
func TestLedgerOfWhatIsThereOnlyMeanwhile(t *testing.T) {
	l := NewLedger()
	cover, rule := version(allow("cover", "x"), "a", "10"), version(allow("rule", "x"), "b", "11")
	l.Record(ns, wrote(plan.Create, cover), wrote(plan.Create, rule), wrote(plan.Delete, cover))
	for _, r := range []struct {
		seen  string
		live  []mesh.Object
		stale bool
	}{
		{"nothing", nil, true},
		{"its creation", []mesh.Object{cover}, true},
		{"the rule as well", []mesh.Object{cover, rule}, true},
		{"its deletion", []mesh.Object{rule}, false},
	} {
		if got := l.Stale(ns, r.live, noon); got != r.stale {
			t.Errorf("%s seen: stale %t", r.seen, got)
		}
	}
	if l.count != 0 {
		t.Error("not forgotten")
	}
}

func TestLedgerIsBounded(t *testing.T) {
	l := NewLedger()
	for i := range 20_000 {
		o := mtls(strict)
		o.SetNamespace(fmt.Sprint("ns-", i))
		w := written(plan.Create, o)
		w.At = noon.Add(time.Duration(i) * 10 * time.Millisecond)
		l.Record(o.GetNamespace(), w)
	}
	// 500 writes are younger than 5 s.
	if l.count > 2*minSweep || len(l.entries) != l.count {
		t.Errorf("%d entries", l.count)
	}
}

func TestLedgerConcurrently(t *testing.T) {
	l := NewLedger()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 500 {
				o := mtls(strict)
				o.SetNamespace(fmt.Sprint((i + j) % 5))
				l.Record(o.GetNamespace(), wrote(plan.Create, version(o, "a", "10")))
				l.Stale(o.GetNamespace(), []mesh.Object{o}, noon)
				l.Forget(fmt.Sprint(j % 5))
			}
		})
	}
	wg.Wait()
	for i := range 5 {
		l.Forget(fmt.Sprint(i))
	}
	if l.count != 0 {
		t.Errorf("%d left", l.count)
	}
}

// What comes through the cache matters while somebody was turned away for it,
// and not at any other time: every write of ours comes through.
func TestLedgerAwaited(t *testing.T) {
	l := NewLedger()
	older, newer := version(mtls(permissive), "a", "9"), version(mtls(strict), "a", "10")
	expect := func(want bool, when string) {
		t.Helper()
		if l.Awaited(ns) != want {
			t.Errorf("%s: awaited %t", when, !want)
		}
	}
	expect(false, "nothing written")
	l.Record(ns, wrote(plan.Replace, newer))
	expect(false, "written, and nobody asked")
	l.Stale(ns, []mesh.Object{older}, noon)
	expect(true, "turned away")
	l.Stale(ns, []mesh.Object{newer}, noon)
	expect(false, "the cache has caught up")

	l.Record(ns, wrote(plan.Replace, newer))
	l.Stale(ns, []mesh.Object{older}, noon)
	l.Stale(ns, []mesh.Object{older}, noon.Add(Patience))
	expect(false, "waited for too long")

	l.Record(ns, wrote(plan.Replace, newer))
	l.Stale(ns, []mesh.Object{older}, noon)
	l.Forget(ns)
	expect(false, "forgotten")
}
