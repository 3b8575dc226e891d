package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// selector chooses the operator's objects.
const selector = "app.kubernetes.io/managed-by=" + manager

// desired is an object as it was at the start.
type desired struct {
	spec   []byte
	fields map[string]any
}

func heal(ctx context.Context, config *rest.Config, ready *atomic.Bool, kinds []string) error {
	w, err := newWatches(config)
	if err != nil {
		return err
	}
	for _, text := range kinds {
		r, err := wire.ParseResource(text)
		if err != nil {
			return err
		}
		if err := guard(ctx, w, r); err != nil {
			return err
		}
	}
	ready.Store(true)
	return w.wait(ctx)
}

// guard remembers all objects of a kind, and puts each that changes back.
func guard(ctx context.Context, w *watches, r wire.Resource) error {
	items, version, err := w.client.List(ctx, r, selector)
	if err != nil {
		return err
	}
	all := map[types.NamespacedName]desired{}
	for i := range items {
		d := desired{spec: items[i].Spec}
		if d.fields, err = items[i].Fields(); err != nil {
			return err
		}
		all[items[i].Key()] = d
	}
	return w.follow(ctx, r, selector, version, func(e wire.Event) {
		d, known := all[e.Object.Key()]
		if !known || e.Type != "MODIFIED" || bytes.Equal(d.spec, e.Object.Spec) {
			return
		}
		body, err := d.at(e.Object.Metadata)
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			return
		}
		go func() {
			_, err := w.client.Put(ctx, r, e.Object.Key(), manager, body)
			// Somebody was faster: their change comes as an event.
			if err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "floor:", err)
			}
		}()
	})
}

// at is the object to send in the place of the one that was seen. It is called
// by one watch alone, one event after the other.
func (d desired) at(seen wire.Metadata) ([]byte, error) {
	if meta, ok := d.fields["metadata"].(map[string]any); ok {
		meta["uid"], meta["resourceVersion"] = seen.UID, seen.ResourceVersion
	}
	return json.Marshal(d.fields)
}
