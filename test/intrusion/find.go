package intrusion

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

// Ask says whether a spec will do, and else to what somebody, like the API
// server, objects in it: the paths of fields, as in "spec.ports[0].name".
type Ask func(spec map[string]any) (does bool, objections []string)

// Find looks for a spec that will do and in which the field was added, to
// a list or a map where it is in one, or else changed. It is nil where there is
// none among the first so many; at is where the field is in it. What is objected
// to is mended, the likeliest first: another value of the field, another one
// beside it, less, or more.
func (f Field) Find(spec map[string]any, add bool, most int, ask Ask) (found map[string]any, at []string) {
	open, seen := map[int][]try{}, map[string]bool{text(spec): true}
	push := func(t try) {
		if k := text(t.spec); !seen[k] {
			seen[k] = true
			open[t.cost] = append(open[t.cost], t)
		}
	}
	for i, v := range values(f.schema) {
		for _, k := range keys {
			push(f.try(spec, v, how{add, k}, i))
		}
	}
	for cost := 0; cost <= tooMuch; cost++ {
		for len(open[cost]) > 0 {
			t := open[cost][0]
			open[cost] = open[cost][1:]
			if most--; most < 0 {
				return nil, nil
			}
			does, objections := ask(t.spec)
			if does {
				return t.spec, t.at
			}
			for _, m := range f.mended(t, objections) {
				push(m)
			}
		}
	}
	return nil, nil
}

type try struct {
	spec map[string]any
	// at is where the field is in it, and value what it was set to.
	at    []string
	value any
	// cost says how far off it is: the lowest is tried first.
	cost int
}

const (
	// mending something beside the field costs as much as so many other values,
	mending = 8
	// and where the value itself is objected to, more.
	mendingMore = 40
	// What costs more is not tried.
	tooMuch = 100
)

func (f Field) try(spec map[string]any, v any, h how, cost int) try {
	at := []string{}
	out, _ := set(runtime.DeepCopyJSON(spec), f.spec, f.Path, v, h, &at).(map[string]any)
	return try{spec: out, at: at, value: v, cost: cost}
}

// mended are tries in which something that was objected to is otherwise.
func (f Field) mended(t try, objections []string) (out []try) {
	cost := t.cost + mending
	for _, o := range objections {
		if slices.Equal(segments(o), t.at) {
			cost = t.cost + mendingMore
		}
	}
	for _, o := range objections {
		for _, spec := range mends(t.spec, f.spec, segments(o)) {
			if is, ok := get(spec, t.at); ok && equality.Semantic.DeepEqual(is, t.value) {
				out = append(out, try{spec, t.at, t.value, cost})
			}
		}
	}
	return out
}

// mends are specs that differ at a path, or in the object around it.
func mends(spec map[string]any, s Schema, path []string) (out []map[string]any) {
	put := func(at []string, v any) {
		c := runtime.DeepCopyJSON(spec)
		if node, ok := get(c, at[:len(at)-1]); ok {
			if m, ok := node.(map[string]any); ok {
				if m[at[len(at)-1]] = v; v == nil {
					delete(m, at[len(at)-1])
				}
				out = append(out, c)
			}
		}
	}
	otherwise := func(at []string, s Schema) {
		if len(s.Properties) == 0 && s.Items == nil {
			for _, v := range values(s) {
				put(at, v)
			}
		}
	}
	for ; ; path = path[:len(path)-1] {
		node, ok := get(spec, path)
		if !ok {
			continue
		}
		at, known := within(s, path)
		m, object := node.(map[string]any)
		switch {
		case !known:
		case object:
			for _, name := range slices.Sorted(maps.Keys(at.Properties)) {
				next, p := append(slices.Clone(path), name), at.Properties[name]
				if _, has := m[name]; !has {
					for _, v := range some(p) {
						put(next, v)
					}
					continue
				}
				put(next, nil)
				otherwise(next, p)
			}
			return out
		default:
			otherwise(path, at)
		}
		if len(path) == 0 {
			return out
		}
	}
}

// segments are the elements of a path as the API server writes it, below the spec.
func segments(field string) []string {
	all := strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	if len(all) == 0 || all[0] != "spec" {
		return nil
	}
	return all[1:]
}

func get(node any, path []string) (any, bool) {
	for _, seg := range path {
		switch n := node.(type) {
		case map[string]any:
			v, ok := n[seg]
			if !ok {
				return nil, false
			}
			node = v
		case []any:
			i, err := strconv.Atoi(seg)
			if err != nil || i < 0 || i >= len(n) {
				return nil, false
			}
			node = n[i]
		default:
			return nil, false
		}
	}
	return node, true
}

