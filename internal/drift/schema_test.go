package drift

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	netv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// An intruder may set any field that the schema of a managed kind has. Every
// one of them must be found, attributed to the intruder, and undone by what
// replaces the object: the fields are read from the schemas themselves, so that
// a new version of a mesh can't add one that goes unnoticed.

// leaf is a field of a schema that has a value.
type leaf struct {
	// path has "*" for the entries of a list and "{}" for the keys of a map.
	path []string
	// values to try, until one is decoded into something else than is there.
	values []any
	// keys is the key of the list of maps that the path goes through, if any.
	key string
}

func (l leaf) String() string { return "/spec/" + strings.Join(l.path, "/") }

func TestEveryFieldOfEverySchema(t *testing.T) {
	istio := istioSchemas(t)
	for _, k := range mesh.ManagedKinds() {
		t.Run(k.GVK.Kind, func(t *testing.T) {
			var leaves []leaf
			if k.GVK.Kind == "NetworkPolicy" {
				leaves = typeLeaves(reflect.TypeFor[netv1.NetworkPolicySpec](), nil)
			} else {
				s, ok := istio[k.CRD()+"/"+k.GVK.Version]
				if !ok {
					t.Fatalf("no schema for %s", k.CRD())
				}
				leaves = schemaLeaves(s, leaf{})
			}
			tried := 0
			for name, s := range specs {
				if s.kind != k.GVK.Kind {
					continue
				}
				for _, l := range leaves {
					for _, add := range []bool{true, false} {
						intrude(t, desired(t, name), l, add)
						tried++
					}
				}
			}
			t.Logf("%d fields, %d intrusions", len(leaves), tried)
			if tried == 0 {
				t.Error("no object of this kind was tried")
			}
		})
	}
}

// twin says whether the field has no effect next to one that is there: Istio's
// decoder, like ours, takes jwksUri where both are given.
func twin(l leaf, add bool) bool { return l.path[len(l.path)-1] == "jwks_uri" && !add }

func intrude(t *testing.T, want mesh.Object, l leaf, add bool) {
	t.Helper()
	have, path, ok := set(t, want, l, add)
	if !ok {
		if !twin(l, add) {
			t.Errorf("%s on %s: no value shows in the typed object (add %t)", l, want.GetName(), add)
		}
		return
	}
	by(have, "somebody", 1, `{"f:metadata":{"f:annotations":{"f:a":{}}}}`)
	by(have, "intruder", 0, owning(t, l, path))
	got := Compare([]mesh.Object{want}, []mesh.Object{have}, Options{IntentUnchanged: true})
	if len(got) != 1 || got[0].Type != Modified || len(got[0].Fields) == 0 {
		t.Errorf("%s on %s: not found (add %t)", l, want.GetName(), add)
		return
	}
	for _, f := range got[0].Fields {
		at := ""
		for _, seg := range path {
			at += "/" + escape(seg)
		}
		at += "/"
		if f.Path == "/spec" || (!strings.HasPrefix(at, f.Path+"/") && !strings.HasPrefix(f.Path+"/", at)) {
			t.Errorf("%s on %s: reported as %s (add %t)", l, want.GetName(), f.Path, add)
		}
	}
	if got[0].Actor != "intruder" {
		t.Errorf("%s on %s: attributed to %s, fields %+v", l, want.GetName(), got[0].Actor, got[0].Fields)
	}
	// Found too while our own intent moves, since somebody else owns it.
	if moving := Compare([]mesh.Object{want}, []mesh.Object{have}, Options{}); !moving[0].Drift {
		t.Errorf("%s on %s: not drift while our intent moves", l, want.GetName())
	}
	if rest := Compare([]mesh.Object{want}, []mesh.Object{Overlay(want, have)}, Options{}); len(rest) > 0 {
		t.Errorf("%s on %s: not undone: %+v", l, want.GetName(), rest[0].Fields)
	}
}

// set is the written object with the field set: added beside what is there, or
// in its place. The path has the indices and keys that were used.
func set(t *testing.T, want mesh.Object, l leaf, add bool) (mesh.Object, []string, bool) {
	t.Helper()
	k, _ := mesh.KindOf(want)
	for _, v := range l.values {
		for _, key := range []string{"intruder", "9999"} {
			have := written(t, want)
			raw, err := json.Marshal(have)
			if err != nil {
				t.Fatal(err)
			}
			var root map[string]any
			if err := json.Unmarshal(raw, &root); err != nil {
				t.Fatal(err)
			}
			path := []string{"spec"}
			spec, _ := root["spec"].(map[string]any)
			if spec == nil {
				spec = map[string]any{}
			}
			root["spec"] = put(spec, l.path, v, key, l.key, add, &path)
			if raw, err = json.Marshal(root); err != nil {
				t.Fatal(err)
			}
			out := k.New()
			if err := json.Unmarshal(raw, out); err != nil {
				continue // not of this type, or not beside what is there
			}
			if !specEqual(have, out) {
				return out, path, true
			}
		}
	}
	return nil, nil, false
}

