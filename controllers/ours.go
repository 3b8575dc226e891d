package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// ours remembers, by UID, which objects were the operator's when last seen.
// After a restart the objects' own marks have to do.
type ours struct {
	mu   sync.Mutex
	uids map[string]map[types.UID]bool // by namespace
}

// of a namespace; the map must not be changed.
func (o *ours) of(namespace string) map[types.UID]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.uids[namespace]
}

// remember the objects that are there under a desired name and that nobody else claims.
func (o *ours) remember(namespace string, seen facts.Observed, d decide.Decision) {
	if !d.Compiled {
		return
	}
	mine := map[drift.Key]bool{}
	for _, want := range d.Desired {
		if key, ok := drift.KeyOf(want); ok {
			mine[key] = true
		}
	}
	for _, c := range d.Changes {
		if c.Type == drift.Conflict {
			delete(mine, c.Key)
		}
	}
	uids := make(map[types.UID]bool, len(mine))
	for _, live := range seen.Live {
		if key, ok := drift.KeyOf(live); ok && mine[key] {
			uids[live.GetUID()] = true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.uids == nil {
		o.uids = map[string]map[types.UID]bool{}
	}
	o.uids[namespace] = uids
}

func (o *ours) forget(namespace string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.uids, namespace)
}
