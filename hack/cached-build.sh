#!/usr/bin/env bash
# Builds a Go program once and keeps it; the last line on stdout is its folder.
#
#   cached-build.sh NAME MODULE_DIR PACKAGE [go build flag...]
#
# The folder is ${XDG_CACHE_HOME:-~/.cache}/mesh-security-operator/NAME/HASH,
# where HASH covers everything that decides the result, so it is never stale.
# LINKS, a list of names, adds links to the program. Progress goes to stderr.
set -euo pipefail

name=$1 module=$2 package=$3
shift 3
links=${LINKS:-}

say() { printf '%s: [%3ds] %s\n' "$name" "$SECONDS" "$*" >&2; }
die() { say "$*"; exit 1; }

command -v go >/dev/null || die "Go is not installed (see go.mod for the version needed): https://go.dev/dl"

export GOWORK=off CGO_ENABLED=0
cd "$module"

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
hash=$({
	go version
	go env GOOS GOARCH
	printf '%s\n' "$package" "$links" "$@"
	find . -maxdepth 1 \( -name '*.go' -o -name go.mod -o -name go.sum \) | LC_ALL=C sort | while read -r f; do
		echo "$f"
		cat "$f"
	done
} | sha256 | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mesh-security-operator/$name
out=$cache/$hash

if [ -d "$out" ]; then
	echo "$out"
	exit 0
fi

# One builds, the others wait for its result. Without flock they build twice,
# which the rename at the end still makes safe.
mkdir -p "$cache"
if command -v flock >/dev/null; then
	exec 9>"$cache/lock"
	until flock -w 20 9; do say "waiting for a build that is already running"; done
	if [ -d "$out" ]; then
		echo "$out"
		exit 0
	fi
fi

tmp=$(mktemp -d "$cache/tmp.XXXXXX")
job=
cleanup() {
	[ -z "$job" ] || kill "$job" 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# heartbeat TITLE UNIT COMMAND...: runs the command and says every 20 s how far
# it is, by the lines that it wrote to stderr.
heartbeat() {
	local title=$1 unit=$2 began=$SECONDS next=$((SECONDS + 20))
	shift 2
	say "$title"
	"$@" >"$tmp/stdout" 2>"$tmp/stderr" &
	job=$!
	while kill -0 "$job" 2>/dev/null; do
		sleep 0.2
		if [ "$SECONDS" -ge "$next" ]; then
			say "  $(wc -l <"$tmp/stderr" | tr -d ' ') $unit in $((SECONDS - began)) s"
			next=$((SECONDS + 20))
		fi
	done
	if ! wait "$job"; then
		tail -n 40 "$tmp/stderr" >&2
		die "failed: $*"
	fi
	job=
}

say "building with $(go version | cut -d' ' -f3), once; kept in $out"
heartbeat "step 1 of 2: fetching modules" "modules fetched" go list -deps "$package"
total=$(wc -l <"$tmp/stdout" | tr -d ' ')
heartbeat "step 2 of 2: compiling $total packages, less what the Go build cache has (minutes if it has none)" "packages compiled" \
	go build -v -trimpath -buildvcs=false "$@" -o "$tmp/bin/$name" "$package"
for link in $links; do ln -s "$name" "$tmp/bin/$link"; done
mv "$tmp/bin" "$out"
say "done"
echo "$out"
