#!/usr/bin/env bash
# Provides a Kubernetes control plane: the last line on stdout is a folder with
# etcd, kube-apiserver, kube-controller-manager and kubectl. KUBEBUILDER_ASSETS
# is used where it is set; else they are built from hack/controlplane and kept.
set -euo pipefail

say() { echo "control-plane: $*" >&2; }

if [ -z "${KUBEBUILDER_ASSETS:-}" ]; then
	x=k8s.io/component-base/version
	LINKS="etcd kube-apiserver kube-controller-manager kubectl" exec "$(dirname "$0")/cached-build.sh" \
		control-plane "$(dirname "$0")/controlplane" . \
		-ldflags "-s -w -X $x.gitVersion=v1.37.0 -X $x.gitMajor=1 -X $x.gitMinor=37 -X $x.gitTreeState=clean"
fi

has() { [ -x "$KUBEBUILDER_ASSETS/$1" ]; }

[ -d "$KUBEBUILDER_ASSETS" ] || { say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS is not a folder; unset it to have a control plane built"; exit 1; }
for program in etcd kube-apiserver; do
	has $program || { say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program; unset it to have a control plane built"; exit 1; }
done
assets=$(cd "$KUBEBUILDER_ASSETS" && pwd)
say "using KUBEBUILDER_ASSETS=$assets ($("$assets/kube-apiserver" --version))"
has kube-controller-manager || say "it has no kube-controller-manager: no garbage collection and no namespace deletion; tests and the demo need both and will fail saying so. Unset KUBEBUILDER_ASSETS to have all four programs built"
has kubectl || say "it has no kubectl: the demo, make install and make deploy will fail saying so. Unset KUBEBUILDER_ASSETS to have all four programs built"
echo "$assets"
