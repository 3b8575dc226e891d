package integration

import (
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// tampering is something that an intruder does to a managed object.
type tampering struct {
	what     string
	resource string
	kubectl  []string
	// path of the field in the record; empty: none is named.
	path   string
	kind   v1alpha1.DriftType
	effect v1alpha1.Effect
}

func patch(kind, name, how, body string) []string {
	return []string{"patch", kind, name, "--type=" + how, "-p", body, "--field-manager=intruder"}
}

var tamperings = []tampering{
	{"a mode is loosened", "PeerAuthentication/msp-mtls", patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`), "/spec/mtls/mode", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a selector is added that matches nothing", "PeerAuthentication/msp-mtls", patch("pa", "msp-mtls", "merge", `{"spec":{"selector":{"matchLabels":{"app":"nobody"}}}}`), "/spec/selector", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"everybody is allowed", "AuthorizationPolicy/msp-default-deny", patch("ap", "msp-default-deny", "merge", `{"spec":{"rules":[{}]}}`), "/spec/rules", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"an action is turned into an audit", "AuthorizationPolicy/msp-default-deny", patch("ap", "msp-default-deny", "merge", `{"spec":{"action":"AUDIT"}}`), "/spec/action", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a policy is put into dry run", "AuthorizationPolicy/msp-default-deny", []string{"annotate", "ap", "msp-default-deny", "istio.io/dry-run=true", "--field-manager=intruder"}, "/metadata/annotations/istio.io~1dry-run", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a rule is emptied", "AuthorizationPolicy/msp-callers", patch("ap", "msp-callers", "json", `[{"op":"remove","path":"/spec/rules/0/from"}]`), "", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"the label is stripped", "Sidecar/msp-egress", []string{"label", "sidecar.networking.istio.io", "msp-egress", "app.kubernetes.io/managed-by-", "--field-manager=intruder"}, "/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.DriftModified, v1alpha1.EffectNeutral},
	{"the owner reference is stripped", "ServiceEntry/msp-egress-database", patch("serviceentry", "msp-egress-database", "merge", `{"metadata":{"ownerReferences":null}}`), "", v1alpha1.DriftModified, v1alpha1.EffectNeutral},
	{"label and owner reference are stripped at once", "Telemetry/msp-access-log", patch("telemetry", "msp-access-log", "merge", `{"metadata":{"ownerReferences":null,"labels":null}}`), "", v1alpha1.DriftModified, v1alpha1.EffectNeutral},
	{"every mark is stripped with the spec", "PeerAuthentication/msp-mtls", patch("pa", "msp-mtls", "json", `[{"op":"add","path":"/metadata/managedFields","value":[{}]},{"op":"remove","path":"/metadata/labels"},{"op":"remove","path":"/metadata/ownerReferences"},{"op":"replace","path":"/spec/mtls/mode","value":"DISABLE"}]`), "/spec/mtls/mode", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"egress is opened in the network", "NetworkPolicy/msp-egress", patch("netpol", "msp-egress", "json", `[{"op":"add","path":"/spec/egress/-","value":{}}]`), "", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a caller is shut out", "AuthorizationPolicy/msp-callers", patch("ap", "msp-callers", "json", `[{"op":"add","path":"/spec/rules/0/from/0/source/notNamespaces","value":["drifting"]}]`), "/spec/rules/0/from/0/source/notNamespaces", v1alpha1.DriftModified, v1alpha1.EffectTightens},
	{"the proxies let everything out", "Sidecar/msp-egress", patch("sidecar.networking.istio.io", "msp-egress", "merge", `{"spec":{"outboundTrafficPolicy":{"mode":"ALLOW_ANY"}}}`), "/spec/outboundTrafficPolicy/mode", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"nothing is logged", "Telemetry/msp-access-log", patch("telemetry", "msp-access-log", "json", `[{"op":"add","path":"/spec/accessLogging/0/disabled","value":true}]`), "/spec/accessLogging/0/disabled", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a log is turned off behind the one that is on", "Telemetry/msp-access-log", patch("telemetry", "msp-access-log", "json", `[{"op":"add","path":"/spec/accessLogging/-","value":{"disabled":true}}]`), "/spec/accessLogging", v1alpha1.DriftModified, v1alpha1.EffectWeakens},
	{"a way in is added to a policy of the way out", "NetworkPolicy/msp-egress", patch("netpol", "msp-egress", "merge", `{"spec":{"ingress":[{}]}}`), "/spec/ingress", v1alpha1.DriftModified, v1alpha1.EffectNeutral},
	{"a policy is deleted", "AuthorizationPolicy/msp-default-deny", []string{"delete", "ap", "msp-default-deny"}, "", v1alpha1.DriftMissing, v1alpha1.EffectWeakens},
	{"a network policy is deleted", "NetworkPolicy/msp-ingress", []string{"delete", "netpol", "msp-ingress"}, "", v1alpha1.DriftMissing, v1alpha1.EffectWeakens},
}

var _ = Describe("Drift", Ordered, func() {
	BeforeAll(func(ctx SpecContext) {
		shared.apply("{apiVersion: v1, kind: Namespace, metadata: {name: drifting, labels: {istio-injection: enabled}}}")
		shared.apply(strict("drifting"))
		shared.ready(ctx, "drifting", "main")
		DeferCleanup(func() { shared.kubectl("delete", "namespace", "drifting", "--wait=false") })
	})

	specs := func(t tampering) string {
		return shared.kubectl("-n", "drifting", "get", kindOf(t), nameOf(t), "-o", "jsonpath={.spec}{.metadata.labels}{.metadata.annotations}{.metadata.ownerReferences}")
	}

	for _, t := range tamperings {
		It("is found, attributed and healed when "+t.what, func(ctx SpecContext) {
			before := specs(t)
			seen := len(shared.profile(ctx, "drifting", "main").Status.Drift)
			first := ""
			if seen > 0 {
				first = shared.profile(ctx, "drifting", "main").Status.Drift[0].Resource
			}
			newest := shared.profile(ctx, "drifting", "main").Status.Drift
			shared.kubectl(append([]string{"-n", "drifting"}, t.kubectl...)...)

			Eventually(func() string {
				out, _ := shared.try("", "-n", "drifting", "get", kindOf(t), nameOf(t), "-o", "jsonpath={.spec}{.metadata.labels}{.metadata.annotations}{.metadata.ownerReferences}")
				return out
			}).Should(Equal(before))
			var rec v1alpha1.DriftRecord
			Eventually(func() bool {
				d := shared.profile(ctx, "drifting", "main").Status.Drift
				if len(d) == 0 || (len(newest) > 0 && equalRecord(d[0], newest[0]) && len(d) == len(newest)) {
					return false
				}
				rec = d[0]
				return true
			}).Should(BeTrue(), "no new record; first was %s", first)
			Expect(rec.Resource).To(Equal(t.resource))
			Expect(rec.Type).To(Equal(t.kind))
			Expect(rec.Effect).To(Equal(t.effect))
			Expect(rec.Resolution).To(Equal(v1alpha1.ResolutionCorrected))
			if t.kind == v1alpha1.DriftModified {
				// Nobody owns a field that is gone: what was stripped has no actor.
				if strings.Contains(t.what, "stripped") {
					Expect(rec.Actor).To(Equal("unknown"))
				} else {
					Expect(rec.Actor).To(Equal("intruder"))
				}
				Expect(rec.Fields).NotTo(BeEmpty())
			}
			if t.path != "" {
				Expect(rec.Fields[0].Path).To(HavePrefix(t.path))
			}
			shared.ready(ctx, "drifting", "main")
			Expect(shared.condition(ctx, "drifting", "main", v1alpha1.ConditionInSync)()).To(Equal("True/InSync"))
		})
	}

	It("is announced by an Event on the profile", func() {
		Eventually(func() string {
			return shared.kubectl("-n", "drifting", "get", "events", "-o", "jsonpath={.items[*].message}")
		}).
			Should(ContainSubstring("PeerAuthentication/msp-mtls was changed by intruder, which weakens the posture: /spec/mtls/mode is PERMISSIVE instead of STRICT"))
	})
})

func equalRecord(a, b v1alpha1.DriftRecord) bool {
	return a.Resource == b.Resource && a.DetectedAt.Equal(&b.DetectedAt) && a.Type == b.Type && len(a.Fields) == len(b.Fields) &&
		(len(a.Fields) == 0 || a.Fields[0] == b.Fields[0])
}

func kindOf(t tampering) string {
	kind, _, _ := strings.Cut(t.resource, "/")
	if kind == "Sidecar" {
		return "sidecars.networking.istio.io"
	}
	return kind
}

func nameOf(t tampering) string {
	_, name, _ := strings.Cut(t.resource, "/")
	return name
}

var _ = Describe("Drift of what was just made", func() {
	It("is healed where every mark is stripped before the operator looked again", func(ctx SpecContext) {
		shared.namespace("fresh")
		shared.apply(strict("fresh"))
		shared.ready(ctx, "fresh", "main")
		stripped := slices.IndexFunc(tamperings, func(t tampering) bool { return t.what == "every mark is stripped with the spec" })
		Expect(stripped).To(BeNumerically(">=", 0))
		shared.kubectl(append([]string{"-n", "fresh"}, tamperings[stripped].kubectl...)...)
		Eventually(func() string {
			return shared.kubectl("-n", "fresh", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode} {.metadata.ownerReferences[0].name}")
		}).Should(Equal("STRICT main"))
	})
})

var _ = Describe("Drift under policy Report", func() {
	It("stays, and is shown until it is undone", func(ctx SpecContext) {
		shared.namespace("reporting")
		shared.apply(strict("reporting") + "  drift: {policy: Report}\n")
		shared.ready(ctx, "reporting", "main")
		shared.kubectl(append([]string{"-n", "reporting"}, patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`)...)...)
		Eventually(shared.condition(ctx, "reporting", "main", v1alpha1.ConditionInSync)).Should(Equal("False/DriftDetected"))
		p := shared.profile(ctx, "reporting", "main")
		inSync := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInSync)
		Expect(inSync.Message).To(And(ContainSubstring("PeerAuthentication/msp-mtls was changed by intruder, which weakens"), ContainSubstring("undo it, or set drift.policy to Correct")))
		Expect(shared.condition(ctx, "reporting", "main", v1alpha1.ConditionReady)()).To(Equal("False/DriftDetected"))
		Expect(shared.condition(ctx, "reporting", "main", "MutualTLSEnforced")()).To(Equal("False/NotProgrammed"))
		Expect(p.Status.Drift).To(HaveLen(1))
		Expect(p.Status.Drift[0].Resolution).To(Equal(v1alpha1.ResolutionReported))
		Expect(p.Status.Attention[0]).To(ContainSubstring("intruder"))

		By("not writing again and again")
		quiet := time.Now()
		shared.kubectl("-n", "reporting", "label", "pod", "web", "canary=yes")
		// Namespaces of other specs may be on their way out.
		here := func() (out []string) {
			for _, w := range matching(shared.requests(ctx, quiet), writeVerbs...) {
				if strings.Contains(w, " reporting") {
					out = append(out, w)
				}
			}
			return out
		}
		Consistently(here, 1500*time.Millisecond, 250*time.Millisecond).Should(BeEmpty())

		By("being undone")
		shared.kubectl(append([]string{"-n", "reporting"}, patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"STRICT"}}}`)...)...)
		shared.ready(ctx, "reporting", "main")
		Expect(shared.profile(ctx, "reporting", "main").Status.Drift).To(HaveLen(1), "the record stays")
	})
})

var _ = Describe("Somebody else's object under one of the operator's names", func() {
	It("is a conflict, and handed over only by its owner", func(ctx SpecContext) {
		shared.namespace("conflicting")
		foreign := `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: msp-mtls, namespace: conflicting}
