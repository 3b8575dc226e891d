package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// fingerprint is equal for equal values alone: it is made from all that a value
// holds, so that no field can be left out, and with a hash that nobody can make
// collide.
type fingerprint [sha256.Size]byte

// around is the fingerprint of the scene without its pods and the time; false
// where an object in it has no version, since it is yet to be written.
func (s *Scene) around() (fingerprint, bool) {
	v := *s
	v.Facts.Pods, v.Now, v.Ours, v.Others = nil, time.Time{}, nil, nil
	text := appendScene(make([]byte, 0, 4<<10), reflect.ValueOf(&v).Elem())
	for _, list := range [][]facts.Object{s.Ours, s.Others} {
		text = binary.AppendUvarint(text, uint64(len(list)))
		for _, o := range list {
			// The API server gives every state of an object a version of its own.
			if o.GetUID() == "" || o.GetResourceVersion() == "" {
				return fingerprint{}, false
			}
			text = appendText(appendText(text, string(o.GetUID())), o.GetResourceVersion())
		}
	}
	return sha256.Sum256(text), true
}

// kindsOf are the pods that differ in more than their names, which are taken
// off, and by their owners what they are in full. Of those alike it leaves as
// many as most says.
func kindsOf(all []facts.Pod, most int) (pods []facts.Pod, texts map[facts.Owner][]string) {
	texts = map[facts.Owner][]string{}
	seen := map[string]int{}
	var buf []byte
	var p facts.Pod
	for i := range all {
		p = all[i]
		p.Name = ""
		buf = appendPod(buf[:0], reflect.ValueOf(&p).Elem())
		n := seen[string(buf)]
		if n >= most {
			continue
		}
		text := string(buf)
		seen[text] = n + 1
		pods, texts[p.Owner] = append(pods, p), append(texts[p.Owner], text)
	}
	return pods, texts
}

// fingerprintOf is that of texts, whatever their order.
func fingerprintOf(texts []string) fingerprint {
	slices.Sort(texts)
	b := make([]byte, 0, 1<<10)
	for _, t := range texts {
		b = appendText(b, t)
	}
	return sha256.Sum256(b)
}

var (
	appendScene = appender(reflect.TypeFor[Scene]())
	appendPod   = appender(reflect.TypeFor[facts.Pod]())
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appender writes values of a type, no two of them alike. It panics for a type
// that it can't tell apart.
func appender(t reflect.Type) func([]byte, reflect.Value) []byte {
	if t == reflect.TypeFor[time.Time]() {
		return func(b []byte, v reflect.Value) []byte {
			at, _ := v.Interface().(time.Time)
			_, offset := at.Zone()
			return binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, at.Unix()), int64(at.Nanosecond())), int64(offset))
		}
	}
	switch t.Kind() {
	case reflect.String:
		return func(b []byte, v reflect.Value) []byte { return appendText(b, v.String()) }
	case reflect.Bool:
		return func(b []byte, v reflect.Value) []byte {
			if v.Bool() {
				return append(b, 1)
			}
			return append(b, 0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value) []byte { return binary.AppendVarint(b, v.Int()) }
	case reflect.Pointer:
		return appendPointer(t)
	case reflect.Slice:
		return appendSlice(t)
	case reflect.Map:
		if t == reflect.TypeFor[map[string]string]() {
			return appendLabels
		}
		return appendMap(t)
	case reflect.Struct:
		return appendStruct(t)
	case reflect.Interface:
		if t == reflect.TypeFor[facts.Object]() {
			// around writes these.
			return func(b []byte, _ reflect.Value) []byte { return b }
		}
	}
	panic(fmt.Sprintf("audit: a fingerprint of %s", t))
}

func appendPointer(t reflect.Type) func([]byte, reflect.Value) []byte {
	elem := appender(t.Elem())
	return func(b []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return append(b, 0)
		}
		return elem(append(b, 1), v.Elem())
	}
}

func appendSlice(t reflect.Type) func([]byte, reflect.Value) []byte {
	elem := appender(t.Elem())
	return func(b []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return append(b, 0)
		}
		n := v.Len()
		b = binary.AppendUvarint(b, uint64(n)+1)
		for i := range n {
			b = elem(b, v.Index(i))
		}
		return b
	}
}

// appendMap writes the entries in the order of what they are written as.
func appendMap(t reflect.Type) func([]byte, reflect.Value) []byte {
	key, elem := appender(t.Key()), appender(t.Elem())
	return func(b []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return append(b, 0)
		}
		b = binary.AppendUvarint(b, uint64(v.Len())+1)
		var entries []string
		var buf []byte
		for i := v.MapRange(); i.Next(); {
			buf = elem(key(buf[:0], i.Key()), i.Value())
			entries = append(entries, string(buf))
		}
		slices.Sort(entries)
		for _, e := range entries {
			b = append(b, e...)
		}
		return b
	}
}

// appendLabels is appendMap for what there is most of.
func appendLabels(b []byte, v reflect.Value) []byte {
	m, _ := v.Interface().(map[string]string)
	if m == nil {
		return append(b, 0)
	}
	var few [16]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = binary.AppendUvarint(b, uint64(len(keys))+1)
	for _, k := range keys {
		b = appendText(appendText(b, k), m[k])
	}
	return b
}

func appendStruct(t reflect.Type) func([]byte, reflect.Value) []byte {
	type field struct {
		index int
		write func([]byte, reflect.Value) []byte
	}
	var fields []field
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			fields = append(fields, field{i, appender(f.Type)})
		} else if t != reflect.TypeFor[Scene]() { // whose others are worked out from these
			panic(fmt.Sprintf("audit: a fingerprint of %s, which hides %s", t, f.Name))
		}
	}
	return func(b []byte, v reflect.Value) []byte {
		for _, f := range fields {
			b = f.write(b, v.Field(f.index))
		}
		return b
	}
}
