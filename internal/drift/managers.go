package drift

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// managers are the field managers other than ours, the latest first.
type managers []manager

type manager struct {
	name string
	at   *metav1.Time
	// leaves are the deepest paths that it owns: to own an object's path
	// itself says only that the object is there.
	leaves []fieldpath.Path
}

// mayHide says cheaply whether some other manager owns a part of the spec.
// Only then can there be a field that the typed object does not show.
func mayHide(o mesh.Object) bool {
	for _, e := range o.GetManagedFields() {
		if foreign(e) && e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:spec"`) {
			return true
		}
	}
	return false
}

func foreign(e metav1.ManagedFieldsEntry) bool {
	return e.Manager != v1alpha1.ManagedByValue && e.Subresource == ""
}

func readManagers(o mesh.Object) managers {
	var out managers
	for _, e := range o.GetManagedFields() {
		if !foreign(e) {
			continue
		}
		m := manager{name: e.Manager, at: e.Time}
		if e.FieldsV1 != nil {
			set := &fieldpath.Set{}
			// An entry that can't be read owns nothing; its name is evidence still.
			if err := set.FromJSON(e.FieldsV1.GetRawReader()); err == nil {
				set.Leaves().Iterate(func(p fieldpath.Path) { m.leaves = append(m.leaves, p.Copy()) })
			}
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b manager) int {
		return cmp.Or(b.when().Compare(a.when()), strings.Compare(a.name, b.name))
	})
	return out
}

func (m manager) when() time.Time {
	if m.at == nil {
		return time.Time{}
	}
	return m.at.Time
}

// latest is the manager that wrote last.
func (ms managers) latest() (string, *time.Time) {
	if len(ms) == 0 || ms[0].name == "" {
		return ActorUnknown, nil
	}
	return ms[0].name, timeOf(ms[0].at)
}

// LatestManager is the field manager, other than the operator, that last wrote
// an object, and when; ActorUnknown where nothing tells.
func LatestManager(o mesh.Object) (string, *time.Time) { return readManagers(o).latest() }

// owned maps the path of each field that another manager owns to the latest
// such manager.
func (ms managers) owned(fields []v1alpha1.FieldChange, live mesh.Object) map[string]manager {
	out := map[string]manager{}
	if len(ms) == 0 {
		return out
	}
	root := map[string]any{}
	if spec, err := tree(live); err == nil {
		root["spec"] = spec
	}
	for _, f := range fields {
		path, best := segments(f.Path), elsewhere
		for _, m := range ms {
			for _, p := range m.leaves {
				if c := covers(p, path, root); c > best {
					best, out[f.Path] = c, m
				}
			}
		}
	}
	return out
}

// actor is who made the change: the manager that owns a field that differs, the
// latest of several. A field that was removed is owned by nobody: then the
// manager that wrote last is the best guess there is.
func (ms managers) actor(fields []v1alpha1.FieldChange, owned map[string]manager) (string, *time.Time) {
	for _, m := range ms {
		for _, o := range owned {
			if o.name == m.name && o.when().Equal(m.when()) && m.name != "" {
				return m.name, timeOf(m.at)
			}
		}
	}
	for _, f := range fields {
		if removed(f) {
			return ms.latest()
		}
	}
	return ActorUnknown, nil
}

// removed says whether a field may have been taken away, in whole or in part.
func removed(f v1alpha1.FieldChange) bool {
	return f.Observed == "" || f.Path == "/metadata/ownerReferences"
}

// cover says how surely the manager that owns a leaf made what is at a path.
type cover int

const (
	elsewhere cover = iota
	// above: it owns an object around the path. That may be the object alone,
	// or all of it, where the schema has it atomic.
	above
	// exactly: it owns the path, something below it, or the list around it.
	exactly
)

