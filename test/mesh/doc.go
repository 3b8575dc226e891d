// Package mesh runs the operator beside a real istiod and real Envoys, makes
// calls, and compares what becomes of each with what the case says, with what
// the model of internal/effective says, and with what the profile's status
// claims. It is a module of its own, so that what it needs stays out of the
// product's.
//
// A case is a folder in testdata/cases, with no Go:
//
//	objects.yaml   what is applied, in its order: a profile, baselines, objects of others
//	mesh.yaml      what is added to the mesh configuration, if anything
//	tamper.yaml    changes of the operator's own objects, if any, made by somebody else
//	calls.yaml     what status has to say, and the calls with their outcomes
//
// A transition is one in testdata/transitions, with before.yaml, after.yaml and
// the calls whose outcome never changes.
package mesh
