package cel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
)

const (
	// annotationLimit is the API server's for all annotations of an object
	// together. kubectl apply keeps the whole object in one.
	annotationLimit = 256 << 10
	// metadataRoom is what is left of it for metadata and the annotations of users.
	metadataRoom = 12 << 10
	// etcdLimit is etcd's default for a request.
	etcdLimit = 1536 << 10
	// statusLimit is what the operator keeps its status within.
	statusLimit = 64 << 10
)

// unions are the properties of which an object has one, by the end of its path.
var unions = map[string][]string{
	".from[]":              {"serviceAccount", "namespace", "peer", "entity", "ipBlock"},
	".egress.rules[].to[]": {"hosts", "cidrs", "namespace", "service"},
	".jwtProviders[]":      {"jwks", "jwksURI"},
}

// fixed are values that depend on another place, by the end of their path.
var fixed = map[string]any{
	".mesh.provider":                        "Istio", // the only one with a dataPlane
	".ipBlock.cidr":                         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0000/112",
	".matchExpressions[].operator":          "NotIn",  // the longest with values
	".egress.rules[].via":                   "Direct", // goes with every destination
	".egress.rules[].to[].ports[].protocol": "TCP",    // goes with cidrs
}

// forms are strings that have no free part to fill.
var forms = []func(n int) string{
	func(n int) string { return fmt.Sprintf("ffff:ffff:ffff:ffff:ffff:ffff:ffff:%04x/128", n) },
	func(n int) string { return fmt.Sprintf("ABCDEFGH-%03d", n) },
	func(int) string { return "2027-03-31T00:00:00+00:00" },
	func(int) string { return "999999h999999m999999s" },
}

// filler makes specs of a kind from its schema.
type filler struct {
	kind kind
	// count is how many entries a list or map gets, or characters a string.
	count func(at path, least, most int64) int64
	// wants says whether a property that may be left out is there.
	wants func(at path) bool
	// choose one of a union.
	choose func(at path, of []string) string
	// provider is the name of the first JWT provider, which rules refer to.
	provider string
}

// suffix finds what a table has for the end of a path.
func suffix[V any](table map[string]V, at path) (V, bool) {
	for end, v := range table {
		if strings.HasSuffix(at.Pattern(), end) {
			return v, true
		}
	}
	var none V
	return none, false
}

// fill makes a value for a place in the schema; n is its number in its list.
func (f *filler) fill(at path, s *schema, n int) any {
	if v, isFixed := suffix(fixed, at); isFixed {
		return v
	}
	if strings.HasSuffix(at.Pattern(), ".jwt.provider") {
		return f.provider
	}
	switch {
	case s.Enum != nil:
		return longest(s)
	case s.Type == "boolean":
		return false
	case s.Type == "integer":
		// Of two numbers the one with more digits; those of a list have to differ.
		if least := int64(*s.Minimum); len(fmt.Sprint(least)) > len(fmt.Sprint(int64(*s.Maximum))) {
			return least
		}
		return int64(*s.Maximum) - int64(n)
	case s.Type == "string":
		return f.text(at, s, n)
	case s.Type == "array":
		if b, isWeighed := budgetOf(s); isWeighed {
			return f.heaviest(at, s, b)
		}
		least := int64(0)
		if s.MinItems != nil {
			least = *s.MinItems
		}
		list := make([]any, f.count(at, least, *s.MaxItems))
		for i := range list {
			list[i] = f.fill(at.down(step{in: '[', index: i}), s.Items.Schema, i)
		}
		return list
	case s.AdditionalProperties != nil:
		m := map[string]any{}
		for i := range f.count(at, 1, *s.MaxProperties) {
			// The limit of a key's length, 128, is a rule's: schemas have none.
			key := f.template(at.Pattern()+" key", 128, "app", func(key string) bool { return legal(s, map[string]any{key: ""}) })
			m[key(int(f.count(at, 2, 128)), int(i))] = f.fill(at.down(step{in: '{'}), s.AdditionalProperties.Schema, int(i))
		}
		return m
	}
	return f.object(at, s, n)
}

