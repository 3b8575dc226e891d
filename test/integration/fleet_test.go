package integration

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// baseline is YAML of a baseline for the namespaces with label fleet=NAME.
func baseline(name, spec string) string {
	return fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityBaseline
metadata: {name: %[1]s}
spec:
  namespaceSelector: {matchLabels: {fleet: %[1]s}}
%[2]s`, name, spec)
}

const floor = `
  namespacesWithoutProfile: Enforce
  defaults:
    mutualTLS: {mode: Strict}
    authorization: {defaultAction: Deny}
  mandates: {mutualTLS: Strict, authorization: Deny}
  peers:
  - {name: probe, serviceAccounts: [{namespace: fleet-prober, name: prober}]}
  authorizationRules:
  - {name: probing, from: [{peer: probe}], to: [{ports: [8080]}]}
`

var floorObjects = []string{"PeerAuthentication/msp-mtls", "AuthorizationPolicy/msp-default-deny"}

func (c *cluster) exception(namespace, name, spec string) {
	GinkgoHelper()
	c.apply(fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityException
metadata: {name: %s}
spec: {namespaces: [%s], owner: security@example.com, reason: until the appliance is replaced, %s}
`, name, namespace, spec))
	DeferCleanup(func() { c.kubectl("delete", "mse", name, "--ignore-not-found") })
}

func (c *cluster) withBaseline(name, spec string) {
	GinkgoHelper()
	c.apply(baseline(name, spec))
	DeferCleanup(func() { c.kubectl("delete", "msb", name, "--ignore-not-found", "--timeout=20s") })
}

// clusterCondition is condition for an object that belongs to no namespace.
func (c *cluster) clusterCondition(kind, name, condition string) func() string {
	return func() string {
		out, _ := c.try("", "get", kind, name, "-o", fmt.Sprintf(
			`jsonpath={.metadata.generation}={.status.observedGeneration} {.status.conditions[?(@.type=="%[1]s")].status}/{.status.conditions[?(@.type=="%[1]s")].reason}`, condition))
		generations, cond, _ := strings.Cut(out, " ")
		if g, o, _ := strings.Cut(generations, "="); g != o {
			return "not observed"
		}
		return cond
	}
}

func (c *cluster) join(namespace, fleet string) {
	GinkgoHelper()
	c.namespace(namespace)
	c.kubectl("label", "namespace", namespace, "fleet="+fleet, "--overwrite")
}

