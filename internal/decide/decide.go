package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/providers"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Decision is what is to be done for the profile in force.
type Decision struct {
	// Profile is the one in force; nil where there is none, or where the
	// profile or the namespace is being deleted.
	Profile    *v1alpha1.MeshSecurityProfile
	Resolution posture.Resolution
	// Unsupported says why the namespace's mesh can't be programmed; empty where it can.
	Unsupported string
	// Compiled is false where the profile can't be used: the last good posture
	// stays in force.
	Compiled bool
	// LastGood is what was last written for a profile that can't be used any
	// more, and is kept so; nil where it is not known, and then what is there
	// is left as it is.
	LastGood []mesh.Object
	Result   mesh.Result
	// Desired are the objects that are to be in the cluster and whose kind is served.
	Desired []mesh.Object
	// Unserved are kinds that are needed and that the API server does not serve, as GROUP/KIND.
	Unserved []string
	// Digest is the fingerprint of everything desired.
	Digest string
	// Changes are the differences between what is desired and what is there.
	Changes []drift.Change
	// Shadows are objects of others that change what is in force. Nothing is
	// done about them.
	Shadows []drift.Change
	// Steps are what is to be written, in order.
	Steps []plan.Step
	// Findings of the preflight, the worst first: they are about what is declared.
	Findings []audit.Finding
	// Examined are findings about what is in force, the worst first.
	Examined []audit.Finding
	// Seen is what was found of each workload: before Weigh the last time, where
	// it is known, and then this time.
	Seen *audit.Memo
	// NextFindings is when these change by themselves, as support for a version
	// ends; nil where they do not.
	NextFindings *time.Time
	// Paused is true where an annotation stops all writes: the profile's, or that
	// of a baseline that applies.
	Paused bool
	// PausedBy is KIND/NAME of what has the annotation; empty where nothing has.
	PausedBy string
	// Fights are over objects that are not corrected for now.
	Fights []facts.Fight

	// Leaving are profiles that are being deleted and wait for the operator.
	Leaving []*v1alpha1.MeshSecurityProfile
	// LetGo is true when nothing keeps them any more.
	LetGo bool

	// at is the time that it was made for.
	at time.Time
	// compared is with what else what is desired was compared.
	compared  drift.Options
	judgement *judgement
}

// Make decides what to do in a namespace at the time now.
func Make(o facts.Observed, now time.Time) Decision {
	d := Act(o, now)
	d.Weigh(o)
	return d
}

// Weigh completes what Act decided by what the changes of others do to the
// posture, and by the objects of others that change what is in force.
func (d *Decision) Weigh(o facts.Observed) {
	if d.Profile == nil {
		return
	}
	drift.Weigh(d.Changes, d.Desired, o.Live, d.compared)
	if d.Compiled {
		d.judge(o)
	}
	if d.Compiled || d.Unsupported != "" {
		d.Examine(o)
	}
}

// Act is Make as far as it says what is to be written. The rest only tells what
// happened, and takes milliseconds, for the largest profiles seconds: what
// somebody opened is not to stay open for that long.
func Act(o facts.Observed, now time.Time) Decision {
	if len(o.Profiles) == 0 || o.Profiles[0].DeletionTimestamp != nil || o.Facts.Namespace.Terminating {
		return withdraw(o)
	}
	d := Decision{at: now, Profile: o.Profiles[0], Fights: o.Fights, PausedBy: pausedBy(o)}
	d.Paused = d.PausedBy != ""
	d.Resolution = posture.Resolve(posture.Input{Profile: d.Profile, Baselines: o.Baselines, Exceptions: o.Exceptions}, o.Facts, now)
	compiler, ok := providers.Find(o.Facts.Mesh.Provider, o.Facts.Mesh.DataPlane)
	if !ok {
		d.Unsupported = fmt.Sprintf("this version can't program %s: nothing is written for it",
			strings.TrimSpace(string(o.Facts.Mesh.Provider)+" "+string(o.Facts.Mesh.DataPlane)))
	}
	if !ok || !d.Resolution.Compilable() {
		d.keep(o)
	} else {
		d.Compiled = true
		d.compile(compiler, o)
		d.Digest = drift.Digest(d.Result.Objects)
		d.Desired, d.Unserved = served(d.Result.Objects, o.Facts.Mesh.MissingKinds)
		d.compare(o, d.Digest == d.Profile.Status.AppliedDigest)
	}
	d.handOver(o)
	return d
}

// pausedBy is KIND/NAME of what stops all writes here; empty for nothing.
func pausedBy(o facts.Observed) string {
	p := o.Profiles[0]
	if p.Annotations[v1alpha1.AnnotationPaused] == "true" {
		return v1alpha1.KindProfile + "/" + p.Name
	}
	for _, b := range o.Baselines {
		if b.Paused {
			return posture.From(b.Name)
		}
	}
	return ""
}

// Implied says whether the profile in force is not in the cluster: baselines
// alone say what holds.
func (d Decision) Implied() bool { return d.Profile != nil && posture.Implied(d.Profile) }

// Idle says whether nothing is declared for the namespace, and nothing is left there.
func (d Decision) Idle() bool {
	return d.Profile == nil && len(d.Leaving) == 0 && len(d.Steps) == 0 && len(d.Changes) == 0
}

// Creates says whether an object is to be written, rather than removed.
func (d Decision) Creates() bool {
	return slices.ContainsFunc(d.Steps, func(s plan.Step) bool { return s.Verb != plan.Delete })
}

