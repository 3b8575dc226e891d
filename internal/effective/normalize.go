package effective

import (
	"net/url"
	"strings"
)

// normalizing authorizes a call of which the path is as it was sent.
func (m *Model) normalizing(c *Call) verdict {
	if !c.HTTP || !strings.ContainsAny(c.Path, `?#%\`) && !strings.Contains(c.Path, "//") && !strings.Contains(c.Path, "/.") {
		return m.authorize(c)
	}
	modes := []string{m.Mesh.PathNormalization}
	if modes[0] == "" {
		modes = []string{"BASE", "NONE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"}
	}
	var out verdict
	for i, mode := range modes {
		at := *c
		at.Path = normalized(c.Path, mode)
		v := m.authorize(&at)
		if i > 0 && v.state != out.state {
			return verdict{unsure, max(v.by, out.by)}
		}
		out = v
	}
	return out
}

// normalized is a path as proxies compare it, by a mode of the mesh
// configuration's pathNormalization (istio.io/docs, "Security Best Practices"):
// BASE resolves dots, takes a backslash for a slash and decodes what need not be
// encoded; MERGE_SLASHES then makes one slash of several; DECODE_AND_MERGE_SLASHES
// decodes slashes before all that. Queries and fragments are never compared.
func normalized(path, mode string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if mode == "NONE" {
		return path
	}
	if mode == "DECODE_AND_MERGE_SLASHES" {
		path = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`).Replace(path)
	}
	path = withoutDots(unreserved(strings.ReplaceAll(path, `\`, "/")))
	if mode == "BASE" {
		return path
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// unreserved decodes letters, digits, '-', '.', '_' and '~' (RFC 3986, 2.3).
func unreserved(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if v, err := url.PathUnescape(path[i : i+3]); err == nil && len(v) == 1 && isUnreserved(v[0]) {
				b.WriteString(v)
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// withoutDots resolves the segments "." and ".." (RFC 3986, 5.2.4).
func withoutDots(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	var out []string
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "..":
			out = out[:max(len(out)-1, 0)]
		case ".":
		default:
			out = append(out, s)
			last = false
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