func (f *filler) object(at path, s *schema, n int) map[string]any {
	object := map[string]any{}
	left := slices.Sorted(maps.Keys(s.Properties))
	var chosen string
	if of, isUnion := suffix(unions, at); isUnion {
		chosen = f.choose(at, of)
		left = slices.DeleteFunc(left, func(name string) bool { return slices.Contains(of, name) && name != chosen })
	}
	for _, name := range left {
		child := s.Properties[name]
		below := at.property(name)
		if f.kind.barred(below) || (name != chosen && !slices.Contains(s.Required, name) && !f.wants(below)) {
			continue
		}
		object[name] = f.fill(below, &child, n)
		if strings.HasSuffix(below.Pattern(), ".jwtProviders") {
			f.provider = object[name].([]any)[0].(map[string]any)["name"].(string)
		}
	}
	return object
}

// text makes a string that is legal and takes the most bytes in JSON.
func (f *filler) text(at path, s *schema, n int) string {
	least := int64(0)
	if s.MinLength != nil {
		least = *s.MinLength
	}
	like, _ := get(f.kind.full, f.kind.example(at)).(string)
	accepted := func(text string) bool {
		length := int64(utf8.RuneCountInString(text))
		return length >= least && length <= *s.MaxLength && legal(s, text)
	}
	t := f.template(at.Pattern(), int(*s.MaxLength), like, accepted)
	for length := f.count(at, least, *s.MaxLength); length < *s.MaxLength; length++ {
		if text := t(int(length), n); accepted(text) {
			return text
		}
	}
	return t(int(*s.MaxLength), n)
}

// templates are ways to make a string of a length, by the pattern of its path.
var templates = map[string]func(length, n int) string{}

// template finds the way whose strings are legal and take the most bytes.
func (f *filler) template(id string, most int, like string, accepted func(string) bool) func(length, n int) string {
	id = f.kind.name + " " + id
	if known, ok := templates[id]; ok {
		return known
	}
	var ways []func(length, n int) string
	for _, form := range forms {
		ways = append(ways, func(_, n int) string { return form(n) })
	}
	for _, unit := range []string{"\x01", "<", "\u2028", "\"", "\\", "😀", "é", "a", "A", "a."} {
		for _, number := range []func(n int) string{strconv.Itoa, inLetters} {
			for _, cut := range []int{0, len(like) / 2, len(like) - 1, len(like)} {
				if cut < 0 {
					continue
				}
				head, tail := like[:cut], like[cut:]
				ways = append(ways, func(length, n int) string {
					text := head + number(n)
					missing := length - utf8.RuneCountInString(text+tail)
					if missing < 0 { // too short for what it is like
						return number(n) + cutTo(strings.Repeat(unit, length), max(0, length-len(number(n))))
					}
					return text + cutTo(strings.Repeat(unit, missing), missing) + tail
				})
			}
		}
	}
	best, size := -1, 0
	for i, way := range ways {
		if text := way(most, 0); len(asJSON(text)) > size && accepted(text) && accepted(way(most, 1)) {
			best, size = i, len(asJSON(text))
		}
	}
	Expect(best).To(BeNumerically(">=", 0), "no string is known that is legal at %s", id)
	templates[id] = ways[best]
	return templates[id]
}

func cutTo(s string, runes int) string { return string([]rune(s)[:runes]) }

// inLetters is a number for where digits are not allowed: A, …, Z, AA, …
func inLetters(n int) string {
	if n < 26 {
		return string(rune('A' + n))
	}
	return inLetters(n/26-1) + string(rune('A'+n%26))
}

// longest value of an enum.
func longest(s *schema) string {
	var best string
	for _, raw := range s.Enum {
		var v string
		must(json.Unmarshal(raw.Raw, &v))
		if len(v) > len(best) {
			best = v
		}
	}
	return best
}

// asJSON is the value as kubectl's annotation has it: with <, > and & escaped.
func asJSON(value any) []byte {
	text, err := json.Marshal(value)
	must(err)
	return text
}

// sizeOf a list in bytes of JSON; one that is empty can be left out.
func sizeOf(list []any) int {
	if len(list) == 0 {
		return 0
	}
	return len(asJSON(list))
}

