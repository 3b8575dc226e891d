package istio

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// envoyProvider is the access log provider that every mesh has.
const envoyProvider = "envoy"

// DeniedFilter is the CEL condition for requests and connections that were refused,
// in Envoy's attributes. Each line guards the attribute that it reads, since a
// request has no termination details and a connection has no response code.
var DeniedFilter = strings.Join([]string{
	// Authorization and token checks.
	`(has(response.code) && (response.code == 401 || response.code == 403))`,
	`(has(connection.termination_details) && connection.termination_details.startsWith('rbac_access_denied'))`,
	// Plaintext where mutual TLS alone is accepted.
	`(has(response.code_details) && response.code_details == 'filter_chain_not_found')`,
	// Egress to what nothing allows.
	`(has(xds.cluster_name) && xds.cluster_name == 'BlackHoleCluster')`,
	`(has(xds.route_name) && xds.route_name == 'block_all')`,
}, " || ")

// accessLog writes what the namespace's workloads log.
func accessLog(p posture.Posture, f facts.Facts) []mesh.Object {
	if p.AccessLog == "" {
		return nil
	}
	names := slices.Clone(f.Mesh.AccessLogProviders)
	if len(names) == 0 {
		names = []string{envoyProvider}
	}
	names = unique(names)
	logging := &telemetryapi.AccessLogging{
		Match:    &telemetryapi.AccessLogging_LogSelector{Mode: telemetryapi.WorkloadMode_CLIENT_AND_SERVER},
		Disabled: wrapperspb.Bool(p.AccessLog == v1alpha1.AccessLogNone),
	}
	for _, name := range names {
		logging.Providers = append(logging.Providers, &telemetryapi.ProviderRef{Name: name})
	}
	if p.AccessLog == v1alpha1.AccessLogDenied {
		logging.Filter = &telemetryapi.AccessLogging_Filter{Expression: DeniedFilter}
	}
	return []mesh.Object{&telemetryv1.Telemetry{
		TypeMeta:   metav1.TypeMeta{APIVersion: telemetryv1.SchemeGroupVersion.String(), Kind: "Telemetry"},
		ObjectMeta: mesh.Meta(p, mesh.Name("access-log"), ""),
		Spec:       telemetryapi.Telemetry{AccessLogging: []*telemetryapi.AccessLogging{logging}},
	}}
}
