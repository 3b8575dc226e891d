// Package standin holds what stands for an installed Istio where none runs: the
// traces of its control plane that the operator reads, and its injector as an
// admission policy that does the same to a pod. It must never claim more: no
// proxy runs, and nothing is enforced.
package standin

// Istio is istiod's namespace, configuration, root (one that was brought from
// outside, with a list of revoked certificates) and deployment, and an ingress
// gateway's account. istiod counts as running once its pod is reported as ready.
const Istio = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    rootNamespace: istio-system
    trustDomain: cluster.local
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-ca-root-cert, namespace: istio-system}
data:
  root-cert.pem: |
    -----BEGIN CERTIFICATE-----
    MIIBhTCCASugAwIBAgIBATAKBggqhkjOPQQDAjApMRAwDgYDVQQKEwdFeGFtcGxl
    MRUwEwYDVQQDEwxFeGFtcGxlIFJvb3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTAx
    MDEwMDAwMDBaMCkxEDAOBgNVBAoTB0V4YW1wbGUxFTATBgNVBAMTDEV4YW1wbGUg
    Um9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCbjHzxA0BDDi6ob352aOJvz
    H4qk1nnrdnxvtz3QA3UWyU/1Zgow/15ZQwldZwnME9B/8hh3MzmV+0aTg1jntoij
    QjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRL
    sVGWtxG+BZNxwzyvCBLHJh7I6zAKBggqhkjOPQQDAgNIADBFAiEAqhVYOpnJyuRO
    ALdK9TyoqaCj9Mk06Y5B9xFQwMCKuJcCICeBOowvju2AxU5CNADToCFChJ1knuWM
    YXTGsqTW7vVF
    -----END CERTIFICATE-----
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-ca-crl, namespace: istio-system}
data:
  ca-crl.pem: |
    -----BEGIN X509 CRL-----
    MIHlMIGLAgEBMAoGCCqGSM49BAMCMCkxEDAOBgNVBAoTB0V4YW1wbGUxFTATBgNV
    BAMTDEV4YW1wbGUgUm9vdBcNMjAwMTAxMDAwMDAwWhgPMjA5OTAxMDEwMDAwMDBa
    oC8wLTAfBgNVHSMEGDAWgBRLsVGWtxG+BZNxwzyvCBLHJh7I6zAKBgNVHRQEAwIB
    ATAKBggqhkjOPQQDAgNJADBGAiEAp2uig5omvLL+ac7VoT1cYcsQojDfKq/vkSMW
    S9YZyuMCIQDsvghTh72nTDqh5bFPLwGWpqutLMZHP27kIuAI6u94kg==
    -----END X509 CRL-----
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: istiod
  namespace: istio-system
  labels: {app: istiod, istio.io/rev: default}
spec:
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec:
      containers:
      - {name: discovery, image: "registry.example.com/istio/pilot:1.31.1"}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-ingress}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: istio-ingress, namespace: istio-ingress}
`

// Injector gives every pod of a namespace labelled istio-injection=enabled a
// proxy container, unless the pod opts out, and makes a gateway of the first
// container of a pod that asks for the gateway template.
const Injector = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: istio-sidecar-injector}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {istio-injection: enabled}}
    objectSelector: {matchExpressions: [{key: sidecar.istio.io/inject, operator: NotIn, values: ["false"]}]}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        [JSONPatch{op: "add", path: "/spec/containers/-", value: Object.spec.containers{
        name: "istio-proxy", image: "registry.example.com/istio/proxyv2:1.31.1"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: istio-sidecar-injector}
spec: {policyName: istio-sidecar-injector}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: istio-gateway-injector}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    objectSelector: {matchLabels: {sidecar.istio.io/inject: "true"}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  matchConditions:
  - name: gateway-template
    expression: object.metadata.?annotations[?"inject.istio.io/templates"].orValue("") == "gateway"
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        [JSONPatch{op: "replace", path: "/spec/containers/0/image", value: "registry.example.com/istio/proxyv2:1.31.1"},
        JSONPatch{op: "add", path: "/spec/containers/0/args", value: ["proxy", "router"]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: istio-gateway-injector}
spec: {policyName: istio-gateway-injector}
`
