package admission

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// elsewhere is an installation in another namespace under another name.
const elsewhere = `
namespace: acme-mesh
namePrefix: acme-
resources: [CONFIG/crd, CONFIG/rbac, CONFIG/admission]
transformers: [CONFIG/admission/account]
`

// overlay writes a kustomization next to config.
func overlay(kustomization string) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	config, err := filepath.Rel(resolved(dir), filepath.Join(root, "config"))
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(strings.ReplaceAll(kustomization, "CONFIG", config)), 0o600)).To(Succeed())
	return dir
}

func resolved(dir string) string {
	GinkgoHelper()
	out, err := filepath.EvalSymlinks(dir)
	Expect(err).NotTo(HaveOccurred())
	return out
}

var _ = Describe("An installation", Ordered, func() {
	var c *cluster
	const spec = "  mutualTLS: {mode: Strict}\n  drift: {policy: Correct, guard: Posture}\n"
	loosen := func(user string) error {
		_, err := c.as(user, "", append([]string{"-n", "shop"}, patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`)...)...)
		return err
	}
	drifts := func(ctx SpecContext) func() int {
		return func() int { return len(c.profile(ctx, "shop").Status.Drift) }
	}
	inSync := func(ctx SpecContext) { // the operator needs its moment
		GinkgoHelper()
		Eventually(func() string {
			return c.kubectl("-n", "shop", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}).Should(Equal("STRICT"))
		Eventually(c.condition(ctx, "shop", "main", v1alpha1.ConditionInSync)).Should(Equal("True/InSync"))
	}

	BeforeAll(func(ctx SpecContext) {
		c = newCluster(ctx)
		c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: acme-mesh}}")
		// What config/istio grants, to the account of another name.
		c.kubectl("apply", "-k", filepath.Join(root, "config/istio"))
		c.kubectl("-n", "istio-system", "create", "rolebinding", "acme", "--role=mesh-security-operator-mesh-reader", "--serviceaccount=acme-mesh:acme-mesh-security-operator")
		c.install(ctx, overlay(elsewhere), "acme-mesh", "acme-mesh-security-operator")
		c.start()
		DeferCleanup(c.stop)
		c.guarded(ctx, "shop", spec)
	})

	It("under another name, in another namespace, guards for the account that it has there", func(ctx SpecContext) {
		Expect(loosen(admin)).To(MatchError(ContainSubstring("is managed by MeshSecurityProfile shop/main (drift.guard: Posture)")))
		Expect(c.attention(ctx, "shop")()).NotTo(ContainSubstring("drift.guard"))
	})

	It("has policies in which the API server finds nothing to warn of", func(ctx SpecContext) {
		Eventually(func(g Gomega) { // a controller checks them
			var list admissionv1.ValidatingAdmissionPolicyList
			g.Expect(c.admin.List(ctx, &list)).To(Succeed())
			g.Expect(list.Items).To(HaveLen(3))
			for _, p := range list.Items {
				g.Expect(p.Status.ObservedGeneration).To(Equal(p.Generation))
				g.Expect(p.Status.TypeChecking).To(Equal(&admissionv1.TypeChecking{}), p.Name)
			}
		}).Should(Succeed())
	})

	It("whose guard names another account says that the operator is refused", func(ctx SpecContext) {
		c.kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay("namePrefix: acme-\nresources: [CONFIG/admission]\n"))
		probe := func() error {
			return c.client("operator").Create(ctx, object(strings.Replace(networkPolicy("{podSelector: {}}"), "theirs", "msp-probe", 1), "shop"), client.DryRunAll)
		}
		Eventually(probe).Should(beRefused("msp-probe")) // the API server takes a second to see a changed policy
		c.kubectl("-n", "shop", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"mutualTLS":{"mode":"Permissive"}}}`)
		Eventually(c.condition(ctx, "shop", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/Rejected"))
		Expect(c.kubectl("-n", "shop", "get", "msp", "main", "-o", `jsonpath={.status.conditions[?(@.type=="Programmed")].message}`)).
			To(And(ContainSubstring("PeerAuthentication/msp-mtls: "), ContainSubstring("is managed by MeshSecurityProfile shop/main")))

		c.kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay(elsewhere))
		Eventually(probe).Should(Succeed())
		c.kubectl("-n", "shop", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"mutualTLS":{"mode":"Strict"}}}`)
		Eventually(c.condition(ctx, "shop", "main", v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		inSync(ctx)
	})

	It("without the guard says so, and corrects what it does not prevent", func(ctx SpecContext) {
		c.kubectl("delete", "validatingadmissionpolicybindings", "-l", v1alpha1.LabelGuard)
		Eventually(c.attention(ctx, "shop")).Should(ContainSubstring("drift.guard is Posture, and the admission policies that it needs are not installed"))
		before := drifts(ctx)()
		Eventually(func() error { return loosen(teamLead) }).Should(Succeed()) // the API server takes a second to forget a policy
		Eventually(drifts(ctx)).Should(BeNumerically(">", before))
		inSync(ctx)
		Expect(c.condition(ctx, "shop", "main", v1alpha1.ConditionReady)()).To(Equal("True/Ready"))
	})

	It("that gets the guard at run time says so no more", func(ctx SpecContext) {
		c.kubectl("apply", "--server-side", "-k", overlay(elsewhere))
		Eventually(c.attention(ctx, "shop")).ShouldNot(ContainSubstring("drift.guard"))
		c.inForce(ctx, "shop")
	})

	It("whose operator may read neither the bindings nor the mesh's namespace says that it can't tell, and works", func(ctx SpecContext) {
		c.stop()
		c.kubectl("-n", "istio-system", "delete", "rolebinding", "acme")
		c.kubectl("patch", "clusterrole", "acme-mesh-security-operator", "--type=json", "-p", `[{"op":"test","path":"/rules/2/resources/1","value":"validatingadmissionpolicybindings"},{"op":"remove","path":"/rules/2/resources/1"}]`)
		c.start()
		Eventually(c.attention(ctx, "shop")).Should(ContainSubstring("can't read whether the admission policies"))
		Expect(c.condition(ctx, "shop", "main", v1alpha1.ConditionReady)()).To(Equal("True/Ready"))
	})

	It("that lost the profiles' CRD lets through what it can't judge, and hinders nobody", func(ctx SpecContext) {
		c.stop()
		c.kubectl("patch", "-n", "shop", "msp", "main", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		c.kubectl("delete", "crd", "meshsecurityprofiles.meshsecurity.io")
		Eventually(func() error { return loosen(teamLead) }).Should(Or(Succeed(), MatchError(ContainSubstring("not found")))) // collected or changed
		for _, manifest := range []string{networkPolicy("{podSelector: {}}"), pod("", "hostNetwork: true, "), peerAuthentication("{}")} {
			Eventually(func() error { return c.admin.Create(ctx, object(manifest, "shop")) }).Should(Succeed()) // once the API server knows
		}
		Expect(c.DeleteNamespace(ctx, "shop")).To(Succeed())
	})
})
