package offline

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

var decoder = serializer.NewCodecFactory(Scheme, serializer.EnableStrict).UniversalDeserializer()

// Files lists the YAML and JSON files of folders, and files named themselves,
// each once, sorted within a folder. "-" stands for standard input.
func Files(paths ...string) ([]string, error) {
	var out []string
	for _, path := range paths {
		if path == "-" {
			out = append(out, path)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, path)
			continue
		}
		found := len(out)
		err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && strings.HasPrefix(d.Name(), ".") && file != path {
				return filepath.SkipDir
			}
			if ext := filepath.Ext(file); !d.IsDir() && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
				out = append(out, file)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(out) == found {
			return nil, fmt.Errorf("%s: there is no file that ends in .yaml, .yml or .json", path)
		}
	}
	var once []string
	for _, f := range out {
		if !slices.Contains(once, f) {
			once = append(once, f)
		}
	}
	return once, nil
}

// Document is an object, and where it was read.
type Document struct {
	client.Object
	// File, and the line of it in which the document begins, from 1.
	File string
	Line int
}

// Read returns the objects of YAML files, in their order; stdin is what "-"
// stands for. A field that its kind does not have is an error, as is an object
// that is there twice. An error names the file, the number of the document in
// it, from 1, and why. Documents that are no Kubernetes object, like a
// kustomization, are passed over.
func Read(stdin io.Reader, files ...string) ([]Document, error) {
	var out []Document
	from := map[string]string{}
	for _, file := range files {
		docs, err := documents(stdin, file)
		if err != nil {
			return nil, err
		}
		for i, doc := range docs {
			at := fmt.Sprintf("%s: document %d", file, i+1)
			objects, err := decode(doc.text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			for _, o := range objects {
				if before, twice := from[key(o)]; twice {
					return nil, fmt.Errorf("%s: %s is in %s already", at, Named(o), before)
				}
				from[key(o)] = at
				out = append(out, Document{o, file, doc.line})
			}
		}
	}
	return out, nil
}

type document struct {
	text []byte
	line int
}

func documents(stdin io.Reader, file string) ([]document, error) {
	var raw []byte
	var err error
	if file == "-" {
		raw, err = io.ReadAll(stdin)
	} else {
		raw, err = os.ReadFile(file) //nolint:gosec // the file that was asked for
	}
	if err != nil {
		return nil, err
	}
	var out []document
	line := 1
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, len(out)+1, err)
		}
		out = append(out, document{doc, line + leading(doc)})
		// The separator is a line of its own.
		line += bytes.Count(doc, []byte("\n")) + 1
	}
}

// leading counts the lines of comments and nothing before a document says something.
func leading(doc []byte) int {
	n := 0
	for l := range bytes.Lines(doc) {
		l = bytes.TrimSpace(l)
		if len(l) > 0 && l[0] != '#' {
			break
		}
		n++
	}
	return n
}

// meshVersion is the version of a group of Istio's kinds that is read: the
// others of a kind say the same.
var meshVersion = map[string]string{
	"security.istio.io": "v1", "networking.istio.io": "v1", "telemetry.istio.io": "v1",
}

// decode returns the objects of a document: none where it has comments alone,
// many where it is a list.
func decode(doc []byte) ([]client.Object, error) {
	var content map[string]any
	if err := yaml.Unmarshal(doc, &content); err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	gvk := u.GroupVersionKind()
	switch {
	case len(content) == 0, strings.HasSuffix(gvk.Group, "kustomize.config.k8s.io"):
		return nil, nil
	case gvk.Kind == "" || gvk.Version == "":
		return nil, errors.New("apiVersion or kind is missing")
	case u.IsList():
		return decodeItems(u)
	}
	if v, is := meshVersion[gvk.Group]; is && gvk.Kind != "EnvoyFilter" && gvk.Version != v {
		u.SetAPIVersion(gvk.Group + "/" + v)
		var err error
		if doc, err = yaml.Marshal(u.Object); err != nil {
			return nil, err
		}
	}
	decoded, _, err := decoder.Decode(doc, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		// Of a kind whose types are not imported.
		decoded, err = u, nil
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
	}
	// The API server would give it one.
	if obj.GetUID() == "" {
		obj.SetUID(types.UID("uid-" + obj.GetNamespace() + "-" + obj.GetName()))
	}
	return []client.Object{obj}, nil
}

func decodeItems(u *unstructured.Unstructured) ([]client.Object, error) {
	list, err := u.ToList()
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for i := range list.Items {
		doc, err := yaml.Marshal(list.Items[i].Object)
		if err != nil {
			return nil, err
		}
		objects, err := decode(doc)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

func key(o client.Object) string {
	return o.GetObjectKind().GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Named is KIND NAMESPACE/NAME, or KIND NAME.
func Named(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}
