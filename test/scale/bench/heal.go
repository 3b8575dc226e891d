package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

const (
	// mostTampered is how often an object is changed while one process of the
	// operator runs: one that is changed more often within 10 minutes is
	// corrected ever more slowly, on purpose.
	mostTampered = 4
	// outstanding is how many changes are under way at a time where the capacity is measured.
	outstanding = 16
	// fewest is how many changes are made in a run at the least.
	fewest = 200
	// share of the capacity at which heals are measured.
	share = 0.5
)

// heal measures how long changes last, at half of what the operator can undo.
func heal(ctx context.Context, c *cluster) (out result, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o, err := observe(ctx, end, c)
	if err != nil {
		return out, err
	}
	capacity, err := c.healing(ctx, o, true, func(r *round) error { return r.closedLoop(ctx) })
	if err != nil {
		return out, fmt.Errorf("capacity: %w", err)
	}
	if capacity.perSecond == 0 {
		return out, errors.New("capacity: nothing was changed and undone after the warm-up")
	}
	rate := capacity.perSecond * share
	// A hundredth of fewer is a single one.
	period := max(c.period, time.Duration(fewest/rate*float64(time.Second)))
	open := func(r *round) error { return r.openLoop(ctx, rate, period) }
	var ours, floors healRuns
	for range c.runs {
		if err := errors.Join(ours.add(c.healing(ctx, o, true, open)), floors.add(c.healing(ctx, o, false, open))); err != nil {
			return out, err
		}
	}
	note := fmt.Sprintf("%.0f changes/s, half of the capacity of %.0f; longest %.0f and %.0f ms", rate, capacity.perSecond,
		milliseconds(measure.Quantile(ours.lasted, 1)), milliseconds(measure.Quantile(floors.lasted, 1)))
	for _, f := range []measure.Figure{
		measure.Ratio("heal p50", "ms", ours.p50, floors.p50),
		measure.Ratio("heal p99", "ms", ours.p99, floors.p99),
		measure.Ratio("heal CPU", "ms a heal", ours.cpu, floors.cpu),
	} {
		f.Note = note
		out.figures = append(out.figures, f)
	}
	out.plots = map[string]string{"heal": measure.Plot("How long a change lasts, "+note,
		measure.Series{Name: "operator", Samples: ours.lasted}, measure.Series{Name: "floor: watch and write", Samples: floors.lasted})}
	return out, nil
}

// healRuns has a value for each run.
type healRuns struct {
	p50, p99, cpu []float64
	lasted        []time.Duration
}

func (h *healRuns) add(r healRun, err error) error {
	if err != nil {
		return err
	}
	h.p50 = append(h.p50, milliseconds(measure.Quantile(r.lasted, 0.5)))
	h.p99 = append(h.p99, milliseconds(measure.Quantile(r.lasted, 0.99)))
	h.cpu = append(h.cpu, milliseconds(r.cpu)/float64(r.all))
	h.lasted = append(h.lasted, r.lasted...)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// healRun is one run of the operator or of the floor.
type healRun struct {
	lasted []time.Duration // without those of the warm-up
	all    int             // with them
	// perSecond is how many changes were made and undone, after the warm-up.
	perSecond float64
	cpu       time.Duration
}

// healing runs the operator, or the floor, while an intruder is at work.
func (c *cluster) healing(ctx context.Context, o *observer, ours bool, intrude func(*round) error) (_ healRun, err error) {
	var p *operator.Process
	if ours {
		p, err = c.startOperator(ctx, "heal")
	} else {
		args := []string{"heal"}
		for _, t := range tamperings {
			args = append(args, t.resource.Group+"/"+t.resource.Version+"/"+t.resource.Resource)
		}
		p, err = c.startFloor(ctx, args...)
	}
	if err != nil {
		return healRun{}, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, tail(p))
		}
		err = errors.Join(err, p.Stop())
	}()
	before, err := p.CPU()
	if err != nil {
		return healRun{}, err
	}
	// With GOGC as it is, none comes in the time of a run then: it would take both
	// of two CPUs for a second, in one run or in another.
	if err := c.wire.CollectGarbage(ctx); err != nil {
		return healRun{}, fmt.Errorf("collect the API server's garbage: %w", err)
	}
	r := newRound(c, o)
	if err := intrude(r); err != nil {
		return healRun{}, err
	}
	if err := quiet(ctx, p); err != nil { // what is told of the last heals is a part of what they cost
		return healRun{}, err
	}
	if said := p.Log(); !ours && said != "" {
		return healRun{}, errors.New("the floor did not write all")
	}
	after, err := p.CPU()
	lasted, all := o.take(r.began.Add(c.warmUp))
	return healRun{lasted, all, float64(len(lasted)) / (r.ended.Sub(r.began) - c.warmUp).Seconds(), after - before}, err
}

// round is the work of the intruder during one run.
type round struct {
	*cluster
	observer *observer
	began    time.Time
	ended    time.Time // when the last change was made

	mu       sync.Mutex
	order    []target
	tampered int
}

// newRound orders the targets by chance, the same for every run.
func newRound(c *cluster, o *observer) *round {
	r := &round{cluster: c, observer: o}
	chance := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	for range mostTampered {
		for _, i := range chance.Perm(len(o.targets)) {
			r.order = append(r.order, o.targets[i])
		}
	}
	return r
}

// next is the number of the next change and its target; false: there is none.
func (r *round) next() (int, target, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tampered == len(r.order) {
		return 0, target{}, false
	}
	r.tampered++
	return r.tampered - 1, r.order[r.tampered-1], true
}

// tamper makes one change, and waits until it is undone.
func (r *round) tamper(ctx context.Context, n int, at target) error {
	undone := r.observer.expect(at)
	if undone == nil {
		return nil // not put back since it was last changed: that is being timed already
	}
	// Several intruders: the operator keeps count of each.
	as := fmt.Sprintf("intruder-%d", n/len(r.observer.targets))
	if _, err := r.wire.Patch(ctx, at.tampering.resource, at.NamespacedName, as, []byte(at.tampering.patch)); err != nil {
		return fmt.Errorf("tamper with %s %s: %w", at.tampering.resource.Resource, at.NamespacedName, err)
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-undone:
		return nil
	case <-limit.C:
		return fmt.Errorf("%s %s was not put back", at.tampering.resource.Resource, at.NamespacedName)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closedLoop makes a change as soon as another is undone.
func (r *round) closedLoop(ctx context.Context) error {
	r.began = time.Now()
	errs := make([]error, outstanding)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for errs[w] == nil && time.Since(r.began) < r.warmUp+r.period {
				n, at, ok := r.next()
				if !ok {
					return
				}
				errs[w] = r.tamper(ctx, n, at)
			}
		})
	}
	wg.Wait()
	r.ended = time.Now()
	return errors.Join(errs...)
}

// openLoop makes changes at a steady rate, whether earlier ones are undone or not.
func (r *round) openLoop(ctx context.Context, perSecond float64, period time.Duration) error {
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	r.began = time.Now()
	for time.Since(r.began) < r.warmUp+period && ctx.Err() == nil {
		<-tick.C
		n, at, ok := r.next()
		if !ok {
			break
		}
		wg.Go(func() {
			if err := r.tamper(ctx, n, at); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	r.ended = time.Now()
	wg.Wait()
	return errors.Join(append(errs, context.Cause(ctx))...)
}
