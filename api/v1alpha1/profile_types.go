package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EnforcementMode says how far a profile goes.
// +kubebuilder:validation:Enum=Audit;DryRun;Enforce
type EnforcementMode string

// The enforcement modes.
const (
	// ModeAudit writes nothing and reports.
	ModeAudit EnforcementMode = "Audit"
	// ModeDryRun evaluates and denies nothing.
	ModeDryRun EnforcementMode = "DryRun"
	// ModeEnforce puts everything in force.
	ModeEnforce EnforcementMode = "Enforce"
)

// MeshProvider is a service mesh.
// +kubebuilder:validation:Enum=Istio;Linkerd
type MeshProvider string

// The meshes.
const (
	ProviderIstio   MeshProvider = "Istio"
	ProviderLinkerd MeshProvider = "Linkerd"
)

// DataPlane is the way in which a mesh carries traffic.
// +kubebuilder:validation:Enum=Sidecar;Ambient
type DataPlane string

// The data planes.
const (
	DataPlaneSidecar DataPlane = "Sidecar"
	DataPlaneAmbient DataPlane = "Ambient"
)

// MutualTLSMode is what a workload accepts from its callers.
// +kubebuilder:validation:Enum=Strict;Permissive
type MutualTLSMode string

// The mutual TLS modes.
const (
	// MutualTLSStrict accepts mutual TLS alone.
	MutualTLSStrict MutualTLSMode = "Strict"
	// MutualTLSPermissive accepts mutual TLS and plaintext.
	MutualTLSPermissive MutualTLSMode = "Permissive"
)

// PortMode is what one port accepts in spite of the namespace's mode.
// +kubebuilder:validation:Enum=Permissive;Disable
type PortMode string

// The port modes.
const (
	// PortPermissive accepts mutual TLS and plaintext.
	PortPermissive PortMode = "Permissive"
	// PortDisable accepts plaintext alone.
	PortDisable PortMode = "Disable"
)

// DefaultAction is what happens when no rule matches.
// +kubebuilder:validation:Enum=Deny;Allow
type DefaultAction string

// The default actions.
const (
	DefaultDeny  DefaultAction = "Deny"
	DefaultAllow DefaultAction = "Allow"
)

// RuleAction is what a rule does with a request that it matches.
// +kubebuilder:validation:Enum=Allow;Deny
type RuleAction string

// The rule actions.
const (
	RuleAllow RuleAction = "Allow"
	RuleDeny  RuleAction = "Deny"
)

// Entity is a set of callers that needs no name.
// +kubebuilder:validation:Enum=SameNamespace;AnyAuthenticated;Anyone
type Entity string

// The entities.
const (
	// EntitySameNamespace is every workload identity of the profile's namespace.
	EntitySameNamespace Entity = "SameNamespace"
	// EntityAnyAuthenticated is every caller with a mesh identity.
	EntityAnyAuthenticated Entity = "AnyAuthenticated"
	// EntityAnyone is every caller, also one without an identity.
	EntityAnyone Entity = "Anyone"
)

// EgressAssurance is what holds an egress restriction.
// +kubebuilder:validation:Enum=Proxy;Network;Gateway
type EgressAssurance string

// The assurances, weakest first.
const (
	// AssuranceProxy is the mesh proxy alone.
	AssuranceProxy EgressAssurance = "Proxy"
	// AssuranceNetwork is the mesh proxy and NetworkPolicy.
	AssuranceNetwork EgressAssurance = "Network"
	// AssuranceGateway is an egress gateway that alone can reach the outside.
	AssuranceGateway EgressAssurance = "Gateway"
)

// Preflight is what happens where enforcing would break something that is known
// to be there.
// +kubebuilder:validation:Enum=Warn;Block
type Preflight string

// The preflights.
const (
	// PreflightWarn enforces and says so.
	PreflightWarn Preflight = "Warn"
	// PreflightBlock waits, area by area, until nothing would break.
	PreflightBlock Preflight = "Block"
)

// EgressProtocol is what a port speaks, as far as the mesh needs to know.
// +kubebuilder:validation:Enum=TLS;HTTPS;HTTP;HTTP2;GRPC;TCP;MONGO
type EgressProtocol string

