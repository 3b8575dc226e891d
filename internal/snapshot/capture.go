package snapshot

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Annotations that say which traffic is led through the proxy.
const (
	includedInbound       = trafficPrefix + "includeInboundPorts"
	excludedInbound       = trafficPrefix + "excludeInboundPorts"
	includedOutbound      = trafficPrefix + "includeOutboundIPRanges"
	excludedOutbound      = trafficPrefix + "excludeOutboundIPRanges"
	includedOutboundPorts = trafficPrefix + "includeOutboundPorts"
	excludedOutboundPorts = trafficPrefix + "excludeOutboundPorts"
	excludedInterfaces    = trafficPrefix + "excludeInterfaces"
)

// captureFlags of istio-iptables stand for annotations (Istio's injection template).
var captureFlags = map[string]string{
	"-m": interceptionMode, "-b": includedInbound, "-d": excludedInbound, "-i": includedOutbound, "-x": excludedOutbound,
	"-q": includedOutboundPorts, "-o": excludedOutboundPorts, "-c": excludedInterfaces,
}

// captureContainers set the capture up, or look whether it is.
var captureContainers = []string{initContainer, "istio-validation"}

// agentPortNames are the ports of facts.AgentPorts: Istio's injector excludes
// them itself, with its CNI plugin by an annotation.
var agentPortNames = []string{"15020", "15021", "15090"}

// captureSettings are, by annotation, what holds for a pod: what the container
// that set its capture up was told, which has the mesh's own defaults in it; what
// the pod's annotations say where there is no such container.
func captureSettings(p *corev1.Pod) map[string]string {
	for _, c := range p.Spec.InitContainers {
		if !slices.Contains(captureContainers, c.Name) || len(c.Args) == 0 {
			continue
		}
		out := map[string]string{}
		for i, a := range c.Args[:len(c.Args)-1] {
			if key, ok := captureFlags[a]; ok {
				out[key] = c.Args[i+1]
			}
		}
		return out
	}
	return p.Annotations
}

// trimCapture keeps the arguments that captureSettings reads.
func trimCapture(args []string) []string {
	var out []string
	for i := range len(args) - 1 {
		if _, ok := captureFlags[args[i]]; ok {
			out = append(out, args[i], args[i+1])
		}
	}
	return out
}

func captureOf(told map[string]string) facts.Capture {
	in, someIn := told[includedInbound]
	out, someOut := told[includedOutbound]
	c := facts.Capture{
		None:       told[interceptionMode] == "NONE",
		Interfaces: told[excludedInterfaces] != "",
		SomeIn:     someIn && in != "*",
		SomeOut:    someOut && out != "*",
		OutPast:    ports(told[excludedOutboundPorts]),
		OutPorts:   ports(told[includedOutboundPorts]),
	}
	if c.SomeIn {
		c.InPorts = ports(in)
	}
	if c.SomeOut {
		c.OutBlocks = list(out)
	}
	c.OutPastBlocks = list(told[excludedOutbound])
	return c
}

// capturesAll says whether a setting that is not the default leads no less
// through the proxy: another way of capturing, or ports that are the proxy's own.
func capturesAll(key, value string) bool {
	switch key {
	case interceptionMode:
		return value == "TPROXY"
	case excludedInbound:
		return !slices.ContainsFunc(strings.Split(value, ","), func(v string) bool { return !slices.Contains(agentPortNames, v) })
	}
	return false
}

// uncaptured are the ports that a setting keeps from the proxy.
func uncaptured(told map[string]string) []int32 {
	var out []int32
	for _, n := range ports(told[excludedInbound]) {
		if !slices.Contains(facts.AgentPorts(), n) {
			out = append(out, n)
		}
	}
	return out
}

func list(text string) []string {
	var out []string
	for v := range strings.SplitSeq(text, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

func ports(text string) []int32 {
	var out []int32
	for _, v := range list(text) {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			out = append(out, int32(n))
		}
	}
	return out
}
