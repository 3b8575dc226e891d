package integration

import (
	"errors"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// cautious is a profile that waits where something would be locked out.
func cautious(namespace, overrides, rules string) string {
	return fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: %s}
spec:
  preflight: Block
  mutualTLS: {mode: Strict%s}
  authorization:
    defaultAction: Deny
    rules:
    - name: callers
      from: [{entity: SameNamespace}]
      to: [{ports: [8080], methods: [GET], paths: ["/api/*"]}]
%s
`, namespace, overrides, rules)
}

const (
	override = `, portOverrides: [{name: hook, workloadSelector: {matchLabels: {app: web}}, port: 8080, mode: Permissive, reason: called by the API server}]`
	allowed  = `
    - name: hook
      workloadSelector: {matchLabels: {app: web}}
      from: [{entity: Anyone}]
      to: [{ports: [8080]}]`
)

// webhook calls the service web of a namespace for a kind that nobody makes.
func webhook(namespace string) string {
	return fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard-%[1]s}
webhooks:
- name: guard.example.com
  clientConfig: {service: {namespace: %[1]s, name: web, port: 80}}
  rules: [{apiGroups: [nobody.example.com], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
`, namespace)
}

const serviceMonitors = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// enforced is what of ours denies in a namespace: the mode of mutual TLS, and
// whether default-deny is only evaluated.
func (c *cluster) enforced(namespace string) func() string {
	return func() string {
		mode, _ := c.try("", "-n", namespace, "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		dry, _ := c.try("", "-n", namespace, "get", "ap", "-o", `jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.istio\.io/dry-run} {end}`)
		return mode + " " + strings.TrimSpace(dry)
	}
}

// findings are the checks and subjects of what the preflight finds; what is in
// force is audited besides.
func (c *cluster) findings(ctx SpecContext, namespace string) func() []string {
	return func() (out []string) {
		for _, f := range c.profile(ctx, namespace, "main").Status.Findings {
			if strings.HasPrefix(f.Check, "LOCK-") {
				out = append(out, f.Check+" "+f.Subject)
			}
		}
		return out
	}
}

var _ = Describe("The preflight", func() {
	It("holds denying back while a webhook would be locked out, and never takes it back", func(ctx SpecContext) {
		shared.namespace("cautious")
		shared.apply(webhook("cautious"))
		DeferCleanup(shared.kubectl, "delete", "validatingwebhookconfiguration", "guard-cautious", "--ignore-not-found")
		shared.apply(cautious("cautious", "", ""))
		programmed := shared.condition(ctx, "cautious", "main", v1alpha1.ConditionProgrammed)
		Eventually(programmed).Should(Equal("False/PreflightBlocked"))
		Expect(shared.condition(ctx, "cautious", "main", v1alpha1.ConditionStalled)()).To(Equal("True/PreflightBlocked"))
		Expect(shared.condition(ctx, "cautious", "main", v1alpha1.ConditionAuthorizationEnforced)()).To(Equal("False/NotProgrammed"))
		Expect(shared.findings(ctx, "cautious")()).To(ConsistOf("LOCK-003 ValidatingWebhookConfiguration/guard-cautious"))
		Expect(shared.enforced("cautious")()).To(Equal("PERMISSIVE msp-callers=true msp-default-deny=true"))
		Expect(shared.profile(ctx, "cautious", "main").Status.Rules[0].Verdict).To(Equal(v1alpha1.VerdictPending))

		By("a rule and an override that let it in")
		shared.apply(cautious("cautious", override, allowed))
		shared.ready(ctx, "cautious", "main")
		Expect(shared.enforced("cautious")()).To(Equal("STRICT msp-callers= msp-default-deny= msp-hook="))
		Expect(shared.findings(ctx, "cautious")()).To(BeEmpty())
		Expect(shared.profile(ctx, "cautious", "main").Status.Drift).To(BeEmpty(), "what was held back is not drift")

		By("the rule going again: what is enforced stays so, and so it does when somebody deletes it")
		shared.apply(cautious("cautious", "", ""))
		Eventually(shared.findings(ctx, "cautious")).Should(ContainElement(ContainSubstring("LOCK-003")))
		shared.ready(ctx, "cautious", "main")
		shared.kubectl("-n", "cautious", "delete", "ap", "msp-default-deny")
		shared.kubectl("-n", "cautious", "delete", "pa", "msp-mtls")
		Eventually(shared.enforced("cautious")).Should(Equal("STRICT msp-callers= msp-default-deny="))
	})

	It("goes on by itself when what would be locked out is gone, or nobody minds", func(ctx SpecContext) {
		for _, namespace := range []string{"relieved", "careless"} {
			shared.namespace(namespace)
			shared.apply(webhook(namespace))
			DeferCleanup(shared.kubectl, "delete", "validatingwebhookconfiguration", "guard-"+namespace, "--ignore-not-found")
			shared.apply(cautious(namespace, "", ""))
			Eventually(shared.condition(ctx, namespace, "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/PreflightBlocked"))
		}
		shared.kubectl("delete", "validatingwebhookconfiguration", "guard-relieved")
		shared.ready(ctx, "relieved", "main")
		Expect(shared.enforced("relieved")()).To(Equal("STRICT msp-callers= msp-default-deny="))

		shared.kubectl("-n", "careless", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"preflight":"Warn"}}`)
		shared.ready(ctx, "careless", "main")
		Expect(shared.enforced("careless")()).To(Equal("STRICT msp-callers= msp-default-deny="))
		Expect(shared.findings(ctx, "careless")()).To(ConsistOf(ContainSubstring("LOCK-003")))
		Expect(shared.profile(ctx, "careless", "main").Status.Attention).To(ContainElement(HavePrefix("LOCK-003 ValidatingWebhookConfiguration/guard-careless: the API server calls port 8080 of Pod/web")))
	})

	It("asks the API server for nothing once it is settled", func(ctx SpecContext) {
		shared.namespace("quiet")
		shared.apply(webhook("quiet"))
		DeferCleanup(shared.kubectl, "delete", "validatingwebhookconfiguration", "guard-quiet", "--ignore-not-found")
		shared.apply(cautious("quiet", "", ""))
		Eventually(shared.condition(ctx, "quiet", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/PreflightBlocked"))
		settled := time.Now()
		shared.kubectl("annotate", "validatingwebhookconfiguration", "guard-quiet", "note=harmless")
		shared.kubectl("-n", "quiet", "create", "rolebinding", "view", "--clusterrole=view", "--user=jane")
		Consistently(func() (out []string) {
			for _, r := range append(matching(shared.requests(ctx, settled), writeVerbs...), matching(shared.requests(ctx, settled), readVerbs...)...) {
				if strings.Contains(r, "quiet") || strings.HasPrefix(r, "list") || strings.HasPrefix(r, "get") {
					out = append(out, r)
				}
			}
			return out
		}, 2*time.Second, 200*time.Millisecond).Should(BeEmpty()) // long enough for every event to have come through
	})
})

// The kinds that tell who depends on a namespace may be forbidden, and come and
// go: on a control plane of its own, whose garbage collector follows them.
var _ = Describe("What the preflight reads", Ordered, func() {
	var c *cluster
	var op *operator.Process
	BeforeAll(func(ctx SpecContext) {
		c = newCluster(ctx, true)
		DeferCleanup(func() error { return errors.Join(op.Stop(), c.Stop()) })
	})
	AfterEach(func() {
		if CurrentSpecReport().Failed() {
			GinkgoWriter.Println(op.Log())
		}
	})

	It("says unknown, and waits, where it may not read", func(ctx SpecContext) {
		role := c.kubectl("get", "clusterrole", "mesh-security-operator", "-o", "jsonpath={range .rules[*]}{.resources}{\"\\n\"}{end}")
		for i, resources := range strings.Split(strings.TrimSpace(role), "\n") {
			if strings.Contains(resources, "apiservices") {
				c.kubectl("patch", "clusterrole", "mesh-security-operator", "--type=json", "-p", fmt.Sprintf(`[{"op":"remove","path":"/rules/%d"}]`, i))
			}
		}
		op = c.start("unread")
		c.namespace("unread")
		c.apply(cautious("unread", "", ""))
		// The operator waits a while for what it may not read.
		Eventually(c.condition(ctx, "unread", "main", v1alpha1.ConditionProgrammed), 30*time.Second).Should(Equal("False/PreflightBlocked"))
		Expect(c.findings(ctx, "unread")()).To(ConsistOf("LOCK-003 APIService.apiregistration.k8s.io/*"))

		By("the right being given")
		c.kubectl("apply", "--server-side", "--force-conflicts", "-k", root+"/config/default")
		Eventually(c.condition(ctx, "unread", "main", v1alpha1.ConditionProgrammed), time.Minute).Should(Equal("True/Programmed")) // the watch backs off meanwhile
	})

	It("picks up a kind that comes later, and what of it concerns a namespace", func(ctx SpecContext) {
		c.namespace("scraped")
		c.apply(cautious("scraped", "", ""))
		c.ready(ctx, "scraped", "main")
		c.apply(serviceMonitors)
		monitor := func(name, where string) string {
			return fmt.Sprintf(`
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: %s, namespace: default}
spec: {namespaceSelector: %s, selector: {}, endpoints: [{port: http}]}
`, name, where)
		}
		Eventually(func() error {
			_, err := c.try(monitor("all", "{any: true}")+"---"+monitor("elsewhere", "{matchNames: [kube-system]}"), "apply", "--server-side", "-f", "-")
			return err
		}).Should(Succeed()) // discovery takes a moment
		Eventually(c.findings(ctx, "scraped")).Should(ConsistOf("LOCK-001 ServiceMonitor/default/all"))

		By("moving away, and its kind going")
		c.apply(monitor("all", "{matchNames: [kube-system]}"))
		Eventually(c.findings(ctx, "scraped")).Should(BeEmpty())
		c.apply(monitor("all", "{matchNames: [scraped]}"))
		Eventually(c.findings(ctx, "scraped")).Should(HaveLen(1))
		c.kubectl("delete", "crd", "servicemonitors.monitoring.coreos.com")
		Eventually(c.findings(ctx, "scraped")).Should(BeEmpty())
	})
})
