package drift

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Key identifies an object within a namespace.
type Key struct {
	schema.GroupVersionKind
	Name string
}

// String is KIND/NAME.
func (k Key) String() string { return k.Kind + "/" + k.Name }

// KeyOf is the key of an object of a managed kind; it is false for any other.
func KeyOf(o mesh.Object) (Key, bool) {
	k, ok := mesh.KindOf(o)
	return Key{k.GVK, o.GetName()}, ok
}
