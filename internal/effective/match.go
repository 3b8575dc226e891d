package effective

import (
	"net/netip"
	"strings"
)

// matcher is one value of a policy's field.
type matcher struct {
	how   how
	value string
	block netip.Prefix
}

// how a value is compared with what a call shows.
type how uint8

const (
	exact how = iota
	prefix
	suffix
	// present: "*" matches whatever is there.
	present
	// glob: a "*" anywhere matches anything.
	glob
	// template is a path with {*} or {**}.
	template
	// block is a range of addresses.
	block
)

// text is a value by Istio's string matching: exact, prefix*, *suffix or *.
func text(v string) matcher {
	switch {
	case v == "*":
		return matcher{how: present}
	case strings.HasPrefix(v, "*"):
		return matcher{how: suffix, value: v[1:]}
	case strings.HasSuffix(v, "*"):
		return matcher{how: prefix, value: v[:len(v)-1]}
	}
	return matcher{value: v}
}

// host names are compared regardless of case.
func host(v string) matcher { return text(strings.ToLower(v)) }

// path is text, or a template of segments.
func path(v string) matcher {
	if strings.Contains(v, "{*}") || strings.Contains(v, "{**}") {
		return matcher{how: template, value: v}
	}
	return text(v)
}

// namespaceName becomes ".*/ns/NAME/.*" with ".*" for each "*" in Istio.
func namespaceName(v string) matcher {
	if strings.Contains(v, "*") {
		return matcher{how: glob, value: v}
	}
	return matcher{value: v}
}

// addresses is a CIDR or a single address; what is neither matches nothing.
func addresses(v string) matcher { return matcher{how: block, value: v, block: parseBlock(v)} }

func parseBlock(v string) netip.Prefix {
	if p, err := netip.ParsePrefix(v); err == nil {
		return p.Masked()
	}
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

func (m matcher) matches(v string) bool {
	switch m.how {
	case exact:
		return v == m.value
	case prefix:
		return strings.HasPrefix(v, m.value)
	case suffix:
		return strings.HasSuffix(v, m.value)
	case present:
		return v != ""
	case glob:
		return globs(m.value, v)
	case template:
		return segmentsMatch(strings.Split(m.value, "/"), strings.Split(v, "/"))
	case block:
		a, err := netip.ParseAddr(v)
		return err == nil && m.block.IsValid() && m.block.Contains(a)
	}
	return false
}

func globs(pattern, v string) bool {
	head, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == v
	}
	v, ok := strings.CutPrefix(v, head)
	if !ok {
		return false
	}
	for i := 0; i <= len(v); i++ {
		if globs(rest, v[i:]) {
			return true
		}
	}
	return false
}

// segmentsMatch: {*} is one segment, {**} one or more of them, which may be
// empty (seen at a real Envoy: /a/{**} is /a/ and all below it, and not /a).
func segmentsMatch(pattern, path []string) bool {
	if len(pattern) == 0 {
		return len(path) == 0
	}
	switch pattern[0] {
	case "{**}":
		for i := 1; i <= len(path); i++ {
			if segmentsMatch(pattern[1:], path[i:]) {
				return true
			}
		}
		return false
	case "{*}":
		return len(path) > 0 && path[0] != "" && segmentsMatch(pattern[1:], path[1:])
	}
	return len(path) > 0 && path[0] == pattern[0] && segmentsMatch(pattern[1:], path[1:])
}

// hostCovers says whether a pattern, exact or *.suffix, covers every name of
// another pattern.
func hostCovers(pattern, name string) bool {
	if pattern == "*" || pattern == name {
		return true
	}
	tail, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasSuffix(strings.TrimPrefix(name, "*"), tail)
}

// Covers says whether a host of Istio's, exact or *.suffix, covers every name of another one.
func Covers(pattern, name string) bool { return hostCovers(pattern, name) }
