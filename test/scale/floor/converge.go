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

// profiles is where what is declared comes from.
var profiles = wire.Resource{Group: "meshsecurity.io", Version: "v1alpha1", Resource: "meshsecurityprofiles"}

func converge(ctx context.Context, config *rest.Config, ready *atomic.Bool, workers int, args []string) error {
	if len(args) != 1 {
		return errors.New("converge needs one file")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var work map[string]wire.Namespace
	if err := json.Unmarshal(text, &work); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	w, err := newWatches(config)
	if err != nil {
		return err
	}
	_, version, err := w.client.List(ctx, profiles, "")
	if err != nil {
		return err
	}
	seen := make(chan wire.Object, len(work))
	for range workers {
		go func() {
			for p := range seen {
				if err := write(ctx, w.client, p, work[p.Metadata.Namespace]); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "floor:", p.Key(), err)
				}
			}
		}()
	}
	if err := w.follow(ctx, profiles, "", version, func(e wire.Event) {
		if e.Type == "ADDED" {
			seen <- e.Object
		}
	}); err != nil {
		return err
	}
	ready.Store(true)
	return w.wait(ctx)
}

// write sends what the operator sends for a profile: the finalizer, the
// objects, the status.
func write(ctx context.Context, c *wire.Client, p wire.Object, work wire.Namespace) error {
	hold, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": work.Finalizers, "resourceVersion": p.Metadata.ResourceVersion, "uid": p.Metadata.UID}})
	if err != nil {
		return err
	}
	if p, err = c.Patch(ctx, profiles, p.Key(), manager, hold); err != nil {
		return err
	}
	for _, o := range work.Objects {
		body, err := o.Owned(p.Metadata.UID)
		if err != nil {
			return err
		}
		if _, err := c.Post(ctx, o.Resource, p.Metadata.Namespace, manager, body); err != nil {
			return err
		}
	}
	fields, err := p.Fields()
	if err != nil {
		return err
	}
	fields["status"] = work.Status
	body, err := p.Metadata.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = c.Put(ctx, profiles, p.Key(), manager, body, "status")
	return err
}
