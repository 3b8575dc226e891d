package drift

import (
	"cmp"
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// A fight begins with more than FightCorrections corrections of one object, of
// changes by one actor, within FightWindow. From then on each correction waits
// twice as long as the one before, from a second on.
const (
	FightCorrections = 5
	FightWindow      = 10 * time.Minute
	// What is weakened is never left so for longer than this, so that a fight
	// is no way to keep a namespace open; other changes wait longer.
	maxOpen = 30 * time.Second
	maxWait = 5 * time.Minute
	// maxBouts is how many are counted in a namespace: actors name themselves.
	maxBouts = 256
)

// Fights counts the corrections of a namespace's objects. The zero value is
// ready to use.
type Fights struct{ bouts []bout }

type bout struct {
	resource, actor string
	// at are the corrections within the window, the latest last; more than are
	// needed to double the wait up to its limit are not kept.
	at    []time.Time
	until time.Time
}

func (b bout) last() time.Time { return b.at[len(b.at)-1] }

// Corrected counts a correction, and with it how long the next one is to wait.
func (f *Fights) Corrected(c Change, now time.Time) {
	i := slices.IndexFunc(f.bouts, func(b bout) bool { return b.resource == c.Resource() && b.actor == c.Actor })
	if i < 0 {
		if len(f.bouts) == maxBouts {
			oldest := slices.MinFunc(f.bouts, func(a, b bout) int { return a.last().Compare(b.last()) })
			f.bouts = slices.DeleteFunc(f.bouts, func(b bout) bool { return b.resource == oldest.resource && b.actor == oldest.actor })
		}
		i = len(f.bouts)
		f.bouts = append(f.bouts, bout{resource: c.Resource(), actor: c.Actor})
	}
	b := &f.bouts[i]
	b.at = slices.DeleteFunc(b.at, func(t time.Time) bool { return now.Sub(t) >= FightWindow })
	b.at = append(b.at, now)
	b.at = b.at[max(0, len(b.at)-32):]
	b.until = time.Time{}
	if over := len(b.at) - FightCorrections; over > 0 {
		b.until = now.Add(wait(over, c.Effect))
	}
}

func wait(over int, effect v1alpha1.Effect) time.Duration {
	most := maxWait
	if effect == v1alpha1.EffectWeakens {
		most = maxOpen
	}
	return min(time.Second<<min(over-1, 16), most)
}

// Open are the fights that go on, by resource and actor; what is over is forgotten.
func (f *Fights) Open(now time.Time) []facts.Fight {
	f.bouts = slices.DeleteFunc(f.bouts, func(b bout) bool { return now.Sub(b.last()) >= FightWindow })
	var out []facts.Fight
	for _, b := range f.bouts {
		if now.Before(b.until) {
			out = append(out, facts.Fight{Resource: b.resource, Actor: b.actor, Until: b.until})
		}
	}
	slices.SortFunc(out, func(a, b facts.Fight) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Actor, b.Actor))
	})
	return out
}
