package v1alpha1

// Labels and annotations that the operator writes on what it manages, and
// those that it reads.
const (
	// LabelManagedBy names the operator on every object that it writes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of LabelManagedBy, and the operator's field manager.
	ManagedByValue = "mesh-security-operator"
	// LabelPartOf groups every object that the operator writes.
	LabelPartOf = "app.kubernetes.io/part-of"
	// PartOfValue is the value of LabelPartOf.
	PartOfValue = "meshsecurity.io"
	// LabelProfile names the profile that an object was compiled from. A
	// name longer than a label's 63 characters is cut and given a hash.
	LabelProfile = "meshsecurity.io/profile"
	// LabelBaseline names the baseline that an object was compiled from, in a
	// namespace without a profile; cut likewise.
	LabelBaseline = "meshsecurity.io/baseline"
	// AnnotationRule names the rule, override or provider that an object was compiled from.
	AnnotationRule = "meshsecurity.io/rule"

	// LabelGuard, on a ValidatingAdmissionPolicyBinding, names the guard that it puts in force.
	LabelGuard = "meshsecurity.io/guard"

	// AnnotationPaused, set to "true" on a profile or a baseline, stops all writes for it.
	AnnotationPaused = "meshsecurity.io/paused"
	// AnnotationAdopt, set to "true" on an object that the operator did not
	// create, lets the operator take the object over.
	AnnotationAdopt = "meshsecurity.io/adopt"

	// Finalizer keeps a deleted profile or baseline until the operator has taken what was
	// written for it out of force in a safe order, or has left it behind.
	Finalizer = "meshsecurity.io/ordered-removal"
)
