package plan

import (
	"encoding/json"
	"maps"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// keeps are copies of policies that are about to be replaced by something that
// neither only opens nor only shuts. Written in one go, what the old one does
// would be gone when the others that change with it are not yet as they are to
// be. So the old one stays under another name until that of its kind goes.
func keeps(steps []Step) []Step {
	var out []Step
	for i := range steps {
		s := &steps[i]
		if s.kept = turns(*s); s.kept {
			out = append(out, temporary(keepOf(*s), "keeps what "+s.Resource()+" does while others change")...)
		}
	}
	return out
}

// turns says whether a step replaces an object that is in force by one that does
// neither only more nor only less:
//
//	AuthorizationPolicy    opens something and shuts something, or acts the other way
//	RequestAuthentication  other tokens are valid
//	ServiceEntry           other hosts are known
//	Sidecar, NetworkPolicy is for other workloads
func turns(s Step) bool {
	if s.Verb != Replace {
		return false
	}
	live := s.Change.Live
	switch want := s.Change.Desired.(type) {
	case *securityv1.RequestAuthentication:
		return s.Change.Alone != v1alpha1.EffectNeutral
	case *networkingv1.ServiceEntry:
		return loses(live, want) && loses(want, live)
	case *networkingv1.Sidecar, *netv1.NetworkPolicy:
		return !maps.Equal(restriction(live), restriction(want))
	case *securityv1.AuthorizationPolicy:
		have, ok := live.(*securityv1.AuthorizationPolicy)
		return ok && inForce(have) && inForce(want) && (have.Spec.GetAction() != want.Spec.GetAction() ||
			s.Change.Alone == v1alpha1.EffectWeakens && drift.Effect(have, want, nil, nil) == v1alpha1.EffectWeakens)
	}
	return false
}

// keepOf is named after what it is a copy of and what that does, so that a plan
// which is made anew finds it.
func keepOf(s Step) mesh.Object {
	live, _ := s.Change.Live.DeepCopyObject().(mesh.Object)
	raw, _ := json.Marshal(live)
	var o struct{ Spec json.RawMessage }
	_ = json.Unmarshal(raw, &o)
	spec, _ := json.Marshal(map[string]json.RawMessage{"spec": o.Spec})
	k, _ := mesh.KindOf(live)
	out := k.New()
	// What was an object a moment ago is one still.
	_ = json.Unmarshal(spec, out)
	out.GetObjectKind().SetGroupVersionKind(k.GVK)
	m := temporaryMeta("keep-"+mesh.Hash(live.GetName()+string(o.Spec)), s.Change.Desired)
	setMeta(out, m)
	return out
}

func setMeta(o mesh.Object, m metav1.ObjectMeta) {
	o.SetName(m.Name)
	o.SetNamespace(m.Namespace)
	o.SetLabels(m.Labels)
	o.SetOwnerReferences(m.OwnerReferences)
}
