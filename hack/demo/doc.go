// Command demo shows the main job on a real control plane: a small shop is
// declared, enforced, tampered with, healed and reported. With DEMO=once it
// exits by itself, and not with 0 if any step failed; otherwise it stays up
// until Ctrl-C.
//
// The API server, etcd, the controller manager, the admission of every object
// and the operator with its own restricted rights are real. There is no
// kubelet, no network and no istiod: an admission policy gives pods the sidecar
// container that Istio's injector would, and the demo reports them as running.
package main