// The egress protocols.
const (
	ProtocolTLS   EgressProtocol = "TLS"
	ProtocolHTTPS EgressProtocol = "HTTPS"
	ProtocolHTTP  EgressProtocol = "HTTP"
	ProtocolHTTP2 EgressProtocol = "HTTP2"
	ProtocolGRPC  EgressProtocol = "GRPC"
	ProtocolTCP   EgressProtocol = "TCP"
	ProtocolMongo EgressProtocol = "MONGO"
)

// EgressVia is the way that traffic of an egress rule takes.
// +kubebuilder:validation:Enum=Direct;Gateway
type EgressVia string

// The ways out.
const (
	ViaDirect  EgressVia = "Direct"
	ViaGateway EgressVia = "Gateway"
)

// AccessLog says which requests workloads log.
// +kubebuilder:validation:Enum=None;Denied;All
type AccessLog string

// The access log settings.
const (
	AccessLogNone   AccessLog = "None"
	AccessLogDenied AccessLog = "Denied"
	AccessLogAll    AccessLog = "All"
)

// DriftPolicy is what happens to a change that somebody else made.
// +kubebuilder:validation:Enum=Correct;Report
type DriftPolicy string

// The drift policies.
const (
	DriftCorrect DriftPolicy = "Correct"
	DriftReport  DriftPolicy = "Report"
)

// Guard is what admission refuses.
// +kubebuilder:validation:Enum=None;Managed;Posture
type Guard string

// The guards.
const (
	GuardNone    Guard = "None"
	GuardManaged Guard = "Managed"
	GuardPosture Guard = "Posture"
)

// DeletionPolicy is what becomes of the written objects when the profile is deleted.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionRetain DeletionPolicy = "Retain"
)

