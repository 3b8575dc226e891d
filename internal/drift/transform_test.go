package drift

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// serverFields is the FieldsV1 that the API server keeps for who wrote the
// whole of an object.
func serverFields(t testing.TB, o mesh.Object) string {
	t.Helper()
	set := &fieldpath.Set{}
	var walk func(p fieldpath.Path, v any)
	walk = func(p fieldpath.Path, v any) {
		if len(p) > 0 {
			set.Insert(p.Copy())
		}
		m, ok := v.(map[string]any)
		if !ok || p.Equals(fieldpath.MakePathOrDie("spec", "podSelector")) {
			return
		}
		for k, v := range m {
			if refs, ok := v.([]any); ok && k == "ownerReferences" {
				for _, r := range refs {
					uid, _ := r.(map[string]any)["uid"].(string)
					set.Insert(append(p.Copy(), fieldpath.FieldNameElement(k), fieldpath.PathElement{Key: fieldpath.KeyByFields("uid", uid)}))
				}
				continue
			}
			walk(append(p.Copy(), fieldpath.FieldNameElement(k)), v)
		}
	}
	root := whole(o)
	delete(root["metadata"].(map[string]any), "finalizers")
	walk(nil, root)
	raw, err := set.ToJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// stored is an object as the API server has it after the operator wrote it, with its managedFields.
func stored(t testing.TB, name string) mesh.Object {
	t.Helper()
	o := written(t, desired(t, name))
	o.SetManagedFields(nil)
	by(o, v1alpha1.ManagedByValue, 0, serverFields(t, o))
	entry := &o.GetManagedFields()[0]
	k, _ := mesh.KindOf(o)
	entry.APIVersion = k.GVK.GroupVersion().String()
	return o
}

func transformed(t testing.TB, o mesh.Object) mesh.Object {
	t.Helper()
	out, err := Transform(o.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	return out.(mesh.Object)
}

func last(o mesh.Object) *metav1.ManagedFieldsEntry {
	entries := o.GetManagedFields()
	return &entries[len(entries)-1]
}

func TestTransform(t *testing.T) {
	const ours = "mesh-security-operator Update"
	for _, r := range []struct {
		name, object string
		change       func(mesh.Object)
		want         []string // MANAGER OPERATION SECOND FIELDS
	}{
		{"nobody else", "msp-mtls", func(mesh.Object) {}, []string{ours}},
		{"a harmless annotation and label", "msp-mtls", func(o mesh.Object) {
			by(o, "kubectl-annotate", 5, `{"f:metadata":{"f:annotations":{"f:x":{}},"f:labels":{"f:team":{}}}}`)
		}, []string{ours}},
		{"the status", "msp-mtls", func(o mesh.Object) {
			by(o, "pilot-discovery", 5, `{"f:status":{"f:conditions":{}},"f:spec":{"f:selector":{}}}`)
			last(o).Subresource = "status"
		}, []string{ours}},
		{"what the operator owns as well", "msp-mtls", func(o mesh.Object) {
			by(o, "argocd", 5, serverFields(t, o))
			last(o).Operation = metav1.ManagedFieldsOperationApply
		}, []string{ours}},
		{"a part of the spec, by an apply", "msp-mtls", func(o mesh.Object) {
			by(o, "argocd", 5, `{"f:metadata":{"f:annotations":{"f:x":{}}},"f:spec":{".":{},"f:mtls":{".":{},"f:mode":{}},"f:portLevelMtls":{".":{},"f:80":{".":{},"f:mode":{}}}}}`)
			last(o).Operation = metav1.ManagedFieldsOperationApply
		}, []string{ours, `argocd Apply 5 {"f:spec":{"f:portLevelMtls":{"f:80":{"f:mode":{}}}}}`}},
		{"metadata that matters", "msp-mtls", func(o mesh.Object) {
			by(o, "x", 5, `{"f:metadata":{"f:annotations":{"f:istio.io/dry-run":{},"f:x":{}},"f:labels":{"f:app.kubernetes.io/managed-by":{}},"f:finalizers":{".":{},"v:\"a/b\"":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"b\"}":{}}}}`)
		}, []string{ours, `x Update 5 {"f:metadata":{"f:annotations":{"f:istio.io/dry-run":{}},"f:finalizers":{"v:\"a/b\"":{}},"f:ownerReferences":{"k:{\"uid\":\"b\"}":{}}}}`}},
		{"the latest first", "msp-default-deny", func(o mesh.Object) {
			by(o, "first", 5, `{"f:spec":{"f:rules":{}}}`)
			by(o, "second", 6, `{"f:spec":{"f:action":{}}}`)
		}, []string{ours, `second Update 6 {"f:spec":{"f:action":{}}}`, `first Update 5 {"f:spec":{"f:rules":{}}}`}},
		{"what our types do not know, cut where they end", "msp-mtls", func(o mesh.Object) {
			by(o, "newer", 5, `{"f:spec":{"f:mtls":{"f:exempt":{"f:a":{},"f:b":{}}}}}`)
		}, []string{ours, `newer Update 5 {"f:spec":{"f:mtls":{"f:exempt":{}}}}`}},
		{"the same under our name", "msp-mtls", func(o mesh.Object) {
			by(o, v1alpha1.ManagedByValue, 5, `{"f:spec":{"f:mtls":{"f:exempt":{}}}}`)
		}, []string{ours, ` Update 5 {"f:spec":{"f:mtls":{"f:exempt":{}}}}`}},
		{"our name, by an apply, which we never do", "msp-mtls", func(o mesh.Object) {
			by(o, v1alpha1.ManagedByValue, 5, `{"f:spec":{"f:selector":{}}}`)
			last(o).Operation = metav1.ManagedFieldsOperationApply
		}, []string{ours, ` Apply 5 {"f:spec":{"f:selector":{}}}`}},
		{"what can not be read", "msp-mtls", func(o mesh.Object) { by(o, "odd", 5, `{"f:spec":`) }, []string{ours}},
		{"no trace of us", "msp-mtls", func(o mesh.Object) {
			o.SetManagedFields(nil)
			by(o, "helm", 5, `{"f:spec":{"f:mtls":{"f:mode":{}}}}`)
		}, []string{`helm Update 5 {"f:spec":{"f:mtls":{"f:mode":{}}}}`}},
		{"a foreign object", "msp-mtls", func(o mesh.Object) {
			o.SetName("theirs")
			o.SetManagedFields(nil)
			by(o, "helm", 5, `{"f:spec":{"f:mtls":{"f:mode":{}}}}`)
			by(o, "istioctl", 6, `{"f:spec":{"f:selector":{}}}`)
			by(o, "kubectl-annotate", 7, `{"f:metadata":{"f:annotations":{"f:x":{}}}}`)
		}, []string{`istioctl Update 6 {"f:spec":{}}`}},
	} {
		t.Run(strings.ReplaceAll(r.name, " ", "-"), func(t *testing.T) {
			o := stored(t, r.object)
			r.change(o)
			once := transformed(t, o)
			var got []string
			for _, e := range once.GetManagedFields() {
				s := e.Manager + " " + string(e.Operation)
				if e.FieldsV1 != nil {
					s += fmt.Sprintf(" %d %s", e.Time.Unix()-1_790_000_000, e.FieldsV1.GetRawString())
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(r.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(once.GetManagedFields(), transformed(t, once).GetManagedFields(), cmp.Comparer(func(a, b metav1.FieldsV1) bool { return a.Equal(b) })); diff != "" {
				t.Errorf("not idempotent: %s", diff)
			}
		})
	}
	if x, err := Transform("no object"); x != "no object" || err != nil {
		t.Error("not left alone")
	}
}

// TestTheDigestTellsTheSame holds every row of TestCompare against what Compare
// finds when the cache had the object.
func TestTheDigestTellsTheSame(t *testing.T) {
	for _, r := range rows() {
		want := desired(t, r.object)
		live := r.change(t, written(t, want))
		if live == nil {
			continue
		}
		same(t, r.name, want, live, r.opts)
	}
}

func same(t *testing.T, name string, want, live mesh.Object, opts Options) {
	t.Helper()
	whole := Compare([]mesh.Object{want}, []mesh.Object{live}, opts)
	digest := Compare([]mesh.Object{want}, []mesh.Object{transformed(t, live)}, opts)
	if len(whole) != len(digest) {
		t.Fatalf("%s: %d changes and %d", name, len(whole), len(digest))
	}
	for i, a := range whole {
		b := digest[i]
		a.Live, b.Live = nil, nil
		a.Desired, b.Desired = nil, nil
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s (-whole +digest):\n%s", name, diff)
		}
	}
}

// A few people write to an object, one after the other, some of them nothing
// that matters. Who made what differs is worked out here from the story, not
// from managedFields.
func TestAttributionTellsTheStory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := desired(t, "msp-mtls-scrape")
		live := stored(t, "msp-mtls-scrape")
		owner := map[string]string{} // of what is not as desired, by path
		at := map[string]int{}
		fields := map[string][]string{}
		for i := range rapid.IntRange(0, 12).Draw(r, "writes") {
			who := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "who")
			deed := rapid.SampledFrom(deeds).Draw(r, "deed")
			for w := range fields {
				fields[w] = slices.DeleteFunc(fields[w], func(f string) bool { return f == deed.fields })
			}
			live = deed.do(t, live)
			if fields[who] = append(fields[who], deed.fields); deed.path != "" {
				owner[deed.path] = who
			}
			at[who] = i + 1
		}
		live.SetManagedFields(live.GetManagedFields()[:1])
		for _, who := range []string{"a", "b", "c"} {
			if len(fields[who]) > 0 {
				by(live, who, int64(at[who]), merged(t, fields[who]))
			}
		}
		expect, latest := ActorUnknown, 0
		for _, who := range owner {
			if at[who] > latest {
				expect, latest = who, at[who]
			}
		}
		same(t, "story", want, live, Options{IntentUnchanged: true})
		got := Compare([]mesh.Object{want}, []mesh.Object{transformed(t, live)}, Options{IntentUnchanged: true})
		if len(got) == 0 {
			if len(owner) > 0 {
				r.Fatalf("nothing found of %v", owner)
			}
			return
		}
		if got[0].Actor != expect {
			r.Fatalf("by %s, and it was %s: %v", got[0].Actor, expect, owner)
		}
		if expect != ActorUnknown && !got[0].At.Equal(time.Unix(1_790_000_000+int64(latest), 0)) {
			r.Fatalf("at %v", got[0].At)
		}
	})
}

