package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// target is an object that is tampered with.
type target struct {
	tampering *tampering
	types.NamespacedName
}

// tampering is what an intruder does to objects of a kind.
type tampering struct {
	resource wire.Resource
	name     string
	patch    string
}

var tamperings = []tampering{
	{wire.Resource{Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"}, "msp-mtls", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`},
	{wire.Resource{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"}, "msp-default-deny", `{"spec":{"rules":[{}]}}`},
	{wire.Resource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, "msp-egress", `{"spec":{"egress":[{}]}}`},
}

// observer notes how long changes last, as one watch sees it: from the event
// that shows an object changed to the one that shows it as it was.
type observer struct {
	targets []target
	desired map[target][]byte // specs

	mu      sync.Mutex
	changed map[target]time.Time
	// waiting is closed when the object is as it was.
	waiting map[target]chan struct{}
	heals   []undoing
}

// undoing is one change that was undone.
type undoing struct {
	changed time.Time
	lasted  time.Duration
}

// observe watches the targets until the context ends, and ends it when it can't.
func observe(ctx context.Context, end context.CancelCauseFunc, c *cluster) (*observer, error) {
	o := &observer{desired: map[target][]byte{}, changed: map[target]time.Time{}, waiting: map[target]chan struct{}{}}
	for i := range tamperings {
		t := &tamperings[i]
		items, version, err := c.wire.List(ctx, t.resource, "")
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if item.Metadata.Name == t.name {
				at := target{t, item.Key()}
				o.targets, o.desired[at] = append(o.targets, at), item.Spec
			}
		}
		ended, err := c.wire.Watch(ctx, t.resource, "", version, func(e wire.Event) { o.see(t, e, time.Now()) })
		if err != nil {
			return nil, err
		}
		go func() { end(fmt.Errorf("observe %s: %w", t.resource.Resource, <-ended)) }()
	}
	if want := c.profiles * len(tamperings); len(o.targets) != want {
		return nil, fmt.Errorf("%d objects to tamper with, and not %d", len(o.targets), want)
	}
	return o, nil
}

func (o *observer) see(t *tampering, e wire.Event, now time.Time) {
	at := target{t, e.Object.Key()}
	want, known := o.desired[at]
	if !known {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	since, changed := o.changed[at]
	switch asDesired := e.Type == "MODIFIED" && bytes.Equal(want, e.Object.Spec); {
	case !asDesired && !changed:
		o.changed[at] = now
	case asDesired && changed:
		delete(o.changed, at)
		o.heals = append(o.heals, undoing{since, now.Sub(since)})
		if w := o.waiting[at]; w != nil {
			delete(o.waiting, at)
			close(w)
		}
	}
}

// expect returns a channel that is closed when the target was changed and is as
// it was; nil where that is awaited already.
func (o *observer) expect(at target) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting[at] != nil {
		return nil
	}
	w := make(chan struct{})
	o.waiting[at] = w
	return w
}

// take returns how long the changes lasted that began since a time, and how
// many there were in all, and forgets them.
func (o *observer) take(since time.Time) (lasted []time.Duration, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range o.heals {
		if !h.changed.Before(since) {
			lasted = append(lasted, h.lasted)
		}
	}
	all = len(o.heals)
	o.heals = nil
	return lasted, all
}
