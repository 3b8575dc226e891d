package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"k8s.io/client-go/rest"

	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

var (
	baselines   = wire.Resource{Group: "meshsecurity.io", Version: "v1alpha1", Resource: "meshsecuritybaselines"}
	telemetries = wire.Resource{Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"}
)

// edit writes one object and the status of the profile in each namespace when a
// baseline changes.
func edit(ctx context.Context, config *rest.Config, ready *atomic.Bool, workers int, args []string) error {
	if len(args) != 1 {
		return errors.New("edit needs one file")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	w, err := newWatches(config)
	if err != nil {
		return err
	}
	statuses := map[string]wire.Object{}
	items, _, err := w.client.List(ctx, profiles, "")
	if err != nil {
		return err
	}
	for _, p := range items {
		statuses[p.Metadata.Namespace] = p
	}
	if items, _, err = w.client.List(ctx, telemetries, selector); err != nil {
		return err
	}
	_, version, err := w.client.List(ctx, baselines, "")
	if err != nil {
		return err
	}
	work := make(chan wire.Object, len(items))
	for range workers {
		go func() {
			for o := range work {
				if err := rewrite(ctx, w.client, o, spec, statuses[o.Metadata.Namespace]); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "floor:", o.Key(), err)
				}
			}
		}()
	}
	began := false
	if err := w.follow(ctx, baselines, "", version, func(e wire.Event) {
		if e.Type != "MODIFIED" || began {
			return
		}
		began = true
		for _, o := range items {
			work <- o
		}
	}); err != nil {
		return err
	}
	ready.Store(true)
	return w.wait(ctx)
}

// rewrite puts a spec in the place of an object's, and tells of it in a status.
func rewrite(ctx context.Context, c *wire.Client, o wire.Object, spec map[string]any, profile wire.Object) error {
	put := func(r wire.Resource, o wire.Object, change func(map[string]any), rest ...string) error {
		fields, err := o.Fields()
		if err != nil {
			return err
		}
		change(fields)
		body, err := o.Metadata.Marshal(fields)
		if err != nil {
			return err
		}
		_, err = c.Put(ctx, r, o.Key(), manager, body, rest...)
		return err
	}
	return errors.Join(
		put(telemetries, o, func(fields map[string]any) { fields["spec"] = spec }),
		put(profiles, profile, func(fields map[string]any) {
			if status, ok := fields["status"].(map[string]any); ok {
				status["appliedDigest"] = "sha256:" + o.Metadata.ResourceVersion
			}
		}, "status"))
}
