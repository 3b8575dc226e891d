package integration

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// settle waits until the operator that serves probes at an address is ready.
func (c *cluster) settle(ctx context.Context, probes string) {
	GinkgoHelper()
	Eventually(func() (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probes+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}).Should(Equal(http.StatusOK))
}

var _ = Describe("The mesh's kinds", func() {
	It("may be missing, come and go, without a restart", func(ctx SpecContext) {
		c := newCluster(ctx, false)
		DeferCleanup(c.Stop)
		op := c.start("early")
		DeferCleanup(func() { _ = op.Stop() })
		DeferCleanup(func() { GinkgoWriter.Println(op.Log()) })

		c.namespace("early")
		c.apply(strict("early"))
		Eventually(c.condition(ctx, "early", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/MeshCRDsMissing"))
		Expect(c.condition(ctx, "early", "main", "MutualTLSEnforced")()).To(Equal("False/NotProgrammed"))
		Expect(c.kubectl("-n", "early", "get", "netpol", "-o", "name")).To(ContainSubstring("msp-egress"))
		for _, r := range c.profile(ctx, "early", "main").Status.Rules {
			Expect(r.Verdict).NotTo(Equal(v1alpha1.VerdictEnforced))
		}

		By("being installed")
		istio, err := controlplane.IstioCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		c.kubectl("apply", "--server-side", "-f", istio)
		installed := time.Now()
		c.ready(ctx, "early", "main")
		AddReportEntry("picked up after", time.Since(installed).String())
		Expect(c.objects(ctx, "early")).To(ConsistOf(strictObjects))

		By("being removed")
		c.kubectl("delete", "crd", "peerauthentications.security.istio.io")
		Eventually(c.condition(ctx, "early", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/MeshCRDsMissing"))

		By("coming back")
		c.kubectl("apply", "--server-side", "-f", istio)
		c.ready(ctx, "early", "main")
		Expect(c.objects(ctx, "early")).To(ConsistOf(strictObjects))

		By("holding back no profile that is deleted while they are missing")
		c.kubectl("delete", "crd", "peerauthentications.security.istio.io")
		Eventually(c.condition(ctx, "early", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/MeshCRDsMissing"))
		c.kubectl("-n", "early", "delete", "msp", "main", "--timeout=20s")
		Expect(op.Log()).NotTo(ContainSubstring("panic"))
	})
})

var _ = Describe("The operator's own rights", func() {
	It("do not reach beyond its work", func() {
		for _, denied := range []string{
			"get secrets", "list secrets", "create pods", "create pods/exec", "update namespaces", "impersonate users",
			"escalate clusterroles", "create clusterrolebindings", "update meshsecurityprofiles.meshsecurity.io", "delete meshsecuritybaselines.meshsecurity.io",
			"create serviceaccounts/token", "update envoyfilters.networking.istio.io", "list configmaps", "update configmaps/istio-ca-root-cert",
		} {
			out, err := shared.as(shared.operator, "", append([]string{"auth", "can-i", "-n", "default"}, strings.Fields(denied)...)...)
			Expect(err).To(HaveOccurred(), denied)
			Expect(out).To(ContainSubstring("no"), denied)
		}
	})
})

var _ = Describe("Metrics", func() {
	It("are for those whom the cluster authorizes", func(ctx SpecContext) {
		op := shared.start("metrics", "--metrics-bind-address=127.0.0.1:18443", "--leader-elect", "--leader-election-namespace="+operator.Namespace)
		DeferCleanup(func() { Expect(op.Stop()).To(Succeed()) })
		get := func(token string) (int, string) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:18443/metrics", nil)
			Expect(err).NotTo(HaveOccurred())
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a certificate made at start
			resp, err := insecure.Do(req)
			if err != nil {
				return 0, err.Error()
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			Expect(err).NotTo(HaveOccurred())
			return resp.StatusCode, string(body)
		}
		Eventually(func() int { code, _ := get(""); return code }).Should(Equal(http.StatusUnauthorized))
		shared.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: mesh-security-operator-metrics-reader}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: default}]
`)
		token := func(sa string) string {
			config, err := shared.ServiceAccountConfig(ctx, "default", sa)
			Expect(err).NotTo(HaveOccurred())
			return config.BearerToken
		}
		code, _ := get(token("nobody"))
		Expect(code).To(Equal(http.StatusForbidden))
		code, body := get(token("prometheus"))
		Expect(code).To(Equal(http.StatusOK), body)
		Expect(body).To(ContainSubstring("controller_runtime_reconcile_total"))
	})
})

var _ = Describe("A user", func() {
	It("gets with the shipped roles what the roles' names say", func() {
		shared.namespace("tenants")
		shared.apply(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev, namespace: tenants}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: User, name: dev, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: guest, namespace: tenants}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: guest, apiGroup: rbac.authorization.k8s.io}]
`)
		dev, err := shared.Kubeconfig("dev")
		Expect(err).NotTo(HaveOccurred())
		guest, err := shared.Kubeconfig("guest")
		Expect(err).NotTo(HaveOccurred())
		can := func(kubeconfig string, words ...string) bool {
			_, err := shared.as(kubeconfig, "", append([]string{"auth", "can-i", "-n", "tenants"}, words...)...)
			return err == nil
		}
		// Aggregation into view and edit is the controller manager's work.
		Eventually(func() bool { return can(dev, "create", "msp") }).Should(BeTrue())
		Eventually(func() bool { return can(guest, "get", "msp") }).Should(BeTrue())
		Expect(can(guest, "create", "msp")).To(BeFalse())
		Expect(can(dev, "update", "msp", "--subresource=status")).To(BeFalse())
		Expect(can(dev, "create", "mse")).To(BeFalse())
		Expect(can(dev, "create", "msb")).To(BeFalse())
	})
})
