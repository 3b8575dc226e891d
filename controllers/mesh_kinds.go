package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// MeshKinds keeps a watch on every kind of the mesh that the API server serves:
// it adds one when a CustomResourceDefinition appears and removes it when that
// goes, without a restart. To the controller it is a source of events.
//
//	CRD established ─▶ informer started ─▶ synced ─▶ Served = true, every profile reconciled
//	CRD going       ─▶ Served = false, informer removed, every profile reconciled
type MeshKinds struct {
	cache cache.Cache
	// readable is nil for a kind that the operator may list.
	readable func(context.Context, client.Object) error
	log      logr.Logger
	// profiled lists the namespaces that have a profile.
	profiled func(context.Context) []string

	mu    sync.Mutex
	kinds map[string]*watchedKind
	crds  toolscache.ResourceEventHandlerRegistration
	// control are the kinds that tell of the mesh's control plane. They may be
	// forbidden, since the right to read them is given in the mesh's own
	// namespace, which may not be there yet: the operator works without them.
	control []*watchedKind
	// guards tell which admission policies are installed. They may be forbidden too.
	guards *watchedKind
	listed atomic.Bool
}

// retryWatch is how long to wait before a kind is tried again whose watch could not be started.
const retryWatch = time.Second

type watchedKind struct {
	gvk    schema.GroupVersionKind
	object func() client.Object
	enqueue
	// stop ends the wait for the informer's first list; nil while there is no informer.
	stop   context.CancelFunc
	synced bool
	// indexed is true once the informer has its indexes.
	indexed bool
	// done is closed when the wait for the first list is over.
	done chan struct{}
}

// NewMeshKinds returns a source that watches the mesh's kinds.
func NewMeshKinds(c cache.Cache, readable func(context.Context, client.Object) error, log logr.Logger, profiled func(context.Context) []string, handle func(schema.GroupVersionKind) enqueue, guards enqueue, control map[client.Object]enqueue) (*MeshKinds, error) {
	m := &MeshKinds{cache: c, readable: readable, log: log, profiled: profiled, kinds: map[string]*watchedKind{}}
	m.guards = &watchedKind{enqueue: guards, object: func() client.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} }}
	for o, e := range control {
		m.control = append(m.control, &watchedKind{enqueue: e, object: func() client.Object { return o }})
	}
	for _, k := range slices.Concat(mesh.ManagedKinds(), mesh.ReadKinds()) {
		if !k.Custom {
			continue
		}
		if _, ok := k.New().(client.Object); !ok {
			return nil, fmt.Errorf("%s: not a client object", k.GVK)
		}
		m.kinds[k.CRD()] = &watchedKind{gvk: k.GVK, enqueue: handle(k.GVK), object: func() client.Object {
			o, _ := k.New().(client.Object)
			return o
		}}
	}
	for crd, gvk := range map[string]schema.GroupVersionKind{
		"envoyfilters." + mesh.EnvoyFilter.Group: mesh.EnvoyFilter, "wasmplugins." + mesh.WasmPlugin.Group: mesh.WasmPlugin,
	} {
		m.kinds[crd] = &watchedKind{gvk: gvk, enqueue: handle(gvk), object: func() client.Object { return snapshot.Metadata(gvk) }}
	}
	return m, nil
}

// Served says whether the API server serves the kind and the cache holds it.
// Kinds that no CustomResourceDefinition serves always are.
func (m *MeshKinds) Served(gvk schema.GroupVersionKind) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kinds {
		if k.gvk == gvk {
			return k.synced
		}
	}
	return true
}

// String names the source in logs.
func (m *MeshKinds) String() string { return "kinds of the mesh" }

// Start implements source.Source.
func (m *MeshKinds) Start(ctx context.Context, q queue) error {
	informer, err := m.cache.GetInformer(ctx, &apiextensionsv1.CustomResourceDefinition{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch CustomResourceDefinitions: %w", err)
	}
	m.crds, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { m.observe(ctx, q, o, false) },
		UpdateFunc: func(_, o any) { m.observe(ctx, q, o, false) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			m.observe(ctx, q, o, true)
		},
	})
	if err != nil {
		return err
	}
	for _, k := range m.optional() {
		m.tryOptional(ctx, q, k)
	}
	return nil
}

// optional are the kinds that may be forbidden.
func (m *MeshKinds) optional() []*watchedKind { return append([]*watchedKind{m.guards}, m.control...) }

// retryOptional is how long to wait before a kind is tried again that was
// forbidden, controlPatience how long the start waits for the others.
const (
	retryOptional   = 15 * time.Second
	controlPatience = 10 * time.Second
)

