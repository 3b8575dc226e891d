package istio

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// The generators draw from few values, so that rules meet: the same hosts,
// ports and workloads come up again and again.

const ownNamespace = "payments"

var (
	selectors = rapid.SampledFrom([]map[string]string{nil, {"app": "api"}, {"app": "ledger"}, {"track": "blue"}, {"app": "api", "track": "blue"}})
	portsOf   = rapid.SampledFrom([]int32{80, 443, 5432, 8080, 8081, 9092})
	accounts  = rapid.SampledFrom([]types.NamespacedName{{Namespace: "shop", Name: "checkout"}, {Namespace: ownNamespace, Name: "api"}, {Namespace: "batch", Name: "cert-manager.io"}})
	inCIDRs   = rapid.SampledFrom([]v1alpha1.CIDR{"10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"})
	targets   = rapid.SampledFrom([]v1alpha1.ExternalHost{"api.example.com", "www.example.com", "*.example.com", "*.local", "db.corp.example", "a.svc.cluster.local"})
	protocols = rapid.SampledFrom([]v1alpha1.EgressProtocol{"TLS", "HTTPS", "HTTP", "HTTP2", "GRPC", "TCP", "MONGO"})
)

// names are unique, and some of them as long as the API allows.
func names(t *rapid.T, n int, label string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", label, i)
		if rapid.Bool().Draw(t, "long") {
			out[i] = fmt.Sprintf("%s-%0*d", label, 63-len(label)-1, i)
		}
	}
	return out
}

func upTo[T any](t *rapid.T, n int, draw func(int) T) []T {
	var out []T
	for i := range rapid.IntRange(0, n).Draw(t, "n") {
		out = append(out, draw(i))
	}
	return out
}

func sortedSet[T any](g *rapid.Generator[T], less func(a, b T) int, n int) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		out := rapid.SliceOfN(g, 0, n).Draw(t, "set")
		slices.SortFunc(out, less)
		return slices.CompactFunc(out, func(a, b T) bool { return less(a, b) == 0 })
	})
}

func drawPosture(t *rapid.T) posture.Posture {
	p := posture.Posture{
		Namespace: ownNamespace,
		Owner:     posture.Owner{Kind: v1alpha1.KindProfile, Name: rapid.SampledFrom([]string{ownNamespace, fmt.Sprintf("%0200d", 1)}).Draw(t, "profile"), UID: "uid"},
		Mode:      rapid.SampledFrom([]v1alpha1.EnforcementMode{v1alpha1.ModeAudit, v1alpha1.ModeDryRun, v1alpha1.ModeEnforce}).Draw(t, "mode"),
		AccessLog: rapid.SampledFrom([]v1alpha1.AccessLog{"", v1alpha1.AccessLogNone, v1alpha1.AccessLogDenied, v1alpha1.AccessLogAll}).Draw(t, "log"),
	}
	if rapid.Bool().Draw(t, "mutual TLS") {
		p.MutualTLS = drawMutualTLS(t)
	}
	if rapid.Bool().Draw(t, "authorization") {
		p.Authorization = drawAuthorization(t)
	}
	if rapid.Bool().Draw(t, "egress") {
		p.Egress = drawEgress(t)
	}
	return p
}

func drawMutualTLS(t *rapid.T) *posture.MutualTLS {
	m := &posture.MutualTLS{Mode: rapid.SampledFrom([]v1alpha1.MutualTLSMode{v1alpha1.MutualTLSStrict, v1alpha1.MutualTLSPermissive}).Draw(t, "mode")}
	overrides := names(t, 4, "override")
	m.Overrides = upTo(t, 4, func(i int) posture.Override {
		return posture.Override{
			Name:     overrides[i],
			Selector: selectors.Filter(func(s map[string]string) bool { return s != nil }).Draw(t, "selector"),
			Port:     portsOf.Draw(t, "port"),
			Mode:     rapid.SampledFrom([]v1alpha1.PortMode{v1alpha1.PortPermissive, v1alpha1.PortDisable}).Draw(t, "mode"),
		}
	})
	return m
}

