package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/intrusion"
)

// An intruder may set any field that the API server lets through. Every field
// of every managed kind is tried: the schemas are the API server's own, and so
// is the word on what is accepted.

// everything is a profile that compiles to at least one object of every managed kind.
const everything = `
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: %s}
spec:
  mutualTLS:
    mode: Strict
    portOverrides:
    - {name: scrape, workloadSelector: {matchLabels: {app: web}}, port: 9100, mode: Permissive, reason: scraped by a VM}
  authorization:
    defaultAction: Deny
    jwtProviders:
    - {name: corp, issuer: https://sso.example.com, jwksURI: https://sso.example.com/keys, audiences: [payments]}
    rules:
    - name: callers
      workloadSelector: {matchLabels: {app: web}}
      from: [{entity: SameNamespace}]
      to: [{ports: [8080], methods: [GET], paths: ["/api/*"]}]
    - name: staff
      workloadSelector: {matchLabels: {app: web}}
      from: [{namespace: default}]
      jwt: {provider: corp}
  egress:
    defaultAction: Deny
    assurance: Network
    rules:
    - name: stripe
      to: [{hosts: [api.stripe.com], ports: [{port: 443, protocol: TLS}]}]
      via: Direct
    - name: database
      to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]
    - name: partner
      to: [{hosts: [api.partner.example.com], ports: [{port: 443, protocol: TLS}]}, {hosts: [www.partner.example.com], ports: [{port: 80, protocol: HTTP}]}]
      via: Gateway
  logging: {accessLog: Denied}
`

const (
	// grounds are the namespaces in which fields are tried at the same time.
	grounds = 4
	// thorough is how many specs are tried on an object before a field counts as
	// refused there, and brief how many where more is not needed.
	thorough, brief = 250, 60
	// curious is how many are tried beyond one that does nothing to the posture.
	curious = 10
)

// neverAccepted are the rules by which the API server refuses every value of a
// field but the one that means nothing.
var neverAccepted = []string{"cross namespace referencing is not currently supported"}

// idle are the changes that do nothing to the posture, by a field, or by an
// object and the beginning of a field: each was looked at by a human.
var idle = []string{
	// The operator alone looks at these.
	finalizer, uncontrolled, otherProfile, unmarked, unowned, handedOver,
	// A dry run is known of AuthorizationPolicies alone.
	"NetworkPolicy/msp-egress " + dryRun, "NetworkPolicy/msp-ingress " + dryRun, "PeerAuthentication/msp-mtls " + dryRun, "PeerAuthentication/msp-mtls-scrape " + dryRun,
	"RequestAuthentication/msp-jwt-corp " + dryRun,
	"ServiceEntry " + dryRun, "Sidecar/msp-egress " + dryRun, "Telemetry/msp-access-log " + dryRun,
	// Rules of a direction that the policy is not for.
	"NetworkPolicy/msp-egress /spec/ingress/", "NetworkPolicy/msp-ingress /spec/egress/",
	// The same direction again.
	"NetworkPolicy/msp-egress /spec/policyTypes/", "NetworkPolicy/msp-ingress /spec/policyTypes/",
	// Pods of the namespace itself, which are reached anyway.
	"NetworkPolicy/msp-egress /spec/egress/*/to/*/podSelector/",
	// Istio does not read NetworkPolicies.
	"NetworkPolicy/msp-egress a label", "NetworkPolicy/msp-ingress a label",
	// One more log, a name, how long keys are waited for, and a listener that
	// leads nowhere new.
	"/spec/accessLogging/*/match/mode (add true) on Telemetry/msp-access-log", "ServiceEntry/msp-egress-database /spec/ports/*/name",
	"RequestAuthentication/msp-jwt-corp /spec/jwtRules/*/timeout", "/spec/egress/*/port/number (add true) on Sidecar/msp-egress",
}

// ground is a namespace with a profile, in which objects are changed.
type ground struct {
	*cluster
	namespace string
	intruder  client.Client
	// settled are the objects as the operator wrote them, by KIND/NAME.
	settled map[string]*unstructured.Unstructured
	typed   []mesh.Object
	world   effective.World
	queue   map[string][]tamper
}

