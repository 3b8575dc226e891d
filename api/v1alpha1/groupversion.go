package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "meshsecurity.io", Version: "v1alpha1"}

// The kinds of this package.
const (
	KindProfile   = "MeshSecurityProfile"
	KindBaseline  = "MeshSecurityBaseline"
	KindException = "MeshSecurityException"
)

var schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&MeshSecurityProfile{}, &MeshSecurityProfileList{},
		&MeshSecurityBaseline{}, &MeshSecurityBaselineList{},
		&MeshSecurityException{}, &MeshSecurityExceptionList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
})

// AddToScheme registers the kinds of this package with a scheme.
var AddToScheme = schemeBuilder.AddToScheme