var _ = Describe("A baseline", func() {
	It("holds in selected namespaces without a profile, and is taken out in order when they leave", func(ctx SpecContext) {
		shared.join("floor-a", "floor")
		shared.withBaseline("floor", floor)
		objects := func() []string { return shared.objects(ctx, "floor-a") }
		rule := "AuthorizationPolicy/msp-baseline.probing.floor"
		Eventually(objects).Should(ConsistOf(append(floorObjects, rule)))
		Expect(shared.owners("floor-a")).To(Equal([]string{"floor"}))
		Eventually(shared.clusterCondition("msb", "floor", "Ready")).Should(Equal("True/Ready"))
		Eventually(func() string { return shared.kubectl("get", "msb", "floor", "-o", "jsonpath={.status.namespaces}") }).
			Should(MatchJSON(`{"selected":1,"enforced":1,"inSync":1,"compliant":1}`))

		By("healing drift there, with an Event on the namespace")
		shared.kubectl("-n", "floor-a", "patch", "pa", "msp-mtls", "--type=merge", "-p", `{"spec":{"mtls":{"mode":"DISABLE"}}}`, "--field-manager=intruder")
		Eventually(func() string {
			return shared.kubectl("-n", "floor-a", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}).Should(Equal("STRICT"))
		Eventually(func() string {
			return shared.kubectl("-n", "floor-a", "get", "events", "--field-selector=involvedObject.kind=Namespace", "-o", "jsonpath={.items[*].message}")
		}).Should(ContainSubstring("PeerAuthentication/msp-mtls was changed by intruder"))

		By("reaching a namespace that gets the label, and leaving one that loses it")
		shared.join("floor-b", "floor")
		Eventually(func() []string { return shared.objects(ctx, "floor-b") }).Should(ContainElements(floorObjects))
		since := time.Now()
		shared.kubectl("label", "namespace", "floor-a", "fleet-")
		Eventually(objects).Should(BeEmpty())
		Expect(shared.wrote(ctx, "floor-a", since)).To(HaveExactElements("delete msp-default-deny", "delete msp-baseline.probing.floor", "delete msp-mtls"))
		Eventually(func() string {
			return shared.kubectl("get", "msb", "floor", "-o", "jsonpath={.status.namespaces.selected}")
		}).Should(Equal("1"))

		By("being deleted")
		shared.kubectl("delete", "msb", "floor", "--timeout=20s")
		Expect(shared.objects(ctx, "floor-b")).To(BeEmpty(), "the baseline was let go before they were gone")
	})

	It("hands over to a profile and back without a gap", func(ctx SpecContext) {
		shared.join("handing", "handing")
		shared.withBaseline("handing", floor)
		Eventually(func() []string { return shared.objects(ctx, "handing") }).Should(ContainElements(floorObjects))
		uids := func() string {
			return shared.kubectl("-n", "handing", "get", "pa/msp-mtls", "ap/msp-default-deny", "ap/msp-baseline.probing.handing", "-o", "jsonpath={.items[*].metadata.uid}")
		}
		before := uids()
		shared.apply(strict("handing"))
		shared.ready(ctx, "handing", "main")
		Expect(shared.owners("handing")).To(Equal([]string{"main"}))
		shared.kubectl("-n", "handing", "delete", "msp", "main", "--timeout=20s")
		Eventually(func() []string { return shared.owners("handing") }).Should(Equal([]string{"handing"}))
		Expect(shared.objects(ctx, "handing")).To(ConsistOf(append(floorObjects, "AuthorizationPolicy/msp-baseline.probing.handing")))
		Expect(uids()).To(Equal(before), "an object was deleted and made again")
	})

	It("is not weakened by a profile that says less", func(ctx SpecContext) {
		shared.join("lax", "lax")
		shared.withBaseline("lax", floor+`
  priority: 5
`)
		shared.apply(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: lax}
spec:
  mutualTLS: {mode: Permissive}
  authorization: {defaultAction: Allow}
`)
		Eventually(shared.condition(ctx, "lax", "main", "Accepted")).Should(Equal("False/MandateViolated"))
		Eventually(shared.condition(ctx, "lax", "main", "Programmed")).Should(Equal("True/Programmed"))
		Expect(shared.condition(ctx, "lax", "main", "Ready")()).To(Equal("False/MandateViolated"))
		Expect(shared.kubectl("-n", "lax", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")).To(Equal("STRICT"))
		p := shared.profile(ctx, "lax", "main")
		Expect(p.Status.Effective.MutualTLS).To(Equal("Strict"))
		Expect(p.Status.Effective.Origins).To(ContainElements(
			v1alpha1.Origin{Field: "mutualTLS.mode", From: "MeshSecurityBaseline/lax"},
			v1alpha1.Origin{Field: "authorization.defaultAction", From: "MeshSecurityBaseline/lax"}))
		Expect(meta.FindStatusCondition(p.Status.Conditions, "Accepted").Message).To(ContainSubstring(
			"spec.mutualTLS.mode: Permissive is less than MeshSecurityBaseline/lax mandates: Strict is in force instead"))

		By("but for an exception, to the second")
		ends := time.Now().Add(4 * time.Second).Truncate(time.Second)
		shared.exception("lax", "lax-mtls", fmt.Sprintf("checks: [MTLS-001], expiresAt: %q", ends.UTC().Format(time.RFC3339)))
		mode := func() string {
			return shared.kubectl("-n", "lax", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}
		Eventually(mode).Should(Equal("PERMISSIVE"))
		Eventually(shared.clusterCondition("mse", "lax-mtls", "Active")).Should(Equal("True/EndsSoon"))
		Eventually(mode).Should(Equal("STRICT"))
		Expect(time.Now()).To(BeTemporally(">=", ends), "it ended too early")
		Eventually(shared.clusterCondition("mse", "lax-mtls", "Active")).Should(Equal("False/Expired"))
		Expect(shared.condition(ctx, "lax", "main", "Accepted")()).To(Equal("False/MandateViolated"))
	})

	It("lets nothing out of its perimeter, and the rest of the profile stays in force", func(ctx SpecContext) {
		shared.join("perimeter", "perimeter")
		shared.withBaseline("perimeter", `
  mandates: {egressHosts: ["*.example.com"], maxOverrideDuration: 1h}
`)
		shared.apply(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: perimeter}
spec:
  egress:
    defaultAction: Deny
    assurance: Proxy
    rules:
    - {name: both, to: [{hosts: [api.example.com, evil.example.org], ports: [{port: 443, protocol: TLS}]}]}
    - {name: range, to: [{cidrs: [203.0.113.0/24], ports: [{port: 443, protocol: TCP}]}]}
`)
		Eventually(shared.condition(ctx, "perimeter", "main", "Accepted")).Should(Equal("False/MandateViolated"))
		hosts := func() string {
			return shared.kubectl("-n", "perimeter", "get", "serviceentry", "-o", "jsonpath={.items[*].spec.hosts}")
		}
		Eventually(hosts).Should(Equal(`["api.example.com"]`))
		verdicts := map[v1alpha1.RuleName]v1alpha1.Verdict{}
		for _, r := range shared.profile(ctx, "perimeter", "main").Status.Rules {
			verdicts[r.Name] = r.Verdict
			Expect(r.Message).To(ContainSubstring("outside of the hosts that MeshSecurityBaseline/perimeter lets a profile allow"))
		}
		Expect(verdicts).To(Equal(map[v1alpha1.RuleName]v1alpha1.Verdict{"both": "Stricter", "range": "Stricter"}))

		By("but for an exception that may last as long")
		shared.exception("perimeter", "too-long", `checks: [EGR-004], expiresAt: "2040-01-01T00:00:00Z"`)
		Eventually(shared.clusterCondition("mse", "too-long", "Active")).Should(Equal("False/TooLong"))
		Expect(hosts()).To(Equal(`["api.example.com"]`))
		shared.exception("perimeter", "in-time", fmt.Sprintf("checks: [EGR-004], expiresAt: %q", time.Now().Add(30*time.Minute).UTC().Format(time.RFC3339)))
		Eventually(hosts).Should(ContainSubstring("evil.example.org"))
		Eventually(shared.condition(ctx, "perimeter", "main", "Ready")).Should(Equal("True/Ready"))
		for _, f := range shared.profile(ctx, "perimeter", "main").Status.Findings {
			if f.Check == "EGR-004" {
				Expect(f.Exception).To(Equal("in-time"))
			}
		}
	})

	It("is paused by its annotation", func(ctx SpecContext) {
		shared.join("pausing", "pausing")
		shared.withBaseline("pausing", floor)
		Eventually(func() []string { return shared.objects(ctx, "pausing") }).Should(ContainElements(floorObjects))
		shared.kubectl("annotate", "msb", "pausing", v1alpha1.AnnotationPaused+"=true")
		Eventually(shared.clusterCondition("msb", "pausing", "Ready")).Should(Equal("Unknown/Paused"))
		shared.kubectl("-n", "pausing", "delete", "ap", "msp-default-deny")
		Consistently(func() []string { return shared.objects(ctx, "pausing") }, time.Second, 200*time.Millisecond).
			ShouldNot(ContainElement("AuthorizationPolicy/msp-default-deny"))
		shared.kubectl("annotate", "msb", "pausing", v1alpha1.AnnotationPaused+"-")
		Eventually(func() []string { return shared.objects(ctx, "pausing") }).Should(ContainElements(floorObjects))
	})

	It("never selects the system's namespaces, the mesh's and the operator's own", func(ctx SpecContext) {
		shared.apply(strings.ReplaceAll(baseline("everywhere", floor), "{matchLabels: {fleet: everywhere}}", "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [kube-system, kube-public, kube-node-lease, istio-system, mesh-security-system]}]}"))
		DeferCleanup(func() { shared.kubectl("delete", "msb", "everywhere", "--timeout=20s") })
		Eventually(func() string {
			return shared.kubectl("get", "msb", "everywhere", "-o", "jsonpath={.status.namespaces.selected}")
		}).Should(Equal("0"))
		for _, ns := range []string{"kube-system", "kube-public", "kube-node-lease", "istio-system", "mesh-security-system"} {
			Expect(shared.objects(ctx, ns)).To(BeEmpty(), ns)
		}
	})
})