// tamper is one change to one object.
type tamper struct {
	object, what, field string
	// path of the field, where it is one of the spec.
	path []string
	spec map[string]any
	meta func(*unstructured.Unstructured)
	// silent is true for what leaves no trace of who did it.
	silent bool
}

// tally counts, for one kind.
type tally struct {
	fields, accepted, refused, made, asked, deepest int
	effects                                         map[v1alpha1.Effect]int
}

type score struct {
	mu     sync.Mutex
	kinds  map[string]*tally
	faults []string
}

func (s *score) of(kind string, count func(*tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds[kind] == nil {
		s.kinds[kind] = &tally{effects: map[v1alpha1.Effect]int{}}
	}
	count(s.kinds[kind])
}

func (s *score) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

var _ = Describe("Every field of every managed kind", func() {
	It("is guarded against whoever adds or changes it", func(ctx SpecContext) {
		config, _, err := shared.User("intruder")
		Expect(err).NotTo(HaveOccurred())
		intruder, err := client.New(config, client.Options{})
		Expect(err).NotTo(HaveOccurred())
		shared.kubectl("create", "clusterrole", "intruder", "--verb=get,update,patch", "--resource="+strings.Join(resources(), ","))
		shared.kubectl("create", "clusterrolebinding", "intruder", "--clusterrole=intruder", "--user=intruder")
		DeferCleanup(func() { shared.kubectl("delete", "clusterrolebinding,clusterrole", "intruder") })

		shared.egressGateway("fields-gateway")
		shared.withBaseline("fields", throughGateway("fields-gateway"))
		fields := shared.fields(ctx)
		s := &score{kinds: map[string]*tally{}}
		var wait sync.WaitGroup
		for i := range grounds {
			g := &ground{cluster: shared, namespace: fmt.Sprintf("fields-%d", i), intruder: intruder}
			g.apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {istio-injection: enabled, fleet: fields}}}", g.namespace))
			DeferCleanup(func() { g.kubectl("delete", "namespace", g.namespace, "--wait=false") })
			g.apply(fmt.Sprintf(everything, g.namespace))
			wait.Go(func() {
				if err := g.try(ctx, i, fields, s); err != nil {
					s.fault("%s: %v", g.namespace, err)
				}
			})
		}
		wait.Wait()

		for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
			t := s.kinds[kind]
			AddReportEntry(kind, fmt.Sprintf("%3d fields, %3d accepted, %d refused; %3d changes made: %v; asked %d, deepest %d", t.fields, t.accepted, t.refused, t.made, t.effects, t.asked, t.deepest), ReportEntryVisibilityAlways)
		}
		for _, k := range mesh.ManagedKinds() {
			t := s.kinds[k.GVK.Kind]
			Expect(t).NotTo(BeNil(), "nothing of %s was tried", k.GVK.Kind)
			Expect(t.accepted).To(BeNumerically(">", 0), "no field of %s was accepted", k.GVK.Kind)
		}
		slices.Sort(s.faults)
		Expect(s.faults).To(BeEmpty(), strings.Join(s.faults, "\n"))
	})
})

func resources() (out []string) {
	for _, k := range mesh.ManagedKinds() {
		out = append(out, k.CRD())
	}
	return out
}

// kindField is a field of a managed kind.
type kindField struct {
	kind  mesh.Kind
	field intrusion.Field
}

func (c *cluster) fields(ctx context.Context) (out []kindField) {
	GinkgoHelper()
	d, err := discovery.NewDiscoveryClientForConfig(c.Config())
	Expect(err).NotTo(HaveOccurred())
	for _, k := range mesh.ManagedKinds() {
		s, err := intrusion.SpecOf(ctx, k, c.client, d.OpenAPIV3())
		Expect(err).NotTo(HaveOccurred())
		for _, f := range intrusion.Fields(s) {
			out = append(out, kindField{k, f})
		}
	}
	return out
}