// deeds are things to do to msp-mtls-scrape; path is empty for what is no difference.
var deeds = []struct {
	path, fields string
	do           func(t *testing.T, o mesh.Object) mesh.Object
}{
	{"/metadata/annotations/istio.io~1dry-run", `{"f:metadata":{"f:annotations":{"f:istio.io/dry-run":{}}}}`, meta(func(o mesh.Object) { annotate(o, "istio.io/dry-run", "true") })},
	{"/metadata/labels/istio.io~1rev", `{"f:metadata":{"f:labels":{"f:istio.io/rev":{}}}}`, meta(func(o mesh.Object) { label(o, "istio.io/rev", "x") })},
	{"/metadata/finalizers", `{"f:metadata":{"f:finalizers":{".":{},"v:\"a/b\"":{}}}}`, meta(func(o mesh.Object) { o.SetFinalizers([]string{"a/b"}) })},
	{"/spec/mtls/exempt", `{"f:spec":{"f:mtls":{"f:exempt":{}}}}`, meta(func(mesh.Object) {})},
	{"/spec/portLevelMtls/80", `{"f:spec":{"f:portLevelMtls":{"f:80":{".":{},"f:mode":{}}}}}`, func(t *testing.T, o mesh.Object) mesh.Object {
		t.Helper()
		return respec(t, o, `{selector: {matchLabels: {app: ledger}}, mtls: {mode: STRICT}, portLevelMtls: {"9100": {mode: PERMISSIVE}, "80": {mode: DISABLE}}}`)
	}},
	{"", `{"f:metadata":{"f:annotations":{".":{},"f:x":{}}}}`, meta(func(o mesh.Object) { annotate(o, "x", "y") })},
	{"", `{"f:metadata":{"f:labels":{"f:team":{}}}}`, meta(func(o mesh.Object) { label(o, "team", "y") })},
}

