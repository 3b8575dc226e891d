package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	reportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

// authority makes a root that ends after a time, and that is named as istiod
// names the one that it makes itself.
func authority(lasts time.Duration) string {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"cluster.local"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

var _ = Describe("The mesh's certificates", func() {
	// found lists the findings of the family in the cluster's report.
	found := func() ([]string, error) {
		var report reportsv1alpha1.ClusterReport
		text, err := shared.try("", "get", "clusterreports.openreports.io", "msp-findings", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(text), &report)
		}
		var out []string
		for _, r := range report.Results {
			if r.Policy == "CERT" {
				line := r.Rule + " " + string(r.Severity) + " " + string(r.Result)
				for _, s := range r.Subjects {
					line += " " + strings.TrimPrefix(s.Namespace+"/"+s.Name, "/")
				}
				out = append(out, line)
			}
		}
		return out, err
	}

	It("are held to what baselines declare, by what the API server tells without secrets", func(ctx SpecContext) {
		dir, err := controlplane.OpenReportsCRDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(dir, "openreports.io_clusterreports.yaml")
		shared.kubectl("apply", "-f", file)
		DeferCleanup(func() { shared.kubectl("delete", "-f", file, "--ignore-not-found", "--timeout=60s") })
		Eventually(found).Should(BeEmpty())

		By("a baseline that declares a short life")
		shared.apply(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityBaseline
metadata: {name: certificates}
spec:
  namespaceSelector: {matchLabels: {certificates: everywhere}}
  certificates: {maxWorkloadTTL: 24h, allowSelfSignedAuthority: false}
`)
		DeferCleanup(func() { shared.kubectl("delete", "msb", "certificates", "--ignore-not-found", "--timeout=60s") })
		Eventually(found).Should(ConsistOf("CERT-003 medium fail istio-system/istiod"))
		shared.kubectl("-n", "istio-system", "set", "env", "deployment/istiod", "MAX_WORKLOAD_CERT_TTL=24h")
		DeferCleanup(func() {
			shared.kubectl("-n", "istio-system", "set", "env", "deployment/istiod", "MAX_WORKLOAD_CERT_TTL-")
			shared.istiodRuns()
		})
		Eventually(found).Should(BeEmpty())

		By("the mesh's root being replaced by one of istiod's own that ends soon")
		text, err := shared.try("", "-n", "istio-system", "get", "configmap", "istio-ca-root-cert", "-o", "json")
		Expect(err).NotTo(HaveOccurred())
		var before struct{ Data map[string]string }
		Expect(json.Unmarshal([]byte(text), &before)).To(Succeed())
		hand := func(namespace, root string) {
			GinkgoHelper()
			raw, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]string{"namespace": namespace, "name": "istio-ca-root-cert"}, "data": map[string]string{"root-cert.pem": root}})
			Expect(err).NotTo(HaveOccurred())
			shared.apply(string(raw))
		}
		DeferCleanup(func() { hand("istio-system", before.Data["root-cert.pem"]) })
		hand("istio-system", authority(72*time.Hour))
		Eventually(found).Should(ConsistOf("CERT-001 high fail istio-system/istio-ca-root-cert", "CERT-002 critical fail istio-system/istio-ca-root-cert"))
		Eventually(shared.clusterCondition("msb", "certificates", "Compliant")).Should(Equal("False/FindingsOpen"))
		hand("istio-system", before.Data["root-cert.pem"])
		Eventually(found).Should(BeEmpty())

		By("a namespace's proxies being told to trust another root")
		shared.namespace("astray")
		hand("astray", before.Data["root-cert.pem"])
		Consistently(found, time.Second).Should(BeEmpty()) // as long as a look at the cluster takes by far
		hand("astray", authority(72*time.Hour))
		Eventually(found).Should(ConsistOf("CERT-007 low error istio-system"))
		shared.kubectl("-n", "astray", "delete", "configmap", "istio-ca-root-cert")
		Eventually(found).Should(BeEmpty())

		By("a workload asking for credentials that last")
		shared.apply(`
apiVersion: v1
kind: Pod
metadata: {name: hoarder, namespace: astray}
spec:
  containers:
  - {name: app, image: registry.example.com/hoarder}
  - {name: istio-proxy, image: "registry.example.com/istio/proxyv2:1.31.1", env: [{name: SECRET_TTL, value: 2160h}]}
  volumes:
  - {name: token, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 31536000}}]}}
`)
		Eventually(found).Should(ConsistOf("CERT-009 medium fail astray/hoarder")) // istiod would not give it that certificate
		shared.kubectl("-n", "istio-system", "set", "env", "deployment/istiod", "MAX_WORKLOAD_CERT_TTL=2160h")
		Eventually(found).Should(ConsistOf("CERT-003 medium fail istio-system/istiod", "CERT-003 high fail astray/hoarder", "CERT-009 medium fail astray/hoarder"))
	})
})
