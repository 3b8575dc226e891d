package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// MeshKinds keeps a watch on every kind of the mesh, and on every kind that tells
// who depends on a namespace, that the API server serves: it adds one when a
// CustomResourceDefinition appears and removes it when that goes, without a
// restart. To the controller it is a source of events.
//
//	CRD established ─▶ informer started ─▶ synced ─▶ Served = true, every profile reconciled
//	CRD going       ─▶ Served = false, informer removed, every profile reconciled
type MeshKinds struct {
	cache cache.Cache
	// optional holds the kinds that may be forbidden. It is a cache of their own:
	// controller-runtime's sources wait for everything that is in theirs.
	optional cache.Cache
	log      logr.Logger
	// profiled lists the namespaces that have a profile.
	profiled func(context.Context) []string

	mu sync.Mutex
	// kinds by the name of their CustomResourceDefinition. VirtualService is read
	// for two purposes, in a cache each.
	kinds map[string][]*watchedKind
	crds  toolscache.ResourceEventHandlerRegistration
	// conversions are the events of CustomResourceDefinitions themselves.
	conversions enqueue
	// always are kinds that no CustomResourceDefinition serves.
	always []*watchedKind
	// control are the kinds that tell of the mesh's control plane. They may be
	// forbidden, since the right to read them is given in the mesh's own
	// namespace, which may not be there yet: the operator works without them.
	control []*watchedKind
	// guards tell which admission policies are installed. They may be forbidden too.
	guards *watchedKind
	// cluster is told of the events of all of them as well.
	cluster *clusterWatch
	listed  atomic.Bool
}

// retryWatch is how long to wait before a kind is tried again whose watch could not be started.
const retryWatch = time.Second

type watchedKind struct {
	gvk    schema.GroupVersionKind
	object func() client.Object
	enqueue
	// versions that can be read, the preferred one first; gvk has the one that is.
	versions []string
	// concerns is an index of the kind; nil for none.
	concerns func(client.Object) []string
	// more are indexes by which the audit of the cluster reads the kind.
	more map[string]client.IndexerFunc
	// optional is true for a kind that may be forbidden: the operator works without it.
	optional bool
	// own is the cache that holds the kind, where it is one of its own.
	own cache.Cache
	// stop ends the wait for the informer's first list; nil while there is no informer.
	stop   context.CancelFunc
	synced bool
	// indexed is true once the informer has its indexes.
	indexed bool
	// done is closed when the wait for the first list is over.
	done chan struct{}
}

// served are the kinds that CustomResourceDefinitions serve, or may serve.
func (m *MeshKinds) served() []*watchedKind {
	return slices.Concat(slices.Collect(maps.Values(m.kinds))...)
}

// NewMeshKinds returns a source that watches the mesh's kinds.
func NewMeshKinds(c, optional cache.Cache, log logr.Logger, profiled func(context.Context) []string, handle func(schema.GroupVersionKind) enqueue, guards enqueue, control map[client.Object]enqueue, depends func(snapshot.DependantKind) enqueue) (*MeshKinds, error) {
	m := &MeshKinds{cache: c, optional: optional, log: log, profiled: profiled, cluster: &clusterWatch{}, kinds: map[string][]*watchedKind{}}
	m.guards = &watchedKind{enqueue: guards, optional: true, object: func() client.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} }}
	for o, e := range control {
		m.control = append(m.control, &watchedKind{enqueue: e, optional: true, object: func() client.Object { return o }})
	}
	for _, k := range mesh.ManagedKinds() {
		if !k.Custom {
			continue
		}
		if _, ok := k.New().(client.Object); !ok {
			return nil, fmt.Errorf("%s: not a client object", k.GVK)
		}
		m.kinds[k.CRD()] = []*watchedKind{{gvk: k.GVK, versions: []string{k.GVK.Version}, enqueue: handle(k.GVK), object: func() client.Object {
			o, _ := k.New().(client.Object)
			return o
		}}}
	}
	for crd, gvk := range map[string]schema.GroupVersionKind{
		"envoyfilters." + mesh.EnvoyFilter.Group: mesh.EnvoyFilter, "wasmplugins." + mesh.WasmPlugin.Group: mesh.WasmPlugin,
	} {
		m.kinds[crd] = []*watchedKind{{gvk: gvk, versions: []string{gvk.Version}, enqueue: handle(gvk), object: func() client.Object { return snapshot.Metadata(gvk) }}}
	}
	for _, k := range snapshot.DependantKinds() {
		w := &watchedKind{gvk: k.GroupKind.WithVersion(k.Versions[0]), versions: k.Versions, enqueue: depends(k), concerns: k.Concerns, more: snapshot.ClusterIndexes(k.GroupKind), optional: true}
		w.object = func() client.Object { return k.New(w.gvk.Version) }
		if k.CRD == "" {
			m.always = append(m.always, w)
		} else {
			m.kinds[k.CRD] = append(m.kinds[k.CRD], w)
		}
	}
	m.conversions = enqueue{priority: priorityFacts, namespaces: snapshot.CRDConcerns, changed: dependantChanged, moves: true}
	return m, nil
}

