package effective

import (
	"strings"
	"testing"
)

func says(ds []Difference) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.What)
	}
	return strings.Join(out, "\n")
}

func TestCompare(t *testing.T) {
	for _, r := range []struct{ says, before, after, opens, shuts, unknown string }{
		{says: "STRICT to PERMISSIVE opens plaintext", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n {mtls: {mode: PERMISSIVE}}`, opens: "calls in plaintext to every workload"},
		{says: "DISABLE opens more", before: `PA n {mtls: {mode: PERMISSIVE}}`, after: `PA n {mtls: {mode: DISABLE}}`, opens: "calls of workloads of the mesh, in plaintext, to every workload"},
		{says: "a port exception", before: `PA n {mtls: {mode: STRICT}}`, after: "PA n {mtls: {mode: STRICT}}\nPA w {selector: {matchLabels: {app: a}}, portLevelMtls: {\"9100\": {mode: PERMISSIVE}}}", opens: "calls in plaintext to app=a on port 9100"},
		{says: "a selector that matches nothing", before: `PA n {mtls: {mode: STRICT}}`, after: `PA n {selector: {matchLabels: {x: nowhere}}, mtls: {mode: STRICT}}`, opens: "calls in plaintext to workloads other than x=nowhere"},
		{says: "an ALLOW under default-deny", before: `AP d {}`, after: "AP d {}\nAP a {selector: {matchLabels: {app: a}}, rules: [{from: [{source: {serviceAccounts: [shop/cart]}}], to: [{operation: {ports: [\"80\"]}}]}]}", opens: "calls of shop/cart to app=a on port 80"},
		{says: "an ALLOW where nothing was denied", before: ``, after: "AP a {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}", shuts: "calls of callers other than shop/cart to every workload"},
		{says: "an ALLOW that another covers", before: `AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}`, after: "AP a {rules: [{from: [{source: {namespaces: [shop]}}]}]}\nAP b {rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}"},
		{says: "allow-all", before: `AP d {}`, after: `AP d {rules: [{}]}`, opens: "calls to every workload"},
	} {
		t.Run(r.says, func(t *testing.T) {
			c := Compare(New(world(t, r.before)), New(world(t, r.after)))
			var unknown []string
			for _, u := range c.Unknown {
				unknown = append(unknown, u.String())
			}
			if got := says(c.Opens); got != r.opens {
				t.Errorf("opens %q, want %q", got, r.opens)
			}
			if got := says(c.Shuts); got != r.shuts {
				t.Errorf("shuts %q, want %q", got, r.shuts)
			}
			if got := strings.Join(unknown, " "); got != r.unknown {
				t.Errorf("unknown %q, want %q", got, r.unknown)
			}
		})
	}
}
