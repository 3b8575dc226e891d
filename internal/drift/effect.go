package drift

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	dryRunAnnotation = "istio.io/dry-run"
	revisionLabel    = "istio.io/rev"
)

// Effect says what the live state of an object does to the posture, next to the
// desired one; either is nil where there is no such object. desired is the rest
// of what is to be in the namespace: what stands behind an object that is gone.
//
// Where it can't be decided from these objects the answer is Weakens: a
// harmless change that is looked into costs less than a harmful one that is not.
func Effect(want, have mesh.Object, desired []mesh.Object) v1alpha1.Effect {
	if want != nil && have != nil {
		if binds(want) != binds(have) {
			// A control plane of another revision reads the object; ours does not.
			have = nil
		} else if unknownMark(want, have) {
			return v1alpha1.EffectWeakens
		}
	}
	b := backing{desired}
	switch o := either(want, have).(type) {
	case *securityv1.PeerAuthentication:
		return peerAuthentication(as(want, o), as(have, o), b)
	case *securityv1.AuthorizationPolicy:
		return authorizationPolicy(as(want, o), as(have, o), b)
	case *securityv1.RequestAuthentication:
		return requestAuthentication(as(want, o), as(have, o))
	case *networkingv1.Sidecar:
		return sidecar(as(want, o), as(have, o))
	case *networkingv1.ServiceEntry:
		return serviceEntry(as(want, o), as(have, o), b)
	case *netv1.NetworkPolicy:
		return networkPolicy(as(want, o), as(have, o), b)
	case *telemetryv1.Telemetry:
		return telemetry(as(want, o), as(have, o))
	case *networkingv1.DestinationRule, *networkingv1.Gateway, *networkingv1.VirtualService:
		// Routes and client settings: what they open depends on the rest of the mesh.
		if want != nil && have != nil && specEqual(want, have) {
			return v1alpha1.EffectNeutral
		}
	}
	return v1alpha1.EffectWeakens
}

func either(want, have mesh.Object) mesh.Object {
	if want != nil {
		return want
	}
	return have
}

// as is o as the type of its counterpart, nil where there is none.
func as[T mesh.Object](o mesh.Object, _ T) T {
	t, _ := o.(T)
	return t
}

// binds is the revision that an object is for.
func binds(o mesh.Object) string {
	if _, is := o.(*netv1.NetworkPolicy); is {
		return ""
	}
	return o.GetLabels()[revisionLabel]
}

// unknownMark says whether a label or annotation for the mesh differs that
// this file does not know the effect of.
func unknownMark(want, have mesh.Object) bool {
	differ := func(w, h map[string]string) bool {
		for _, m := range []map[string]string{w, h} {
			for k := range m {
				if Significant(k) && !own(k) && k != dryRunAnnotation && k != revisionLabel && w[k] != h[k] {
					return true
				}
			}
		}
		return false
	}
	return differ(want.GetLabels(), have.GetLabels()) || differ(want.GetAnnotations(), have.GetAnnotations())
}

// own says whether a label or annotation is the operator's: no mesh reads it.
func own(name string) bool {
	return strings.HasPrefix(name, v1alpha1.GroupVersion.Group+"/")
}

// DryRun says whether the mesh evaluates a policy without enforcing it.
func DryRun(o *securityv1.AuthorizationPolicy) bool {
	return o.GetAnnotations()[dryRunAnnotation] == "true"
}

// DefaultDeny says whether a policy denies by default: it allows, and has no
// rule that would allow anything.
func DefaultDeny(o *securityv1.AuthorizationPolicy) bool {
	return o.Spec.GetAction() == securityapi.AuthorizationPolicy_ALLOW && len(o.Spec.GetRules()) == 0
}

// backing is what is desired besides the object in question.
type backing struct{ desired []mesh.Object }

func (b backing) deniesByDefault() bool {
	return slices.ContainsFunc(b.desired, func(o mesh.Object) bool {
		ap, is := o.(*securityv1.AuthorizationPolicy)
		return is && DefaultDeny(ap) && !DryRun(ap) && scopeOf(&ap.Spec).everything()
	})
}

func (b backing) requiresMutualTLS() bool {
	return slices.ContainsFunc(b.desired, func(o mesh.Object) bool {
		pa, is := o.(*securityv1.PeerAuthentication)
		return is && len(pa.Spec.GetSelector().GetMatchLabels()) == 0 && pa.Spec.GetMtls().GetMode() == strict
	})
}

