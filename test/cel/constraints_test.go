package cel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/json"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// object has the spec, and a name.
func (k kind) object(spec any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion(v1alpha1.GroupVersion.String())
	o.SetKind(k.name)
	o.SetName("example")
	if k.crd.Spec.Scope == "Namespaced" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return o
}

// violation is one thing that the API server finds wrong in a spec.
type violation struct {
	Field, Says string
	Type        metav1.CauseType
}

// violations are what the API server finds wrong in a spec; nothing is stored.
// What it accepts, the operator's own types have to be able to hold: one object
// that they can't decode would blind the operator to all of its kind.
func (k kind) violations(ctx context.Context, spec any) []violation {
	GinkgoHelper()
	object := k.object(runtime.DeepCopyJSONValue(spec))
	err := api.Create(ctx, object, client.DryRunAll)
	if err == nil {
		text, err := object.MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
		typed, err := v1alpha1Scheme.New(object.GroupVersionKind())
		Expect(err).NotTo(HaveOccurred())
		strict, err := json.UnmarshalStrict(text, typed)
		Expect(err).NotTo(HaveOccurred(), "the API server accepts what the operator can't decode: %s", text)
		Expect(strict).To(BeEmpty(), "the schema has fields that the types lack")
		return nil
	}
	Expect(apierrors.IsInvalid(err)).To(BeTrue(), "not about the spec: %v", err)
	var status apierrors.APIStatus
	Expect(errors.As(err, &status)).To(BeTrue())
	var all []violation
	for _, cause := range status.Status().Details.Causes {
		// What the API server adds when the schema's other constraints are
		// broken, since rules are not tried then.
		if strings.Contains(cause.Message, "some validation rules were not checked") {
			continue
		}
		all = append(all, violation{Field: cause.Field, Says: cause.Message, Type: cause.Type})
	}
	Expect(all).NotTo(BeEmpty(), "refused for no cause: %v", err)
	return all
}

var v1alpha1Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	must(v1alpha1.AddToScheme(s))
	return s
}()

// barred are paths that a rule keeps out of a kind altogether, so that what the
// schema says below them never comes to bear. The rule has its example.
var barred = map[string][]string{
	// There to be refused: a field that the schema lacks would be dropped by
	// clients that don't ask for strict validation, and the rule be looser.
	"MeshSecurityBaseline": {"spec.authorizationRules[].jwt"},
}

func (k kind) barred(at path) bool {
	return slices.ContainsFunc(barred[k.name], func(prefix string) bool {
		return at.Pattern() == prefix || strings.HasPrefix(at.Pattern(), prefix+".")
	})
}

// example is where the full spec has a value for a path in the schema.
func (k kind) example(at path) path {
	GinkgoHelper()
	found := locations(k.full, at)
	Expect(found).NotTo(BeEmpty(), "testdata/%s/full.yaml has nothing at %s", k.name, at.Pattern())
	return found[0]
}

// broken is the full spec with one constraint broken, where that is, and what
// the API server has to say to it: the limit, so that the remedy is plain.
func (k kind) broken(c constraint) (any, path, violation) {
	GinkgoHelper()
	at := k.example(c.path)
	value := get(k.full, at)
	says := fmt.Sprint(c.limit)
	replaced := func(by any, t metav1.CauseType) (any, path, violation) {
		return with(k.full, at, by), at, violation{Field: at.openAPI(), Says: says, Type: t}
	}
	switch c.keyword {
	case "enum":
		says = strings.Trim(string(c.schema.Enum[0].Raw), `"`)
		return replaced("Nonsense", metav1.CauseTypeFieldValueNotSupported)
	case "minimum":
		return replaced(c.limit-1, metav1.CauseTypeFieldValueInvalid)
	case "maximum":
		return replaced(c.limit+1, metav1.CauseTypeFieldValueInvalid)
	case "minLength":
		return replaced(value.(string)[:c.limit-1], metav1.CauseTypeFieldValueInvalid)
	case "maxLength":
		return replaced(value.(string)+strings.Repeat("a", int(c.limit)+1-utf8.RuneCountInString(value.(string))), metav1.CauseTypeTooLong)
	case "minItems":
		return replaced(value.([]any)[:c.limit-1], metav1.CauseTypeFieldValueInvalid)
	case "maxItems":
		return replaced(grown(value.([]any), int(c.limit)+1, 0), metav1.CauseTypeTooMany)
	case "minProperties":
		return replaced(shrunk(value.(map[string]any), int(c.limit)-1), metav1.CauseTypeFieldValueInvalid)
	case "maxProperties":
		return replaced(padded(value.(map[string]any), int(c.limit)+1), metav1.CauseTypeTooMany)
	case "required":
		return without(k.full, at, c.name), at, violation{Field: at.property(c.name).openAPI(), Says: "Required value", Type: metav1.CauseTypeFieldValueRequired}
	}
	Fail("no way is known to break " + c.String())
	return nil, nil, violation{}
}

