package integration

import (
	"encoding/json"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	reportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

var _ = Describe("The audit of the cluster", Ordered, func() {
	const unsafe = `[{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "XDS_AUTH", "value": "false"}]}]`
	const safe = `[{"op": "remove", "path": "/spec/template/spec/containers/0/env"}]`
	report := func() (out reportsv1alpha1.ClusterReport, err error) {
		text, err := shared.try("", "get", "clusterreports.openreports.io", "msp-findings", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(text), &out)
		}
		return out, err
	}
	about := SatisfyAll(HaveField("Rule", "CTL-006"), HaveField("Result", BeEquivalentTo("fail")), HaveField("Subjects", ConsistOf(
		SatisfyAll(HaveField("Kind", "Deployment"), HaveField("Namespace", "istio-system"), HaveField("Name", "istiod")))))
	events := func() string {
		return shared.kubectl("-n", "istio-system", "get", "events", "--field-selector=involvedObject.kind=Namespace", "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
	}

	It("is told by a report, by Events, and by what baselines say", func(ctx SpecContext) {
		dir, err := controlplane.OpenReportsCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(dir, "openreports.io_clusterreports.yaml")
		shared.kubectl("apply", "-f", file)
		DeferCleanup(func() { shared.kubectl("delete", "-f", file, "--ignore-not-found", "--timeout=60s") })
		shared.withBaseline("whole", "  mandates: {mutualTLS: Strict}\n")
		Eventually(report).Should(SatisfyAll(HaveField("Summary.Pass", BeNumerically(">", 0)), HaveField("Results", Not(ContainElement(about)))))
		compliant := shared.clusterCondition("msb", "whole", v1alpha1.ConditionCompliant)
		Eventually(compliant).ShouldNot(HavePrefix("Unknown/NotEvaluated"))

		By("having istiod leave a guard off")
		shared.kubectl("-n", "istio-system", "patch", "deployment", "istiod", "--type=json", "-p", unsafe)
		DeferCleanup(func() {
			_, _ = shared.try("", "-n", "istio-system", "patch", "deployment", "istiod", "--type=json", "-p", safe)
		})
		Eventually(report).Should(HaveField("Results", ContainElement(about)))
		Eventually(compliant).Should(Equal("False/" + v1alpha1.ReasonFindingsOpen))
		Eventually(events).Should(ContainSubstring("FindingOpened: CTL-006 High: Deployment/istio-system/istiod: it is set to XDS_AUTH=false"))

		By("telling again what somebody took out")
		shared.kubectl("patch", "clusterreports.openreports.io", "msp-findings", "--type=merge", "-p", `{"results":[]}`)
		Eventually(report).Should(HaveField("Results", ContainElement(about)))

		By("accepting it for a time")
		shared.exception("istio-system", "lab", `checks: [CTL-006], expiresAt: "2099-01-01T00:00:00Z"`)
		Eventually(report).Should(HaveField("Results", ContainElement(SatisfyAll(HaveField("Rule", "CTL-006"), HaveField("Result", BeEquivalentTo("skip"))))))
		Eventually(shared.clusterCondition("mse", "lab", v1alpha1.ConditionActive)).Should(Equal("True/" + v1alpha1.ReasonActive))
		shared.kubectl("delete", "mse", "lab")
		Eventually(report).Should(HaveField("Results", ContainElement(about)))

		By("mending it")
		shared.kubectl("-n", "istio-system", "patch", "deployment", "istiod", "--type=json", "-p", safe)
		Eventually(report).Should(HaveField("Results", Not(ContainElement(HaveField("Rule", "CTL-006")))))
		Eventually(events).Should(ContainSubstring("FindingResolved: no longer so: CTL-006"))

		By("writing nothing while nothing changes")
		version := func() string {
			return shared.kubectl("get", "clusterreports.openreports.io", "msp-findings", "-o", "jsonpath={.metadata.resourceVersion}")
		}
		before := version()
		shared.kubectl("annotate", "msb", "whole", "example.com/reviewed=yes")
		Consistently(version, 2*time.Second).Should(Equal(before)) // four times as long as a look is put off
	})

	It("has an Event for what opens and closes in a namespace", func(ctx SpecContext) {
		shared.namespace("watched")
		shared.apply(strict("watched"))
		shared.ready(ctx, "watched", "main")
		told := func() string {
			return shared.kubectl("-n", "watched", "get", "events", "--field-selector=involvedObject.kind=MeshSecurityProfile", "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
		}
		shared.kubectl("-n", "watched", "run", "outsider", "--image=registry.example.com/outsider", "--labels=sidecar.istio.io/inject=false")
		Eventually(told).Should(ContainSubstring("FindingOpened: ENR-002 High: Pod/outsider"))
		shared.kubectl("-n", "watched", "delete", "pod", "outsider", "--now")
		Eventually(told).Should(ContainSubstring("FindingResolved: no longer so: ENR-002 High: Pod/outsider"))
	})
})
