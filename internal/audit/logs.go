package audit

import (
	"maps"
	"slices"
	"strings"

	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

const referenceLogs = "https://istio.io/latest/docs/tasks/observability/logs/access-log/"

func logChecks() []Check {
	return []Check{
		{
			ID: "AUD-001", Title: "denied calls are not logged", Severity: v1alpha1.SeverityHigh, Aliases: []string{"IST0157"},
			Compliance:  []string{"PCI DSS 4.0 10.2.1"},
			Remediation: "declare logging.accessLog Denied or All, and take away the Telemetry that leaves them out; where they are not to be logged, declare None",
			Limits:      "Whether the log is kept anywhere is not looked at. Where neither the profile nor a baseline declares logging, the finding is of severity Medium; a declared None is none.",
			References:  []string{referenceLogs, "https://istio.io/latest/docs/reference/config/telemetry/#AccessLogging"},
			workload:    unlogged,
		},
		{
			ID: "AUD-002", Title: "the access log does not say who was denied and why", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 10.2.1"},
			Remediation: "add %RESPONSE_CODE_DETAILS% and %DOWNSTREAM_PEER_URI_SAN% to the format",
			Limits:      "Only formats that the mesh configuration gives are looked at. Istio's own says why and not who; a provider's that is no text says what it likes.",
			References:  []string{referenceLogs, "https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage"},
			examine:     poorLogs,
		},
		{
			ID: "AUD-003", Title: "metrics lose what security needs", Severity: v1alpha1.SeverityMedium,
			Remediation: "leave connection_security_policy, source_principal, destination_principal, response_code and response_flags on REQUEST_COUNT and TCP_OPENED_CONNECTIONS; take labels off other metrics to save space",
			Limits:      "Only Telemetry is looked at: no EnvoyFilter, and no relabelling by who collects.",
			References:  []string{"https://istio.io/latest/docs/reference/config/metrics/#labels", "https://istio.io/latest/docs/reference/config/telemetry/#MetricsOverrides"},
			examine:     poorMetrics,
		},
	}
}

// unlogged looks for workloads at which a denied call leaves no line in a log,
// and for a namespace where nothing asks for one.
func unlogged(s *Scene, w workload) []Finding {
	if !s.istio() || s.Posture.AccessLog == v1alpha1.AccessLogNone {
		return nil
	}
	at := map[string]Finding{}
	for _, p := range s.selected(w, nil) {
		f, found := s.unloggedAt(w, p)
		if have, is := at[f.Subject]; found && (!is || have.State == v1alpha1.FindingUnknown) {
			at[f.Subject] = f
		}
	}
	var out []Finding
	for _, subject := range slices.Sorted(maps.Keys(at)) {
		f := at[subject]
		if s.Posture.AccessLog == "" {
			f.Severity = v1alpha1.SeverityMedium
		}
		out = append(out, f)
	}
	return out
}

func (s *Scene) unloggedAt(w workload, p facts.Pod) (Finding, bool) {
	at := s.Model().Pass(effective.Probe{Layer: effective.Unlogged, Call: effective.Call{To: p.Labels}})
	// What the mesh's default decides is so for the whole namespace.
	namespace := "Namespace/" + s.Facts.Namespace.Name
	switch {
	case !at.Passes:
		return Finding{}, false
	case len(at.By) > 0 && at.Unknown:
		return unknown(w.String(), "nothing tells whether denied calls leave a line in a log, by %s: it has a filter of its own, or is for no provider", s.named(at.By)), true
	case len(at.By) > 0:
		return open(w.String(), "calls that are denied leave no line in a log, by %s", s.named(at.By)), true
	case s.Facts.Mesh.AccessLog == facts.Yes:
		return Finding{}, false
	case s.Facts.Mesh.AccessLog == facts.No:
		return open(namespace, "calls that are denied leave no line in a log: neither a Telemetry nor the mesh configuration asks for one"), true
	}
	return unknown(namespace, "no Telemetry asks for access logs, and the mesh configuration can't be read, which may"), true
}

// poorLogs looks at the formats that the mesh configuration gives.
func poorLogs(s *Scene) []Finding {
	if !s.istio() {
		return nil
	}
	ours, others := acting[*telemetryv1.Telemetry](s)
	var out []Finding
	for _, f := range s.Facts.Mesh.LogFormats {
		if !s.logsBy(f.Provider, slices.Concat(ours, others)) {
			continue
		}
		var lacks []string
		if !strings.Contains(f.Text, "%RESPONSE_CODE_DETAILS%") {
			lacks = append(lacks, "why a call was denied (%RESPONSE_CODE_DETAILS%)")
		}
		if !strings.Contains(f.Text, "%DOWNSTREAM_PEER_") {
			lacks = append(lacks, "who called (%DOWNSTREAM_PEER_URI_SAN%)")
		}
		if len(lacks) == 0 {
			continue
		}
		where := "accessLogFormat"
		if f.Provider != "" {
			where = "the log format of provider " + f.Provider
		}
		out = append(out, open("MeshConfig/"+s.Facts.Mesh.Revision, "%s does not say %s", where, strings.Join(lacks, ", nor ")))
	}
	return out
}

// logsBy says whether the namespace's proxies log by a provider of the mesh
// configuration; the proxies' own log is that of no name.
func (s *Scene) logsBy(provider string, telemetries []*telemetryv1.Telemetry) bool {
	m := s.Facts.Mesh
	name := provider
	if name == "" {
		// The provider that every mesh has writes in the mesh's format.
		name = "envoy"
	}
	if provider == "" && m.AccessLog == facts.Yes || slices.Contains(m.AccessLogProviders, name) {
		return true
	}
	return slices.ContainsFunc(telemetries, func(t *telemetryv1.Telemetry) bool {
		return slices.ContainsFunc(t.Spec.GetAccessLogging(), func(a *telemetryapi.AccessLogging) bool {
			return !a.GetDisabled().GetValue() &&
				slices.ContainsFunc(a.GetProviders(), func(p *telemetryapi.ProviderRef) bool { return p.GetName() == name })
		})
	})
}

// securityLabels are those of metrics by which denials and plaintext are told.
var securityLabels = []string{"connection_security_policy", "source_principal", "destination_principal", "response_code", "response_flags"}

// counted are the metrics that count calls; the others may go without labels.
var counted = []telemetryapi.MetricSelector_IstioMetric{
	telemetryapi.MetricSelector_ALL_METRICS, telemetryapi.MetricSelector_REQUEST_COUNT, telemetryapi.MetricSelector_TCP_OPENED_CONNECTIONS,
}

// poorMetrics looks for overrides that take away what tells of denials.
func poorMetrics(s *Scene) []Finding {
	_, others := acting[*telemetryv1.Telemetry](s)
	var out []Finding
	for _, t := range others {
		var lost []string
		for _, m := range t.Spec.GetMetrics() {
			for _, o := range m.GetOverrides() {
				lost = append(lost, losses(o)...)
			}
		}
		slices.Sort(lost)
		if lost = slices.Compact(lost); len(lost) > 0 {
			out = append(out, open(s.subject(t), "it takes away or replaces what tells of denied calls and of plaintext: %s", strings.Join(lost, ", ")))
		}
	}
	return out
}

func losses(o *telemetryapi.MetricsOverrides) []string {
	match := o.GetMatch()
	if match.GetMode() == telemetryapi.WorkloadMode_CLIENT || match.GetCustomMetric() != "" || !slices.Contains(counted, match.GetMetric()) {
		return nil
	}
	if o.GetDisabled().GetValue() {
		return []string{"the metric " + match.GetMetric().String()}
	}
	var out []string
	for _, label := range securityLabels {
		if _, is := o.GetTagOverrides()[label]; is {
			out = append(out, "label "+label)
		}
	}
	return out
}
