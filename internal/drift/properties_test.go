package drift

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// drawn is a set of desired objects, of random kinds and sizes.
func drawn(t *testing.T, r *rapid.T) []mesh.Object {
	t.Helper()
	names := slices.Sorted(maps.Keys(specs))
	var out []mesh.Object
	for i := range rapid.IntRange(0, 12).Draw(r, "objects") {
		o := desired(t, rapid.SampledFrom(names).Draw(r, "fixture"))
		o.SetName(fmt.Sprintf("msp-%d", i))
		out = append(out, o)
	}
	return out
}

func TestComparedWithItselfIsEmpty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawn(t, r)
		var have []mesh.Object
		for _, o := range want {
			have = append(have, written(t, o))
		}
		for _, unchanged := range []bool{true, false} {
			if got := Compare(want, have, Options{IntentUnchanged: unchanged}); len(got) > 0 {
				r.Fatalf("%+v", got)
			}
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want, have := drawn(t, r), []mesh.Object{}
		for i, o := range drawn(t, r) {
			o = written(t, o)
			if i%3 == 0 {
				by(o, "somebody", int64(i), `{"f:spec":{"f:rules":{},"f:unheard-of":{}}}`)
			}
			have = append(have, o)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
		first := Compare(want, have, Options{})
		digest := Digest(want)
		want, have = slices.Clone(want), slices.Clone(have)
		rng.Shuffle(len(want), func(i, j int) { want[i], want[j] = want[j], want[i] })
		rng.Shuffle(len(have), func(i, j int) { have[i], have[j] = have[j], have[i] })
		second := Compare(want, have, Options{})
		if len(first) != len(second) {
			r.Fatalf("%d and %d changes", len(first), len(second))
		}
		for i := range first {
			a, b := first[i], second[i]
			if a.Key != b.Key || a.Type != b.Type || a.Effect != b.Effect || a.Actor != b.Actor || !slices.Equal(a.Fields, b.Fields) {
				r.Fatalf("%+v\n%+v", a, b)
			}
		}
		if d := Digest(want); d != digest {
			r.Fatalf("digest %s and %s", digest, d)
		}
	})
}

// hostile decodes whatever it is given into a live object, as a server with
// other types than ours could send it.
func hostile(t testing.TB, name, spec, managed string) mesh.Object {
	o := written(t, desired(t, name))
	if err := json.Unmarshal([]byte(`{"spec":`+spec+`}`), o); err != nil {
		return nil
	}
	entries := []metav1.ManagedFieldsEntry{}
	for _, m := range []string{"", "x", v1alpha1.ManagedByValue} {
		entries = append(entries, metav1.ManagedFieldsEntry{Manager: m, FieldsV1: metav1.NewFieldsV1(managed)}, metav1.ManagedFieldsEntry{Manager: m})
	}
	o.SetManagedFields(entries)
	o.SetOwnerReferences([]metav1.OwnerReference{{}, {APIVersion: "a/b/c"}})
	return o
}

func FuzzCompare(f *testing.F) {
	names := slices.Sorted(maps.Keys(specs))
	for i := range names {
		f.Add(uint(i), `{}`, `{"f:spec":{"f:rules":{},"f:selector":{"f:matchLabels":{"f:a":{}}}}}`)
		f.Add(uint(i), `{"rules":[{},null,{"from":[null,{}],"to":[{}],"when":[{}]}],"mtls":null,"portLevelMtls":{"1":null},"jwtRules":[null],"egress":[null,{}],"ports":[null],"accessLogging":[null,{}],"ingress":[{"from":[{}]}]}`, `{"f:spec":{"k:{\"a\":1}":{},"v:1":{},"i:0":{}}}`)
		f.Add(uint(i), `{"selector":{"matchLabels":{"~/":"\u0000"}}}`, `null`)
		f.Add(uint(i), specJSONOf(f, names[i]), `[`)
	}
	f.Fuzz(func(t *testing.T, i uint, spec, managed string) {
		name := names[i%uint(len(names))]
		have := hostile(t, name, spec, managed)
		if have == nil {
			t.Skip()
		}
		want := desired(t, name)
		for _, opts := range []Options{{}, {IntentUnchanged: true}} {
			for _, c := range Compare([]mesh.Object{want}, []mesh.Object{have}, opts) {
				for _, field := range c.Fields {
					if len(field.Path) > maxPath {
						t.Errorf("path of %d bytes", len(field.Path))
					}
				}
			}
			Compare(nil, []mesh.Object{have}, opts)
			Compare([]mesh.Object{want}, nil, opts)
		}
		if _, err := Transform(have); err != nil {
			t.Error(err)
		}
		Digest([]mesh.Object{have})
	})
}