// try every grounds-th field, from the i-th on.
func (g *ground) try(ctx context.Context, i int, fields []kindField, s *score) error {
	if err := g.settle(ctx); err != nil {
		return err
	}
	g.queue = map[string][]tamper{}
	for n, f := range fields {
		if n%grounds == i {
			g.seek(ctx, n/grounds, f, s)
		}
	}
	for n, o := range slices.Sorted(maps.Keys(g.settled)) {
		if n%grounds == i {
			g.queue[o] = append(g.queue[o], metadata(o)...)
		}
	}
	reported := once(g.queue)
	for round := 0; len(g.queue) > 0; round++ {
		if err := g.round(ctx, round, s); err != nil {
			return err
		}
	}
	if err := g.report(ctx); err != nil {
		return err
	}
	g.queue = reported
	for round := 0; len(g.queue) > 0; round++ {
		if err := g.reportRound(ctx, round, s); err != nil {
			return err
		}
	}
	return nil
}

// once keeps each field's first change: how it is reported does not depend on
// how it is found.
func once(queue map[string][]tamper) map[string][]tamper {
	seen, out := map[string]bool{}, map[string][]tamper{}
	for _, o := range slices.Sorted(maps.Keys(queue)) {
		kind, _, _ := strings.Cut(o, "/")
		for _, t := range queue[o] {
			if key := kind + t.field; !seen[key] {
				seen[key] = true
				out[o] = append(out[o], t)
			}
		}
	}
	return out
}

// settle waits until everything is written, and remembers it. A bystander has
// a harmless annotation of its own on each object, and is to be blamed for nothing.
func (g *ground) settle(ctx context.Context) error {
	if err := controlplane.Eventually(ctx, func() error { return g.is(ctx, v1alpha1.ConditionReady, "True/Ready") }); err != nil {
		return err
	}
	g.settled = map[string]*unstructured.Unstructured{}
	for _, k := range mesh.ManagedKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GVK)
		if err := g.client.List(ctx, list, client.InNamespace(g.namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			if err := g.stand(ctx, o, "0"); err != nil {
				return err
			}
			t, err := typed(o)
			if err != nil {
				return err
			}
			g.settled[k.GVK.Kind+"/"+o.GetName()] = o
			if _, err := drift.Transform(t); err != nil {
				return err
			}
			g.typed = append(g.typed, t)
		}
	}
	observed, err := (&snapshot.Reader{
		Client: unindexed{g.client}, Optional: unindexed{g.client}, Scheme: g.client.Scheme(), MeshNamespace: "istio-system", ClusterDomain: "cluster.local",
		Served: func(schema.GroupVersionKind) bool { return true }, ControlPlaneRead: func() bool { return true }, GuardsRead: func() bool { return false },
		Dependant: func(schema.GroupKind) (string, facts.Tristate) { return "", facts.Unknown },
	}).Read(ctx, g.namespace)
	f := observed.Facts
	g.world = effective.World{Namespace: g.namespace, Mesh: f.Mesh, Pods: f.Pods, Services: f.Services, Partial: true}
	return err
}

const note = "example.com/note"

func (g *ground) stand(ctx context.Context, o *unstructured.Unstructured, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, note, value)
	return g.client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner("bystander"))
}

