package admission

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// foreign is an object that somebody else makes in the guarded namespace.
type foreign struct {
	what, manifest string
	// refused is what is said to be wrong; empty: it is let through.
	refused string
}

func peerAuthentication(spec string) string {
	return "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: theirs}, spec: " + spec + "}"
}

func authorizationPolicy(spec string) string {
	return "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: theirs}, spec: " + spec + "}"
}

func ofIstio(kind, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: " + kind + ", metadata: {name: theirs}, spec: " + spec + "}"
}

func networkPolicy(spec string) string {
	return "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: theirs}, spec: " + spec + "}"
}

func pod(metadata, spec string) string {
	return "{apiVersion: v1, kind: Pod, metadata: {name: theirs" + metadata + "}, spec: {" + spec + "containers: [{name: app, image: app}]}}"
}

var foreigners = []foreign{
	{"PERMISSIVE", peerAuthentication("{mtls: {mode: PERMISSIVE}}"), "spec.mtls.mode is PERMISSIVE; to let plaintext into a port, use mutualTLS.portOverrides of the profile"},
	{"DISABLE of a workload", peerAuthentication("{selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}}"), "spec.mtls.mode is DISABLE"},
	{"a port that is opened", peerAuthentication("{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: STRICT}, 9100: {mode: PERMISSIVE}}}"), "spec.portLevelMtls has a port"},
	{"one for the namespace that inherits", peerAuthentication("{}"), "competes with the namespace's own"},
	{"one with an empty selector that inherits", peerAuthentication("{selector: {}, mtls: {mode: UNSET}}"), "competes with the namespace's own"},
	{"STRICT for the namespace", peerAuthentication("{mtls: {mode: STRICT}}"), ""},
	{"STRICT of a workload and its port", peerAuthentication("{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: STRICT}}}"), ""},
	{"a workload that inherits", peerAuthentication("{selector: {matchLabels: {app: web}}}"), ""},

	{"an empty rule", authorizationPolicy("{rules: [{}]}"), "spec.rules has an ALLOW rule without from, which lets everybody in; to let callers in, use authorization.rules of the profile"},
	{"an empty rule behind another", authorizationPolicy("{action: ALLOW, rules: [{from: [{source: {namespaces: [shop]}}]}, {}]}"), "without from"},
	{"a rule without from", authorizationPolicy("{rules: [{to: [{operation: {ports: ['8080']}}]}]}"), "without from"},
	{"a rule with an empty source", authorizationPolicy("{rules: [{from: [{source: {namespaces: [shop]}}, {source: {}}]}]}"), "a source that names nobody"},
	{"a rule with a source of all but one", authorizationPolicy("{rules: [{from: [{source: {notNamespaces: [shop]}}]}]}"), "a source that names nobody"},
	{"an open rule in dry run, which an annotation alone would enforce", strings.Replace(authorizationPolicy("{rules: [{}]}"), "name: theirs", "name: theirs, annotations: {istio.io/dry-run: 'true'}", 1), "without from"},
	{"a rule with callers", authorizationPolicy("{rules: [{from: [{source: {serviceAccounts: [shop/checkout]}}, {source: {ipBlocks: [10.0.0.0/8]}}]}]}"), ""},
	{"no rule, which denies all", authorizationPolicy("{}"), ""},
	{"DENY of everything", authorizationPolicy("{action: DENY, rules: [{}]}"), ""},
	{"AUDIT of everything", authorizationPolicy("{action: AUDIT, rules: [{}]}"), ""},

	{"TLS off", ofIstio("DestinationRule", "{host: web, trafficPolicy: {tls: {mode: DISABLE}}}"), "it has a tls.mode other than ISTIO_MUTUAL for a host of the mesh, web"},
	{"TLS off, as the default of an empty mode", ofIstio("DestinationRule", "{host: web, trafficPolicy: {tls: {}}}"), "tls.mode other than"},
	{"TLS of its own for another namespace", ofIstio("DestinationRule", "{host: api.shop.svc.cluster.local, trafficPolicy: {tls: {mode: SIMPLE}}}"), "tls.mode other than"},
	{"TLS off on a port", ofIstio("DestinationRule", "{host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}"), "tls.mode other than"},
	{"TLS off for a subset", ofIstio("DestinationRule", "{host: web, subsets: [{name: v1}, {name: v2, trafficPolicy: {tls: {mode: MUTUAL}}}]}"), "tls.mode other than"},
	{"TLS off on a port of a subset", ofIstio("DestinationRule", "{host: web, subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}]}"), "tls.mode other than"},
	{"ISTIO_MUTUAL everywhere", ofIstio("DestinationRule", "{host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}}]}, subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]}"), ""},
	{"no TLS settings", ofIstio("DestinationRule", "{host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"), ""},
	{"TLS of its own for a host outside", ofIstio("DestinationRule", "{host: api.stripe.com, trafficPolicy: {tls: {mode: SIMPLE}}}"), ""},
	{"TLS of its own for a declared wildcard", ofIstio("DestinationRule", "{host: '*.example.com', trafficPolicy: {tls: {mode: SIMPLE}}}"), ""},

	{"a host that no rule names", ofIstio("ServiceEntry", "{hosts: [api.stripe.com, evil.example.net], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}"), "spec.hosts has a host that no egress rule names: evil.example.net; to open a way out, use egress.rules of the profile"},
	{"a wildcard wider than the rule's", ofIstio("ServiceEntry", "{hosts: ['*.com'], ports: [{number: 443, name: tls, protocol: TLS}]}"), "no egress rule names: *.com"},
	{"the bare domain of a wildcard", ofIstio("ServiceEntry", "{hosts: [example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}"), "no egress rule names: example.com"},
	{"a domain that only ends so", ofIstio("ServiceEntry", "{hosts: [notexample.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}"), "no egress rule names: notexample.com"},
	{"hosts of the rules", ofIstio("ServiceEntry", "{hosts: [api.stripe.com, a.example.com, '*.b.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}"), ""},

	{"a Sidecar for the namespace", ofIstio("Sidecar", "{egress: [{hosts: [./*]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"), "it has no workloadSelector"},
	{"a Sidecar that is open", ofIstio("Sidecar", "{workloadSelector: {labels: {app: web}}, egress: [{hosts: [./*]}], outboundTrafficPolicy: {mode: ALLOW_ANY}}"), "spec.outboundTrafficPolicy.mode is not REGISTRY_ONLY"},
	{"a Sidecar that says nothing of it", ofIstio("Sidecar", "{workloadSelector: {labels: {app: web}}, egress: [{hosts: [./*]}]}"), "spec.outboundTrafficPolicy.mode is not REGISTRY_ONLY"},
	{"a Sidecar of a workload that is closed", ofIstio("Sidecar", "{workloadSelector: {labels: {app: web}}, egress: [{hosts: [./*]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"), ""},

	{"any EnvoyFilter", "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: theirs}, spec: {}}", "an EnvoyFilter can undo whatever the proxies enforce; to let it pass for a time, set drift.guard of the profile to Managed"},

	{"a way out to everywhere", networkPolicy("{podSelector: {}, egress: [{}]}"), "spec.egress has a rule without to"},
	{"a way out to everywhere on a port", networkPolicy("{podSelector: {}, egress: [{to: [{podSelector: {}}]}, {ports: [{port: 53}]}]}"), "spec.egress has a rule without to"},
	{"a way out to every address", networkPolicy("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}"), "spec.egress has a range that is every address"},
	{"a way out to every address of the newer kind", networkPolicy("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: '::/0'}}]}]}"), "spec.egress has a range that is every address"},
	{"a way out to somewhere", networkPolicy("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}, {namespaceSelector: {}}]}]}"), ""},
	{"ways in", networkPolicy("{podSelector: {}, ingress: [{}]}"), ""},
	{"ways out that do not count", networkPolicy("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}"), ""},

	{"in the mesh", pod("", ""), ""},
	{"without injection, by label", pod(", labels: {sidecar.istio.io/inject: 'false'}", ""), "Pod/theirs would weaken what MeshSecurityProfile posture/main declares (drift.guard: Posture): it goes past the mesh by sidecar.istio.io/inject=false"},
	{"on the host's network", pod("", "hostNetwork: true, "), "it goes past the mesh by hostNetwork"},
}