// Dependant says whether the API server serves a kind, in which version, and
// whether the cache holds it; Unknown: it is served and can't be read.
func (m *MeshKinds) Dependant(kind schema.GroupKind) (version string, read facts.Tristate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range append(m.served(), m.always...) {
		if !k.optional || k.gvk.GroupKind() != kind {
			continue
		}
		switch {
		case k.synced:
			return k.gvk.Version, facts.Yes
		case k.stop != nil:
			return k.gvk.Version, facts.Unknown
		}
	}
	return "", facts.No
}

// Served says whether the API server serves the kind and the cache holds it.
// Kinds that no CustomResourceDefinition serves always are.
func (m *MeshKinds) Served(gvk schema.GroupVersionKind) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.served() {
		if k.gvk == gvk && !k.optional {
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
	if _, err := informer.AddEventHandler(informerEvents(m.conversions, q)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range slices.Concat(m.control, m.always, []*watchedKind{m.guards}) {
		if err := m.add(ctx, q, k); err != nil {
			return fmt.Errorf("watch %T: %w", k.object(), err)
		}
	}
	return nil
}

// controlPatience is how long the start waits for what may be forbidden.
const controlPatience = 10 * time.Second

// WaitForSync implements source.SyncingSource: no namespace is reconciled
// before every kind that is served has been listed, since an object that the
// cache does not hold yet would look deleted.
func (m *MeshKinds) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), m.crds.HasSynced) {
		return errors.New("the CustomResourceDefinitions could not be listed")
	}
	m.mu.Lock()
	var waits []chan struct{}
	optional := slices.Concat(m.control, m.always, []*watchedKind{m.guards})
	for _, k := range m.served() {
		switch {
		case k.stop == nil:
		case k.optional:
			optional = append(optional, k)
		default:
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
	for _, k := range optional {
		select {
		case <-k.done:
		case <-patience:
			m.log.Info("Some kinds can't be read: what they would tell counts as not observed; grant config/rbac, and config/istio in the mesh's namespace", "unread", m.unread(optional))
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (m *MeshKinds) unread(kinds []*watchedKind) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, k := range kinds {
		if !k.synced {
			out = append(out, fmt.Sprintf("%T %s", k.object(), k.gvk.Kind))
		}
	}
	slices.Sort(out)
	return out
}

// Ready is nil once everything that is watched has been listed.
func (m *MeshKinds) Ready() error {
	if !m.listed.Load() {
		return errors.New("the caches are not filled yet")
	}
	return nil
}

// tell adds the kinds of reports, which a cache of their own holds.
func (m *MeshKinds) tell(own cache.Cache, e enqueue) {
	for _, k := range slices.Concat(report.DocumentKinds(), report.ClusterDocumentKinds()) {
		m.kinds[k.CRD] = []*watchedKind{{gvk: k.GVK, versions: []string{k.GVK.Version}, enqueue: e, optional: true, own: own,
			object: func() client.Object { return snapshot.Metadata(k.GVK) }}}
	}
}

// roots adds what each namespace's proxies trust, which a cache of its own holds.
// It concerns the audit of the cluster alone.
func (m *MeshKinds) roots(own cache.Cache) {
	m.always = append(m.always, &watchedKind{
		gvk: snapshot.RootKind.WithVersion("v1"), optional: true, own: own,
		enqueue: enqueue{namespaces: func(client.Object) []string { return nil }, changed: never},
		object:  func() client.Object { return &corev1.ConfigMap{} },
	})
}

// Told says whether a kind of reports is served, and the cache holds it.
func (m *MeshKinds) Told(k report.DocumentKind) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.kinds[k.CRD] {
		if w.synced {
			return true
		}
	}
	return false
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
	for _, k := range m.kinds[crd.Name] {
		m.follow(ctx, q, k, crd, gone)
	}
}

func (m *MeshKinds) follow(ctx context.Context, q queue, k *watchedKind, crd *apiextensionsv1.CustomResourceDefinition, gone bool) {
	version := ""
	if !gone {
		version = servedVersion(crd, k.versions)
	}
	if k.stop != nil && version != k.gvk.Version {
		m.remove(ctx, q, k)
	}
	if version != "" && k.stop == nil {
		k.gvk.Version = version
		if err := m.add(ctx, q, k); err != nil && ctx.Err() == nil {
			// Discovery can lag behind the CustomResourceDefinition's own condition.
			m.log.Error(err, "Can't watch a kind yet", "kind", k.gvk.Kind)
			time.AfterFunc(retryWatch, func() { m.observe(ctx, q, crd, false) })
		}
	}
}

// servedVersion is the first of the versions that is served; empty for none.
func servedVersion(crd *apiextensionsv1.CustomResourceDefinition, versions []string) string {
	if crd.DeletionTimestamp != nil {
		return ""
	}
	established := false
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			established = c.Status == apiextensionsv1.ConditionTrue
		}
	}
	for _, want := range versions {
		for _, v := range crd.Spec.Versions {
			if v.Name == want && established && v.Served {
				return want
			}
		}
	}
	return ""
}

