package integration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

// egressGateway makes a gateway of Istio's in a namespace: a service and a ready pod.
func (c *cluster) egressGateway(namespace string) {
	GinkgoHelper()
	c.apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", namespace))
	DeferCleanup(func() { c.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found") })
	c.apply(fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: gateway, namespace: %[1]s}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: %[1]s}
spec:
  selector: {app: gateway, istio: egressgateway}
  ports: [{name: tls, port: 443, targetPort: 8443}]
---
apiVersion: v1
kind: Pod
metadata: {name: gateway-0, namespace: %[1]s, labels: {app: gateway, istio: egressgateway}}
spec:
  serviceAccountName: gateway
  containers:
  - {name: istio-proxy, image: "registry.example.com/istio/proxyv2:1.31.1", args: [proxy, router]}
`, namespace))
	c.gatewayReady(namespace, "True")
}

// gatewayReady says of the gateway's pod what a kubelet would.
func (c *cluster) gatewayReady(namespace, ready string) {
	GinkgoHelper()
	c.kubectl("-n", namespace, "patch", "pod", "gateway-0", "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":%q,"lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, ready))
}

func throughGateway(namespace string) string {
	return fmt.Sprintf("  egressGateway: {namespace: %s, serviceAccount: gateway, selector: {istio: egressgateway}, port: 443}\n", namespace)
}

// outgoing is YAML of a profile that reaches a host by TLS.
func outgoing(namespace, host string) string {
	return fmt.Sprintf(`
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: main, namespace: %s}
spec:
  egress:
    defaultAction: Deny
    assurance: Gateway
    rules:
    - {name: api, to: [{hosts: [%s], ports: [{port: 443, protocol: TLS}]}]}
`, namespace, host)
}

// versions are the resource versions of all that is written for a namespace.
func (c *cluster) versions(namespace, gateway string) string {
	GinkgoHelper()
	return c.kubectl("-n", namespace, "get", "gateways.networking.istio.io,virtualservices,destinationrules,serviceentries,sidecars.networking.istio.io,netpol",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`) +
		c.kubectl("-n", gateway, "get", "ap", policyAt(namespace, gateway), "-o", "jsonpath={.metadata.resourceVersion}")
}

func policyAt(namespace, gateway string) string {
	return "msp-egress.gateway." + namespace + "." + gateway
}

