package wire

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const stored = `{"apiVersion":"v1","kind":"Thing","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","generation":2,"creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[{}],"labels":{"x":"y"}},"spec":{"b":1,  "a":2}}`

func TestFieldsLeaveOutWhatTheServerSays(t *testing.T) {
	var o Object
	if err := json.Unmarshal([]byte(stored), &o); err != nil {
		t.Fatal(err)
	}
	if got := string(o.Spec); got != `{"b":1,  "a":2}` {
		t.Errorf("the spec was written anew: %s", got)
	}
	fields, err := o.Fields()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "a", "namespace": "n", "labels": map[string]any{"x": "y"}}
	if got := fields["metadata"]; !reflect.DeepEqual(got, want) { //nolint:forbidigo // plain JSON
		t.Errorf("metadata: %v", got)
	}
}

func TestReadEndsWithTheStreamOrAnError(t *testing.T) {
	var seen []string
	see := func(e Event) { seen = append(seen, e.Type+" "+e.Object.Metadata.Name) }
	err := read(t.Context(), strings.NewReader(`{"type":"ADDED","object":`+stored+`}`+"\n"+`{"type":"ERROR","object":{"message":"too old"}}`), see)
	if err == nil || !strings.Contains(err.Error(), "too old") || len(seen) != 1 || seen[0] != "ADDED a" {
		t.Errorf("%v after %q", err, seen)
	}
	if err := read(t.Context(), strings.NewReader(""), see); err == nil {
		t.Error("a stream that ends by itself is no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := read(ended, strings.NewReader(""), see); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestParseResource(t *testing.T) {
	for text, want := range map[string]string{"v1/pods": "/api/v1/namespaces/n/pods/p", "apps/v1/deployments": "/apis/apps/v1/namespaces/n/deployments/p"} {
		r, err := ParseResource(text)
		if got := path(r, "n", "p"); err != nil || got != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	if _, err := ParseResource("pods"); err == nil {
		t.Error("pods has no version")
	}
}
