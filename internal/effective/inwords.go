package effective

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// LayersOf are the layers at which objects of a kind decide.
func LayersOf(o facts.Object) []Layer { return layersOf(o) }

// maxSentences is how many differences are put into words.
const maxSentences = 3

// verbs say what becomes of what passes a layer, and of what does not.
var verbs = map[Layer]struct{ passes, stops string }{
	Transport:       {"accepted", "refused"},
	Authorization:   {"allowed", "denied"},
	NetworkIn:       {"let in by the network", "kept out by the network"},
	ClientTransport: {"sent", "not sent"},
	ProxyOut:        {"let out by the proxy", "stopped by the proxy"},
	NetworkOut:      {"let out by the network", "stopped by the network"},
	Unlogged:        {"possible", "impossible"},
}

// Words say what becomes of differences, in a model in which they pass or not.
func Words(m *Model, ds []Difference, pass bool) string {
	out := Sentences(m, ds, pass)
	if n := len(out); n > maxSentences {
		out = append(out[:maxSentences], fmt.Sprintf("and %d more", n-maxSentences))
	}
	return strings.Join(out, "; ")
}

// Sentences are what Words says, all of it, one for each difference.
func Sentences(m *Model, ds []Difference, pass bool) []string {
	var out []string
	for _, d := range ds {
		v := verbs[d.Probe.Layer]
		is := "are "
		if m.Pass(d.Probe).Unknown {
			is = "may be "
		}
		verb := v.stops
		if pass {
			verb = v.passes
		}
		out = append(out, d.What+" "+is+verb)
	}
	return out
}

// Felt leaves out of a comparison what the namespace does not feel: a
// connection that the network lets in goes no further where the proxy stops
// it, and what is opened to other namespaces alone is their affair.
func (c Comparison) Felt(after *Model) Comparison {
	c.Opens = slices.DeleteFunc(slices.Clone(c.Opens), func(d Difference) bool {
		return elsewhere(d) || (d.Probe.Layer == NetworkIn && !after.Admits(d.Probe.Call).Passes)
	})
	c.Shuts = slices.DeleteFunc(slices.Clone(c.Shuts), elsewhere)
	return c
}

func elsewhere(d Difference) bool { return d.Probe.Exit.Namespace != "" }

// Touches says whether two worlds differ in an area, or may.
func (c Comparison) Touches(area v1alpha1.Area) bool {
	in := func(d Difference) bool { return d.Probe.Layer.Area() == area }
	return c.Partial || slices.ContainsFunc(c.Opens, in) || slices.ContainsFunc(c.Shuts, in) ||
		slices.ContainsFunc(c.Unknown, func(r Ref) bool { return slices.Contains(areasOf(r), area) })
}

// Opened are what passes after alone in an area.
func (c Comparison) Opened(area v1alpha1.Area) []Difference {
	return slices.DeleteFunc(slices.Clone(c.Opens), func(d Difference) bool { return d.Probe.Layer.Area() != area })
}

// Unclear are objects of which the model can't tell what they do in an area.
func (c Comparison) Unclear(area v1alpha1.Area) []Ref {
	return slices.DeleteFunc(slices.Clone(c.Unknown), func(r Ref) bool { return !slices.Contains(areasOf(r), area) })
}

// areasOf are the areas that objects of a kind decide in; all of them for a
// kind that the model does not know.
func areasOf(r Ref) []v1alpha1.Area {
	_, atGateway := mesh.GatewayPolicyTenant(r.Name, r.Namespace)
	switch r.Kind {
	case "DestinationRule":
		if strings.HasPrefix(r.Name, mesh.NamePrefix) {
			// Ours leads to an egress gateway.
			return []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaEgress}
		}
		return []v1alpha1.Area{v1alpha1.AreaMutualTLS}
	case "PeerAuthentication":
		return []v1alpha1.Area{v1alpha1.AreaMutualTLS}
	case "AuthorizationPolicy", "RequestAuthentication":
		if atGateway {
			return []v1alpha1.Area{v1alpha1.AreaEgress}
		}
		return []v1alpha1.Area{v1alpha1.AreaAuthorization}
	case "Sidecar", "ServiceEntry", "Gateway", "VirtualService":
		return []v1alpha1.Area{v1alpha1.AreaEgress}
	case "NetworkPolicy":
		return []v1alpha1.Area{v1alpha1.AreaAuthorization, v1alpha1.AreaEgress}
	case "Telemetry":
		return []v1alpha1.Area{v1alpha1.AreaLogging}
	}
	return []v1alpha1.Area{v1alpha1.AreaMutualTLS, v1alpha1.AreaAuthorization, v1alpha1.AreaEgress}
}

// named are objects as KIND/NAME, and as KIND/NAMESPACE/NAME those of other namespaces.
func named(refs []Ref, namespace string) string {
	var out []string
	for _, r := range refs {
		if r.Namespace == namespace || r.Namespace == "" {
			out = append(out, r.Kind+"/"+r.Name)
		} else {
			out = append(out, r.Kind+"/"+r.Namespace+"/"+r.Name)
		}
	}
	slices.Sort(out)
	return mesh.Some(slices.Compact(out))
}
