package drift

import (
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// hidden lists fields of the spec that others own and that our types don't
// know, as a newer version of a CRD may have. What is known and not shown has
// its default value, and is no difference.
func (ms managers) hidden() []v1alpha1.FieldChange {
	var out []v1alpha1.FieldChange
	for _, m := range ms {
		for _, l := range m.claims {
			path := pointer(l.path)
			if !l.hidden || slices.ContainsFunc(out, func(f v1alpha1.FieldChange) bool { return f.Path == path }) {
				continue
			}
			by := m.name
			if by == "" {
				by = ActorUnknown
			}
			out = append(out, v1alpha1.FieldChange{Path: path, Observed: cutValue("(set by " + by + ")")})
		}
	}
	return out
}

// unknownTo says whether our types don't know a path, and cuts it behind the
// first element that they don't. One that is too long to be told is cut to a
// name that no type has.
func unknownTo(o mesh.Object, p fieldpath.Path) (fieldpath.Path, bool) {
	if len(p) < 2 || p[0].FieldName == nil || *p[0].FieldName != "spec" {
		return nil, false
	}
	n := knownTo(o, p[1:])
	if n == len(p)-1 {
		return nil, false
	}
	if p = p[:n+2].Copy(); len(pointer(p)) > maxPath {
		p = fieldpath.MakePathOrDie("spec", "…")
	}
	return p, true
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
