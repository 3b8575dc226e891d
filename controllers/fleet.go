package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// fleet is how every namespace stands to the baselines and exceptions, as last
// found: what their status is made of. After a restart it begins empty and
// fills as the namespaces are reconciled.
type fleet struct {
	mu sync.Mutex
	of map[string]standing // by namespace
	// cluster are the findings about the cluster as a whole; nil before they are known.
	cluster []v1alpha1.Finding
	// baselines and exceptions are the queues of those who sum it up.
	baselines, exceptions queue
}

// settle is how long changes are gathered before a status is summed up anew: a
// change that reaches a thousand namespaces is to be one write or few.
const settle = 500 * time.Millisecond

// standing is how one namespace stands.
type standing struct {
	// baselines that apply: the revision in force here, by UID.
	baselines map[types.UID]string
	// names of these.
	names []string
	// exceptions that name the namespace: the generation that was looked at, by
	// name.
	exceptions map[string]int64
	// excepted counts the findings that an exception covers, by its name.
	excepted map[string]int32

	// untold is true where what checks need can't be read.
	declared, enforced, inSync, compliant, untold, ready bool
	// gateway is the namespace of the egress gateway that is declared for it.
	gateway string
	// why says why it is not ready, and open why it does not enforce: reasons.
	why, open string
	findings  v1alpha1.FindingCounts
}

func (s standing) equal(o standing) bool {
	return maps.Equal(s.baselines, o.baselines) && slices.Equal(s.names, o.names) && s.gateway == o.gateway && maps.Equal(s.exceptions, o.exceptions) &&
		maps.Equal(s.excepted, o.excepted) && s.declared == o.declared && s.enforced == o.enforced && s.inSync == o.inSync &&
		s.compliant == o.compliant && s.untold == o.untold && s.ready == o.ready && s.why == o.why && s.open == o.open && s.findings == o.findings
}

// standingOf is how a namespace stands by what was decided and reported.
func standingOf(o facts.Observed, d decide.Decision, c status.Result) standing {
	next := c.Status
	s := standing{declared: true, baselines: map[types.UID]string{}, exceptions: map[string]int64{}, excepted: map[string]int32{}}
	for _, b := range o.Baselines {
		s.baselines[b.UID] = b.Revision
		s.names = append(s.names, b.Name)
	}
	if g := o.Facts.EgressGateway; g != nil {
		s.gateway = g.Namespace
	}
	for _, e := range o.Exceptions {
		s.exceptions[e.Name] = e.Generation
	}
	is := func(kind string) bool { return meta.IsStatusConditionTrue(next.Conditions, kind) }
	s.inSync, s.compliant, s.ready = is(v1alpha1.ConditionInSync), is(v1alpha1.ConditionCompliant), is(v1alpha1.ConditionReady)
	s.untold = meta.IsStatusConditionPresentAndEqual(next.Conditions, v1alpha1.ConditionCompliant, metav1.ConditionUnknown)
	for _, kind := range []string{v1alpha1.ConditionProgrammed, v1alpha1.ConditionMutualTLSEnforced, v1alpha1.ConditionAuthorizationEnforced, v1alpha1.ConditionEgressEnforced} {
		c := meta.FindStatusCondition(next.Conditions, kind)
		if s.open == "" && c != nil && c.Status != metav1.ConditionTrue && c.Reason != v1alpha1.ReasonNotDeclared {
			s.open = c.Reason
		}
	}
	s.enforced = d.Compiled && s.open == ""
	if c := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionReady); c != nil && !s.ready {
		s.why = c.Reason
	}
	s.findings = *status.Count(c.Findings)
	for _, f := range c.Findings {
		if f.Exception != "" {
			s.excepted[f.Exception]++
		}
	}
	return s
}

// set remembers how a namespace stands, and tells those whom a change concerns.
func (f *fleet) set(namespace string, s standing) {
	f.mu.Lock()
	before, seen := f.of[namespace]
	if f.of == nil {
		f.of = map[string]standing{}
	}
	f.of[namespace] = s
	baselines, exceptions := f.baselines, f.exceptions
	f.mu.Unlock()
	if seen && before.equal(s) {
		return
	}
	tell(baselines, before.names, s.names)
	tell(exceptions, keys(before.exceptions), keys(s.exceptions))
}

// setCluster remembers what was found about the cluster as a whole, and says
// whether that is news.
func (f *fleet) setCluster(findings []v1alpha1.Finding) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cluster != nil && slices.Equal(f.cluster, findings) {
		return false
	}
	f.cluster = append([]v1alpha1.Finding{}, findings...)
	return true
}

// ofCluster are the findings about the cluster as a whole; false where it was
// not looked at yet.
func (f *fleet) ofCluster() ([]v1alpha1.Finding, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cluster, f.cluster != nil
}

// forget a namespace that is gone.
func (f *fleet) forget(namespace string) {
	f.mu.Lock()
	before := f.of[namespace]
	delete(f.of, namespace)
	baselines, exceptions := f.baselines, f.exceptions
	f.mu.Unlock()
	tell(baselines, before.names)
	tell(exceptions, keys(before.exceptions))
}

func keys(m map[string]int64) []string { return slices.Collect(maps.Keys(m)) }

func tell(q queue, lists ...[]string) {
	if q == nil {
		return
	}
	names := slices.Concat(lists...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, settle)
	}
}

// standing of a namespace; false where it was not looked at yet.
func (f *fleet) standing(namespace string) (standing, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.of[namespace]
	return s, ok
}

// under lists the namespaces that a baseline applies to, sorted.
func (f *fleet) under(uid types.UID) []string {
	return f.list(func(s standing) bool { _, ok := s.baselines[uid]; return ok })
}

// declared lists the namespaces that something is declared for, sorted.
func (f *fleet) declared() []string {
	return f.list(func(s standing) bool { return s.declared })
}

func (f *fleet) list(pick func(standing) bool) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for ns, s := range f.of {
		if pick(s) {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return out
}

// summedBy sets a controller up that sums the fleet up for the objects of a
// kind. It works on one when it changes, and when it is told by its queue.
func (f *fleet) summedBy(mgr ctrl.Manager, name string, kind client.Object, changed func(before, after client.Object) bool, r reconcile.Reconciler, told *queue) error {
	own := func(o client.Object) []string { return []string{o.GetName()} }
	err := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		WithOptions(controller.Options{RateLimiter: rateLimiter()}).
		Watches(kind, enqueue{namespaces: own, changed: changed}).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			*told = q
			return nil
		})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the controller of %s: %w", name, err)
	}
	return nil
}
