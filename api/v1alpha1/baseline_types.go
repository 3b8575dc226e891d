package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// UnprofiledMode says what a baseline does in a selected namespace that has no profile.
// +kubebuilder:validation:Enum=Enforce;DryRun;Audit;Ignore
type UnprofiledMode string

// The modes for namespaces without a profile.
const (
	UnprofiledEnforce UnprofiledMode = "Enforce"
	UnprofiledDryRun  UnprofiledMode = "DryRun"
	UnprofiledAudit   UnprofiledMode = "Audit"
	UnprofiledIgnore  UnprofiledMode = "Ignore"
)

// MeshSecurityBaselineSpec declares what holds in every selected namespace.
// +kubebuilder:validation:XValidation:rule="!has(self.mandates) || !has(self.mandates.egressAssurance) || self.mandates.egressAssurance != 'Gateway' || has(self.egressGateway)",message="a mandate of egressAssurance Gateway needs egressGateway, which says where that gateway is; add it, or mandate Network",fieldPath=".egressGateway"
type MeshSecurityBaselineSpec struct {
	// namespaceSelector selects the namespaces; {} selects all. kube-system,
	// kube-public, kube-node-lease, the mesh's root namespace and the
	// operator's own are never selected.
	// +required
	NamespaceSelector NamespaceSelector `json:"namespaceSelector"`

	// excludeNamespaces are names of namespaces that are left out. At most 256. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	ExcludeNamespaces []NamespaceName `json:"excludeNamespaces,omitempty"`

	// namespacesWithoutProfile says what happens in a selected namespace that
	// has no profile: Enforce, DryRun or Audit the defaults and mandates there,
	// or Ignore it. Absent: Audit.
	// +optional
	NamespacesWithoutProfile UnprofiledMode `json:"namespacesWithoutProfile,omitempty"`

	// defaults is what a profile gets where it leaves a section unset. With
	// several baselines the one with the higher priority gives the value, then
	// the first by name. Absent: none.
	// +optional
	Defaults *BaselineDefaults `json:"defaults,omitempty"`

	// mandates is what a profile can exceed and never fall short of. With
	// several baselines the strictest of each holds. Absent: none.
	// +optional
	Mandates *BaselineMandates `json:"mandates,omitempty"`

	// certificates is what the certificate checks hold the mesh's certificate
	// authority and workloads to. It changes nothing in the cluster. There is one
	// authority for all namespaces: of several baselines the strictest of each
	// field holds, whatever they select, and a rollout does not hold it back.
	// Absent: the checks' own defaults.
	// +optional
	Certificates *CertificatePolicy `json:"certificates,omitempty"`

	// authorizationRules are added to every selected namespace, in the shape of
	// a profile's rules. At most 32, which together hold at most 64 KiB. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of authorizationRules needs a name of its own; rename one of those that share a name"
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.jwt))",message="jwt is not available in a baseline's rules, which have no jwtProviders; declare such rules in the profiles"
	// +kubebuilder:validation:XValidation:rule="self.map(r, 160 + r.name.size() + (has(r.workloadSelector) ? 40 + r.workloadSelector.matchLabels.map(k, 6 + k.size() + r.workloadSelector.matchLabels[k].size()).sum() : 0) + r.from.map(f, 56 + (has(f.serviceAccount) ? 63 + f.serviceAccount.name.size() : 0) + (has(f.__namespace__) ? f.__namespace__.size() : 0) + (has(f.peer) ? f.peer.size() : 0) + (has(f.ipBlock) ? 64 + (has(f.ipBlock.except) ? 48 * f.ipBlock.except.size() : 0) : 0)).sum() + (has(r.to) ? r.to.map(t, 64 + (has(t.ports) ? 6 * t.ports.size() : 0) + (has(t.methods) ? t.methods.map(m, 3 + m.size()).sum() : 0) + (has(t.paths) ? t.paths.map(p, 3 + p.size()).sum() : 0) + (has(t.hosts) ? t.hosts.map(h, 3 + h.size()).sum() : 0)).sum() : 0) + (has(r.jwt) ? 64 + r.jwt.provider.size() + (has(r.jwt.claims) ? r.jwt.claims.map(c, 28 + c.name.size() + c.values.map(v, 3 + 6 * v.size()).sum()).sum() : 0) : 0)).sum() <= 65536",message="authorizationRules together must not exceed 64 KiB; merge rules that differ in their callers alone, or use namespaces and peers for long lists of callers"
	AuthorizationRules []AuthorizationRule `json:"authorizationRules,omitempty"`

	// peers are callers that rules can name. At most 32, which together hold at
	// most 48 KiB. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of peers needs a name of its own; rename one of those that share a name"
	// +kubebuilder:validation:XValidation:rule="self.map(p, 40 + p.name.size() + p.serviceAccounts.map(s, 90 + s.name.size()).sum()).sum() <= 49152",message="peers together must not exceed 48 KiB; leave out service accounts that no rule needs, or let rules name whole namespaces"
	Peers []Peer `json:"peers,omitempty"`

	// egressGateway is where traffic leaves the cluster that has to go through
	// a gateway, by assurance Gateway or via Gateway. Of several baselines that
	// select a namespace the one with the higher priority counts, then the
	// first by name. As soon as one namespace uses it, its pods refuse everything
	// that no AuthorizationPolicy allows: it has to be the operator's alone.
	// Absent: there is none.
	// +optional
	EgressGateway *EgressGateway `json:"egressGateway,omitempty"`

	// priority decides between the defaults of several baselines: the higher
	// wins. -1000000 to 1000000. Absent: 0.
	// +optional
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority *int32 `json:"priority,omitempty"`

	// rollout says in which order a change of this baseline reaches the
	// namespaces. Absent: all at once.
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`
}

// BaselineDefaults is what a profile gets where it leaves a section unset.
type BaselineDefaults struct {
	// enforcementMode for profiles that leave it unset. Absent: Enforce.
	// +optional
	EnforcementMode EnforcementMode `json:"enforcementMode,omitempty"`

	// mutualTLS for profiles that leave it unset. Absent: not managed.
	// +optional
	MutualTLS *DefaultMutualTLS `json:"mutualTLS,omitempty"`

	// authorization for profiles that leave it unset. Absent: not managed.
	// +optional
	Authorization *DefaultAuthorization `json:"authorization,omitempty"`

	// egress for profiles that leave it unset. Absent: not managed.
	// +optional
	Egress *DefaultEgress `json:"egress,omitempty"`

	// logging for profiles that leave it unset. Absent: not managed.
	// +optional
	Logging *Logging `json:"logging,omitempty"`

	// drift for profiles that leave it unset. Absent: policy Correct, guard None.
	// +optional
	Drift *Drift `json:"drift,omitempty"`
}

// DefaultMutualTLS is a default for mutual TLS.
type DefaultMutualTLS struct {
	// mode is Strict or Permissive.
	// +required
	Mode MutualTLSMode `json:"mode"`
}

// DefaultAuthorization is a default for authorization.
type DefaultAuthorization struct {
	// defaultAction is Deny or Allow.
	// +required
	DefaultAction DefaultAction `json:"defaultAction"`
}

// DefaultEgress is a default for egress.
type DefaultEgress struct {
	// defaultAction is Deny or Allow.
	// +required
	DefaultAction DefaultAction `json:"defaultAction"`

	// assurance is Proxy, Network or Gateway. Absent: Network.
	// +optional
	Assurance EgressAssurance `json:"assurance,omitempty"`
}

// BaselineMandates is what a profile can exceed and never fall short of. Every
// field: absent, no mandate.
type BaselineMandates struct {
	// enforcementMode that profiles must at least have.
	// +optional
	EnforcementMode EnforcementMode `json:"enforcementMode,omitempty"`

	// mutualTLS that profiles must at least have.
	// +optional
	MutualTLS MutualTLSMode `json:"mutualTLS,omitempty"`

	// authorization is the default action that profiles must at least have; Deny is the stricter.
	// +optional
	Authorization DefaultAction `json:"authorization,omitempty"`

	// egress is the default action that profiles must at least have; Deny is the stricter.
	// +optional
	Egress DefaultAction `json:"egress,omitempty"`

	// egressAssurance that profiles must at least have.
	// +optional
	EgressAssurance EgressAssurance `json:"egressAssurance,omitempty"`

	// egressHosts is the perimeter: the hosts, exact or *.suffix, that a
	// profile may allow. At most 256. Absent: every host; an empty list: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	EgressHosts *[]ExternalHost `json:"egressHosts,omitempty"`

	// accessLog that profiles must at least have; All is the most.
	// +optional
	AccessLog AccessLog `json:"accessLog,omitempty"`

	// driftPolicy that profiles must have; Correct is the stricter.
	// +optional
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`

	// maxOverrideDuration is the time within which port overrides and
	// exceptions must expire, from when they were created; like 720h.
	// +optional
	MaxOverrideDuration Duration `json:"maxOverrideDuration,omitempty"`
}