// seek finds out by dry runs how a field can be changed and added to, on one
// object of its kind, another one for each field.
func (g *ground) seek(ctx context.Context, n int, f kindField, s *score) {
	kind := f.kind.GVK.Kind
	var names []string
	for _, name := range slices.Sorted(maps.Keys(g.settled)) {
		if strings.HasPrefix(name, kind+"/") {
			names = append(names, name)
		}
	}
	var tries []tamper
	t := seeker{ground: g, field: f.field}
	for i := range names {
		name := names[(n+i)%len(names)]
		for _, add := range []bool{false, true} {
			most := thorough
			if len(tries) > 0 || t.never {
				most = brief
			}
			if spec, at := t.find(ctx, name, add, most); spec != nil && !slices.ContainsFunc(tries, func(t tamper) bool { return equality.Semantic.DeepEqual(t.spec, spec) }) {
				tries = append(tries, tamper{object: name, what: fmt.Sprintf("%s (add %t)", f.field, add), field: f.field.String(), path: at, spec: spec})
			}
		}
		if len(tries) > 0 || t.never {
			break
		}
	}
	for _, t := range tries {
		g.queue[t.object] = append(g.queue[t.object], t)
	}
	s.of(kind, func(c *tally) {
		c.fields++
		if len(tries) > 0 {
			c.accepted++
		} else {
			c.refused++
		}
		c.asked += t.asked
		c.deepest = max(c.deepest, t.deepest)
	})
	if len(tries) == 0 && !t.never {
		s.fault("%s %s: no value was accepted; the last answer was %v", kind, f.field, t.refusal)
	}
}

type seeker struct {
	*ground
	field intrusion.Field
	// never is true where the API server has a rule against every value.
	never          bool
	refusal        error
	asked, deepest int
}

// find prefers what does something to the posture.
func (t *seeker) find(ctx context.Context, name string, add bool, most int) (spec map[string]any, path []string) {
	o := t.settled[name]
	was, _ := o.Object["spec"].(map[string]any)
	if was == nil {
		was = map[string]any{}
	}
	var nothing map[string]any
	more, before := curious, t.asked
	spec, path = t.field.Find(was, add, most, func(spec map[string]any) (bool, []string) {
		o := o.DeepCopy()
		o.Object["spec"] = spec
		t.asked++
		if err := t.intruder.Update(ctx, o, client.DryRunAll); err != nil {
			t.refusal = err
			return false, t.objections(err)
		}
		c, err := t.change(o)
		if err != nil || c == nil {
			return false, nil // the default, given by name
		}
		if c.Effect != v1alpha1.EffectNeutral {
			return true, nil
		}
		if more--; nothing == nil {
			nothing = spec
		}
		return more == 0, nil
	})
	if (spec == nil || more == 0) && nothing != nil {
		spec = nothing
	} else if spec != nil {
		t.deepest = max(t.deepest, t.asked-before)
	}
	return spec, path
}

// objections are the fields that the API server objects to.
func (t *seeker) objections(err error) (out []string) {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			out = append(out, c.Field)
			t.never = t.never || (strings.HasSuffix(c.Field, t.field.Path[len(t.field.Path)-1]) &&
				slices.ContainsFunc(neverAccepted, func(rule string) bool { return strings.Contains(c.Message, rule) }))
		}
	}
	if len(out) == 0 {
		out = []string{"spec"}
	}
	return out
}

// What can be done to an object besides its spec.
const (
	revision     = "a label that binds it to a revision"
	dryRun       = "an annotation that makes it a dry run"
	handedOver   = "the mark that hands it over"
	otherProfile = "another profile's label"
	finalizer    = "a finalizer"
	uncontrolled = "an owner that no longer controls it"
	unmarked     = "no mark of the operator"
	unowned      = "no owner"
)

func metadata(object string) []tamper {
	t := func(what string, silent bool, change func(*unstructured.Unstructured)) tamper {
		return tamper{object: object, what: what, field: what, silent: silent, meta: change}
	}
	return []tamper{
		t(revision, false, func(o *unstructured.Unstructured) { o.SetLabels(with(o.GetLabels(), "istio.io/rev", "intruder")) }),
		t(dryRun, false, func(o *unstructured.Unstructured) {
			o.SetAnnotations(with(o.GetAnnotations(), "istio.io/dry-run", "true"))
		}),
		t("a mark of a newer mesh", false, func(o *unstructured.Unstructured) {
			o.SetAnnotations(with(o.GetAnnotations(), "networking.istio.io/intruder", "x"))
		}),
		t(handedOver, false, func(o *unstructured.Unstructured) {
			o.SetAnnotations(with(o.GetAnnotations(), v1alpha1.AnnotationAdopt, "true"))
		}),
		t(otherProfile, false, func(o *unstructured.Unstructured) {
			o.SetLabels(with(o.GetLabels(), v1alpha1.LabelProfile, "intruder"))
		}),
		t(finalizer, false, func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"intruder.example.com/stay"}) }),
		t(uncontrolled, false, func(o *unstructured.Unstructured) {
			refs := o.GetOwnerReferences()
			refs[0].Controller = nil
			o.SetOwnerReferences(refs)
		}),
		t(unmarked, true, func(o *unstructured.Unstructured) { o.SetLabels(nil) }),
		t(unowned, true, func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) }),
	}
}

