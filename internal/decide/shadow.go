package decide

import (
	"slices"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// judgement is what the mesh makes of what is desired, with what others add to
// it. Nothing is compared where nobody adds anything.
type judgement struct {
	world   effective.World
	desired []facts.Object
	foreign []facts.Object
	// base is desired alone, whole with what is foreign.
	base, whole *effective.Model
	compared    effective.Comparison
}

func (j *judgement) model(objects ...[]facts.Object) *effective.Model {
	w := j.world
	w.Objects = slices.Concat(objects...)
	return effective.New(w)
}

// Judged says whether the objects of others were looked at.
func (d *Decision) Judged() bool { return d.judgement != nil }

// judge finds the objects of others that change what is in force: they are
// reported as drift, and never changed.
func (d *Decision) judge(o facts.Observed) {
	if d.Resolution.Posture.Mode != v1alpha1.ModeEnforce {
		return
	}
	d.judgement = &judgement{
		world:   world(o),
		desired: d.ours(o, nil),
		foreign: d.foreign(o),
	}
	j := d.judgement
	if len(j.foreign) == 0 {
		return
	}
	j.base, j.whole = j.model(j.desired), j.model(j.desired, j.foreign)
	j.compared = effective.Compare(j.base, j.whole)
	felt := j.compared.Felt(j.whole)
	opens, shuts := d.weaker(felt.Opens), d.narrower(felt.Shuts)
	if len(opens) == 0 && len(shuts) == 0 {
		return
	}
	for i, f := range j.foreign {
		if touches(f, opens) || touches(f, shuts) {
			if c, is := d.shadow(i); is {
				d.Shadows = append(d.Shadows, c)
			}
		}
	}
}

// touches says whether an object is of a kind that decides at the layer of a difference.
func touches(o facts.Object, ds []effective.Difference) bool {
	return slices.ContainsFunc(ds, func(x effective.Difference) bool {
		return slices.Contains(effective.LayersOf(o), x.Probe.Layer)
	})
}

// shadow works out what one foreign object does: by what it adds to what is
// desired alone, so that two that do the same are both found, and by what would
// be gone without it, for those that act together.
func (d *Decision) shadow(i int) (drift.Change, bool) {
	j := d.judgement
	f := j.foreign[i]
	alone := effective.Compare(j.base, j.model(j.desired, []facts.Object{f})).Felt(j.whole)
	rest := j.model(j.desired, slices.Delete(slices.Clone(j.foreign), i, i+1))
	last := effective.Compare(rest, j.whole).Felt(j.whole)

	// What another object makes good, or what was never so, does not count.
	in := func(ds []effective.Difference, m *effective.Model, passes bool) []effective.Difference {
		return slices.DeleteFunc(slices.Clone(ds), func(x effective.Difference) bool { return m.Pass(x.Probe).Passes != passes })
	}
	opens := d.weaker(in(alone.Opens, j.whole, true))
	if len(opens) == 0 {
		opens = d.weaker(in(last.Opens, j.base, false))
	}
	shuts := d.narrower(in(alone.Shuts, j.whole, false))
	if len(shuts) == 0 {
		shuts = d.narrower(in(last.Shuts, j.base, true))
	}
	k, _ := mesh.KindOf(f)
	c := drift.Change{Type: drift.Shadowed, Key: drift.Key{GroupVersionKind: k.GVK, Name: f.GetName()}, Live: f, Drift: true}
	if ns := f.GetNamespace(); ns != j.world.Namespace {
		c.Namespace = ns
	}
	c.Actor, c.At = drift.LatestManager(f)
	switch {
	case len(opens) > 0:
		c.Effect, c.Message = v1alpha1.EffectWeakens, effective.Words(j.whole, opens, true)
	case len(shuts) > 0:
		c.Effect, c.Message = v1alpha1.EffectTightens, effective.Words(j.whole, shuts, false)
	default:
		return c, false
	}
	return c, true
}

// weaker keeps what opens something that the profile declares.
func (d *Decision) weaker(ds []effective.Difference) []effective.Difference {
	p := d.Resolution.Posture
	return slices.DeleteFunc(slices.Clone(ds), func(x effective.Difference) bool {
		switch x.Probe.Layer.Area() {
		case v1alpha1.AreaMutualTLS:
			return p.MutualTLS == nil
		case v1alpha1.AreaAuthorization:
			return p.Authorization == nil
		case v1alpha1.AreaEgress:
			return p.Egress == nil
		case v1alpha1.AreaLogging:
		}
		return p.AccessLog == "" || p.AccessLog == v1alpha1.AccessLogNone
	})
}

// narrower keeps what shuts something that the profile allows. At the network
// that is what an object of ours lets through: it is no fault to let through
// less than the network does by itself.
func (d *Decision) narrower(ds []effective.Difference) []effective.Difference {
	return slices.DeleteFunc(d.weaker(ds), func(x effective.Difference) bool {
		switch x.Probe.Layer {
		case effective.ClientTransport, effective.Unlogged:
			return true
		case effective.NetworkIn, effective.NetworkOut:
			return len(d.judgement.base.Pass(x.Probe).By) == 0
		case effective.Transport, effective.Authorization, effective.ProxyOut:
		}
		return false
	})
}

// foreign are the objects of others among those that were observed. An object
// under one of our names takes the place of ours, and is a change of its own.
func (d *Decision) foreign(o facts.Observed) []facts.Object {
	mine := map[drift.Key]bool{}
	for _, want := range d.Desired {
		if key, ok := drift.KeyOf(want); ok {
			mine[key] = true
		}
	}
	for _, c := range d.Changes {
		mine[c.Key] = true
	}
	var out []facts.Object
	for _, live := range o.Live {
		// What a Gateway or a VirtualService does is not worked out; a route that
		// leads away is among the influences.
		if key, ok := drift.KeyOf(live); ok && !mine[key] && len(effective.LayersOf(live)) > 0 {
			out = append(out, live)
		}
	}
	return append(out, o.Others...)
}

// ours are the operator's objects as they are in force: as desired, but for
// changes that are left; nil: none is. All that is as desired are the live objects,
// since it counts which of several is the oldest.
func (d *Decision) ours(o facts.Observed, left func(drift.Change) bool) []facts.Object {
	changes := make(map[drift.Key]drift.Change, len(d.Changes))
	for _, c := range d.Changes {
		changes[c.Key] = c
	}
	live := make(map[drift.Key]facts.Object, len(o.Live))
	for _, l := range o.Live {
		if key, ok := drift.KeyOf(l); ok {
			live[key] = l
		}
	}
	var out []facts.Object
	for _, want := range d.Result.Objects {
		key, _ := drift.KeyOf(want)
		c, changed := changes[key]
		switch {
		case !changed && live[key] != nil:
			out = append(out, live[key])
		case changed && left != nil && left(c):
			if c.Live != nil {
				out = append(out, c.Live)
			}
		case !changed && left != nil:
			// Its kind is not served.
		default:
			out = append(out, dated(want, c))
		}
	}
	for _, c := range d.Changes {
		if c.Type == drift.Unexpected && left != nil && left(c) {
			out = append(out, c.Live)
		}
	}
	return out
}

// dated is a desired object with the age of what it replaces.
func dated(want facts.Object, c drift.Change) facts.Object {
	if c.Live == nil || c.Type == drift.Conflict {
		return want
	}
	want, _ = want.DeepCopyObject().(facts.Object)
	want.SetCreationTimestamp(c.Live.GetCreationTimestamp())
	return want
}

// InForce is what the mesh does, next to what is desired.
type InForce struct {
	// Compared is what is desired alone with what is there.
	Compared effective.Comparison
	// There is the model of what is there; nil where nothing differs.
	There *effective.Model
	// Foreign says which objects are not the operator's.
	Foreign func(effective.Ref) bool
}

// InForce compares what is desired with what others add to it, and with the
// changes that are left in the cluster.
func (d *Decision) InForce(o facts.Observed, left func(drift.Change) bool) InForce {
	j := d.judgement
	if j == nil {
		return InForce{}
	}
	out := InForce{j.compared, j.whole, func(r effective.Ref) bool {
		return slices.ContainsFunc(j.foreign, func(f facts.Object) bool { return effective.RefOf(f) == r })
	}}
	if len(d.Unserved) > 0 || slices.ContainsFunc(d.Changes, left) {
		out.There = j.model(d.ours(o, left), j.foreign)
		out.Compared = effective.Compare(j.model(j.desired), out.There)
	}
	out.Compared = out.Compared.Felt(out.There)
	return out
}
