package gitops

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	gitopssync "github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestOnACluster(t *testing.T) {
	c := newCluster(t)
	once := sync.OnceFunc(func() { c.operate(t) })
	t.Run("waves wait for what is in force", func(t *testing.T) { wavesWait(t, c, once) })
	t.Run("nothing is OutOfSync", func(t *testing.T) { nothingIsOutOfSync(t, c, once) })
	t.Run("children are not pruned", func(t *testing.T) { childrenAreNotPruned(t, c) })
	t.Run("the installation is not OutOfSync", func(t *testing.T) { installationIsInSync(t, c) })
}

// argoCD applies what is in Git as Argo CD's controller does it: step by step,
// each with a fresh look at the cluster, in waves, with pruning.
type argoCD struct {
	*cluster
	cache     cache.ClusterCache
	namespace string
	blind     bool // without config/argocd
}

func (c *cluster) argoCD(t *testing.T, namespace string) *argoCD {
	t.Helper()
	seen := c.watched(t)
	must(t, seen.EnsureSynced())
	t.Cleanup(func() { seen.Invalidate() })
	return &argoCD{cluster: c, cache: seen, namespace: namespace}
}

// operation is a sync that was begun.
type operation struct {
	*argoCD
	git     []*unstructured.Unstructured
	began   time.Time
	phase   common.OperationPhase
	message string
	results []common.ResourceSyncResult
}

func (a *argoCD) begin(git []*unstructured.Unstructured) *operation {
	return &operation{argoCD: a, git: git, began: time.Now(), phase: common.OperationRunning}
}

// step goes on as far as it can without waiting.
func (o *operation) step(t *testing.T) {
	t.Helper()
	ours := func(r *cache.Resource) bool { is, _ := r.Info.(bool); return is && r.Ref.Namespace == o.namespace }
	live, err := o.cache.GetManagedLiveObjs(o.git, ours)
	must(t, err)
	background := metav1.DeletePropagationBackground // no garbage collector runs
	options := []gitopssync.SyncOpt{
		gitopssync.WithInitialState(o.phase, o.message, o.results, metav1.NewTime(o.began)), gitopssync.WithLogr(logr.Discard()),
		gitopssync.WithOperationSettings(false, true, false, false), gitopssync.WithPrunePropagationPolicy(&background),
	}
	if !o.blind {
		options = append(options, gitopssync.WithHealthOverride(shipped(t)))
	}
	s, done, err := gitopssync.NewSyncContext("main", gitopssync.Reconcile(o.git, live, o.namespace, o.cache),
		o.config, o.config, o.kubectl, o.namespace, o.cache.GetOpenAPISchema(), options...)
	must(t, err)
	defer done()
	s.Sync()
	o.phase, o.message, o.results = s.GetState()
}

// sync goes on to the end.
func (a *argoCD) sync(t *testing.T, git []*unstructured.Unstructured) *operation {
	t.Helper()
	o := a.begin(git)
	eventually(t, "the end of a sync", func() bool {
		o.step(t)
		return o.phase.Completed()
	})
	return o
}

// sees waits until Argo CD has seen an object.
func (a *argoCD) sees(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	eventually(t, "Argo CD sees "+o.GetName(), func() bool {
		live, err := a.cache.GetManagedLiveObjs([]*unstructured.Unstructured{o}, func(*cache.Resource) bool { return false })
		must(t, err)
		return len(live) == 1
	})
}

// inWaves is a profile, and what is to come after it.
func inWaves(t *testing.T, namespace, spec string) (git []*unstructured.Unstructured, profile, next *unstructured.Unstructured) {
	t.Helper()
	profile = decode(t, []byte(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: `+namespace+`, annotations: {argocd.argoproj.io/sync-wave: "0"}}
spec: `+spec))
	next = decode(t, []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: next, namespace: `+namespace+`, annotations: {argocd.argoproj.io/sync-wave: "1"}}`))
	profile, next = tracked(profile), tracked(next)
	return []*unstructured.Unstructured{profile, next}, profile, next
}

