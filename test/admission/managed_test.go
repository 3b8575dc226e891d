package admission

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// attempt is a kubectl command in the guarded namespace.
type attempt struct {
	what    string
	stdin   string
	kubectl []string
	// refused is what the refusal says; empty: it is let through.
	refused string
}

func patch(kind, name, how, body string) []string {
	return []string{"patch", kind, name, "--type=" + how, "-p", body}
}

const (
	looser  = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: msp-mtls}, spec: {mtls: {mode: PERMISSIVE}}}"
	theSame = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: msp-mtls}, spec: {mtls: {mode: STRICT}}}"
	// What opens everything while the rules of a profile come or go.
	meanwhile = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: msp-transition.allow, labels: {app.kubernetes.io/managed-by: mesh-security-operator}}, spec: {rules: [{}]}}"
	managed   = "PeerAuthentication/msp-mtls is managed by MeshSecurityProfile managed/main (drift.guard: Managed): change that profile instead; "
	claims    = " would pass for an object of MeshSecurityProfile managed/main (drift.guard: Managed)"
)

var attempts = []attempt{
	{what: "a merge patch of the spec", kubectl: patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`), refused: managed + "changed: spec"},
	{what: "a JSON patch of the spec", kubectl: patch("pa", "msp-mtls", "json", `[{"op":"replace","path":"/spec/mtls/mode","value":"DISABLE"}]`), refused: managed + "changed: spec"},
	{what: "an edit", kubectl: []string{"edit", "pa", "msp-mtls"}, refused: managed + "changed: spec"},
	{what: "an apply", stdin: looser, kubectl: []string{"apply", "-f", "-"}, refused: managed + "changed: spec"},
	{what: "a server-side apply by force", stdin: looser, kubectl: []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}, refused: managed + "changed: spec"},
	{what: "a dry run of a change", stdin: looser, kubectl: []string{"apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"}, refused: managed + "changed: spec"},
	{what: "a replace", stdin: looser, kubectl: []string{"replace", "-f", "-"}, refused: managed + "changed: spec, metadata.labels, metadata.ownerReferences"},
	{what: "a replace by force, which deletes first", stdin: looser, kubectl: []string{"replace", "--force", "-f", "-"}, refused: managed + "it is not to be deleted"},
	{what: "a deletion", kubectl: []string{"delete", "pa", "msp-mtls"}, refused: managed + "it is not to be deleted"},
	{what: "a deletion that orphans", kubectl: []string{"delete", "pa", "msp-mtls", "--cascade=orphan"}, refused: managed + "it is not to be deleted"},
	{what: "a change of another kind, a network policy", kubectl: patch("netpol", "msp-egress", "json", `[{"op":"add","path":"/spec/egress/-","value":{}}]`), refused: "NetworkPolicy/msp-egress is managed by"},
	{what: "a change by an older version of the API", kubectl: patch("peerauthentications.v1beta1.security.istio.io", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`), refused: "changed: spec"},
	{what: "stripping the label", kubectl: []string{"label", "pa", "msp-mtls", "app.kubernetes.io/managed-by-"}, refused: managed + "changed: metadata.labels"},
	{what: "stripping the owner", kubectl: patch("pa", "msp-mtls", "merge", `{"metadata":{"ownerReferences":null}}`), refused: managed + "changed: metadata.ownerReferences"},
	{what: "stripping every mark at once", kubectl: patch("pa", "msp-mtls", "merge", `{"metadata":{"ownerReferences":null,"labels":null},"spec":{"mtls":{"mode":"DISABLE"}}}`), refused: managed + "changed: spec, metadata.labels, metadata.ownerReferences"},
	{what: "putting a policy into dry run", kubectl: []string{"annotate", "ap", "msp-default-deny", "istio.io/dry-run=true"}, refused: "changed: metadata.annotations"},
	{what: "a finalizer", kubectl: patch("pa", "msp-mtls", "merge", `{"metadata":{"finalizers":["example.com/hold"]}}`), refused: managed + "changed: metadata.finalizers"},
	{what: "an object under one of the operator's names", stdin: strings.Replace(looser, "msp-mtls", "msp-mine", 1), kubectl: []string{"create", "-f", "-"}, refused: "PeerAuthentication/msp-mine" + claims},
	{what: "an object that passes for what is there only meanwhile", stdin: meanwhile, kubectl: []string{"create", "-f", "-"}, refused: "AuthorizationPolicy/msp-transition.allow" + claims},
	{what: "an object with a generated name of that kind", stdin: strings.Replace(looser, "name: msp-mtls", "generateName: msp-", 1), kubectl: []string{"create", "-f", "-"}, refused: claims},
	{what: "an object with the operator's label", stdin: strings.Replace(looser, "name: msp-mtls", "name: mine, labels: {app.kubernetes.io/managed-by: mesh-security-operator}", 1), kubectl: []string{"create", "-f", "-"}, refused: "PeerAuthentication/mine" + claims},
	{what: "a kind that others write as well", stdin: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: msp-mine}, spec: {host: web}}", kubectl: []string{"create", "-f", "-"}, refused: "DestinationRule/msp-mine" + claims},
	{what: "the operator's label on an object of somebody else", kubectl: []string{"label", "ap", "theirs", "app.kubernetes.io/managed-by=mesh-security-operator"}, refused: "AuthorizationPolicy/theirs" + claims},

	{what: "a label that means nothing", kubectl: []string{"label", "pa", "msp-mtls", "team=payments", "--overwrite"}},
	{what: "an annotation that means nothing", kubectl: []string{"annotate", "pa", "msp-mtls", "argocd.argoproj.io/tracking-id=x", "--overwrite"}},
	{what: "a server-side apply that changes nothing", stdin: theSame, kubectl: []string{"apply", "--server-side", "-f", "-"}},
	{what: "a server-side dry run that changes nothing", stdin: theSame, kubectl: []string{"apply", "--server-side", "--dry-run=server", "-f", "-"}},
	{what: "an apply that changes nothing but its own annotation", stdin: theSame, kubectl: []string{"apply", "-f", "-"}},
	{what: "the status", kubectl: append(patch("pa", "msp-mtls", "merge", `{"status":{"conditions":[]}}`), "--subresource=status")},
	{what: "an object of another name", stdin: strings.Replace(looser, "msp-mtls", "mine", 1), kubectl: []string{"create", "-f", "-"}},
	{what: "changing it", kubectl: patch("pa", "mine", "merge", `{"spec":{"mtls":{"mode":"DISABLE"}}}`)},
	{what: "deleting it", kubectl: []string{"delete", "pa", "mine"}},
	{what: "an object of the same name of a kind that is not managed", kubectl: []string{"create", "configmap", "msp-mtls"}},
	{what: "deleting that", kubectl: []string{"delete", "configmap", "msp-mtls"}},
}

