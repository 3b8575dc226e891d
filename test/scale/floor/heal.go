package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

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
	t := &teller{client: w.client, about: map[string]*subject{}}
	all, _, err := w.client.List(ctx, profiles, "")
	if err != nil {
		return err
	}
	for _, p := range all {
		fields, err := p.Fields()
		if err != nil {
			return err
		}
		t.about[p.Metadata.Namespace] = &subject{last: p, fields: fields}
	}
	for _, text := range kinds {
		r, err := wire.ParseResource(text)
		if err != nil {
			return err
		}
		if err := guard(ctx, w, r, t); err != nil {
			return err
		}
	}
	ready.Store(true)
	return w.wait(ctx)
}

// guard remembers all objects of a kind, and puts each that changes back.
func guard(ctx context.Context, w *watches, r wire.Resource, t *teller) error {
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
		// One watch alone calls this, one event after the other.
		body, err := e.Object.Metadata.Marshal(d.fields)
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			return
		}
		go func() {
			_, err := w.client.Put(ctx, r, e.Object.Key(), manager, body)
			if apierrors.IsConflict(err) {
				return // Somebody was faster: their change comes as an event.
			}
			if err = errors.Join(err, t.tell(ctx, e.Object)); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "floor:", err)
			}
		}()
	})
}

// teller writes a status and an Event for each change, as large as the
// operator's are: what the API server does for them delays other changes.
type teller struct {
	client *wire.Client
	about  map[string]*subject // by namespace, as it was at the start
}

// subject is the profile of a namespace.
type subject struct {
	mu     sync.Mutex
	last   wire.Object
	fields map[string]any
	// at is the time of the last change told, which differs from all earlier ones.
	at time.Time
}

// events is where Events go.
var events = wire.Resource{Group: "events.k8s.io", Version: "v1", Resource: "events"}

func (t *teller) tell(ctx context.Context, changed wire.Object) error {
	s := t.about[changed.Metadata.Namespace]
	if s == nil {
		return fmt.Errorf("no profile in namespace %s", changed.Metadata.Namespace)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		s.at = time.Now()
	}
	s.at = s.at.Add(time.Second)
	status, _ := s.fields["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
		s.fields["status"] = status
	}
	record := map[string]any{
		"resource": "Object/" + changed.Metadata.Name, "type": "Modified", "effect": "Weakens", "actor": "intruder", "resolution": "Corrected",
		"detectedAt": s.at.UTC().Format(time.RFC3339),
		"fields":     []any{map[string]any{"path": "spec", "desired": "as declared", "observed": "as found"}},
	}
	earlier, _ := status["drift"].([]any)
	status["drift"] = append([]any{record}, earlier[:min(len(earlier), mostRecords-1)]...)
	body, err := s.last.Metadata.Marshal(s.fields)
	if err != nil {
		return err
	}
	next, err := t.client.Put(ctx, profiles, s.last.Key(), manager, body, "status")
	if err != nil {
		return err
	}
	s.last = next
	body, err = json.Marshal(map[string]any{
		"apiVersion": "events.k8s.io/v1", "kind": "Event",
		"metadata":  map[string]any{"generateName": s.last.Metadata.Name + "-", "namespace": s.last.Metadata.Namespace},
		"eventTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		"type":      "Warning", "reason": "DriftCorrected", "action": "Compare", "note": "Object/" + changed.Metadata.Name + " was changed and is as declared again.",
		"reportingController": manager, "reportingInstance": "floor",
		"regarding": map[string]any{"apiVersion": "meshsecurity.io/v1alpha1", "kind": "MeshSecurityProfile", "namespace": s.last.Metadata.Namespace, "name": s.last.Metadata.Name, "uid": s.last.Metadata.UID},
	})
	if err != nil {
		return err
	}
	_, err = t.client.Post(ctx, events, s.last.Metadata.Namespace, manager, body)
	return err
}

// mostRecords is how many changes a status has at the most.
const mostRecords = 10