// within is the schema at a path.
func within(s Schema, path []string) (Schema, bool) {
	for _, seg := range path {
		p, named := s.Properties[seg]
		switch {
		case named:
			s = p
		case s.Items != nil && s.Items.Schema != nil:
			s = *s.Items.Schema
		case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
			s = *s.AdditionalProperties.Schema
		default:
			return s, false
		}
	}
	return s, true
}

// samples are strings of the forms that fields ask for. Which field takes
// which, only the API server knows.
var samples = []string{
	"intruder", "10.7.7.0/24", "10.7.0.0/16", "*", "*/*", "7s", "8080", "intruder.example.com", "https://intruder.example.com", "/intruder",
	"intruder/*", "intruder/intruder", `{"keys":[]}`, "In", "Exists", "UDP", "Ingress", "Egress", "spiffe://intruder/ns/a/sa/b", "unix:///intruder", "true",
}

var (
	numbers = []float64{7, 8080, 9090, 1, 0, 100, 0.5}
	keys    = []string{"8080", "intruder"}
)

// values of a schema without parts, the likeliest first.
func values(s Schema) (out []any) {
	for _, e := range s.Enum {
		var v any
		if json.Unmarshal(e.Raw, &v) == nil {
			out = append(out, v)
		}
	}
	if len(out) > 0 {
		return out
	}
	number := s.Type == "integer" || s.Type == "number" || s.XIntOrString || s.Format == "int-or-string"
	for _, n := range numbers {
		if number && (s.Minimum == nil || n >= *s.Minimum) && (s.Maximum == nil || n <= *s.Maximum) && (s.Type == "number" || n == float64(int64(n))) {
			out = append(out, n)
		}
	}
	pattern, err := regexp.Compile(s.Pattern)
	for _, v := range samples {
		if s.Type == "string" && (err != nil || pattern.MatchString(v)) && (s.MaxLength == nil || int64(len(v)) <= *s.MaxLength) {
			out = append(out, v)
		}
	}
	switch {
	case s.Type == "boolean":
		return []any{true, false}
	case s.Type == "object":
		return []any{map[string]any{"intruder": "x"}}
	case len(out) == 0:
		return []any{"intruder", true, 7.0, map[string]any{"intruder": "x"}}
	}
	return out
}

// some are a few values of a schema, with something in them.
func some(s Schema) (out []any) {
	if len(s.Enum) > 0 {
		return values(s)
	}
	for _, f := range Fields(s) {
		for _, v := range values(f.schema)[:1] {
			out = append(out, set(nil, s, f.Path, v, how{true, keys[0]}, &[]string{}))
		}
	}
	return out[:min(len(out), 3)]
}

// least is the smallest value of a schema.
func least(s Schema) any {
	switch {
	case len(s.Properties) > 0:
		m := map[string]any{}
		settle(m, s, "")
		return m
	case s.AdditionalProperties != nil:
		return map[string]any{}
	case s.Items != nil:
		return []any{}
	}
	return values(s)[0]
}

// settle makes what is beside a field that was set as the schema asks: what is
// required is added, and what can't be beside it is taken away.
func settle(m map[string]any, s Schema, field string) {
	for _, name := range s.Required {
		if _, ok := m[name]; !ok {
			m[name] = least(s.Properties[name])
		}
	}
	alternatives := [][]Schema{s.OneOf, s.AnyOf}
	for _, a := range s.AllOf {
		alternatives = append(alternatives, a.OneOf, a.AnyOf)
	}
	for _, of := range alternatives {
		mine := slices.IndexFunc(of, func(a Schema) bool { return slices.Contains(a.Required, field) })
		for i, a := range of {
			for _, name := range a.Required {
				if mine >= 0 && i != mine && !slices.Contains(of[mine].Required, name) {
					delete(m, name)
				}
			}
		}
	}
}

// how a field is set where there are several ways.
type how struct {
	// add an entry to a list, or a key to a map, instead of changing the first.
	add bool
	key string
}

func set(node any, s Schema, path []string, v any, h how, at *[]string) any {
	if len(path) == 0 {
		return v
	}
	if path[0] == entry {
		list, _ := node.([]any)
		i := 0
		if h.add || len(list) == 0 {
			i, list = len(list), append(list, nil)
		}
		*at = append(*at, strconv.Itoa(i))
		list[i] = set(list[i], *s.Items.Schema, path[1:], v, h, at)
		return list
	}
	m, _ := node.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	name, of := path[0], s.Properties[path[0]]
	if name == key {
		if name, of = h.key, *s.AdditionalProperties.Schema; !h.add && len(m) > 0 {
			name = slices.Sorted(maps.Keys(m))[0]
		}
	}
	*at = append(*at, name)
	m[name] = set(m[name], of, path[1:], v, h, at)
	settle(m, s, name)
	return m
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of JSON
	}
	return string(raw)
}
