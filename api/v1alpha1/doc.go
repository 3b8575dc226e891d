// Package v1alpha1 is the API of the group meshsecurity.io: what a user
// declares (MeshSecurityProfile, MeshSecurityBaseline, MeshSecurityException)
// and what the operator answers (their status).
//
// It imports apimachinery only, so that other programs can use the types
// without the operator's dependencies.
//
// +kubebuilder:object:generate=true
// +groupName=meshsecurity.io
package v1alpha1
