// Package gitops tries what Argo CD and Flux make of profiles, baselines and
// exceptions, with their own code: Argo CD's Lua machine, the diff, the sync and
// the cache of its gitops-engine, and Flux's kstatus and CEL evaluator.
//
//	lua_test.go      config/argocd as Argo CD reads it: health and actions
//	verdicts_test.go the same status gets the same verdict from Argo CD and Flux
//	examples_test.go docs/examples/gitops are objects that both accept
//	diff_test.go     nothing is OutOfSync by what the API server or the operator does
//	sync_test.go     waves wait, children are neither marked nor pruned
//
// All need KUBEBUILDER_ASSETS, for kubectl; the last two start the control plane
// in there and run the operator on it. The module stands alone, without the
// operator's packages: Argo CD holds Kubernetes' libraries at a version of its
// own, by the replace block in go.mod, which is the one of its own go.mod.
package gitops