// Duration is a length of time, like 720h or 1h30m.
// +kubebuilder:validation:MaxLength=21
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && duration(self) > duration('0s')",message="must be a length of time above zero in hours, minutes and seconds, in this order and of at most 6 digits each, like 720h or 1h30m"
type Duration string

// CertificatePolicy is what certificates are held to. Every field: absent, the
// check's own default. No secret is read: authorities are those of the ConfigMap
// istio-ca-root-cert in istiod's namespace.
type CertificatePolicy struct {
	// maxWorkloadTTL is the longest lifetime of a workload's certificate, like
	// 24h. Looked at is what proxies ask for, and the most that istiod gives
	// (check CERT-003). Absent: 24h for what proxies ask for.
	// +optional
	MaxWorkloadTTL Duration `json:"maxWorkloadTTL,omitempty"`

	// minAuthorityRemaining warns when a root or intermediate has less lifetime
	// left, like 1440h (check CERT-002). From 720h and 168h on the warning is
	// graver. Absent: 1440h.
	// +optional
	MinAuthorityRemaining Duration `json:"minAuthorityRemaining,omitempty"`

	// allowSelfSignedAuthority accepts a certificate authority that the mesh made
	// itself (check CERT-001). Absent: it is a finding of severity Medium; false:
	// one of severity High.
	// +optional
	AllowSelfSignedAuthority *bool `json:"allowSelfSignedAuthority,omitempty"`

	// minRSABits is the least length of an authority's RSA key, 2048 to 16384
	// bits (check CERT-005). Absent: 2048.
	// +optional
	// +kubebuilder:validation:Minimum=2048
	// +kubebuilder:validation:Maximum=16384
	MinRSABits *int32 `json:"minRSABits,omitempty"`
}

