package offline

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// Settings are what an operator is told by flags.
type Settings struct {
	MeshNamespace, ClusterDomain, OperatorNamespace string
	Network                                         facts.Network
}

// Cluster is a store, and what of the cluster it does not hold.
type Cluster struct {
	*Store
	// absent are kinds that the API server does not serve, and unread those that
	// it did not let be read. Of files, every kind is there.
	absent, unread map[schema.GroupKind]bool
	// rootsUnread is true where what the proxies of namespaces trust was not let
	// be read.
	rootsUnread bool
	// versions of kinds, as they were read.
	versions map[schema.GroupKind]string
}

// NewCluster is an empty one in which every kind is served.
func NewCluster() *Cluster {
	return &Cluster{Store: NewStore(), absent: map[schema.GroupKind]bool{}, unread: map[schema.GroupKind]bool{}, versions: map[schema.GroupKind]string{}}
}

// Reader reads the cluster as the operator reads one.
func (c *Cluster) Reader(s Settings) *snapshot.Reader {
	held := func(kinds ...schema.GroupKind) func() bool {
		return func() bool {
			return !slices.ContainsFunc(kinds, func(k schema.GroupKind) bool { return c.absent[k] || c.unread[k] })
		}
	}
	return &snapshot.Reader{
		Client: c, Optional: c, Roots: c, Scheme: Scheme,
		Served:           func(k schema.GroupVersionKind) bool { return held(k.GroupKind())() },
		ControlPlaneRead: held(schema.GroupKind{Kind: "ConfigMap"}, schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}),
		GuardsRead:       held(schema.GroupKind{Group: admissionv1.GroupName, Kind: "ValidatingAdmissionPolicyBinding"}),
		Dependant: func(k schema.GroupKind) (string, facts.Tristate) {
			if k == snapshot.RootKind {
				if c.rootsUnread {
					return "v1", facts.Unknown
				}
				return "v1", facts.Yes
			}
			for _, d := range snapshot.DependantKinds() {
				switch {
				case d.GroupKind != k:
				case c.absent[k]:
					return "", facts.No
				case c.unread[k]:
					return d.Versions[0], facts.Unknown
				case c.versions[k] != "":
					return c.versions[k], facts.Yes
				default:
					return d.Versions[0], facts.Yes
				}
			}
			return "", facts.No
		},
		MeshNamespace: s.MeshNamespace, ClusterDomain: s.ClusterDomain, Network: s.Network, Namespace: s.OperatorNamespace,
	}
}

// kind is one that is read of an API server.
type kind struct {
	gk       schema.GroupKind
	versions []string
	// namespace is the only one of which it is read; empty for all.
	namespace string
	// name is the only one that is read; empty for all.
	name string
	// metadata alone is read.
	bare bool
}

func (s Settings) kinds() []kind {
	of := func(group, version, name string) kind {
		return kind{gk: schema.GroupKind{Group: group, Kind: name}, versions: []string{version}}
	}
	out := []kind{
		of("", "v1", "Namespace"), of("", "v1", "Pod"), of("", "v1", "Service"),
		of(apiextensionsv1.GroupName, "v1", "CustomResourceDefinition"), of(admissionv1.GroupName, "v1", "ValidatingAdmissionPolicyBinding"),
		of(v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, v1alpha1.KindProfile),
		of(v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, v1alpha1.KindBaseline),
		of(v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, v1alpha1.KindException),
		of("", "v1", "ServiceAccount"),
		{gk: snapshot.RootKind, versions: []string{"v1"}, name: snapshot.RootConfigMap},
		{gk: schema.GroupKind{Kind: "ConfigMap"}, versions: []string{"v1"}, namespace: s.MeshNamespace},
		{gk: schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}, versions: []string{"v1"}, namespace: s.MeshNamespace},
	}
	for _, gvk := range []schema.GroupVersionKind{mesh.EnvoyFilter, mesh.WasmPlugin} {
		out = append(out, kind{gk: gvk.GroupKind(), versions: []string{gvk.Version}, bare: true})
	}
	for _, k := range mesh.ManagedKinds() {
		out = append(out, kind{gk: k.GVK.GroupKind(), versions: []string{k.GVK.Version}})
	}
	for _, k := range snapshot.DependantKinds() {
		if !slices.ContainsFunc(out, func(have kind) bool { return have.gk == k.GroupKind }) {
			out = append(out, kind{gk: k.GroupKind, versions: k.Versions})
		}
	}
	return out
}

