package posture

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// References is what a profile names in the cluster, each list sorted and
// unique, with the profile's own namespace filled in where none is given.
type References struct {
	Namespaces      []string
	ServiceAccounts []types.NamespacedName
	Services        []types.NamespacedName
}

// ReferencesOf lists what a profile names.
func ReferencesOf(p *v1alpha1.MeshSecurityProfile) References {
	var r References
	if a := p.Spec.Authorization; a != nil {
		for _, rule := range a.Rules {
			for _, c := range rule.From {
				switch {
				case c.ServiceAccount != nil:
					r.ServiceAccounts = append(r.ServiceAccounts, named(p.Namespace, c.ServiceAccount.Namespace, string(c.ServiceAccount.Name)))
				case c.Namespace != "":
					r.Namespaces = append(r.Namespaces, string(c.Namespace))
				}
			}
		}
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