// Peer is a set of callers under a name.
type Peer struct {
	// name that rules use. Unique among the peers.
	// +required
	Name RuleName `json:"name"`

	// serviceAccounts are the mesh identities of the peer. 1 to 32.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(s, has(s.__namespace__))",message="a baseline belongs to no namespace, so every service account of a peer needs a namespace; add it"
	ServiceAccounts []ServiceAccountReference `json:"serviceAccounts"`
}

// EgressGateway is where traffic leaves the cluster: a gateway of Istio's that is
// there already. What leads through it is written in the namespaces that use it,
// and beside its pods one AuthorizationPolicy for each of them, which belongs to
// the baseline.
type EgressGateway struct {
	// namespace that the gateway's pods run in. It needs a service with a
	// cluster address whose selector has all of selector's labels. The baseline
	// does not select it: the gateway has to reach the outside itself.
	// +required
	Namespace NamespaceName `json:"namespace"`

	// serviceAccount that the gateway's pods run as: callers enter no gateway
	// that can't prove it.
	// +required
	ServiceAccount ObjectName `json:"serviceAccount"`

	// selector is the labels of the gateway's pods. 1 to 4.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=4
	// +mapType=atomic
	Selector Labels `json:"selector"`

	// port of that service, on which the gateway takes mutual TLS. Nothing else
	// may be on it.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// Rollout says in which order a change reaches the namespaces.
type Rollout struct {
	// canarySelector selects the namespaces that a change reaches first; it
	// goes on only when they are Ready.
	// +required
	CanarySelector NamespaceSelector `json:"canarySelector"`
}

// MeshSecurityBaselineStatus is what the operator found in the selected namespaces.
type MeshSecurityBaselineStatus struct {
	// observedGeneration is the generation of the spec that this status speaks
	// of; -1 before the operator saw the baseline.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// rolledOut is what has reached every selected namespace. With rollout, the
	// namespaces that are no canaries keep it until the canaries are Ready.
	// +optional
	RolledOut *RolledOut `json:"rolledOut,omitempty"`

	// namespaces counts the selected namespaces.
	// +optional
	Namespaces *NamespaceCounts `json:"namespaces,omitempty"`

	// worst has up to 20 namespaces: those with the most severe findings, then
	// those that do not enforce the baseline.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Worst []NamespaceFindings `json:"worst,omitempty"`

	// conditions are Accepted, RolledOut, Compliant and Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RolledOut is a state of a baseline's spec.
type RolledOut struct {
	// revision is a fingerprint of the spec, without rollout.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Revision string `json:"revision"`

	// spec is the spec itself. Absent without rollout.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	Spec *runtime.RawExtension `json:"spec,omitempty"`
}

// NamespaceCounts counts namespaces.
type NamespaceCounts struct {
	// selected by the baseline.
	// +required
	Selected int32 `json:"selected"`
	// enforced is how many enforce it.
	// +required
	Enforced int32 `json:"enforced"`
	// inSync is how many have no open drift.
	// +required
	InSync int32 `json:"inSync"`
	// compliant is how many have no finding of severity High or above.
	// +required
	Compliant int32 `json:"compliant"`
}

// NamespaceFindings counts the findings of one namespace.
type NamespaceFindings struct {
	// namespace is its name.
	// +required
	Namespace NamespaceName `json:"namespace"`
	// findings that are open there.
	// +required
	Findings FindingCounts `json:"findings"`
	// reason says why the namespace does not enforce the baseline, as a reason of
	// a condition of its profile. Absent: it does.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}

// MeshSecurityBaseline declares what holds in many namespaces: defaults for
// profiles, mandates that no profile can weaken, and rules, peers and gateways
// that profiles share.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=msb,categories=meshsecurity
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Selected",type=integer,JSONPath=`.status.namespaces.selected`
// +kubebuilder:printcolumn:name="Enforced",type=integer,JSONPath=`.status.namespaces.enforced`
// +kubebuilder:printcolumn:name="In-Sync",type=integer,JSONPath=`.status.namespaces.inSync`
// +kubebuilder:printcolumn:name="Compliant",type=integer,JSONPath=`.status.namespaces.compliant`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`,priority=1
type MeshSecurityBaseline struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's own.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is declared.
	// +required
	Spec MeshSecurityBaselineSpec `json:"spec"`

	// status is what was found, written by the operator alone.
	// +optional
	// +default={"observedGeneration": -1}
	Status MeshSecurityBaselineStatus `json:"status,omitempty"`
}

// MeshSecurityBaselineList is a list of baselines.
// +kubebuilder:object:root=true
type MeshSecurityBaselineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MeshSecurityBaseline `json:"items"`
}
