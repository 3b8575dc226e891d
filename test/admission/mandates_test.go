package admission

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const mandating = `
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityBaseline
metadata: {name: mandating}
spec:
  namespaceSelector:
    matchLabels: {mandated: "yes"}
    matchExpressions:
    - {key: tier, operator: NotIn, values: [lab]}
    - {key: cost, operator: Exists}
    - {key: legacy, operator: DoesNotExist}
    - {key: ring, operator: In, values: [one, two]}
  excludeNamespaces: [warned-excluded]
  mandates:
    enforcementMode: Enforce
    mutualTLS: Strict
    authorization: Deny
    egress: Deny
    egressAssurance: Network
    egressHosts: ["*.example.com", api.stripe.com]
    accessLog: Denied
    driftPolicy: Correct
    maxOverrideDuration: 720h
`

var _ = Describe("A profile that declares less than a baseline mandates", Ordered, func() {
	BeforeAll(func() {
		shared.apply(mandating)
		for ns, labels := range map[string]string{
			"warned": "", "warned-excluded": "", "warned-lab": "tier=lab", "warned-legacy": "legacy=yes", "warned-ring": "ring=three", "warned-cost": "cost-", "warned-other": "mandated=no",
		} {
			shared.kubectl("create", "namespace", ns)
			shared.kubectl("label", "namespace", ns, "mandated=yes", "cost=high", "ring=one")
			if labels != "" {
				shared.kubectl("label", "namespace", ns, labels, "--overwrite")
			}
			DeferCleanup(func() { shared.kubectl("delete", "namespace", ns, "--wait=false") })
		}
		DeferCleanup(func() { shared.kubectl("delete", "msb", "mandating", "--timeout=20s") })
	})

	apply := func(namespace, spec string) string {
		GinkgoHelper()
		out, err := shared.as(teamLead, fmt.Sprintf("{apiVersion: meshsecurity.io/v1alpha1, kind: MeshSecurityProfile, metadata: {name: main, namespace: %s}, spec: {%s}}", namespace, spec),
			"apply", "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
		return out
	}
	const lax = "mutualTLS: {mode: Permissive}"

	It("is warned of, once the policy and the baseline are known", func() {
		// The API server takes a moment to learn of a policy's parameters.
		Eventually(func() string {
			defer shared.kubectl("-n", "warned", "delete", "msp", "main", "--ignore-not-found", "--timeout=20s")
			return apply("warned", lax)
		}).Should(ContainSubstring("MeshSecurityBaseline/mandating mandates mutualTLS Strict, and spec.mutualTLS.mode is Permissive: the former is in force, unless an exception from MTLS-001 lets less be"))
	})

	for spec, want := range map[string]string{
		"enforcementMode: DryRun":                         "enforcementMode Enforce, and spec.enforcementMode is DryRun",
		"authorization: {defaultAction: Allow}":           "authorization Deny, and spec.authorization.defaultAction is Allow",
		"egress: {defaultAction: Allow}":                  "egress Deny, and spec.egress.defaultAction is Allow",
		"egress: {defaultAction: Deny, assurance: Proxy}": "egressAssurance Network, and spec.egress.assurance is Proxy",
		"logging: {accessLog: None}":                      "accessLog Denied, and spec.logging.accessLog is None",
		"drift: {policy: Report}":                         "driftPolicy Correct, and spec.drift.policy is Report",
		`mutualTLS: {mode: Strict, portOverrides: [{name: endless, workloadSelector: {matchLabels: {app: a}}, port: 80, mode: Permissive, reason: x}]}`:                                                                                                                                                              "lets port overrides last 720h, and these have no expiresAt: endless",
		`egress: {defaultAction: Deny, rules: [{name: in, to: [{hosts: [a.example.com, api.stripe.com], ports: [{port: 443, protocol: TLS}]}]}, {name: out, to: [{hosts: [example.com], ports: [{port: 443, protocol: TLS}]}]}, {name: wide, to: [{hosts: ["*.other.com"], ports: [{port: 443, protocol: TLS}]}]}]}`: "these egress rules name others: out, wide; these hosts are refused",
	} {
		It("is warned of: "+strings.SplitN(want, ",", 2)[0]+" "+spec[:min(len(spec), 30)], func() {
			Expect(apply("warned", spec)).To(And(ContainSubstring("Warning"), ContainSubstring(want)))
		})
	}

	It("is not warned of where it declares as much, or leaves it out", func() {
		Expect(apply("warned", "enforcementMode: Enforce, mutualTLS: {mode: Strict}, authorization: {defaultAction: Deny}, egress: {defaultAction: Deny, assurance: Network}, logging: {accessLog: All}, drift: {policy: Correct}")).
			NotTo(ContainSubstring("Warning"))
		Expect(apply("warned", "preflight: Warn")).NotTo(ContainSubstring("Warning"))
	})

	It("is not warned of where the baseline does not select the namespace", func() {
		for _, ns := range []string{"warned-excluded", "warned-lab", "warned-legacy", "warned-ring", "warned-cost", "warned-other"} {
			Expect(apply(ns, lax)).NotTo(ContainSubstring("Warning"), ns)
		}
	})
})