func merged(t testing.TB, fields []string) string {
	t.Helper()
	all := &fieldpath.Set{}
	for _, f := range fields {
		set := &fieldpath.Set{}
		if err := set.FromJSON(strings.NewReader(f)); err != nil {
			t.Fatal(err)
		}
		all = all.Union(set)
	}
	raw, err := all.ToJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Nobody who had no part in it is named.
func TestNoInnocentIsNamed(t *testing.T) {
	for _, r := range []struct {
		name, object string
		change       func(*testing.T, mesh.Object) mesh.Object
	}{
		{"a field goes, and somebody else annotated lately", "msp-mtls", spec(`{mtls: {}}`, "kubectl-annotate", `{"f:metadata":{"f:annotations":{"f:x":{}}}}`)},
		{"a field goes, and somebody else gave a default by name", "msp-allow", func(t *testing.T, o mesh.Object) mesh.Object {
			t.Helper()
			by(o, "tidy", 60, `{"f:spec":{"f:action":{}}}`)
			return respec(t, o, `{rules: []}`)
		}},
		{"a field goes, and somebody else applied the same as we", "msp-mtls", func(t *testing.T, o mesh.Object) mesh.Object {
			t.Helper()
			o = respec(t, o, `{mtls: {}}`)
			o.SetManagedFields(nil)
			by(o, v1alpha1.ManagedByValue, 0, serverFields(t, o))
			by(o, "argocd", 60, serverFields(t, o))
			return o
		}},
		{"a field goes from an object that somebody else applied around it", "msp-mtls", spec(`{mtls: {}}`, "argocd", `{"f:spec":{"f:mtls":{}}}`)},
		{"our label goes, and somebody else made the first label", "msp-mtls", func(_ *testing.T, o mesh.Object) mesh.Object {
			o.SetLabels(nil)
			by(o, "team", 60, `{"f:metadata":{"f:labels":{".":{},"f:team":{}}}}`)
			return o
		}},
		{"a finalizer comes, and somebody else has the list alone", "msp-mtls", func(_ *testing.T, o mesh.Object) mesh.Object {
			o.SetFinalizers([]string{"a/b"})
			by(o, "tidy", 60, `{"f:metadata":{"f:finalizers":{}}}`)
			return o
		}},
		{"a port goes, and somebody else owns another one as it should be", "msp-egress-api", func(t *testing.T, o mesh.Object) mesh.Object {
			t.Helper()
			by(o, "adopted-from", 60, `{"f:spec":{"f:ports":{"k:{\"name\":\"tls-443\"}":{".":{},"f:name":{},"f:number":{},"f:protocol":{}}}}}`)
			return respec(t, o, `{hosts: [api.stripe.com], exportTo: ["."], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: tls-443, protocol: TLS}, {number: 80, name: x}]}`)
		}},
	} {
		want := desired(t, r.object)
		live := r.change(t, written(t, want))
		got := Compare([]mesh.Object{want}, []mesh.Object{live}, Options{IntentUnchanged: true})
		if len(got) != 1 || got[0].Actor != ActorUnknown || got[0].At != nil {
			t.Errorf("%s: %+v", r.name, got)
		}
		same(t, r.name, want, live, Options{IntentUnchanged: true})
	}
}

// What belongs to us and is as we wrote it is nobody's drift when our intent moves.
func TestWhoAppliesTheSameIsNotBlamedForOurIntent(t *testing.T) {
	live := stored(t, "msp-mtls")
	by(live, "argocd", 60, serverFields(t, live))
	last(live).Operation = metav1.ManagedFieldsOperationApply
	want := respec(t, desired(t, "msp-mtls"), `{mtls: {mode: PERMISSIVE}}`)
	got := Compare([]mesh.Object{want}, []mesh.Object{live}, Options{})
	if len(got) != 1 || got[0].Drift || got[0].Actor != ActorUnknown {
		t.Errorf("%+v", got)
	}
}

func TestTheDigestIsBounded(t *testing.T) {
	var fields, unknown []string
	for i := range 2000 {
		fields = append(fields, fmt.Sprintf(`"f:%d%s":{"f:mode":{}}`, i, strings.Repeat("9", 500)))
		unknown = append(unknown, fmt.Sprintf(`"f:%d%s":{}`, i, strings.Repeat("x", i)))
	}
	o := stored(t, "msp-mtls")
	for i := range 30 {
		by(o, strings.Repeat(string(rune('a'+i)), 128), int64(i), `{"f:spec":{"f:portLevelMtls":{`+strings.Join(fields, ",")+`}}}`)
	}
	by(o, "hides", -5, `{"f:spec":{`+strings.Join(unknown, ",")+`}}`)
	digest := transformed(t, o)
	raw, err := json.Marshal(digest.GetManagedFields())
	if err != nil || len(raw) > 16<<10 {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
	// However much there is before it, what our types don't know is found.
	got := Compare([]mesh.Object{desired(t, "msp-mtls")}, []mesh.Object{digest}, Options{IntentUnchanged: true})
	if len(got) != 1 || got[0].Effect != weakens || got[0].Actor != "hides" {
		t.Errorf("%+v", got)
	}
	for _, f := range got[0].Fields {
		if len(f.Path) > maxPath {
			t.Errorf("path of %d bytes", len(f.Path))
		}
	}
	crowd := stored(t, "msp-mtls")
	for i := range 30 {
		by(crowd, fmt.Sprint("m", i), int64(i), fmt.Sprintf(`{"f:metadata":{"f:labels":{"f:istio.io/%d":{}}}}`, i))
	}
	if entries := transformed(t, crowd).GetManagedFields(); len(entries) != 1+maxManagers || entries[1].Manager != "m29" {
		t.Errorf("%d entries", len(entries))
	}
	long := stored(t, "msp-mtls")
	by(long, "hides", 5, `{"f:spec":{"f:`+strings.Repeat("x", 1000)+`":{}}}`)
	if got := Compare([]mesh.Object{desired(t, "msp-mtls")}, []mesh.Object{transformed(t, long)}, Options{}); len(got) != 1 || got[0].Fields[0].Path != "/spec/…" {
		t.Errorf("a path that is too long: %+v", got)
	}
}
