package integration

import (
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// live are the managed objects of a namespace.
func (c *cluster) live(ctx SpecContext, namespace string) (out []client.Object) {
	GinkgoHelper()
	for _, k := range mesh.ManagedKinds() {
		list, ok := k.NewList().(client.ObjectList)
		Expect(ok).To(BeTrue())
		Expect(c.client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue})).To(Succeed())
		items, err := meta.ExtractList(list)
		Expect(err).NotTo(HaveOccurred())
		for _, i := range items {
			o, ok := i.(client.Object)
			Expect(ok).To(BeTrue())
			out = append(out, o)
		}
	}
	return out
}

var _ = Describe("A profile that a GitOps tool applied", func() {
	It("hands none of its labels and annotations down, which would make its objects the tool's to prune", func(ctx SpecContext) {
		shared.namespace("tracked")
		tracked := strings.Replace(strict("tracked"), "metadata: {", "metadata: {labels: {app.kubernetes.io/instance: tool-app, team: tool-team}, "+
			"annotations: {argocd.argoproj.io/tracking-id: 'tool-app:meshsecurity.io/MeshSecurityProfile:tracked/main', argocd.argoproj.io/sync-wave: '7'}, ", 1)
		shared.apply(tracked)
		shared.ready(ctx, "tracked", "main")
		objects := shared.live(ctx, "tracked")
		Expect(objects).To(HaveLen(len(strictObjects)))
		for _, o := range objects {
			for k, v := range o.GetLabels() {
				Expect([]string{v1alpha1.LabelManagedBy, v1alpha1.LabelPartOf, v1alpha1.LabelProfile}).To(ContainElement(k), "%s: %s", o.GetName(), v)
			}
			for k, v := range o.GetAnnotations() {
				Expect(k).To(Equal(v1alpha1.AnnotationRule), "%s: %s", o.GetName(), v)
			}
		}

		By("being given to another application")
		since := time.Now()
		shared.apply(strings.ReplaceAll(tracked, "tool-app", "other-app"))
		shared.apply(strings.Replace(strict("tracked"), "[GET]", "[GET, PUT]", 1)) // which is seen when it has been put in force
		Eventually(func() []string { return shared.wrote(ctx, "tracked", since) }).Should(Equal([]string{"update msp-callers"}))
	})
})

var _ = Describe("A profile that a GitOps tool replaces", func() {
	It("gets its finalizer back, without which its objects would go in no order", func(ctx SpecContext) {
		shared.namespace("replaced")
		shared.apply(strict("replaced"))
		shared.ready(ctx, "replaced", "main")
		since := time.Now()
		_, err := shared.try(strict("replaced"), "replace", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() []string { return shared.profile(ctx, "replaced", "main").Finalizers }).Should(Equal([]string{v1alpha1.Finalizer}))
		Expect(shared.wrote(ctx, "replaced", since)).To(BeEmpty())
	})
})

var _ = Describe("A profile that is deleted as Argo CD does it, in the foreground", func() {
	It("goes, and nothing of what the garbage collector takes is made again", func(ctx SpecContext) {
		shared.namespace("foreground")
		shared.apply(strict("foreground"))
		shared.ready(ctx, "foreground", "main")
		since := time.Now()
		shared.kubectl("-n", "foreground", "delete", "msp", "main", "--cascade=foreground", "--timeout=60s")
		Expect(shared.objects(ctx, "foreground")).To(BeEmpty())
		for _, w := range shared.wrote(ctx, "foreground", since) {
			Expect(w).To(HavePrefix("delete "))
		}
	})

	// For an instant the floor may be gone: the garbage collector and the operator
	// run for the same objects, and what the operator has given to the baseline
	// first, the collector leaves. In the background there is no such instant, see
	// "hands over to a profile and back without a gap".
	It("leaves the baseline's floor in force, and makes nothing else again", func(ctx SpecContext) {
		shared.join("foreground-floor", "foreground")
		shared.withBaseline("foreground", floor)
		shared.apply(strict("foreground-floor"))
		shared.ready(ctx, "foreground-floor", "main")
		since := time.Now()
		shared.kubectl("-n", "foreground-floor", "delete", "msp", "main", "--cascade=foreground", "--timeout=60s")
		Eventually(func() []string { return shared.objects(ctx, "foreground-floor") }).Should(
			ConsistOf(append(slices.Clone(floorObjects), "AuthorizationPolicy/msp-baseline.probing.foreground")))
		Expect(shared.owners("foreground-floor")).To(Equal([]string{"foreground"}))
		taken := 0
		for _, w := range shared.wrote(ctx, "foreground-floor", since) {
			verb, name, _ := strings.Cut(w, " ")
			if verb != "delete" {
				Expect([]string{"msp-mtls", "msp-default-deny", "msp-baseline.probing.foreground"}).To(ContainElement(name), w)
			}
			if verb == "create" {
				taken++
			}
		}
		AddReportEntry("objects of the floor that the garbage collector took first", taken)
	})
})