var _ = Describe("Guard Managed", Ordered, func() {
	BeforeAll(func(ctx SpecContext) {
		shared.guarded(ctx, "managed", strict("Managed"))
		shared.apply("{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: theirs, namespace: managed}, spec: {}}")
	})

	for _, who := range []string{admin, teamLead} {
		for _, a := range attempts {
			verb := "lets through"
			if a.refused != "" {
				verb = "refuses"
			}
			It(verb+" to "+who+": "+a.what, func(ctx SpecContext) {
				before := shared.get(ctx, "PeerAuthentication", "managed", "msp-mtls")
				out, err := shared.as(who, a.stdin, append([]string{"-n", "managed"}, a.kubectl...)...)
				if a.refused == "" {
					Expect(err).NotTo(HaveOccurred(), out)
					return
				}
				// An edit that is refused shows the refusal and succeeds in giving up.
				Expect(out).To(And(ContainSubstring("mesh-security-guard-managed"), ContainSubstring(a.refused)))
				after := shared.get(ctx, "PeerAuthentication", "managed", "msp-mtls")
				Expect(after.GetResourceVersion()).To(Equal(before.GetResourceVersion()), "it was written all the same")
			})
		}
	}

	It("refuses a deletion of many at once", func(ctx SpecContext) {
		kinds := 0
		for _, k := range mesh.ManagedKinds() {
			o, _ := k.New().(client.Object)
			if !strings.Contains(shared.kubectl("-n", "managed", "get", k.CRD(), "-o", "name"), "msp-") {
				continue
			}
			kinds++
			Expect(shared.client(teamLead).DeleteAllOf(ctx, o, client.InNamespace("managed"))).
				To(beRefused("is managed by MeshSecurityProfile managed/main"), k.GVK.Kind)
		}
		Expect(kinds).To(Equal(6))
		shared.apply("{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: theirs, namespace: managed}, spec: {}}")
	})

	It("left nothing for the operator to correct", func(ctx SpecContext) {
		Expect(shared.condition(ctx, "managed", "main", v1alpha1.ConditionInSync)()).To(Equal("True/InSync"))
		Expect(shared.profile(ctx, "managed").Status.Drift).To(BeEmpty())
		Expect(shared.attention(ctx, "managed")()).NotTo(ContainSubstring("drift.guard"))
	})

	It("lets the operator write what a changed profile asks for", func(ctx SpecContext) {
		shared.kubectl("-n", "managed", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"mutualTLS":{"mode":"Permissive"},"authorization":null}}`)
		Eventually(shared.condition(ctx, "managed", "main", v1alpha1.ConditionProgrammed)).Should(Equal("True/Programmed"))
		Expect(shared.kubectl("-n", "managed", "get", "pa", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}")).To(Equal("PERMISSIVE"))
		Expect(shared.kubectl("-n", "managed", "get", "ap", "-o", "name")).NotTo(ContainSubstring("msp-"), "the operator deletes too")
		shared.apply(profile("managed", "main", strict("Managed")))
		Eventually(shared.condition(ctx, "managed", "main", v1alpha1.ConditionProgrammed)).Should(Equal("True/Programmed"))
	})

	It("lets the operator bring and take away what is there only meanwhile", func(ctx SpecContext) { meanwhileOnly(ctx, "managed") })

	It("lets the garbage collector delete, and the operator heal", func(ctx SpecContext) {
		before := shared.get(ctx, "PeerAuthentication", "managed", "msp-mtls")
		Expect(shared.client(theCleanup).Delete(ctx, before)).To(Succeed())
		Eventually(func() error { // the operator needs its moment
			return shared.admin.Get(ctx, client.ObjectKeyFromObject(before), before.DeepCopy())
		}).Should(Succeed())
		Expect(shared.get(ctx, "PeerAuthentication", "managed", "msp-mtls").GetUID()).NotTo(Equal(before.GetUID()))
	})

	It("agrees with what counts as drift, whatever is done to the metadata", func(ctx SpecContext) {
		live := shared.get(ctx, "AuthorizationPolicy", "managed", "msp-callers")
		for what, change := range metadataChanges {
			changed := live.DeepCopy()
			change(changed)
			err := shared.client(teamLead).Update(ctx, changed, client.DryRunAll)
			isDrift := len(drift.Compare([]mesh.Object{typed(live)}, []mesh.Object{typed(changed)}, drift.Options{IntentUnchanged: true})) > 0
			if isDrift {
				Expect(err).To(beRefused("changed: metadata."), what)
			} else {
				Expect(err).NotTo(HaveOccurred(), what)
			}
		}
	})

	It("can't be overcome by size", func(ctx SpecContext) {
		live := shared.get(ctx, "AuthorizationPolicy", "managed", "msp-callers")
		many := map[string]string{}
		for _, n := range []int{64, 65, 5000} {
			for len(many) < n {
				many["note-"+strings.Repeat("x", 20)+mesh.Hash(string(rune(len(many))))] = "x"
			}
			for _, loosen := range []func(*unstructured.Unstructured){
				func(o *unstructured.Unstructured) { set(o, "AUDIT", "spec", "action") },
				func(o *unstructured.Unstructured) { annotate(o, "istio.io/dry-run", "true") },
			} {
				o := live.DeepCopy()
				o.SetAnnotations(many)
				loosen(o)
				Expect(shared.client(teamLead).Update(ctx, o, client.DryRunAll)).To(beRefused("is managed by"), "%d annotations", n)
			}
		}
	})

	Describe("where the profile", func() {
		looserNow := func(user string) error {
			_, err := shared.as(user, "", append([]string{"-n", "managed"}, append(patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`), "--dry-run=server")...)...)
			return err
		}
		refused := MatchError(ContainSubstring("is managed by MeshSecurityProfile managed/main"))

		It("is paused, people may work by hand, until it is not", func() {
			shared.kubectl("-n", "managed", "annotate", "msp", "main", v1alpha1.AnnotationPaused+"=true")
			Eventually(looserNow).WithArguments(teamLead).Should(Succeed())
			shared.kubectl("-n", "managed", "annotate", "msp", "main", v1alpha1.AnnotationPaused+"-")
			Eventually(looserNow).WithArguments(teamLead).Should(refused)
		})

		It("says guard None, changes pass and are undone as ever, until it says Managed", func(ctx SpecContext) {
			shared.kubectl("-n", "managed", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"drift":{"guard":"None"}}}`)
			Eventually(looserNow).WithArguments(teamLead).Should(Succeed())
			_, err := shared.as(teamLead, "", append([]string{"-n", "managed"}, patch("pa", "msp-mtls", "merge", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`)...)...)
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() int { return len(shared.profile(ctx, "managed").Status.Drift) }).ShouldNot(BeZero())
			shared.kubectl("-n", "managed", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"drift":{"guard":"Managed"}}}`)
			Eventually(looserNow).WithArguments(teamLead).Should(refused)
		})

		It("is being deleted, nothing is guarded", func() {
			// What it wrote is to be there still, and it itself as well.
			shared.kubectl("-n", "managed", "patch", "msp", "main", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/hold"]},"spec":{"deletionPolicy":"Retain"}}`)
			shared.kubectl("-n", "managed", "delete", "msp", "main", "--wait=false")
			Eventually(looserNow).WithArguments(teamLead).Should(Succeed())
		})
	})
})

