package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// wrote lists what the operator wrote to objects of managed kinds in a
// namespace since a time, as VERB NAME in its order.
func (c *cluster) wrote(ctx context.Context, namespace string, since time.Time) (out []string) {
	GinkgoHelper()
	for _, r := range c.requests(ctx, since) {
		if r.Namespace == namespace && r.Group != v1alpha1.GroupVersion.Group && slices.Contains(writeVerbs, r.Verb) && r.Resource != "events" {
			out = append(out, r.Verb+" "+r.Name)
		}
	}
	return out
}

// gone waits for a profile to be gone.
func (c *cluster) gone(namespace, name string) {
	GinkgoHelper()
	Eventually(func() string {
		out, _ := c.try("", "-n", namespace, "get", "msp", name)
		return out
	}).Should(ContainSubstring("not found"))
}

// owners of what of ours is in a namespace, without repetition.
func (c *cluster) owners(namespace string) []string {
	GinkgoHelper()
	out := c.kubectl("-n", namespace, "get", "pa,ap,telemetry,sidecar,serviceentry,netpol", "-l", v1alpha1.LabelManagedBy,
		"-o", `jsonpath={range .items[*]}{.metadata.ownerReferences[*].name}{"\n"}{end}`)
	return slices.Compact(slices.Sorted(slices.Values(strings.Split(strings.TrimSuffix(out, "\n"), "\n"))))
}