func covers(leaf fieldpath.Path, path []string, node any) cover {
	for i := range min(len(leaf), len(path)) {
		if name := leaf[i].FieldName; name != nil && *name != path[i] {
			return elsewhere
		}
		next := child(node, path[i])
		if !entryIs(leaf[i], path[i], next) {
			return elsewhere
		}
		node = next
	}
	if _, list := node.([]any); len(leaf) < len(path) && !list {
		return above
	}
	return exactly
}

func child(node any, name string) any {
	switch n := node.(type) {
	case map[string]any:
		return n[name]
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n) {
			return n[i]
		}
	}
	return nil
}

// entryIs says whether a path element can be the list entry at an index. The
// differ counts entries, managedFields name them by key or value.
func entryIs(e fieldpath.PathElement, index string, entry any) bool {
	switch {
	case e.Index != nil:
		return strconv.Itoa(*e.Index) == index
	case e.Key != nil:
		have, ok := entry.(map[string]any)
		if !ok {
			return true // not shown: can't be ruled out
		}
		for _, k := range *e.Key {
			if text(have[k.Name]) != keyText(k.Value) {
				return false
			}
		}
	}
	return true
}

func keyText(v value.Value) string {
	if v.IsString() {
		return v.AsString()
	}
	return value.ToString(v)
}

// hidden lists fields of the spec that others own and that our types don't
// know, as a newer version of a CRD may have. What is known and not shown has
// its default value, and is no difference.
func (ms managers) hidden(live mesh.Object) []v1alpha1.FieldChange {
	var out []v1alpha1.FieldChange
	seen := map[string]bool{}
	for _, m := range ms {
		for _, p := range m.leaves {
			if len(p) < 2 || p[0].FieldName == nil || *p[0].FieldName != "spec" {
				continue
			}
			n := knownTo(live, p[1:])
			if n == len(p)-1 {
				continue
			}
			path := pointer(p[:n+2])
			if len(path) > maxPath || seen[path] || len(out) == maxFields {
				continue
			}
			seen[path] = true
			out = append(out, v1alpha1.FieldChange{Path: path, Observed: cutValue("(set by " + m.name + ")")})
		}
	}
	return out
}

// knownTo is how many elements of a path below the spec our types know.
func knownTo(o mesh.Object, p fieldpath.Path) int {
	if m := effective.Message(o); m != nil {
		return knownToMessage(m.ProtoReflect().Descriptor(), p)
	}
	return knownToType(reflect.TypeFor[netv1.NetworkPolicySpec](), p)
}

func knownToMessage(md protoreflect.MessageDescriptor, p fieldpath.Path) int {
	isMap := false
	for i, e := range p {
		switch {
		case e.FieldName == nil: // an entry of a list
			continue
		case isMap: // a key of a map
			isMap = false
			continue
		case md == nil || md.ParentFile().Package() == "google.protobuf":
			return len(p) // free-form, or a scalar that has its own JSON
		}
		fd := fieldNamed(md, *e.FieldName)
		if fd == nil {
			return i
		}
		md = fd.Message()
		if isMap = fd.IsMap(); isMap {
			md = fd.MapValue().Message()
		}
	}
	return len(p)
}

func knownToType(t reflect.Type, p fieldpath.Path) int {
	for i, e := range p {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if e.FieldName == nil {
			continue
		}
		switch {
		case t.Kind() == reflect.Map:
			t = t.Elem()
			continue
		case t.Kind() != reflect.Struct || t == reflect.TypeFor[intstr.IntOrString]():
			return len(p)
		}
		next := jsonField(t, *e.FieldName)
		if next == nil {
			return i
		}
		t = next
	}
	return len(p)
}

func jsonField(t reflect.Type, name string) reflect.Type {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name {
			return f.Type
		}
	}
	return nil
}

func pointer(p fieldpath.Path) string {
	var b strings.Builder
	for _, e := range p {
		b.WriteByte('/')
		if e.FieldName != nil {
			b.WriteString(escape(*e.FieldName))
		} else {
			b.WriteString(escape(e.String()))
		}
	}
	return b.String()
}
