package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

// sent are the operator's requests since a time, without watches, leases and
// what a start asks of discovery.
func (c *cluster) sent(ctx context.Context, since time.Time) (writes, reads []controlplane.Request, err error) {
	all, err := c.Requests(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		if r.User != operator.User || r.Time.Before(since) || r.Resource == "leases" || r.Resource == "" {
			continue
		}
		switch r.Verb {
		case "watch":
		case "get", "list":
			// A watch may begin with the list that fills it.
			if !strings.Contains(r.URI, "watch=true") {
				reads = append(reads, r)
			}
		default:
			writes = append(writes, r)
		}
	}
	return writes, reads, nil
}

// kinds counts requests by what they ask, for a note.
func kinds(requests []controlplane.Request) string {
	counts := map[string]int{}
	var order []string
	for _, r := range requests {
		what := strings.TrimSuffix(r.Verb+" "+r.Resource+"/"+r.Subresource, "/")
		if counts[what]++; counts[what] == 1 {
			order = append(order, what)
		}
	}
	for i, what := range order {
		order[i] = fmt.Sprintf("%d %s", counts[what], what)
	}
	return strings.Join(order, ", ")
}

// requests counts what it took to put the profiles in force, Events among it.
func requests(ctx context.Context, c *cluster) (out result, err error) {
	writes, _, err := c.sent(ctx, c.enforced[0])
	if err != nil {
		return out, err
	}
	var here, ofBaseline []controlplane.Request
	for _, r := range writes {
		switch {
		case !r.Time.Before(c.enforced[1]):
		case r.Resource == baselines.Resource:
			ofBaseline = append(ofBaseline, r)
		default:
			here = append(here, r)
		}
	}
	out.figures = []measure.Figure{{
		Name: "requests", Unit: "a profile", Value: float64(len(here)) / float64(c.profiles),
		Note: fmt.Sprintf("%d objects, 1 finalizer, 1 status each; %d of the baseline", objectsEach, len(ofBaseline)),
	}}
	if want := (objectsEach + 2) * c.profiles; len(here) != want {
		out.figures[0].Note = fmt.Sprintf("%d and not %d: %s", len(here), want, kinds(here))
	}
	return out, nil
}

// steady counts what is sent while nothing happens, and while every namespace
// is looked at again.
func steady(ctx context.Context, c *cluster) (out result, err error) {
	// At this level each reconcile is in the log.
	p, err := c.startOperator(ctx, "steady", "--zap-log-level=5")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	count := func(name string, during func() error) error {
		began := time.Now()
		if err := during(); err != nil {
			return err
		}
		writes, reads, err := c.sent(ctx, began)
		all := slices.Concat(writes, reads)
		out.figures = append(out.figures, measure.Figure{Name: name, Unit: "requests", Value: float64(len(all)), Note: kinds(all)})
		return err
	}
	err = count("steady", func() error {
		select {
		case <-time.After(c.period):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return out, err
	}
	return out, count("resync", func() error { return c.resync(ctx, p) })
}

// reconciles is how often the operator has looked at a namespace, in a process
// with log level 5.
func reconciles(p *operator.Process) int {
	n := 0
	for line := range strings.SplitSeq(p.Log(), "\n") {
		// What it says after depends on whether a time comes at which something changes.
		if (strings.Contains(line, `"Reconcile successful"`) || strings.Contains(line, `"Reconcile done, requeueing`)) && strings.Contains(line, `"controller":"profile"`) {
			n++
		}
	}
	return n
}

// resync makes the operator look at every namespace again, by an edit of the
// mesh's configuration that changes nothing, and returns when it has.
func (c *cluster) resync(ctx context.Context, p *operator.Process) error {
	before := reconciles(p)
	var mesh corev1.ConfigMap
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: "istio-system", Name: "istio"}, &mesh); err != nil {
		return err
	}
	mesh.Data["mesh"] += "# reviewed\n"
	if err := c.client.Update(ctx, &mesh); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, false, func(context.Context) (bool, error) {
		return reconciles(p) >= before+c.profiles, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d namespaces were looked at again: %w", reconciles(p)-before, c.profiles, err)
	}
	return quiet(ctx, p)
}

// restart measures a start where all is in force.
func restart(ctx context.Context, c *cluster) (out result, err error) {
	var ours, floors, ourCPU, floorCPU []float64
	var floor []string
	var written []controlplane.Request
	for range c.runs {
		began := time.Now()
		seconds, cpu, err := c.timeStart(ctx, c.manager, "operator-restart", "--network-policy-enforced=true")
		if err != nil {
			return out, err
		}
		ours, ourCPU = append(ours, seconds), append(ourCPU, cpu)
		writes, _, err := c.sent(ctx, began)
		if err != nil {
			return out, err
		}
		written = append(written, writes...)
		if floor == nil {
			if floor, err = c.watched(ctx, began); err != nil {
				return out, err
			}
		}
		if seconds, cpu, err = c.timeStart(ctx, c.floor, "floor-sync", append([]string{"sync"}, floor...)...); err != nil {
			return out, err
		}
		floors, floorCPU = append(floors, seconds), append(floorCPU, cpu)
	}
	ready := measure.Ratio("restart", "ms", ours, floors)
	ready.Note = fmt.Sprintf("until /readyz, next to informers of the same %d kinds", len(floor))
	out.figures = []measure.Figure{
		ready,
		measure.Ratio("restart CPU", "ms", ourCPU, floorCPU),
		{Name: "restart writes", Unit: "requests", Value: float64(len(written)), Note: kinds(written)},
	}
	return out, nil
}

// timeStart starts a program until it is ready, lets it come to rest, and ends it.
func (c *cluster) timeStart(ctx context.Context, binary, name string, args ...string) (ready, cpu float64, err error) {
	p, took, err := c.startTimed(ctx, binary, name, args...)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if err := quiet(ctx, p); err != nil {
		return 0, 0, err
	}
	used, err := p.CPU()
	return milliseconds(took), milliseconds(used), err
}

// watched lists the kinds that the operator has watched since a time.
func (c *cluster) watched(ctx context.Context, since time.Time) ([]string, error) {
	all, err := c.Requests(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var out []string
	for _, r := range all {
		if r.User != operator.User || r.Time.Before(since) || (r.Verb != "watch" && r.Verb != "list") {
			continue
		}
		// /apis/GROUP/VERSION/… or /api/VERSION/…
		parts := strings.Split(strings.TrimPrefix(r.URI, "/"), "/")
		resource := parts[1] + "/" + r.Resource
		if parts[0] == "apis" {
			resource = parts[1] + "/" + parts[2] + "/" + r.Resource
		}
		if r.Namespace != "" {
			resource += "@" + r.Namespace
		}
		if !seen[resource] {
			seen[resource] = true
			out = append(out, resource)
		}
	}
	return out, nil
}

// recorded is the file of what the floor is to write.
func (c *cluster) recorded() string { return filepath.Join(c.dir, "recorded.json") }

func (c *cluster) save(text []byte) error { return os.WriteFile(c.recorded(), text, 0o600) }