var _ = Describe("A profile that is deleted", func() {
	It("is taken out of force in order: what denies before what allows", func(ctx SpecContext) {
		shared.namespace("deleted")
		shared.apply(strict("deleted"))
		shared.ready(ctx, "deleted", "main")
		Expect(shared.profile(ctx, "deleted", "main").Finalizers).To(ContainElement(v1alpha1.Finalizer))
		since := time.Now()
		shared.kubectl("-n", "deleted", "delete", "msp", "main", "--timeout=20s")
		Expect(shared.objects(ctx, "deleted")).To(BeEmpty(), "the profile was let go before they were gone")
		wrote := shared.wrote(ctx, "deleted", since)
		Expect(wrote).To(HaveExactElements(
			"delete msp-egress", "delete msp-ingress", "delete msp-egress", "delete msp-default-deny", "delete msp-callers",
			"delete msp-egress-database", "delete msp-mtls", "delete msp-access-log"))
	})

	It("leaves everything in force with deletionPolicy Retain where baselines alone speak afterwards", func(ctx SpecContext) {
		shared.namespace("retained-floor")
		shared.join("retained-floor", "retaining")
		shared.withBaseline("retaining", "  namespacesWithoutProfile: Audit\n")
		shared.apply(strict("retained-floor") + "  deletionPolicy: Retain\n")
		shared.ready(ctx, "retained-floor", "main")
		before := shared.objects(ctx, "retained-floor")
		shared.kubectl("-n", "retained-floor", "delete", "msp", "main", "--timeout=20s")
		Expect(shared.objects(ctx, "retained-floor")).To(ConsistOf(before))
		shared.kubectl("label", "namespace", "retained-floor", "looked-at=again")
		Consistently(func() []string { return shared.objects(ctx, "retained-floor") }, time.Second).Should(ConsistOf(before)) // as long as a look at a namespace takes by far
	})

	It("leaves everything in force with deletionPolicy Retain, and a new one takes it over where it is", func(ctx SpecContext) {
		shared.namespace("retained")
		shared.apply(strict("retained") + "  deletionPolicy: Retain\n")
		shared.ready(ctx, "retained", "main")
		specs := func() string {
			return shared.kubectl("-n", "retained", "get", "pa,ap,telemetry,sidecar,serviceentry,netpol", "-o", "jsonpath={.items[*].spec}")
		}
		before := specs()
		since := time.Now()
		shared.kubectl("-n", "retained", "delete", "msp", "main", "--timeout=20s")
		Expect(shared.objects(ctx, "retained")).To(ConsistOf(strictObjects))
		Expect(shared.owners("retained")).To(Equal([]string{""}))
		Expect(specs()).To(Equal(before))

		shared.apply(strict("retained"))
		shared.ready(ctx, "retained", "main")
		Expect(shared.owners("retained")).To(Equal([]string{"main"}))
		for _, w := range shared.wrote(ctx, "retained", since) {
			Expect(w).To(HavePrefix("update "))
		}
		Expect(shared.profile(ctx, "retained", "main").Status.Drift).To(BeEmpty())
	})

	It("leaves everything in force with --cascade=orphan", func(ctx SpecContext) {
		shared.namespace("orphaned")
		shared.apply(strict("orphaned"))
		shared.ready(ctx, "orphaned", "main")
		shared.kubectl("-n", "orphaned", "delete", "msp", "main", "--cascade=orphan", "--timeout=60s") // the garbage collector learns of kinds every 30 s
		Expect(shared.objects(ctx, "orphaned")).To(ConsistOf(strictObjects))
		Expect(shared.owners("orphaned")).To(Equal([]string{""}))
	})

	It("goes at once where nothing was written for it", func(ctx SpecContext) {
		shared.namespace("idle")
		shared.apply(strings.Replace(strict("idle"), "Enforce", "Audit", 1))
		shared.ready(ctx, "idle", "main")
		Expect(shared.profile(ctx, "idle", "main").Finalizers).To(BeEmpty())
		shared.kubectl("-n", "idle", "delete", "msp", "main", "--timeout=20s")
	})

	It("says what it waits for", func(ctx SpecContext) {
		shared.namespace("held")
		shared.apply(strict("held"))
		shared.ready(ctx, "held", "main")
		shared.kubectl("-n", "held", "annotate", "msp", "main", v1alpha1.AnnotationPaused+"=true")
		shared.kubectl("-n", "held", "patch", "pa", "msp-mtls", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/mine"]}}`)
		shared.kubectl("-n", "held", "delete", "msp", "main", "--wait=false")
		Eventually(shared.readyWhileDeleted(ctx, "held", "main")).Should(And(HavePrefix("Terminating"), ContainSubstring("PeerAuthentication/msp-mtls"), ContainSubstring("finalizers of others")))
		shared.kubectl("-n", "held", "patch", "pa", "msp-mtls", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		shared.gone("held", "main")
		Expect(shared.objects(ctx, "held")).To(BeEmpty())
	})

	It("never holds a namespace back from being deleted", func(ctx SpecContext) {
		shared.namespace("ending")
		shared.apply(strict("ending"))
		shared.ready(ctx, "ending", "main")
		Expect(shared.DeleteNamespace(ctx, "ending")).To(Succeed())
	})
})

// readyWhileDeleted is the reason and message of Ready of a profile that is being deleted.
func (c *cluster) readyWhileDeleted(ctx SpecContext, namespace, name string) func() string {
	return func() string {
		cond := meta.FindStatusCondition(c.profile(ctx, namespace, name).Status.Conditions, v1alpha1.ConditionReady)
		if cond == nil {
			return "absent"
		}
		return cond.Reason + ": " + cond.Message
	}
}

var _ = Describe("A profile that follows another one", func() {
	second := func(namespace string) string {
		return strings.Replace(strict(namespace), "name: main", "name: next", 1)
	}

	It("takes over every object where it is, before the first one goes", func(ctx SpecContext) {
		shared.namespace("handover")
		shared.apply(strict("handover"))
		shared.ready(ctx, "handover", "main")
		shared.apply(second("handover"))
		Eventually(shared.condition(ctx, "handover", "next", v1alpha1.ConditionAccepted)).Should(Equal("False/Superseded"))
		since := time.Now()
		shared.kubectl("-n", "handover", "delete", "msp", "main", "--timeout=20s")
		Expect(shared.owners("handover")).To(Equal([]string{"next"}), "the first one was let go before")
		shared.ready(ctx, "handover", "next")
		for _, w := range shared.wrote(ctx, "handover", since) {
			Expect(w).To(HavePrefix("update "))
		}
		Expect(shared.profile(ctx, "handover", "next").Status.Drift).To(BeEmpty())
	})

	It("keeps the last good posture of the first one while it can't be used itself", func(ctx SpecContext) {
		shared.namespace("inherited")
		shared.apply(strict("inherited"))
		shared.ready(ctx, "inherited", "main")
		shared.apply(strings.Replace(second("inherited"), "entity: SameNamespace", "peer: nobody", 1))
		Eventually(shared.condition(ctx, "inherited", "next", v1alpha1.ConditionAccepted)).Should(Equal("False/Superseded"))
		shared.kubectl("-n", "inherited", "delete", "msp", "main", "--timeout=20s")
		Eventually(shared.condition(ctx, "inherited", "next", v1alpha1.ConditionProgrammed)).Should(Equal("False/RefsUnresolved"))
		Expect(shared.objects(ctx, "inherited")).To(ConsistOf(strictObjects))
		Expect(shared.owners("inherited")).To(Equal([]string{"next"}))

		shared.kubectl("-n", "inherited", "delete", "ap", "msp-default-deny")
		Eventually(func() []string { return shared.objects(ctx, "inherited") }).Should(ConsistOf(strictObjects))
	})
})

var _ = Describe("The last good posture", func() {
	tamper := func(namespace string) {
		GinkgoHelper()
		shared.kubectl("-n", namespace, "patch", "pa", "msp-mtls", "--type=merge", "--field-manager=mallory", "-p", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`)
	}
	mode := func(namespace string) func() string {
		return func() string {
			return shared.kubectl("-n", namespace, "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}
	}

	It("stays in force and is guarded while the profile can't be used, after a restart too", func(ctx SpecContext) {
		shared.namespace("lastgood")
		shared.apply(strict("lastgood"))
		shared.ready(ctx, "lastgood", "main")
		shared.apply(strings.Replace(strict("lastgood"), "entity: SameNamespace", "peer: nobody", 1))
		Eventually(shared.condition(ctx, "lastgood", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/RefsUnresolved"))
		Expect(shared.condition(ctx, "lastgood", "main", v1alpha1.ConditionInSync)()).To(Equal("True/InSync"))
		Expect(shared.condition(ctx, "lastgood", "main", v1alpha1.ConditionAuthorizationEnforced)()).To(Equal("Unknown/RefsUnresolved"))

		tamper("lastgood")
		Eventually(mode("lastgood")).Should(Equal("STRICT"))
		Eventually(func() string { return newestActor(shared.profile(ctx, "lastgood", "main")) }).Should(Equal("mallory"))

		Expect(main.Stop()).To(Succeed())
		main = shared.start("after")
		shared.apply(strings.Replace(strict("lastgood"), "entity: SameNamespace", "peer: nobody-else", 1))
		Eventually(shared.condition(ctx, "lastgood", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/RefsUnresolved"))
		since := time.Now()
		shared.kubectl("-n", "lastgood", "delete", "ap", "msp-default-deny")
		Eventually(func() []string { return shared.objects(ctx, "lastgood") }).Should(ConsistOf(strictObjects))
		Expect(shared.wrote(ctx, "lastgood", since)).To(Equal([]string{"create msp-default-deny"}))

		By("being mended")
		shared.apply(strict("lastgood"))
		shared.ready(ctx, "lastgood", "main")
		Expect(shared.objects(ctx, "lastgood")).To(ConsistOf(strictObjects))
	})

	It("is not claimed where it is not known", func(ctx SpecContext) {
		shared.namespace("unknowable")
		shared.apply(strict("unknowable"))
		shared.ready(ctx, "unknowable", "main")
		Expect(main.Stop()).To(Succeed())
		tamper("unknowable")
		shared.apply(strings.Replace(strict("unknowable"), "entity: SameNamespace", "peer: nobody", 1))
		main = shared.start("unknowing")
		Eventually(shared.condition(ctx, "unknowable", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/RefsUnresolved"))
		Expect(shared.condition(ctx, "unknowable", "main", v1alpha1.ConditionInSync)()).To(Equal("Unknown/RefsUnresolved"))
		Expect(mode("unknowable")()).To(Equal("PERMISSIVE"))

		By("being mended")
		shared.apply(strict("unknowable"))
		shared.ready(ctx, "unknowable", "main")
		Expect(mode("unknowable")()).To(Equal("STRICT"))
	})
})

func newestActor(p *v1alpha1.MeshSecurityProfile) string {
	if len(p.Status.Drift) == 0 {
		return ""
	}
	return p.Status.Drift[0].Actor
}

var _ = Describe("A rule that is renamed", func() {
	It("is there under its new name before the old one goes", func(ctx SpecContext) {
		shared.namespace("renamed")
		shared.apply(strict("renamed"))
		shared.ready(ctx, "renamed", "main")
		since := time.Now()
		shared.apply(strings.Replace(strict("renamed"), "name: callers", "name: readers", 1))
		shared.ready(ctx, "renamed", "main")
		Eventually(func() []string { return shared.wrote(ctx, "renamed", since) }).Should(Equal([]string{"create msp-readers", "delete msp-callers"}))
	})
})

var _ = Describe("A fight", func() {
	It("leads to a back-off that names the other side, and to no hot loop", func(ctx SpecContext) {
		shared.namespace("fought")
		shared.apply(strict("fought"))
		shared.ready(ctx, "fought", "main")
		since := time.Now()
		tampered := 0
		mode := func() string {
			return shared.kubectl("-n", "fought", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}
		// The other side reverts whenever it sees the correction, as a GitOps tool does.
		Eventually(func() string {
			if mode() == "STRICT" {
				shared.kubectl("-n", "fought", "patch", "pa", "msp-mtls", "--type=merge", "--field-manager=argocd-controller", "-p", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`)
				tampered++
			}
			return shared.condition(ctx, "fought", "main", v1alpha1.ConditionInSync)()
		}).Should(Equal("False/DriftFight"))
		cond := meta.FindStatusCondition(shared.profile(ctx, "fought", "main").Status.Conditions, v1alpha1.ConditionInSync)
		Expect(cond.Message).To(And(ContainSubstring("argocd-controller"), ContainSubstring("PeerAuthentication/msp-mtls")))
		Expect(shared.condition(ctx, "fought", "main", "MutualTLSEnforced")()).To(Equal("False/NotProgrammed"))
		Expect(tampered).To(BeNumerically(">", drift.FightCorrections))

		By("being given up by the other side")
		Eventually(mode).Should(Equal("STRICT"))
		shared.ready(ctx, "fought", "main")
		writes := shared.wrote(ctx, "fought", since)
		Expect(len(writes)).To(BeNumerically("<=", len(strictObjects)+tampered))
		AddReportEntry("changed by the other side, corrected", fmt.Sprint(tampered, " ", len(writes)))
	})
})

