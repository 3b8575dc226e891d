package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Labels and annotations by which a namespace joins a mesh.
const (
	istioInjection = "istio-injection"
	istioRevision  = "istio.io/rev"
	linkerdInject  = "linkerd.io/inject"
	defaultRev     = "default"
)

// mesh reads what carries the namespace's traffic: what the profile says, else
// what the namespace's labels say.
func (r *Reader) mesh(ctx context.Context, ns *corev1.Namespace, declared *v1alpha1.MeshReference) (facts.Mesh, error) {
	m := facts.Mesh{
		Provider: v1alpha1.ProviderIstio, DataPlane: v1alpha1.DataPlaneSidecar,
		Namespace: r.MeshNamespace, RootNamespace: r.MeshNamespace, TrustDomain: "cluster.local", ClusterDomain: r.ClusterDomain,
	}
	switch {
	case ns.Labels[dataPlaneMode] == "ambient":
		m.DataPlane = v1alpha1.DataPlaneAmbient
	case ns.Annotations[linkerdInject] == "enabled" && ns.Labels[istioInjection] == "" && ns.Labels[istioRevision] == "":
		m.Provider, m.DataPlane = v1alpha1.ProviderLinkerd, ""
	}
	if declared != nil {
		switch {
		case declared.Provider == v1alpha1.ProviderLinkerd:
			m.Provider, m.DataPlane = v1alpha1.ProviderLinkerd, ""
		case m.Provider == v1alpha1.ProviderLinkerd:
			m.DataPlane = v1alpha1.DataPlaneSidecar
		}
		m.Provider = declared.Provider
		m.DataPlane = cmp.Or(declared.DataPlane, m.DataPlane)
	}
	if m.Provider != v1alpha1.ProviderIstio {
		return m, nil
	}
	for _, k := range mesh.ManagedKinds() {
		if k.Custom && !r.Served(k.GVK) {
			m.MissingKinds = append(m.MissingKinds, k.GVK.GroupKind().String())
		}
	}
	return m, errors.Join(r.controlPlane(ctx, ns, &m), r.rootMutualTLS(ctx, &m))
}

// controlPlane finds istiod and the mesh configuration of the namespace's
// revision. A revision tag is not a name of either: where only one istiod
// runs, it is that one.
func (r *Reader) controlPlane(ctx context.Context, ns *corev1.Namespace, m *facts.Mesh) error {
	m.Revision = cmp.Or(ns.Labels[istioRevision], defaultRev)
	if !r.ControlPlaneRead() {
		return nil
	}
	var list appsv1.DeploymentList
	if err := r.Optional.List(ctx, &list, client.InNamespace(r.MeshNamespace), client.MatchingLabels{"app": istiodApp}, noCopy); err != nil {
		return fmt.Errorf("list istiod deployments: %w", err)
	}
	istiod := slices.IndexFunc(list.Items, func(d appsv1.Deployment) bool { return cmp.Or(d.Labels[istioRevision], defaultRev) == m.Revision })
	if istiod < 0 && len(list.Items) == 1 {
		istiod = 0
		m.Revision = cmp.Or(list.Items[0].Labels[istioRevision], defaultRev)
	}
	if istiod >= 0 {
		d := list.Items[istiod]
		m.Observed = d.Status.AvailableReplicas > 0
		for _, c := range d.Spec.Template.Spec.Containers {
			if c.Name == istiodContainer {
				m.Version = imageTag(c.Image)
				m.AnyTrustDomain = slices.ContainsFunc(c.Env, skipsTrustDomain)
			}
		}
	}

	var cm corev1.ConfigMap
	found, err := r.getFrom(ctx, r.Optional, types.NamespacedName{Namespace: r.MeshNamespace, Name: configName(m.Revision)}, &cm)
	if err != nil || !found {
		return err
	}
	// istiod may run outside of the cluster: then its configuration alone shows that there is one.
	if istiod < 0 {
		m.Observed = true
	}
	readMeshConfig(cm.Data["mesh"], m)
	return nil
}

// configName is the ConfigMap with the mesh configuration of a revision.
func configName(revision string) string {
	if revision == defaultRev {
		return "istio"
	}
	return "istio-" + revision
}

// istiodContainer is the name of istiod's own container.
const istiodContainer = "discovery"

