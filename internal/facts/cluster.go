package facts

import "github.com/meshsecurity/mesh-security-operator/api/v1alpha1"

// Cluster is what is known of the cluster as a whole: what weakens every
// namespace, and belongs to none.
type Cluster struct {
	// Mesh is the one whose control plane runs in the mesh's namespace, by its
	// default revision, or by the only one that there is.
	Mesh Mesh
	// ControlPlaneRead is false where what tells of the control plane can't be read.
	ControlPlaneRead bool
	// ControlPlanes are the deployments of istiod, sorted by name.
	ControlPlanes []ControlPlane
	// Perimeter is where traffic comes into the mesh, and leaves it.
	Perimeter Perimeter
	// Exceptions that are no longer than the baselines of their namespaces let
	// them be, sorted by name; some may be over.
	Exceptions []*v1alpha1.MeshSecurityException
	// Certificates are what workloads trust and are given.
	Certificates Certificates
	// Unread are kinds, as KIND.GROUP, that the API server serves and the
	// operator can't read: what they would have said is unknown.
	Unread []string
	// Control is who commands the mesh, and what guards its control plane.
	Control Control
}

// ControlPlane is a deployment of istiod.
type ControlPlane struct {
	Source
	Revision, Version string
	// Settings are those environment variables of istiod that decide how safe it
	// is, as they are written. One that is taken from elsewhere, like a secret,
	// is in SettingsElsewhere instead.
	Settings          map[string]string
	SettingsElsewhere []string
	// ServiceAccount that it runs as, and Labels that its pods have.
	ServiceAccount string
	Labels         map[string]string
	// Ports are the container's, by name.
	Ports []ContainerPort
	// Addresses are those of its flags that say where it listens, by flag; what
	// is not among them is by default.
	Addresses map[string]string
}
