package drift

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Taken are fields of a profile's spec that somebody else owns than who applied
// the profile.
type Taken struct {
	// By is the field manager who owns them, and Applier the one who applied the
	// profile.
	By      string `json:"-"`
	Applier string `json:"applier"`
	// Fields are paths like spec.mutualTLS.mode, sorted, at most maxHidden.
	Fields []string `json:"fields"`
}

// takenDigest is the subresource of the entries of a digest of managedFields.
// No kind has one of that name.
const takenDigest = "spec"

// lastApplied is the annotation of those who apply on the client's side.
const lastApplied = `"f:kubectl.kubernetes.io/last-applied-configuration"`

// TakenOf finds them in a profile's managedFields, whole or as TakenDigest left
// them. Where nobody applied the profile, by the server's apply or the client's,
// everybody may own what they set.
func TakenOf(entries []metav1.ManagedFieldsEntry) []Taken {
	if slices.ContainsFunc(entries, digested) {
		return fromDigest(entries)
	}
	sets := make([]*fieldpath.Set, len(entries))
	applier := -1
	for i, e := range entries {
		set := &fieldpath.Set{}
		if e.Subresource != "" || e.FieldsV1 == nil || set.FromJSON(e.FieldsV1.GetRawReader()) != nil {
			continue
		}
		sets[i] = set.WithPrefix(fieldpath.FieldNameElement("spec")).Leaves()
		if applies(e, sets[i]) && (applier < 0 || sets[i].Size() > sets[applier].Size()) {
			applier = i
		}
	}
	if applier < 0 {
		return nil
	}
	var out []Taken
	for i, e := range entries {
		if sets[i] == nil || e.Manager == entries[applier].Manager {
			continue
		}
		t := Taken{By: e.Manager, Applier: entries[applier].Manager}
		sets[i].Difference(sets[applier]).Iterate(func(p fieldpath.Path) {
			if len(t.Fields) < maxHidden {
				t.Fields = append(t.Fields, "spec"+strings.ReplaceAll(p.String(), "\n", " "))
			}
		})
		if len(t.Fields) > 0 {
			slices.Sort(t.Fields)
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Taken) int { return strings.Compare(a.By, b.By) })
	return out
}

// applies says whether an entry is of an apply, the server's or the client's.
func applies(e metav1.ManagedFieldsEntry, spec *fieldpath.Set) bool {
	if e.Operation == metav1.ManagedFieldsOperationApply {
		return !spec.Empty()
	}
	return strings.Contains(e.FieldsV1.GetRawString(), lastApplied)
}

func digested(e metav1.ManagedFieldsEntry) bool { return e.Subresource == takenDigest }

// TakenDigest keeps of managedFields what TakenOf finds, which is mostly
// nothing. To make it twice changes nothing.
func TakenDigest(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, t := range TakenOf(entries) {
		if raw, err := json.Marshal(t); err == nil {
			out = append(out, metav1.ManagedFieldsEntry{Manager: t.By, Subresource: takenDigest, FieldsV1: metav1.NewFieldsV1(string(raw))})
		}
	}
	return out
}

func fromDigest(entries []metav1.ManagedFieldsEntry) []Taken {
	var out []Taken
	for _, e := range entries {
		t := Taken{By: e.Manager}
		if digested(e) && json.Unmarshal(e.FieldsV1.GetRawBytes(), &t) == nil {
			out = append(out, t)
		}
	}
	return out
}
