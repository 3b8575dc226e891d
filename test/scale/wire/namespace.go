package wire

import "encoding/json"

// Namespace is what was written for a namespace's profile, to be written again.
type Namespace struct {
	Finalizers []string        `json:"finalizers"`
	Objects    []Recorded      `json:"objects"`
	Status     json.RawMessage `json:"status"`
}

// Recorded is an object as it is to be created.
type Recorded struct {
	Resource Resource       `json:"resource"`
	Fields   map[string]any `json:"fields"`
}

// Owned is the object of an owner, who has a new UID each time.
func (r Recorded) Owned(uid string) ([]byte, error) {
	if meta, ok := r.Fields["metadata"].(map[string]any); ok {
		if refs, ok := meta["ownerReferences"].([]any); ok {
			for _, ref := range refs {
				if ref, ok := ref.(map[string]any); ok {
					ref["uid"] = uid
				}
			}
		}
	}
	return json.Marshal(r.Fields)
}
