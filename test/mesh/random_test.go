package mesh

import (
	"cmp"
	"context"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What random profiles and calls are made of.
const (
	defaultSeed     = "1"
	defaultPostures = "15"
	callsEach       = 25
)

// TestRandomPostures makes up profiles, objects of others and calls. No case says
// what becomes of a call: the model has to know, and status has to keep its word.
// MESH_SEED chooses others, and MESH_POSTURES how many.
func TestRandomPostures(t *testing.T) {
	seed, err := strconv.ParseInt(cmp.Or(os.Getenv("MESH_SEED"), defaultSeed), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(cmp.Or(os.Getenv("MESH_POSTURES"), defaultPostures))
	if err != nil {
		t.Fatal(err)
	}
	s := theStage(t)
	services := servicesOf(t, s)
	came := map[outcome]int{}
	for i := range n {
		t.Run(fmt.Sprintf("seed-%d", seed+int64(i)), func(t *testing.T) {
			d := draw{rand.New(rand.NewSource(seed + int64(i)))}
			c := scenario{name: fmt.Sprintf("random-%d", seed+int64(i)), objects: d.objects()}
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(c.objects)
				}
				withdraw(t, s, c)
			})
			for _, group := range c.groups(t) {
				if err := s.Apply(group); err != nil {
					t.Fatalf("%v\n%s", err, group)
				}
			}
			if err := s.Eventually(t.Context(), "the profile to be dealt with", func(ctx context.Context) error { return dealtWith(ctx, s, c.objects) }); err != nil {
				t.Fatal(err)
			}
			for _, o := range attempt(t, s, services, c.name, d.calls()) {
				came[o]++
			}
		})
	}
	t.Logf("%v", came)
}

// draw makes things up.
type draw struct{ *rand.Rand }

func pick[T any](d draw, of ...T) T { return of[d.Intn(len(of))] }

func (d draw) chance(percent int) bool { return d.Intn(100) < percent }

// some are one to most of the values, in their order.
func (d draw) some(most int, of ...string) string {
	n := 1 + d.Intn(most)
	chosen := d.Perm(len(of))[:n]
	slices.Sort(chosen)
	var out []string
	for _, i := range chosen {
		out = append(out, of[i])
	}
	return "[" + strings.Join(out, ", ") + "]"
}

var (
	drawnPorts   = []string{"8080", "9100", "9000", "5432"}
	drawnMethods = []string{"GET", "POST", "DELETE"}
	drawnPaths   = []string{"/", "/a", "/a/b", "/ab", "/c", "/c/d?e=f", "/c/../a", "//a"}
)

func (d draw) selector(percent int) string {
	if !d.chance(percent) {
		return ""
	}
	return "{matchLabels: {app: " + pick(d, "api", "ledger") + "}}"
}

// objects are somebody else's, with some luck, and a profile.
func (d draw) objects() string {
	var docs []string
	if d.chance(40) {
		docs = append(docs, d.policy())
	}
	if d.chance(25) {
		docs = append(docs, fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: theirs, namespace: payments}\nspec:\n  selector: {matchLabels: {app: %s}}\n  mtls: {mode: %s}\n  portLevelMtls: {%s: {mode: %s}}\n",
			pick(d, "api", "ledger"), pick(d, "STRICT", "PERMISSIVE", "DISABLE", "UNSET"), pick(d, drawnPorts...), pick(d, "STRICT", "PERMISSIVE", "DISABLE")))
	}
	return strings.Join(append(docs, d.profile()), "---\n")
}

