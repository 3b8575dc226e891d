package audit

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func controlPlaneChecks() []Check {
	return []Check{
		{
			ID: "CTL-006", Title: "istiod is told to leave a guard off", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "take the setting out of istiod's environment, so that Istio's default holds again",
			Limits:      "Looked at are the environment variables of istiod's own deployment in the mesh's namespace. An istiod elsewhere is not seen. Istio's defaults are safe, but for the debug pages of versions before 1.27.8, 1.28.5 and 1.29.1: they tell every workload the configuration of every proxy, and are there unless ENABLE_DEBUG_ON_HTTP is false. What these versions tell without TLS on port 15010 is CTL-007's and VUL-001's.",
			References:  []string{"https://istio.io/latest/docs/reference/commands/pilot-discovery/", "https://istio.io/latest/docs/ops/best-practices/security/"},
			cluster:     guardsOff,
		},
		{
			ID: "CTL-007", Title: "istiod's ports without TLS are open to all", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"PCI DSS 4.0 1.4.4"},
			Remediation: "add a NetworkPolicy in the mesh's namespace that selects istiod's pods and lets in 15012 and 15017 from everywhere, and the others from who needs them: Prometheus on 15014, nobody on 8080 and 15010",
			Limits:      "Looked at are the NetworkPolicies of the mesh's namespace: policies of other kinds, as some networks have them, are not seen. A port that istiod's flags put elsewhere is looked at there, and one that they bind to the pod itself, or turn off, is not. Callers count as all where no selector and no address range names them.",
			References:  []string{"https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio", "https://istio.io/latest/docs/ops/best-practices/security/#control-plane"},
			cluster:     portsOpen,
		},
		{
			ID: "CTL-010", Title: "credentials for other clusters may be unsafe", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"NIST SP 800-204A SM-DR12"},
			Remediation: "make the secrets of other clusters with istioctl create-remote-secret, and take PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS out of istiod's environment",
			Limits:      "What istiod is told to accept is looked at; the secrets themselves, labelled istio/multiCluster=true, are not: reading secrets is not granted. Whether there are any is taken from istiod's cluster having a name, as meshes of several clusters give it.",
			References:  []string{"https://istio.io/latest/docs/reference/commands/pilot-discovery/", "https://istio.io/latest/docs/setup/install/multicluster/before-you-begin/"},
			cluster:     remoteClusters,
		},
	}
}

// guards are settings of istiod, what each has to be, and what it means where it is not.
var guards = []struct {
	name  string
	is    bool
	means string
}{
	{"XDS_AUTH", true, "proxies are not authenticated, so that anybody who reaches istiod gets the configuration of every proxy"},
	{"PILOT_ENABLE_XDS_IDENTITY_CHECK", true, "a proxy may ask for the configuration of another identity, secrets among it"},
	{"ENABLE_DEBUG_ENDPOINT_AUTH", true, "istiod's debug pages tell every workload the configuration of every proxy, and everybody who asks without TLS"},
	{"UNSAFE_ENABLE_ADMIN_ENDPOINTS", false, "istiod's pages for administrators answer to everybody who reaches them"},
}

func guardsOff(s *ClusterScene) []Finding {
	if !s.ControlPlaneRead {
		return []Finding{unknown("Namespace/"+s.Mesh.Namespace, "istiod's deployment can't be read in namespace %s", s.Mesh.Namespace)}
	}
	var out []Finding
	for _, cp := range s.ControlPlanes {
		var off, means, unread []string
		for _, g := range guards {
			text, set := cp.Settings[g.name]
			on, err := strconv.ParseBool(text)
			switch {
			case slices.Contains(cp.SettingsElsewhere, g.name):
				unread = append(unread, g.name)
			case set && err == nil && on != g.is:
				off, means = append(off, g.name+"="+text), append(means, g.means)
			}
		}
		subject := cp.Kind + "/" + cp.Namespace + "/" + cp.Name
		if len(off) > 0 {
			out = append(out, open(subject, "it is set to %s: %s", mesh.Some(off), mesh.Some(means)))
		}
		if len(unread) > 0 {
			out = append(out, unknown(subject, "%s is taken from another object, which is not read", mesh.Some(unread)))
		}
		out = append(out, debugPages(cp)...)
	}
	return out
}

// debugPages looks for those that don't ask of which namespace a caller is. From
// 1.27.8, 1.28.5 and 1.29.1 on they do, unless they are told not to, which
// guardsOff reports.
func debugPages(cp facts.ControlPlane) []Finding {
	const setting = "ENABLE_DEBUG_ON_HTTP"
	subject := cp.In("")
	if on, err := strconv.ParseBool(cp.Settings[setting]); err == nil && !on {
		return nil
	}
	v, err := bulletins.Parse(cp.Version)
	switch {
	case err != nil:
		f := unknown(subject, "whether its debug pages ask of which namespace a caller is depends on its version, and %q can't be read as one", cp.Version)
		f.Severity, f.Remediation = v1alpha1.SeverityLow, "set "+setting+" to false in istiod's environment, or run an image whose tag is the version"
		return []Finding{f}
	case authenticated(v.Minor(), v.Patch()):
		return nil
	case slices.Contains(cp.SettingsElsewhere, setting):
		return []Finding{unknown(subject, "%s is taken from another object, which is not read", setting)}
	}
	f := open(subject, "its debug pages tell every workload the configuration of every proxy: version %s does not ask of which namespace a caller is, and %s is not false", cp.Version, setting)
	f.Remediation = "update istiod, or set " + setting + " to false in its environment"
	return []Finding{f}
}