spec: {mtls: {mode: DISABLE}}
`
		shared.apply(foreign)
		shared.apply(strict("conflicting"))
		Eventually(shared.condition(ctx, "conflicting", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/Conflict"))
		Expect(shared.condition(ctx, "conflicting", "main", "MutualTLSEnforced")()).NotTo(HavePrefix("True"))
		mode := func() string {
			return shared.kubectl("-n", "conflicting", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")
		}
		Consistently(mode, time.Second, 200*time.Millisecond).Should(Equal("DISABLE"))
		Expect(shared.objects(ctx, "conflicting")).To(HaveLen(len(strictObjects)-1), "the rest is written")

		shared.kubectl("-n", "conflicting", "annotate", "pa", "msp-mtls", v1alpha1.AnnotationAdopt+"=true")
		shared.ready(ctx, "conflicting", "main")
		Expect(mode()).To(Equal("STRICT"))
	})

	It("in the namespace under another name is taken into account", func(ctx SpecContext) {
		shared.namespace("foreign")
		shared.apply(strict("foreign"))
		shared.ready(ctx, "foreign", "main")
		Eventually(shared.condition(ctx, "foreign", "main", "AuthorizationEnforced")).Should(Equal("True/Enforced"))
		shared.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open-house, namespace: foreign}
spec: {rules: [{}]}
`)
		Eventually(shared.condition(ctx, "foreign", "main", "AuthorizationEnforced")).Should(Equal("False/Shadowed"))
		Expect(shared.kubectl("-n", "foreign", "get", "ap", "open-house", "-o", "jsonpath={.spec}")).To(Equal(`{"rules":[{}]}`))
		shared.kubectl("-n", "foreign", "delete", "ap", "open-house")
		Eventually(shared.condition(ctx, "foreign", "main", "AuthorizationEnforced")).Should(Equal("True/Enforced"))
	})
})

var _ = Describe("The pause annotation", func() {
	It("stops all writes and says so", func(ctx SpecContext) {
		shared.namespace("paused")
		shared.apply(strict("paused"))
		shared.ready(ctx, "paused", "main")
		shared.kubectl("-n", "paused", "annotate", "msp", "main", v1alpha1.AnnotationPaused+"=true")
		shared.kubectl("-n", "paused", "delete", "ap", "msp-default-deny")
		Eventually(shared.condition(ctx, "paused", "main", v1alpha1.ConditionProgrammed)).Should(Equal("Unknown/Paused"))
		Expect(shared.objects(ctx, "paused")).NotTo(ContainElement("AuthorizationPolicy/msp-default-deny"))
		shared.kubectl("-n", "paused", "annotate", "msp", "main", v1alpha1.AnnotationPaused+"-")
		shared.ready(ctx, "paused", "main")
		Expect(shared.objects(ctx, "paused")).To(ContainElement("AuthorizationPolicy/msp-default-deny"))
	})
})
