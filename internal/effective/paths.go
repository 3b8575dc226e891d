package effective

import "strings"

// normalPath is a request's path as a policy compares it: without its query,
// and as far as the mesh's proxies normalise it (facts.Mesh.PathNormalization;
// Envoy, "path_normalization"). Like Istio, what can't be told is BASE.
func normalPath(path, how string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if how == "NONE" || !strings.ContainsAny(path, `%\`) && !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path
	}
	if how == "DECODE_AND_MERGE_SLASHES" {
		path = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", "/", "%5c", "/").Replace(path)
	}
	path = withoutDots(strings.ReplaceAll(unescaped(path), `\`, "/"))
	if how == "MERGE_SLASHES" || how == "DECODE_AND_MERGE_SLASHES" {
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
	}
	return path
}

// unescaped has no escape left of a character that needs none (RFC 3986, 2.3).
func unescaped(path string) string {
	const digits = "0123456789ABCDEF"
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			escape := strings.ToUpper(path[i+1 : i+3])
			high, low := strings.IndexByte(digits, escape[0]), strings.IndexByte(digits, escape[1])
			if c := byte(high<<4 | low); high >= 0 && low >= 0 && unreserved(c) {
				out.WriteByte(c)
				i += 2
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// withoutDots has no segment that stands for this one or the one above.
func withoutDots(path string) string {
	segments := strings.Split(path, "/")
	var out []string
	for i, s := range segments {
		switch s {
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/")
}

// normalizing authorizes a call where what proxies do to its path may be unknown.
func (m *Model) normalizing(c *Call) verdict {
	if !c.HTTP || m.Mesh.PathNormalization != "" || normalPath(c.Path, "DECODE_AND_MERGE_SLASHES") == c.Path {
		return m.authorize(c)
	}
	var out verdict
	for i, mode := range []string{"BASE", "NONE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"} {
		v := m.authorizeBy(c, mode)
		if i > 0 && v.state != out.state {
			return verdict{unsure, max(v.by, out.by)}
		}
		out = v
	}
	return out
}
