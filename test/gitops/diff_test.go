package gitops

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// strategies are Argo CD's three ways to tell whether an object is OutOfSync.
func (c *cluster) strategies() map[string][]diff.Option {
	common := []diff.Option{diff.WithLogr(logr.Discard()), diff.WithManager(manager), diff.WithGVKParser(c.parser)}
	with := func(o ...diff.Option) []diff.Option { return append(o, common...) }
	return map[string][]diff.Option{
		"three-way":        with(),
		"structured merge": with(diff.WithStructuredMergeDiff(true)),
		"server-side":      with(diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(c.dryRun)),
	}
}

// outOfSync lists the strategies by which a live object differs from what is in
// Git, with the difference.
func (c *cluster) outOfSync(t *testing.T, git *unstructured.Unstructured) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, options := range c.strategies() {
		r, err := diff.Diff(git.DeepCopy(), c.live(t, git), options...)
		if err != nil {
			t.Fatalf("%s of %s %s: %v", name, git.GetKind(), git.GetName(), err)
		}
		if r.Modified {
			out[name] = cmp.Diff(string(r.PredictedLive), string(r.NormalizedLive))
		}
	}
	return out
}

func (c *cluster) inSync(t *testing.T, when string, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		for strategy, difference := range c.outOfSync(t, o) {
			t.Errorf("%s %s is OutOfSync by %s, %s (-Git +live):\n%s", o.GetKind(), o.GetName(), strategy, when, difference)
		}
	}
}

// largest are objects that use every field of the API, and the least that there can be.
func largest(t *testing.T, namespace string) (out []*unstructured.Unstructured) {
	t.Helper()
	files, err := filepath.Glob(root + "/test/cel/testdata/*/*.yaml")
	must(t, err)
	for _, f := range files {
		kind, size := filepath.Base(filepath.Dir(f)), strings.TrimSuffix(filepath.Base(f), ".yaml")
		o := object(group+"/v1alpha1", kind, "", namespace+"-"+size)
		if kind == "MeshSecurityProfile" {
			o.SetNamespace(namespace + "-" + size)
		}
		var spec map[string]any
		must(t, yaml.Unmarshal(read(t, f), &spec))
		o.Object["spec"] = spec
		raw, err := o.MarshalJSON()
		must(t, err)
		out = append(out, tracked(decode(t, raw)))
	}
	if len(out) != 2*len(kinds) {
		t.Fatalf("%d objects", len(out))
	}
	return out
}

