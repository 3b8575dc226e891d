// Package intrusion turns the schema of a kind into what an intruder could do
// to an object of it: for every field, specs in which it was added or changed.
//
//	schema ─ Fields ─ []Field ─┐
//	                           ├─ Field.Find ─ a spec that the API server accepts
//	spec of the object ────────┘
//
// It knows no kind and no field by name. What a schema can't say, like a rule
// between two fields, is met by trying: the API server is the judge.
package intrusion
