package effective

import (
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// logs is a Telemetry's access logging, as far as it concerns what is denied.
type logs struct {
	ref      int
	level    level
	selector map[string]string
	answer   state // of the question whether a denied call goes unlogged
}

// level at which something is declared, the strongest last.
type level int

const (
	rootLevel level = iota
	namespaceLevel
	workloadLevel
)

func (m *Model) addTelemetry(o *telemetryv1.Telemetry, ref int) {
	if targeted(&o.Spec) {
		return
	}
	l := logs{ref: ref, level: namespaceLevel, selector: o.Spec.GetSelector().GetMatchLabels()}
	switch {
	case o.Namespace != m.Namespace && len(l.selector) > 0:
		return
	case o.Namespace != m.Namespace:
		l.level = rootLevel
	case len(l.selector) > 0:
		l.level = workloadLevel
	}
	inbound := false
	for _, a := range o.Spec.GetAccessLogging() {
		if a.GetMatch().GetMode() == telemetryapi.WorkloadMode_CLIENT {
			continue
		}
		switch next := unlogged(a); {
		case !inbound || next == stops:
			l.answer = next
		case next != l.answer:
			// It may be for a provider of an entry before it, and then it counts.
			l.answer = unsure
		}
		inbound = true
	}
	if inbound {
		m.logs = append(m.logs, l)
	}
}

// unlogged says whether an entry leaves out what is denied.
func unlogged(a *telemetryapi.AccessLogging) state {
	filter := a.GetFilter().GetExpression()
	switch {
	case a.GetDisabled().GetValue() || filter == "false":
		return passes
	case filter == "" || filter == "true" || filter == istio.DeniedFilter:
		return stops
	}
	return unsure
}

// unlogged: the workload's Telemetry over the namespace's over the root
// namespace's, the oldest each. Without any, the mesh's providers log, of which
// some have no name in the mesh configuration.
func (m *Model) unlogged(c *Call) verdict {
	var best *logs
	for i := range m.logs {
		l := &m.logs[i]
		if selects(l.selector, c.To) && (best == nil || l.level > best.level) {
			best = l
		}
	}
	switch {
	case best != nil:
		return verdict{best.answer, best.ref}
	case len(m.Mesh.AccessLogProviders) > 0:
		return verdict{stops, -1}
	}
	return verdict{unsure, -1}
}