func with(in map[string]string, k, v string) map[string]string {
	out := map[string]string{k: v}
	for k, v := range in {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out
}

// next takes one change for each of some objects, those with most left first.
func (g *ground) next(most int) (out []tamper) {
	names := slices.SortedFunc(maps.Keys(g.queue), func(a, b string) int {
		return cmp.Or(len(g.queue[b])-len(g.queue[a]), strings.Compare(a, b))
	})
	for _, name := range names[:min(len(names), most)] {
		out = append(out, g.queue[name][0])
		if g.queue[name] = g.queue[name][1:]; len(g.queue[name]) == 0 {
			delete(g.queue, name)
		}
	}
	return out
}

// made is a change that was made, and what is to be recorded of it.
type made struct {
	tamper
	manager string
	live    *unstructured.Unstructured
	record  v1alpha1.DriftRecord
}

// round makes changes to different objects and waits until all are recorded and undone.
func (g *ground) round(ctx context.Context, round int, s *score) error {
	var all []made
	for _, t := range g.next(v1alpha1.MaxStatusDrift) {
		m, err := g.make(ctx, t, fmt.Sprintf("correct-%d", round), g.update)
		if err != nil {
			return err
		}
		g.judge(m, s)
		all = append(all, m)
	}
	err := g.recorded(ctx, all, v1alpha1.ResolutionCorrected)
	for _, m := range all {
		err = errors.Join(err, controlplane.Eventually(ctx, func() error { return g.restored(ctx, m.object) }))
	}
	return err
}

// reportRound makes changes that are only reported, and undoes them itself.
func (g *ground) reportRound(ctx context.Context, round int, s *score) error {
	var all []made
	// Each that is open is judged anew whenever another one is made.
	for _, t := range g.next(v1alpha1.MaxStatusDrift / 2) {
		m, err := g.make(ctx, t, fmt.Sprintf("report-%d", round), g.ssa)
		if err != nil {
			return err
		}
		g.judge(m, s)
		all = append(all, m)
	}
	if err := g.recorded(ctx, all, v1alpha1.ResolutionReported); err != nil {
		return err
	}
	for _, m := range all {
		now := m.live.DeepCopy()
		if err := g.stand(ctx, now, fmt.Sprint(round+1)); err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(now.Object["spec"], m.live.Object["spec"]) {
			s.fault("%s on %s was to be reported and did not stay", m.what, m.object)
		}
		was := g.settled[m.object].DeepCopy()
		was.SetResourceVersion(now.GetResourceVersion())
		was.SetManagedFields(nil)
		if err := g.client.Update(ctx, was, client.FieldOwner("restorer")); err != nil {
			return err
		}
	}
	return g.recorded(ctx, all, v1alpha1.ResolutionCorrected)
}

// make a change as the intruder, and work out from what the API server answers
// what is to be recorded.
func (g *ground) make(ctx context.Context, t tamper, manager string, do func(context.Context, *unstructured.Unstructured, tamper, string) error) (made, error) {
	// A name for each change: a few of one actor to one object are a fight.
	m := made{tamper: t, manager: manager + "-" + strings.ToLower(strings.ReplaceAll(t.object, "/", "-"))}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(g.settled[t.object].GroupVersionKind())
	if err := g.intruder.Get(ctx, client.ObjectKeyFromObject(g.settled[t.object]), o); err != nil {
		return m, err
	}
	if err := do(ctx, o, t, m.manager); err != nil {
		return m, fmt.Errorf("%s on %s: %w", t.what, t.object, err)
	}
	m.live = o
	c, err := g.change(o)
	if err != nil || c == nil {
		return m, fmt.Errorf("%s on %s is no change: %w", t.what, t.object, err)
	}
	m.record = c.Record(time.Time{}, "")
	return m, nil
}

// change is what sets an object apart from what the operator wrote, by the
// whole of its managedFields; nil for nothing.
func (g *ground) change(o *unstructured.Unstructured) (*drift.Change, error) {
	live, err := typed(o)
	if err != nil {
		return nil, err
	}
	objects := slices.Clone(g.typed)
	key, _ := drift.KeyOf(live)
	for i, other := range objects {
		if k, _ := drift.KeyOf(other); k == key {
			objects[i] = live
		}
	}
	changes := drift.Compare(g.typed, objects, drift.Options{IntentUnchanged: true, Around: &g.world})
	switch {
	case len(changes) == 0:
		return nil, nil
	case len(changes) > 1 || changes[0].Key != key || !changes[0].Drift:
		return nil, fmt.Errorf("not one change: %+v", changes)
	}
	return &changes[0], nil
}

func (g *ground) update(ctx context.Context, o *unstructured.Unstructured, t tamper, manager string) error {
	if t.meta != nil {
		t.meta(o)
	} else {
		o.Object["spec"] = t.spec
	}
	o.SetManagedFields(nil)
	return g.intruder.Update(ctx, o, client.FieldOwner(manager))
}

// ssa makes the change by a server-side apply, or where that is no way to make it, by an update.
func (g *ground) ssa(ctx context.Context, o *unstructured.Unstructured, t tamper, manager string) error {
	if t.spec == nil {
		return g.update(ctx, o, t, manager)
	}
	was, _ := o.Object["spec"].(map[string]any)
	changed := map[string]any{}
	for name, v := range t.spec {
		if !equality.Semantic.DeepEqual(v, was[name]) {
			changed[name] = v
		}
	}
	patch, err := json.Marshal(map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "spec": changed})
	if err != nil {
		return err
	}
	applied := o.DeepCopy()
	err = g.intruder.Patch(ctx, applied, client.RawPatch("application/apply-patch+yaml", patch), client.FieldOwner(manager), client.ForceOwnership)
	if err != nil || equality.Semantic.DeepEqual(applied.Object["spec"], o.Object["spec"]) {
		return g.update(ctx, o, t, manager)
	}
	*o = *applied
	return nil
}

