package effective

import "testing"

// What proxies make of paths like these was seen at a real Envoy; see test/mesh.
func TestNormalPath(t *testing.T) {
	for _, r := range []struct{ path, none, base, merged, decoded string }{
		{"/a/b", "/a/b", "/a/b", "/a/b", "/a/b"},
		{"/a?x=/b", "/a", "/a", "/a", "/a"},
		{"/a/../b", "/a/../b", "/b", "/b", "/b"},
		{"/../b", "/../b", "/b", "/b", "/b"},
		{"/a/.", "/a/.", "/a/", "/a/", "/a/"},
		{"/a/b/..", "/a/b/..", "/a/", "/a/", "/a/"},
		{"/a/%2e%2E/b", "/a/%2e%2E/b", "/b", "/b", "/b"},
		{"/%61/b", "/%61/b", "/a/b", "/a/b", "/a/b"},
		{`/a\b`, `/a\b`, "/a/b", "/a/b", "/a/b"},
		{"//a//b", "//a//b", "//a//b", "/a/b", "/a/b"},
		{"/a%2fb", "/a%2fb", "/a%2fb", "/a%2fb", "/a/b"},
		{"/a%5C%2f..", "/a%5C%2f..", "/a%5C%2f..", "/a%5C%2f..", "/a/"},
		{"/a%", "/a%", "/a%", "/a%", "/a%"},
	} {
		for how, want := range map[string]string{"NONE": r.none, "BASE": r.base, "": r.base, "MERGE_SLASHES": r.merged, "DECODE_AND_MERGE_SLASHES": r.decoded} {
			if got := normalPath(r.path, how); got != want {
				t.Errorf("%s under %q is %s, want %s", r.path, how, got, want)
			}
		}
	}
}
