package istio

import (
	"strconv"
	"strings"
)

// version of a control plane as major, minor and patch.
type version [3]int

// The first versions that can do a thing.
var (
	// source.serviceAccounts: istio/api#3340.
	hasServiceAccounts = version{1, 25, 0}
	// Wildcard hosts with resolution DYNAMIC_DNS in sidecars: change notes of Istio 1.30.
	hasDynamicDNS = version{1, 30, 0}
)

// parseVersion reads a tag like 1.31.1 or 1.31-alpha.0; false for anything else.
func parseVersion(tag string) (version, bool) {
	core, _, _ := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
	parts := strings.Split(core, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return version{}, false
	}
	var v version
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return version{}, false
		}
		v[i] = n
	}
	return v, true
}

func (v version) atLeast(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] > w[i]
		}
	}
	return true
}

// atLeast says whether a control plane is known to be of a version or newer.
func atLeast(tag string, w version) bool {
	v, ok := parseVersion(tag)
	return ok && v.atLeast(w)
}

// DotsMatchAnything says whether the control plane reads a '.' in
// source.serviceAccounts as "any character", so that cert-manager.io also
// matches cert-manager-io: CVE-2026-39350, mended in 1.27.9, 1.28.6 and 1.29.2.
func DotsMatchAnything(tag string) bool {
	v, ok := parseVersion(tag)
	if !ok {
		return true
	}
	for _, mended := range []version{{1, 27, 9}, {1, 28, 6}, {1, 29, 2}} {
		if v[0] == mended[0] && v[1] == mended[1] {
			return !v.atLeast(mended)
		}
	}
	return !v.atLeast(version{1, 30, 0})
}
