package v1alpha1

// Condition types. All are positive and always present; Reconciling and
// Stalled follow the kstatus convention and are present only while true.
const (
	// ConditionAccepted is True when the spec is valid and this profile is the one in force.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs is True when everything that the profile names exists.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed is True when everything desired is in the cluster
	// and, where the mesh reports it, accepted by the mesh.
	ConditionProgrammed = "Programmed"
	// ConditionInSync is True when no drift is open.
	ConditionInSync = "InSync"
	// ConditionMutualTLSEnforced is True when the effective mutual TLS mode of
	// every workload is at least what is declared.
	ConditionMutualTLSEnforced = "MutualTLSEnforced"
	// ConditionAuthorizationEnforced is True when the effective authorization
	// of every workload is at least what is declared.
	ConditionAuthorizationEnforced = "AuthorizationEnforced"
	// ConditionEgressEnforced is True when the effective egress restriction of
	// every workload is at least what is declared.
	ConditionEgressEnforced = "EgressEnforced"
	// ConditionCompliant is True when no finding of severity High or above is
	// open without an exception. Ready does not depend on it.
	ConditionCompliant = "Compliant"
	// ConditionRolledOut is True when a baseline's spec has reached every
	// namespace that it selects.
	ConditionRolledOut = "RolledOut"
	// ConditionActive is True when an exception is in force and covers something.
	ConditionActive = "Active"
	// ConditionReady is True when Accepted, ResolvedRefs, Programmed and InSync
	// are True and no rule is Looser or Unsupported.
	ConditionReady = "Ready"
	// ConditionReconciling is present and True while the operator still works towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present and True while a person has to act.
	ConditionStalled = "Stalled"
)

// Reasons of Accepted.
const (
	// ReasonAccepted: the spec is valid and in force.
	ReasonAccepted = "Accepted"
	// ReasonInvalid: the spec says something that admission could not refuse and that can't be used.
	ReasonInvalid = "Invalid"
	// ReasonSuperseded: an older profile of the namespace is in force.
	ReasonSuperseded = "Superseded"
	// ReasonMandateViolated: the profile declares less than a baseline mandates; the stricter value is in force.
	ReasonMandateViolated = "MandateViolated"
	// ReasonUnsupportedMesh: the namespace's mesh or data plane is one that this version can't program.
	ReasonUnsupportedMesh = "UnsupportedMesh"
	// ReasonTooLong: an exception lasts longer than a baseline lets it.
	ReasonTooLong = "TooLong"
)

// Reasons of RolledOut.
const (
	// ReasonRolledOut: every selected namespace has what the baseline declares.
	ReasonRolledOut = "RolledOut"
	// ReasonRollingOut: a change is on its way to the canaries.
	ReasonRollingOut = "RollingOut"
	// ReasonRolloutHalted: canaries are not Ready with a change, which goes no further.
	ReasonRolloutHalted = "RolloutHalted"
	// ReasonNoCanaries: the canary selector selects no namespace, and a change goes no further.
	ReasonNoCanaries = "NoCanaries"
)

// Reasons of Active.
const (
	// ReasonActive: the exception is in force.
	ReasonActive = "Active"
	// ReasonEndsSoon: the exception is in force and ends within a week.
	ReasonEndsSoon = "EndsSoon"
	// ReasonExpired: the exception's time is over.
	ReasonExpired = "Expired"
	// ReasonNothingMatched: nothing is found that the exception would cover.
	ReasonNothingMatched = "NothingMatched"
	// ReasonPending: the namespaces that the exception names are being looked at.
	ReasonPending = "Pending"
)

// Reasons of ResolvedRefs.
const (
	// ReasonResolved: everything named exists.
	ReasonResolved = "Resolved"
	// ReasonPeerNotFound: a rule names a peer that no baseline declares.
	ReasonPeerNotFound = "PeerNotFound"
	// ReasonNamespaceNotFound: a rule names a namespace that does not exist.
	ReasonNamespaceNotFound = "NamespaceNotFound"
	// ReasonServiceAccountNotFound: a rule names a service account that does not exist.
	ReasonServiceAccountNotFound = "ServiceAccountNotFound"
	// ReasonServiceNotFound: an egress rule names a service that does not exist.
	ReasonServiceNotFound = "ServiceNotFound"
	// ReasonProviderNotFound: a rule names a JWT provider that the profile does not declare.
	ReasonProviderNotFound = "ProviderNotFound"
	// ReasonEgressGatewayNotFound: egress through a gateway is asked for, and no
	// baseline declares one, or its namespace, service or pods are not there.
	ReasonEgressGatewayNotFound = "EgressGatewayNotFound"
)