func drawAuthorization(t *rapid.T) *posture.Authorization {
	a := &posture.Authorization{
		Default: rapid.SampledFrom([]v1alpha1.DefaultAction{v1alpha1.DefaultDeny, v1alpha1.DefaultAllow}).Draw(t, "default"),
		Providers: []v1alpha1.JWTProvider{
			{Name: "corp", Issuer: "https://sso.example.com", JWKSURI: "https://sso.example.com/keys", Audiences: []v1alpha1.Audience{"payments"}},
			{Name: "twin", Issuer: "https://sso.example.com", JWKSURI: "https://twin.example.com/keys"},
		},
	}
	rules := names(t, 6, "rule")
	a.Rules = upTo(t, 6, func(i int) posture.Rule {
		r := posture.Rule{
			Name:     rules[i],
			Action:   rapid.SampledFrom([]v1alpha1.RuleAction{v1alpha1.RuleAllow, v1alpha1.RuleDeny}).Draw(t, "action"),
			Selector: selectors.Draw(t, "selector"),
			From:     drawCallers(t),
			To:       upTo(t, 3, func(int) v1alpha1.Operation { return drawOperation(t) }),
		}
		if rapid.Bool().Draw(t, "jwt") {
			r.JWT = &v1alpha1.JWTRequirement{Provider: rapid.SampledFrom([]v1alpha1.RuleName{"corp", "twin", "nobody"}).Draw(t, "provider")}
			if rapid.Bool().Draw(t, "claims") {
				r.JWT.Claims = []v1alpha1.JWTClaim{{Name: "groups", Values: []v1alpha1.JWTClaimValue{"a", "b"}}}
			}
		}
		return r
	})
	return a
}