var _ = Describe("Guard Posture", Ordered, func() {
	BeforeAll(func(ctx SpecContext) { shared.guarded(ctx, "posture", strict("Posture")) })

	dryRun := func(ctx context.Context, user, manifest string) error {
		return shared.client(user).Create(ctx, object(manifest, "posture"), client.DryRunAll)
	}

	for _, f := range foreigners {
		kind := strings.Split(strings.Split(f.manifest, "kind: ")[1], ",")[0]
		verb := "lets through"
		if f.refused != "" {
			verb = "refuses"
		}
		It(fmt.Sprintf("%s a %s: %s", verb, kind, f.what), func(ctx SpecContext) {
			for _, user := range []string{admin, teamLead} {
				err := dryRun(ctx, user, f.manifest)
				if f.refused == "" {
					Expect(err).NotTo(HaveOccurred(), user)
					continue
				}
				Expect(err).To(beRefused(kind+"/theirs would weaken what MeshSecurityProfile posture/main declares (drift.guard: Posture"), user)
				Expect(err).To(beRefused(f.refused), user)
			}
			if f.refused == "" {
				return
			}
			// The same is refused as a change of an object that was let through.
			closed := map[string]string{
				"PeerAuthentication": peerAuthentication("{selector: {matchLabels: {app: web}}}"), "AuthorizationPolicy": authorizationPolicy("{}"),
				"DestinationRule": ofIstio("DestinationRule", "{host: web}"), "NetworkPolicy": networkPolicy("{podSelector: {}}"),
			}[kind]
			if closed == "" {
				return
			}
			o := object(closed, "posture")
			Expect(shared.admin.Create(ctx, o)).To(Succeed())
			defer func() { Expect(shared.admin.Delete(ctx, o)).To(Succeed()) }()
			changed := object(f.manifest, "posture")
			changed.SetResourceVersion(o.GetResourceVersion())
			Expect(shared.client(teamLead).Update(ctx, changed, client.DryRunAll)).To(beRefused(f.refused))
		})
	}

	It("refuses changes of managed objects too", func() {
		out, err := shared.as(teamLead, "", "-n", "posture", "delete", "pa", "msp-mtls")
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("PeerAuthentication/msp-mtls is managed by MeshSecurityProfile posture/main (drift.guard: Posture): change that profile instead; it is not to be deleted"))
	})

	It("is not asked of the operator", func(ctx SpecContext) {
		Expect(dryRun(ctx, "operator", networkPolicy("{podSelector: {}, egress: [{}]}"))).To(Succeed())
	})

	It("agrees with what counts as a bypass of the mesh", func(ctx SpecContext) {
		const traffic = "traffic.sidecar.istio.io/"
		values := []string{"", "*", "true", "false", "NONE", "REDIRECT", "TPROXY", "none", "8080", "15020", "15090,15021,15020", "8080,15020", "15020,"}
		count := map[bool]int{}
		for _, key := range []string{
			traffic + "includeInboundPorts", traffic + "includeOutboundIPRanges", traffic + "excludeInboundPorts", traffic + "excludeOutboundPorts",
			traffic + "excludeOutboundIPRanges", traffic + "excludeInterfaces", "sidecar.istio.io/interceptionMode", "sidecar.istio.io/inject",
			"ambient.istio.io/bypass-inbound-capture", "istio.io/dataplane-mode", "sidecar.istio.io/logLevel",
		} {
			for _, v := range values {
				for _, where := range []string{"labels", "annotations"} {
					if where == "labels" && (v == "*" || strings.Contains(v, ",") || strings.HasPrefix(key, traffic)) {
						continue
					}
					o := object(pod(fmt.Sprintf(", %s: {%s: %q}", where, key, v), ""), "posture")
					p := &corev1.Pod{Spec: corev1.PodSpec{}}
					p.Labels, p.Annotations = o.GetLabels(), o.GetAnnotations()
					found, _ := snapshot.PodFacts(p)
					err := shared.client(teamLead).Create(ctx, o, client.DryRunAll)
					if len(found.Bypass) > 0 {
						Expect(err).To(beRefused("it goes past the mesh by "+found.Bypass[0]), "%s %s=%q", where, key, v)
					} else {
						Expect(err).NotTo(HaveOccurred(), "%s %s=%q", where, key, v)
					}
					count[len(found.Bypass) > 0]++
				}
			}
		}
		Expect(count[true]).To(BeNumerically(">", 30))
		Expect(count[false]).To(BeNumerically(">", 30))
	})

	It("shows at a Deployment's ReplicaSet", func() {
		shared.apply(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: past, namespace: posture}
spec:
  selector: {matchLabels: {app: past}}
  template:
    metadata: {labels: {app: past}, annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "5432"}}
    spec: {containers: [{name: app, image: app}]}
`)
		Eventually(func() string { // the controller manager makes the pods
			return shared.kubectl("-n", "posture", "get", "deployment", "past", "-o", `jsonpath={.status.conditions[?(@.type=="ReplicaFailure")].message}`)
		}).Should(ContainSubstring("it goes past the mesh by traffic.sidecar.istio.io/excludeOutboundPorts=5432"))
	})

	It("keeps the namespace in the mesh", func() {
		for _, change := range []string{"istio-injection-", "istio-injection=disabled", "istio.io/rev=other", "istio.io/dataplane-mode=ambient"} {
			for _, user := range []string{admin, teamLead} {
				out, err := shared.as(user, "", "label", "--overwrite", "namespace", "posture", change)
				Expect(err).To(HaveOccurred(), change)
				Expect(out).To(ContainSubstring("Namespace/posture would weaken"), change)
			}
		}
		shared.kubectl("label", "namespace", "posture", "team=payments")
	})

	It("lets the operator open for a moment what nobody else may", func(ctx SpecContext) { meanwhileOnly(ctx, "posture") })

	It("can't be overcome by size", func(ctx SpecContext) {
		shared.guarded(ctx, "large", largest())
		for what, o := range largeObjects() {
			o.SetNamespace("large")
			Expect(shared.client(teamLead).Create(ctx, o, client.DryRunAll)).To(beRefused("would weaken what"), what)
		}
	})
})

var _ = Describe("What was there before the guard", func() {
	It("can still be labelled, finalized and improved, and not loosened", func(ctx SpecContext) {
		shared.guarded(ctx, "before", strict("None"))
		shared.apply("{apiVersion: v1, kind: Namespace, metadata: {name: before, labels: {istio-injection: enabled}}}")
		open := object(peerAuthentication("{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}"), "before")
		past := object(pod(", annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '22'}", ""), "before")
		Expect(shared.admin.Create(ctx, open)).To(Succeed())
		Expect(shared.admin.Create(ctx, past)).To(Succeed())
		shared.apply(profile("before", "main", strict("Posture")))
		shared.inForce(ctx, "before")
		for _, args := range [][]string{
			{"label", "pa", "theirs", "team=x"}, {"annotate", "pod", "theirs", "team=x"},
			patch("pa", "theirs", "merge", `{"metadata":{"finalizers":["example.com/hold"]}}`), patch("pa", "theirs", "merge", `{"metadata":{"finalizers":null}}`),
			patch("pa", "theirs", "merge", `{"spec":{"mtls":{"mode":"STRICT"}}}`),
		} {
			_, err := shared.as(teamLead, "", append([]string{"-n", "before"}, args...)...)
			Expect(err).NotTo(HaveOccurred())
		}
		for _, args := range [][]string{
			patch("pa", "theirs", "merge", `{"spec":{"mtls":{"mode":"DISABLE"}}}`),
			{"annotate", "pod", "theirs", "traffic.sidecar.istio.io/excludeOutboundPorts=5432"},
			{"annotate", "--overwrite", "pod", "theirs", "traffic.sidecar.istio.io/excludeInboundPorts=*"},
		} {
			out, err := shared.as(teamLead, "", append([]string{"-n", "before"}, args...)...)
			Expect(err).To(HaveOccurred())
			Expect(out).To(ContainSubstring("would weaken what MeshSecurityProfile before/main declares"))
		}
	})
})

var _ = Describe("Guard Posture refuses nothing of others", func() {
	for what, spec := range map[string]string{
		"in Audit":                "  enforcementMode: Audit\n" + strict("Posture"),
		"in DryRun":               "  enforcementMode: DryRun\n" + strict("Posture"),
		"under Managed":           strict("Managed"),
		"of what is not declared": "  logging: {accessLog: Denied}\n  drift: {policy: Correct, guard: Posture}\n",
	} {
		It(what, func(ctx SpecContext) {
			ns := strings.ToLower(strings.ReplaceAll(what, " ", "-"))
			shared.guarded(ctx, ns, spec)
			for _, f := range foreigners {
				if strings.Contains(what, "declared") && (strings.Contains(f.manifest, "EnvoyFilter") || strings.Contains(f.manifest, "kind: Pod")) {
					continue
				}
				Eventually(func() error { // the API server's cache sees the status a moment later
					return shared.client(teamLead).Create(ctx, object(f.manifest, ns), client.DryRunAll)
				}).Should(Succeed(), f.what)
			}
		})
	}
})

var _ = Describe("Guard Posture goes by the mode in force", func() {
	It("from DryRun to Enforce and back, at run time", func(ctx SpecContext) {
		shared.guarded(ctx, "modes", "  enforcementMode: DryRun\n"+strict("Posture"))
		attempt := func() error {
			return shared.admin.Create(ctx, object(authorizationPolicy("{rules: [{}]}"), "modes"), client.DryRunAll)
		}
		Eventually(attempt).Should(Succeed())
		shared.kubectl("-n", "modes", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Enforce"}}`)
		Eventually(attempt).Should(beRefused("without from"))
		shared.kubectl("-n", "modes", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Audit"}}`)
		Eventually(attempt).Should(Succeed())
	})
})

