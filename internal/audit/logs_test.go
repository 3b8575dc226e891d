package audit

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	typeapi "istio.io/api/type/v1beta1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

func telemetry(l ...*telemetryapi.AccessLogging) *telemetryv1.Telemetry {
	t := &telemetryv1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "logs"}}
	t.Spec.AccessLogging = l
	return t
}

func overrides(o ...*telemetryapi.MetricsOverrides) *telemetryv1.Telemetry {
	t := telemetry()
	t.Spec.Metrics = []*telemetryapi.Metrics{{Overrides: o}}
	return t
}

func on(metric telemetryapi.MetricSelector_IstioMetric, mode telemetryapi.WorkloadMode) *telemetryapi.MetricSelector {
	return &telemetryapi.MetricSelector{MetricMatch: &telemetryapi.MetricSelector_Metric{Metric: metric}, Mode: mode}
}

func without(label string) map[string]*telemetryapi.MetricsOverrides_TagOverride {
	return map[string]*telemetryapi.MetricsOverrides_TagOverride{label: {Operation: telemetryapi.MetricsOverrides_TagOverride_REMOVE}}
}

func filtered(expression string) *telemetryapi.AccessLogging {
	return &telemetryapi.AccessLogging{Providers: byEnvoy, Filter: &telemetryapi.AccessLogging_Filter{Expression: expression}}
}

var byEnvoy = []*telemetryapi.ProviderRef{{Name: "envoy"}}

