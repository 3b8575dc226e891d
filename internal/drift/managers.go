package drift

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// What is kept of the managers of one object, so that nobody's managedFields
// can fill the memory. What goes beyond is nobody's: the change is found all
// the same, and its actor is unknown.
const (
	maxManagers  = 8
	maxHidden    = 8
	maxLeaves    = 64
	maxLeafBytes = 4096
)

// managers are the field managers that own a part of what matters, without
// what the operator owns as well: that is as it was written. The latest is first.
type managers []manager

type manager struct {
	// name is empty for one that goes by the operator's own, which can be anybody.
	name      string
	operation metav1.ManagedFieldsOperationType
	at        *metav1.Time
	claims    []claim
}

// claim is a path that a manager owns and below which nobody owns anything: to
// own what is around a field says nothing about the field.
type claim struct {
	path fieldpath.Path
	// hidden is true for a field of the spec that our types don't know.
	hidden bool
}

// untouched is what is kept of managedFields where nobody but the operator owns
// anything that matters: the mere evidence that it wrote the object. All
// objects share it.
var untouched = []metav1.ManagedFieldsEntry{{Manager: v1alpha1.ManagedByValue, Operation: metav1.ManagedFieldsOperationUpdate}}

// mayHide says cheaply whether managedFields tell of anything but the
// operator's hand. Only then can there be a field that the typed object does not show.
func mayHide(o mesh.Object) bool {
	for _, e := range o.GetManagedFields() {
		if e.Subresource == "" && e.FieldsV1 != nil {
			return true
		}
	}
	return false
}

// readManagers reads the managers of an object, whole or as Transform left it.
func readManagers(o mesh.Object) managers {
	if !mayHide(o) {
		return nil
	}
	return condense(o.GetManagedFields(), func(p fieldpath.Path) (fieldpath.Path, bool) { return unknownTo(o, p) }).bounded()
}

// condense reads managedFields. An entry that can't be read owns nothing.
func condense(entries []metav1.ManagedFieldsEntry, hidden func(fieldpath.Path) (fieldpath.Path, bool)) managers {
	sets := make([]*fieldpath.Set, len(entries))
	all, ours := &fieldpath.Set{}, &fieldpath.Set{}
	for i, e := range entries {
		set := &fieldpath.Set{}
		if e.Subresource != "" || e.FieldsV1 == nil || set.FromJSON(e.FieldsV1.GetRawReader()) != nil {
			continue
		}
		sets[i], all = set, all.Union(set)
		if own(e) {
			ours = ours.Union(set)
		}
	}
	deepest := all.Leaves()
	var out managers
	for i, e := range entries {
		if sets[i] == nil {
			continue
		}
		m := manager{operation: e.Operation, at: e.Time}
		if e.Manager != v1alpha1.ManagedByValue {
			m.name = e.Manager
		}
		sets[i].Intersection(deepest).Iterate(func(p fieldpath.Path) {
			if at, is := hidden(p); is {
				// Much can be below one field that is unknown.
				if n := len(m.claims); n == 0 || !m.claims[n-1].path.Equals(at) {
					m.claims = append(m.claims, claim{at, true})
				}
			} else if matters(p) && !ours.Has(p) {
				m.claims = append(m.claims, claim{p.Copy(), false})
			}
		})
		if len(m.claims) > 0 {
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b manager) int {
		return cmp.Or(b.when().Compare(a.when()), strings.Compare(a.name, b.name), strings.Compare(string(a.operation), string(b.operation)))
	})
	return out
}

// own says whether an entry is the operator's, which never applies.
func own(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == v1alpha1.ManagedByValue && e.Subresource == "" && e.Operation != metav1.ManagedFieldsOperationApply
}

// matters says whether the mesh or the operator acts upon what is at a path.
func matters(p fieldpath.Path) bool {
	name := func(i int) string {
		if i < len(p) && p[i].FieldName != nil {
			return *p[i].FieldName
		}
		return ""
	}
	switch name(0) + "/" + name(1) {
	case "metadata/labels", "metadata/annotations":
		return mark(name(2))
	case "metadata/ownerReferences", "metadata/finalizers":
		return len(p) > 2
	}
	return name(0) == "spec"
}

