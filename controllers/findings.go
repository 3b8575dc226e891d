package controllers

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Reasons of Events about findings.
const (
	eventFindingOpened   = "FindingOpened"
	eventFindingResolved = "FindingResolved"
)

// transition is findings of one check, about subjects of one namespace, that
// are open now and were not, or the other way round.
type transition struct {
	opened   bool
	findings []v1alpha1.Finding
}

// transitions between two looks: what opened first, each in the order of the
// findings. One that an exception covers from now on is resolved; one that can't
// be told any more is not.
func transitions(before, after []v1alpha1.Finding) []transition {
	type key struct{ check, subject string }
	of := func(f v1alpha1.Finding) key { return key{f.Check, f.Subject} }
	index := func(findings []v1alpha1.Finding) map[key]v1alpha1.FindingState {
		out := make(map[key]v1alpha1.FindingState, len(findings))
		for _, f := range findings {
			if out[of(f)] != v1alpha1.FindingOpen {
				out[of(f)] = f.State
			}
		}
		return out
	}
	was, is := index(before), index(after)
	var out []transition
	gather := func(opened bool, findings []v1alpha1.Finding, changed func(v1alpha1.Finding) bool) {
		at := map[[2]string]int{}
		for _, f := range findings {
			if f.State != v1alpha1.FindingOpen || !changed(f) {
				continue
			}
			group := [2]string{f.Check, audit.Home(f, "")}
			i, ok := at[group]
			if !ok {
				i = len(out)
				at[group] = i
				out = append(out, transition{opened: opened})
			}
			if !slices.ContainsFunc(out[i].findings, func(g v1alpha1.Finding) bool { return of(g) == of(f) }) {
				out[i].findings = append(out[i].findings, f)
			}
		}
	}
	gather(true, after, func(f v1alpha1.Finding) bool { return was[of(f)] != v1alpha1.FindingOpen })
	gather(false, before, func(f v1alpha1.Finding) bool {
		state, there := is[of(f)]
		return !there || state == v1alpha1.FindingExcepted
	})
	return out
}

// String is what happened in one line.
func (t transition) String() string {
	var subjects []string
	for _, f := range t.findings {
		subjects = append(subjects, f.Subject)
	}
	f := t.findings[0]
	return mesh.Cut(fmt.Sprintf("%s %s: %s: %s", f.Check, f.Severity, mesh.Some(subjects), f.Message), v1alpha1.MaxMessageBytes)
}

// tell of it by an Event. The action names the check: of several Events that
// are alike but for what they say, the recorder keeps the first alone.
func (t transition) tell(to events.EventRecorder, about runtime.Object) {
	action := "Audit/" + t.findings[0].Check
	if t.opened {
		to.Eventf(about, nil, corev1.EventTypeWarning, eventFindingOpened, action, "%s", t)
		return
	}
	to.Eventf(about, nil, corev1.EventTypeNormal, eventFindingResolved, action, "no longer so: %s", t)
}

// namespaceReference is what an Event about a namespace is about. Events of a
// cluster-scoped object would be in the namespace default, where those of this
// namespace do not look.
func namespaceReference(name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Namespace", APIVersion: "v1", Name: name, Namespace: name}
}
