package drift

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	// maxFields bounds what a hostile object can make us report.
	maxFields = 64
	// maxPath is FieldChange's limit.
	maxPath = 512
)

// equal is the fast path: every object of every reconcile passes it.
func equal(want, have mesh.Object) bool {
	return metadataEqual(want, have) && specEqual(want, have)
}

func specEqual(want, have mesh.Object) bool {
	if w := effective.Message(want); w != nil {
		return proto.Equal(w, effective.Message(have))
	}
	w, ok := want.(*netv1.NetworkPolicy)
	h, is := have.(*netv1.NetworkPolicy)
	return ok && is && (equality.Semantic.DeepEqual(w.Spec, h.Spec) || equality.Semantic.DeepEqual(defaulted(w), defaulted(h)))
}

type difference struct {
	fields []v1alpha1.FieldChange
	// hidden is true when a field differs that our types don't know.
	hidden bool
}

// byPath puts the spec first, so that no number of labels can crowd it out of status.
func byPath(a, b v1alpha1.FieldChange) int {
	meta := func(f v1alpha1.FieldChange) int { return len(f.Path) - len(strings.TrimPrefix(f.Path, "/metadata/")) }
	return cmp.Or(cmp.Compare(meta(a), meta(b)), strings.Compare(a.Path, b.Path))
}

// differences lists every field that differs, the spec first, sorted by path.
func differences(want, have mesh.Object, owners managers) difference {
	d := difference{fields: append(metadataFields(want, have), specFields(want, have)...)}
	for _, f := range owners.hidden() {
		d.fields, d.hidden = append(d.fields, f), true
	}
	slices.SortFunc(d.fields, byPath)
	d.fields = d.fields[:min(len(d.fields), maxFields)]
	return d
}

func specFields(want, have mesh.Object) []v1alpha1.FieldChange {
	if specEqual(want, have) {
		return nil
	}
	w, wErr := tree(want)
	h, hErr := tree(have)
	if wErr != nil || hErr != nil {
		// Only an object that no API server would have let in has no JSON.
		return []v1alpha1.FieldChange{{Path: "/spec", Observed: cutValue(fmt.Sprint("(unreadable: ", errors.Join(wErr, hErr), ")"))}}
	}
	var out []v1alpha1.FieldChange
	diff("/spec", w, h, &out)
	return out
}

// tree is a spec as JSON values.
func tree(o mesh.Object) (map[string]any, error) {
	raw, err := specJSON(o)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	out := map[string]any{}
	return out, dec.Decode(&out)
}

// specJSON is the canonical JSON of a spec. For Istio's kinds it omits what has
// its default value, as Istio's own clients do on the wire.
func specJSON(o mesh.Object) ([]byte, error) {
	if m, ok := effective.Message(o).(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	if np, ok := o.(*netv1.NetworkPolicy); ok {
		return json.Marshal(defaulted(np))
	}
	return nil, fmt.Errorf("%T has no spec", o)
}

// defaulted is a NetworkPolicy's spec with the API server's defaults: compared
// without them, a policy would be rewritten for ever.
func defaulted(np *netv1.NetworkPolicy) *netv1.NetworkPolicySpec {
	s := np.Spec.DeepCopy()
	tcp := corev1.ProtocolTCP
	ports := func(ps []netv1.NetworkPolicyPort) {
		for i := range ps {
			if ps[i].Protocol == nil {
				ps[i].Protocol = &tcp
			}
		}
	}
	for i := range s.Ingress {
		ports(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		ports(s.Egress[i].Ports)
	}
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []netv1.PolicyType{netv1.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, netv1.PolicyTypeEgress)
		}
	}
	return s
}

// diff lists where two JSON values differ. Objects are entered; so are lists of
// as many objects on both sides; any other list differs as a whole, which
// reads better than a shift of all of its entries.
func diff(path string, want, have any, out *[]v1alpha1.FieldChange) {
	if len(*out) >= maxFields || equality.Semantic.DeepEqual(want, have) {
		return
	}
	before := len(*out)
	if w, ok := want.(map[string]any); ok {
		if h, ok := have.(map[string]any); ok {
			keys := slices.Sorted(maps.Keys(w))
			for k := range h {
				if _, ok := w[k]; !ok {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				next := path + "/" + escape(k)
				if len(next) > maxPath {
					// Report the whole object instead of an entry that has no valid path.
					*out = append((*out)[:before], change(path, want, have))
					return
				}
				diff(next, w[k], h[k], out)
			}
			return
		}
	}
	if w, ok := objects(want); ok {
		if h, ok := objects(have); ok && len(w) == len(h) && len(path) < maxPath-8 {
			for i := range w {
				diff(path+"/"+strconv.Itoa(i), w[i], h[i], out)
			}
			return
		}
	}
	*out = append(*out, change(path, want, have))
}

func objects(v any) ([]any, bool) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, false
	}
	for _, e := range list {
		if _, ok := e.(map[string]any); !ok {
			return nil, false
		}
	}
	return list, true
}

func change(path string, want, have any) v1alpha1.FieldChange {
	return v1alpha1.FieldChange{Path: path, Desired: text(want), Observed: text(have)}
}

// text is a value as status shows it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return cutValue(v)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "(unreadable)"
	}
	return cutValue(string(raw))
}

func cutValue(s string) string { return cut(s, v1alpha1.MaxDriftValueLength) }

// escape is a name as a JSON pointer writes it.
func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func segments(pointer string) []string {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts
}

// nameDefaults fills in the names of enums' defaults, which canonical JSON
// leaves out: "ALLOW → AUDIT" says more than "→ AUDIT".
func nameDefaults(fields []v1alpha1.FieldChange, o mesh.Object) {
	m := effective.Message(o)
	if m == nil {
		return
	}
	for i, f := range fields {
		path := segments(f.Path)
		if path[0] != "spec" || (f.Desired == "") == (f.Observed == "") {
			continue
		}
		fd := fieldAt(m.ProtoReflect().Descriptor(), path[1:])
		if fd == nil || fd.Enum() == nil || fd.IsList() || fd.HasPresence() {
			continue
		}
		name := string(fd.Enum().Values().Get(0).Name())
		if f.Desired == "" {
			fields[i].Desired = name
		} else {
			fields[i].Observed = name
		}
	}
}

// fieldAt is the field at a path, nil where there is none.
func fieldAt(md protoreflect.MessageDescriptor, path []string) protoreflect.FieldDescriptor {
	var fd protoreflect.FieldDescriptor
	for i := 0; i < len(path); i++ {
		if md == nil {
			return nil
		}
		if fd = fieldNamed(md, path[i]); fd == nil {
			return nil
		}
		md = fd.Message()
		if fd.IsMap() {
			i++ // the key
			fd = fd.MapValue()
			md = fd.Message()
		} else if fd.IsList() {
			i++ // the index
		}
	}
	return fd
}

// fieldNamed finds a field by either of the names that Istio's decoder takes.
func fieldNamed(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByName(protoreflect.Name(name))
}