// heaviest is a list that comes as close to its budget as can be: large entries
// first, then ever smaller ones.
func (f *filler) heaviest(at path, s *schema, b budget) []any {
	GinkgoHelper()
	var list []any
	weight := b.of(nil)
	for _, scale := range []float64{1, .7, .5, .35, .25, .18, .12, .08, .05, .03, .02, .01, 0} {
		scaled := *f
		scaled.count = func(at path, least, most int64) int64 {
			return max(least, min(most, int64(math.Round(scale*float64(f.count(at, least, most))))))
		}
		if scale == 0 {
			scaled.wants = func(at path) bool { return at[len(at)-1].property == "values" } // which the operator needs
		}
		for int64(len(list)) < *s.MaxItems {
			entry := scaled.fill(at.down(step{in: '[', index: len(list)}), s.Items.Schema, len(list))
			more := b.of([]any{entry}) - b.of(nil)
			if weight+more > b.limit {
				break
			}
			list, weight = append(list, entry), weight+more
		}
		Expect(weight).To(BeNumerically(">=", sizeOf(list)), "the list at %s weighs less than its JSON", at)
	}
	Expect(b.of(list)).To(Equal(weight), "a weight that is not the sum of the entries' weights")
	if int64(len(list)) < *s.MaxItems {
		Expect(weight).To(BeNumerically(">", b.limit-512), "the list at %s is not as heavy as can be", at)
	}
	return list
}

// builders are lists for testdata/rules.yaml that take code to make.
var builders = map[string]func(k kind, at path) any{
	"heaviest": heaviestAt,
	"tooHeavy": func(k kind, at path) any {
		// The first entry, which is large, in place of the last, which is small.
		list := heaviestAt(k, at).([]any)
		last := list[len(list)-1].(map[string]any)
		tooLarge := runtime.DeepCopyJSON(list[0].(map[string]any))
		if name, named := last["name"]; named {
			tooLarge["name"] = name
		}
		list[len(list)-1] = tooLarge
		return list
	},
}

func heaviestAt(k kind, at path) any {
	GinkgoHelper()
	s := k.spec
	for _, step := range at {
		next := s.Properties[step.property]
		s = &next
	}
	b, isWeighed := budgetOf(s)
	Expect(isWeighed).To(BeTrue())
	return shapes[0].filler(k).heaviest(at, s, b)
}

// shape is a way to spend the budgets, so that every rule meets its most expensive input.
type shape struct {
	name string
	// choices of unions and, where the name of a property of an authorization
	// rule is among them, the properties that are there.
	choices []string
	// short strings make room for more entries.
	short bool
}

var shapes = func() []shape {
	var all []shape
	for _, choices := range [][]string{
		{"serviceAccount", "workloadSelector", "hosts", "jwks"},
		{"ipBlock", "except", "cidrs", "jwks"},
		{"namespace", "service", "jwksURI"},
		{"entity", "jwt", "claims", "hosts", "jwks"},
		{"entity", "to", "ports", "hosts", "jwks"},
		{"entity", "to", "methods", "cidrs", "jwks"},
		{"entity", "to", "ports", "methods", "paths", "hosts", "jwks"},
	} {
		name := strings.Join(choices, ", ")
		all = append(all, shape{name: "of long " + name, choices: choices})
		if slices.Contains(choices, "to") { // whose lists have to be free of repetition
			all = append(all, shape{name: "of short " + name, choices: choices, short: true})
		}
	}
	return all
}()

func (s shape) filler(k kind) *filler {
	inRule := func(at path) bool {
		return strings.Contains(at.Pattern(), ".authorization.rules[]") || strings.Contains(at.Pattern(), ".authorizationRules[]")
	}
	focused := slices.Contains(s.choices, "to") || slices.Contains(s.choices, "jwt")
	return &filler{
		kind: k,
		count: func(at path, least, most int64) int64 {
			last := at[len(at)-1]
			switch {
			case inRule(at) && last.property == "from" && focused:
				return least
			case s.short && last.property != "jwks" && isText(k, at):
				return max(least, 2)
			}
			return most
		},
		wants: func(at path) bool {
			if inRule(at) && !slices.Contains([]string{"action", "namespace"}, at[len(at)-1].property) {
				return slices.Contains(s.choices, at[len(at)-1].property)
			}
			return true
		},
		choose: func(_ path, of []string) string {
			for _, choice := range of {
				if slices.Contains(s.choices, choice) {
					return choice
				}
			}
			return of[0]
		},
	}
}

// isText says whether a path in the spec is a string's.
func isText(k kind, at path) bool {
	s := k.spec
	for _, step := range at {
		switch step.in {
		case '.':
			next := s.Properties[step.property]
			s = &next
		case '[':
			s = s.Items.Schema
		case '{':
			s = s.AdditionalProperties.Schema
		}
	}
	return s.Type == "string" || s.AdditionalProperties != nil
}

