package posture

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// Posture is what is to hold in a namespace.
type Posture struct {
	Namespace string
	Owner     Owner
	Mode      v1alpha1.EnforcementMode
	// MutualTLS, Authorization and Egress are nil where nothing is declared.
	MutualTLS     *MutualTLS
	Authorization *Authorization
	Egress        *Egress
	// AccessLog is empty where nothing is declared.
	AccessLog      v1alpha1.AccessLog
	DriftPolicy    v1alpha1.DriftPolicy
	Guard          v1alpha1.Guard
	DeletionPolicy v1alpha1.DeletionPolicy
	// Preflight is empty for Warn.
	Preflight v1alpha1.Preflight `json:",omitempty"`
	// Held are areas that the preflight holds back, sorted: what is written for
	// them denies nothing.
	Held []v1alpha1.Area `json:",omitempty"`
	// Origins of values that the profile itself does not give, sorted by field.
	Origins []v1alpha1.Origin
	// Expired are port overrides whose time is over; they are not in MutualTLS.
	Expired []Override
	// Refused is what the profile declares and a mandate does not let be; it is
	// not in the rules, but for what is left of one.
	Refused []Refusal `json:",omitempty"`
	// NextChange is when the posture changes by itself, as an override
	// expires; nil where it does not.
	NextChange *time.Time
}

// Owner is the object that a posture's resources belong to.
type Owner struct {
	Kind, Name string
	UID        types.UID
}

// MutualTLS is what workloads accept from their callers.
type MutualTLS struct {
	Mode      v1alpha1.MutualTLSMode
	Overrides []Override
	// Exempt are workloads with a mode of their own, by an exception.
	Exempt []Exemption `json:",omitempty"`
}

// Exemption is workloads to which a mandate does not apply.
type Exemption struct {
	// Name of the exception.
	Name     string
	Selector map[string]string
	// Mode of mutual TLS; empty in the other areas.
	Mode v1alpha1.MutualTLSMode `json:",omitempty"`
}

// Exempted says whether one of exemptions is for a workload of these labels.
func Exempted(exemptions []Exemption, labels map[string]string) bool {
	return slices.ContainsFunc(exemptions, func(e Exemption) bool { return facts.Matches(e.Selector, labels) })
}

// Refusal is a rule or override that a mandate does not let be, or a part of it.
type Refusal struct {
	Rule    string
	Area    v1alpha1.Area
	Message string
	// Rest is true where something is left of the rule.
	Rest bool
}

// Override accepts less than the mode on one port of some workloads.
type Override struct {
	Name     string
	Selector map[string]string
	Port     int32
	Mode     v1alpha1.PortMode
	Expires  *time.Time
	// Exception that lets it be against a mandate; empty where it needs none.
	Exception string `json:",omitempty"`
}

// Authorization is who may call the namespace's workloads.
type Authorization struct {
	Default   v1alpha1.DefaultAction
	Providers []v1alpha1.JWTProvider
	// Rules in the order in which they are declared.
	Rules []Rule
	// Exempt are workloads that everybody may call where no rule denies it, by
	// an exception.
	Exempt []Exemption `json:",omitempty"`
}

// Rule says who may, or may not, call what.
type Rule struct {
	Name string
	// Baseline is the name of the baseline that adds the rule; empty for the
	// profile's own.
	Baseline string `json:",omitempty"`
	Action   v1alpha1.RuleAction
	// Selector of the called workloads; empty for all.
	Selector map[string]string
	From     Callers
	// To is empty for every port and request.
	To  []v1alpha1.Operation
	JWT *v1alpha1.JWTRequirement
}

// Callers is the union of a rule's from entries, with peers and entities resolved.
type Callers struct {
	// ServiceAccounts, sorted and unique.
	ServiceAccounts []types.NamespacedName
	// Namespaces, sorted and unique; the entity SameNamespace is the own one.
	Namespaces []string
	// AnyAuthenticated is every caller with a mesh identity.
	AnyAuthenticated bool
	// Anyone is every caller; it makes the others meaningless.
	Anyone   bool
	IPBlocks []v1alpha1.IPBlock
}

// ByIdentity says whether some of the callers are recognised by a mesh identity.
func (c Callers) ByIdentity() bool {
	return !c.Anyone && (len(c.ServiceAccounts) > 0 || len(c.Namespaces) > 0 || c.AnyAuthenticated)
}

// Egress is where the namespace's workloads may go.
type Egress struct {
	Default   v1alpha1.DefaultAction
	Assurance v1alpha1.EgressAssurance
	// Rules in the order in which they are declared.
	Rules []EgressRule
	// Gateway that leads outside; nil where none is asked for, or can be used.
	Gateway *Gateway `json:",omitempty"`
}

// Gateway is an egress gateway that can be used.
type Gateway struct {
	// Baseline that declares it: what is written beside it belongs to that one.
	Baseline                  Owner
	Namespace, ServiceAccount string
	Selector                  map[string]string
	// Service and Port by which it is reached, and Target, the port of its pods.
	Service string
	Port    int32
	Target  intstr.IntOrString
	// Ready is true where a pod of it is.
	Ready bool
}

// Outside says whether a rule has destinations outside of the mesh.
func (r EgressRule) Outside() bool {
	return slices.ContainsFunc(r.To, func(t v1alpha1.EgressTarget) bool { return len(t.Hosts)+len(t.CIDRs) > 0 })
}

// Through says whether a rule's traffic leaves by the gateway.
func (e Egress) Through(r EgressRule) bool {
	return r.Outside() && (r.Via == v1alpha1.ViaGateway || (r.Via == "" && e.Assurance == v1alpha1.AssuranceGateway))
}

// EgressRule says where workloads may go.
type EgressRule struct {
	Name string
	// Selector of the workloads that may go there; empty for all.
	Selector map[string]string
	// To has the namespace of every service filled in.
	To []v1alpha1.EgressTarget
	// Via is empty where the rule leaves it to the assurance.
	Via v1alpha1.EgressVia
}
