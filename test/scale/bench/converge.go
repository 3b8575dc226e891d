package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// managed are the kinds that the profile compiles to, in the order in which the
// operator writes them; which order it is costs the same.
var managed = []wire.Resource{
	{Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"},
	{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"},
	{Group: "networking.istio.io", Version: "v1", Resource: "serviceentries"},
	{Group: "networking.istio.io", Version: "v1", Resource: "sidecars"},
	{Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
}

// selector chooses the operator's objects.
const selector = "app.kubernetes.io/managed-by=mesh-security-operator"

// converges measures how long it takes until all profiles are in force.
func converges(ctx context.Context, c *cluster) (out result, err error) {
	if err := c.record(ctx); err != nil {
		return out, err
	}
	var ours, floors, ourCPU, floorCPU []float64
	for range c.runs {
		seconds, cpu, err := c.converge(ctx, func() (*operator.Process, error) { return c.startOperator(ctx, "converge") })
		if err != nil {
			return out, err
		}
		ours, ourCPU = append(ours, seconds), append(ourCPU, cpu)
		seconds, cpu, err = c.converge(ctx, func() (*operator.Process, error) { return c.startFloor(ctx, "converge", c.recorded()) })
		if err != nil {
			return out, err
		}
		floors, floorCPU = append(floors, seconds), append(floorCPU, cpu)
	}
	took := measure.Ratio("converge", "s", ours, floors)
	took.Note = fmt.Sprintf("%d profiles, %d objects", c.profiles, c.profiles*objectsEach)
	out.figures = []measure.Figure{took, measure.Ratio("converge CPU", "ms a profile", ourCPU, floorCPU)}
	// The operator takes over what the floor wrote, so that it is as it was found.
	p, err := c.startOperator(ctx, "converged")
	if err != nil {
		return out, err
	}
	return out, p.Stop()
}

// converge takes everything away, and measures how long a program takes to
// write it again.
func (c *cluster) converge(ctx context.Context, start func() (*operator.Process, error)) (seconds, cpu float64, err error) {
	if err := c.clear(ctx); err != nil {
		return 0, 0, err
	}
	p, err := start()
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, tail(p))
		}
		err = errors.Join(err, p.Stop())
	}()
	before, err := p.CPU()
	if err != nil {
		return 0, 0, err
	}
	took, err := c.createProfiles(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := quiet(ctx, p); err != nil {
		return 0, 0, err
	}
	after, err := p.CPU()
	return took.Seconds(), milliseconds(after-before) / float64(c.profiles), err
}

// clear deletes all profiles and their objects, while nobody holds them.
func (c *cluster) clear(ctx context.Context) error {
	return each(ctx, c.profiles, func(ctx context.Context, i int) error {
		at := wire.At(name(i), profileName)
		if _, err := c.wire.Patch(ctx, profiles, at, "bench", []byte(`{"metadata":{"finalizers":null}}`)); err != nil {
			return err
		}
		errs := []error{c.wire.DeleteAll(ctx, profiles, name(i), "")}
		for _, r := range managed {
			errs = append(errs, c.wire.DeleteAll(ctx, r, name(i), selector))
		}
		return errors.Join(errs...)
	})
}

// record keeps what is in force, for the floor to write.
func (c *cluster) record(ctx context.Context) error {
	work := map[string]*wire.Namespace{}
	items, _, err := c.wire.List(ctx, profiles, "")
	if err != nil {
		return err
	}
	for _, p := range items {
		fields, err := p.Fields()
		if err != nil {
			return err
		}
		var held struct{ Metadata struct{ Finalizers []string } }
		if text, err := json.Marshal(fields); err != nil || json.Unmarshal(text, &held) != nil {
			return errors.Join(errors.New("finalizers"), err)
		}
		work[p.Metadata.Namespace] = &wire.Namespace{Finalizers: held.Metadata.Finalizers, Status: p.Status}
	}
	for _, r := range managed {
		items, _, err := c.wire.List(ctx, r, selector)
		if err != nil {
			return err
		}
		for _, o := range items {
			fields, err := o.Fields()
			if err != nil {
				return err
			}
			if ns := work[o.Metadata.Namespace]; ns != nil {
				ns.Objects = append(ns.Objects, wire.Recorded{Resource: r, Fields: fields})
			}
		}
	}
	for ns, w := range work {
		if len(w.Objects) != objectsEach {
			return fmt.Errorf("namespace %s has %d objects and not %d", ns, len(w.Objects), objectsEach)
		}
	}
	text, err := json.Marshal(work)
	if err != nil {
		return err
	}
	return c.save(text)
}