// Holds says whether the profile in force needs its finalizer: something is to
// be written for it, or is there. A tool that replaces the profile takes the
// finalizer off, and the order in which its objects would go with it.
func (d Decision) Holds() bool { return d.Creates() || len(d.Desired) > 0 && !d.Paused }

// Unheld says whether something is to be written that would belong to a
// baseline which is not held yet: were it deleted right after, the garbage
// collector would remove that in no order.
func (d Decision) Unheld(o facts.Observed) bool {
	unheld := map[types.UID]bool{}
	for _, b := range o.Baselines {
		unheld[b.UID] = !b.Held
	}
	return slices.ContainsFunc(d.Steps, func(s plan.Step) bool {
		return s.Verb != plan.Delete && slices.ContainsFunc(s.Object.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return unheld[r.UID] })
	})
}

// keep holds on to the last good posture, if it is known.
func (d *Decision) keep(o facts.Observed) {
	objects := o.LastGood
	if objects == nil {
		var digests []string
		for _, p := range o.Profiles {
			digests = append(digests, p.Status.AppliedDigest)
		}
		objects = drift.LastGood(o.Live, digests, drift.Options{Known: known(o)})
	}
	if objects == nil {
		return
	}
	objects = slices.DeleteFunc(slices.Clone(objects), func(p mesh.Object) bool { return mesh.AtGateway(p) && !declaredGateway(o, p) })
	var rehomed bool
	d.LastGood, rehomed = drift.Owned(objects, mesh.Meta(d.Resolution.Posture, "", ""))
	d.Desired, _ = served(d.LastGood, o.Facts.Mesh.MissingKinds)
	d.compare(o, !rehomed)
}

// declaredGateway says whether a baseline that applies still declares the egress
// gateway that a policy of its is for.
func declaredGateway(o facts.Observed, policy mesh.Object) bool {
	return slices.ContainsFunc(o.Baselines, func(b facts.Baseline) bool {
		g := b.Spec.EgressGateway
		return g != nil && string(g.Namespace) == policy.GetNamespace() &&
			slices.ContainsFunc(policy.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == b.UID })
	})
}

// compare finds what is not as desired, and plans to undo it.
func (d *Decision) compare(o facts.Observed, intentUnchanged bool) {
	d.compared = drift.Options{IntentUnchanged: intentUnchanged, Known: known(o), Around: around(o)}
	d.Changes = drift.Find(d.Desired, o.Live, d.compared)
	// An object that bears our label under a name that we never give is not ours to judge.
	d.Changes = slices.DeleteFunc(d.Changes, func(c drift.Change) bool {
		return c.Type == drift.Unexpected && (!c.Prunable() || d.keeps(o, c.Live))
	})
	if !d.Paused {
		d.plan(o, slices.DeleteFunc(slices.Clone(d.Changes), d.Left))
	}
}

// keeps says whether an object is left in force by a profile that goes or is
// gone, in a namespace that has no other: by deletionPolicy Retain it belongs to
// nobody, and counts as somebody else's.
func (d *Decision) keeps(o facts.Observed, live mesh.Object) bool {
	if !d.Implied() {
		return false
	}
	owners := live.GetOwnerReferences()
	return len(owners) == 0 || slices.ContainsFunc(owners, ownerIn(slices.DeleteFunc(leaving(o), func(p *v1alpha1.MeshSecurityProfile) bool { return !retained(p) })))
}

// plan orders what undoes changes. What is there only meanwhile is a change as
// well: it is in force until the plan is carried out.
func (d *Decision) plan(o facts.Observed, changes []drift.Change) {
	w := world(o)
	w.Objects = slices.Concat(o.Live, o.Others)
	d.Steps = plan.Make(changes, w)
	known := map[drift.Key]bool{}
	for _, c := range d.Changes {
		known[c.Key] = true
	}
	for _, s := range d.Steps {
		if !known[s.Change.Key] {
			known[s.Change.Key] = true
			d.Changes = append(d.Changes, s.Change)
		}
	}
}

// world is what the mesh acts on in a namespace, besides objects.
func world(o facts.Observed) effective.World { return effective.WorldOf(o, nil) }

// around is the world of a change. Objects of other namespaces are left out of
// it, so that it is not the whole one.
func around(o facts.Observed) *effective.World {
	w := world(o)
	w.Partial = true
	return &w
}

// Left says whether a change is left as it is: somebody else's object, or
// drift that is only to be reported, or not corrected for now.
func (d Decision) Left(c drift.Change) bool {
	return d.Paused || c.Type == drift.Conflict ||
		(c.Drift && !c.OutOfSync && (d.Resolution.Posture.DriftPolicy == v1alpha1.DriftReport || d.Fought(c)))
}

// Fought says whether somebody keeps making a change, so that it is corrected
// only after a while.
func (d Decision) Fought(c drift.Change) bool {
	return c.Drift && slices.ContainsFunc(d.Fights, func(f facts.Fight) bool { return f.Resource == c.Resource() && f.Actor == c.Actor })
}

// served separates the objects whose kind the API server serves from the names of the other kinds.
func served(objects []mesh.Object, missing []string) (out []mesh.Object, unserved []string) {
	for _, o := range objects {
		k, _ := mesh.KindOf(o)
		if kind := k.GVK.GroupKind().String(); slices.Contains(missing, kind) {
			unserved = append(unserved, kind)
			continue
		}
		out = append(out, o)
	}
	slices.Sort(unserved)
	return out, slices.Compact(unserved)
}