// skipTrustDomain is istiod's setting by which proxies accept callers of every
// trust domain (istio.io/docs, pilot-discovery).
const skipTrustDomain = "PILOT_SKIP_VALIDATE_TRUST_DOMAIN"

func skipsTrustDomain(e corev1.EnvVar) bool {
	on, err := strconv.ParseBool(e.Value)
	return e.Name == skipTrustDomain && err == nil && on
}

// bulletins reads the table that replaces the built-in one. It is in the mesh's
// namespace, where the operator reads the mesh configuration anyway.
func (r *Reader) bulletins(ctx context.Context) (*string, error) {
	if !r.ControlPlaneRead() {
		return nil, nil
	}
	var cm corev1.ConfigMap
	found, err := r.getFrom(ctx, r.Optional, types.NamespacedName{Namespace: r.MeshNamespace, Name: bulletins.ConfigMap}, &cm)
	if err != nil || !found {
		return nil, err
	}
	text := cm.Data[bulletins.Key]
	return &text, nil
}

// meshConfig is the part of Istio's MeshConfig (istio.io/api/mesh/v1alpha1)
// that decides what policies mean.
type meshConfig struct {
	RootNamespace      string           `json:"rootNamespace"`
	TrustDomain        string           `json:"trustDomain"`
	TrustDomainAliases []string         `json:"trustDomainAliases"`
	CACertificates     []map[string]any `json:"caCertificates"`
	DefaultProviders   struct {
		AccessLogging []string `json:"accessLogging"`
	} `json:"defaultProviders"`
	ExtensionProviders []map[string]any `json:"extensionProviders"`
	EnableAutoMTLS     *bool            `json:"enableAutoMtls"`
	MeshMTLS           struct {
		MinProtocolVersion string   `json:"minProtocolVersion"`
		CipherSuites       []string `json:"cipherSuites"`
	} `json:"meshMTLS"`
	OutboundTrafficPolicy struct {
		Mode string `json:"mode"`
	} `json:"outboundTrafficPolicy"`
	// To whom what does not say so is shown.
	DefaultVirtualServiceExportTo []string `json:"defaultVirtualServiceExportTo"`
	DefaultServiceExportTo        []string `json:"defaultServiceExportTo"`

	AccessLogFile               string `json:"accessLogFile"`
	AccessLogFormat             string `json:"accessLogFormat"`
	EnableEnvoyAccessLogService bool   `json:"enableEnvoyAccessLogService"`
	PathNormalization           struct {
		Normalization string `json:"normalization"`
	} `json:"pathNormalization"`
	DefaultConfig struct {
		GatewayTopology struct {
			NumTrustedProxies int `json:"numTrustedProxies"`
		} `json:"gatewayTopology"`
		ProxyMetadata map[string]any `json:"proxyMetadata"`
	} `json:"defaultConfig"`
}