const strict = `{mutualTLS: {mode: Strict}, authorization: {defaultAction: Deny, rules: [{name: callers, from: [{entity: SameNamespace}]}]}}`

// wavesWait comes before the operator runs, and goes on when it does.
func wavesWait(t *testing.T, c *cluster, operate func()) { //nolint:thelper // a test: its failures have lines of their own
	c.namespace(t, "blind")
	git, profile, next := inWaves(t, "blind", strict)
	a := c.argoCD(t, "blind")
	a.blind = true
	if o := a.sync(t, git); o.phase != common.OperationSucceeded || !c.there(t, next) {
		t.Errorf("without the customisation a sync does not take a profile for done: %s, %s", o.phase, o.message)
	}
	must(t, c.client.Delete(t.Context(), profile))

	c.namespace(t, "waiting")
	git, profile, next = inWaves(t, "waiting", strict)
	a = c.argoCD(t, "waiting")
	waiting := a.begin(git)
	waiting.step(t)
	a.sees(t, profile)
	for range 3 {
		waiting.step(t)
	}
	if waiting.phase != common.OperationRunning || c.there(t, next) {
		t.Errorf("the next wave came before the operator had seen the profile: %s, %s", waiting.phase, waiting.message)
	}
	operate()
	eventually(t, "the end of the sync", func() bool {
		waiting.step(t)
		return waiting.phase.Completed()
	})
	if waiting.phase != common.OperationSucceeded || !c.there(t, next) {
		t.Errorf("%s, %s", waiting.phase, waiting.message)
	}
	c.settled(t, profile, "Healthy")

	c.namespace(t, "broken")
	git, profile, next = inWaves(t, "broken", `{authorization: {defaultAction: Deny, rules: [{name: callers, from: [{peer: nobody}]}]}}`)
	if o := c.argoCD(t, "broken").sync(t, git); o.phase != common.OperationFailed || c.there(t, next) {
		t.Errorf("with a profile that can't be used a sync ends as %s, %s", o.phase, o.message)
	}
	agree(t, c.live(t, profile))
}

// childrenAreNotPruned: what the operator wrote is never taken for what somebody
// took out of Git, not while a profile owns it, and not when a deleted one left
// it in force.
func childrenAreNotPruned(t *testing.T, c *cluster) { //nolint:thelper // a test: its failures have lines of their own
	for namespace, retain := range map[string]bool{"removed": false, "retained": true} {
		t.Run(namespace, func(t *testing.T) {
			c.namespace(t, namespace)
			spec := strict
			if retain {
				spec = strings.TrimSuffix(spec, "}") + ", deletionPolicy: Retain}"
			}
			git, profile, next := inWaves(t, namespace, spec)
			a := c.argoCD(t, namespace)
			sync := func(what string, git ...*unstructured.Unstructured) {
				t.Helper()
				if o := a.sync(t, git); o.phase != common.OperationSucceeded {
					t.Fatalf("%s: %s, %s, %+v", what, o.phase, o.message, o.results)
				}
			}
			names := func() (out []string) {
				for _, o := range c.written(t, namespace) {
					out = append(out, o.GetName()+" "+string(o.GetUID())+" "+o.GetResourceVersion())
				}
				return out
			}
			sync("the first sync", git...)
			c.settled(t, profile, "Healthy")
			before := names()
			if len(before) != 3 {
				t.Fatalf("written: %v", before)
			}
			sync("the second sync", git...)
			if diff := cmp.Diff(before, names()); diff != "" {
				t.Errorf("a second sync (-before +after):\n%s", diff)
			}

			// Out of Git it goes, by its finalizer, and takes what it wrote with it or leaves it.
			sync("a sync without the profile", next)
			eventually(t, "the profile is gone", func() bool { return !c.there(t, profile) })
			for range 3 {
				sync("a sync after it", next)
			}
			want := 0
			if retain {
				want = len(before)
			}
			if after := names(); len(after) != want {
				t.Errorf("there are %v, of %v", after, before)
			}
		})
	}
}
