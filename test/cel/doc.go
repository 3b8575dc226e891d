// Package cel tests what the API server itself refuses and accepts of the
// three kinds: every constraint of their schemas, the largest legal objects
// and what kubectl makes of them. It has no code beside its tests and never
// runs the operator.
//
// Constraints are read from config/crd/bases, so that a new one without a case
// fails. Those of OpenAPI (enum, maxLength and so on) are broken one by one in
// testdata/KIND/full.yaml. The rules in CEL have examples in
// testdata/rules.yaml, which are tried wherever the rule holds.
package cel
