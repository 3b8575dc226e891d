package offline

import (
	"context"
	"fmt"
	"slices"
	"time"

	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, netv1.AddToScheme, v1alpha1.AddToScheme,
		admissionv1.AddToScheme, apiextensionsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme,
		securityv1.AddToScheme, networkingv1.AddToScheme, networkingv1alpha3.AddToScheme, telemetryv1.AddToScheme, extensionsv1alpha1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}()

var decoder = serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()

// Operator is what an operator is told by flags, as operator.yaml has it.
type Operator struct {
	PolicyEnforced facts.Tristate `json:"policyEnforced"`
	ClusterCIDRs   []string       `json:"clusterCIDRs"`
	ClusterDomain  string         `json:"clusterDomain"`
	// Unread are kinds, as KIND.GROUP, that it has no right to read.
	Unread []string `json:"unread"`
}

// Defaults are those of a cluster whose network enforces NetworkPolicy.
func Defaults() Operator {
	return Operator{PolicyEnforced: facts.Yes, ClusterDomain: "cluster.local", ClusterCIDRs: []string{"10.0.0.0/8", "fd00::/8"}}
}

// Cluster is one made of objects, and the operator's way of reading it.
type Cluster struct {
	Client client.Client
	Reader *snapshot.Reader
	// implied are statuses by namespace, where there is no profile to keep one.
	implied map[string]v1alpha1.MeshSecurityProfileStatus
}

// New makes a cluster of objects, as Read returns them.
func New(objects []client.Object, o Operator) *Cluster {
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.MeshSecurityProfile{}).
		WithIndex(&v1alpha1.MeshSecurityException{}, snapshot.ExceptionIndex, snapshot.ExceptionNamespaces).
		WithIndex(&corev1.Pod{}, snapshot.AgentIndex, snapshot.AgentRole).
		WithIndex(&apiextensionsv1.CustomResourceDefinition{}, snapshot.ConcernsIndex, snapshot.CRDConcerns)
	versions := map[schema.GroupKind]string{}
	for _, k := range snapshot.DependantKinds() {
		versions[k.GroupKind] = k.Versions[0]
		b = b.WithIndex(k.New(k.Versions[0]), snapshot.ConcernsIndex, k.Concerns)
	}
	for _, i := range snapshot.Indexes() {
		if k, ok := mesh.KindNamed(i.Kind.Kind); ok {
			b = b.WithIndex(k.New().(client.Object), i.Field, i.Keys)
		}
	}
	c := b.WithReturnManagedFields().Build()
	return &Cluster{Client: c, implied: map[string]v1alpha1.MeshSecurityProfileStatus{}, Reader: &snapshot.Reader{
		Scheme: scheme, Dependant: func(k schema.GroupKind) (string, facts.Tristate) {
			if slices.Contains(o.Unread, k.String()) {
				return "", facts.Unknown
			}
			return versions[k], facts.Yes
		},
		Client: c, Optional: c, Served: func(schema.GroupVersionKind) bool { return true }, ControlPlaneRead: func() bool { return true },
		MeshNamespace: "istio-system", ClusterDomain: o.ClusterDomain,
		Network: facts.Network{
			PolicyEnforced: o.PolicyEnforced, ClusterCIDRs: o.ClusterCIDRs,
			DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}},
		},
	}}
}

// Reconcile does in a namespace what the controller does, at the time now: what
// is decided is written, and so is the status. Nothing happens where nothing is
// declared for the namespace: then the decision has no profile.
func (c *Cluster) Reconcile(ctx context.Context, namespace string, now time.Time) (decide.Decision, status.Result, error) {
	observed, err := c.Reader.Read(ctx, namespace)
	if err != nil {
		return decide.Decision{}, status.Result{}, err
	}
	if before, ok := c.implied[namespace]; ok && len(observed.Profiles) > 0 {
		observed.Profiles[0].Status = before
	}
	d := decide.Make(observed, now)
	if d.Profile == nil {
		return d, status.Result{}, nil
	}
	r := status.Compute(status.Input{Profile: d.Profile, Observed: observed, Decision: d, Now: now})
	d.Profile.Status = r.Status
	if d.Implied() {
		c.implied[namespace] = r.Status
	} else if err := c.Client.Status().Update(ctx, d.Profile); err != nil {
		return d, r, fmt.Errorf("write the status of profile %s/%s: %w", namespace, d.Profile.Name, err)
	}
	for _, o := range d.Desired {
		// What is there already is what a second look must not want to change.
		if err := c.Client.Create(ctx, o.DeepCopyObject().(client.Object)); err != nil && !apierrors.IsAlreadyExists(err) {
			return d, r, fmt.Errorf("write %s %s/%s: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName(), err)
		}
	}
	return d, r, nil
}