// Load reads everything that the operator reads from an API server, one list a
// kind. What the caller may not read counts as unknown, as it does for the
// operator; namespaces, pods and the product's own kinds have to be readable.
// progress is told of each kind; nil for nobody.
func Load(ctx context.Context, from client.Reader, s Settings, progress func(kind string)) (*Cluster, error) {
	c := NewCluster()
	for _, k := range s.kinds() {
		if progress != nil {
			progress(k.gk.Kind)
		}
		if err := c.load(ctx, from, k); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) load(ctx context.Context, from client.Reader, k kind) error {
	for _, version := range k.versions {
		list, err := k.list(version)
		if err != nil {
			return err
		}
		var opts []client.ListOption
		if k.namespace != "" {
			opts = append(opts, client.InNamespace(k.namespace))
		}
		if k.name != "" {
			opts = append(opts, client.MatchingFields{"metadata.name": k.name})
		}
		err = from.List(ctx, list, opts...)
		switch {
		case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
			continue
		case apierrors.IsForbidden(err) && k.name != "":
			c.rootsUnread = true
			return nil
		case apierrors.IsForbidden(err) && k.optional():
			c.unread[k.gk] = true
			return nil
		case err != nil:
			return fmt.Errorf("list %s: %w", k.gk, err)
		}
		c.versions[k.gk] = version
		return meta.EachListItem(list, func(o runtime.Object) error {
			obj, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("%s: %T is not an object", k.gk, o)
			}
			obj.GetObjectKind().SetGroupVersionKind(k.gk.WithVersion(version))
			return c.Put(obj)
		})
	}
	if !k.optional() {
		return fmt.Errorf("the API server does not serve %s", k.gk)
	}
	c.absent[k.gk] = true
	return nil
}

// optional kinds may be absent or forbidden.
func (k kind) optional() bool {
	return k.gk.Group != "" && k.gk.Group != v1alpha1.GroupVersion.Group || k.gk.Kind == "ConfigMap"
}

func (k kind) list(version string) (client.ObjectList, error) {
	gvk := k.gk.WithVersion(version)
	gvk.Kind += "List"
	if k.bare {
		m := &metav1.PartialObjectMetadataList{}
		m.SetGroupVersionKind(gvk)
		return m, nil
	}
	if !Scheme.Recognizes(gvk) {
		u := &unstructured.UnstructuredList{}
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	o, err := Scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	list, ok := o.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", gvk)
	}
	return list, nil
}

// Namespaces are the names of all namespaces, sorted. Of files, a namespace is
// there where something is in it.
func (c *Cluster) Namespaces() []string {
	seen := map[string]bool{}
	for gk, objects := range c.of {
		for _, o := range objects {
			if gk == (schema.GroupKind{Kind: "Namespace"}) {
				seen[o.GetName()] = true
			} else if ns := o.GetNamespace(); ns != "" {
				seen[ns] = true
			}
		}
	}
	var out []string
	for ns := range seen {
		out = append(out, ns)
	}
	slices.Sort(out)
	return out
}

// Fill adds the namespaces that objects are in and that no file has, as an API
// server would have asked for.
func (c *Cluster) Fill() error {
	for _, name := range c.Namespaces() {
		ns := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}}
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(ns), &corev1.Namespace{}); apierrors.IsNotFound(err) {
			if err := c.Put(ns); err != nil {
				return err
			}
		}
	}
	return nil
}
