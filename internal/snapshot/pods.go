package snapshot

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

const (
	// scrapePrefix begins the annotations by which pods and services ask to be
	// scraped, a convention of Prometheus' own examples.
	scrapePrefix = "prometheus.io/"
	// statusPort is the agent's, to which Istio's injector redirects probes and scrapes.
	statusPort        = 15020
	statusPortSetting = "status.sidecar.istio.io/port"
)

// podProbes are the probes that Istio's injector did not redirect to its agent
// and that pass the proxy. Those by TCP are left out: the proxy accepts every
// connection, so that it answers them itself.
func podProbes(p *corev1.Pod) []facts.Probe {
	var out []facts.Probe
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == proxyContainer {
			continue
		}
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			f, ok := probeFacts(trimProbe(p, probe), c)
			if ok && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

func probeFacts(p *corev1.Probe, c corev1.Container) (facts.Probe, bool) {
	switch {
	case p == nil:
		return facts.Probe{}, false
	case p.GRPC != nil:
		return facts.Probe{Port: p.GRPC.Port}, true
	}
	port := p.HTTPGet.Port.IntVal
	for _, declared := range c.Ports {
		if p.HTTPGet.Port.Type == intstr.String && declared.Name == p.HTTPGet.Port.StrVal {
			port = declared.ContainerPort
		}
	}
	return facts.Probe{HTTP: true, Port: port, Path: cmp.Or(p.HTTPGet.Path, "/")}, port != 0
}

// trimProbe keeps where a probe goes, and nothing of one that does not pass the proxy.
func trimProbe(pod *corev1.Pod, p *corev1.Probe) *corev1.Probe {
	switch {
	case p == nil:
	case p.GRPC != nil:
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: p.GRPC.Port}}}
	case p.HTTPGet != nil && p.HTTPGet.Port.IntVal != agentPort(pod):
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: p.HTTPGet.Path, Port: p.HTTPGet.Port}}}
	}
	return nil
}

func agentPort(p *corev1.Pod) int32 {
	if n, err := strconv.ParseInt(p.Annotations[statusPortSetting], 10, 32); err == nil {
		return int32(n)
	}
	return statusPort
}

// scraped are the ports that annotations ask to be scraped. Without one, which
// port it is can't be told; the agent's own, which Istio's injector puts there,
// is not the application's.
func scraped(annotations map[string]string) []facts.ScrapePort {
	if annotations[scrapePrefix+"scrape"] != "true" {
		return nil
	}
	n, err := strconv.ParseInt(annotations[scrapePrefix+"port"], 10, 32)
	if err != nil || n == statusPort {
		return nil
	}
	return []facts.ScrapePort{{Target: intstr.FromInt32(int32(n)), Path: cmp.Or(annotations[scrapePrefix+"path"], defaultPath)}}
}

// apiToken says whether a volume holds a token for the API server: one that is
// projected for no other audience (the ServiceAccount admission plugin's).
func apiToken(v corev1.Volume) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == ""
	})
}

// bareToken stands in the cache for such a volume.
var bareToken = corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
	Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}},
}}}