// judge says whether what is to be recorded is believable at all.
func (g *ground) judge(m made, s *score) {
	kind, _, _ := strings.Cut(m.object, "/")
	s.of(kind, func(t *tally) {
		t.made++
		t.effects[m.record.Effect]++
	})
	who := m.manager
	if m.silent {
		who = drift.ActorUnknown
	}
	if m.record.Actor != who {
		s.fault("%s on %s: by %s, and %s is named: %+v", m.what, m.object, who, m.record.Actor, m.record.Fields)
	}
	if m.path != nil && !slices.ContainsFunc(m.record.Fields, func(f v1alpha1.FieldChange) bool {
		at, of := plain(append([]string{"spec"}, m.path...)), plain(strings.Split(f.Path[1:], "/"))
		return strings.HasPrefix(at, of) || strings.HasPrefix(of, at)
	}) {
		s.fault("%s on %s: not among the fields %+v", m.what, m.object, m.record.Fields)
	}
	if m.record.Effect == v1alpha1.EffectNeutral && !slices.ContainsFunc(idle, func(i string) bool {
		return strings.HasPrefix(m.object+" "+m.field, i) || i == kind+" "+m.field || i == m.field || i == m.what+" on "+m.object
	}) {
		s.fault("%s on %s counts as doing nothing, and nobody has reviewed that: %+v", m.what, m.object, m.record.Fields)
	}
}