// enforced is a profile that is put in force by objects of every kind.
func enforced(t *testing.T, namespace string) *unstructured.Unstructured {
	t.Helper()
	return tracked(decode(t, []byte(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: `+namespace+`}
spec:
  enforcementMode: Enforce
  mutualTLS: {mode: Strict}
  authorization:
    defaultAction: Deny
    rules:
    - {name: callers, from: [{entity: SameNamespace}], to: [{ports: [8080], methods: [GET]}]}
  egress:
    defaultAction: Deny
    assurance: Network
    rules:
    - {name: database, to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]}
  logging: {accessLog: Denied}
`)))
}

// nothingIsOutOfSync comes before the operator runs, and goes on when it does.
func nothingIsOutOfSync(t *testing.T, c *cluster, operate func()) { //nolint:thelper // a test: its failures have lines of their own
	ways := map[string]bool{"client": false, "server": true}
	var all, profiles []*unstructured.Unstructured
	for way, serverSide := range ways {
		objects := largest(t, way)
		for _, size := range []string{"full", "minimal"} {
			c.namespace(t, way+"-"+size)
		}
		c.namespace(t, way+"-enforced")
		p := enforced(t, way+"-enforced")
		profiles = append(profiles, p)
		objects = append(objects, p)
		for _, o := range objects {
			c.apply(t, o, serverSide)
		}
		all = append(all, objects...)
	}
	c.inSync(t, "as the API server stores it", all)

	operate()
	for _, o := range all {
		eventually(t, "a status of "+o.GetKind()+" "+o.GetName(), func() bool {
			live := c.live(t, o)
			observed, _, err := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
			must(t, err)
			return observed == live.GetGeneration()
		})
	}
	for _, p := range profiles {
		c.settled(t, p, "Healthy")
	}
	c.inSync(t, "once the operator has seen it", all)
	for _, o := range all {
		agree(t, c.live(t, o))
		if g := c.live(t, o).GetGeneration(); g != 1 {
			t.Errorf("%s %s is of generation %d: somebody changed its spec", o.GetKind(), o.GetName(), g)
		}
	}
	for _, p := range profiles {
		if len(c.live(t, p).GetFinalizers()) == 0 {
			t.Errorf("%s has no finalizer: what of it has the operator touched?", p.GetNamespace())
		}
	}

	t.Run("children have nothing of Argo CD's on them", func(t *testing.T) {
		for _, p := range profiles {
			children := c.written(t, p.GetNamespace())
			if len(children) != 8 {
				t.Errorf("%d objects are written for %s", len(children), p.GetNamespace())
			}
			for _, o := range children {
				if o.GetLabels()[trackingLabel] != "" || o.GetAnnotations()[trackingAnnotation] != "" || o.GetAnnotations()[diff.AnnotationLastAppliedConfig] != "" {
					t.Errorf("%s %s: labels %v, annotations %v", o.GetKind(), o.GetName(), o.GetLabels(), o.GetAnnotations())
				}
			}
		}
	})

	t.Run("drift and its correction change nothing", func(t *testing.T) {
		payments := profiles[0]
		mtls := object("security.istio.io/v1", "PeerAuthentication", payments.GetNamespace(), "msp-mtls")
		must(t, c.client.Patch(t.Context(), mtls, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`))))
		eventually(t, "a record of the drift", func() bool {
			drift, _, err := unstructured.NestedSlice(c.live(t, payments).Object, "status", "drift")
			must(t, err)
			return len(drift) == 1
		})
		c.inSync(t, "after drift", []*unstructured.Unstructured{payments})
	})

	t.Run("actions change nothing", func(t *testing.T) {
		payments := profiles[0]
		for _, value := range []string{`"true"`, `null`} {
			o := c.live(t, payments)
			must(t, c.client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+paused+`":`+value+`}}}`))))
			c.settled(t, payments, map[string]string{`"true"`: "Suspended", `null`: "Healthy"}[value])
			c.inSync(t, "with the annotation "+value, []*unstructured.Unstructured{payments})
		}
	})

	// Or the above would prove nothing.
	t.Run("what somebody changes is OutOfSync", func(t *testing.T) {
		for _, p := range profiles {
			before := c.live(t, p)
			for name, change := range map[string]func(o *unstructured.Unstructured){
				"mode": func(o *unstructured.Unstructured) {
					must(t, unstructured.SetNestedField(o.Object, "Audit", "spec", "enforcementMode"))
				},
				"a rule more": func(o *unstructured.Unstructured) {
					rules, _, err := unstructured.NestedSlice(o.Object, "spec", "authorization", "rules")
					must(t, err)
					rules = append(rules, map[string]any{"name": "mine", "from": []any{map[string]any{"entity": "Anyone"}}})
					must(t, unstructured.SetNestedSlice(o.Object, rules, "spec", "authorization", "rules"))
				},
			} {
				o := before.DeepCopy()
				change(o)
				must(t, c.client.Patch(t.Context(), o, client.MergeFrom(before), client.FieldOwner("mallory")))
				if got := c.outOfSync(t, p); len(got) != 3 {
					t.Errorf("%s of %s is changed, and that is seen by %d of three strategies: %v", name, p.GetNamespace(), len(got), got)
				}
				must(t, c.client.Patch(t.Context(), c.live(t, p), client.RawPatch(types.MergePatchType, spec(before)), client.FieldOwner(manager)))
			}
		}
	})

	// docs/how-to/gitops.md says so, and what to do about it.
	t.Run("what Git leaves out is not seen", func(t *testing.T) {
		for _, p := range profiles {
			must(t, c.client.Patch(t.Context(), c.live(t, p), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"preflight":"Warn"}}`)), client.FieldOwner("mallory")))
			c.inSync(t, "with a field that Git leaves out", []*unstructured.Unstructured{p})
		}
	})

	// One of them is about every namespace.
	for _, o := range all {
		if o.GetKind() == "MeshSecurityBaseline" {
			must(t, c.client.Delete(t.Context(), o))
			eventually(t, "a baseline is gone", func() bool { return !c.there(t, o) })
		}
	}
}

// spec is a patch that puts an object's spec in the place of another one.
func spec(o *unstructured.Unstructured) []byte {
	raw, err := json.Marshal(map[string]any{"spec": o.Object["spec"]})
	if err != nil {
		panic(err)
	}
	return raw
}

// installationIsInSync is about what installs the operator, by the strategies
// that Argo CD takes for the way in which it was applied. It comes last: from
// then on the guards are in force.
func installationIsInSync(t *testing.T, c *cluster) { //nolint:thelper // a test: its failures have lines of their own
	for _, ns := range []string{"istio-system", "mesh-security-system", "payments", "shop"} {
		c.namespace(t, ns)
	}
	for _, serverSide := range []bool{false, true} {
		for _, o := range built(t, examples+"/operator") {
			o = tracked(o)
			c.apply(t, o, serverSide)
			taken := []string{"three-way", "server-side"}
			if serverSide {
				taken = []string{"structured merge", "server-side"}
			}
			different := c.outOfSync(t, o)
			for _, strategy := range taken {
				if d, ok := different[strategy]; ok {
					t.Errorf("server-side apply %t: %s %s is OutOfSync by %s:\n%s", serverSide, o.GetKind(), o.GetName(), strategy, d)
				}
			}
		}
	}

	t.Run("a team's account may write its profiles and nothing else", func(t *testing.T) { accountsKeepTeamsApart(t, c) })
}

// accountsKeepTeamsApart is about the accounts by which Flux applies teams' folders.
func accountsKeepTeamsApart(t *testing.T, c *cluster) { //nolint:thelper // a test: its failures have lines of their own
	for _, doc := range documents(t, read(t, examples+"/clusters/production/flux/teams.yaml")) {
		if o := decode(t, doc); o.GroupVersionKind().Group != "kustomize.toolkit.fluxcd.io" {
			c.apply(t, o, true)
		}
	}
	may := func(verb, group, resource, namespace string) bool {
		t.Helper()
		review := object("authorization.k8s.io/v1", "SubjectAccessReview", "", "")
		review.Object["spec"] = map[string]any{
			"user":               "system:serviceaccount:payments:mesh-security",
			"groups":             []any{"system:serviceaccounts", "system:serviceaccounts:payments", "system:authenticated"},
			"resourceAttributes": map[string]any{"verb": verb, "group": group, "resource": resource, "namespace": namespace},
		}
		must(t, c.client.Create(t.Context(), review))
		allowed, _, err := unstructured.NestedBool(review.Object, "status", "allowed")
		must(t, err)
		return allowed
	}
	for _, verb := range []string{"get", "list", "create", "patch", "delete"} { // what Flux does
		if !may(verb, group, "meshsecurityprofiles", "payments") {
			t.Errorf("may not %s profiles in its own namespace", verb)
		}
		if may(verb, group, "meshsecurityprofiles", "shop") {
			t.Errorf("may %s profiles of others", verb)
		}
	}
	for _, w := range []struct{ group, resource, namespace string }{
		{group, "meshsecuritybaselines", ""}, {group, "meshsecurityexceptions", ""}, {"", "namespaces", ""}, {"", "secrets", "payments"},
		{"security.istio.io", "authorizationpolicies", "payments"}, {"apps", "deployments", "payments"},
	} {
		if may("patch", w.group, w.resource, w.namespace) {
			t.Errorf("may patch %s", w.resource)
		}
	}
}
