package posture

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// References is what a profile names in the cluster, each list sorted and
// unique, with the profile's own namespace filled in where none is given.
type References struct {
	Namespaces      []string
	ServiceAccounts []types.NamespacedName
	Services        []types.NamespacedName
}

// ReferencesOf lists what a profile names, with the peers that baselines make
// of names, and what these add to it.
func ReferencesOf(p *v1alpha1.MeshSecurityProfile, baselines ...facts.Baseline) References {
	var r References
	if a := p.Spec.Authorization; a != nil {
		r.callers(p.Namespace, a.Rules, baselines)
	}
	for _, b := range baselines {
		r.callers(p.Namespace, b.Spec.AuthorizationRules, append([]facts.Baseline{b}, baselines...))
	}
	if e := p.Spec.Egress; e != nil {
		for _, rule := range e.Rules {
			for _, t := range rule.To {
				switch {
				case t.Service != nil:
					r.Services = append(r.Services, named(p.Namespace, t.Service.Namespace, string(t.Service.Name)))
				case t.Namespace != "":
					r.Namespaces = append(r.Namespaces, string(t.Namespace))
				}
			}
		}
	}
	slices.Sort(r.Namespaces)
	r.Namespaces = slices.Compact(r.Namespaces)
	r.ServiceAccounts = sortedNames(r.ServiceAccounts)
	r.Services = sortedNames(r.Services)
	return r
}

// Names says whether a baseline's peers or rules name a service account.
func Names(spec *v1alpha1.MeshSecurityBaselineSpec, account types.NamespacedName) bool {
	is := func(sa *v1alpha1.ServiceAccountReference) bool {
		return sa != nil && string(sa.Name) == account.Name && (sa.Namespace == "" || string(sa.Namespace) == account.Namespace)
	}
	for _, p := range spec.Peers {
		for i := range p.ServiceAccounts {
			if is(&p.ServiceAccounts[i]) {
				return true
			}
		}
	}
	return slices.ContainsFunc(spec.AuthorizationRules, func(r v1alpha1.AuthorizationRule) bool {
		return slices.ContainsFunc(r.From, func(c v1alpha1.Caller) bool { return is(c.ServiceAccount) })
	})
}

func (r *References) callers(own string, rules []v1alpha1.AuthorizationRule, baselines []facts.Baseline) {
	for _, rule := range rules {
		for _, c := range rule.From {
			switch {
			case c.ServiceAccount != nil:
				r.ServiceAccounts = append(r.ServiceAccounts, named(own, c.ServiceAccount.Namespace, string(c.ServiceAccount.Name)))
			case c.Namespace != "":
				r.Namespaces = append(r.Namespaces, string(c.Namespace))
			case c.Peer != "":
				accounts, _ := peer(c.Peer, own, baselines)
				r.ServiceAccounts = append(r.ServiceAccounts, accounts...)
			}
		}
	}
}

// peer is the service accounts of a named peer, by the first of the baselines
// that declares it; false where none does.
func peer(name v1alpha1.RuleName, own string, baselines []facts.Baseline) ([]types.NamespacedName, bool) {
	for _, b := range baselines {
		for _, p := range b.Spec.Peers {
			if p.Name != name {
				continue
			}
			var out []types.NamespacedName
			for _, sa := range p.ServiceAccounts {
				out = append(out, named(own, sa.Namespace, string(sa.Name)))
			}
			return out, true
		}
	}
	return nil, false
}

func named(own string, ns v1alpha1.NamespaceName, name string) types.NamespacedName {
	if ns != "" {
		own = string(ns)
	}
	return types.NamespacedName{Namespace: own, Name: name}
}

func sortedNames(in []types.NamespacedName) []types.NamespacedName {
	slices.SortFunc(in, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(in)
}