var _ = Describe("The largest legal object", func() {
	for _, k := range kinds {
		Describe("of "+k.name, func() {
			shapes := shapes
			hasChoice := slices.ContainsFunc(nodes(nil, k.spec), func(n node) bool {
				_, isUnion := suffix(unions, n.path)
				return isUnion
			})
			if !hasChoice {
				shapes = shapes[:1] // the others differ in their choices
			}
			specs := make([]any, len(shapes)) // once made
			spec := func(i int) any {
				if specs[i] == nil {
					specs[i] = shapes[i].filler(k).fill(nil, k.spec, 0)
				}
				return specs[i]
			}

			for i, s := range shapes {
				It("is accepted "+s.name, func(ctx context.Context) {
					spec := spec(i)
					bytes := len(asJSON(spec))
					AddReportEntry(fmt.Sprintf("%s %s: %d bytes", k.name, s.name, bytes), ReportEntryVisibilityNever)
					Expect(k.violations(ctx, spec)).To(BeEmpty())
					Expect(bytes).To(BeNumerically("<=", annotationLimit-metadataRoom))
				})
			}

			It("fits into kubectl's annotation and into etcd", func() {
				var largest any
				var size int
				for i := range shapes {
					if bytes := len(asJSON(spec(i))); bytes > size {
						largest, size = spec(i), bytes
					}
				}
				names := k.crd.Spec.Names.Plural + "." + k.crd.Spec.Group
				object := k.object(largest)
				object.SetName("largest")
				manifest := asJSON(object)

				By("applying it")
				Expect(kubectl(manifest, "apply", "-f", "-")).To(ContainSubstring("created"))
				DeferCleanup(func(ctx context.Context) { Expect(api.Delete(ctx, object)).To(Succeed()) })

				By("applying a change to it")
				object.SetLabels(map[string]string{"changed": "true"})
				Expect(kubectl(asJSON(object), "apply", "-f", "-")).To(ContainSubstring("configured"))

				By("applying it on the server")
				Expect(kubectl(asJSON(object), "apply", "--server-side", "--force-conflicts", "-f", "-")).To(ContainSubstring("serverside-applied"))

				annotation := kubectl(nil, "get", names+"/largest", "-o", `jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}`)
				Expect(len(annotation)).To(BeNumerically(">", size), "kubectl keeps the whole object")
				stored := kubectl(nil, "get", names+"/largest", "-o", "json", "--show-managed-fields")
				var compact bytes.Buffer
				Expect(json.Compact(&compact, []byte(stored))).To(Succeed())
				Expect(compact.Len()).To(BeNumerically("<", etcdLimit-statusLimit))
				AddReportEntry(fmt.Sprintf("%s: %d bytes of spec, %d of annotation, %d stored", k.name, size, len(annotation), compact.Len()), ReportEntryVisibilityNever)
			})

			for _, n := range nodes(nil, k.spec) {
				b, isWeighed := budgetOf(n.schema)
				if !isWeighed {
					continue
				}
				It("weighs no less than its JSON at "+n.path.Pattern(), func() {
					rapid.Check(GinkgoTB(), func(t *rapid.T) {
						f := randomFiller(k, t)
						var list []any
						for i := range rapid.IntRange(0, 5).Draw(t, "entries") {
							list = append(list, f.fill(n.path.down(step{in: '[', index: i}), n.schema.Items.Schema, i))
						}
						if weight, size := b.of(list), sizeOf(list); weight < int64(size) {
							t.Fatalf("weighs %d and has %d bytes: %s", weight, size, asJSON(list))
						}
					})
				})
			}
		})
	}
})

// randomFiller makes small specs, with the longest list or string now and then.
func randomFiller(k kind, t *rapid.T) *filler {
	return &filler{
		kind: k,
		count: func(at path, least, most int64) int64 {
			some := most
			if !isText(k, at) {
				some = min(most, least+4)
			}
			return rapid.OneOf(rapid.Int64Range(least, some), rapid.Just(most)).Draw(t, "count")
		},
		wants:    func(path) bool { return rapid.Bool().Draw(t, "has") },
		choose:   func(_ path, of []string) string { return rapid.SampledFrom(of).Draw(t, "one of") },
		provider: strings.Repeat("p", 63),
	}
}
