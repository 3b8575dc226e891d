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
	// token is set for what a request's token is compared with.
	token *tokenMatcher
}

// tokenMatcher is compared with a token's issuer and subject, each by itself.
type tokenMatcher struct{ issuer, subject matcher }

// tokenParts is between the issuer and the subject of a token, either of which
// may contain a slash.
const tokenParts = "\x00"

// tokenName is ISSUER/SUBJECT. Istio takes it apart at its last slash and
// compares either half by itself, so that https://accounts.* is an issuer of
// https:/ with any subject that begins with "accounts." (pilot, authz/model,
// requestPrincipalGenerator).
func tokenName(v string) matcher {
	out := text(v)
	issuer, subject := v, ""
	i := strings.LastIndexByte(v, '/')
	if i >= 0 {
		issuer, subject = v[:i], v[i+1:]
	}
	t := tokenMatcher{issuer: matcher{value: issuer}, subject: matcher{value: subject}}
	switch {
	case v == "*":
		t = tokenMatcher{text("*"), text("*")}
	case strings.HasPrefix(v, "*") && i >= 0:
		t.issuer = text(issuer)
	case strings.HasPrefix(v, "*"):
		t = tokenMatcher{text("*"), text(v)}
	case strings.HasSuffix(v, "*") && i >= 0:
		t.subject = text(subject)
	case strings.HasSuffix(v, "*"):
		t = tokenMatcher{text(v), text("*")}
	}
	out.token = &t
	return out
}

func (t *tokenMatcher) matches(v string) bool {
	issuer, subject, _ := strings.Cut(v, tokenParts)
	return issuer != "" && subject != "" && t.issuer.matches(issuer) && t.subject.matches(subject)
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
	// dotted: a "." matches any character.
	dotted
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

func (m *matcher) matches(v string) bool {
	if m.token != nil {
		return m.token.matches(v)
	}
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
	case dotted:
		return dotsMatch(m.value, v)
	case template:
		return segmentsMatch(strings.Split(m.value, "/"), strings.Split(v, "/"))
	case block:
		a, err := netip.ParseAddr(v)
		return err == nil && m.block.IsValid() && m.block.Contains(a)
	}
	return false
}

func dotsMatch(pattern, v string) bool {
	if len(pattern) != len(v) {
		return false
	}
	for i := range len(v) {
		if pattern[i] != '.' && pattern[i] != v[i] {
			return false
		}
	}
	return true
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
