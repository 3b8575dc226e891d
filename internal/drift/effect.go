package drift

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// DryRun says whether the mesh evaluates a policy without enforcing it.
func DryRun(o *securityv1.AuthorizationPolicy) bool { return effective.DryRun(o) }

// DefaultDeny says whether a policy denies by default: it allows, and has no
// rule that would allow anything.
func DefaultDeny(o *securityv1.AuthorizationPolicy) bool {
	return o.Spec.GetAction() == securityapi.AuthorizationPolicy_ALLOW && len(o.Spec.GetRules()) == 0
}

// Effect says what the live state of an object does to the posture, next to the
// desired one; either is nil where there is no such object. The evidence is what
// the mesh lets pass with everything desired as it should be, and with this one
// object as it is: whatever passes only then weakens, and what passes no more
// tightens. around is what else is known; nil for nothing.
//
// Where it can't be told the answer is Weakens: a harmless change that is
// looked into costs less than a harmful one that is not.
func Effect(want, have mesh.Object, desired []mesh.Object, around *effective.World) v1alpha1.Effect {
	o := want
	if o == nil {
		o = have
	}
	key, _ := KeyOf(o)
	rest := slices.DeleteFunc(slices.Clone(desired), func(d mesh.Object) bool {
		k, _ := KeyOf(d)
		return k == key
	})
	if want != nil {
		rest = append(rest, want)
	}
	namespace := o.GetNamespace()
	if tenant, is := mesh.GatewayTenant(o); is {
		namespace = tenant
	}
	e := evidence{namespace: namespace, desired: rest, live: map[Key]mesh.Object{key: have}, around: func() *effective.World { return around }}
	return e.effect(key, have)
}

// evidence is the world as it should be. Nothing of it is made before a change
// asks for its effect, and what is made serves all changes of a namespace.
type evidence struct {
	namespace string
	desired   []mesh.Object
	live      map[Key]mesh.Object
	around    func() *effective.World

	world effective.World
	// keys of what is desired, and those objects, each of the age of what is
	// there under its name.
	keys    []Key
	objects map[Key]mesh.Object
	should  *effective.Model
}

// oldest is the age of a desired object that is not there: as it should be, it
// was there before anybody else's.
var oldest = metav1.Unix(1, 0)

func (e *evidence) gather() {
	e.world = effective.World{Partial: true}
	if around := e.around(); around != nil {
		e.world = *around
	}
	e.world.Namespace = e.namespace
	e.objects = make(map[Key]mesh.Object, len(e.desired))
	for _, o := range e.desired {
		if key, ok := KeyOf(o); ok && e.objects[key] == nil {
			e.keys = append(e.keys, key)
			e.objects[key] = aged(o, e.live[key])
		}
	}
	e.should = effective.New(e.with(Key{}, nil))
}

// aged is an object of the age of what is there under its name.
func aged(o, have mesh.Object) mesh.Object {
	at := oldest
	if have != nil {
		at = have.GetCreationTimestamp()
	}
	if has := o.GetCreationTimestamp(); has.Equal(&at) {
		return o
	}
	out, ok := o.DeepCopyObject().(mesh.Object)
	if !ok {
		return o
	}
	out.SetCreationTimestamp(at)
	return out
}

// with is the world with an object, nil for none, in the place of a key.
func (e *evidence) with(key Key, o mesh.Object) effective.World {
	w := e.world
	w.Objects = slices.Clone(w.Objects)
	for _, k := range e.keys {
		if k != key {
			w.Objects = append(w.Objects, e.objects[k])
		}
	}
	if o != nil {
		w.Objects = append(w.Objects, o)
	}
	return w
}

// effect of what is there under a key, nil for nothing.
func (e *evidence) effect(key Key, have mesh.Object) v1alpha1.Effect {
	if e.should == nil {
		e.gather()
	}
	c := effective.Compare(e.should, effective.New(e.with(key, have)))
	switch {
	case len(c.Opens) > 0 || len(c.Unknown) > 0 || c.Partial:
		return v1alpha1.EffectWeakens
	case len(c.Shuts) > 0:
		return v1alpha1.EffectTightens
	}
	return v1alpha1.EffectNeutral
}
