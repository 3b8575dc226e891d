package drift

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Options say what is known besides the objects.
type Options struct {
	// IntentUnchanged is true when the digest of the desired objects is the
	// one that was last written: whatever differs was changed by somebody else.
	IntentUnchanged bool
	// Known says whether an object was ours when it was seen before, by its
	// UID. It keeps an object ours whose every mark was stripped; nil knows none.
	Known func(types.UID) bool
	// Around is what is known of the mesh besides: its facts, and objects of
	// others that take part in what is in force. nil knows nothing. Objects of
	// the namespace that are not ours are added to it.
	Around *effective.World
}

// Compare finds what is not as desired among the objects of one namespace, and
// its policies at egress gateways. live is every object of the managed kinds whose name begins with
// mesh.NamePrefix or that carries our label; somebody else's among them, of
// names that nothing desires, are left alone. The result is sorted by kind and
// name, whatever the order of the input, and empty when all is as desired.
//
// What is drift and what is out of sync:
//
//	                     intent unchanged   intent changed
//	Missing, Unexpected  drift              out of sync
//	Modified             drift              out of sync; drift as well where another field manager owns what differs
//	Conflict             neither: it is not ours
//
// What is there only while a plan is carried out is always out of sync, and
// drift where somebody else wrote it.
func Compare(desired, live []mesh.Object, opts Options) []Change {
	changes := Find(desired, live, opts)
	Weigh(changes, desired, live, opts)
	return changes
}

// Find is Compare but for the effect of what others did: that takes far longer
// than to find what they did, and what is to be written does not depend on it.
func Find(desired, live []mesh.Object, opts Options) []Change {
	found := byKey(live)
	var changes []Change
	wanted := make(map[Key]bool, len(desired))
	for _, want := range desired {
		key, ok := KeyOf(want)
		if !ok || wanted[key] {
			continue
		}
		wanted[key] = true
		if c, differs := compare(key, want, found[key], opts); differs {
			changes = append(changes, c)
		}
	}
	for key, have := range found {
		if !wanted[key] && ours(have, opts) {
			changes = append(changes, unexpected(key, have, opts))
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Key.Kind, b.Key.Kind), cmp.Compare(a.Key.Group, b.Key.Group), cmp.Compare(a.Key.Name, b.Key.Name))
	})
	return changes
}

// Weigh works out the effects of changes that Find found in the same objects.
func Weigh(changes []Change, desired, live []mesh.Object, opts Options) {
	e := &evidence{desired: desired, live: byKey(live), around: func() *effective.World { return surroundings(desired, live, opts) }}
	for _, o := range slices.Concat(live, desired) {
		e.namespace = o.GetNamespace()
		if tenant, is := mesh.GatewayTenant(o); is {
			e.namespace = tenant
		}
	}
	e.judge(changes)
}

func byKey(objects []mesh.Object) map[Key]mesh.Object {
	out := make(map[Key]mesh.Object, len(objects))
	for _, o := range objects {
		if key, ok := KeyOf(o); ok {
			out[key] = o
		}
	}
	return out
}

// maxJudged is for how many changes at a time the effect is worked out: as many
// as status keeps. Each costs a comparison of two worlds, which is milliseconds
// and, for the largest profiles, seconds.
const maxJudged = v1alpha1.MaxStatusDrift

// judge works out the effect of what others did. Of what follows from our own
// intent nobody asks for it, and it counts as the worst, like what is too much
// to look at.
func (e *evidence) judge(changes []Change) {
	judged := 0
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Effect != "":
		case (c.Drift || c.Type == Conflict) && judged < maxJudged:
			c.Effect = e.effect(c.Key, c.Live)
			judged++
		default:
			c.Effect = v1alpha1.EffectWeakens
		}
	}
}

// compare one desired object with what has its name, nil for nothing.
func compare(key Key, want, have mesh.Object, opts Options) (Change, bool) {
	c := Change{Key: key, Desired: want, Live: have, Actor: ActorUnknown}
	switch {
	case have == nil:
		c.Type = Missing
		c.Drift, c.OutOfSync = opts.IntentUnchanged, !opts.IntentUnchanged
		return c, true
	case !ours(have, opts):
		if have.GetAnnotations()[v1alpha1.AnnotationAdopt] != "true" {
			c.Type = Conflict
			c.Actor, c.At = readManagers(have).latest()
			return c, true
		}
		// Taking over is our doing, so it is never drift.
		c.Type, c.Adopted, c.OutOfSync = Modified, true, true
		c.Alone = Effect(want, have, nil, nil)
		c.Fields = differences(want, have, readManagers(have)).fields
		nameDefaults(c.Fields, want)
		return c, true
	}

	if equal(want, have) && !mayHide(have) {
		return c.deleting()
	}
	return c.modified(opts)
}

