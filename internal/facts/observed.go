package facts

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// Object is an object of the cluster, or one that is to be in it.
type Object interface {
	metav1.Object
	runtime.Object
}

// Observed is everything that one reconciliation of a namespace looks at. Its
// objects are the cache's own: they must not be changed.
type Observed struct {
	Facts Facts
	// Profiles of the namespace, the one in force first: the oldest that is
	// not being deleted, then the first by name.
	Profiles []*v1alpha1.MeshSecurityProfile
	// Baselines that apply to the namespace, the one of the highest priority
	// first. In a namespace without a profile the first of Profiles is implied
	// by them: it has no name and is not in the cluster.
	Baselines []Baseline
	// Exceptions that name the namespace, sorted by name.
	Exceptions []*v1alpha1.MeshSecurityException
	// Ours are UIDs of objects that were the operator's when last seen: such an
	// object stays the operator's, whatever an intruder strips off it.
	Ours map[types.UID]bool
	// LastGood is what a profile that can't be used any more last asked for,
	// where it is remembered.
	LastGood []Object
	// Fights are over managed objects that somebody keeps changing and that are
	// not to be corrected yet.
	Fights []Fight
	// Live are the objects of managed kinds in the namespace, whoever they belong to.
	Live []Object
	// Others are objects besides these that take part in what is in force here:
	// of kinds that the operator does not write, of the mesh's root namespace,
	// and what other namespaces export to this one. Sorted by kind, namespace and name.
	Others []Object
	// Influences are objects that can change what is in force here in ways that
	// can't be worked out.
	Influences []Influence
	// Routings are VirtualServices for calls within the mesh: those of the
	// namespace, and of the mesh's root namespace where they are exported to it;
	// sorted by namespace and name.
	Routings []Routing
	// Bulletins is the text of the table of vulnerabilities that takes the place
	// of the built-in one; nil for none.
	Bulletins *string
	// Guards that are installed.
	Guards Guards
}

// Routing is where a VirtualService leads calls within the mesh.
type Routing struct {
	Namespace, Name string
	// Hosts whose calls it leads, and Destinations that it leads or mirrors them to.
	Hosts, Destinations []string
	// Gateways are those of the destinations that are services of gateways, where
	// it leads calls for hosts outside the cluster.
	Gateways []string
	// Delegates is true where it leaves some calls to another VirtualService.
	Delegates bool
}

// Guards says which of the admission policies behind drift.guard are installed.
type Guards struct {
	Managed, Posture Tristate
}

// Fight is somebody's repeated change of a managed object.
type Fight struct {
	// Resource is KIND/NAME, and Actor who changes it.
	Resource, Actor string
	// Until is when it is corrected again.
	Until time.Time
}

// Influence is an object, known by name alone, that can change what is in force.
type Influence struct {
	Kind, Namespace, Name string
	// Areas that it can change.
	Areas []v1alpha1.Area
	// What it can do, in words.
	What string
}

// Baseline is a baseline as it is in force in one namespace, which may be an
// earlier state of it while a change is rolled out.
type Baseline struct {
	Name string
	UID  types.UID
	// Revision is a fingerprint of the spec.
	Revision string
	Spec     *v1alpha1.MeshSecurityBaselineSpec
	// Paused is true where its annotation stops all writes for it.
	Paused bool
	// Held is true where its finalizer is set: before, nothing that belongs to it
	// may be written.
	Held bool
}
