package decide

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

// leaving are the profiles that are being deleted and wait for the operator.
func leaving(o facts.Observed) []*v1alpha1.MeshSecurityProfile {
	var out []*v1alpha1.MeshSecurityProfile
	for _, p := range o.Profiles {
		if p.DeletionTimestamp != nil && slices.Contains(p.Finalizers, v1alpha1.Finalizer) {
			out = append(out, p)
		}
	}
	return out
}

// withdraw decides for a namespace whose every profile is being deleted:
//
//	the namespace goes as well          let go at once: all is deleted by the namespace controller,
//	                                    but for policies at egress gateways, which are removed
//	deletionPolicy Retain, or orphan    what is there stays in force, without an owner
//	else                                removed in the order of a plan
//
// A pause does not stop it: to delete is to ask for a write.
func withdraw(o facts.Observed) Decision {
	d := Decision{Leaving: leaving(o)}
	theirs := ownerIn(d.Leaving)
	if len(d.Leaving) == 0 {
		// No baseline selects the namespace any more, or is to write something in it.
		theirs = ofBaseline
	}
	switch {
	case o.Facts.Namespace.Terminating:
		d.remove(o, func(metav1.OwnerReference) bool { return false })
		// Nothing may hold up the deletion of the namespace.
		d.LetGo = true
		return d
	case len(d.Leaving) > 0 && retained(d.Leaving[0]):
		// What stays leads to the gateway.
		d.Steps = plan.Release(o.Live, theirs)
		d.Steps = append(d.Steps, plan.Release(policies(o.Live), ofBaseline)...)
	default:
		d.remove(o, theirs)
	}
	d.LetGo = len(d.Steps) == 0 && len(d.Changes) == 0
	return d
}

// remove plans to remove what belongs to those who leave, and with it the
// policies at egress gateways.
func (d *Decision) remove(o facts.Observed, theirs func(metav1.OwnerReference) bool) {
	d.Changes = drift.Compare(nil, o.Live, drift.Options{Known: known(o)})
	d.Changes = slices.DeleteFunc(d.Changes, func(c drift.Change) bool {
		from := theirs
		if mesh.AtGateway(c.Live) {
			from = ofBaseline
		}
		// One without them was orphaned a moment ago: the garbage collector
		// takes its own finalizer off before ours goes.
		return !c.Prunable() || !slices.ContainsFunc(c.Live.GetOwnerReferences(), from)
	})
	d.plan(o, d.Changes)
}

// policies are those at egress gateways.
func policies(live []facts.Object) []facts.Object {
	return slices.DeleteFunc(slices.Clone(live), func(o facts.Object) bool { return !mesh.AtGateway(o) })
}

// handOver decides for profiles that are being deleted while another one is in
// force: they go when nothing belongs to them any more. What the one in force
// does not take over, since it can't be used or is paused, loses its owner and
// stays as it is.
func (d *Decision) handOver(o facts.Observed) {
	if d.Leaving = leaving(o); len(d.Leaving) == 0 {
		return
	}
	theirs := plan.Release(o.Live, ownerIn(d.Leaving))
	if len(theirs) == 0 {
		d.LetGo = true
		return
	}
	switch {
	case !d.Compiled && d.LastGood == nil || d.Paused:
		d.Steps = theirs
	case d.Implied():
		// What is retained and not taken over stays, without an owner.
		for _, s := range theirs {
			if d.keeps(o, s.Change.Live) && !slices.ContainsFunc(d.Steps, func(have plan.Step) bool { return have.Change.Key == s.Change.Key }) {
				d.Steps = append(d.Steps, s)
			}
		}
	}
}

func retained(p *v1alpha1.MeshSecurityProfile) bool {
	return p.Spec.DeletionPolicy == v1alpha1.DeletionRetain || slices.Contains(p.Finalizers, metav1.FinalizerOrphanDependents)
}

func ownerIn(profiles []*v1alpha1.MeshSecurityProfile) func(metav1.OwnerReference) bool {
	uids := map[types.UID]bool{}
	for _, p := range profiles {
		uids[p.UID] = true
	}
	return func(r metav1.OwnerReference) bool { return uids[r.UID] }
}

func ofBaseline(r metav1.OwnerReference) bool {
	return drift.OwnedBy(r, v1alpha1.KindBaseline)
}

func known(o facts.Observed) func(types.UID) bool {
	return func(uid types.UID) bool { return o.Ours[uid] }
}
