package integration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// strict is a profile with something of everything.
func strict(namespace string) string {
	return fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: %s}
spec:
  enforcementMode: Enforce
  mutualTLS: {mode: Strict}
  authorization:
    defaultAction: Deny
    rules:
    - name: callers
      workloadSelector: {matchLabels: {app: web}}
      from: [{entity: SameNamespace}]
      to: [{ports: [8080], methods: [GET], paths: ["/api/*"]}]
  egress:
    defaultAction: Deny
    assurance: Network
    rules:
    - name: database
      to: [{cidrs: [203.0.113.0/24], ports: [{port: 5432, protocol: TCP}]}]
  logging: {accessLog: Denied}
`, namespace)
}

// strictObjects are what strict compiles to.
var strictObjects = []string{
	"AuthorizationPolicy/msp-callers", "AuthorizationPolicy/msp-default-deny",
	"NetworkPolicy/msp-egress", "NetworkPolicy/msp-ingress",
	"PeerAuthentication/msp-mtls", "ServiceEntry/msp-egress-database", "Sidecar/msp-egress", "Telemetry/msp-access-log",
}

// objects lists what of ours is in a namespace, as KIND/NAME.
func (c *cluster) objects(ctx SpecContext, namespace string) (out []string) {
	GinkgoHelper()
	for _, k := range mesh.ManagedKinds() {
		list, ok := k.NewList().(client.ObjectList)
		Expect(ok).To(BeTrue())
		Expect(c.client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue})).To(Succeed())
		items, err := meta.ExtractList(list)
		Expect(err).NotTo(HaveOccurred())
		for _, i := range items {
			o, err := meta.Accessor(i)
			Expect(err).NotTo(HaveOccurred())
			out = append(out, k.GVK.Kind+"/"+o.GetName())
		}
	}
	return out
}

var _ = Describe("A profile", func() {
	It("is compiled, enforced and reported", func(ctx SpecContext) {
		shared.namespace("enforced")
		shared.apply(strict("enforced"))
		shared.ready(ctx, "enforced", "main")
		Expect(shared.objects(ctx, "enforced")).To(ConsistOf(strictObjects))

		p := shared.profile(ctx, "enforced", "main")
		Expect(conditionTypes(p.Status.Conditions)).To(Equal([]string{
			"Accepted", "ResolvedRefs", "Programmed", "InSync", "MutualTLSEnforced", "AuthorizationEnforced", "EgressEnforced", "Compliant", "Ready",
		}))
		for _, kind := range []string{"MutualTLSEnforced", "AuthorizationEnforced", "EgressEnforced"} {
			Expect(meta.IsStatusConditionTrue(p.Status.Conditions, kind)).To(BeTrue(), kind)
		}
		Expect(p.Status.Mesh).To(Equal(&v1alpha1.MeshStatus{Provider: "Istio", DataPlane: "Sidecar", Revision: "default", Version: "1.31.1"}))
		Expect(p.Status.Summary.Resources).To(Equal(v1alpha1.ResourceCounts{Desired: 8, InSync: 8}))
		Expect(p.Status.Rules).To(HaveLen(2))
		for _, r := range p.Status.Rules {
			Expect(r.Verdict).To(Equal(v1alpha1.VerdictEnforced), "%+v", r)
		}
	})

	It("costs one write an object, one finalizer and one status, and nothing once it is settled", func(ctx SpecContext) {
		shared.namespace("counted")
		// Wait until what the namespace itself brings about is over.
		Eventually(func() string { out, _ := shared.try("", "-n", "counted", "get", "pod,service"); return out }).Should(ContainSubstring("service/web"))
		began := time.Now()
		shared.apply(strict("counted"))
		shared.ready(ctx, "counted", "main")

		By("writing once")
		inNamespace := func() (out []string) {
			for _, w := range matching(shared.requests(ctx, began), writeVerbs...) {
				if strings.Contains(w, " counted ") {
					out = append(out, w)
				}
			}
			return out
		}
		Expect(inNamespace()).To(HaveLen(len(strictObjects)+2), strings.Join(inNamespace(), "\n"))
		Expect(inNamespace()).To(ContainElement("update meshsecurityprofiles status counted main"))

		By("staying quiet when somebody stirs what does not matter")
		settled := time.Now()
		shared.kubectl("-n", "counted", "annotate", "msp", "main", "team=web")
		shared.kubectl("-n", "counted", "label", "pod", "web", "canary=yes")
		shared.kubectl("-n", "counted", "annotate", "peerauthentication", "msp-mtls", "note=harmless")
		// Namespaces of other specs may be on their way out meanwhile.
		here := func(since time.Time) []controlplane.Request {
			return slices.DeleteFunc(shared.requests(ctx, since), func(r controlplane.Request) bool { return r.Namespace != "" && r.Namespace != "counted" })
		}
		Consistently(func() []string {
			return append(matching(here(settled), writeVerbs...), matching(here(settled), readVerbs...)...)
		}, 2*time.Second, 200*time.Millisecond).Should(BeEmpty()) // long enough for every event to have come through

		By("starting again without a write")
		Expect(main.Stop()).To(Succeed())
		restarted := time.Now()
		probes, err := operator.FreeAddress()
		Expect(err).NotTo(HaveOccurred())
		main = shared.start("main", "--health-probe-bind-address="+probes)
		shared.settle(ctx, probes)
		// What it has to do once it is ready, it does at once; a second is ample.
		Consistently(func() []string { return matching(here(restarted), writeVerbs...) }, time.Second, 200*time.Millisecond).Should(BeEmpty())
		var reads []string
		for _, r := range matching(shared.requests(ctx, restarted), readVerbs...) {
			// Lists that fill the caches, and discovery, are what a start costs.
			if !strings.HasPrefix(r, "list ") && !strings.HasPrefix(r, "get   ") {
				reads = append(reads, r)
			}
		}
		Expect(reads).To(BeEmpty())
	})

	It("names the field and the remedy where it can't be used, and disturbs nobody else", func(ctx SpecContext) {
		shared.namespace("mistyped")
		shared.apply(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: mistyped}
spec:
  authorization:
    defaultAction: Deny
    jwtProviders: [{name: corp, issuer: https://sso.example.com, jwks: '{"keys": []}'}]
    rules:
    - name: a
      from: [{entity: SameNamespace}]
`)
		Eventually(shared.condition(ctx, "mistyped", "main", v1alpha1.ConditionAccepted)).Should(Equal("False/Invalid"))
		p := shared.profile(ctx, "mistyped", "main")
		accepted := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAccepted)
		Expect(accepted.Message).To(And(
			ContainSubstring("spec.authorization.jwtProviders[0].jwks"), ContainSubstring("paste the issuer's key set")))
		Expect(meta.IsStatusConditionFalse(p.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
		Expect(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
		Expect(shared.objects(ctx, "mistyped")).To(BeEmpty())
	})

	It("keeps the last good posture while it names a peer that nobody declares", func(ctx SpecContext) {
		shared.namespace("peerless")
		shared.apply(strict("peerless"))
		shared.ready(ctx, "peerless", "main")
		shared.kubectl("-n", "peerless", "patch", "msp", "main", "--type=json", "-p",
			`[{"op":"replace","path":"/spec/authorization/rules/0/from","value":[{"peer":"ingress"}]}]`)
		Eventually(shared.condition(ctx, "peerless", "main", v1alpha1.ConditionResolvedRefs)).Should(Equal("False/PeerNotFound"))
		Expect(shared.condition(ctx, "peerless", "main", v1alpha1.ConditionReady)()).To(Equal("False/PeerNotFound"))
		Expect(shared.condition(ctx, "peerless", "main", v1alpha1.ConditionCompliant)()).To(Equal("Unknown/NotEvaluated"))
		Expect(shared.objects(ctx, "peerless")).To(ConsistOf(strictObjects))
	})

	It("sees what it names come and go", func(ctx SpecContext) {
		shared.namespace("naming")
		shared.apply(strings.Replace(strict("naming"), "entity: SameNamespace", "serviceAccount: {name: caller}", 1))
		Eventually(shared.condition(ctx, "naming", "main", v1alpha1.ConditionResolvedRefs)).Should(Equal("False/ServiceAccountNotFound"))
		shared.kubectl("-n", "naming", "create", "serviceaccount", "caller")
		shared.ready(ctx, "naming", "main")
		shared.kubectl("-n", "naming", "delete", "serviceaccount", "caller")
		Eventually(shared.condition(ctx, "naming", "main", v1alpha1.ConditionResolvedRefs)).Should(Equal("False/ServiceAccountNotFound"))
		Expect(shared.objects(ctx, "naming")).To(ConsistOf(strictObjects))
	})

	It("is in force alone, the oldest of its namespace", func(ctx SpecContext) {
		shared.namespace("twofold")
		shared.apply(strict("twofold"))
		shared.ready(ctx, "twofold", "main")
		shared.apply(strings.Replace(strings.Replace(strict("twofold"), "name: main", "name: other", 1), "mode: Strict", "mode: Permissive", 1))
		Eventually(shared.condition(ctx, "twofold", "other", v1alpha1.ConditionAccepted)).Should(Equal("False/Superseded"))
		Expect(meta.FindStatusCondition(shared.profile(ctx, "twofold", "other").Status.Conditions, "Accepted").Message).To(ContainSubstring("profile main"))
		pa := &securityv1.PeerAuthentication{}
		get := func() string {
			Expect(shared.client.Get(ctx, client.ObjectKey{Namespace: "twofold", Name: "msp-mtls"}, pa)).To(Succeed())
			return pa.Spec.GetMtls().GetMode().String()
		}
		Expect(get()).To(Equal("STRICT"))

		By("handing over when the first one goes")
		shared.kubectl("-n", "twofold", "delete", "msp", "main")
		shared.ready(ctx, "twofold", "other")
		Eventually(get).Should(Equal("PERMISSIVE"))
		Eventually(func() []string { return shared.objects(ctx, "twofold") }).Should(ConsistOf(strictObjects))
	})

	It("denies nothing in DryRun, everything declared in Enforce, and leaves nothing in Audit", func(ctx SpecContext) {
		shared.namespace("modes")
		shared.apply(strings.Replace(strict("modes"), "Enforce", "DryRun", 1))
		shared.ready(ctx, "modes", "main")
		Expect(shared.condition(ctx, "modes", "main", "MutualTLSEnforced")()).To(Equal("False/DryRun"))
		Expect(shared.kubectl("-n", "modes", "get", "peerauthentication", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")).To(Equal("PERMISSIVE"))
		Expect(shared.kubectl("-n", "modes", "get", "authorizationpolicy", "-o", `jsonpath={.items[*].metadata.annotations.istio\.io/dry-run}`)).To(Equal(strings.TrimSpace(strings.Repeat(" true", 2))))
		Expect(shared.objects(ctx, "modes")).NotTo(ContainElement(HavePrefix("NetworkPolicy")))
		Expect(shared.objects(ctx, "modes")).NotTo(ContainElement(HavePrefix("Sidecar")))

		shared.kubectl("-n", "modes", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Enforce"}}`)
		shared.ready(ctx, "modes", "main")
		Expect(shared.condition(ctx, "modes", "main", "MutualTLSEnforced")()).To(Equal("True/Enforced"))
		Expect(shared.objects(ctx, "modes")).To(ConsistOf(strictObjects))
		Expect(shared.profile(ctx, "modes", "main").Status.Drift).To(BeEmpty(), "a change of intent is not drift")

		shared.kubectl("-n", "modes", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Audit"}}`)
		shared.ready(ctx, "modes", "main")
		Expect(shared.condition(ctx, "modes", "main", "MutualTLSEnforced")()).To(Equal("False/Audit"))
		Expect(shared.objects(ctx, "modes")).To(BeEmpty())
	})

	It("drops a port override to the second when its time is over", func(ctx SpecContext) {
		shared.namespace("expiring")
		ends := metav1.NewTime(time.Now().Add(4 * time.Second).Truncate(time.Second))
		shared.apply(fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: expiring}
spec:
  mutualTLS:
    mode: Strict
    portOverrides:
    - {name: legacy, workloadSelector: {matchLabels: {app: web}}, port: 8080, mode: Permissive, reason: until it moves, expiresAt: %q}
`, ends.UTC().Format(time.RFC3339)))
		shared.ready(ctx, "expiring", "main")
		Expect(shared.objects(ctx, "expiring")).To(ConsistOf("PeerAuthentication/msp-mtls", "PeerAuthentication/msp-mtls-legacy"))
		Eventually(func() []string { return shared.objects(ctx, "expiring") }).Should(ConsistOf("PeerAuthentication/msp-mtls"))
		Expect(time.Now()).To(BeTemporally(">=", ends.Time))
		Eventually(func() []v1alpha1.Finding { return shared.profile(ctx, "expiring", "main").Status.Findings }).Should(ContainElement(HaveField("Check", "PROF-002")))
		p := shared.profile(ctx, "expiring", "main")
		Expect(p.Status.Rules[0].Message).To(ContainSubstring("expired at"))
		Expect(p.Status.Drift).To(BeEmpty())
	})
})