var _ = Describe("To uninstall", Ordered, func() {
	var c *cluster
	var op *operator.Process
	BeforeAll(func(ctx SpecContext) {
		c = newCluster(ctx, true)
		DeferCleanup(c.Stop)
	})
	BeforeEach(func(ctx SpecContext) {
		c.kubectl("apply", "--server-side", "-k", filepath.Join(root, "config/default"))
		config, err := c.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		Expect(operator.WriteKubeconfig(config, c.operator)).To(Succeed())
		op = c.start("uninstall")
		DeferCleanup(func() { _ = op.Stop() })
		c.namespace("leaving")
		c.apply(strict("leaving"))
		c.ready(ctx, "leaving", "main")
	})

	It("takes the profiles first and then the rest, and leaves nothing", func(ctx SpecContext) {
		c.kubectl("delete", "msp", "--all", "-A", "--timeout=30s")
		Expect(c.objects(ctx, "leaving")).To(BeEmpty())
		c.kubectl("delete", "-k", filepath.Join(root, "config/default"), "--timeout=60s")
		Expect(op.Stop()).To(Succeed())
		c.kubectl("delete", "namespace", "leaving", "--timeout=60s")
	})

	It("can be ended by hand where all went at once and the operator is gone", func() {
		Expect(op.Stop()).To(Succeed())
		_, err := c.try("", "delete", "-k", filepath.Join(root, "config/default"), "--timeout=10s")
		Expect(err).To(HaveOccurred(), "a profile waits for the operator")
		c.kubectl("-n", "leaving", "patch", "msp", "main", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		c.kubectl("delete", "-k", filepath.Join(root, "config/default"), "--timeout=60s", "--ignore-not-found")
		_, err = c.try("", "get", "msp", "-A")
		Expect(err).To(HaveOccurred())
	})
})
