package offline

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// YAML writes objects as one would apply them, without status, a document each.
func YAML[T runtime.Object](objects []T) ([]byte, error) {
	var docs [][]byte
	for _, o := range objects {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("write %T: %w", o, err)
		}
		delete(fields, "status")
		doc, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("write %T: %w", o, err)
		}
		docs = append(docs, doc)
	}
	return bytes.Join(docs, []byte("---\n")), nil
}