// modified is an object of ours that the fast path does not find equal.
func (c Change) modified(opts Options) (Change, bool) {
	owners := readManagers(c.Live)
	d := differences(c.Desired, c.Live, owners)
	if len(d.fields) == 0 {
		return c.deleting()
	}
	c.Type, c.Fields = Modified, d.fields
	c.Alone = Effect(c.Desired, c.Live, nil, nil)
	if d.hidden {
		// Nobody here knows what the field does.
		c.Effect, c.Alone = v1alpha1.EffectWeakens, v1alpha1.EffectWeakens
	}
	owned := owners.owned(d.fields, c.Desired, c.Live)
	c.Drift = opts.IntentUnchanged || len(owned) > 0
	c.OutOfSync = !opts.IntentUnchanged && len(owned) < len(d.fields)
	if c.Drift {
		c.Actor, c.At = owners.actor(owned)
	}
	if c.Drift && c.OutOfSync {
		// The rest differs by our own intent, which is nobody's drift.
		c.Fields = slices.DeleteFunc(c.Fields, func(f v1alpha1.FieldChange) bool { _, is := owned[f.Path]; return !is })
	}
	nameDefaults(c.Fields, c.Desired)
	return c, true
}

// deleting is an object that is as desired: no change, unless it is on its way
// out. That is not drift yet: its disappearance will be, once.
func (c Change) deleting() (Change, bool) {
	if c.Live.GetDeletionTimestamp() == nil {
		return Change{}, false
	}
	c.Type, c.Waiting, c.OutOfSync = Missing, true, true
	return c, true
}

func unexpected(key Key, have mesh.Object, opts Options) Change {
	c := Change{Type: Unexpected, Key: key, Live: have}
	c.Actor, c.At = readManagers(have).latest()
	c.Waiting = have.GetDeletionTimestamp() != nil
	c.Drift, c.OutOfSync = opts.IntentUnchanged && !c.Waiting, !opts.IntentUnchanged || c.Waiting
	if mesh.IsTemporary(key.Name) {
		// The rest of a plan that was not finished, which must go also where drift
		// is left; or somebody's who makes use of the name.
		c.OutOfSync, c.Drift = true, c.Drift && c.Actor != ActorUnknown
	}
	return c
}

// ours says whether an object claims to be the operator's, by any one of its
// marks: an intruder who strips the label or the owner reference leaves the
// entry in managedFields, and one who strips that too leaves the UID.
func ours(o mesh.Object, opts Options) bool {
	if o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue || Controlled(o) {
		return true
	}
	if slices.ContainsFunc(o.GetManagedFields(), own) {
		return true
	}
	return opts.Known != nil && o.GetUID() != "" && opts.Known(o.GetUID())
}

// surroundings are what is known besides what is desired; others' objects in the
// namespace take part in what is in force.
func surroundings(desired, live []mesh.Object, opts Options) *effective.World {
	if opts.Around == nil {
		return nil
	}
	wanted := make(map[Key]bool, len(desired))
	for _, o := range desired {
		key, _ := KeyOf(o)
		wanted[key] = true
	}
	w := *opts.Around
	w.Objects = slices.Clone(w.Objects)
	for _, o := range live {
		if key, ok := KeyOf(o); ok && !wanted[key] && !ours(o, opts) {
			w.Objects = append(w.Objects, o)
		}
	}
	return &w
}

// Controlled says whether a profile or a baseline is the controller of an object.
func Controlled(o metav1.Object) bool {
	for _, ref := range o.GetOwnerReferences() {
		if ref.Controller != nil && *ref.Controller && (OwnedBy(ref, v1alpha1.KindProfile) || OwnedBy(ref, v1alpha1.KindBaseline)) {
			return true
		}
	}
	return false
}

// OwnedBy says whether an owner is of one of the operator's own kinds, whatever
// the version.
func OwnedBy(ref metav1.OwnerReference, kind string) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == v1alpha1.GroupVersion.Group && ref.Kind == kind
}

// Prunable says whether the operator may delete an unexpected object: not one
// that bears our label under a name that the operator never gives.
func (c Change) Prunable() bool {
	return c.Type == Unexpected && strings.HasPrefix(c.Key.Name, mesh.NamePrefix)
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil || t.IsZero() {
		return nil
	}
	at := t.Time
	return &at
}