// bounded keeps what fits. What our types don't know is kept before anything
// else: nothing but managedFields shows it.
func (ms managers) bounded() managers {
	hidden, leaves, bytes := 0, 0, 0
	fits := func(i int, l claim) bool {
		if l.hidden {
			hidden++
			return hidden <= maxHidden
		}
		leaves, bytes = leaves+1, bytes+len(pointer(l.path))
		return i < maxManagers && leaves <= maxLeaves && bytes <= maxLeafBytes
	}
	var out managers
	for i, m := range ms {
		m.claims = slices.DeleteFunc(m.claims, func(l claim) bool { return !fits(i, l) })
		if len(m.claims) > 0 {
			out = append(out, m)
		}
	}
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

// nothingHidden is for objects that are not compared field by field.
func nothingHidden(fieldpath.Path) (fieldpath.Path, bool) { return nil, false }

// LatestManager is the field manager, other than the operator, that last wrote
// a part of an object that matters, and when; ActorUnknown where nothing tells.
func LatestManager(o mesh.Object) (string, *time.Time) {
	return condense(o.GetManagedFields(), nothingHidden).latest()
}

// owned maps the path of each field that differs to the latest manager that
// owns something there that is not as desired.
func (ms managers) owned(fields []v1alpha1.FieldChange, want, live mesh.Object) map[string]manager {
	out := map[string]manager{}
	if len(ms) == 0 {
		return out
	}
	paths := make([][]string, len(fields))
	for i, f := range fields {
		paths[i] = segments(f.Path)
	}
	wanted, have := whole(want), whole(live)
	for _, m := range ms {
		for _, l := range m.claims {
			at, is, depth := locate(have, l.path)
			if l.hidden {
				at = segments(pointer(l.path))
			} else if _, should, d := locate(wanted, l.path); d == depth && equality.Semantic.DeepEqual(is, should) {
				continue
			}
			for i, path := range paths {
				if _, taken := out[fields[i].Path]; !taken && (begins(at, path) || (begins(path, at) && atomic(live, l.path, is))) {
					out[fields[i].Path] = m
				}
			}
		}
	}
	return out
}

// actor is who made the change: the manager that owns what is not as desired,
// the latest of several. To take a field away leaves no trace in managedFields:
// whoever else wrote the object, and however lately, may have had no part in it.
func (ms managers) actor(owned map[string]manager) (string, *time.Time) {
	for _, m := range ms {
		for _, o := range owned {
			if m.name != "" && o.name == m.name && o.operation == m.operation && o.when().Equal(m.when()) {
				return m.name, timeOf(m.at)
			}
		}
	}
	return ActorUnknown, nil
}

func begins(path, with []string) bool {
	return len(path) >= len(with) && slices.Equal(path[:len(with)], with)
}

// atomic says whether who owns a leaf owns all that is below: a list, in which
// managedFields name no entry, and a label selector of Kubernetes.
func atomic(o mesh.Object, p fieldpath.Path, is any) bool {
	if _, list := is.([]any); list {
		return true
	}
	_, np := o.(*netv1.NetworkPolicy)
	return np && p.Equals(fieldpath.MakePathOrDie("spec", "podSelector"))
}

// whole is the spec and the metadata that matters, as JSON values.
func whole(o mesh.Object) map[string]any {
	values := func(in map[string]string) map[string]any {
		out := map[string]any{}
		for k, v := range in {
			out[k] = v
		}
		return out
	}
	var refs, finalizers []any
	for _, r := range o.GetOwnerReferences() {
		refs = append(refs, map[string]any{"uid": string(r.UID), "is": refText(r)})
	}
	for _, f := range o.GetFinalizers() {
		if !SystemFinalizer(f) {
			finalizers = append(finalizers, f)
		}
	}
	root := map[string]any{"metadata": map[string]any{
		"labels": values(o.GetLabels()), "annotations": values(o.GetAnnotations()), "ownerReferences": refs, "finalizers": finalizers,
	}}
	if spec, err := tree(o); err == nil {
		root["spec"] = spec
	}
	return root
}

// locate finds what a path of managedFields leads to, nil for nothing, how many
// of its elements are there, and the same path with the indices of list
// entries, which managedFields name by key or value.
func locate(node any, p fieldpath.Path) (at []string, is any, depth int) {
	for _, e := range p {
		name := e.String()
		switch n := node.(type) {
		case map[string]any:
			node = nil
			if e.FieldName != nil {
				node = n[*e.FieldName]
			}
		case []any:
			i := slices.IndexFunc(n, func(entry any) bool { return entryIs(e, entry) })
			if e.Index != nil {
				i = *e.Index
			}
			if node = nil; i >= 0 && i < len(n) {
				name, node = strconv.Itoa(i), n[i]
			}
		default:
			node = nil
		}
		if e.FieldName != nil {
			name = *e.FieldName
		}
		if at = append(at, name); node != nil {
			depth++
		}
	}
	return at, node, depth
}

func entryIs(e fieldpath.PathElement, entry any) bool {
	switch {
	case e.Value != nil:
		return text(entry) == keyText(*e.Value)
	case e.Key != nil:
		have, ok := entry.(map[string]any)
		if !ok {
			return false
		}
		for _, k := range *e.Key {
			if text(have[k.Name]) != keyText(k.Value) {
				return false
			}
		}
		return true
	}
	return false
}

func keyText(v value.Value) string {
	if v.IsString() {
		return cutValue(v.AsString())
	}
	return value.ToString(v)
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