// meanwhileOnly leaves what a plan that was cut short does: the operator's
// account may write it, and the operator takes it away, as no drift.
func meanwhileOnly(ctx context.Context, namespace string) {
	GinkgoHelper()
	o := object(meanwhile, namespace)
	Expect(shared.client("operator").Create(ctx, o, client.FieldOwner(v1alpha1.ManagedByValue))).To(Succeed())
	Eventually(func() error { // the operator needs its moment
		return shared.admin.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy())
	}).Should(MatchError(apierrors.IsNotFound, "not found"))
	Expect(shared.profile(ctx, namespace).Status.Drift).To(BeEmpty())
}

func set(o *unstructured.Unstructured, value any, path ...string) {
	GinkgoHelper()
	Expect(unstructured.SetNestedField(o.Object, value, path...)).To(Succeed())
}

func annotate(o *unstructured.Unstructured, key, value string) {
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	o.SetAnnotations(a)
}

func label(o *unstructured.Unstructured, key, value string) {
	l := o.GetLabels()
	l[key] = value
	o.SetLabels(l)
}

// typed is the object as the operator sees it.
func typed(o *unstructured.Unstructured) facts.Object {
	GinkgoHelper()
	out, err := scheme.New(o.GroupVersionKind())
	Expect(err).NotTo(HaveOccurred())
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, out)).To(Succeed())
	obj, ok := out.(facts.Object)
	Expect(ok).To(BeTrue())
	return obj
}

