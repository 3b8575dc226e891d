package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// models are what the operator's own code makes of the cluster: of all that is
// there, and of what is desired alone.
type models struct{ whole, desired *effective.Model }

// modelsOf reads the cluster as the operator does, through its own reader, from
// a copy of what the API server has.
func modelsOf(ctx context.Context, s *stage.Stage) (models, error) {
	reader, err := readerOf(ctx, s.Client)
	if err != nil {
		return models{}, err
	}
	o, err := reader.Read(ctx, namespace)
	if err != nil {
		return models{}, err
	}
	world := func(objects []facts.Object) *effective.Model {
		// Nothing enforces NetworkPolicy on this stage.
		objects = slices.DeleteFunc(slices.Clone(objects), func(o facts.Object) bool { _, is := o.(*netv1.NetworkPolicy); return is })
		return effective.New(effective.World{
			Namespace: o.Facts.Namespace.Name, Mesh: o.Facts.Mesh, Pods: o.Facts.Pods, Services: o.Facts.Services,
			Partial: !o.Facts.Mesh.ConfigRead, Objects: objects,
		})
	}
	return models{whole: world(slices.Concat(o.Live, o.Others)), desired: world(decide.Make(o, time.Now()).Desired)}, nil
}

func readerOf(ctx context.Context, from client.Client) (*snapshot.Reader, error) {
	b := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().
		WithIndex(&v1alpha1.MeshSecurityException{}, snapshot.ExceptionIndex, snapshot.ExceptionNamespaces).
		WithIndex(&corev1.Pod{}, snapshot.AgentIndex, snapshot.AgentRole).
		WithIndex(&apiextensionsv1.CustomResourceDefinition{}, snapshot.ConcernsIndex, snapshot.CRDConcerns)
	lists := []client.ObjectList{
		&v1alpha1.MeshSecurityProfileList{}, &v1alpha1.MeshSecurityBaselineList{}, &v1alpha1.MeshSecurityExceptionList{},
		&corev1.NamespaceList{}, &corev1.PodList{}, &corev1.ServiceList{}, &corev1.ServiceAccountList{}, &corev1.ConfigMapList{},
		&appsv1.DeploymentList{}, &admissionv1.ValidatingAdmissionPolicyBindingList{},
	}
	versions := map[schema.GroupKind]string{}
	for _, k := range snapshot.DependantKinds() {
		versions[k.GroupKind] = k.Versions[0]
		b = b.WithIndex(k.New(k.Versions[0]), snapshot.ConcernsIndex, k.Concerns)
	}
	for _, k := range mesh.ManagedKinds() {
		list, err := scheme.New(k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List"))
		if err != nil {
			return nil, err
		}
		lists = append(lists, list.(client.ObjectList))
	}
	for _, i := range snapshot.Indexes() {
		if k, ok := mesh.KindNamed(i.Kind.Kind); ok {
			b = b.WithIndex(k.New().(client.Object), i.Field, i.Keys)
		}
	}
	for _, list := range lists {
		if err := from.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error { b = b.WithObjects(o.(client.Object)); return nil }); err != nil {
			return nil, err
		}
	}
	c := b.Build()
	return &snapshot.Reader{
		Scheme: scheme, Client: c, Optional: c,
		Dependant:        func(k schema.GroupKind) (string, facts.Tristate) { return versions[k], facts.Yes },
		Served:           func(schema.GroupVersionKind) bool { return true },
		ControlPlaneRead: func() bool { return true },
		MeshNamespace:    "istio-system", ClusterDomain: "cluster.local", Namespace: operator.Namespace,
		Network: facts.Network{PolicyEnforced: facts.No, DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}}},
	}, nil
}

// judges says whether the model of a namespace has a say in a call.
func judges(m *effective.Model, r route) bool {
	in := func(p *stage.Pod) bool { return p.Pod != nil && p.Pod.Namespace == m.Namespace }
	return in(r.from) || in(r.to)
}

// predict is the model's answer for a call: whether it passes, and why.
func predict(m *effective.Model, r route) effective.Answer {
	q := r.request()
	exit := effective.Exit{Host: r.name, Address: r.to.Address, Port: r.service}
	if r.from.Pod != nil {
		exit.From = r.from.Pod.Labels
		exit.Namespace = r.from.Pod.Namespace
	}
	if r.to.Pod == nil && r.Host != "" {
		exit.Host = r.Host
	}
	answer := effective.Answer{Passes: true}
	if r.from.Meshed && r.from.Pod.Namespace == m.Namespace {
		answer = m.Leaves(exit)
	}
	if !answer.Passes || r.to.Pod == nil || r.to.Pod.Namespace != m.Namespace {
		return answer
	}
	c := effective.Call{
		To: r.to.Pod.Labels, Port: r.port, From: effective.Caller{Address: r.from.Address},
		HTTP: r.http(), Method: q.Method, Path: q.Path, Host: q.Host, Token: claimed[r.Token],
	}
	if r.from.Pod != nil {
		c.From.Pod = effective.Pod{Namespace: r.from.Pod.Namespace, Labels: r.from.Pod.Labels}
		plaintext := m.Pass(effective.Probe{Layer: effective.ClientTransport, Exit: exit})
		if r.from.Meshed && !r.Direct && !plaintext.Passes {
			c.From.TrustDomain, c.From.Namespace, c.From.ServiceAccount = "cluster.local", r.from.Pod.Namespace, r.from.Pod.Spec.ServiceAccountName
		}
	}
	in := m.Admits(c)
	in.Unknown = in.Unknown || answer.Unknown
	if in.Passes {
		in.By = append(in.By, answer.By...)
	}
	return in
}

// said is an answer in words.
func said(a effective.Answer) string {
	text := map[bool]string{true: "passes", false: "is stopped"}[a.Passes]
	if a.Unknown {
		text = "is unknown"
	}
	var by []string
	for _, r := range a.By {
		by = append(by, r.String())
	}
	if len(by) > 0 {
		text += " by " + strings.Join(by, ", ")
	}
	return text
}
