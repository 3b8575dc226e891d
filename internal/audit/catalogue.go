package audit

import (
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

var inbound = []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization}

// catalogue is made once: every look at a namespace goes through it.
var catalogue = func() []Check {
	out := slices.Concat(
		authorizationChecks(), certificateChecks(), controlChecks(), controlPlaneChecks(), declaredChecks(), hostChecks(), rightsChecks(), statusChecks(), webhookChecks(),
		egressChecks(), egressGatewayChecks(),
		enrolmentChecks(), lockChecks(), logChecks(), mutualTLSChecks(), networkChecks(), perimeterChecks(), vulnerabilityChecks(),
	)
	slices.SortFunc(out, func(a, b Check) int { return strings.Compare(a.ID, b.ID) })
	return out
}()

// Checks is the catalogue, sorted by ID.
func Checks() []Check { return slices.Clone(catalogue) }

func lockChecks() []Check {
	return []Check{
		{
			ID: "LOCK-001", Title: "Prometheus is refused", Severity: v1alpha1.SeverityHigh,
			Remediation: "add a rule for the service account of Prometheus and the ports; where it has no sidecar, a rule with ipBlock or entity Anyone and a port override for each port",
			Limits:      "Prometheus is known by its pods' label app.kubernetes.io/name (prometheus, vmagent) or app=prometheus. Where there are none, a rule for that port that names a caller of another namespace counts as one for Prometheus. Whether an ipBlock holds its address is not looked at.",
			References:  []string{"https://istio.io/latest/docs/ops/integrations/prometheus/"},
			Reads:       []string{"ServiceMonitor.monitoring.coreos.com", "PodMonitor.monitoring.coreos.com"},
			concerns:    inbound, find: prometheus,
		},
		{
			ID: "LOCK-002", Title: "an ingress gateway is refused", Severity: v1alpha1.SeverityCritical,
			Remediation: "add a rule for the gateway's service account; where it has no sidecar, a rule with ipBlock or entity Anyone and a port override for each port",
			Limits:      "Istio's gateways are known by their proxy's arguments (proxy router), other ingress controllers by their label app.kubernetes.io/name. Where no pod is found, a rule for the port that names a caller of the gateway's namespace counts, and for an Ingress one of any other namespace.",
			References:  []string{"https://istio.io/latest/docs/tasks/security/authorization/authz-ingress/", "https://gateway-api.sigs.k8s.io/api-types/httproute/"},
			Reads: []string{"VirtualService.networking.istio.io", "Ingress.networking.k8s.io", "HTTPRoute.gateway.networking.k8s.io",
				"GRPCRoute.gateway.networking.k8s.io", "TLSRoute.gateway.networking.k8s.io", "TCPRoute.gateway.networking.k8s.io"},
			concerns: inbound, find: ingress,
		},
		{
			ID: "LOCK-003", Title: "the API server is refused at a webhook, an aggregated API or a conversion", Severity: v1alpha1.SeverityCritical,
			Remediation: "the API server has no identity in the mesh: add a port override for the webhook's port, and a rule with ipBlock or entity Anyone that asks for nothing but the port",
			Limits:      "Whether an ipBlock holds the API server's address is not looked at.",
			References:  []string{"https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/"},
			Reads: []string{"ValidatingWebhookConfiguration.admissionregistration.k8s.io", "MutatingWebhookConfiguration.admissionregistration.k8s.io",
				"APIService.apiregistration.k8s.io"},
			concerns: inbound, find: hooks,
		},
		{
			ID: "LOCK-004", Title: "the kubelet's probes are refused", Severity: v1alpha1.SeverityHigh,
			Remediation: "let Istio redirect the probes (take the annotation sidecar.istio.io/rewriteAppHTTPProbers=false off and restart the pods), or add a port override and a rule with ipBlock or entity Anyone",
			Limits:      "Looked at is what the pod really says: Istio redirects probes by HTTP, by TCP from 1.12 and by gRPC from 1.13 on to its agent's port, unless it is told not to. A probe by TCP that is not redirected is answered by the proxy itself, and not refused.",
			References:  []string{"https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/", "https://istio.io/latest/news/releases/1.13.x/announcing-1.13/change-notes/"},
			concerns:    inbound, find: probes,
		},
		{
			ID: "LOCK-005", Title: "a job never ends", Severity: v1alpha1.SeverityMedium,
			Remediation: "have the proxy injected as a native sidecar (annotation sidecar.istio.io/nativeSidecar=true; Istio's default from 1.27 on where the nodes can), or let the job's last command call the proxy's /quitquitquit on port 15020",
			Limits:      "A job that ends its proxy itself is not told from one that does not. It is so with and without this profile, so that it holds nothing back.",
			References:  []string{"https://istio.io/latest/blog/2023/native-sidecars/"},
			Reads:       []string{"CronJob.batch"},
			concerns:    inbound, find: jobs,
		},
		{
			ID: "LOCK-006", Title: "members of a stateful workload refuse each other", Severity: v1alpha1.SeverityHigh,
			Remediation: "add a rule with entity SameNamespace, or for the workload's own service account, and the ports",
			Limits:      "Only ports of the headless service are looked at, and only where two pods or more run.",
			References:  []string{"https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"},
			concerns:    inbound, find: peers,
		},
		{
			ID: "LOCK-007", Title: "a workload loses the API server", Severity: v1alpha1.SeverityHigh,
			Remediation: "add an egress rule to the service kubernetes of namespace default, and with assurance Network one with the cidrs of the API server's addresses; or set automountServiceAccountToken to false where no token is needed",
			Limits:      "Only service accounts that a RoleBinding or ClusterRoleBinding names are taken to use the API server. Whether cidrs hold its address is not looked at.",
			References:  []string{"https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"},
			Reads:       []string{"RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io"},
			concerns:    []v1alpha1.Area{v1alpha1.AreaEgress}, find: apiUsers,
		},
		{
			ID: "LOCK-008", Title: "the egress gateway is not the operator's alone", Severity: v1alpha1.SeverityHigh,
			Remediation: "have the baseline's spec.egressGateway select pods of a gateway of their own; or move what goes through these pods to another gateway",
			Limits:      "A Gateway counts by its selector. That somebody has AuthorizationPolicies that let its callers in is not looked at, nor are the pods' Gateways of the Gateway API.",
			References:  []string{"https://istio.io/latest/docs/reference/config/security/authorization-policy/"},
			concerns:    []v1alpha1.Area{v1alpha1.AreaEgress}, find: sharedGateway,
		},
	}
}