var metadataChanges = map[string]func(*unstructured.Unstructured){
	"nothing":                          func(*unstructured.Unstructured) {},
	"a plain label":                    func(o *unstructured.Unstructured) { label(o, "team", "payments") },
	"a label of a domain":              func(o *unstructured.Unstructured) { label(o, "example.com/team", "payments") },
	"Istio's label":                    func(o *unstructured.Unstructured) { label(o, "istio.io/rev", "x") },
	"a label below Istio's domain":     func(o *unstructured.Unstructured) { label(o, "security.istio.io/x", "x") },
	"a label of a domain that ends so": func(o *unstructured.Unstructured) { label(o, "notistio.io/x", "x") },
	"our own label":                    func(o *unstructured.Unstructured) { label(o, "meshsecurity.io/profile", "x") },
	"another label of ours":            func(o *unstructured.Unstructured) { label(o, "meshsecurity.io/other", "x") },
	"part-of":                          func(o *unstructured.Unstructured) { label(o, v1alpha1.LabelPartOf, "x") },
	"managed-by":                       func(o *unstructured.Unstructured) { label(o, v1alpha1.LabelManagedBy, "x") },
	"no labels":                        func(o *unstructured.Unstructured) { o.SetLabels(nil) },
	"a plain annotation":               func(o *unstructured.Unstructured) { annotate(o, "note", "x") },
	"kubectl's annotation": func(o *unstructured.Unstructured) {
		annotate(o, "kubectl.kubernetes.io/last-applied-configuration", "{}")
	},
	"Argo CD's annotation": func(o *unstructured.Unstructured) { annotate(o, "argocd.argoproj.io/tracking-id", "x") },
	"dry run":              func(o *unstructured.Unstructured) { annotate(o, "istio.io/dry-run", "true") },
	"the adopt mark":       func(o *unstructured.Unstructured) { annotate(o, v1alpha1.AnnotationAdopt, "true") },
	"another rule":         func(o *unstructured.Unstructured) { annotate(o, v1alpha1.AnnotationRule, "x") },
	"no annotations":       func(o *unstructured.Unstructured) { o.SetAnnotations(nil) },
	"no owner":             func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) },
	"one more owner": func(o *unstructured.Unstructured) {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}))
	},
	"an owner that does not block": func(o *unstructured.Unstructured) {
		refs := o.GetOwnerReferences()
		refs[0].BlockOwnerDeletion = new(bool)
		o.SetOwnerReferences(refs)
	},
	"a foreign finalizer":        func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"example.com/hold"}) },
	"the API server's finalizer": func(o *unstructured.Unstructured) { o.SetFinalizers([]string{metav1.FinalizerOrphanDependents}) },
}