func put(node any, path []string, v any, key, listKey string, add bool, at *[]string) any {
	if len(path) == 0 {
		return v
	}
	switch path[0] {
	case "*":
		list, _ := node.([]any)
		i := len(list)
		if !add && i > 0 {
			i = 0
		}
		*at = append(*at, fmt.Sprint(i))
		if i == len(list) {
			var entry any
			if listKey != "" && len(path) > 1 {
				entry = map[string]any{listKey: key}
			}
			return append(list, put(entry, path[1:], v, key, "", add, at))
		}
		list[i] = put(list[i], path[1:], v, key, "", add, at)
		return list
	case "{}":
		m, _ := node.(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		if !add && len(m) > 0 {
			key = slices.Sorted(maps.Keys(m))[0]
		}
		*at = append(*at, key)
		m[key] = put(m[key], path[1:], v, key, "", add, at)
		return m
	}
	m, _ := node.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	*at = append(*at, path[0])
	m[path[0]] = put(m[path[0]], path[1:], v, key, listKey, add, at)
	return m
}

// owning is the FieldsV1 of a manager that set the field: a list belongs to it
// as a whole, but for lists that the schema keys.
func owning(t *testing.T, l leaf, path []string) string {
	t.Helper()
	p := fieldpath.MakePathOrDie("spec")
	for i, seg := range path[1:] {
		if l.path[i] == "*" {
			if l.key == "" {
				break
			}
			name := "tls-443"
			if seg != "0" {
				name = "intruder"
			}
			if l.path[len(l.path)-1] == l.key {
				break // who sets the key itself makes another entry
			}
			p = append(p, fieldpath.KeyElement(value.Field{Name: l.key, Value: value.NewValueInterface(name)}))
			continue
		}
		p = append(p, fieldpath.FieldNameElement(seg))
	}
	s := &fieldpath.Set{}
	s.Insert(p)
	raw, err := s.ToJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func schemaLeaves(s apiextensionsv1.JSONSchemaProps, l leaf) []leaf {
	at := func(seg, key string) leaf {
		out := leaf{path: append(slices.Clone(l.path), seg), key: l.key}
		if key != "" {
			out.key = key
		}
		return out
	}
	var out []leaf
	switch {
	case len(s.Properties) > 0:
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			out = append(out, schemaLeaves(s.Properties[name], at(name, ""))...)
		}
		return out
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return schemaLeaves(*s.AdditionalProperties.Schema, at("{}", ""))
	case s.Items != nil && s.Items.Schema != nil:
		key := ""
		if len(s.XListMapKeys) > 0 {
			key = s.XListMapKeys[0]
		}
		return schemaLeaves(*s.Items.Schema, at("*", key))
	}
	for _, e := range s.Enum {
		var v any
		if json.Unmarshal(e.Raw, &v) == nil {
			l.values = append(l.values, v)
		}
	}
	if len(l.values) == 0 {
		l.values = []any{"intruder", "7s", true, 7, 0.5, map[string]any{"intruder": "x"}}
	}
	return []leaf{l}
}

// typeLeaves does the same for a type of Kubernetes itself, whose schema is its Go type.
func typeLeaves(t reflect.Type, path []string) []leaf {
	at := func(seg string) []string { return append(slices.Clone(path), seg) }
	switch {
	case t.Kind() == reflect.Pointer:
		return typeLeaves(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return typeLeaves(t.Elem(), at("*"))
	case t.Kind() == reflect.Map:
		return typeLeaves(t.Elem(), at("{}"))
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[intstr.IntOrString]():
		var out []leaf
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			out = append(out, typeLeaves(f.Type, at(name))...)
		}
		return out
	}
	return []leaf{{path: path, values: []any{"SCTP", "Ingress", 7, "intruder"}}}
}

// istioSchemas are the spec schemas of Istio's own CRDs, by NAME/VERSION.
func istioSchemas(t *testing.T) map[string]apiextensionsv1.JSONSchemaProps {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw := read(t, filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	out := map[string]apiextensionsv1.JSONSchemaProps{}
	for _, doc := range strings.Split(string(raw), "\n---\n") {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal([]byte(doc), &crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			out[crd.Name+"/"+v.Name] = v.Schema.OpenAPIV3Schema.Properties["spec"]
		}
	}
	return out
}

// What Kubernetes puts into metadata, and who may matter to the mesh or to the
// garbage collector, is listed here by hand: metadata has one schema for all.
func TestEveryMetadataThatMatters(t *testing.T) {
	matter := map[string]func(mesh.Object){
		"labels":      func(o mesh.Object) { label(o, "istio.io/rev", "x") },
		"annotations": func(o mesh.Object) { annotate(o, "istio.io/dry-run", "true") },
		"owner":       func(o mesh.Object) { o.SetOwnerReferences([]metav1.OwnerReference{{Kind: "Pod", Name: "x"}}) },
		"finalizers":  func(o mesh.Object) { o.SetFinalizers([]string{"a/b"}) },
	}
	for name := range specs {
		for what, change := range matter {
			want := desired(t, name)
			have := written(t, want)
			change(have)
			if got := Compare([]mesh.Object{want}, []mesh.Object{have}, Options{IntentUnchanged: true}); len(got) != 1 || !got[0].Drift {
				t.Errorf("%s: %s not found", name, what)
			}
			if rest := Compare([]mesh.Object{want}, []mesh.Object{Overlay(want, have)}, Options{}); len(rest) > 0 {
				t.Errorf("%s: %s not undone", name, what)
			}
		}
	}
}