var _ = Describe("A baseline that is rolled out", func() {
	// Strict is fine for everybody; a rule that names nobody is not Ready.
	good := strings.Replace(floor, "namespacesWithoutProfile", "rollout: {canarySelector: {matchLabels: {wave: canary}}}\n  namespacesWithoutProfile", 1)
	bad := strings.Replace(good, "{peer: probe}", "{peer: nobody}", 1)
	narrower := strings.Replace(good, "[8080]", "[9090]", 1)

	ports := func(ns string) func() string {
		return func() string {
			out, _ := shared.try("", "-n", ns, "get", "ap", "-l", "meshsecurity.io/baseline=waves", "-o", `jsonpath={.items[?(@.metadata.name=="msp-baseline.probing.waves")].spec.rules[0].to[0].operation.ports}`)
			return out
		}
	}

	It("reaches the canaries first, goes on when they are Ready, and stops where they are not", func(ctx SpecContext) {
		shared.join("canary", "waves")
		shared.kubectl("label", "namespace", "canary", "wave=canary")
		shared.join("fleet-1", "waves")
		shared.join("fleet-2", "waves")
		shared.withBaseline("waves", good)
		Eventually(shared.clusterCondition("msb", "waves", "RolledOut")).Should(Equal("True/RolledOut"))
		for _, ns := range []string{"canary", "fleet-1", "fleet-2"} {
			Eventually(ports(ns)).Should(Equal(`["8080"]`), ns)
		}

		By("a change that the canary is not Ready with")
		shared.apply(baseline("waves", bad))
		Eventually(shared.clusterCondition("msb", "waves", "RolledOut")).Should(Equal("False/RolloutHalted"))
		Expect(shared.kubectl("get", "msb", "waves", "-o", `jsonpath={.status.conditions[?(@.type=="RolledOut")].message}`)).To(ContainSubstring("canary (RulesLooser)"))
		Expect(ports("canary")()).To(BeEmpty())
		for _, ns := range []string{"fleet-1", "fleet-2"} {
			Expect(ports(ns)()).To(Equal(`["8080"]`), ns)
		}
		Eventually(func() string { return shared.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}") }).Should(ContainSubstring("RolloutHalted"))

		By("a restart of the operator, which changes nothing")
		since := time.Now()
		Expect(main.Stop()).To(Succeed())
		main = shared.start("main")
		shared.kubectl("-n", "fleet-1", "delete", "ap", "msp-baseline.probing.waves")
		Eventually(ports("fleet-1")).Should(Equal(`["8080"]`), "what it had is kept, by the state that was rolled out last")

		By("rolling back")
		shared.apply(baseline("waves", good))
		Eventually(ports("canary")).Should(Equal(`["8080"]`))
		Eventually(shared.clusterCondition("msb", "waves", "RolledOut")).Should(Equal("True/RolledOut"))

		By("a change that is fine, in one burst")
		shared.apply(baseline("waves", narrower))
		for _, ns := range []string{"canary", "fleet-1", "fleet-2"} {
			Eventually(ports(ns)).Should(Equal(`["9090"]`), ns)
		}
		var canary, others []time.Time
		for _, r := range shared.requests(ctx, since) {
			if r.Verb == "update" && r.Name == "msp-baseline.probing.waves" {
				if r.Namespace == "canary" {
					canary = append(canary, r.Time)
				} else {
					others = append(others, r.Time)
				}
			}
		}
		Expect(others).To(HaveLen(2))
		for _, at := range others {
			Expect(at).To(BeTemporally(">=", canary[len(canary)-1]), "the fleet was changed before the canary")
		}
		Eventually(shared.clusterCondition("msb", "waves", "RolledOut")).Should(Equal("True/RolledOut"))
	})

	It("goes nowhere without canaries, and says so", func() {
		shared.join("no-canary", "nowhere")
		shared.withBaseline("nowhere", good)
		Eventually(shared.clusterCondition("msb", "nowhere", "RolledOut")).Should(Equal("False/NoCanaries"))
		Expect(shared.clusterCondition("msb", "nowhere", "Ready")()).To(Equal("False/NoCanaries"))
	})
})

var _ = Describe("Baselines and exceptions, when nothing changes", func() {
	It("cost no write at a restart", func(ctx SpecContext) {
		shared.join("still-a", "still")
		shared.join("still-b", "still")
		shared.withBaseline("still", floor)
		shared.apply(strict("still-b"))
		shared.ready(ctx, "still-b", "main")
		shared.exception("still-b", "still", fmt.Sprintf("checks: [MTLS-001], expiresAt: %q", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
		Eventually(shared.clusterCondition("mse", "still", "Active")).Should(Equal("False/NothingMatched"))
		Eventually(func() string { return shared.kubectl("get", "msb", "still", "-o", "jsonpath={.status.namespaces}") }).
			Should(MatchJSON(`{"selected":2,"enforced":2,"inSync":2,"compliant":2}`))
		// The exception ends soon, which is a finding: the last that is to be said before the restart.
		Eventually(func() []v1alpha1.Finding { return shared.profile(ctx, "still-b", "main").Status.Findings }).Should(ContainElement(HaveField("Check", "BASE-002")))
		Eventually(func() string {
			return shared.kubectl("get", "msb", "still", "-o", `jsonpath={.status.worst[?(@.namespace=="still-b")].findings.medium}`)
		}).Should(Equal(fmt.Sprint(shared.profile(ctx, "still-b", "main").Status.Summary.Findings.Medium)))
		// What other specs leave is part of the cluster, of which the baseline speaks too.
		Eventually(func() string {
			return shared.kubectl("get", "namespaces", "-o", `jsonpath={.items[?(@.status.phase=="Terminating")].metadata.name}`)
		}, time.Minute).Should(BeEmpty())
		version := func() string {
			return shared.kubectl("get", "msb", "still", "-o", "jsonpath={.metadata.resourceVersion}")
		}
		Eventually(func(g Gomega) {
			before := version()
			g.Consistently(version, 2*time.Second, 250*time.Millisecond).Should(Equal(before)) // four times as long as a look at the cluster is put off
		}, 30*time.Second).Should(Succeed())
		Expect(main.Stop()).To(Succeed())
		since := time.Now()
		main = shared.start("main")
		written := func() (out []string) {
			for _, w := range matching(shared.requests(ctx, since), writeVerbs...) {
				if strings.Contains(w, "still") {
					out = append(out, w)
				}
			}
			return out
		}
		// Something that is healed shows that the operator is past its start.
		shared.kubectl("-n", "still-a", "delete", "ap", "msp-default-deny")
		Eventually(written).Should(ContainElement(ContainSubstring("create authorizationpolicies  still-a msp-default-deny")))
		Consistently(written, 2*time.Second, 250*time.Millisecond).Should(HaveLen(1))
	})
})

var _ = Describe("An edit of a baseline over many namespaces", func() {
	It("writes only what it changes, and nothing where it changes nothing", func(ctx SpecContext) {
		const many = 20
		for i := range many {
			name := fmt.Sprintf("herd-%02d", i)
			shared.apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {istio-injection: enabled, fleet: herd}}}", name))
			DeferCleanup(func() { shared.kubectl("delete", "namespace", name, "--wait=false") })
		}
		shared.withBaseline("herd", floor)
		synced := func() string {
			return shared.kubectl("get", "msb", "herd", "-o", "jsonpath={.metadata.generation}={.status.observedGeneration} {.status.namespaces.inSync}")
		}
		Eventually(synced).Should(Equal(fmt.Sprintf("1=1 %d", many)))
		written := func(since time.Time) (out []string) {
			for _, r := range shared.requests(ctx, since) {
				if strings.HasPrefix(r.Namespace, "herd-") && r.Resource != "events" && (r.Verb == "create" || r.Verb == "update" || r.Verb == "delete" || r.Verb == "get" || r.Verb == "list") {
					out = append(out, r.Verb+" "+r.Resource)
				}
			}
			return out
		}

		By("one mandate")
		since := time.Now()
		shared.kubectl("patch", "msb", "herd", "--type=merge", "-p", `{"spec":{"mandates":{"accessLog":"Denied"}}}`)
		Eventually(func() []string { return written(since) }).Should(HaveLen(many))
		Expect(written(since)).To(HaveEach("create telemetries"))
		Eventually(synced).Should(Equal(fmt.Sprintf("2=2 %d", many)))

		By("nothing")
		since = time.Now()
		shared.kubectl("patch", "msb", "herd", "--type=merge", "-p", `{"spec":{"priority":7,"mandates":{"mutualTLS":"Permissive"}}}`)
		Eventually(synced).Should(Equal(fmt.Sprintf("3=3 %d", many)))
		Consistently(func() []string { return written(since) }, time.Second, 250*time.Millisecond).Should(BeEmpty())

		By("an event in one namespace, which concerns that one")
		since = time.Now()
		shared.kubectl("-n", "herd-07", "delete", "pa", "msp-mtls")
		Eventually(func() []string { return written(since) }).Should(Equal([]string{"create peerauthentications"}))
		Consistently(func() []string { return written(since) }, time.Second, 250*time.Millisecond).Should(HaveLen(1))
	})
})

var _ = Describe("Rights over baselines and exceptions", func() {
	It("are not a namespace admin's", func() {
		shared.namespace("tenant")
		shared.kubectl("-n", "tenant", "create", "rolebinding", "tenant", "--clusterrole=admin", "--user=tenant-admin")
		kubeconfig, err := shared.Kubeconfig("tenant-admin")
		Expect(err).NotTo(HaveOccurred())
		for _, doc := range []string{
			baseline("mine", floor),
			"{apiVersion: meshsecurity.io/v1alpha1, kind: MeshSecurityException, metadata: {name: mine}, spec: {namespaces: [tenant], checks: [MTLS-001], owner: me, reason: because I want it, expiresAt: \"2030-01-01T00:00:00Z\"}}",
		} {
			_, err := shared.as(kubeconfig, doc, "apply", "-f", "-")
			Expect(err).To(MatchError(ContainSubstring("forbidden")))
		}
		out, err := shared.as(kubeconfig, strict("tenant"), "apply", "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
	})
})
