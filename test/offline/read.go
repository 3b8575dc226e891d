package offline

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Read returns the objects of YAML files, in their order. A field that its kind
// does not have is an error, as is an object that is there twice. An error names
// the file, the number of the document in it, from 1, and why.
func Read(files ...string) ([]client.Object, error) {
	var out []client.Object
	from := map[string]string{}
	for _, file := range files {
		docs, err := documents(file)
		if err != nil {
			return nil, err
		}
		for i, doc := range docs {
			if len(bytes.TrimSpace(doc)) == 0 {
				continue
			}
			at := fmt.Sprintf("%s: document %d", file, i+1)
			obj, err := decode(doc)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			if obj == nil {
				continue
			}
			if before, twice := from[key(obj)]; twice {
				return nil, fmt.Errorf("%s: %s is in %s already", at, named(obj), before)
			}
			from[key(obj)] = at
			out = append(out, obj)
		}
	}
	return out, nil
}

func documents(file string) ([][]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, len(out)+1, err)
		}
		out = append(out, doc)
	}
}

// decode returns the document's object; nil where it has comments alone.
func decode(doc []byte) (client.Object, error) {
	var fields map[string]any
	if err := yaml.Unmarshal(doc, &fields); err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, nil
	}
	decoded, _, err := decoder.Decode(doc, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		// Of a kind whose types are not imported.
		u := &unstructured.Unstructured{}
		decoded, err = u, yaml.UnmarshalStrict(doc, &u.Object)
	}
	if err != nil {
		return nil, err
	}
	obj, ok := decoded.(client.Object)
	switch {
	case !ok:
		return nil, fmt.Errorf("%T is not an object", decoded)
	case obj.GetName() == "":
		return nil, errors.New("metadata.name is missing")
	case obj.GetDeletionTimestamp() != nil && len(obj.GetFinalizers()) == 0:
		return nil, fmt.Errorf("%s has a deletionTimestamp and no finalizers: it would be gone", named(obj))
	}
	// The API server would give it one.
	if obj.GetUID() == "" {
		obj.SetUID(types.UID("uid-" + obj.GetName()))
	}
	return obj, nil
}

// Overlay puts objects on top of others: one of the same kind and name takes the
// other's place, and one with the annotation takes it away.
func Overlay(base, over []client.Object) []client.Object {
	replaced := map[string]bool{}
	var out []client.Object
	for _, o := range over {
		replaced[key(o)] = true
		if o.GetAnnotations()[Absent] != "true" {
			out = append(out, o)
		}
	}
	for _, o := range base {
		if !replaced[key(o)] {
			out = append(out, o)
		}
	}
	return out
}

// Absent is the annotation by which Overlay takes an object away.
const Absent = "golden/absent"

func key(o client.Object) string {
	return o.GetObjectKind().GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

// named is KIND NAMESPACE/NAME, or KIND NAME.
func named(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}