// readMeshConfig fills in what the mesh configuration says. One that can't be
// read leaves ConfigRead false: what it would have said is unknown.
func readMeshConfig(text string, m *facts.Mesh) {
	var c meshConfig
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		return
	}
	m.ConfigRead = true
	m.RootNamespace = cmp.Or(c.RootNamespace, m.RootNamespace)
	m.TrustDomain = cmp.Or(c.TrustDomain, m.TrustDomain)
	m.ForeignTrust = len(c.TrustDomainAliases) > 0 || len(c.CACertificates) > 0
	m.TrustDomainAliases = c.TrustDomainAliases
	if ttl, ok := c.DefaultConfig.ProxyMetadata[requestedTTL]; ok {
		m.CertificateTTL = fmt.Sprint(ttl)
	}
	for _, ca := range c.CACertificates {
		if text, ok := ca["pem"].(string); ok {
			m.FurtherAuthorities = append(m.FurtherAuthorities, text)
		}
	}
	m.MinTLSVersion, m.CipherSuites = c.MeshMTLS.MinProtocolVersion, c.MeshMTLS.CipherSuites
	m.RegistryOnly = tristate(c.OutboundTrafficPolicy.Mode == "REGISTRY_ONLY")
	m.AutoMutualTLS = tristate(c.EnableAutoMTLS == nil || *c.EnableAutoMTLS)
	m.RouteExports, m.EntryExports = c.DefaultVirtualServiceExportTo, c.DefaultServiceExportTo
	m.AccessLogProviders = c.DefaultProviders.AccessLogging
	m.AccessLog = tristate(c.AccessLogFile != "" || c.EnableEnvoyAccessLogService)
	if c.AccessLogFormat != "" {
		m.LogFormats = append(m.LogFormats, facts.LogFormat{Text: c.AccessLogFormat})
	}
	m.PathNormalization = c.PathNormalization.Normalization
	if m.PathNormalization == "" || m.PathNormalization == "DEFAULT" {
		m.PathNormalization = "BASE"
	}
	m.TrustedProxies = tristate(c.DefaultConfig.GatewayTopology.NumTrustedProxies > 0)
	for _, p := range c.ExtensionProviders {
		name, _ := p["name"].(string)
		m.Providers = append(m.Providers, name)
		for kind, settings := range p {
			s, ok := settings.(map[string]any)
			if !ok {
				continue
			}
			if strings.HasPrefix(kind, "envoyExtAuthz") {
				open, _ := s["failOpen"].(bool)
				m.Authorizers = append(m.Authorizers, facts.Authorizer{Name: name, FailOpen: open})
			}
			if text := logFormat(s["logFormat"]); text != "" {
				m.LogFormats = append(m.LogFormats, facts.LogFormat{Provider: name, Text: text})
			}
			if host, ok := s["service"].(string); ok {
				m.ProviderHosts = append(m.ProviderHosts, providerHost(host, m.ClusterDomain))
			}
		}
	}
	slices.Sort(m.Providers)
	slices.SortFunc(m.Authorizers, func(a, b facts.Authorizer) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(m.LogFormats, func(a, b facts.LogFormat) int { return strings.Compare(a.Provider, b.Provider) })
	m.ProviderHosts = slices.DeleteFunc(m.ProviderHosts, func(h string) bool { return h == "" })
	slices.Sort(m.ProviderHosts)
	m.ProviderHosts = slices.Compact(m.ProviderHosts)
}

// logFormat is a provider's text, or what its labels hold, in their order.
func logFormat(format any) string {
	f, _ := format.(map[string]any)
	text, _ := f["text"].(string)
	labels, _ := f["labels"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		text = strings.TrimPrefix(fmt.Sprintf("%s %v", text, labels[k]), " ")
	}
	return text
}

func tristate(b bool) facts.Tristate {
	if b {
		return facts.Yes
	}
	return facts.No
}

// providerHost writes a provider's service, [NAMESPACE/]HOST in the mesh
// configuration, as NAMESPACE/HOST; empty where the namespace can't be told.
func providerHost(service, domain string) string {
	if ns, host, ok := strings.Cut(service, "/"); ok && ns != "" && host != "" {
		return service
	}
	rest, ok := strings.CutSuffix(service, ".svc."+domain)
	if !ok {
		return ""
	}
	if _, ns, ok := strings.Cut(rest, "."); ok {
		return ns + "/" + service
	}
	return ""
}

// rootMutualTLS finds the mode of the mesh-wide PeerAuthentication: the oldest
// one without a selector in the root namespace.
func (r *Reader) rootMutualTLS(ctx context.Context, m *facts.Mesh) error {
	kind, _ := mesh.KindOf(&securityv1.PeerAuthentication{})
	if !r.Served(kind.GVK) {
		return nil
	}
	var list securityv1.PeerAuthenticationList
	if err := r.Client.List(ctx, &list, client.InNamespace(m.RootNamespace), noCopy); err != nil {
		return fmt.Errorf("list mesh-wide PeerAuthentications: %w", err)
	}
	var oldest *securityv1.PeerAuthentication
	for _, p := range list.Items {
		if len(p.Spec.GetSelector().GetMatchLabels()) > 0 {
			continue
		}
		if oldest == nil || p.CreationTimestamp.Before(&oldest.CreationTimestamp) ||
			(p.CreationTimestamp.Equal(&oldest.CreationTimestamp) && p.Name < oldest.Name) {
			oldest = p
		}
	}
	if oldest != nil {
		if mode := oldest.Spec.GetMtls().GetMode(); mode != securityv1beta1.PeerAuthentication_MutualTLS_UNSET {
			m.RootMutualTLS = mode.String()
		}
	}
	return nil
}
