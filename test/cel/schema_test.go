package cel_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

type schema = apiextensionsv1.JSONSchemaProps

// kind is one of the API's kinds.
type kind struct {
	name   string
	crd    *apiextensionsv1.CustomResourceDefinition
	bytes  int // of the CRD's file
	spec   *schema
	status *schema
	// full is a spec that has a value at every path of the schema.
	full any
}

// kinds are read while the tree of specs is built, as the specs depend on them.
var kinds = readKinds()

func readKinds() []kind {
	files, err := filepath.Glob(filepath.Join(crdFolder, "*.yaml"))
	must(err)
	var all []kind
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		must(yaml.UnmarshalStrict(text, crd))
		if len(crd.Spec.Versions) != 1 {
			panic(file + " has several versions: the tests know one")
		}
		properties := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		spec, status := properties["spec"], properties["status"]
		k := kind{name: crd.Spec.Names.Kind, crd: crd, bytes: len(text), spec: &spec, status: &status}
		k.full = readSpec(filepath.Join("testdata", k.name, "full.yaml"))
		all = append(all, k)
	}
	if len(all) != 3 {
		panic(fmt.Sprintf("%d kinds in %s, want 3", len(all), crdFolder))
	}
	return all
}

// readSpec is the spec that a file holds.
func readSpec(file string) any {
	text, err := os.ReadFile(file)
	must(err)
	text, err = yaml.YAMLToJSONStrict(text)
	must(err)
	var spec any
	must(json.UnmarshalCaseSensitivePreserveInts(text, &spec))
	return spec
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// step is one step down a schema or a value: into a property, an item of a
// list, or a value of a map.
type step struct {
	property string
	index    int    // of the item, in a value
	key      string // in the map, in a value
	in       rune   // '.' property, '[' list, '{' map
}

// path is a path in a schema, or in a value if its steps have indices and keys.
type path []step

func (p path) property(name string) path { return p.down(step{in: '.', property: name}) }
func (p path) down(s step) path          { return append(slices.Clip(p), s) }

// openAPI is the path as the API server's errors about the schema give it.
func (p path) openAPI() string {
	if n := len(p); n > 0 && p[n-1].in == '{' {
		return p[:n-1].openAPI() + "." + p[n-1].key
	}
	return p.String()
}

// String is the path as the API server's errors about rules give it.
func (p path) String() string {
	b := strings.Builder{}
	b.WriteString("spec")
	for _, s := range p {
		switch s.in {
		case '.':
			b.WriteString("." + s.property)
		case '[':
			fmt.Fprintf(&b, "[%d]", s.index)
		case '{':
			fmt.Fprintf(&b, "[%s]", s.key)
		}
	}
	return b.String()
}

// Pattern is the path without indices and keys: spec.rules[].matchLabels{}.
func (p path) Pattern() string {
	b := strings.Builder{}
	b.WriteString("spec")
	for _, s := range p {
		switch s.in {
		case '.':
			b.WriteString("." + s.property)
		case '[':
			b.WriteString("[]")
		case '{':
			b.WriteString("{}")
		}
	}
	return b.String()
}

// node is a place in a schema.
type node struct {
	path   path
	schema *schema
}

// nodes are all places of a schema, parents first, in a stable order.
func nodes(at path, s *schema) []node {
	all := []node{{at, s}}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child := s.Properties[name]
		all = append(all, nodes(at.property(name), &child)...)
	}
	if s.Items != nil {
		all = append(all, nodes(at.down(step{in: '['}), s.Items.Schema)...)
	}
	if s.AdditionalProperties != nil {
		all = append(all, nodes(at.down(step{in: '{'}), s.AdditionalProperties.Schema)...)
	}
	return all
}

// constraint is one thing that a schema demands of a value.
type constraint struct {
	node
	keyword string                          // enum, maxLength, …, or rule
	limit   int64                           // of a keyword that has a number
	name    string                          // of the property that is required
	rule    *apiextensionsv1.ValidationRule // for keyword rule
}

func (c constraint) String() string {
	return c.path.Pattern() + ": " + strings.TrimSpace(c.keyword+" "+c.demand())
}

// demand is what the keyword says.
func (c constraint) demand() string {
	switch c.keyword {
	case "rule":
		return c.rule.Message
	case "required":
		return c.name
	case "enum":
		var values []string
		for _, raw := range c.schema.Enum {
			values = append(values, strings.Trim(string(raw.Raw), `"`))
		}
		return strings.Join(values, " ")
	}
	return fmt.Sprint(c.limit)
}

// constraints of one place in a schema.
func (n node) constraints() []constraint {
	s := n.schema
	var all []constraint
	number := func(keyword string, limit *int64) {
		if limit != nil {
			all = append(all, constraint{node: n, keyword: keyword, limit: *limit})
		}
	}
	whole := func(f *float64) *int64 {
		if f == nil {
			return nil
		}
		i := int64(*f)
		return &i
	}
	if s.Enum != nil {
		all = append(all, constraint{node: n, keyword: "enum"})
	}
	number("minimum", whole(s.Minimum))
	number("maximum", whole(s.Maximum))
	number("minLength", s.MinLength)
	number("maxLength", s.MaxLength)
	number("minItems", s.MinItems)
	number("maxItems", s.MaxItems)
	number("minProperties", s.MinProperties)
	number("maxProperties", s.MaxProperties)
	for _, name := range s.Required {
		all = append(all, constraint{node: n, keyword: "required", name: name})
	}
	for i := range s.XValidations {
		all = append(all, constraint{node: n, keyword: "rule", rule: &s.XValidations[i]})
	}
	return all
}

