package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/apply"
)

// echoes keeps the events of the operator's own writes from waking it: to look
// at a namespace again costs as much as the write did.
//
//	event while the namespace is worked on ─▶ kept until that ends ─┬─ it is what was written ─▶ dropped
//	event after that ───────────────────────────────────────────────┴─ anything else ─────────▶ queued
//
// An event is dropped only where the object in it is, by UID and version, one
// that the API server confirmed to be as it was sent. It is safe for concurrent use.
type echoes struct {
	mu sync.Mutex
	of map[string]*echo // by namespace
}

type echo struct {
	// busy is true while the namespace is worked on.
	busy bool
	// wrote are the versions that are expected back.
	wrote map[version]bool
	// kept are the events that came meanwhile.
	kept []keptEvent
}

// version of an object.
type version struct {
	uid             types.UID
	resourceVersion string
}

type keptEvent struct {
	version
	queue func()
}

func newEchoes() *echoes { return &echoes{of: map[string]*echo{}} }

// begin says that a namespace is worked on from now on.
func (e *echoes) begin(namespace string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.of[namespace] = &echo{busy: true}
}

// wrote says what was written to it.
func (e *echoes) wrote(namespace string, writes []apply.Written) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.of[namespace]
	if at == nil {
		return
	}
	for _, w := range writes {
		if w.AsSent && w.Key.Namespace == namespace {
			if at.wrote == nil {
				at.wrote = map[version]bool{}
			}
			at.wrote[version{w.UID, w.ResourceVersion}] = true
		}
	}
}

// end queues the namespace for every event that came meanwhile and is no echo.
func (e *echoes) end(namespace string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.of[namespace]
	if at == nil {
		return
	}
	at.busy = false
	for _, k := range at.kept {
		if !at.expects(k.version) {
			k.queue()
		}
	}
	at.kept = nil
	if len(at.wrote) == 0 {
		delete(e.of, namespace)
	}
}

// came says whether an event about an object that belongs to a namespace is
// taken care of. Otherwise it has to be queued; queue does so later.
func (e *echoes) came(namespace string, o client.Object, queue func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, v := e.of[namespace], version{o.GetUID(), o.GetResourceVersion()}
	switch {
	case at == nil:
		return false
	case at.busy:
		at.kept = append(at.kept, keptEvent{v, queue})
		return true
	case at.expects(v):
		if len(at.wrote) == 0 {
			delete(e.of, namespace)
		}
		return true
	}
	return false
}

// expects says whether a version is one that was written, which comes but once.
func (a *echo) expects(v version) bool {
	expected := a.wrote[v]
	delete(a.wrote, v)
	return expected
}
