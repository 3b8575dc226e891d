package drift

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// BenchmarkMemory measures what an object weighs in the cache: as the API
// server sent it, and with the digest in the place of its managedFields.
func BenchmarkMemory(b *testing.B) {
	for _, name := range []string{"msp-allow", "msp-mtls", "msp-net", "msp-egress-api"} {
		steady := stored(b, name)
		foreign := steady.DeepCopyObject().(mesh.Object)
		by(foreign, "kubectl-client-side-apply", 60, `{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}},"f:labels":{".":{},"f:team":{}}},"f:spec":{"f:selector":{".":{},"f:matchLabels":{".":{},"f:app":{}}}}}`)
		hostile := steady.DeepCopyObject().(mesh.Object)
		var many []string
		for i := range 2000 {
			many = append(many, fmt.Sprintf(`"f:istio.io/%d":{}`, i))
		}
		by(hostile, "intruder", 60, `{"f:metadata":{"f:annotations":{`+strings.Join(many, ",")+`}}}`)
		k, _ := mesh.KindOf(steady)
		for _, state := range []struct {
			name string
			o    mesh.Object
		}{{"steady", steady}, {"foreign", foreign}, {"hostile", hostile}} {
			for _, form := range []struct {
				name  string
				trims func(any) (any, error)
			}{{"whole", func(o any) (any, error) { return o, nil }}, {"digest", Transform}} {
				b.Run(k.GVK.Kind+"/"+state.name+"/"+form.name, func(b *testing.B) { weigh(b, k, state.o, form.trims) })
			}
		}
	}
}

func weigh(b *testing.B, k mesh.Kind, o mesh.Object, trims func(any) (any, error)) {
	b.Helper()
	const many = 200
	raw, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what a finalizer held back
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		kept := make([]any, many)
		before := heap()
		for i := range kept {
			// Decoded anew, since every object of the cache has strings of its own.
			out := k.New()
			if err := json.Unmarshal(raw, out); err != nil {
				b.Fatal(err)
			}
			if kept[i], err = trims(out); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/many, "B/object")
		runtime.KeepAlive(kept)
	}
	b.ReportMetric(0, "ns/op")
}