func TestLogs(t *testing.T) {
	envoy := &telemetryapi.AccessLogging{Providers: byEnvoy}
	exam(t, "AUD", []examined{
		{"AUD-001", "nobody asks for a log", func(s *Scene) { s.Facts.Mesh.AccessLog = facts.No }, []string{"Namespace/payments: neither a Telemetry nor the mesh configuration asks for one"}},
		{"AUD-001", "a default provider", func(s *Scene) { s.Facts.Mesh.AccessLog, s.Facts.Mesh.AccessLogProviders = facts.No, []string{"otel"} }, nil},
		{"AUD-001", "turned off", func(s *Scene) {
			s.add(telemetry(&telemetryapi.AccessLogging{Providers: byEnvoy, Disabled: wrapperspb.Bool(true)}))
		}, []string{"Deployment/api: calls that are denied leave no line in a log, by Telemetry/logs"}},
		{"AUD-001", "turned on for no provider", func(s *Scene) {
			s.Facts.Mesh.AccessLog = facts.No
			s.add(telemetry(&telemetryapi.AccessLogging{}))
		}, []string{"Deployment/api: calls that are denied leave no line in a log, by Telemetry/logs"}},
		{"AUD-001", "turned on for a provider that is not defined", func(s *Scene) {
			s.Facts.Mesh.AccessLog = facts.No
			s.add(telemetry(&telemetryapi.AccessLogging{Providers: []*telemetryapi.ProviderRef{{Name: "nowhere"}}}))
		}, []string{"Deployment/api: calls that are denied leave no line in a log, by Telemetry/logs"}},
		{"AUD-001", "turned off for no provider", func(s *Scene) { s.add(telemetry(&telemetryapi.AccessLogging{Disabled: wrapperspb.Bool(true)})) }, []string{"Deployment/api: or is for no provider"}},
		{"AUD-001", "a filter", func(s *Scene) { s.add(telemetry(filtered("response.code >= 500"))) }, []string{"Deployment/api: unknown: nothing tells whether denied calls leave a line in a log, by Telemetry/logs"}},
		{"AUD-001", "one pod's filter is unclear, another's log is off", func(s *Scene) {
			p := *s.pod()
			p.Name, p.Labels = "api-1", map[string]string{"app": "api", "canary": "true"}
			s.Facts.Pods = append(s.Facts.Pods, p)
			off := telemetry(&telemetryapi.AccessLogging{Providers: byEnvoy, Disabled: wrapperspb.Bool(true)})
			off.Name, off.Spec.Selector = "off", &typeapi.WorkloadSelector{MatchLabels: map[string]string{"canary": "true"}}
			s.add(telemetry(filtered("response.code >= 500")), off)
		}, []string{"Deployment/api: calls that are denied leave no line in a log, by Telemetry/off"}},
		{"AUD-001", "None is declared", func(s *Scene) { s.Facts.Mesh.AccessLog, s.Posture.AccessLog = facts.No, v1alpha1.AccessLogNone }, nil},
		{"AUD-001", "outside of the mesh", func(s *Scene) { s.Facts.Mesh.AccessLog = facts.No; s.pod().Sidecar = false }, nil},
		{"AUD-001", "not known", func(s *Scene) { s.unreadMesh() }, []string{"Namespace/payments: unknown: no Telemetry asks"}},
		{"AUD-001", "not known, and a Telemetry asks", func(s *Scene) { s.unreadMesh(); s.add(telemetry(envoy)) }, nil},

		{"AUD-002", "neither", func(s *Scene) { s.Facts.Mesh.LogFormats = []facts.LogFormat{{Text: "%RESPONSE_CODE%"}} },
			[]string{"MeshConfig/default: accessLogFormat does not say why a call was denied (%RESPONSE_CODE_DETAILS%), nor who called"}},
		{"AUD-002", "both", func(s *Scene) {
			s.Facts.Mesh.LogFormats = []facts.LogFormat{{Text: "%RESPONSE_CODE_DETAILS% %DOWNSTREAM_PEER_URI_SAN%"}}
		}, nil},
		{"AUD-002", "not used", func(s *Scene) {
			s.Facts.Mesh.AccessLog, s.Facts.Mesh.LogFormats = facts.No, []facts.LogFormat{{Text: "x"}, {Provider: "json", Text: "x"}}
		}, nil},
		{"AUD-002", "used by a Telemetry", func(s *Scene) {
			s.Facts.Mesh.AccessLog, s.Facts.Mesh.LogFormats = facts.No, []facts.LogFormat{{Text: "%RESPONSE_CODE_DETAILS%"}}
			s.add(telemetry(envoy))
		}, []string{"MeshConfig/default: accessLogFormat does not say who called"}},
		{"AUD-002", "turned off by a Telemetry", func(s *Scene) {
			s.Facts.Mesh.AccessLog, s.Facts.Mesh.LogFormats = facts.No, []facts.LogFormat{{Text: "x"}}
			s.add(telemetry(&telemetryapi.AccessLogging{Providers: envoy.Providers, Disabled: wrapperspb.Bool(true)}))
		}, nil},
		{"AUD-002", "a default provider's", func(s *Scene) {
			s.Facts.Mesh.AccessLogProviders, s.Facts.Mesh.LogFormats = []string{"json"}, []facts.LogFormat{{Provider: "json", Text: "%DOWNSTREAM_PEER_URI_SAN%"}}
		}, []string{"MeshConfig/default: the log format of provider json does not say why"}},

		{"AUD-003", "labels", func(s *Scene) {
			s.add(overrides(&telemetryapi.MetricsOverrides{TagOverrides: without("source_principal")}))
		},
			[]string{"Telemetry/logs: label source_principal"}},
		{"AUD-003", "a metric", func(s *Scene) {
			s.add(overrides(&telemetryapi.MetricsOverrides{Match: on(telemetryapi.MetricSelector_REQUEST_COUNT, telemetryapi.WorkloadMode_SERVER), Disabled: wrapperspb.Bool(true)}))
		}, []string{"Telemetry/logs: the metric REQUEST_COUNT"}},
		{"AUD-003", "another metric, another label, the caller's side", func(s *Scene) {
			s.add(overrides(
				&telemetryapi.MetricsOverrides{Match: on(telemetryapi.MetricSelector_REQUEST_SIZE, 0), TagOverrides: without("source_principal")},
				&telemetryapi.MetricsOverrides{TagOverrides: without("request_protocol")},
				&telemetryapi.MetricsOverrides{Match: on(telemetryapi.MetricSelector_REQUEST_COUNT, telemetryapi.WorkloadMode_CLIENT), Disabled: wrapperspb.Bool(true)}))
		}, nil},
	})
}
