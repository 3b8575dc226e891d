package cel_test

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// locations are the paths in a value that a path in its schema stands for.
func locations(value any, steps path) []path {
	all := []path{nil}
	for _, s := range steps {
		var next []path
		for _, at := range all {
			switch v := get(value, at).(type) {
			case map[string]any:
				if s.in == '{' {
					for _, key := range slices.Sorted(maps.Keys(v)) {
						next = append(next, at.down(step{in: '{', key: key}))
					}
				} else if _, given := v[s.property]; given {
					next = append(next, at.property(s.property))
				}
			case []any:
				for i := range v {
					next = append(next, at.down(step{in: '[', index: i}))
				}
			}
		}
		all = next
	}
	return all
}

// get is the value at a path that is there.
func get(value any, at path) any {
	for _, s := range at {
		switch s.in {
		case '.':
			value = value.(map[string]any)[s.property]
		case '{':
			value = value.(map[string]any)[s.key]
		case '[':
			value = value.([]any)[s.index]
		}
	}
	return value
}

// with is a copy of the value that has another one at a path.
func with(value any, at path, replacement any) any {
	value = runtime.DeepCopyJSONValue(value)
	if len(at) == 0 {
		return replacement
	}
	parent, last := get(value, at[:len(at)-1]), at[len(at)-1]
	switch last.in {
	case '.':
		parent.(map[string]any)[last.property] = replacement
	case '{':
		parent.(map[string]any)[last.key] = replacement
	case '[':
		parent.([]any)[last.index] = replacement
	}
	return value
}

// without is a copy of the value that lacks a property.
func without(value any, at path, property string) any {
	value = runtime.DeepCopyJSONValue(value)
	delete(get(value, at).(map[string]any), property)
	return value
}

// renamed is a copy of the value that has another string in place of one,
// wherever that is.
func renamed(value, from, to any) any {
	switch v := value.(type) {
	case map[string]any:
		result := map[string]any{}
		for name, field := range v {
			result[name] = renamed(field, from, to)
		}
		return result
	case []any:
		result := make([]any, len(v))
		for i := range v {
			result[i] = renamed(v[i], from, to)
		}
		return result
	}
	if value == from {
		return to
	}
	return value
}

// merged is a copy of a value with a JSON merge patch applied.
func merged(value any, patch any) any {
	changes, isMap := patch.(map[string]any)
	if !isMap {
		return runtime.DeepCopyJSONValue(patch)
	}
	result := map[string]any{}
	if object, isMap := value.(map[string]any); isMap {
		result = runtime.DeepCopyJSON(object)
	}
	for name, change := range changes {
		if change == nil {
			delete(result, name)
		} else {
			result[name] = merged(result[name], change)
		}
	}
	return result
}

// variants are copies of a list's entry that may differ from it and from those
// of another number, one of them in a way that is legal.
func variants(entry any, n int) []any {
	switch v := entry.(type) {
	case int64, float64:
		return []any{int64(10000 + n)}
	case map[string]any:
		if _, named := v["name"]; named {
			return []any{merged(v, map[string]any{"name": fmt.Sprintf("n%d", n)})}
		}
		if _, numbered := v["port"]; numbered {
			return []any{merged(v, map[string]any{"port": int64(10000 + n)})}
		}
		return []any{v}
	case string:
		return []any{
			fmt.Sprintf("n%d%s", n, v),
			fmt.Sprintf("%s%d", v, n),
			fmt.Sprintf("n%d", n),
			fmt.Sprintf("ABC-%03d", n),
			fmt.Sprintf("10.%d.0.0/16", n),
			fmt.Sprintf("2001:db8:%x::/48", n),
			fmt.Sprintf("%c%s", 'A'+n%26, v),
		}
	}
	return []any{entry}
}
