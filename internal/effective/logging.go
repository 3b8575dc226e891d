package effective

import (
	"slices"
	"strings"

	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/istio"
)

// logs is a Telemetry's access logging, as far as it concerns what is denied.
type logs struct {
	ref      int
	level    level
	selector map[string]string
	answer   state // of the question whether a denied call goes unlogged
	// named is true where an entry names a provider that is defined, and asked
	// where it names any.
	named, asked bool
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
		for _, p := range a.GetProviders() {
			l.named = l.named || m.defines(p.GetName())
			l.asked = true
		}
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
	var at [workloadLevel + 1]*logs
	for i := range m.logs {
		if l := &m.logs[i]; selects(l.selector, c.To) && at[l.level] == nil {
			at[l.level] = l
		}
	}
	var best *logs
	provided := len(m.Mesh.AccessLogProviders) > 0
	for _, l := range at {
		if l == nil {
			continue
		}
		best = l
		if l.asked {
			provided = l.named
		}
	}
	switch {
	case best != nil && !provided:
		return verdict{m.unprovided(), best.ref}
	case best != nil:
		return verdict{best.answer, best.ref}
	case provided:
		return verdict{stops, -1}
	}
	return verdict{unsure, -1}
}

// istiosProvider is the log provider that every mesh has (istio/istio, DefaultMeshConfig).
const istiosProvider = "envoy"

// defines says whether the mesh configuration may define a provider.
func (m *Model) defines(name string) bool {
	same := func(n string) bool { return strings.EqualFold(n, name) }
	return !m.Mesh.ConfigRead || same(istiosProvider) || slices.ContainsFunc(m.Mesh.Providers, same)
}

// unprovided is what becomes of denied calls by a Telemetry that is for no
// provider: it logs nothing itself, and Istio's versions differ in whether the
// log of the mesh configuration takes its place (istio/istio, accesslog.go).
func (m *Model) unprovided() state {
	if m.Mesh.ConfigRead && m.Mesh.AccessLog == facts.No {
		return passes
	}
	return unsure
}