func specJSONOf(t testing.TB, name string) string {
	raw, err := specJSON(desired(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestDigest(t *testing.T) {
	base := func() []mesh.Object { return []mesh.Object{desired(t, "msp-allow"), desired(t, "msp-net-deny")} }
	digest := Digest(base())
	if len(digest) != 64 {
		t.Fatal(digest)
	}
	if got := Digest(base()); got != digest {
		t.Error("not stable")
	}
	restored := base()
	for _, o := range restored {
		refs := o.GetOwnerReferences()
		refs[0].UID = "another"
		o.SetOwnerReferences(refs)
	}
	if Digest(restored) != digest {
		t.Error("depends on the owner's UID")
	}
	for name, change := range map[string]func(o mesh.Object) mesh.Object{
		"spec":       func(o mesh.Object) mesh.Object { return respec(t, o, `{}`) },
		"name":       func(o mesh.Object) mesh.Object { o.SetName("x"); return o },
		"label":      func(o mesh.Object) mesh.Object { label(o, "x", "y"); return o },
		"annotation": func(o mesh.Object) mesh.Object { annotate(o, "x", "y"); return o },
		"owner":      func(o mesh.Object) mesh.Object { o.SetOwnerReferences(nil); return o },
	} {
		changed := base()
		changed[0] = change(changed[0])
		if Digest(changed) == digest {
			t.Errorf("does not depend on the %s", name)
		}
	}
	// What a release wrote, the next one has to recognise: a change here makes
	// every profile's status be written anew after an upgrade.
	const released = "d41d3e4567b7ea512368f9e3c58fad85e275f69363bcffdeac6f1305874143e7"
	if digest != released {
		t.Errorf("the digest of the same objects is %s", digest)
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{
		"abcd": "abcd", "abcde": "abc…", "ääää": "ääää", "äääää": "äää…", "": "",
	} {
		if got := cut(in, 4); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := cut(strings.Repeat("\xff", 9), 4); len(got) > 6 {
		t.Errorf("%q", got)
	}
}

func BenchmarkCompareEqual(b *testing.B) {
	want, have := all(b)
	b.ReportAllocs()
	for b.Loop() {
		if len(Compare(want, have, Options{IntentUnchanged: true})) > 0 {
			b.Fatal("a change")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(want)), "µs/object")
}

func BenchmarkCompareEqualWithForeignOwner(b *testing.B) {
	want, have := all(b)
	for _, o := range have {
		by(o, "kubectl", 0, `{"f:metadata":{"f:annotations":{"f:x":{}}},"f:spec":{"f:rules":{},"f:mtls":{"f:mode":{}}}}`)
	}
	b.ReportAllocs()
	for b.Loop() {
		Compare(want, have, Options{IntentUnchanged: true})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(want)), "µs/object")
}

func BenchmarkCompareModified(b *testing.B) {
	want := desired(b, "msp-allow")
	have := respec(b, written(b, want), `{rules: [{}]}`)
	by(have, "kubectl", 0, `{"f:spec":{"f:rules":{}}}`)
	for b.Loop() {
		Compare([]mesh.Object{want}, []mesh.Object{have}, Options{IntentUnchanged: true})
	}
}

func BenchmarkDigest(b *testing.B) {
	want, _ := all(b)
	for b.Loop() {
		Digest(want)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(want)), "µs/object")
}
