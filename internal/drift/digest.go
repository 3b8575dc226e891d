package drift

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Digest is a fingerprint of what is desired: kind, name, labels, annotations,
// owner and spec of each object, in hex, 64 characters. It does not depend on
// the order of the objects, nor on the UID of their owner, which says nothing
// about intent and changes when a profile is restored from a backup.
func Digest(desired []mesh.Object) string {
	type owner struct{ APIVersion, Kind, Name string }
	type object struct {
		Group, Version, Kind, Namespace, Name string
		Labels                                map[string]string `json:",omitempty"`
		Annotations                           map[string]string `json:",omitempty"`
		Owners                                []owner           `json:",omitempty"`
		Spec                                  json.RawMessage
	}
	objects := make([]object, 0, len(desired))
	for _, o := range desired {
		key, _ := KeyOf(o)
		d := object{
			Group: key.Group, Version: key.Version, Kind: key.Kind, Namespace: o.GetNamespace(), Name: key.Name,
			Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		}
		for _, r := range o.GetOwnerReferences() {
			d.Owners = append(d.Owners, owner{r.APIVersion, r.Kind, r.Name})
		}
		// What has no JSON is not a managed kind, and nothing of it is written.
		d.Spec, _ = specJSON(o)
		objects = append(objects, d)
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, o := range objects {
		// Neither maps of strings nor valid JSON can fail, nor can a hash.
		_ = enc.Encode(o)
	}
	return hex.EncodeToString(h.Sum(nil))
}
