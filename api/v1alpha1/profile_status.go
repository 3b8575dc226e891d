package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Verdict says how far a rule is in force.
// +kubebuilder:validation:Enum=Enforced;DryRun;Stricter;Looser;Unsupported;NeedsPrerequisite;RestartRequired;Conflict;Pending
type Verdict string

// The verdicts. Any but Enforced comes with a message that says why and what to do.
const (
	// VerdictEnforced: in force as declared.
	VerdictEnforced Verdict = "Enforced"
	// VerdictDryRun: evaluated, and nothing is denied.
	VerdictDryRun Verdict = "DryRun"
	// VerdictStricter: less is let through than declared.
	VerdictStricter Verdict = "Stricter"
	// VerdictLooser: more is let through than declared.
	VerdictLooser Verdict = "Looser"
	// VerdictUnsupported: the mesh can't do it; nothing is written for it.
	VerdictUnsupported Verdict = "Unsupported"
	// VerdictNeedsPrerequisite: written, and something else is missing for it to take effect.
	VerdictNeedsPrerequisite Verdict = "NeedsPrerequisite"
	// VerdictRestartRequired: in force for workloads that start from now on.
	VerdictRestartRequired Verdict = "RestartRequired"
	// VerdictConflict: another rule or object stands in the way; nothing is written for it.
	VerdictConflict Verdict = "Conflict"
	// VerdictPending: nothing to enforce yet, or not yet written.
	VerdictPending Verdict = "Pending"
)

// Area is a part of the posture.
// +kubebuilder:validation:Enum=MutualTLS;Authorization;Egress;Logging
type Area string

// The areas.
const (
	AreaMutualTLS     Area = "MutualTLS"
	AreaAuthorization Area = "Authorization"
	AreaEgress        Area = "Egress"
	AreaLogging       Area = "Logging"
)

// DriftType says what happened to a managed object.
// +kubebuilder:validation:Enum=Missing;Modified;Unexpected;Shadowed
type DriftType string

// The drift types.
const (
	// DriftMissing: the object was deleted.
	DriftMissing DriftType = "Missing"
	// DriftModified: the object was changed.
	DriftModified DriftType = "Modified"
	// DriftUnexpected: an object that claims to be managed and that nothing asks for.
	DriftUnexpected DriftType = "Unexpected"
	// DriftShadowed: a foreign object changes what is in force. It is never corrected.
	DriftShadowed DriftType = "Shadowed"
)

// Effect says what a change does to the posture.
// +kubebuilder:validation:Enum=Weakens;Tightens;Neutral
type Effect string

// The effects.
const (
	EffectWeakens  Effect = "Weakens"
	EffectTightens Effect = "Tightens"
	EffectNeutral  Effect = "Neutral"
)

// Resolution says what became of a change.
// +kubebuilder:validation:Enum=Corrected;Reported;Blocked;Failed
type Resolution string

// The resolutions.
const (
	ResolutionCorrected Resolution = "Corrected"
	ResolutionReported  Resolution = "Reported"
	ResolutionBlocked   Resolution = "Blocked"
	ResolutionFailed    Resolution = "Failed"
)

// Severity of a finding.
// +kubebuilder:validation:Enum=Critical;High;Medium;Low
type Severity string

// The severities.
const (
	SeverityCritical Severity = "Critical"
	SeverityHigh     Severity = "High"
	SeverityMedium   Severity = "Medium"
	SeverityLow      Severity = "Low"
)

// Enforcer is a part of the data plane that holds a rule.
// +kubebuilder:validation:Enum=Sidecar;Ztunnel;Waypoint;EgressGateway;LinkerdProxy;NetworkPolicy
type Enforcer string

// The enforcers.
const (
	EnforcerSidecar       Enforcer = "Sidecar"
	EnforcerZtunnel       Enforcer = "Ztunnel"
	EnforcerWaypoint      Enforcer = "Waypoint"
	EnforcerEgressGateway Enforcer = "EgressGateway"
	EnforcerLinkerdProxy  Enforcer = "LinkerdProxy"
	EnforcerNetworkPolicy Enforcer = "NetworkPolicy"
)

// Limits of status, so that it stays readable and far below etcd's limit.
const (
	MaxStatusDrift      = 10
	MaxStatusFindings   = 20
	MaxStatusAttention  = 20
	MaxStatusRules      = 256
	MaxDriftFields      = 8
	MaxMessageBytes     = 1024
	MaxDriftValueLength = 128
)

