package controllers

import (
	"testing"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/internal/apply"
)

// Whatever is not exactly what was written wakes: a change that is missed is a
// posture that is believed to hold.
func TestEchoes(t *testing.T) {
	object := func(uid, version string) *securityv1.PeerAuthentication {
		return &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "msp-mtls", UID: types.UID(uid), ResourceVersion: version}}
	}
	wrote := func(e *echoes, version string, asSent bool) {
		w := apply.WrittenObject(object("1", version))
		w.AsSent = asSent
		e.wrote("pay", []apply.Written{w})
	}
	for name, c := range map[string]struct {
		run  func(e *echoes, came func(uid, version string))
		want int
	}{
		"nothing is known": {func(_ *echoes, came func(uid, version string)) { came("1", "5") }, 1},
		"our write, while it is made": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			came("1", "5")
			wrote(e, "5", true)
			e.end("pay")
		}, 0},
		"our write, after it was made": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			wrote(e, "5", true)
			e.end("pay")
			came("1", "5")
		}, 0},
		"two of ours, one after the other": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			came("1", "5")
			wrote(e, "5", true)
			wrote(e, "6", true)
			e.end("pay")
			came("1", "6")
		}, 0},
		"ours comes twice": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			wrote(e, "5", true)
			e.end("pay")
			came("1", "5")
			came("1", "5")
		}, 1},
		"somebody was faster": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			came("1", "4")
			e.end("pay")
		}, 1},
		"somebody else's, while ours is made": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			came("1", "5")
			came("1", "6")
			wrote(e, "5", true)
			e.end("pay")
		}, 1},
		"somebody else's, after ours": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			wrote(e, "5", true)
			e.end("pay")
			came("1", "5")
			came("1", "6")
		}, 1},
		"made again under another UID": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			wrote(e, "5", true)
			e.end("pay")
			came("2", "5")
		}, 1},
		"admission changed ours": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			came("1", "5")
			wrote(e, "5", false)
			e.end("pay")
		}, 1},
		"not made at all": {func(e *echoes, came func(uid, version string)) {
			e.begin("pay")
			wrote(e, "5", true)
			e.end("pay")
			e.begin("pay")
			e.end("pay")
			came("1", "5")
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, woken := newEchoes(), 0
			c.run(e, func(uid, version string) {
				if queue := func() { woken++ }; !e.came("pay", object(uid, version), queue) {
					queue()
				}
			})
			if woken != c.want {
				t.Errorf("woken %d times, want %d", woken, c.want)
			}
			for ns, at := range e.of {
				if len(at.wrote) == 0 {
					t.Errorf("%s is remembered for nothing", ns)
				}
			}
		})
	}
}