func (d draw) profile() string {
	var b strings.Builder
	b.WriteString("apiVersion: meshsecurity.io/v1alpha1\nkind: MeshSecurityProfile\nmetadata: {name: payments, namespace: payments}\nspec:\n")
	fmt.Fprintf(&b, "  enforcementMode: %s\n", pick(d, "Enforce", "Enforce", "Enforce", "Enforce", "DryRun"))
	if d.chance(80) {
		mode := pick(d, "Strict", "Strict", "Permissive")
		fmt.Fprintf(&b, "  mutualTLS:\n    mode: %s\n", mode)
		if d.chance(50) {
			fmt.Fprintf(&b, "    portOverrides:\n    - {name: override, workloadSelector: {matchLabels: {app: api}}, port: %s, mode: %s, reason: made up for a test}\n",
				pick(d, drawnPorts...), pick(d, "Permissive", "Disable"))
		}
	}
	fmt.Fprintf(&b, "  authorization:\n    defaultAction: %s\n", pick(d, "Deny", "Deny", "Allow"))
	for i := range d.Intn(4) {
		if i == 0 {
			b.WriteString("    rules:\n")
		}
		fmt.Fprintf(&b, "    - name: rule-%d\n      action: %s\n", i, pick(d, "Allow", "Allow", "Deny"))
		if s := d.selector(50); s != "" {
			fmt.Fprintf(&b, "      workloadSelector: %s\n", s)
		}
		fmt.Fprintf(&b, "      from: %s\n", d.some(2, "{serviceAccount: {namespace: shop, name: checkout}}", "{serviceAccount: {namespace: shop, name: cart}}", "{serviceAccount: {name: ledger}}",
			"{namespace: shop}", "{entity: SameNamespace}", "{entity: AnyAuthenticated}", "{entity: Anyone}", "{ipBlock: {cidr: 203.0.113.0/24}}", "{ipBlock: {cidr: 10.0.0.0/8, except: [10.244.0.13/32]}}"))
		if d.chance(80) {
			fmt.Fprintf(&b, "      to:\n")
			for range 1 + d.Intn(2) {
				fmt.Fprintf(&b, "      - {ports: %s%s}\n", d.some(2, drawnPorts...), d.requests("methods", "paths", `"/a/*"`, "/a", `"/c/*"`))
			}
		}
	}
	return b.String()
}

// requests are fields of these names, if any.
func (d draw) requests(methods, paths string, of ...string) (out string) {
	if d.chance(35) {
		out += ", " + methods + ": " + d.some(2, drawnMethods...)
	}
	if d.chance(35) {
		out += ", " + paths + ": " + d.some(2, of...)
	}
	return out
}

// policy is an AuthorizationPolicy, with fields that a profile does not have.
func (d draw) policy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: theirs, namespace: payments}\nspec:\n  action: %s\n", pick(d, "ALLOW", "DENY"))
	if s := d.selector(60); s != "" {
		fmt.Fprintf(&b, "  selector: %s\n", s)
	}
	b.WriteString("  rules:\n")
	for range 1 + d.Intn(2) {
		fmt.Fprintf(&b, "  - from: [{source: {%s}}]\n", pick(d, "principals: [\"*\"]", "namespaces: [shop]", "notNamespaces: [shop]", "principals: [cluster.local/ns/shop/sa/cart]",
			"notPrincipals: [\"*/ns/shop/*\"]", "serviceAccounts: [shop/checkout, ledger]", "ipBlocks: [10.244.0.0/16], notIpBlocks: [10.244.0.14]"))
		fmt.Fprintf(&b, "    to: [{operation: {%s: %s%s}}]\n", pick(d, "ports", "notPorts"), quoted(d.some(3, drawnPorts...)), d.requests(pick(d, "methods", "notMethods"), pick(d, "paths", "notPaths"), `"/a*"`, `"*b"`, `"/{*}/b"`, "/c"))
	}
	return b.String()
}

// quoted has numbers as strings.
func quoted(list string) string {
	return `["` + strings.ReplaceAll(strings.Trim(list, "[]"), ", ", `", "`) + `"]`
}

func (d draw) calls() (out []call) {
	for range callsEach {
		c := call{From: pick(d, "shop/checkout", "shop/cart", "payments/ledger", "payments/api", "legacy/batch", outsider), Method: pick(d, drawnMethods...), Path: pick(d, drawnPaths...)}
		c.To = pick(d, "payments/api:", "payments/api:", "payments/ledger:")
		if strings.HasPrefix(c.To, "payments/ledger") {
			c.To += pick(d, "8080", "5432")
		} else {
			c.To += pick(d, drawnPorts...)
		}
		if strings.HasPrefix(c.To, c.From+":") {
			c.From = "shop/checkout"
		}
		out = append(out, c)
	}
	return out
}