// MeshSecurityProfileStatus is what is in force, as the operator last saw it.
type MeshSecurityProfileStatus struct {
	// observedGeneration is the generation of the spec that this status speaks
	// of; -1 before the operator saw the profile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// appliedDigest is a fingerprint of the resources last written for this
	// profile. While it stays the same, a difference in the cluster is
	// somebody else's change; when it changes, the intent did.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AppliedDigest string `json:"appliedDigest,omitempty"`

	// enforcedAreas are, where preflight is Block, the areas whose denying was put
	// in force. The preflight does not hold these back any more, whatever
	// somebody deletes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	EnforcedAreas []Area `json:"enforcedAreas,omitempty"`

	// mesh is the mesh that was found.
	// +optional
	Mesh *MeshStatus `json:"mesh,omitempty"`

	// effective is the posture in force, and where each value comes from.
	// +optional
	Effective *EffectivePosture `json:"effective,omitempty"`

	// summary counts workloads, resources and findings.
	// +optional
	Summary *Summary `json:"summary,omitempty"`

	// rules has one entry for every authorization rule, also those that baselines
	// add, egress rule and port override; the first 256.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Rules []RuleStatus `json:"rules,omitempty"`

	// drift has the last 10 changes that somebody else made to what is
	// managed, newest first. They are kept after correction.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Drift []DriftRecord `json:"drift,omitempty"`

	// findings has the 20 worst findings.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Findings []Finding `json:"findings,omitempty"`

	// attention has up to 20 sentences, worst first: what is not as declared,
	// who did it, and what to do.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=1024
	Attention []string `json:"attention,omitempty"`

	// conditions say what holds; all are positive, and Unknown where something
	// can't be told.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MeshStatus is the mesh that was found.
type MeshStatus struct {
	// provider is the mesh.
	// +optional
	Provider MeshProvider `json:"provider,omitempty"`

	// dataPlane is the way in which it carries the namespace's traffic.
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`

	// revision of the control plane that the namespace belongs to.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Revision string `json:"revision,omitempty"`

	// version of the control plane; absent where it can't be told.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Version string `json:"version,omitempty"`
}

// EffectivePosture is the posture in force. A value is NotDeclared where
// neither the profile nor a baseline says anything.
type EffectivePosture struct {
	// enforcementMode in force.
	// +optional
	EnforcementMode EnforcementMode `json:"enforcementMode,omitempty"`

	// mutualTLS is Strict, Permissive or NotDeclared.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	MutualTLS string `json:"mutualTLS,omitempty"`

	// authorization is Deny, Allow or NotDeclared: what happens to a request that no rule allows.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Authorization string `json:"authorization,omitempty"`

	// egress is Deny, Allow or NotDeclared: what happens to traffic that no rule allows.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Egress string `json:"egress,omitempty"`

	// egressAssurance is the assurance that is achieved, which may be less than
	// the one that is declared.
	// +optional
	EgressAssurance EgressAssurance `json:"egressAssurance,omitempty"`

	// accessLog is None, Denied, All or NotDeclared.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	AccessLog string `json:"accessLog,omitempty"`

	// driftPolicy in force.
	// +optional
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`

	// guard in force: what admission refuses, where the admission policies are
	// installed. Absent: nothing.
	// +optional
	Guard Guard `json:"guard,omitempty"`

	// origins says where a value comes from that the profile itself does not give.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Origins []Origin `json:"origins,omitempty"`
}

// Origin says where a value comes from.
type Origin struct {
	// field is the path of the value in a profile's spec.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Field string `json:"field"`

	// from is KIND/NAME of the object that gives the value, or Default for the operator's own.
	// +required
	// +kubebuilder:validation:MaxLength=320
	From string `json:"from"`
}

// Summary counts.
type Summary struct {
	// workloads of the namespace.
	// +optional
	Workloads WorkloadCounts `json:"workloads"`

	// resources that the profile asks for.
	// +optional
	Resources ResourceCounts `json:"resources"`

	// findings that are open. Absent until an audit ran.
	// +optional
	Findings *FindingCounts `json:"findings,omitempty"`
}

// WorkloadCounts counts workloads: pods by the controller that owns them.
type WorkloadCounts struct {
	// total is how many there are.
	// +required
	Total int32 `json:"total"`
	// enrolled is how many are in the mesh with all of their pods.
	// +required
	Enrolled int32 `json:"enrolled"`
	// compliant is how many are enrolled and bypass the mesh with none of their pods.
	// +required
	Compliant int32 `json:"compliant"`
}

// ResourceCounts counts the objects that the profile asks for.
type ResourceCounts struct {
	// desired is how many there are to be.
	// +required
	Desired int32 `json:"desired"`
	// inSync is how many are in the cluster exactly so.
	// +required
	InSync int32 `json:"inSync"`
}

// FindingCounts counts findings by severity.
type FindingCounts struct {
	// critical findings that are open.
	// +required
	Critical int32 `json:"critical"`
	// high findings that are open.
	// +required
	High int32 `json:"high"`
	// medium findings that are open.
	// +required
	Medium int32 `json:"medium"`
	// low findings that are open.
	// +required
	Low int32 `json:"low"`
	// excepted findings, which an exception covers.
	// +required
	Excepted int32 `json:"excepted"`
	// unknown findings, where a check can't read what it needs. Absent: none.
	// +optional
	Unknown int32 `json:"unknown,omitempty"`
}

// RuleStatus says how far one rule or port override is in force.
type RuleStatus struct {
	// name of the rule or override.
	// +required
	Name RuleName `json:"name"`

	// from is KIND/NAME of the baseline that adds the rule. Absent: the profile's own.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	From string `json:"from,omitempty"`

	// area that it belongs to.
	// +required
	Area Area `json:"area"`

	// verdict says how far it is in force.
	// +required
	Verdict Verdict `json:"verdict"`

	// enforcedBy are the parts of the data plane that hold it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=6
	EnforcedBy []Enforcer `json:"enforcedBy,omitempty"`

	// message says why the verdict is not Enforced, and what to do. With
	// Enforced it names a limit that a reader has to know.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// DriftRecord is a change that somebody else made to what is managed.
type DriftRecord struct {
	// resource is KIND/NAME of the object in the profile's namespace, or
	// KIND/NAMESPACE/NAME of a Shadowed one's in another.
	// +required
	// +kubebuilder:validation:MaxLength=320
	Resource string `json:"resource"`

	// type says what happened to it.
	// +required
	Type DriftType `json:"type"`

	// effect says what that does to the posture.
	// +required
	Effect Effect `json:"effect"`

	// fields that differ, at most 8.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Fields []FieldChange `json:"fields,omitempty"`

	// message says what a Shadowed object opens, or shuts. Absent for the other types.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// actor is the field manager that made the change, as managedFields tells;
	// "unknown" where it tells nothing, as after a deletion: the API server's
	// audit log has the user.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Actor string `json:"actor,omitempty"`

	// detectedAt is when the operator saw it.
	// +required
	DetectedAt metav1.Time `json:"detectedAt"`

	// resolution says what became of it: Corrected when it is no longer so, by
	// the operator's doing or somebody else's; Reported while it is left as it
	// is; Failed while correcting it fails; Blocked when admission refused it.
	// +required
	Resolution Resolution `json:"resolution"`
}

// FieldChange is a field that differs.
type FieldChange struct {
	// path of the field as a JSON pointer.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path"`

	// desired is the value that was written, as JSON without quotes around a
	// string, cut to 128 characters. Absent: the field is not to exist.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	Desired string `json:"desired,omitempty"`

	// observed is the value that was found, likewise. Absent: the field did not exist.
	// +optional
	// +kubebuilder:validation:MaxLength=160
	Observed string `json:"observed,omitempty"`
}

// FindingState says whether a finding counts.
// +kubebuilder:validation:Enum=Open;Excepted;Unknown
type FindingState string

// The states of a finding.
const (
	// FindingOpen: it is so.
	FindingOpen FindingState = "Open"
	// FindingExcepted: it is so, and an exception covers it.
	FindingExcepted FindingState = "Excepted"
	// FindingUnknown: what would tell whether it is so can't be read. It is never a pass.
	FindingUnknown FindingState = "Unknown"
)

// Finding is something that weakens the posture.
type Finding struct {
	// check is the ID of the check that found it.
	// +required
	// +kubebuilder:validation:MaxLength=16
	Check string `json:"check"`

	// state says whether it counts: Open; Excepted, by the exception that is
	// named; or Unknown, where it can't be told.
	// +optional
	State FindingState `json:"state,omitempty"`

	// severity of the finding.
	// +required
	Severity Severity `json:"severity"`

	// subject is KIND/NAME of what it is about.
	// +required
	// +kubebuilder:validation:MaxLength=320
	Subject string `json:"subject"`

	// message says what was found.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`

	// remediation says what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Remediation string `json:"remediation,omitempty"`

	// exception is the name of the MeshSecurityException that covers it. Absent: none does.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Exception string `json:"exception,omitempty"`
}
