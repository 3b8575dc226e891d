package snapshot

import (
	"fmt"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Names that Istio gives to its proxy and reads from pods, by its documentation
// of sidecar injection, traffic annotations and ambient mode.
const (
	proxyContainer       = "istio-proxy"
	sidecarInject        = "sidecar.istio.io/inject"
	ambientRedirection   = "ambient.istio.io/redirection"
	dataPlaneMode        = "istio.io/dataplane-mode"
	trafficPrefix        = "traffic.sidecar.istio.io/"
	interceptionMode     = "sidecar.istio.io/interceptionMode"
	ambientBypassInbound = "ambient.istio.io/bypass-inbound-capture"
)

// bypassAnnotations exclude traffic from the mesh; the value is the one that
// excludes nothing. config/admission/posture.yaml has the same list.
var bypassAnnotations = map[string]string{
	trafficPrefix + "includeInboundPorts":     "*",
	trafficPrefix + "includeOutboundIPRanges": "*",
	trafficPrefix + "excludeInboundPorts":     "",
	trafficPrefix + "excludeOutboundPorts":    "",
	trafficPrefix + "excludeOutboundIPRanges": "",
	trafficPrefix + "excludeInterfaces":       "",
	interceptionMode:                          "REDIRECT",
	ambientBypassInbound:                      "false",
}

// PodFacts reduces a pod to what matters; false for one that has ended.
func PodFacts(p *corev1.Pod) (facts.Pod, bool) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return facts.Pod{}, false
	}
	told := captureSettings(p)
	out := facts.Pod{
		Name:           p.Name,
		Labels:         p.Labels,
		ServiceAccount: p.Spec.ServiceAccountName,
		Owner:          owner(p),
		Ambient:        p.Annotations[ambientRedirection] == "enabled",
		Bypass:         bypass(p, told),
		Tampering:      tampering(p),
		Obsolete:       obsolete(p.Annotations),
	}
	if out.ServiceAccount == "" {
		out.ServiceAccount = "default"
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == proxyContainer {
			out.Sidecar, out.Gateway = true, slices.Contains(c.Args, "router")
			out.NativeSidecar = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
			out.ProxyVersion = imageTag(c.Image)
			continue
		}
		for _, port := range c.Ports {
			if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
				out.Ports = append(out.Ports, facts.ContainerPort{Name: port.Name, Number: port.ContainerPort})
			}
		}
	}
	out.APIToken = slices.ContainsFunc(p.Spec.Volumes, apiToken)
	out.Edge, out.HostPorts = edge(p), hostPorts(p)
	out.Uncaptured, out.Capture = uncaptured(told), captureOf(told)
	out.Probes, out.Scraped = podProbes(p), scraped(p.Annotations)
	return out, true
}

func owner(p *corev1.Pod) facts.Owner {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return facts.Owner{Kind: "Pod", Name: p.Name}
	}
	if hash := p.Labels["pod-template-hash"]; ref.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
			return facts.Owner{Kind: "Deployment", Name: name}
		}
	}
	return facts.Owner{Kind: ref.Kind, Name: ref.Name}
}

// obsoleteAnnotations are those of pods that Istio's own registry calls deprecated.
var obsoleteAnnotations = func() map[string]bool {
	out := map[string]bool{}
	for _, a := range annotation.AllResourceAnnotations() {
		if a.Deprecated && slices.Contains(a.Resources, annotation.Pod) {
			out[a.Name] = true
		}
	}
	return out
}()

func obsolete(annotations map[string]string) []string {
	var out []string
	for k := range annotations {
		if obsoleteAnnotations[k] {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// bypass also names what was told when the capture was set up.
func bypass(p *corev1.Pod, told map[string]string) []string {
	var out []string
	if p.Spec.HostNetwork {
		out = append(out, "hostNetwork")
	}
	if p.Labels[sidecarInject] == "false" || p.Annotations[sidecarInject] == "false" {
		out = append(out, sidecarInject+"=false")
	}
	if p.Labels[dataPlaneMode] == "none" {
		out = append(out, dataPlaneMode+"=none")
	}
	for key, harmless := range bypassAnnotations {
		v, ok := told[key]
		if !ok {
			v, ok = p.Annotations[key]
		}
		// Of what is included, nothing is left by an empty list.
		included := harmless == "*"
		if ok && v != harmless && (v != "" || included) && !capturesAll(key, v) {
			out = append(out, key+"="+cut(v, 64))
		}
	}
	slices.Sort(out)
	return out
}

// proxyUser is the user of Istio's proxy, whose traffic is not captured.
const proxyUser int64 = 1337

// networkCapabilities let a container change what is captured.
var networkCapabilities = []corev1.Capability{"NET_ADMIN", "NET_RAW", "CAP_NET_ADMIN", "CAP_NET_RAW", "ALL"}

// proxyAnnotations replace parts of the injected proxy.
var proxyAnnotations = []string{"sidecar.istio.io/proxyImage", "sidecar.istio.io/bootstrapOverride", "sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount"}

// initContainer is the injected one that sets the capture up, by rights that
// no other container is to have.
const initContainer = "istio-init"

func tampering(p *corev1.Pod) []string {
	var out []string
	podUser := p.Spec.SecurityContext != nil && p.Spec.SecurityContext.RunAsUser != nil && *p.Spec.SecurityContext.RunAsUser == proxyUser
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == proxyContainer || c.Name == initContainer {
			continue
		}
		s := c.SecurityContext
		if s == nil {
			s = &corev1.SecurityContext{}
		}
		if s.Privileged != nil && *s.Privileged {
			out = append(out, fmt.Sprintf("container %s is privileged", c.Name))
		}
		if s.RunAsUser != nil && *s.RunAsUser == proxyUser || s.RunAsUser == nil && podUser {
			out = append(out, fmt.Sprintf("container %s runs as the proxy's user %d, whose traffic is not captured", c.Name, proxyUser))
		}
		if s.Capabilities != nil {
			for _, add := range s.Capabilities.Add {
				if slices.Contains(networkCapabilities, add) {
					out = append(out, fmt.Sprintf("container %s has the capability %s", c.Name, add))
				}
			}
		}
	}
	for _, a := range proxyAnnotations {
		if v := p.Annotations[a]; v != "" {
			out = append(out, a+"="+cut(v, 64))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// imageTag is the tag of an image, without a variant like -distroless.
func imageTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	i := strings.LastIndexByte(image, ':')
	if i < 0 || strings.ContainsRune(image[i:], '/') {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(image[i+1:], "-distroless"), "-debug")
}

// ServiceFacts reduces a service to what matters.
func ServiceFacts(s *corev1.Service) facts.Service {
	out := facts.Service{
		Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Selector: s.Spec.Selector,
		External: s.Spec.Type == corev1.ServiceTypeExternalName, ExternalName: s.Spec.ExternalName,
		Headless: s.Spec.ClusterIP == corev1.ClusterIPNone, Scraped: scraped(s.Annotations), Ways: exposed(s),
		HidesCallers: (s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer) &&
			s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal,
	}
	for _, p := range s.Spec.Ports {
		port := facts.ServicePort{Name: p.Name, Protocol: string(p.Protocol), Port: p.Port, Target: p.TargetPort}
		if port.Protocol == "" {
			port.Protocol = string(corev1.ProtocolTCP)
		}
		if p.AppProtocol != nil {
			port.AppProtocol = *p.AppProtocol
		}
		if port.Target.IntVal == 0 && port.Target.StrVal == "" {
			port.Target.IntVal = p.Port
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}
