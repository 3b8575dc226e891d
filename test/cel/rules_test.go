package cel_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// examples are what a rule refuses and accepts. They are tried at every path
// where the rule holds.
type examples struct {
	// Remedy is a part of the rule's message, which tells what to do. It finds
	// the rules that the examples are for.
	Remedy string `json:"remedy"`
	// At are KIND.PATH in the schema, where the remedy alone finds too many
	// rules, or where one path needs examples of its own.
	At []string `json:"at"`
	// In is a field that the value has to have, where full.yaml has several.
	In string `json:"in"`
	// Field is the path of the error below the rule's value.
	Field  string `json:"field"`
	Refuse []edit `json:"refuse"`
	Accept []edit `json:"accept"`
}

// edit is a change to the value in full.yaml that a rule is for. One is given.
type edit struct {
	// Value replaces it.
	Value any `json:"value"`
	// Merge is a JSON merge patch.
	Merge any `json:"merge"`
	// Again adds the first entry of the list again, with this merge patch.
	Again map[string]any `json:"again"`
	// AsItIs leaves it: a list, with two entries at least.
	AsItIs bool `json:"asItIs"`
	// Built is a function's name in builders.
	Built string `json:"built"`

	// Spec is a JSON merge patch to the whole spec, for what has to go with it.
	Spec any `json:"spec"`
	// Also are the fields of other errors that can't be helped.
	Also []string `json:"also"`
}

var allExamples = func() []examples {
	text, err := os.ReadFile("testdata/rules.yaml")
	must(err)
	text, err = yaml.YAMLToJSONStrict(text)
	must(err)
	var all []examples
	unknown, err := json.UnmarshalStrict(text, &all)
	must(err)
	if len(unknown) > 0 {
		panic(fmt.Sprintf("testdata/rules.yaml: %v", unknown))
	}
	return all
}()

// place is KIND.PATH.
func (k kind) place(c constraint) string { return k.name + "." + c.path.Pattern() }

// examplesFor a rule: those with its path go before those without any.
func (k kind) examplesFor(c constraint) []examples {
	var here, anywhere []examples
	for _, e := range allExamples {
		switch {
		case !strings.Contains(c.rule.Message, e.Remedy):
		case len(e.At) == 0:
			anywhere = append(anywhere, e)
		case slices.Contains(e.At, k.place(c)):
			here = append(here, e)
		}
	}
	if len(here) > 0 {
		return here
	}
	return anywhere
}

// acceptedBy are the values that the rules of a schema accept by example.
func acceptedBy(s *schema) []any {
	var all []any
	for _, rule := range s.XValidations {
		for _, e := range allExamples {
			if strings.Contains(rule.Message, e.Remedy) {
				for _, accepted := range e.Accept {
					all = append(all, accepted.Value)
				}
			}
		}
	}
	return all
}

// apply returns the full spec with an edit at a path.
func (k kind) apply(e edit, at path) any {
	GinkgoHelper()
	value := get(k.full, at)
	switch {
	case e.Value != nil:
		value = e.Value
	case e.Merge != nil:
		value = merged(value, e.Merge)
	case e.Again != nil:
		list := value.([]any)
		again := list[0]
		if len(e.Again) > 0 {
			again = merged(again, e.Again)
		}
		value = append(slices.Clone(list), again)
	case e.AsItIs:
		Expect(len(value.([]any))).To(BeNumerically(">=", 2), "full.yaml has too few entries to show that they may differ")
	case e.Built != "":
		build, known := builders[e.Built]
		Expect(known).To(BeTrue(), "no builder is called %s", e.Built)
		value = build(k, at)
	default:
		Fail("an edit of testdata/rules.yaml changes nothing")
	}
	spec := with(k.full, at, runtime.DeepCopyJSONValue(value))
	if e.Spec != nil {
		spec = merged(spec, e.Spec)
	}
	return spec
}

// located is where the full spec has a value that the examples can be made of.
func (k kind) located(c constraint, e examples) path {
	GinkgoHelper()
	for _, at := range locations(k.full, c.path) {
		if e.In == "" {
			return at
		}
		if object, isMap := get(k.full, at).(map[string]any); isMap && object[e.In] != nil {
			return at
		}
	}
	Fail(fmt.Sprintf("testdata/%s/full.yaml has nothing at %s", k.name, c.path.Pattern()))
	return nil
}

var _ = Describe("Rules", func() {
	for _, k := range kinds {
		Describe("of "+k.name, func() {
			for _, c := range k.constraints() {
				if c.keyword != "rule" || k.barred(c.path) {
					continue
				}
				It(c.String(), func(ctx context.Context) {
					found := k.examplesFor(c)
					Expect(found).To(HaveLen(1), "examples in testdata/rules.yaml for this rule")
					e := found[0]
					Expect(e.Refuse).NotTo(BeEmpty())
					Expect(e.Accept).NotTo(BeEmpty())
					at := k.located(c, e)
					for i, refused := range e.Refuse {
						By(fmt.Sprintf("refusing %d: %+v", i, refused))
						violations := k.violations(ctx, k.apply(refused, at))
						Expect(violations).To(HaveLen(1 + len(refused.Also)))
						others := slices.Clone(refused.Also)
						for _, v := range violations {
							if i := slices.Index(others, v.Field); i >= 0 {
								others = slices.Delete(others, i, i+1)
								continue
							}
							Expect(v.Field).To(Equal(at.String() + e.Field))
							Expect(v.Says).To(HaveSuffix(c.rule.Message))
							Expect(v.Says).To(ContainSubstring(e.Remedy))
						}
						Expect(others).To(BeEmpty())
					}
					for i, accepted := range e.Accept {
						By(fmt.Sprintf("accepting %d: %+v", i, accepted))
						Expect(k.violations(ctx, k.apply(accepted, at))).To(BeEmpty())
					}
				})
			}
		})
	}

	It("have no examples left over", func() {
		for _, e := range allExamples {
			Expect(slices.ContainsFunc(kinds, func(k kind) bool {
				return slices.ContainsFunc(k.constraints(), func(c constraint) bool {
					return c.rule != nil && !k.barred(c.path) && slices.ContainsFunc(k.examplesFor(c), func(f examples) bool {
						return f.Remedy == e.Remedy && slices.Equal(f.At, e.At)
					})
				})
			})).To(BeTrue(), "no rule of any kind says %q at %v", e.Remedy, e.At)
		}
	})
})
