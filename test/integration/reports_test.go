package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	reportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// careless is a pod of which much is found, and nothing of which the same is
// found of another.
func careless(namespace string, i int) *corev1.Pod {
	name, proxy := fmt.Sprintf("careless-%d", i), int64(1337)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name, "security.istio.io/tlsMode": name}, Annotations: map[string]string{
			"sidecar.istio.io/inject": "false", "traffic.sidecar.istio.io/excludeInboundPorts": fmt.Sprint(8000 + i), "traffic.sidecar.istio.io/excludeOutboundPorts": "443",
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: name, Image: "registry.example.com/careless", SecurityContext: &corev1.SecurityContext{RunAsUser: &proxy, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}}},
			{Name: "istio-proxy", Image: fmt.Sprintf("registry.example.com/istio/proxyv2:1.11.%d", i)},
		}},
	}
}

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

	// etcd takes no request above 1.5 MiB.
	It("fit into an object whatever is found, and say what does not", func(ctx SpecContext) {
		dir, err := controlplane.OpenReportsCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(dir, "openreports.io_reports.yaml")
		shared.kubectl("apply", "-f", file)
		DeferCleanup(func() { shared.kubectl("delete", "-f", file, "--ignore-not-found", "--timeout=60s") })
		shared.namespace("crowd")
		shared.apply(strict("crowd"))
		shared.ready(ctx, "crowd", "main")
		const pods = 1000
		const creators = 8
		errs := make(chan error)
		for first := range creators {
			go func() {
				var failed error
				for i := first; i < pods && failed == nil; i += creators {
					failed = shared.client.Create(ctx, careless("crowd", i))
				}
				errs <- failed
			}()
		}
		for range creators {
			Expect(<-errs).To(Succeed())
		}

		var told reportsv1alpha1.Report
		Eventually(func(g Gomega) { // looks at a thousand pods, on a machine that does much else
			var err error
			told, err = report("crowd")()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(told.Summary.Fail).To(BeNumerically(">=", 4*pods))
		}).WithTimeout(2 * time.Minute).Should(Succeed())
		text, err := shared.try("", "get", "--raw", "/apis/openreports.io/v1alpha1/namespaces/crowd/reports/msp-findings")
		Expect(err).NotTo(HaveOccurred())
		Expect(len(text)).To(And(BeNumerically("<", 1<<20), BeNumerically(">", 512<<10)))
		told = reportsv1alpha1.Report{}
		Expect(json.Unmarshal([]byte(text), &told)).To(Succeed())
		last := told.Results[len(told.Results)-1]
		var left int
		_, err = fmt.Sscanf(last.Description, "%d more findings", &left)
		Expect(err).NotTo(HaveOccurred())
		s := told.Summary
		Expect(s.Warn).To(Equal(1))
		Expect(left).To(And(BeNumerically(">", 0), Equal(s.Fail+s.Error+s.Skip-(len(told.Results)-1))))
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