// edges are specs that are just within a constraint. One of them is legal,
// unless the limit itself is out of reach: then it is the wrong one. For an
// enum there is a group of such specs for each of its values.
func (k kind) edges(c constraint) [][]any {
	at := k.example(c.path)
	value := get(k.full, at)
	var group []any
	add := func(v any) { group = append(group, with(k.full, at, v)) }
	// A value may be referred to, or not go with a sibling that the full spec has.
	addWithEnvirons := func(v any) {
		spec := with(k.full, at, v)
		group = append(group, spec, renamed(k.full, value, v))
		if parent := at[:len(at)-1]; at[len(at)-1].in == '.' {
			for sibling := range get(spec, parent).(map[string]any) {
				if sibling != at[len(at)-1].property {
					group = append(group, without(spec, parent, sibling))
				}
			}
		}
	}
	switch c.keyword {
	case "enum":
		var groups [][]any
		for _, raw := range c.schema.Enum {
			var v any
			must(json.UnmarshalCaseSensitivePreserveInts(raw.Raw, &v))
			group = nil
			addWithEnvirons(v)
			groups = append(groups, group)
		}
		return groups
	case "minimum", "maximum":
		add(c.limit)
	case "minLength", "maxLength":
		for _, v := range append(ofLength(value.(string), int(c.limit)), acceptedBy(c.schema)...) {
			// The API server has the last word, and fewer words to say.
			if s, isString := v.(string); isString && utf8.RuneCountInString(s) == int(c.limit) && legal(c.schema, v) {
				addWithEnvirons(v)
			}
		}
	case "minItems":
		for i := range value.([]any) {
			add(value.([]any)[i : i+int(c.limit)])
		}
	case "maxItems":
		for style, variant := range variants(value.([]any)[0], 0) {
			if legal(c.schema.Items.Schema, variant) {
				add(grown(value.([]any), int(c.limit), style))
			}
		}
	case "minProperties":
		add(shrunk(value.(map[string]any), int(c.limit)))
	case "maxProperties":
		add(padded(value.(map[string]any), int(c.limit)))
	case "required":
		return nil // the full spec has it
	}
	return [][]any{group}
}

// ofLength are strings of a length that are like one that is legal.
func ofLength(like string, length int) []any {
	var all []any
	missing := length - len(like)
	if missing <= 0 {
		return []any{like[:length], like[len(like)-length:]}
	}
	for _, unit := range []string{"a", "A", "0", "a."} {
		padding := strings.Repeat(unit, missing)[:missing]
		for _, at := range []int{0, len(like) / 2, len(like) - 1, len(like)} {
			all = append(all, like[:at]+padding+like[at:])
		}
	}
	return all
}

// grown is a list with more entries, which differ in one of the styles of variants.
func grown(list []any, length, style int) []any {
	list = slices.Clone(list)
	for n := 0; len(list) < length; n++ {
		list = append(list, variants(list[0], n)[style])
	}
	return list
}

// shrunk is a map with fewer entries.
func shrunk(m map[string]any, length int) map[string]any {
	result := map[string]any{}
	for key, value := range m {
		if len(result) < length {
			result[key] = value
		}
	}
	return result
}

// padded is a map with more entries.
func padded(m map[string]any, length int) map[string]any {
	result := runtime.DeepCopyJSON(m)
	for n := 0; len(result) < length; n++ {
		result[fmt.Sprintf("more-%d", n)] = "x"
	}
	return result
}

var _ = Describe("Constraints", func() {
	for _, k := range kinds {
		Describe("of "+k.name, func() {
			It("the full and the minimal spec are accepted", func(ctx context.Context) {
				Expect(k.violations(ctx, k.full)).To(BeEmpty())
				Expect(k.violations(ctx, readSpec("testdata/"+k.name+"/minimal.yaml"))).To(BeEmpty())
			})
			It("the full spec has every field", func() {
				for _, n := range nodes(nil, k.spec) {
					if !k.barred(n.path) {
						k.example(n.path)
					}
				}
			})
			for _, c := range k.constraints() {
				if c.keyword == "rule" || k.barred(c.path) {
					continue
				}
				It(c.String(), func(ctx context.Context) {
					By("refusing a spec that breaks it, for that alone")
					spec, _, want := k.broken(c)
					found := k.violations(ctx, spec)
					Expect(found).To(HaveLen(1))
					Expect(found[0].Field).To(Equal(want.Field))
					Expect(found[0].Type).To(Equal(want.Type))
					Expect(found[0].Says).To(ContainSubstring(want.Says))

					By("accepting a spec that is just within it")
					for _, group := range k.edges(c) {
						var last []violation
						accepted := slices.ContainsFunc(group, func(spec any) bool {
							last = k.violations(ctx, spec)
							return last == nil
						})
						Expect(accepted).To(BeTrue(), "no spec reaches this limit; the last of %d tries: %v", len(group), last)
					}
				})
			}
		})
	}
})