// constraints of a kind's spec.
func (k kind) constraints() []constraint {
	var all []constraint
	for _, n := range nodes(nil, k.spec) {
		all = append(all, n.constraints()...)
	}
	return all
}

// unknown is what a schema holds beyond what these tests know, none of which
// may be in a spec: formats and patterns (a rule in CEL has a better message,
// and the API server's date-time takes what the operator can't decode),
// defaults, nullable, oneOf and so on.
func unknown(s schema) []string {
	s.Description, s.Type, s.Properties, s.Items, s.AdditionalProperties, s.Required = "", "", nil, nil, nil, nil
	s.Enum, s.Minimum, s.Maximum = nil, nil, nil
	s.MinLength, s.MaxLength, s.MinItems, s.MaxItems, s.MinProperties, s.MaxProperties = nil, nil, nil, nil, nil, nil
	s.XValidations, s.XListType, s.XMapType = nil, nil, nil
	if s.Format == "int32" || s.Format == "int64" { // every number has a minimum and a maximum within it
		s.Format = ""
	}
	var names []string
	for t, v, i := reflect.TypeOf(s), reflect.ValueOf(s), 0; i < t.NumField(); i++ {
		if !v.Field(i).IsZero() {
			names = append(names, t.Field(i).Name)
		}
	}
	return names
}

var _ = Describe("The schemas", func() {
	for _, k := range kinds {
		Describe("of "+k.name, func() {
			everywhere := func(wrong func(node) string) {
				GinkgoHelper()
				var found []string
				for _, n := range nodes(nil, k.spec) {
					if w := wrong(n); w != "" {
						found = append(found, n.path.Pattern()+": "+w)
					}
				}
				Expect(found).To(BeEmpty())
			}

			It("say what testdata/"+k.name+"/constraints.txt says: a constraint that got lost would lose its cases too", func() {
				var now []string
				for _, c := range k.constraints() {
					now = append(now, c.String())
				}
				file := filepath.Join("testdata", k.name, "constraints.txt")
				if os.Getenv("UPDATE_GOLDEN") != "" {
					Expect(os.WriteFile(file, []byte(strings.Join(now, "\n")+"\n"), 0o644)).To(Succeed())
				}
				text, err := os.ReadFile(file)
				Expect(err).NotTo(HaveOccurred())
				known := strings.Split(strings.TrimSpace(string(text)), "\n")
				lost := slices.DeleteFunc(slices.Clone(known), func(line string) bool { return slices.Contains(now, line) })
				added := slices.DeleteFunc(now, func(line string) bool { return slices.Contains(known, line) })
				const remedy = "if this is meant, rewrite the file with UPDATE_GOLDEN=1"
				Expect(lost).To(BeEmpty(), remedy)
				Expect(added).To(BeEmpty(), remedy)
			})
			It("say nothing that these tests don't know", func() {
				everywhere(func(n node) string { return strings.Join(unknown(*n.schema), ", ") })
			})
			It("bound every string, list, map and number", func() {
				everywhere(func(n node) string {
					s := n.schema
					switch {
					case s.Type == "string" && s.MaxLength == nil && s.Enum == nil:
						return "neither maxLength nor enum"
					case s.Type == "array" && s.MaxItems == nil:
						return "no maxItems"
					case s.AdditionalProperties != nil && s.MaxProperties == nil:
						return "no maxProperties"
					case s.Type == "integer" && (s.Minimum == nil || s.Maximum == nil):
						return "no minimum or no maximum"
					}
					return ""
				})
			})
			It("have atomic lists and maps: Argo CD does not see an entry that somebody adds to one that merges", func() {
				everywhere(func(n node) string {
					s := n.schema
					switch {
					case s.Type == "array" && (s.XListType == nil || *s.XListType != "atomic"):
						return "a list that is not atomic"
					case s.AdditionalProperties != nil && (s.XMapType == nil || *s.XMapType != "atomic"):
						return "a map that is not atomic"
					}
					return ""
				})
			})
			It("describe every field, of status too", func() {
				var found []string
				properties := k.crd.Spec.Versions[0].Schema.OpenAPIV3Schema
				for _, n := range nodes(nil, properties) {
					if last := len(n.path) - 1; last >= 0 && n.path[last].in == '.' && n.path[0].property != "metadata" && n.schema.Description == "" {
						found = append(found, strings.TrimPrefix(n.path.Pattern(), "spec."))
					}
				}
				Expect(found).To(BeEmpty())
			})
			It("give every rule a message in one line that says more than what is wrong", func() {
				everywhere(func(n node) string {
					for _, r := range n.schema.XValidations {
						if len(r.Message) < 40 || strings.Contains(r.Message, "\n") {
							return fmt.Sprintf("message %q", r.Message)
						}
					}
					return ""
				})
			})
			It("fit into a CRD that can be read and applied", func() {
				Expect(k.bytes).To(BeNumerically("<", 200_000))
			})
		})
	}
})