// Reasons of Programmed.
const (
	// ReasonProgrammed: everything desired is in the cluster.
	ReasonProgrammed = "Programmed"
	// ReasonMeshCRDsMissing: kinds of the mesh that the profile needs are not served by the API server.
	ReasonMeshCRDsMissing = "MeshCRDsMissing"
	// ReasonConflict: an object with one of the operator's names exists and belongs to somebody else.
	ReasonConflict = "Conflict"
	// ReasonRejected: the API server, an admission policy or the mesh refused an object.
	ReasonRejected = "Rejected"
	// ReasonApplyFailed: writing failed and is tried again.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonPreflightBlocked: enforcing would lock out something that is known to be there, and preflight is Block.
	ReasonPreflightBlocked = "PreflightBlocked"
	// ReasonRefsUnresolved: the profile can't be compiled; the last good posture stays in force.
	ReasonRefsUnresolved = "RefsUnresolved"
	// ReasonNotAccepted: the profile is not the one in force, so nothing is written for it.
	ReasonNotAccepted = "NotAccepted"
	// ReasonAudit: the mode is Audit, so nothing is to be written, and nothing of ours is in the cluster.
	ReasonAudit = "Audit"
	// ReasonPaused: the annotation meshsecurity.io/paused stops all writes.
	ReasonPaused = "Paused"
	// ReasonTerminating: the profile is being deleted, and what was written for it is not all gone yet.
	ReasonTerminating = "Terminating"
)

// Reasons of InSync.
const (
	// ReasonInSync: what is in the cluster is what was written.
	ReasonInSync = "InSync"
	// ReasonDriftDetected: somebody changed what is managed, and it is left so by
	// drift.policy Report; or somebody's own object overrides it.
	ReasonDriftDetected = "DriftDetected"
	// ReasonDriftNotCorrected: somebody changed what is managed, and correcting it failed.
	ReasonDriftNotCorrected = "DriftNotCorrected"
	// ReasonDriftFight: somebody changes a managed object again as often as it
	// is corrected, so that it is corrected less and less often.
	ReasonDriftFight = "DriftFight"
)

// Reasons of MutualTLSEnforced, AuthorizationEnforced and EgressEnforced.
const (
	// ReasonEnforced: evidence for every workload.
	ReasonEnforced = "Enforced"
	// ReasonDryRun: the mode is DryRun; nothing is denied.
	ReasonDryRun = "DryRun"
	// ReasonNotDeclared: the profile does not declare this area.
	ReasonNotDeclared = "NotDeclared"
	// ReasonNotProgrammed: what would enforce it is not in the cluster as it should be.
	ReasonNotProgrammed = "NotProgrammed"
	// ReasonBypassDetected: workloads are not in the mesh, or are excluded from it.
	ReasonBypassDetected = "BypassDetected"
	// ReasonShadowed: objects of somebody else let through what the profile does not.
	ReasonShadowed = "Shadowed"
	// ReasonForeignPolicies: objects of somebody else apply to the namespace's workloads, and what they change can't be told.
	ReasonForeignPolicies = "ForeignPolicies"
	// ReasonAssuranceNotMet: the declared assurance is not reached.
	ReasonAssuranceNotMet = "AssuranceNotMet"
	// ReasonRulesNotEnforced: a rule of this area has a verdict weaker than what is declared.
	ReasonRulesNotEnforced = "RulesNotEnforced"
	// ReasonMeshNotObserved: no control plane of the mesh was found, so nothing shows that the configuration is acted upon.
	ReasonMeshNotObserved = "MeshNotObserved"
	// ReasonNoWorkloads: the namespace runs nothing that could be protected.
	ReasonNoWorkloads = "NoWorkloads"
)

// Reasons of Compliant.
const (
	// ReasonNotEvaluated: the posture audit was not run.
	ReasonNotEvaluated = "NotEvaluated"
	// ReasonCompliant: nothing grave is open.
	ReasonCompliant = "Compliant"
	// ReasonFindingsOpen: a finding of severity High or above has no exception.
	ReasonFindingsOpen = "FindingsOpen"
	// ReasonFindingsUnknown: a check of severity High or above can't read what it needs.
	ReasonFindingsUnknown = "FindingsUnknown"
)

// Reasons of Ready besides those of the condition that fails first.
const (
	// ReasonReady: everything that Ready depends on is True.
	ReasonReady = "Ready"
	// ReasonRulesLooser: a rule's verdict is Looser or Unsupported.
	ReasonRulesLooser = "RulesLooser"
)
