package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// telemetries is the kind that the edits change.
var telemetries = wire.Resource{Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"}

// edits are those of the baseline, in turns; the second makes it what it was.
var edits = [2]string{`{"spec":{"mandates":{"accessLog":"All"}}}`, `{"spec":{"mandates":{"accessLog":"Denied"}}}`}

// edit measures what an edit of the baseline costs.
func edit(ctx context.Context, c *cluster) (out result, err error) {
	if out.figures, err = c.idle(ctx); err != nil {
		return out, err
	}
	var ours, floors, ourCPU, floorCPU []float64
	var written []controlplane.Request
	// What the operator writes is what the floor is to write.
	var specs [2][]byte
	for i := range specs {
		began := time.Now()
		run, err := c.editing(ctx, i)
		if err != nil {
			return out, err
		}
		specs[i] = run.spec
		writes, _, err := c.sent(ctx, began)
		if err != nil {
			return out, err
		}
		written = append(written, writes...)
	}
	for range c.runs {
		for i := range specs {
			one, err := c.editing(ctx, i)
			if err != nil {
				return out, err
			}
			ours, ourCPU = append(ours, one.seconds), append(ourCPU, one.cpu)
		}
		for i, spec := range specs {
			file := filepath.Join(c.dir, fmt.Sprintf("spec-%d.json", i))
			if err := os.WriteFile(file, spec, 0o600); err != nil {
				return out, err
			}
			one, err := c.editing(ctx, i, file)
			if err != nil {
				return out, err
			}
			floors, floorCPU = append(floors, one.seconds), append(floorCPU, one.cpu)
		}
	}
	took := measure.Ratio("edit", "s", ours, floors)
	took.Note = fmt.Sprintf("%d namespaces, one object and one status each", c.profiles)
	objects, statuses := split(written)
	out.figures = append([]measure.Figure{
		took, measure.Ratio("edit CPU", "ms a namespace", ourCPU, floorCPU),
		{Name: "edit writes", Unit: "a namespace", Value: float64(len(objects)) / float64(len(specs)*c.profiles), Note: kinds(objects) + "; besides: " + kinds(statuses)},
	}, out.figures...)
	// The operator takes over what the floor wrote.
	p, err := c.startOperator(ctx, "edited")
	if err != nil {
		return out, err
	}
	return out, p.Stop()
}

// split parts the writes of statuses from all others.
func split(writes []controlplane.Request) (objects, statuses []controlplane.Request) {
	for _, r := range writes {
		if r.Subresource == "status" {
			statuses = append(statuses, r)
		} else {
			objects = append(objects, r)
		}
	}
	return objects, statuses
}

// idle counts what is done where nothing has to be: for an edit that says the
// same in other words, and for an event in one namespace.
func (c *cluster) idle(ctx context.Context) (_ []measure.Figure, err error) {
	p, err := c.startOperator(ctx, "idle", "--zap-log-level=5")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	began := time.Now()
	for _, patch := range []string{`{"spec":{"priority":101}}`, `{"spec":{"priority":100}}`} {
		if _, err := c.wire.Patch(ctx, baselines, wire.At("", profileName), "bench", []byte(patch)); err != nil {
			return nil, err
		}
		if err := quiet(ctx, p); err != nil {
			return nil, err
		}
	}
	writes, reads, err := c.sent(ctx, began)
	if err != nil {
		return nil, err
	}
	sent := reads
	own := 0
	for _, r := range writes {
		if r.Resource == baselines.Resource {
			own++ // its status says which generation was observed
		} else {
			sent = append(sent, r)
		}
	}
	before := reconciles(p)
	var pod corev1.Pod
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: name(0), Name: "web"}, &pod); err != nil {
		return nil, err
	}
	// A label that no selector asks for, and that one could.
	pod.Labels["revision"] = fmt.Sprint(began.Unix())
	if err := c.client.Update(ctx, &pod); err != nil {
		return nil, err
	}
	if err := eventually(ctx, "the operator looks at the namespace", func() (bool, error) { return reconciles(p) > before, nil }); err != nil {
		return nil, err
	}
	if err := quiet(ctx, p); err != nil {
		return nil, err
	}
	return []measure.Figure{
		{Name: "edit of nothing", Unit: "requests", Value: float64(len(sent)), Note: fmt.Sprintf("%s; besides: %d of the baseline's status, for 2 edits", kinds(sent), own)},
		{Name: "one event", Unit: "namespaces", Value: float64(reconciles(p) - before), Note: fmt.Sprintf("of %d, looked at for an event about a pod", c.profiles)},
	}, nil
}

// edited is one edit that was put in force everywhere.
type edited struct {
	seconds float64
	cpu     float64 // ms a namespace
	spec    []byte  // of the object that it changes, the same in every namespace
}

// editing starts the operator, or the floor with its arguments, edits the baseline, and measures how long it takes
// until the last namespace shows the edit.
func (c *cluster) editing(ctx context.Context, turn int, floor ...string) (out edited, err error) {
	start := func() (*operator.Process, error) { return c.startOperator(ctx, "edit") }
	if len(floor) > 0 {
		start = func() (*operator.Process, error) { return c.startFloor(ctx, append([]string{"edit"}, floor...)...) }
	}
	p, err := start()
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, tail(p))
		}
		err = errors.Join(err, p.Stop())
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	items, version, err := c.wire.List(ctx, telemetries, selector)
	if err != nil {
		return out, err
	}
	waiting := map[string][]byte{}
	for _, o := range items {
		waiting[o.Metadata.Namespace] = o.Spec
	}
	type change struct {
		at   time.Time
		spec json.RawMessage
	}
	last := make(chan change, 1)
	ended, err := c.wire.Watch(ctx, telemetries, selector, version, func(e wire.Event) {
		if was, ok := waiting[e.Object.Metadata.Namespace]; ok && !bytes.Equal(was, e.Object.Spec) {
			if delete(waiting, e.Object.Metadata.Namespace); len(waiting) == 0 {
				last <- change{time.Now(), e.Object.Spec}
			}
		}
	})
	if err != nil {
		return out, err
	}
	before, err := p.CPU()
	if err != nil {
		return out, err
	}
	began := time.Now()
	if _, err := c.wire.Patch(ctx, baselines, wire.At("", profileName), "bench", []byte(edits[turn])); err != nil {
		return out, err
	}
	select {
	case at := <-last:
		out.seconds, out.spec = at.at.Sub(began).Seconds(), at.spec
	case err := <-ended:
		return out, errors.Join(errors.New("the edit did not come into force everywhere"), err, ctx.Err())
	}
	if err := quiet(ctx, p); err != nil {
		return out, err
	}
	if len(floor) > 0 && p.Log() != "" {
		return out, errors.New("the floor did not write all")
	}
	after, err := p.CPU()
	out.cpu = milliseconds(after-before) / float64(c.profiles)
	return out, err
}
