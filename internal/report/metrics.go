package report

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

var (
	driftTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshsec_drift_total",
		Help: "Changes that somebody else made to managed objects, by kind, effect on the posture, and what became of them.",
	}, []string{"kind", "effect", "resolution"})

	writesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshsec_writes_total",
		Help: "Writes of managed objects, by kind, verb (create, replace, delete) and result (done, stale, rejected, failed, held and so on).",
	}, []string{"kind", "verb", "result"})

	profileCondition = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshsec_profile_condition",
		Help: "1 for the status that a condition of the profile in force in a namespace has, 0 for the others.",
	}, []string{"namespace", "condition", "status"})

	profilePaused = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshsec_profile_paused",
		Help: "1 while the annotation meshsecurity.io/paused stops all writes for a namespace's profile.",
	}, []string{"namespace"})

	findingsOpen = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshsec_findings",
		Help: "Findings in a namespace, or about the cluster where that is empty, by check, severity and state (Open, Excepted, Unknown).",
	}, []string{"namespace", "check", "severity", "state"})

	baselineNamespaces = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshsec_baseline_namespaces",
		Help: "Namespaces that a baseline selects, and of these those that enforce it, have no open drift, and have no finding of severity High or above.",
	}, []string{"baseline", "state"})

	exceptionState = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meshsec_exceptions",
		Help: "Exceptions by state: the reason of their condition Active.",
	}, []string{"state"})
)

func init() { //nolint:gochecknoinits // the way in which controller-runtime collects metrics
	metrics.Registry.MustRegister(driftTotal, writesTotal, profileCondition, profilePaused, findingsOpen, baselineNamespaces, exceptionState)
}

// Drift counts a change by somebody else.
func Drift(kind string, r v1alpha1.DriftRecord) {
	driftTotal.WithLabelValues(kind, string(r.Effect), string(r.Resolution)).Inc()
}

// Write counts a write.
func Write(kind, verb, result string) { writesTotal.WithLabelValues(kind, verb, result).Inc() }

// conditionsShown are the conditions that have a metric.
var conditionsShown = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionInSync, v1alpha1.ConditionProgrammed, v1alpha1.ConditionCompliant,
	v1alpha1.ConditionMutualTLSEnforced, v1alpha1.ConditionAuthorizationEnforced, v1alpha1.ConditionEgressEnforced,
}

// Profile shows the state of a namespace's profile.
func Profile(namespace string, conditions []metav1.Condition, paused bool) {
	for _, kind := range conditionsShown {
		have := metav1.ConditionUnknown
		for _, c := range conditions {
			if c.Type == kind {
				have = c.Status
			}
		}
		for _, s := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			v := 0.0
			if s == have {
				v = 1
			}
			profileCondition.WithLabelValues(namespace, kind, string(s)).Set(v)
		}
	}
	v := 0.0
	if paused {
		v = 1
	}
	profilePaused.WithLabelValues(namespace).Set(v)
}

// findings has what is shown of each namespace, so that nothing else is looked at.
var findings = struct {
	sync.Mutex
	of map[string]map[findingLabels]int
}{of: map[string]map[findingLabels]int{}}

type findingLabels struct{ check, severity, state string }

// Findings shows what was found in a namespace.
func Findings(namespace string, found []v1alpha1.Finding) {
	counts := make(map[findingLabels]int, len(found))
	for _, f := range found {
		counts[findingLabels{f.Check, string(f.Severity), string(f.State)}]++
	}
	findings.Lock()
	defer findings.Unlock()
	before := findings.of[namespace]
	for l := range before {
		if counts[l] == 0 {
			findingsOpen.DeleteLabelValues(namespace, l.check, l.severity, l.state)
		}
	}
	for l, n := range counts {
		if before[l] != n {
			findingsOpen.WithLabelValues(namespace, l.check, l.severity, l.state).Set(float64(n))
		}
	}
	findings.of[namespace] = counts
	if len(counts) == 0 {
		delete(findings.of, namespace)
	}
}

// Forget drops what is shown of a namespace that has no profile any more.
func Forget(namespace string) {
	profileCondition.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	profilePaused.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	Findings(namespace, nil)
}

// Baseline shows how the namespaces of a baseline stand; nil while that is not known.
func Baseline(name string, n *v1alpha1.NamespaceCounts) {
	if n == nil {
		return
	}
	for state, v := range map[string]int32{"selected": n.Selected, "enforced": n.Enforced, "in_sync": n.InSync, "compliant": n.Compliant} {
		baselineNamespaces.WithLabelValues(name, state).Set(float64(v))
	}
}

// ForgetBaseline drops what is shown of a baseline that is gone.
func ForgetBaseline(name string) {
	baselineNamespaces.DeletePartialMatch(prometheus.Labels{"baseline": name})
}

// exceptions are the states of all exceptions, by name.
var exceptions = struct {
	sync.Mutex
	state map[string]string
}{state: map[string]string{}}

// Exception shows the state of an exception.
func Exception(name, state string) {
	exceptions.Lock()
	defer exceptions.Unlock()
	exceptions.state[name] = state
	countExceptions()
}

// ForgetException drops an exception that is gone.
func ForgetException(name string) {
	exceptions.Lock()
	defer exceptions.Unlock()
	delete(exceptions.state, name)
	countExceptions()
}

func countExceptions() {
	exceptionState.Reset()
	for _, state := range exceptions.state {
		exceptionState.WithLabelValues(state).Inc()
	}
}