// holds is the cache that holds a kind.
func (m *MeshKinds) holds(k *watchedKind) cache.Cache {
	if k.own != nil {
		return k.own
	}
	if k.optional {
		return m.optional
	}
	return m.cache
}

func (m *MeshKinds) add(ctx context.Context, q queue, k *watchedKind) error {
	informer, err := m.holds(k).GetInformer(ctx, k.object(), cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	if err := m.index(ctx, k); err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(informerEvents(k.enqueue, q))
	if err != nil {
		return err
	}
	if _, err := informer.AddEventHandler(informerEvents(m.cluster, q)); err != nil {
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
				m.log.Info("Kind is served", "kind", k.gvk.Kind)
			}
			add(q, priorityFanOut, m.profiled(ctx)...)
			m.cluster.wake()
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
	indexes := snapshot.Indexes()
	if k.concerns != nil {
		indexes = []snapshot.Index{{Kind: k.gvk, Field: snapshot.ConcernsIndex, Keys: k.concerns}}
		for field, keys := range k.more {
			indexes = append(indexes, snapshot.Index{Kind: k.gvk, Field: field, Keys: keys})
		}
	}
	for _, i := range indexes {
		if i.Kind != k.gvk || (k.optional && k.concerns == nil) {
			continue
		}
		if err := m.holds(k).IndexField(ctx, k.object(), i.Field, i.Keys); err != nil {
			return fmt.Errorf("index %s: %w", k.gvk.Kind, err)
		}
	}
	k.indexed = true
	return nil
}

func (m *MeshKinds) remove(ctx context.Context, q queue, k *watchedKind) {
	k.stop()
	k.stop, k.done, k.synced, k.indexed = nil, nil, false, false
	if err := m.holds(k).RemoveInformer(ctx, k.object()); err != nil {
		m.log.Error(err, "Can't stop watching a kind", "kind", k.gvk.Kind)
	}
	m.log.Info("Kind is no longer served", "kind", k.gvk.Kind)
	// profiled reads the cache: not under the lock, and not in an informer's callback.
	go func() { add(q, priorityFanOut, m.profiled(ctx)...) }()
	m.cluster.wake()
}
