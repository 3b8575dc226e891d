package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// queue is the controller's queue of namespaces.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Priorities of the queue. controller-runtime's own handlers give every
// mapped update the same one, so that a fan-out would delay the correction of drift.
const (
	// priorityDrift: somebody may have changed a managed object.
	priorityDrift = 100
	// priorityEdit: a user changed a profile.
	priorityEdit = 50
	// priorityFacts: what a profile depends on changed.
	priorityFacts = 0
	// priorityFanOut: something changed that concerns many namespaces, or the
	// operator starts.
	priorityFanOut = -100
)

// add puts namespaces into the queue.
func add(q queue, priority int, namespaces ...string) {
	requests := make([]reconcile.Request, 0, len(namespaces))
	for _, ns := range namespaces {
		if ns != "" {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}})
		}
	}
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, requests...)
		return
	}
	for _, r := range requests {
		q.Add(r)
	}
}

// enqueue maps an object's events to the namespaces that they concern.
type enqueue struct {
	priority int
	// namespaces that an event about the object concerns.
	namespaces func(client.Object) []string
	// changed says whether an update matters; nil: every one does.
	changed func(before, after client.Object) bool
	// moves is true where an update can change whom the object concerns: those
	// that it did are told too, and many wait behind few.
	moves bool
	// wide are namespaces besides, on which the object acts from elsewhere;
	// nil: none. An update concerns them only where acts says that what the
	// object does has changed, both those of before and those of after.
	wide func(client.Object) []string
	acts func(before, after client.Object) bool
	// echoes takes care of events of the operator's own writes; nil: there are none.
	echoes *echoes
}

// own queues the namespace of an object that was made or changed, unless it was
// the operator that did.
func (h enqueue) own(q queue, priority int, namespaces []string, o client.Object) {
	put := func() { h.put(q, priority, namespaces) }
	if h.echoes == nil || len(namespaces) != 1 || !h.echoes.came(namespaces[0], o, put) {
		put()
	}
}

// many namespaces are a fan-out.
const many = 10

func (h enqueue) put(q queue, priority int, namespaces []string) {
	if h.moves && len(namespaces) > many {
		priority = priorityFanOut
	}
	add(q, priority, namespaces...)
}

// fanOut queues the namespaces on which an object acts from elsewhere, behind everything else.
func (h enqueue) fanOut(q queue, objects ...client.Object) {
	if h.wide == nil {
		return
	}
	for _, o := range objects {
		add(q, priorityFanOut, h.wide(o)...)
	}
}

var _ handler.EventHandler = enqueue{}

// Create implements handler.EventHandler.
func (h enqueue) Create(_ context.Context, e event.CreateEvent, q queue) {
	priority := h.priority
	if e.IsInInitialList {
		priority = priorityFanOut
	}
	h.own(q, priority, h.namespaces(e.Object), e.Object)
	if !e.IsInInitialList {
		// At the start every profile is reconciled anyway.
		h.fanOut(q, e.Object)
	}
}

// Update implements handler.EventHandler.
func (h enqueue) Update(_ context.Context, e event.UpdateEvent, q queue) {
	h.update(e.ObjectOld, e.ObjectNew, q)
}

// Delete implements handler.EventHandler.
func (h enqueue) Delete(_ context.Context, e event.DeleteEvent, q queue) {
	h.gone(e.Object, q)
}

func (h enqueue) gone(o client.Object, q queue) {
	h.put(q, h.priority, h.namespaces(o))
	h.fanOut(q, o)
}

// Generic implements handler.EventHandler.
func (h enqueue) Generic(_ context.Context, e event.GenericEvent, q queue) {
	h.put(q, h.priority, h.namespaces(e.Object))
}

func (h enqueue) update(before, after client.Object, q queue) {
	if before.GetResourceVersion() == after.GetResourceVersion() {
		// A resync: nothing happened.
		return
	}
	if h.changed == nil || h.changed(before, after) {
		concerned := h.namespaces(after)
		if h.moves {
			concerned = append(h.namespaces(before), concerned...)
		}
		h.own(q, h.priority, concerned, after)
	}
	if h.acts == nil || h.acts(before, after) {
		h.fanOut(q, before, after)
	}
}

// informerEvents passes on the events of an informer that is added and removed at
// run time, as those of a watch come to a handler.
func informerEvents(h handler.EventHandler, q queue) toolscache.ResourceEventHandler {
	ctx := context.Background()
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, initial bool) {
			if obj, ok := o.(client.Object); ok {
				h.Create(ctx, event.CreateEvent{Object: obj, IsInInitialList: initial}, q)
			}
		},
		UpdateFunc: func(before, after any) {
			b, ok1 := before.(client.Object)
			a, ok2 := after.(client.Object)
			if ok1 && ok2 {
				h.Update(ctx, event.UpdateEvent{ObjectOld: b, ObjectNew: a}, q)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if obj, ok := o.(client.Object); ok {
				h.Delete(ctx, event.DeleteEvent{Object: obj}, q)
			}
		},
	}
}