// tryOptional watches a kind once it may be read. The informer of a forbidden
// one would never be filled, and the start of everything waits for all that are
// in the cache.
func (m *MeshKinds) tryOptional(ctx context.Context, q queue, k *watchedKind) {
	err := m.readable(ctx, k.object())
	if err == nil {
		m.mu.Lock()
		err = m.add(ctx, q, k)
		m.mu.Unlock()
	}
	if err != nil && ctx.Err() == nil {
		m.log.Error(err, "Can't be read, and counts as not observed; grant config/rbac, and config/istio in the mesh's namespace", "kind", fmt.Sprintf("%T", k.object()))
		time.AfterFunc(retryOptional, func() { m.tryOptional(ctx, q, k) })
	}
}

// WaitForSync implements source.SyncingSource: no namespace is reconciled
// before every kind that is served has been listed, since an object that the
// cache does not hold yet would look deleted.
func (m *MeshKinds) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), m.crds.HasSynced) {
		return errors.New("the CustomResourceDefinitions could not be listed")
	}
	m.mu.Lock()
	var waits []chan struct{}
	for _, k := range m.kinds {
		if k.stop != nil {
			waits = append(waits, k.done)
		}
	}
	m.mu.Unlock()
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return errors.New("a kind of the mesh could not be listed; see the log, and the operator's RBAC")
		}
	}
	defer m.listed.Store(true)
	patience := time.After(controlPatience)
	for _, k := range m.optional() {
		m.mu.Lock()
		done := k.done
		m.mu.Unlock()
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-patience:
			m.log.Info("The mesh's control plane, or what guards at admission, is slow to list, and counts as not observed until then")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Ready is nil once everything that is watched has been listed.
func (m *MeshKinds) Ready() error {
	if !m.listed.Load() {
		return errors.New("the caches are not filled yet")
	}
	return nil
}

// ControlPlaneRead says whether what tells of the control plane is in the cache.
func (m *MeshKinds) ControlPlaneRead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.control {
		if !k.synced {
			return false
		}
	}
	return true
}

// GuardsRead says whether the bindings of admission policies are in the cache.
func (m *MeshKinds) GuardsRead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.guards.synced
}

// observe reacts to a CustomResourceDefinition.
func (m *MeshKinds) observe(ctx context.Context, q queue, o any, gone bool) {
	crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.kinds[crd.Name]
	if !ok {
		return
	}
	switch serves := !gone && servesVersion(crd, k.gvk.Version); {
	case serves && k.stop == nil:
		if err := m.add(ctx, q, k); err != nil && ctx.Err() == nil {
			// Discovery can lag behind the CustomResourceDefinition's own condition.
			m.log.Error(err, "Can't watch a kind of the mesh yet", "kind", k.gvk.Kind)
			time.AfterFunc(retryWatch, func() { m.observe(ctx, q, crd, false) })
		}
	case !serves && k.stop != nil:
		m.remove(ctx, q, k)
	}
}

func servesVersion(crd *apiextensionsv1.CustomResourceDefinition, version string) bool {
	if crd.DeletionTimestamp != nil {
		return false
	}
	established := false
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			established = c.Status == apiextensionsv1.ConditionTrue
		}
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			return established && v.Served
		}
	}
	return false
}

func (m *MeshKinds) add(ctx context.Context, q queue, k *watchedKind) error {
	informer, err := m.cache.GetInformer(ctx, k.object(), cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	if err := m.index(ctx, k); err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(k.informerHandler(q))
	if err != nil {
		return err
	}
	wait, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	k.stop, k.done = stop, done
	go func() {
		defer close(done)
		if !toolscache.WaitForCacheSync(wait.Done(), registration.HasSynced) {
			return
		}
		m.mu.Lock()
		current := k.done == done
		k.synced = k.synced || current
		m.mu.Unlock()
		if current {
			if k.gvk.Kind != "" {
				m.log.Info("Kind of the mesh is served", "kind", k.gvk.Kind)
			}
			add(q, priorityFanOut, m.profiled(ctx)...)
		}
	}()
	return nil
}

// index gives a kind's informer the indexes that the reader looks things up by,
// once: an informer takes none twice.
func (m *MeshKinds) index(ctx context.Context, k *watchedKind) error {
	if k.indexed {
		return nil
	}
	for _, i := range snapshot.Indexes() {
		if i.Kind != k.gvk {
			continue
		}
		if err := m.cache.IndexField(ctx, k.object(), i.Field, i.Keys); err != nil {
			return fmt.Errorf("index %s: %w", k.gvk.Kind, err)
		}
	}
	k.indexed = true
	return nil
}

func (m *MeshKinds) remove(ctx context.Context, q queue, k *watchedKind) {
	k.stop()
	k.stop, k.done, k.synced, k.indexed = nil, nil, false, false
	if err := m.cache.RemoveInformer(ctx, k.object()); err != nil {
		m.log.Error(err, "Can't stop watching a kind of the mesh", "kind", k.gvk.Kind)
	}
	m.log.Info("Kind of the mesh is no longer served", "kind", k.gvk.Kind)
	// profiled reads the cache: not under the lock, and not in an informer's callback.
	go func() { add(q, priorityFanOut, m.profiled(ctx)...) }()
}