func (b backing) registryOnly() bool {
	return slices.ContainsFunc(b.desired, func(o mesh.Object) bool {
		sc, is := o.(*networkingv1.Sidecar)
		return is && len(sc.Spec.GetWorkloadSelector().GetLabels()) == 0 && isRegistryOnly(&sc.Spec)
	})
}

// isolates says whether another policy closes the whole namespace in the
// directions of np.
func (b backing) isolates(np *netv1.NetworkPolicy) bool {
	return slices.ContainsFunc(b.desired, func(o mesh.Object) bool {
		other, is := o.(*netv1.NetworkPolicy)
		return is && other.Name != np.Name && selectsAll(other.Spec.PodSelector) &&
			within(defaulted(np).PolicyTypes, defaulted(other).PolicyTypes)
	})
}

// relation is how what the live state matches relates to what the desired one does.
type relation int

const (
	same relation = iota
	wider
	narrower
	unclear
)

func (r relation) and(other relation) relation {
	switch {
	case r == other || other == same:
		return r
	case r == same:
		return other
	}
	return unclear
}

func (r relation) inverse() relation {
	switch r {
	case wider:
		return narrower
	case narrower:
		return wider
	}
	return r
}

// opening is the effect where to match more is to let more through.
func (r relation) opening() v1alpha1.Effect {
	switch r {
	case same:
		return v1alpha1.EffectNeutral
	case narrower:
		return v1alpha1.EffectTightens
	}
	return v1alpha1.EffectWeakens
}

// closing is the effect where to match more is to let less through.
func (r relation) closing() v1alpha1.Effect { return r.inverse().opening() }

// both is the effect of two changes together: one that weakens is not made
// good by one that tightens something else.
func both(effects ...v1alpha1.Effect) v1alpha1.Effect {
	out := v1alpha1.EffectNeutral
	for _, e := range effects {
		switch e {
		case v1alpha1.EffectWeakens:
			return e
		case v1alpha1.EffectTightens:
			out = e
		}
	}
	return out
}

func within[T comparable](a, b []T) bool {
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}

// sets relates two sets of which each value matches more. Wildcards are not
// understood: "*.a" next to "x.a" is unclear.
func sets[T comparable](want, have []T) relation {
	switch more, less := within(want, have), within(have, want); {
	case more && less:
		return same
	case more:
		return wider
	case less:
		return narrower
	}
	return unclear
}

// orAny relates two sets of which the empty one matches everything.
func orAny[T comparable](want, have []T) relation {
	switch {
	case len(want) == 0 && len(have) == 0:
		return same
	case len(have) == 0:
		return wider
	case len(want) == 0:
		return narrower
	}
	return sets(want, have)
}

// union relates two lists of which any entry may match. Lists of as many
// entries that aren't the same are related entry by entry.
func union[T any](want, have []T, entry func(want, have T) relation) relation {
	switch kept, added := subset(want, have, entry), !subset(have, want, entry); {
	case kept && !added:
		return same
	case kept:
		return wider
	case !added:
		return narrower
	}
	return pairwise(want, have, entry)
}

func subset[T any](a, b []T, entry func(a, b T) relation) bool {
	return !slices.ContainsFunc(a, func(x T) bool {
		return !slices.ContainsFunc(b, func(y T) bool { return entry(x, y) == same })
	})
}

func pairwise[T any](want, have []T, entry func(want, have T) relation) relation {
	if len(want) != len(have) {
		return unclear
	}
	r := same
	for i := range want {
		r = r.and(entry(want[i], have[i]))
	}
	return r
}

// unionOrAny is union where the empty list matches everything.
func unionOrAny[T any](want, have []T, entry func(want, have T) relation) relation {
	switch {
	case len(want) == 0 && len(have) == 0:
		return same
	case len(have) == 0:
		return wider
	case len(want) == 0:
		return narrower
	}
	return union(want, have, entry)
}

// labels relates two selectors: each label more selects less.
func labels(want, have map[string]string) relation {
	pairs := func(m map[string]string) []string {
		out := make([]string, 0, len(m))
		for k, v := range m {
			out = append(out, k+"="+v)
		}
		return out
	}
	return sets(pairs(want), pairs(have)).inverse()
}

func identical[T proto.Message](a, b T) relation {
	if proto.Equal(a, b) {
		return same
	}
	return unclear
}