// recorded waits until changes are in the profile's status, as they were worked
// out, and the profile is in sync, or not.
func (g *ground) recorded(ctx context.Context, all []made, r v1alpha1.Resolution) error {
	sync := "True/InSync"
	if r == v1alpha1.ResolutionReported {
		sync = "False/" + v1alpha1.ReasonDriftDetected
	}
	return controlplane.Eventually(ctx, func() error {
		p := &v1alpha1.MeshSecurityProfile{}
		if err := g.client.Get(ctx, client.ObjectKey{Namespace: g.namespace, Name: "main"}, p); err != nil {
			return err
		}
		for _, d := range p.Status.Drift {
			if d.Actor == "bystander" || d.Actor == "restorer" {
				return fmt.Errorf("%s is blamed: %+v", d.Actor, d)
			}
		}
		for _, m := range all {
			if !slices.ContainsFunc(p.Status.Drift, func(d v1alpha1.DriftRecord) bool {
				resolution := d.Resolution
				d.DetectedAt, d.Resolution = m.record.DetectedAt, m.record.Resolution
				return resolution == r && equality.Semantic.DeepEqual(d, m.record)
			}) {
				return fmt.Errorf("%s on %s: no record %s %+v in %+v", m.what, m.object, r, m.record, p.Status.Drift)
			}
		}
		if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInSync); c == nil || string(c.Status)+"/"+c.Reason != sync {
			return fmt.Errorf("InSync is %+v", c)
		}
		return nil
	})
}

// restored says whether an object is as the operator wrote it.
func (g *ground) restored(ctx context.Context, name string) error {
	was, o := g.settled[name], &unstructured.Unstructured{}
	o.SetGroupVersionKind(was.GroupVersionKind())
	if err := g.client.Get(ctx, client.ObjectKeyFromObject(was), o); err != nil {
		return err
	}
	for what, pair := range map[string][2]any{
		"spec": {was.Object["spec"], o.Object["spec"]}, "labels": {was.GetLabels(), o.GetLabels()}, "annotations": {was.GetAnnotations(), o.GetAnnotations()},
		"owners": {was.GetOwnerReferences(), o.GetOwnerReferences()}, "finalizers": {was.GetFinalizers(), o.GetFinalizers()}, "UID": {was.GetUID(), o.GetUID()},
	} {
		if !equality.Semantic.DeepEqual(pair[0], pair[1]) {
			return fmt.Errorf("%s of %s are %v, not %v", what, name, pair[1], pair[0])
		}
	}
	return nil
}

// report has changes reported, and no longer corrected.
func (g *ground) report(ctx context.Context) error {
	if _, err := g.cluster.try("", "-n", g.namespace, "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"drift":{"policy":"Report"}}}`); err != nil {
		return err
	}
	return controlplane.Eventually(ctx, func() error {
		p := &v1alpha1.MeshSecurityProfile{}
		if err := g.client.Get(ctx, client.ObjectKey{Namespace: g.namespace, Name: "main"}, p); err != nil {
			return err
		}
		if p.Status.Effective == nil || p.Status.Effective.DriftPolicy != v1alpha1.DriftReport {
			return errors.New("the policy is not in force yet")
		}
		return nil
	})
}

// plain is a path in a form in which its several spellings are the same.
func plain(path []string) string {
	out := ""
	for _, seg := range path {
		out += strings.ToLower(strings.NewReplacer("~1", "/", "~0", "~", "_", "").Replace(seg)) + "\x00"
	}
	return out
}

func (g *ground) is(ctx context.Context, kind, want string) error {
	if got := g.condition(ctx, g.namespace, "main", kind)(); got != want {
		return fmt.Errorf("%s is %s", kind, got)
	}
	return nil
}

func typed(o *unstructured.Unstructured) (mesh.Object, error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	k, _ := mesh.KindNamed(o.GetKind())
	out := k.New()
	return out, json.Unmarshal(raw, out)
}

// unindexed answers from the API server what a cache answers from its indexes.
type unindexed struct{ client.Reader }

func (u unindexed) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	if o.FieldSelector == nil {
		return u.Reader.List(ctx, list, opts...)
	}
	// Nothing is exported here, and nobody depends on these namespaces.
	return meta.SetList(list, nil)
}
