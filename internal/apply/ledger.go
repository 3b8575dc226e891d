package apply

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

// Patience is how long a write is waited for in the cache. A watch may pass
// over the very version that we wrote, when an object is deleted at once; then
// one write that is tried again needlessly is answered by a conflict or changes
// nothing, while to wait for ever would leave the namespace unguarded.
const Patience = 5 * time.Second

// Key identifies an object of the cluster.
type Key struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// Written is a write that the API server confirmed.
type Written struct {
	Key             Key
	Verb            plan.Verb
	UID             types.UID
	ResourceVersion string
	// At is when the answer came.
	At time.Time
	// AsSent is true where the API server has what was sent: admission may have
	// changed it.
	AsSent bool
}

// WrittenObject is the write of an object that was there before, such as its
// status, as the API server returned it.
func WrittenObject(o mesh.Object) Written { return written(plan.Replace, o) }

func written(verb plan.Verb, o mesh.Object) Written {
	return Written{Key: keyOf(o), Verb: verb, UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(), At: time.Now()}
}

// keyOf goes by the Go type where it can: an object from a cache has no TypeMeta.
func keyOf(o mesh.Object) Key {
	key := Key{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
	if k, ok := mesh.KindOf(o); ok {
		key.GroupVersionKind = k.GVK
		return key
	}
	switch o.(type) {
	case *v1alpha1.MeshSecurityProfile:
		key.GroupVersionKind = v1alpha1.GroupVersion.WithKind(v1alpha1.KindProfile)
	case *v1alpha1.MeshSecurityBaseline:
		key.GroupVersionKind = v1alpha1.GroupVersion.WithKind(v1alpha1.KindBaseline)
	case *v1alpha1.MeshSecurityException:
		key.GroupVersionKind = v1alpha1.GroupVersion.WithKind(v1alpha1.KindException)
	default:
		key.GroupVersionKind = o.GetObjectKind().GroupVersionKind()
	}
	return key
}

// Ledger remembers what was written until the cache shows it, so that a
// reconcile on a cache that is behind neither writes twice nor takes our own
// change for somebody else's. It is safe for concurrent use.
//
//	write confirmed ─▶ entry ─┬─ the cache shows this version or a later one ─▶ forgotten
//	                          └─ 5 s ────────────────────────────────────────▶ forgotten
type Ledger struct {
	mu      sync.Mutex
	entries map[string]map[Key]Written // by the namespace that they were written for
	count   int
	// awaited are the namespaces where the cache was behind when last asked.
	awaited map[string]bool
	// sweepAt is the count at which expired entries are looked for, so that
	// namespaces which are never asked about again do not add up.
	sweepAt int
}

// minSweep is the number of entries below which nothing is swept.
const minSweep = 1024

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{entries: map[string]map[Key]Written{}, awaited: map[string]bool{}, sweepAt: minSweep}
}

// Record remembers writes for a namespace, wherever they were. A later one of the
// same object takes the place of an earlier one.
func (l *Ledger) Record(namespace string, writes ...Written) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range writes {
		ns := l.entries[namespace]
		if ns == nil {
			ns = map[Key]Written{}
			l.entries[namespace] = ns
		}
		if _, there := ns[w.Key]; !there {
			l.count++
		}
		ns[w.Key] = w
		if l.count >= l.sweepAt {
			l.sweep(w.At)
			l.sweepAt = max(minSweep, 2*l.count)
		}
	}
}

// Stale says whether the cache is behind what was written to a namespace. live
// is what the cache holds for it of every kind that was written. A version later
// than ours is caught up too: somebody was faster, and that is to be looked at.
func (l *Ledger) Stale(namespace string, live []mesh.Object, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ns := l.entries[namespace]
	if len(ns) == 0 {
		delete(l.awaited, namespace)
		return false
	}
	seen := make(map[Key]mesh.Object, len(ns))
	for _, o := range live {
		if key := keyOf(o); ns[key].Verb != "" {
			seen[key] = o
		}
	}
	for key, w := range ns {
		if now.Sub(w.At) >= Patience || (w.Verb != plan.Delete && !behind(w, seen[key])) {
			l.forget(namespace, key)
		}
	}
	// What was deleted may be absent because it was created only a moment
	// before: its creation shows before later writes do.
	for key, w := range l.entries[namespace] {
		if behind(w, seen[key]) {
			l.awaited[namespace] = true
			return true
		}
	}
	for key := range l.entries[namespace] {
		l.forget(namespace, key)
	}
	delete(l.awaited, namespace)
	return false
}

// Awaited says whether the cache was behind when Stale was last asked about a
// namespace: what comes through it now may be what was waited for.
func (l *Ledger) Awaited(namespace string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.awaited[namespace]
}

// behind says whether the cache, which has o, nil for nothing, is older than a write.
func behind(w Written, o mesh.Object) bool {
	switch {
	case w.Verb == plan.Delete:
		// While a finalizer holds it, it is there and going: that is what was asked for.
		return o != nil && o.GetUID() == w.UID && o.GetDeletionTimestamp() == nil
	case o == nil:
		// What was replaced was in the cache: if it no longer is, it was deleted later.
		return w.Verb == plan.Create
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), w.ResourceVersion)
	return err == nil && order < 0
}

// Forget drops what is remembered of a namespace that is gone.
func (l *Ledger) Forget(namespace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count -= len(l.entries[namespace])
	delete(l.entries, namespace)
	delete(l.awaited, namespace)
}

func (l *Ledger) sweep(now time.Time) {
	for namespace, ns := range l.entries {
		for key, w := range ns {
			if now.Sub(w.At) >= Patience {
				l.forget(namespace, key)
			}
		}
	}
}

func (l *Ledger) forget(namespace string, key Key) {
	delete(l.entries[namespace], key)
	l.count--
	if len(l.entries[namespace]) == 0 {
		delete(l.entries, namespace)
	}
}
