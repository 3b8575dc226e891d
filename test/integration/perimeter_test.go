package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// openGateway is a gateway with a list of who may use it, and a Gateway that
// takes requests in plaintext.
const openGateway = `
apiVersion: v1
kind: Pod
metadata: {name: gateway-0, namespace: perimeter, labels: {istio: perimeter}}
spec: {containers: [{name: istio-proxy, image: "registry.example.com/istio/proxyv2:1.31.1", args: [proxy, router]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: perimeter}
spec:
  selector: {istio: perimeter}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [perimeter/a.example.com]}]
`

const listAtGateway = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: list, namespace: perimeter}
spec: {rules: [{to: [{operation: {hosts: [a.example.com]}}]}]}
`

const redirect = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: redirect, namespace: perimeter}
spec:
  hosts: [a.example.com]
  gateways: [public]
  http: [{redirect: {scheme: https}}]
`

const sideDoor = `
apiVersion: v1
kind: Service
metadata: {name: door, namespace: perimeter}
spec: {type: NodePort, selector: {app: behind}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: behind, namespace: perimeter, labels: {app: behind}}
spec:
  containers:
  - {name: app, image: registry.example.com/app, ports: [{containerPort: 8080}]}
  - {name: istio-proxy, image: "registry.example.com/istio/proxyv2:1.31.1"}
`

const shutDoor = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: perimeter}
spec: {mtls: {mode: STRICT}}
`

var _ = Describe("The perimeter", Ordered, func() {
	told := func() string {
		return shared.kubectl("-n", "perimeter", "get", "events", "--field-selector=involvedObject.kind=Namespace",
			"-o", `jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}`)
	}

	It("is looked at as gateways, what is beside them and side doors change", func() {
		shared.namespace("perimeter")
		// What the first look finds is told by no Event.
		Eventually(main.Log).Should(ContainSubstring("Audited the cluster"))
		shared.apply(openGateway)
		Eventually(told).Should(SatisfyAll(MatchRegexp("FindingOpened.*GW-002 High: Gateway/perimeter/public"), MatchRegexp("FindingOpened.*GW-007 High: Pod/perimeter/gateway-0")))

		By("taking what is beside a gateway into account")
		shared.apply(listAtGateway)
		Eventually(told).Should(MatchRegexp("FindingResolved.*GW-007"))
		shared.apply(redirect)
		Eventually(told).Should(MatchRegexp("FindingResolved.*GW-002"))

		By("finding who is reached past it, until mutual TLS refuses who comes so")
		shared.apply(sideDoor)
		Eventually(told).Should(MatchRegexp("FindingOpened.*GW-009 High: Service/perimeter/door"))
		shared.apply(shutDoor)
		Eventually(told).Should(MatchRegexp("FindingResolved.*GW-009"))
	})
})
