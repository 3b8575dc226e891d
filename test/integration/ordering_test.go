package integration

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// refusal has the API server refuse one policy in a namespace.
const refusal = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refuse-metrics}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: cut-short}}
    resourceRules:
    - {apiGroups: [security.istio.io], apiVersions: ["*"], resources: [authorizationpolicies], operations: [CREATE]}
  validations:
  - {expression: "object.metadata.name != 'msp-metrics'", message: "not now"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refuse-metrics}
spec: {policyName: refuse-metrics, validationActions: [Deny]}
`

var _ = Describe("A plan that is cut short", func() {
	It("locks nobody out meanwhile, and is finished by another operator", func(ctx SpecContext) {
		const cover = "AuthorizationPolicy/msp-transition.allow"
		twoRules := strings.Replace(strict("cut-short"), "  egress:\n", `    - name: metrics
      from: [{namespace: cut-short}]
      to: [{ports: [8080], methods: [GET], paths: ["/metrics"]}]
  egress:
`, 1)
		shared.namespace("cut-short")
		shared.apply(refusal)
		DeferCleanup(func() { _, _ = shared.try(refusal, "delete", "--ignore-not-found", "-f", "-") })
		attempt := func() error { // the API server's own cache sees policies a moment later
			_, err := shared.try(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: msp-metrics, namespace: cut-short}
`, "create", "--dry-run=server", "-f", "-")
			return err
		}
		Eventually(attempt).Should(MatchError(ContainSubstring("not now")))

		By("a rule that is refused: whoever was let in still is, and nothing claims otherwise")
		shared.apply(twoRules)
		Eventually(shared.condition(ctx, "cut-short", "main", v1alpha1.ConditionProgrammed)).Should(HavePrefix("False/"))
		Expect(shared.objects(ctx, "cut-short")).To(And(ContainElement(cover), ContainElement("AuthorizationPolicy/msp-callers")))
		Expect(shared.objects(ctx, "cut-short")).NotTo(ContainElement("AuthorizationPolicy/msp-default-deny"))
		Expect(shared.condition(ctx, "cut-short", "main", v1alpha1.ConditionAuthorizationEnforced)()).To(HavePrefix("False/"))

		By("another operator after one that was killed, which keeps what is there for it")
		Expect(main.Kill()).To(Succeed())
		since := time.Now()
		main = shared.start("another")
		Eventually(func() []string { return shared.wrote(ctx, "cut-short", since) }).Should(ContainElement("create msp-metrics"))
		Expect(shared.wrote(ctx, "cut-short", since)).To(HaveEach("create msp-metrics"))
		Expect(shared.objects(ctx, "cut-short")).To(ContainElement(cover))

		By("the rule that is let through")
		_, err := shared.try(refusal, "delete", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		Eventually(attempt).Should(Succeed())
		Expect(main.Stop()).To(Succeed())
		since = time.Now()
		main = shared.start("finishing")
		shared.ready(ctx, "cut-short", "main")
		Eventually(func() []string { return shared.wrote(ctx, "cut-short", since) }).Should(HaveExactElements(
			"create msp-metrics", "create msp-default-deny", "delete msp-transition.allow"))
		Expect(shared.objects(ctx, "cut-short")).To(ConsistOf(append([]string{"AuthorizationPolicy/msp-metrics"}, strictObjects...)))
		Expect(shared.profile(ctx, "cut-short", "main").Status.Drift).To(BeEmpty())

		By("its removal, by which nobody is locked out either")
		since = time.Now()
		shared.kubectl("-n", "cut-short", "delete", "msp", "main", "--timeout=20s")
		Expect(shared.objects(ctx, "cut-short")).To(BeEmpty())
		Expect(shared.wrote(ctx, "cut-short", since)).To(ContainElements(
			"create msp-transition.allow", "delete msp-default-deny", "delete msp-callers", "delete msp-metrics", "delete msp-transition.allow"))
	})
})
