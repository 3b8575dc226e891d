package controllers

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

func pod(version string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "api", ResourceVersion: version}}
	change(p)
	return p
}

func same(*corev1.Pod) {}

func TestWhatReachesTheQueue(t *testing.T) {
	pods := enqueue{namespaces: func(o client.Object) []string { return []string{o.GetNamespace()} }, changed: podChanged}
	for name, c := range map[string]struct {
		before, after *corev1.Pod
		want          int
	}{
		"a resync":             {pod("1", same), pod("1", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), 0},
		"a heartbeat":          {pod("1", same), pod("2", func(p *corev1.Pod) { p.Status.Message = "still here" }), 0},
		"another label":        {pod("1", same), pod("2", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), 1},
		"the end of the pod":   {pod("1", same), pod("2", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), 1},
		"a bypass":             {pod("1", same), pod("2", func(p *corev1.Pod) { p.Annotations = map[string]string{"sidecar.istio.io/inject": "false"} }), 1},
		"an annotation of any": {pod("1", same), pod("2", func(p *corev1.Pod) { p.Annotations = map[string]string{"team": "web"} }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			q := workqueue.NewTypedRateLimitingQueue(rateLimiter())
			defer q.ShutDown()
			pods.Update(context.Background(), event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}, q)
			if q.Len() != c.want {
				t.Errorf("%d in the queue, want %d", q.Len(), c.want)
			}
		})
	}
}

// recorder is a queue that remembers who was added, and how urgently.
type recorder struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	added map[string]int
}

func (r *recorder) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, request := range requests {
		r.added[request.Name] = *o.Priority
	}
}

// What an object no longer concerns is told too, and whoever concerns many waits.
func TestWhomADependantConcerns(t *testing.T) {
	binding := func(version string, namespaces ...string) *rbacv1.ClusterRoleBinding {
		b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "b", ResourceVersion: version}}
		for _, ns := range namespaces {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "x"})
		}
		return b
	}
	kinds := snapshot.DependantKinds()
	handler := profileLookup{}.dependent(kinds[slices.IndexFunc(kinds, func(k snapshot.DependantKind) bool { return k.GroupKind.Kind == "ClusterRoleBinding" })])
	crowd := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}
	for name, c := range map[string]struct {
		before, after *rbacv1.ClusterRoleBinding
		want, high    int
	}{
		"the same":  {binding("1", "a"), binding("2", "a"), 0, 0},
		"moves":     {binding("1", "a"), binding("2", "b"), 2, 2},
		"one of it": {binding("1", "a", "b"), binding("2", "a"), 2, 2},
		"many":      {binding("1"), binding("2", crowd...), 11, 0},
	} {
		t.Run(name, func(t *testing.T) {
			q := &recorder{added: map[string]int{}}
			handler.Update(context.Background(), event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}, q)
			high := 0
			for _, priority := range q.added {
				if priority == priorityFacts {
					high++
				}
			}
			if len(q.added) != c.want || high != c.high {
				t.Errorf("%v: want %d, %d of them at once", q.added, c.want, c.high)
			}
		})
	}
}

// Of the mesh's ConfigMaps, the configuration matters and the table of bulletins.
func TestWhatOfAConfigMapMatters(t *testing.T) {
	config := func(key, value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{Data: map[string]string{key: value}}
	}
	for key, want := range map[string]bool{"mesh": true, bulletins.Key: true, "meshNetworks": false} {
		if got := configChanged(config(key, "a"), config(key, "b")); got != want {
			t.Errorf("%s: %t", key, got)
		}
	}
}

// A fan-out over the fleet does not delay the correction of drift.
func TestDriftGoesFirst(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	add(q, priorityFanOut, "a", "b", "c")
	add(q, priorityFacts, "d")
	add(q, priorityEdit, "e")
	add(q, priorityDrift, "c")
	var order string
	for range 5 {
		r, _ := q.Get()
		order += r.Name
		q.Done(r)
	}
	if order[:3] != "ced" {
		t.Errorf("order %s", order)
	}
}

func TestWhatOfAProfileMatters(t *testing.T) {
	base := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 1, Finalizers: []string{v1alpha1.Finalizer}}}
	for name, c := range map[string]struct {
		change func(*v1alpha1.MeshSecurityProfile)
		want   bool
	}{
		"its own status":   {func(p *v1alpha1.MeshSecurityProfile) { p.Status.ObservedGeneration = 1 }, false},
		"a tracking label": {func(p *v1alpha1.MeshSecurityProfile) { p.Annotations = map[string]string{"argocd": "x"} }, false},
		"the spec":         {func(p *v1alpha1.MeshSecurityProfile) { p.Generation = 2 }, true},
		"the pause": {func(p *v1alpha1.MeshSecurityProfile) {
			p.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}, true},
		"its deletion":              {func(p *v1alpha1.MeshSecurityProfile) { p.DeletionTimestamp = &metav1.Time{} }, true},
		"the loss of its finalizer": {func(p *v1alpha1.MeshSecurityProfile) { p.Finalizers = nil }, true},
		"a new one":                 {func(p *v1alpha1.MeshSecurityProfile) { p.UID = "2" }, true},
	} {
		after := base.DeepCopy()
		c.change(after)
		if got := profileChanged(base, after); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A namespace that was turned away since the cache did not show its own last
// status yet is woken by that status: drift would wait for seconds otherwise.
func TestOwnStatusWakesWhoWaitsForIt(t *testing.T) {
	version := func(v string) *v1alpha1.MeshSecurityProfile {
		return &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "main", UID: "1", ResourceVersion: v}}
	}
	ledger := apply.NewLedger()
	events := profileEvents(ledger)
	queued := func() map[string]int {
		q := &recorder{added: map[string]int{}}
		events.Update(context.Background(), event.UpdateEvent{ObjectOld: version("1"), ObjectNew: version("2")}, q)
		return q.added
	}
	ledger.Record("pay", apply.WrittenObject(version("2")))
	if got := queued(); len(got) > 0 {
		t.Errorf("nobody waits, and %v is queued", got)
	}
	if !ledger.Stale("pay", []facts.Object{version("1")}, time.Now()) {
		t.Fatal("the cache is not behind")
	}
	if got := queued(); len(got) != 1 {
		t.Errorf("%v is queued, and pay waits", got)
	}
}
