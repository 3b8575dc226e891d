package drift

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func corrected(name, actor string, effect v1alpha1.Effect) Change {
	return Change{Key: Key{GroupVersionKind: schema.GroupVersionKind{Kind: "PeerAuthentication"}, Name: name}, Actor: actor, Effect: effect}
}

func TestFights(t *testing.T) {
	start := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	waits := func(effect v1alpha1.Effect, n int, every time.Duration) (out []time.Duration) {
		var f Fights
		now := start
		for range n {
			f.Corrected(corrected("msp-mtls", "argocd", effect), now)
			var wait time.Duration
			for _, o := range f.Open(now) {
				wait = o.Until.Sub(now)
			}
			out = append(out, wait/time.Second)
			now = now.Add(wait + every)
		}
		return out
	}
	for name, r := range map[string]struct {
		got, want []time.Duration
	}{
		"what is weakened waits for half a minute at most": {waits(weakens, 12, 0), []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30}},
		"what is not waits for five minutes at most":       {waits(tightens, 15, 0), []time.Duration{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300}},
		"now and then is no fight":                         {waits(weakens, 8, 2*time.Minute), []time.Duration{0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if diff := cmp.Diff(r.want, r.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFightsAreOverOneObjectWithOneActor(t *testing.T) {
	var f Fights
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * FightCorrections {
		f.Corrected(corrected("msp-mtls", fmt.Sprint("actor-", i%3), weakens), now)
		f.Corrected(corrected(fmt.Sprint("msp-", i), "argocd", weakens), now)
	}
	if got := f.Open(now); len(got) > 0 {
		t.Errorf("%v", got)
	}
	f.Corrected(corrected("msp-mtls", "actor-1", weakens), now)
	want := []facts.Fight{{Resource: "PeerAuthentication/msp-mtls", Actor: "actor-1", Until: now.Add(time.Second)}}
	if diff := cmp.Diff(want, f.Open(now)); diff != "" {
		t.Error(diff)
	}
	if got := f.Open(now.Add(FightWindow)); len(got)+len(f.bouts) > 0 {
		t.Errorf("not forgotten: %v", f.bouts)
	}
}

func TestFightsDoNotGrowWithoutLimit(t *testing.T) {
	var f Fights
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 4 * maxBouts {
		f.Corrected(corrected("msp-mtls", fmt.Sprint("actor-", i), weakens), now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(f.bouts) != maxBouts || f.bouts[len(f.bouts)-1].actor != fmt.Sprint("actor-", 4*maxBouts-1) {
		t.Errorf("%d bouts", len(f.bouts))
	}
}