// authenticated says whether the debug pages of a version 1.MINOR.PATCH ask of
// which namespace a caller is (ISTIO-SECURITY-2026-001).
func authenticated(minor, patch uint) bool {
	from, fixed := map[uint]uint{27: 8, 28: 5, 29: 1}[minor]
	return minor > 29 || (fixed && patch >= from)
}

// plain are istiod's ports without TLS, by the flags that say where they are.
var plain = []struct {
	flag string
	port int32
	what string
}{
	{"--httpAddr", 8080, "debug pages"},
	{"--grpcAddr", 15010, "the configuration of proxies, in plaintext"},
	{"--monitoringAddr", 15014, "metrics and debug pages"},
}

// listens is the port of a flag; false where it is off, or for the pod itself.
func listens(cp facts.ControlPlane, flag string, port int32) (int32, bool) {
	address, given := cp.Addresses[flag]
	if !given {
		return port, true
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, false
	}
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int32(n), err == nil && n > 0
}

func portsOpen(s *ClusterScene) []Finding {
	if !s.ControlPlaneRead {
		return []Finding{unknown("Namespace/"+s.Mesh.Namespace, "istiod's deployment can't be read in namespace %s", s.Mesh.Namespace)}
	}
	var out []Finding
	for _, cp := range s.ControlPlanes {
		var all, unheld []string
		for _, p := range plain {
			port, is := listens(cp, p.flag, p.port)
			if !is {
				continue
			}
			named := fmt.Sprintf("%d (%s)", port, p.what)
			all = append(all, named)
			if !s.held(cp, port) {
				unheld = append(unheld, named)
			}
		}
		subject := cp.In("")
		switch {
		case len(unheld) > 0:
			f := open(subject, "every pod reaches %s: no NetworkPolicy that selects its pods keeps anybody from there", mesh.Some(unheld))
			if s.Control.PolicyEnforced == facts.Unknown {
				f.Message += "; whether the cluster's network enforces any is not known"
			}
			out = append(out, f)
		case len(all) > 0 && s.Control.PolicyEnforced == facts.No:
			out = append(out, open(subject, "every pod reaches %s: the cluster's network does not enforce the NetworkPolicies that select its pods", mesh.Some(all)))
		case len(all) > 0 && s.Control.PolicyEnforced == facts.Unknown:
			f := unknown(subject, "NetworkPolicies say who may reach %s, and nothing tells whether the cluster's network enforces them", mesh.Some(all))
			f.Remediation = "say so by the operator's flag --network-policy-enforced"
			out = append(out, f)
		}
	}
	return out
}

// held says whether NetworkPolicies let some callers alone reach a port of istiod.
func (s *ClusterScene) held(cp facts.ControlPlane, port int32) bool {
	selected := false
	for _, o := range s.Control.Policies {
		p, ok := o.(*netv1.NetworkPolicy)
		if !ok {
			continue
		}
		ingress := len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, netv1.PolicyTypeIngress)
		if !ingress || !selectorMatches(p.Spec.PodSelector, cp.Labels) {
			continue
		}
		selected = true
		if slices.ContainsFunc(p.Spec.Ingress, func(r netv1.NetworkPolicyIngressRule) bool { return forAll(r.From) && forPort(r.Ports, cp, port) }) {
			return false
		}
	}
	return selected
}

func selectorMatches(s metav1.LabelSelector, labels map[string]string) bool {
	out := facts.LabelSelector{Labels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.Requirements = append(out.Requirements, facts.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return out.Matches(labels)
}

// forAll says whether peers are every pod, or every address.
func forAll(peers []netv1.NetworkPolicyPeer) bool {
	none := func(s *metav1.LabelSelector) bool { return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 }
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p netv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return strings.HasSuffix(p.IPBlock.CIDR, "/0") && len(p.IPBlock.Except) == 0
		}
		return p.NamespaceSelector != nil && none(p.NamespaceSelector) && none(p.PodSelector)
	})
}

// forPort says whether ports of a rule include one of istiod's, by number, range
// or name.
func forPort(ports []netv1.NetworkPolicyPort, cp facts.ControlPlane, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p netv1.NetworkPolicyPort) bool {
		if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return slices.Contains(cp.Ports, facts.ContainerPort{Name: p.Port.StrVal, Number: port})
		case p.EndPort != nil:
			return p.Port.IntVal <= port && port <= *p.EndPort
		}
		return p.Port.IntVal == port
	})
}

// remoteClusters looks at what istiod accepts of the credentials for other
// clusters. The credentials themselves are secrets.
func remoteClusters(s *ClusterScene) []Finding {
	const setting, byDefault = "PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS", "Kubernetes"
	var out []Finding
	for _, cp := range s.ControlPlanes {
		several := slices.Contains(cp.SettingsElsewhere, "CLUSTER_ID") || !slices.Contains([]string{"", byDefault}, cp.Settings["CLUSTER_ID"])
		switch {
		case strings.Trim(cp.Settings[setting], ", ") != "":
			out = append(out, open(cp.In(""), "it is set to %s=%s: a kubeconfig for another cluster may run a program in istiod, read its files or ask others for credentials", setting, cp.Settings[setting]))
		case slices.Contains(cp.SettingsElsewhere, setting):
			out = append(out, unknown(cp.In(""), "%s is taken from another object, which is not read", setting))
		case several:
			out = append(out, ungranted(cp.In(""), "its cluster has a name, as in a mesh of several; whether the kubeconfigs for the others are safe, like that they check whom they talk to, is in secrets, which are not read"))
		}
	}
	return out
}