// MeshSecurityProfileSpec declares the posture of the namespace that the
// profile is in. A section left out is inherited from the baselines that
// select the namespace, or not managed where none does; what is in force is
// in status.effective.
type MeshSecurityProfileSpec struct {
	// enforcementMode says how far the profile goes. Audit writes nothing and
	// reports. DryRun evaluates and denies nothing. Enforce puts everything in
	// force. Absent: the baseline's default, else Enforce.
	// +optional
	EnforcementMode EnforcementMode `json:"enforcementMode,omitempty"`

	// mesh names the mesh that carries the namespace's traffic. Absent: it is
	// detected from the namespace's labels, its pods and the kinds that the API
	// server serves; see status.mesh.
	// +optional
	Mesh *MeshReference `json:"mesh,omitempty"`

	// mutualTLS declares what the namespace's workloads accept from their
	// callers. Absent: inherited.
	// +optional
	MutualTLS *MutualTLS `json:"mutualTLS,omitempty"`

	// authorization declares who may call the namespace's workloads. Absent: inherited.
	// +optional
	Authorization *Authorization `json:"authorization,omitempty"`

	// egress declares where the namespace's workloads may go. Absent: inherited.
	// +optional
	Egress *Egress `json:"egress,omitempty"`

	// logging declares what the namespace's workloads log. Absent: inherited.
	// +optional
	Logging *Logging `json:"logging,omitempty"`

	// drift declares what happens when somebody else changes what the operator
	// manages. Absent: inherited, else policy Correct and guard None.
	// +optional
	Drift *Drift `json:"drift,omitempty"`

	// preflight says what happens where denying would lock out something that is
	// known to be there: a scrape, a route of an ingress, a webhook, a probe; the
	// findings LOCK-… name it. Warn: it is reported, and enforcement goes on.
	// Block: mutual TLS, authorization and egress, each for itself, are not
	// enforced for the first time before nothing would be locked out; until then
	// they are held as in DryRun, and Programmed is False, reason
	// PreflightBlocked. What is enforced already is not taken back. Absent: Warn.
	// +optional
	Preflight Preflight `json:"preflight,omitempty"`

	// deletionPolicy says what becomes of the written objects when this profile
	// is deleted. Delete removes them in a safe order, or falls back to the
	// floor of a baseline that selects the namespace. Retain leaves them in
	// force with no owner. Absent: Delete.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// MeshReference names a mesh and its data plane.
// +kubebuilder:validation:XValidation:rule="self.provider == 'Istio' || !has(self.dataPlane)",message="dataPlane is a choice of Istio's alone; remove it, or set provider to Istio",fieldPath=".dataPlane"
type MeshReference struct {
	// provider is the mesh: Istio or Linkerd.
	// +required
	Provider MeshProvider `json:"provider"`

	// dataPlane is Sidecar or Ambient, for Istio alone. Absent: detected.
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`
}

// MutualTLS declares what workloads accept from their callers.
type MutualTLS struct {
	// mode is Strict (mutual TLS alone is accepted) or Permissive (plaintext is
	// accepted too), for every workload and port without an override.
	// +required
	Mode MutualTLSMode `json:"mode"`

	// portOverrides accept less than the mode on single ports of single
	// workloads. At most 16. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of portOverrides needs a name of its own; rename one of those that share a name"
	PortOverrides []PortOverride `json:"portOverrides,omitempty"`
}

// PortOverride accepts less than the namespace's mode on one port of some workloads.
type PortOverride struct {
	// name identifies the override in status and in the names of the objects
	// written for it. Unique among the overrides.
	// +required
	Name RuleName `json:"name"`

	// workloadSelector selects the workloads. Required here: an exception for
	// the whole namespace is not an exception. Two overrides must select either
	// the same labels or workloads that can't overlap, since a mesh applies one
	// such policy to a workload.
	// +required
	WorkloadSelector WorkloadSelector `json:"workloadSelector"`

	// port is the container's port, not the Service's.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// mode is Permissive (plaintext is accepted too) or Disable (plaintext alone).
	// +required
	Mode PortMode `json:"mode"`

	// reason says why, for those who review it. 1 to 256 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`

	// The schema of expiresAt is spelled out, with a rule in place of the format
	// date-time: what the API server takes for a date-time includes strings that
	// nothing in Go can decode, of any length, and one of them in one object
	// would blind the operator to all objects of the kind.

	// expiresAt ends the override, like 2027-03-31T00:00:00Z: from then on it
	// is dropped, and a finding says so. Absent: it does not end.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$') && timestamp(self).getFullYear() >= 2000",message="must be a point in time that exists, in RFC 3339's form without fractions of a second, like 2027-03-31T00:00:00Z"
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// RuleName identifies a rule, an override or a provider within its list.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="a name must be a DNS label: lower-case letters, digits and '-', starting and ending with a letter or a digit"
type RuleName string

// NamespaceName is the name of a namespace.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="a namespace is given by its exact name: lower-case letters, digits and '-', starting and ending with a letter or a digit; wildcards are not known here"
type NamespaceName string

// ObjectName is the name of a service account.
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",message="a service account is given by its exact name: lower-case letters, digits, '-' and '.', starting and ending with a letter or a digit; wildcards are not known here"
type ObjectName string

// Authorization declares who may call the namespace's workloads.
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.all(r, !has(r.jwt) || (has(self.jwtProviders) && self.jwtProviders.exists(p, p.name == r.jwt.provider)))",message="a rule's jwt.provider must be the name of an entry of jwtProviders; add the provider or correct the name",fieldPath=".rules"
type Authorization struct {
	// defaultAction is what happens to a request that no rule allows: Deny or
	// Allow. With Allow only the rules that deny have an effect.
	// +required
	DefaultAction DefaultAction `json:"defaultAction"`

	// jwtProviders are the issuers of end-user tokens that rules may ask for.
	// At most 4. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of jwtProviders needs a name of its own; rename one of those that share a name"
	JWTProviders []JWTProvider `json:"jwtProviders,omitempty"`

	// rules say who may call what. A rule that denies always wins over one that
	// allows. At most 64, which together hold at most 96 KiB. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of rules needs a name of its own; rename one of those that share a name"
	// +kubebuilder:validation:XValidation:rule="self.map(r, 160 + r.name.size() + (has(r.workloadSelector) ? 40 + r.workloadSelector.matchLabels.map(k, 6 + k.size() + r.workloadSelector.matchLabels[k].size()).sum() : 0) + r.from.map(f, 56 + (has(f.serviceAccount) ? 63 + f.serviceAccount.name.size() : 0) + (has(f.__namespace__) ? f.__namespace__.size() : 0) + (has(f.peer) ? f.peer.size() : 0) + (has(f.ipBlock) ? 64 + (has(f.ipBlock.except) ? 48 * f.ipBlock.except.size() : 0) : 0)).sum() + (has(r.to) ? r.to.map(t, 64 + (has(t.ports) ? 6 * t.ports.size() : 0) + (has(t.methods) ? t.methods.map(m, 3 + m.size()).sum() : 0) + (has(t.paths) ? t.paths.map(p, 3 + p.size()).sum() : 0) + (has(t.hosts) ? t.hosts.map(h, 3 + h.size()).sum() : 0)).sum() : 0) + (has(r.jwt) ? 64 + r.jwt.provider.size() + (has(r.jwt.claims) ? r.jwt.claims.map(c, 28 + c.name.size() + c.values.map(v, 3 + 6 * v.size()).sum()).sum() : 0) : 0)).sum() <= 98304",message="the rules together must not exceed 96 KiB; merge rules that differ in their callers alone, or use namespaces and peers for long lists of callers"
	Rules []AuthorizationRule `json:"rules,omitempty"`
}

// JWTProvider is an issuer of end-user tokens.
// +kubebuilder:validation:XValidation:rule="has(self.jwksURI) != has(self.jwks)",message="a provider needs exactly one of jwksURI (where the keys are served) and jwks (the keys themselves); give one and leave out the other",fieldPath=".jwksURI"
type JWTProvider struct {
	// name is what rules call the provider by. Unique among the providers.
	// +required
	Name RuleName `json:"name"`

	// issuer is the exact value of the token's iss claim.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._~:/?#@!$()+,;=%-]+$')",message="issuer must be the exact value of the token's iss claim, mostly a URL; wildcards, spaces and quotes are not allowed"
	Issuer string `json:"issuer"`

	// jwksURI is where the proxies' control plane fetches the issuer's public
	// keys, an https URL. Exactly one of jwksURI and jwks is given.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https://[A-Za-z0-9._~:/?#@!$&()+,;=%-]+$')",message="jwksURI must be an https:// URL without spaces and quotes; keys fetched over plain http could be replaced on the way"
	JWKSURI string `json:"jwksURI,omitempty"`

	// jwks is the issuer's public key set, an inline JSON document of at most 4096 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^[{][ -%\\'-;=?-~\\\\s]*[}]\\\\s*$')",message="jwks must be a JSON document like {\"keys\": [...]} in ASCII without '<', '>' and '&'"
	JWKS string `json:"jwks,omitempty"`

	// audiences are accepted values of the token's aud claim; one of them has
	// to match. At most 8. Absent: every audience is accepted, so that a token
	// that was issued for another service is accepted too.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of audiences is given twice; remove one"
	Audiences []Audience `json:"audiences,omitempty"`
}

// Audience is a value of a token's aud claim.
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._~:/?#@!$()+,;=%-]+$')",message="an audience must be the exact value of the token's aud claim; wildcards, spaces and quotes are not allowed"
type Audience string

// AuthorizationRule says who may, or may not, call what.
type AuthorizationRule struct {
	// name identifies the rule in status and in the names of the objects
	// written for it. Unique among the rules. "default-deny" is taken.
	// +required
	// +kubebuilder:validation:XValidation:rule="self != 'default-deny'",message="the name default-deny is taken by the default action's own policy; choose another name"
	Name RuleName `json:"name"`

	// action is Allow or Deny. A Deny always wins. Absent: Allow.
	// +optional
	Action RuleAction `json:"action,omitempty"`

	// workloadSelector selects the workloads that are called. Absent: every
	// workload of the namespace.
	// +optional
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`

	// from are the callers; one of the entries has to match. 1 to 32.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	From []Caller `json:"from"`

	// to are the requests; one of the entries has to match. At most 8. Absent:
	// every port and request.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	To []Operation `json:"to,omitempty"`

	// jwt asks for an end-user token besides the caller. Absent: none is asked for.
	// +optional
	JWT *JWTRequirement `json:"jwt,omitempty"`
}

// Caller is one set of callers; exactly one field is given.
// +kubebuilder:validation:XValidation:rule="[has(self.serviceAccount), has(self.__namespace__), has(self.peer), has(self.entity), has(self.ipBlock)].filter(x, x).size() == 1",message="an entry of from must have exactly one of serviceAccount, namespace, peer, entity and ipBlock; use an entry for each"
type Caller struct {
	// serviceAccount is the mesh identity of one service account.
	// +optional
	ServiceAccount *ServiceAccountReference `json:"serviceAccount,omitempty"`

	// namespace is every mesh identity of one namespace.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// peer is a caller that a baseline declares under this name.
	// +optional
	Peer RuleName `json:"peer,omitempty"`

	// entity is SameNamespace (every mesh identity of this namespace),
	// AnyAuthenticated (every mesh identity) or Anyone (also callers without
	// an identity).
	// +optional
	Entity Entity `json:"entity,omitempty"`

	// ipBlock is a range of source addresses of connections, as the workload's proxy sees them.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// ServiceAccountReference names a service account.
type ServiceAccountReference struct {
	// namespace of the service account. Absent: the profile's own.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// name of the service account.
	// +required
	Name ObjectName `json:"name"`
}

// CIDR is a range of IP addresses in CIDR notation.
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="must be an address range in CIDR notation with no bits set past the prefix, like 10.0.0.0/8 or 2001:db8::/32"
type CIDR string

// IPBlock is a range of addresses with exceptions.
// +kubebuilder:validation:XValidation:rule="!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) || cidr(self.cidr).masked().containsCIDR(e))",message="every entry of except must lie within cidr; remove it or widen cidr",fieldPath=".except"
type IPBlock struct {
	// cidr is the range.
	// +required
	CIDR CIDR `json:"cidr"`

	// except are parts of the range that are left out. At most 8. Absent: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Except []CIDR `json:"except,omitempty"`
}

// Operation is one set of requests: all the fields that are given have to match.
// +kubebuilder:validation:XValidation:rule="has(self.ports) || has(self.methods) || has(self.paths) || has(self.hosts)",message="an entry of to needs at least one of ports, methods, paths and hosts; leave to out for every request"
type Operation struct {
	// ports are the workload's own (container) ports. At most 16. Absent: every port.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of ports is given twice; remove one"
	Ports []int32 `json:"ports,omitempty"`

	// methods are HTTP methods in upper case; gRPC uses POST. At most 16. Absent: every method.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of methods is given twice; remove one"
	Methods []HTTPMethod `json:"methods,omitempty"`

	// paths are request paths: an exact path (/charges), or everything below
	// one (/charges/*, which matches /charges, /charges/ and /charges/7, and not
	// /chargesheet). At most 12. Absent: every path.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=12
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of paths is given twice; remove one"
	Paths []HTTPPath `json:"paths,omitempty"`

	// hosts are values of the request's Host header, without a port: an exact
	// name, or every name with a suffix (*.example.com). At most 8. Absent:
	// every host.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of hosts is given twice; remove one"
	Hosts []Host `json:"hosts,omitempty"`
}

// HTTPMethod is an HTTP method.
// +kubebuilder:validation:MaxLength=24
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Z-]*$')",message="a method must be an HTTP method in upper case, like GET or POST"
type HTTPMethod string

// HTTPPath is a request path, exact or everything below it.
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^/[A-Za-z0-9._~!$()+,;=:@%/-]*[*]?$') && (!self.endsWith('*') || self.endsWith('/*'))",message="a path must start with '/' and may end in '/*' for everything below it; '*' is known nowhere else, and other special characters must be percent-encoded"
type HTTPPath string

// Host is a DNS name, exact or with a leading wildcard label.
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",message="a host must be a DNS name in lower case without a port, like api.example.com, or *.example.com for every name below it"
// +kubebuilder:validation:XValidation:rule="!self.matches('[^.]{64}')",message="each part of a host between two dots has at most 63 characters; correct the name"
type Host string

// JWTRequirement asks for an end-user token.
type JWTRequirement struct {
	// provider is the name of an entry of jwtProviders.
	// +required
	Provider RuleName `json:"provider"`

	// claims are conditions on the token; all of them have to hold. At most 4.
	// Absent: every valid token of the provider will do.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="a claim is given twice; put all of its accepted values into one entry"
	Claims []JWTClaim `json:"claims,omitempty"`
}

// JWTClaim is a condition on one claim of a token.
type JWTClaim struct {
	// name of a top-level claim of the token.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._:/@-]+$')",message="a claim's name must be the exact name of a top-level claim: letters, digits and the characters . _ : / @ -"
	Name string `json:"name"`

	// values that are accepted; the claim, or one entry of it where it is a
	// list, has to be equal to one of them. 1 to 16.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of values is given twice; remove one"
	Values []JWTClaimValue `json:"values"`
}

// JWTClaimValue is an accepted value of a claim.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="!self.contains('*')",message="a claim's value is compared as a whole and '*' is not known here; list the exact values that are accepted"
type JWTClaimValue string

// Egress declares where the namespace's workloads may go. Traffic within the
// namespace is not egress.
type Egress struct {
	// defaultAction is what happens to traffic that no rule allows: Deny or
	// Allow. With Allow nothing is restricted.
	// +required
	DefaultAction DefaultAction `json:"defaultAction"`

	// assurance is what holds the restriction. Proxy: the mesh proxy alone,
	// which a process that bypasses its proxy escapes. Network: NetworkPolicy
	// besides, so that bypassing the proxy reaches only the addresses and ports
	// that rules open; NetworkPolicy knows no host names, see via. Gateway:
	// external traffic only through the egress gateway that a baseline
	// declares. Absent: the baseline's default, else Network.
	// +optional
	Assurance EgressAssurance `json:"assurance,omitempty"`

	// rules say where workloads may go. At most 64, which together hold at most
	// 64 KiB. Absent: nowhere but within the namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name == b.name))",message="every entry of rules needs a name of its own; rename one of those that share a name"
	// +kubebuilder:validation:XValidation:rule="self.map(r, 80 + r.name.size() + (has(r.workloadSelector) ? 40 + r.workloadSelector.matchLabels.map(k, 6 + k.size() + r.workloadSelector.matchLabels[k].size()).sum() : 0) + r.to.map(t, 80 + (has(t.hosts) ? t.hosts.map(h, 3 + h.size()).sum() : 0) + (has(t.cidrs) ? 46 * t.cidrs.size() : 0) + (has(t.__namespace__) ? t.__namespace__.size() : 0) + (has(t.service) ? 160 : 0) + (has(t.ports) ? 40 * t.ports.size() : 0)).sum()).sum() <= 65536",message="the rules together must not exceed 64 KiB; merge rules, or use a wildcard for long lists of hosts"
	Rules []EgressRule `json:"rules,omitempty"`
}

// EgressRule says where workloads may go.
// +kubebuilder:validation:XValidation:rule="!has(self.via) || self.via != 'Gateway' || self.to.all(t, has(t.hosts) || has(t.cidrs))",message="via Gateway is for traffic that leaves the mesh; put namespaces and services into a rule of their own",fieldPath=".via"
type EgressRule struct {
	// name identifies the rule in status and in the names of the objects
	// written for it. Unique among the rules.
	// +required
	Name RuleName `json:"name"`

	// workloadSelector selects the workloads that may go there. Absent: every
	// workload of the namespace. Two rules must select either the same labels
	// or workloads that can't overlap, since a mesh applies one such setting to
	// a workload.
	// +optional
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`

	// to are the destinations. 1 to 8.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	To []EgressTarget `json:"to"`

	// via is the way that the traffic takes: Direct or Gateway. Absent: what
	// assurance asks for. With assurance Network, Direct to a host name has to
	// be said here: it accepts that a process that bypasses its proxy can
	// reach every address outside the cluster on the rule's ports.
	// Gateway is for exact hosts alone: wildcards and cidrs have no route
	// through it, and are not let out. All rules of a namespace that name a
	// host have to take the same way to it.
	// +optional
	Via EgressVia `json:"via,omitempty"`
}

// EgressTarget is a set of destinations; exactly one of hosts, cidrs,
// namespace and service is given.
// +kubebuilder:validation:XValidation:rule="[has(self.hosts), has(self.cidrs), has(self.__namespace__), has(self.service)].filter(x, x).size() == 1",message="an entry of to must have exactly one of hosts, cidrs, namespace and service; use an entry for each"
// +kubebuilder:validation:XValidation:rule="!(has(self.hosts) || has(self.cidrs)) || has(self.ports)",message="ports is required with hosts and with cidrs: the mesh has to know the port and what it speaks",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!has(self.cidrs) || !has(self.ports) || self.ports.all(p, p.protocol == 'TCP')",message="with cidrs the protocol of every port must be TCP, since there is no host name that another protocol could be matched by; set it to TCP or use hosts",fieldPath=".ports"
type EgressTarget struct {
	// hosts are names outside the mesh: exact (api.stripe.com), or every name
	// with a suffix (*.example.com). 1 to 10.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of hosts is given twice; remove one"
	Hosts []ExternalHost `json:"hosts,omitempty"`

	// cidrs are ranges of addresses outside the mesh. 1 to 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="an entry of cidrs is given twice; remove one"
	CIDRs []CIDR `json:"cidrs,omitempty"`

	// namespace is every service of another namespace.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// service is one service of the mesh.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// ports of the destination and what they speak: of hosts and cidrs as they
	// are dialled, of namespaces and services the container's. At most 16.
	// Required with hosts and cidrs; absent otherwise: every port.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.port == b.port))",message="a port is given twice, and one port speaks one protocol; remove one of the entries"
	Ports []EgressPort `json:"ports,omitempty"`
}

// ExternalHost is a DNS name outside the mesh, exact or with a leading wildcard label.
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]([a-z0-9-]*[a-z0-9])?$')",message="a host must be a full DNS name in lower case without a port, like api.example.com, or *.example.com for every name below it; use cidrs for addresses"
// +kubebuilder:validation:XValidation:rule="!self.endsWith('.svc') && !self.endsWith('.cluster.local')",message="a host must be a name outside the cluster; use service or namespace for workloads of the mesh"
// +kubebuilder:validation:XValidation:rule="!self.matches('[^.]{64}')",message="each part of a host between two dots has at most 63 characters; correct the name"
type ExternalHost string

// ServiceReference names a service of the mesh.
type ServiceReference struct {
	// namespace of the service. Absent: the profile's own.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// name of the service.
	// +required
	Name RuleName `json:"name"`
}

// EgressPort is a port and what it speaks.
type EgressPort struct {
	// port number.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// protocol that the port speaks: TLS and HTTPS are matched by the name in
	// the TLS handshake, HTTP, HTTP2 and GRPC by the request's host, TCP and
	// MONGO by address and port alone.
	// +required
	Protocol EgressProtocol `json:"protocol"`
}

// Logging declares what workloads log.
type Logging struct {
	// accessLog is None, Denied (requests and connections that were refused) or All.
	// +required
	AccessLog AccessLog `json:"accessLog"`
}

// Drift declares what happens when somebody else changes what the operator manages.
type Drift struct {
	// policy is Correct (the change is undone at once and recorded) or Report
	// (the change stays, and InSync is False until it is undone).
	// +required
	Policy DriftPolicy `json:"policy"`

	// guard is what admission refuses, where the admission policies are
	// installed. Managed: changes to managed objects by anyone but the
	// operator. Posture: also objects of others that weaken this posture.
	// Absent: the baseline's default, else None.
	// +optional
	Guard Guard `json:"guard,omitempty"`
}

// MeshSecurityProfile declares the mutual TLS, authorization and egress posture
// of the namespace that it is in. The operator compiles it into the mesh's own
// resources, keeps them so, and reports in status what is really in force. One
// profile is in force in a namespace: the oldest.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=msp,categories=meshsecurity
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.status.effective.enforcementMode`
// +kubebuilder:printcolumn:name="mTLS",type=string,JSONPath=`.status.effective.mutualTLS`
// +kubebuilder:printcolumn:name="Authz",type=string,JSONPath=`.status.effective.authorization`
// +kubebuilder:printcolumn:name="Egress",type=string,JSONPath=`.status.effective.egress`
// +kubebuilder:printcolumn:name="In-Sync",type=string,JSONPath=`.status.conditions[?(@.type=="InSync")].status`
// +kubebuilder:printcolumn:name="Compliant",type=string,JSONPath=`.status.conditions[?(@.type=="Compliant")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Mesh",type=string,JSONPath=`.status.mesh.provider`,priority=1
// +kubebuilder:printcolumn:name="Findings",type=string,JSONPath=`.status.summary.findings`,priority=1
// +kubebuilder:printcolumn:name="Workloads",type=string,JSONPath=`.status.summary.workloads`,priority=1
type MeshSecurityProfile struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's own.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is declared.
	// +required
	Spec MeshSecurityProfileSpec `json:"spec"`

	// status is what is in force, written by the operator alone.
	// +optional
	// +default={"observedGeneration": -1}
	Status MeshSecurityProfileStatus `json:"status,omitempty"`
}

// MeshSecurityProfileList is a list of profiles.
// +kubebuilder:object:root=true
type MeshSecurityProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MeshSecurityProfile `json:"items"`
}