var _ = Describe("An egress gateway", func() {
	const gateway = "out-gateway"

	It("is used by two namespaces that allow one host, and neither notices that the other leaves", func(ctx SpecContext) {
		shared.egressGateway(gateway)
		shared.withBaseline("out", throughGateway(gateway))
		for _, ns := range []string{"out-a", "out-b"} {
			shared.join(ns, "out")
			shared.apply(outgoing(ns, "api.example.com"))
		}
		policies := func() []string { return shared.objects(ctx, gateway) }
		for _, ns := range []string{"out-a", "out-b"} {
			shared.ready(ctx, ns, "main")
			Expect(shared.objects(ctx, ns)).To(HaveLen(8))
			p := shared.profile(ctx, ns, "main")
			Expect(p.Status.Effective.EgressAssurance).To(Equal(v1alpha1.AssuranceGateway))
			Expect(p.Status.Rules).To(ConsistOf(HaveField("EnforcedBy", ConsistOf(v1alpha1.EnforcerSidecar, v1alpha1.EnforcerEgressGateway, v1alpha1.EnforcerNetworkPolicy))))
		}
		Expect(policies()).To(ConsistOf("AuthorizationPolicy/"+policyAt("out-a", gateway), "AuthorizationPolicy/"+policyAt("out-b", gateway)))
		Expect(shared.kubectl("-n", gateway, "get", "ap", policyAt("out-a", gateway), "-o", "jsonpath={.metadata.ownerReferences[*].kind} {.spec.rules[*].from[*].source.namespaces} {.spec.rules[*].when[*].values}")).
			To(Equal(`MeshSecurityBaseline ["out-a"] ["443.api.example.com.out-a.egress.meshsecurity.invalid"]`))

		By("healing what somebody changes, in the namespaces and beside the gateway")
		since := time.Now()
		tamper := func(namespace, kind, name, patch string) {
			shared.kubectl("-n", namespace, "patch", kind, name, "--type=merge", "-p", patch, "--field-manager=intruder")
		}
		spec := func(namespace, kind, name string) func() string {
			return func() string { return shared.kubectl("-n", namespace, "get", kind, name, "-o", "jsonpath={.spec}") }
		}
		route := strings.TrimPrefix(shared.kubectl("-n", "out-a", "get", "virtualservices", "-o", "name"), "virtualservice.networking.istio.io/")
		route, _, _ = strings.Cut(route, "\n")
		for _, o := range []struct{ namespace, kind, name, patch, resource string }{
			{"out-a", "gateways.networking.istio.io", "msp-egress", `{"spec":{"selector":{"istio":"mine"}}}`, "Gateway/msp-egress"},
			{"out-a", "virtualservices", route, `{"spec":{"exportTo":["*"]}}`, "VirtualService/" + route},
			{"out-a", "destinationrules", "msp-egress", `{"spec":{"trafficPolicy":{"tls":{"mode":"DISABLE"}}}}`, "DestinationRule/msp-egress"},
			{gateway, "ap", policyAt("out-a", gateway), `{"spec":{"rules":[{}]}}`, "AuthorizationPolicy/" + policyAt("out-a", gateway)},
		} {
			before := spec(o.namespace, o.kind, o.name)()
			tamper(o.namespace, o.kind, o.name, o.patch)
			Eventually(spec(o.namespace, o.kind, o.name)).Should(Equal(before), o.resource)
			Eventually(func() []v1alpha1.DriftRecord { return shared.profile(ctx, "out-a", "main").Status.Drift }).Should(ContainElement(And(
				HaveField("Resource", o.resource), HaveField("Actor", "intruder"), HaveField("Effect", v1alpha1.EffectWeakens), HaveField("Resolution", v1alpha1.ResolutionCorrected))))
		}
		shared.kubectl("-n", gateway, "delete", "ap", policyAt("out-a", gateway))
		Eventually(policies).Should(HaveLen(2))
		shared.ready(ctx, "out-a", "main")
		Expect(shared.wrote(ctx, "out-b", since)).To(BeEmpty())

		By("not claiming the gateway while its policy is not as it should be")
		shared.kubectl("-n", "out-a", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"drift":{"policy":"Report"}}}`)
		shared.ready(ctx, "out-a", "main")
		tamper(gateway, "ap", policyAt("out-a", gateway), `{"spec":{"rules":[{}]}}`)
		Eventually(shared.condition(ctx, "out-a", "main", "EgressEnforced")).Should(HavePrefix("False/"))
		Expect(shared.profile(ctx, "out-a", "main").Status.Effective.EgressAssurance).To(BeEmpty())
		shared.kubectl("-n", "out-a", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"drift":{"policy":"Correct"}}}`)
		shared.ready(ctx, "out-a", "main")

		By("the first one leaving")
		kept := shared.versions("out-b", gateway)
		since = time.Now()
		shared.kubectl("-n", "out-a", "delete", "msp", "main", "--timeout=20s")
		Eventually(policies).Should(ConsistOf("AuthorizationPolicy/" + policyAt("out-b", gateway)))
		Expect(shared.objects(ctx, "out-a")).To(BeEmpty())
		var order []string
		for _, r := range shared.requests(ctx, since) {
			if r.Verb == "delete" {
				order = append(order, r.Resource)
			}
		}
		Expect(order).To(HaveExactElements("networkpolicies", "sidecars", "virtualservices", "virtualservices", "gateways", "destinationrules",
			"serviceentries", "serviceentries", "authorizationpolicies"))
		Expect(shared.versions("out-b", gateway)).To(Equal(kept))

		By("doing nothing when nothing happens")
		since = time.Now()
		Consistently(func() []string {
			// Namespaces of other specs may be on their way out, and the baseline's
			// counts follow half a second after its namespaces.
			return matching(slices.DeleteFunc(shared.requests(ctx, since), func(r controlplane.Request) bool {
				return !slices.Contains([]string{"out-a", "out-b", gateway}, r.Namespace)
			}), append(writeVerbs, readVerbs...)...)
		}, "3s").Should(BeEmpty())

		By("mode Audit, and back")
		shared.kubectl("-n", "out-b", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Audit"}}`)
		Eventually(policies).Should(BeEmpty())
		Eventually(func() []string { return shared.objects(ctx, "out-b") }).Should(BeEmpty())
		shared.kubectl("-n", "out-b", "patch", "msp", "main", "--type=merge", "-p", `{"spec":{"enforcementMode":"Enforce"}}`)
		shared.ready(ctx, "out-b", "main")
		Expect(policies()).To(HaveLen(1))

		By("the baseline being deleted")
		shared.kubectl("delete", "msb", "out", "--timeout=20s")
		Expect(policies()).To(BeEmpty(), "the baseline was let go before it was gone")
		Eventually(shared.condition(ctx, "out-b", "main", "ResolvedRefs")).Should(Equal("False/EgressGatewayNotFound"))
		Eventually(func() []string { return shared.objects(ctx, "out-b") }).Should(ConsistOf("NetworkPolicy/msp-egress", "Sidecar/msp-egress"))
	})

	It("is waited for, and noticed when it comes and goes", func(ctx SpecContext) {
		shared.withBaseline("late", "  mandates: {egress: Deny, egressAssurance: Gateway}\n"+throughGateway("late-gateway"))
		shared.join("late", "late")
		shared.apply(outgoing("late", "api.example.com"))
		refs := shared.condition(ctx, "late", "main", "ResolvedRefs")
		Eventually(refs).Should(Equal("False/EgressGatewayNotFound"))
		Eventually(func() []string { return shared.objects(ctx, "late") }).Should(ConsistOf("NetworkPolicy/msp-egress", "Sidecar/msp-egress"))
		Expect(shared.profile(ctx, "late", "main").Status.Effective.EgressAssurance).To(Equal(v1alpha1.AssuranceNetwork))

		shared.egressGateway("late-gateway")
		shared.ready(ctx, "late", "main")
		assurance := func() v1alpha1.EgressAssurance {
			return shared.profile(ctx, "late", "main").Status.Effective.EgressAssurance
		}
		Expect(assurance()).To(Equal(v1alpha1.AssuranceGateway))

		By("its pod not being ready, which changes nothing that is written")
		kept := shared.versions("late", "late-gateway")
		shared.gatewayReady("late-gateway", "False")
		Eventually(refs).Should(Equal("False/EgressGatewayNotFound"))
		Eventually(assurance).Should(Equal(v1alpha1.AssuranceNetwork))
		Expect(shared.versions("late", "late-gateway")).To(Equal(kept))
		shared.gatewayReady("late-gateway", "True")
		shared.ready(ctx, "late", "main")

		By("somebody else's Gateway at its pods")
		shared.apply(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: theirs, namespace: late-gateway}
spec:
  selector: {istio: egressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
`)
		Eventually(func() []v1alpha1.Finding { return shared.profile(ctx, "late", "main").Status.Findings }).Should(ContainElement(And(
			HaveField("Check", "LOCK-008"), HaveField("Subject", "Gateway/late-gateway/theirs"))))

		By("the namespace being deleted, of which nothing stays at the gateway")
		shared.kubectl("delete", "namespace", "late", "--wait=false")
		Eventually(func() []string { return shared.objects(ctx, "late-gateway") }).Should(BeEmpty())
	})

	It("follows the baseline that counts, and leaves nothing where it was", func(ctx SpecContext) {
		for _, gw := range []string{"old-gateway", "new-gateway"} {
			shared.egressGateway(gw)
		}
		shared.withBaseline("moving", throughGateway("old-gateway"))
		shared.join("moving", "moving")
		shared.apply(outgoing("moving", "api.example.com"))
		shared.ready(ctx, "moving", "main")
		Expect(shared.objects(ctx, "old-gateway")).To(HaveLen(1))
		shared.kubectl("patch", "msb", "moving", "--type=merge", "-p", `{"spec":{"egressGateway":{"namespace":"new-gateway"}}}`)
		Eventually(func() []string { return shared.objects(ctx, "new-gateway") }).Should(HaveLen(1))
		Eventually(func() []string { return shared.objects(ctx, "old-gateway") }).Should(BeEmpty())
		shared.ready(ctx, "moving", "main")

		By("the namespace losing its label")
		shared.kubectl("label", "namespace", "moving", "fleet-")
		Eventually(func() []string { return shared.objects(ctx, "new-gateway") }).Should(BeEmpty())
		Eventually(shared.condition(ctx, "moving", "main", "ResolvedRefs")).Should(Equal("False/EgressGatewayNotFound"))
	})
})
