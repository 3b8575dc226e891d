package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	reportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

// policyReports is the older kind of reports, with as much of its schema as is
// published for version v1alpha2 and written here.
const policyReports = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: policyreports.wgpolicyk8s.io, annotations: {api-approved.kubernetes.io: "unapproved, for tests"}}
spec:
  group: wgpolicyk8s.io
  names: {kind: PolicyReport, listKind: PolicyReportList, plural: policyreports, singular: policyreport, shortNames: [polr]}
  scope: Namespaced
  versions:
  - name: v1alpha2
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          scope: {type: object, x-kubernetes-preserve-unknown-fields: true}
          summary:
            type: object
            properties: {pass: {type: integer}, fail: {type: integer}, warn: {type: integer}, error: {type: integer}, skip: {type: integer}}
          results:
            type: array
            items:
              type: object
              required: [policy]
              properties:
                policy: {type: string}
                rule: {type: string}
                category: {type: string}
                source: {type: string}
                message: {type: string}
                scored: {type: boolean}
                severity: {type: string, enum: [critical, high, low, medium, info]}
                result: {type: string, enum: [pass, fail, warn, error, skip]}
                resources: {type: array, items: {type: object, x-kubernetes-preserve-unknown-fields: true}}
                properties: {type: object, additionalProperties: {type: string}}
`

// outsider is a workload that has no proxy.
const outsider = `
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: %s, labels: {app: outsider}}
spec: {containers: [{name: app, image: registry.example.com/outsider}]}
`

var _ = Describe("Reports", Ordered, func() {
	report := func(namespace string) func() (reportsv1alpha1.Report, error) {
		return func() (out reportsv1alpha1.Report, err error) {
			text, err := shared.try("", "-n", namespace, "get", "reports.openreports.io", "msp-findings", "-o", "json")
			if err == nil {
				err = json.Unmarshal([]byte(text), &out)
			}
			return out, err
		}
	}

	It("follow the findings of a namespace, and go with its profile", func(ctx SpecContext) {
		dir, err := controlplane.OpenReportsCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(dir, "openreports.io_reports.yaml")
		shared.kubectl("apply", "-f", file)
		DeferCleanup(func() { shared.kubectl("delete", "-f", file, "--ignore-not-found", "--timeout=60s") })
		shared.namespace("reported")
		shared.apply(strict("reported"))
		shared.ready(ctx, "reported", "main")

		By("finding nothing")
		Eventually(report("reported")).Should(SatisfyAll(
			HaveField("Results", Not(ContainElement(HaveField("Policy", "ENR")))), HaveField("Summary.Pass", BeNumerically(">", 10)), HaveField("Source", "mesh-security-operator")))

		By("finding a workload outside of the mesh")
		shared.apply(strings.ReplaceAll(outsider, "%s", "reported"))
		Eventually(report("reported")).Should(SatisfyAll(HaveField("Summary.Fail", BeNumerically(">", 0)), HaveField("Results", ContainElement(SatisfyAll(
			HaveField("Policy", "ENR"), HaveField("Rule", "ENR-001"), HaveField("Result", BeEquivalentTo("fail")), HaveField("Severity", BeEquivalentTo("high")),
			HaveField("Subjects", ConsistOf(SatisfyAll(HaveField("Kind", "Pod"), HaveField("Name", "outsider"), HaveField("Namespace", "reported")))),
			HaveField("Properties", HaveKeyWithValue("remediation", Not(BeEmpty()))))))))

		By("writing nothing while nothing changes")
		version := func() (string, error) {
			return shared.try("", "-n", "reported", "get", "reports.openreports.io", "msp-findings", "-o", "jsonpath={.metadata.resourceVersion}")
		}
		before, err := version()
		Expect(err).NotTo(HaveOccurred())
		shared.kubectl("-n", "reported", "annotate", "msp", "main", "example.com/reviewed=yes")
		shared.kubectl("-n", "reported", "label", "pod", "outsider", "revision=2")
		Consistently(version, time.Second).Should(Equal(before)) // as long as a look at a namespace takes by far

		By("telling again what somebody took out")
		shared.kubectl("-n", "reported", "patch", "reports.openreports.io", "msp-findings", "--type=merge", "-p", `{"results":[],"summary":{"fail":0}}`)
		Eventually(report("reported")).Should(HaveField("Results", ContainElement(HaveField("Rule", "ENR-001"))))
		shared.kubectl("-n", "reported", "delete", "reports.openreports.io", "msp-findings")
		Eventually(report("reported")).Should(HaveField("Results", ContainElement(HaveField("Rule", "ENR-001"))))

		By("going with the profile")
		shared.kubectl("-n", "reported", "delete", "msp", "main", "--timeout=20s")
		Eventually(func() string {
			out, _ := shared.try("", "-n", "reported", "get", "reports.openreports.io", "-o", "name")
			return out
		}, 30*time.Second).Should(BeEmpty()) // the garbage collector's time
	})

	It("are of the older kind where no other is served", func(ctx SpecContext) {
		shared.apply(policyReports)
		DeferCleanup(func() {
			shared.kubectl("delete", "crd", "policyreports.wgpolicyk8s.io", "--ignore-not-found", "--timeout=60s")
		})
		shared.namespace("reported-before")
		shared.apply(strict("reported-before"))
		shared.apply(strings.ReplaceAll(outsider, "%s", "reported-before"))
		shared.ready(ctx, "reported-before", "main")
		Eventually(func() (string, error) {
			return shared.try("", "-n", "reported-before", "get", "polr", "msp-findings", "-o", `jsonpath={.results[?(@.rule=="ENR-001")].result} {.results[?(@.rule=="ENR-001")].resources[0].name}`)
		}).Should(Equal("fail outsider"))
	})
})
