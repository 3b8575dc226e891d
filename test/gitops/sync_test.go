package gitops

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/engine"
	gitopssync "github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argoCD applies what is in Git as Argo CD does it: in waves, with pruning.
type argoCD struct {
	*cluster
	engine    engine.GitOpsEngine
	namespace string
}

func (c *cluster) argoCD(t *testing.T, namespace string) *argoCD {
	t.Helper()
	e := engine.NewEngine(c.config, c.watched(t), engine.WithLogr(logr.Discard()))
	stop, err := e.Run()
	must(t, err)
	t.Cleanup(stop)
	return &argoCD{c, e, namespace}
}

// sync returns what became of each object, and whether it ended in time.
func (a *argoCD) sync(t *testing.T, limit time.Duration, git []*unstructured.Unstructured, options ...gitopssync.SyncOpt) (map[string]common.OperationPhase, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	background := metav1.DeletePropagationBackground // no garbage collector runs
	options = append(options, gitopssync.WithOperationSettings(false, true, false, false), gitopssync.WithPrunePropagationPolicy(&background),
		gitopssync.WithLogr(logr.Discard()))
	ours := func(r *cache.Resource) bool { is, _ := r.Info.(bool); return is && r.Ref.Namespace == a.namespace }
	results, err := a.engine.Sync(ctx, git, ours, "main", a.namespace, options...)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	out := map[string]common.OperationPhase{}
	for _, r := range results {
		out[r.ResourceKey.Kind+"/"+r.ResourceKey.Name] = r.HookPhase
	}
	return out, err == nil
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

const (
	strict = `{mutualTLS: {mode: Strict}, authorization: {defaultAction: Deny, rules: [{name: callers, from: [{entity: SameNamespace}]}]}}`
	// waits is long enough for the second wave to begin where it does not wait.
	waits = 5 * time.Second
	ends  = time.Minute
)

func TestWavesWaitForWhatIsInForce(t *testing.T) {
	c := newCluster(t)
	health := gitopssync.WithHealthOverride(shipped(t))

	c.namespace(t, "blind")
	git, _, next := inWaves(t, "blind", strict)
	if _, done := c.argoCD(t, "blind").sync(t, ends, git); !done || !c.there(t, next) {
		t.Error("without the customisation a wave waits for a profile: then what for is it?")
	}

	c.namespace(t, "waiting")
	git, profile, next := inWaves(t, "waiting", strict)
	a := c.argoCD(t, "waiting")
	if _, done := a.sync(t, waits, git, health); done || c.there(t, next) || !c.there(t, profile) {
		t.Error("the next wave came before the operator had seen the profile")
	}

	c.operate(t)
	if got, done := a.sync(t, ends, git, health); !done || !c.there(t, next) {
		t.Errorf("the next wave does not come: %v", got)
	}
	c.settled(t, profile, "Healthy")

	c.namespace(t, "broken")
	git, profile, next = inWaves(t, "broken", `{authorization: {defaultAction: Deny, rules: [{name: callers, from: [{peer: nobody}]}]}}`)
	if got, done := c.argoCD(t, "broken").sync(t, ends, git, health); !done || got["MeshSecurityProfile/main"] != common.OperationFailed || c.there(t, next) {
		t.Errorf("a profile that can't be used does not end the sync: %t, %v", done, got)
	}
	agree(t, c.live(t, profile))
}

// What the operator wrote is never taken for what somebody took out of Git: not
// while a profile owns it, and not when a deleted one left it in force.
func TestChildrenAreNotPruned(t *testing.T) {
	c := newCluster(t)
	c.operate(t)
	for namespace, retain := range map[string]bool{"removed": false, "retained": true} {
		t.Run(namespace, func(t *testing.T) {
			c.namespace(t, namespace)
			spec := strict
			if retain {
				spec = spec[:len(spec)-1] + ", deletionPolicy: Retain}"
			}
			git, profile, next := inWaves(t, namespace, spec)
			a := c.argoCD(t, namespace)
			health := gitopssync.WithHealthOverride(shipped(t))
			sync := func(what string, git []*unstructured.Unstructured) {
				t.Helper()
				if got, done := a.sync(t, ends, git, health); !done {
					t.Fatalf("%s: %v", what, got)
				}
			}
			names := func() (out []string) {
				for _, o := range c.written(t, namespace) {
					out = append(out, o.GetName()+" "+string(o.GetUID())+" "+o.GetResourceVersion())
				}
				return out
			}
			sync("the first sync", git)
			c.settled(t, profile, "Healthy")
			before := names()
			if len(before) < 3 {
				t.Fatalf("written: %v", before)
			}
			sync("the second sync", git)
			if diff := cmp.Diff(before, names()); diff != "" {
				t.Errorf("a second sync (-before +after):\n%s", diff)
			}

			// Out of Git it goes, by its finalizer, and takes what it wrote with it or leaves it.
			sync("a sync without the profile", []*unstructured.Unstructured{next})
			eventually(t, "the profile is gone", func() bool { return !c.there(t, profile) })
			sync("a sync after it", []*unstructured.Unstructured{next})
			switch after := c.written(t, namespace); {
			case retain && len(after) != len(before):
				t.Errorf("left in force: %d of %d", len(after), len(before))
			case !retain && len(after) > 0:
				t.Errorf("left behind: %d", len(after))
			}
		})
	}
}