var _ = Describe("An object of somebody else under one of the operator's names", func() {
	It("is its owner's to hand over, change and delete", func(ctx SpecContext) {
		shared.apply("{apiVersion: v1, kind: Namespace, metadata: {name: conflicting, labels: {istio-injection: enabled}}}")
		DeferCleanup(func() { shared.kubectl("delete", "namespace", "conflicting", "--wait=false") })
		shared.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: msp-mtls, namespace: conflicting}, spec: {mtls: {mode: DISABLE}}}")
		shared.apply("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: msp-egress, namespace: conflicting}, spec: {podSelector: {}}}")
		shared.apply(profile("conflicting", "main", strict("Managed")))
		Eventually(shared.condition(ctx, "conflicting", "main", v1alpha1.ConditionProgrammed)).Should(Equal("False/Conflict"))
		shared.inForce(ctx, "conflicting")
		_, err := shared.as(teamLead, "", "-n", "conflicting", "annotate", "pa", "msp-mtls", v1alpha1.AnnotationAdopt+"=true")
		Expect(err).NotTo(HaveOccurred())
		_, err = shared.as(teamLead, "", "-n", "conflicting", "delete", "netpol", "msp-egress")
		Expect(err).NotTo(HaveOccurred())
		Eventually(shared.condition(ctx, "conflicting", "main", v1alpha1.ConditionProgrammed)).Should(Equal("True/Programmed"))
	})
})

var _ = Describe("A profile that is not the one in force", func() {
	It("guards nothing", func(ctx SpecContext) {
		shared.guarded(ctx, "superseded", strict("None"))
		shared.apply(profile("superseded", "second", strict("Posture")))
		Eventually(shared.condition(ctx, "superseded", "second", v1alpha1.ConditionAccepted)).Should(Equal("False/Superseded"))
		Eventually(func() error { // the API server's cache has to see that too
			_, err := shared.as(teamLead, "", "-n", "superseded", "delete", "pa", "msp-mtls", "--dry-run=server")
			return err
		}).Should(Succeed())
	})
})

var _ = Describe("What goes with its profile or its namespace", func() {
	It("is collected while the operator is down", func(ctx SpecContext) {
		shared.guarded(ctx, "collected", strict("Posture"))
		shared.stop()
		DeferCleanup(shared.start)
		// A finalizer of the operator's would wait for the operator.
		shared.kubectl("-n", "collected", "patch", "msp", "main", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		shared.kubectl("-n", "collected", "delete", "msp", "main")
		Eventually(func() string {
			return shared.kubectl("-n", "collected", "get", "pa,ap,sidecars.networking.istio.io,serviceentry,telemetry,netpol", "-o", "name")
		}).WithTimeout(40 * time.Second).Should(BeEmpty()) // the garbage collector's pace
	})

	It("goes with the namespace", func(ctx SpecContext) {
		shared.guarded(ctx, "ending", strict("Posture"))
		Expect(shared.DeleteNamespace(ctx, "ending")).To(Succeed())
	})
})

var _ = Describe("Every object of the golden cases", func() {
	It("passes as the operator's, and as nobody else's", func(ctx SpecContext) {
		shared.guarded(ctx, "golden", strict("Posture"))
		files, err := filepath.Glob(filepath.Join(root, "internal/golden/testdata/cases/*/resources.yaml"))
		Expect(err).NotTo(HaveOccurred())
		ours, theirs := shared.client("operator"), shared.client(admin)
		count := 0
		for _, f := range files {
			raw, err := os.ReadFile(f)
			Expect(err).NotTo(HaveOccurred())
			for doc := range strings.SplitSeq(string(raw), "---\n") {
				if strings.TrimSpace(doc) == "" {
					continue
				}
				o := object(doc, "golden")
				count++
				err := ours.Create(ctx, o.DeepCopy(), client.DryRunAll)
				Expect(client.IgnoreAlreadyExists(err)).NotTo(HaveOccurred(), "%s: %s", f, o.GetName())
				err = theirs.Create(ctx, o.DeepCopy(), client.DryRunAll)
				Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s: %s %v", f, o.GetName(), err)
			}
		}
		Expect(count).To(BeNumerically(">", 200))
	})
})