func drawCallers(t *rapid.T) posture.Callers {
	return posture.Callers{
		ServiceAccounts:  sortedSet(accounts, func(a, b types.NamespacedName) int { return cmpString(a.String(), b.String()) }, 3).Draw(t, "accounts"),
		Namespaces:       sortedSet(rapid.SampledFrom([]string{ownNamespace, "shop", "nowhere"}), cmpString, 3).Draw(t, "namespaces"),
		AnyAuthenticated: rapid.IntRange(0, 4).Draw(t, "authenticated") == 0,
		Anyone:           rapid.IntRange(0, 4).Draw(t, "anyone") == 0,
		IPBlocks: upTo(t, 2, func(int) v1alpha1.IPBlock {
			return v1alpha1.IPBlock{CIDR: inCIDRs.Draw(t, "cidr"), Except: upTo(t, 1, func(int) v1alpha1.CIDR { return "10.1.0.0/16" })}
		}),
	}
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func drawOperation(t *rapid.T) v1alpha1.Operation {
	op := v1alpha1.Operation{
		Ports:   sortedSet(portsOf, func(a, b int32) int { return int(a - b) }, 3).Draw(t, "ports"),
		Methods: rapid.SampledFrom([][]v1alpha1.HTTPMethod{nil, {"GET"}, {"GET", "POST"}}).Draw(t, "methods"),
		Paths:   rapid.SampledFrom([][]v1alpha1.HTTPPath{nil, {"/"}, {"/*"}, {"/a", "/a/*"}}).Draw(t, "paths"),
		Hosts:   rapid.SampledFrom([][]v1alpha1.Host{nil, {"api.example.com"}, {"*.example.com"}}).Draw(t, "hosts"),
	}
	if len(op.Ports) == 0 && !readsRequest(op) {
		op.Methods = []v1alpha1.HTTPMethod{"GET"}
	}
	return op
}

func drawEgress(t *rapid.T) *posture.Egress {
	e := &posture.Egress{
		Default:   rapid.SampledFrom([]v1alpha1.DefaultAction{v1alpha1.DefaultDeny, v1alpha1.DefaultAllow}).Draw(t, "default"),
		Assurance: rapid.SampledFrom([]v1alpha1.EgressAssurance{v1alpha1.AssuranceProxy, v1alpha1.AssuranceNetwork, v1alpha1.AssuranceGateway}).Draw(t, "assurance"),
	}
	rules := names(t, 6, "out")
	e.Rules = upTo(t, 6, func(i int) posture.EgressRule {
		r := posture.EgressRule{
			Name:     rules[i],
			Selector: selectors.Draw(t, "selector"),
			Via:      rapid.SampledFrom([]v1alpha1.EgressVia{"", v1alpha1.ViaDirect, v1alpha1.ViaGateway}).Draw(t, "via"),
		}
		r.To = append([]v1alpha1.EgressTarget{drawTarget(t)}, upTo(t, 2, func(int) v1alpha1.EgressTarget { return drawTarget(t) })...)
		return r
	})
	return e
}

func drawTarget(t *rapid.T) v1alpha1.EgressTarget {
	numbers := sortedSet(portsOf, func(a, b int32) int { return int(a - b) }, 2).Filter(func(n []int32) bool { return len(n) > 0 }).Draw(t, "ports")
	var ports []v1alpha1.EgressPort
	for _, n := range numbers {
		ports = append(ports, v1alpha1.EgressPort{Port: n, Protocol: protocols.Draw(t, "protocol")})
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		hosts := sortedSet(targets, func(a, b v1alpha1.ExternalHost) int { return cmpString(string(a), string(b)) }, 3).
			Filter(func(h []v1alpha1.ExternalHost) bool { return len(h) > 0 }).Draw(t, "hosts")
		return v1alpha1.EgressTarget{Hosts: hosts, Ports: ports}
	case 1:
		for i := range ports {
			ports[i].Protocol = v1alpha1.ProtocolTCP
		}
		return v1alpha1.EgressTarget{CIDRs: []v1alpha1.CIDR{inCIDRs.Draw(t, "cidr")}, Ports: ports}
	case 2:
		return v1alpha1.EgressTarget{Namespace: rapid.SampledFrom([]v1alpha1.NamespaceName{ownNamespace, "shop", "nowhere", "istio-system"}).Draw(t, "namespace")}
	}
	s := rapid.SampledFrom([]v1alpha1.ServiceReference{{Namespace: "shop", Name: "cart"}, {Namespace: "shop", Name: "manual"}, {Namespace: ownNamespace, Name: "api"}, {Namespace: "shop", Name: "ghost"}}).Draw(t, "service")
	out := v1alpha1.EgressTarget{Service: &s}
	if rapid.Bool().Draw(t, "with ports") {
		out.Ports = ports
	}
	return out
}

func drawFacts(t *rapid.T) facts.Facts {
	f := facts.Facts{
		Namespace: facts.Namespace{Name: ownNamespace},
		Mesh: facts.Mesh{
			Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar,
			Observed:      rapid.Bool().Draw(t, "observed"),
			ConfigRead:    rapid.Bool().Draw(t, "config"),
			ForeignTrust:  rapid.Bool().Draw(t, "foreign trust"),
			Version:       rapid.SampledFrom([]string{"", "1.24.1", "1.28.5", "1.29.0", "1.31.1", "latest", "1.x"}).Draw(t, "version"),
			RootMutualTLS: rapid.SampledFrom([]string{"", rootStrict, "PERMISSIVE"}).Draw(t, "root"),
			RootNamespace: "istio-system", TrustDomain: "cluster.local", ClusterDomain: "cluster.local",
			ProviderHosts: rapid.SampledFrom([][]string{nil, {"observability/collector.observability.svc.cluster.local", "x/outside.example.com"}}).Draw(t, "providers"),
		},
		Network: facts.Network{
			PolicyEnforced: rapid.SampledFrom([]facts.Tristate{facts.Unknown, facts.Yes, facts.No}).Draw(t, "enforced"),
			ClusterCIDRs:   rapid.SampledFrom([][]string{nil, {"10.0.0.0/8", "fd00::/8", "192.168.0.0/16", "nonsense"}}).Draw(t, "cidrs"),
			DNS:            facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}},
		},
		Services: map[types.NamespacedName]facts.Service{
			{Namespace: ownNamespace, Name: "api"}: {Namespace: ownNamespace, Name: "api", Selector: map[string]string{"app": "api"}, Ports: []facts.ServicePort{
				{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromString("web")}, {Name: "tcp-db", Protocol: "TCP", Port: 5432, Target: intstr.FromInt32(5432)}}},
			{Namespace: ownNamespace, Name: "api-tcp"}: {Namespace: ownNamespace, Name: "api-tcp", Selector: map[string]string{"track": "blue"}, Ports: []facts.ServicePort{
				{AppProtocol: "tcp", Protocol: "TCP", Port: 80, Target: intstr.FromInt32(8081)}}},
			{Namespace: "shop", Name: "cart"}: {Namespace: "shop", Name: "cart", Selector: map[string]string{"app": "cart"}, Ports: []facts.ServicePort{
				{Name: "http", Protocol: "TCP", Port: 80, Target: intstr.FromInt32(8080)}, {Name: "grpc", Protocol: "TCP", Port: 90, Target: intstr.FromString("grpc")}, {Name: "dns", Protocol: "UDP", Port: 53, Target: intstr.FromInt32(53)}}},
			{Namespace: "shop", Name: "manual"}: {Namespace: "shop", Name: "manual"},
		},
		Namespaces:      map[string]bool{"shop": true},
		ServiceAccounts: map[types.NamespacedName]bool{{Namespace: "shop", Name: "checkout"}: true},
	}
	f.Pods = upTo(t, 4, func(i int) facts.Pod {
		return facts.Pod{
			Name:    fmt.Sprintf("pod-%d", i),
			Labels:  rapid.SampledFrom([]map[string]string{{"app": "api"}, {"app": "ledger"}, {"app": "api", "track": "blue"}, {}}).Draw(t, "labels"),
			Owner:   facts.Owner{Kind: "Deployment", Name: fmt.Sprintf("d-%d", i)},
			Ports:   []facts.ContainerPort{{Name: "web", Number: portsOf.Draw(t, "web")}, {Name: "other", Number: 8081}},
			Sidecar: rapid.Bool().Draw(t, "sidecar"),
			Bypass:  rapid.SampledFrom([][]string{nil, {"hostNetwork"}, {"traffic.sidecar.istio.io/excludeInboundPorts=8080"}, {"traffic.sidecar.istio.io/excludeOutboundPorts=443"}}).Draw(t, "bypass"),
		}
	})
	return f
}
