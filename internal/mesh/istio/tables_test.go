package istio

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func TestVersions(t *testing.T) {
	for tag, want := range map[string]struct{ accounts, dynamic, dots bool }{
		"":                {false, false, true},
		"latest":          {false, false, true},
		"1.24.6":          {false, false, true},
		"1.25.0":          {true, false, true},
		"1.27.8":          {true, false, true},
		"1.27.9":          {true, false, false},
		"1.28.5":          {true, false, true},
		"1.28.6":          {true, false, false},
		"1.29.1":          {true, false, true},
		"1.29.2":          {true, false, false},
		"1.30-alpha.3f2a": {true, true, false},
		"v1.31.1":         {true, true, false},
		"2.0":             {true, true, false},
		"1.31.1.2":        {false, false, true},
	} {
		got := struct{ accounts, dynamic, dots bool }{atLeast(tag, hasServiceAccounts), atLeast(tag, hasDynamicDNS), DotsMatchAnything(tag)}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", tag, got, want)
		}
	}
}

func TestSpeaks(t *testing.T) {
	for _, test := range []struct {
		port facts.ServicePort
		want speech
	}{
		{facts.ServicePort{Name: "http", Port: 80}, http},
		{facts.ServicePort{Name: "HTTP-web", Port: 80}, http},
		{facts.ServicePort{Name: "grpc-web", Port: 80}, http},
		{facts.ServicePort{Name: "http2-x", Port: 80}, http},
		{facts.ServicePort{Name: "httpx", Port: 80}, detected},
		{facts.ServicePort{Name: "web", Port: 80}, detected},
		{facts.ServicePort{Name: "web", Port: 3306}, opaque},
		{facts.ServicePort{Name: "http", Port: 3306}, http},
		{facts.ServicePort{Name: "https", Port: 443}, opaque},
		{facts.ServicePort{Name: "tcp-db", Port: 5432}, opaque},
		{facts.ServicePort{Name: "tcp", AppProtocol: "http", Port: 80}, http},
		{facts.ServicePort{Name: "http", AppProtocol: "redis", Port: 6379}, opaque},
		{facts.ServicePort{Name: "http", AppProtocol: "kubernetes.io/h2c", Port: 80}, http},
		{facts.ServicePort{Name: "http", AppProtocol: "kubernetes.io/wss", Port: 80}, opaque},
		{facts.ServicePort{Name: "http", AppProtocol: "example.com/own", Port: 80}, detected},
	} {
		if got := speaks(test.port); got != test.want {
			t.Errorf("%+v: got %d, want %d", test.port, got, test.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		pattern, host string
		want          bool
	}{
		{"a.example.com", "a.example.com", true},
		{"a.example.com", "b.example.com", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "*.b.example.com", true},
		{"*.b.example.com", "*.example.com", false},
		{"*.example.com", "example.com", false},
		{"*.example.com", "badexample.com", false},
		{"a.example.com", "*.example.com", false},
	} {
		if got := covers(test.pattern, test.host); got != test.want {
			t.Errorf("covers(%q, %q) = %t", test.pattern, test.host, got)
		}
	}
}

func TestInCluster(t *testing.T) {
	for host, want := range map[string]bool{
		"api.example.com":                    false,
		"*.example.com":                      false,
		"cart.shop.svc":                      true,
		"cart.shop.svc.cluster.local":        true,
		"cluster.local":                      true,
		"*.local":                            true,
		"*.cluster.local":                    true,
		"*.otherlocal":                       false,
		"notcluster.local":                   false,
		"cart.shop.svc.cluster.local.evil.x": false,
	} {
		if got := inCluster(host, "cluster.local"); got != want {
			t.Errorf("inCluster(%q) = %t", host, got)
		}
	}
}

func TestPaths(t *testing.T) {
	got := paths([]v1alpha1.HTTPPath{"/a/*", "/a", "/b", "/*", "/a/*"})
	if diff := cmp.Diff([]string{"/*", "/a", "/a/*", "/b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostsOfARuleThatDenies(t *testing.T) {
	var a mesh.Assessment
	got := hosts([]v1alpha1.Host{"a.example.com"}, v1alpha1.RuleDeny, &a)
	if diff := cmp.Diff([]string{"a.example.com", "a.example.com.", "a.example.com.:*", "a.example.com:*"}, got); diff != "" {
		t.Error(diff)
	}
	if a.Verdict() != v1alpha1.VerdictEnforced {
		t.Errorf("an exact host is %s", a.Verdict())
	}
	hosts([]v1alpha1.Host{"*.example.com"}, v1alpha1.RuleAllow, &a)
	if a.Verdict() != v1alpha1.VerdictEnforced {
		t.Errorf("a wildcard in a rule that allows is %s", a.Verdict())
	}
	hosts([]v1alpha1.Host{"*.example.com"}, v1alpha1.RuleDeny, &a)
	if a.Verdict() != v1alpha1.VerdictLooser {
		t.Errorf("a wildcard in a rule that denies is %s", a.Verdict())
	}
}
