package intrusion

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/openapi"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Schema is what an API server says of a value.
type Schema = apiextensionsv1.JSONSchemaProps

// SpecOf reads the schema of a kind's spec from the API server: from the CRD,
// or from the server's OpenAPI for a kind of Kubernetes itself.
func SpecOf(ctx context.Context, k mesh.Kind, c client.Reader, docs openapi.Client) (Schema, error) {
	if k.Custom {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := c.Get(ctx, types.NamespacedName{Name: k.CRD()}, &crd); err != nil {
			return Schema{}, err
		}
		for _, v := range crd.Spec.Versions {
			if v.Name == k.GVK.Version {
				return v.Schema.OpenAPIV3Schema.Properties["spec"], nil
			}
		}
		return Schema{}, fmt.Errorf("%s has no version %s", k.CRD(), k.GVK.Version)
	}
	paths, err := docs.Paths()
	if err != nil {
		return Schema{}, err
	}
	doc, ok := paths["apis/"+k.GVK.GroupVersion().String()]
	if !ok {
		return Schema{}, fmt.Errorf("no OpenAPI of %s", k.GVK.GroupVersion())
	}
	raw, err := doc.Schema("application/json")
	if err != nil {
		return Schema{}, err
	}
	var api struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(raw, &api); err != nil {
		return Schema{}, err
	}
	for _, s := range api.Components.Schemas {
		var kind struct {
			Properties map[string]json.RawMessage
			Kinds      []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
		}
		if err := json.Unmarshal(s, &kind); err != nil {
			return Schema{}, err
		}
		for _, gvk := range kind.Kinds {
			if gvk.Group == k.GVK.Group && gvk.Version == k.GVK.Version && gvk.Kind == k.GVK.Kind {
				return resolve(kind.Properties["spec"], api.Components.Schemas)
			}
		}
	}
	return Schema{}, fmt.Errorf("no OpenAPI of %s", k.GVK)
}

// resolve puts definitions in the place of references to them.
func resolve(raw json.RawMessage, defs map[string]json.RawMessage) (Schema, error) {
	// A default, which may be anything, is of no interest.
	var s Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, err
	}
	for _, ref := range append(slices.Clone(s.AllOf), s) {
		if ref.Ref != nil {
			return resolve(defs[strings.TrimPrefix(*ref.Ref, "#/components/schemas/")], defs)
		}
	}
	inner := func(s Schema) (Schema, error) {
		raw, err := json.Marshal(s)
		if err != nil {
			return s, err
		}
		return resolve(raw, defs)
	}
	var err error
	for name, p := range s.Properties {
		if s.Properties[name], err = inner(p); err != nil {
			return s, err
		}
	}
	if s.Items != nil && s.Items.Schema != nil {
		if *s.Items.Schema, err = inner(*s.Items.Schema); err != nil {
			return s, err
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		if *s.AdditionalProperties.Schema, err = inner(*s.AdditionalProperties.Schema); err != nil {
			return s, err
		}
	}
	return s, nil
}

// The elements of a path that are no names.
const (
	entry = "*"  // of a list
	key   = "{}" // of a map
)

// Field is a field of a spec that has a value of its own.
type Field struct {
	// Path has "*" for the entries of a list and "{}" for the keys of a map.
	Path   []string
	spec   Schema
	schema Schema
}

func (f Field) String() string { return "/spec/" + strings.Join(f.Path, "/") }

// Fields lists the fields of a spec, sorted by path.
func Fields(spec Schema) []Field {
	var out []Field
	var walk func(s Schema, path []string)
	walk = func(s Schema, path []string) {
		at := func(seg string) []string { return append(slices.Clone(path), seg) }
		switch {
		case len(s.Properties) > 0:
			for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
				walk(s.Properties[name], at(name))
			}
		case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
			walk(*s.AdditionalProperties.Schema, at(key))
		case s.Items != nil && s.Items.Schema != nil:
			walk(*s.Items.Schema, at(entry))
		default:
			out = append(out, Field{Path: path, spec: spec, schema: s})
		}
	}
	walk(spec, nil)
	return out
}