// largest is a profile with nearly as many egress hosts as fit into 64 KiB, which its rules may have.
func largest() string {
	var b strings.Builder
	b.WriteString("  mutualTLS: {mode: Strict}\n  authorization: {defaultAction: Deny}\n  drift: {policy: Correct, guard: Posture}\n  egress:\n    defaultAction: Deny\n    assurance: Network\n    rules:\n")
	for r := range 30 {
		fmt.Fprintf(&b, "    - name: r%d\n      to:\n", r)
		for t := range 8 {
			b.WriteString("      - ports: [{port: 443, protocol: TLS}]\n        hosts:\n")
			for h := range 10 {
				fmt.Fprintf(&b, "        - \"*.%x.io\"\n", 80*r+10*t+h)
			}
		}
	}
	return b.String()
}

// largeObjects hold what is wrong at the end of lists, both of the greatest
// length that is read and far beyond.
func largeObjects() map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{}
	repeat := func(n int, item, last string) string { return "[" + strings.Repeat(item+", ", n-1) + last + "]" }
	for _, n := range []int{64, 512} {
		ports := make([]string, 0, n)
		for p := range n - 1 {
			ports = append(ports, fmt.Sprintf("%d: {mode: STRICT}", 1000+p))
		}
		out[fmt.Sprint(n, " ports")] = object(peerAuthentication("{selector: {matchLabels: {app: web}}, portLevelMtls: {"+strings.Join(ports, ", ")+", 9999: {mode: DISABLE}}}"), "")
		source := "{source: {principals: [x], ipBlocks: [10.0.0.0/8]}}"
		rule := "{from: " + repeat(min(2*n, 500), source, source) + "}"
		out[fmt.Sprint(n, " rules")] = object(authorizationPolicy("{rules: "+repeat(map[int]int{64: 128, 512: 20}[n], rule, "{}")+"}"), "")
		out[fmt.Sprint(n, " small rules")] = object(authorizationPolicy("{rules: "+repeat(min(2*n, 512), "{from: ["+source+"]}", "{}")+"}"), "")
		settings := "{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}"
		subset := "{name: v, trafficPolicy: {portLevelSettings: " + repeat(min(n, 64), settings, settings) + "}}"
		out[fmt.Sprint(n, " subsets")] = object(ofIstio("DestinationRule", "{host: web, subsets: "+repeat(n, subset, "{name: v, trafficPolicy: {tls: {mode: DISABLE}}}")+"}"), "")
		hosts := make([]string, 0, n)
		for h := range min(n/4, 128) - 1 {
			hosts = append(hosts, fmt.Sprintf("%s.%x.io", strings.Repeat("x", 60), 2399-h))
		}
		out[fmt.Sprint(n, " hosts")] = object(ofIstio("ServiceEntry", "{hosts: ["+strings.Join(hosts, ", ")+", evil.example.net], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}"), "")
		to := "{ipBlock: {cidr: 203.0.113.0/24}}"
		egress := "{to: " + repeat(map[int]int{64: 128, 512: 8}[n], to, to) + "}"
		out[fmt.Sprint(n, " ways out")] = object(networkPolicy("{podSelector: {}, egress: "+repeat(2*n, egress, "{}")+"}"), "")
		out[fmt.Sprint(n, " ways out, the last of them to everywhere")] = object(networkPolicy("{podSelector: {}, egress: "+repeat(2*n, egress, "{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}")+"}"), "")
	}
	return out
}
