package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

var _ = Describe("kubectl meshsecurity", Ordered, func() {
	var path string
	plugin := func(stdin string, args ...string) (string, error) {
		return shared.Kubectl([]string{"KUBECONFIG=" + shared.kubeconfig, "PATH=" + path + ":" + os.Getenv("PATH")}, stdin, append([]string{"meshsecurity"}, args...)...)
	}

	BeforeAll(func(ctx SpecContext) {
		path = filepath.Join(scratch, "plugins")
		Expect(os.MkdirAll(path, 0o750)).To(Succeed())
		_, err := operator.BuildPackage(ctx, path, "kubectl-meshsecurity", "./cmd/kubectl-meshsecurity")
		Expect(err).NotTo(HaveOccurred())
	})

	It("plans, and the operator then does what was planned", func(ctx SpecContext) {
		shared.namespace("planned")
		out, err := plugin(strict("planned"), "plan", "-f", "-", "-o", "json")
		Expect(err).NotTo(HaveOccurred(), out)
		var plan struct {
			Namespaces []struct {
				Namespace string
				Changes   []struct{ Verb, Resource string }
				Denied    []string
			}
		}
		Expect(json.Unmarshal([]byte(out), &plan)).To(Succeed())
		Expect(plan.Namespaces).To(HaveLen(1))
		Expect(plan.Namespaces[0].Denied).NotTo(BeEmpty())
		var planned []string
		for _, c := range plan.Namespaces[0].Changes {
			Expect(c.Verb).To(Equal("create"))
			planned = append(planned, c.Resource)
		}
		Expect(shared.objects(ctx, "planned")).To(BeEmpty(), "a plan writes nothing")

		shared.apply(strict("planned"))
		shared.ready(ctx, "planned", "main")
		Expect(shared.objects(ctx, "planned")).To(ConsistOf(planned))
		out, err = plugin("", "diff", "-n", "planned")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("Everything is as the profiles have it."))
		out, err = plugin(strict("planned"), "plan", "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("No resource would change."))
	})

	It("shows how namespaces stand, what weakens them, and who changed what", func(ctx SpecContext) {
		shared.namespace("shown")
		shared.apply(strict("shown"))
		shared.ready(ctx, "shown", "main")
		shared.kubectl("-n", "shown", "run", "outsider", "--image=registry.example.com/outsider", "--labels=sidecar.istio.io/inject=false")
		shared.kubectl("-n", "shown", "delete", "authorizationpolicy", "msp-default-deny")
		Eventually(func() (string, error) { return plugin("", "drift", "-n", "shown") }).Should(MatchRegexp(`shown +\S+ +Missing +AuthorizationPolicy/msp-default-deny .*Corrected`))
		Eventually(func() (string, error) { return plugin("", "status", "-n", "shown") }).Should(MatchRegexp(`shown +main +Enforce +Strict +Deny .*False`))
		out, err := plugin("", "audit", "-n", "shown")
		Expect(err).To(HaveOccurred(), "a finding of severity High is open")
		Expect(out).To(ContainSubstring("ENR-002"))
		out, err = plugin("", "audit", "-A", "--fail-on=never")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("Namespace mesh-security-system"))
	})

	It("makes a first profile that changes nothing", func() {
		shared.namespace("adopted")
		out, err := plugin("", "generate", "-n", "adopted")
		Expect(err).NotTo(HaveOccurred(), out)
		profile, notes, _ := strings.Cut(out, "note: ")
		Expect(notes).To(ContainSubstring("nothing would be denied that is let through now"))
		shared.apply(profile)
	})
})
