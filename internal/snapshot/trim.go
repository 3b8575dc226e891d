package snapshot

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Trim functions are transforms of the cache: they keep what the reader
// uses and drop the rest, since a pod is 8 KB whole and a quarter of it so.

func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels,
	}
}

// TrimPod keeps what PodFacts reads.
func TrimPod(in any) (any, error) {
	p, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	out := &corev1.Pod{TypeMeta: p.TypeMeta, ObjectMeta: trimMeta(p.ObjectMeta)}
	for k, v := range p.Annotations {
		if strings.Contains(k, "istio.io/") {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = v
		}
	}
	// A status annotation of the injector holds a JSON document that nobody here reads.
	delete(out.Annotations, "sidecar.istio.io/status")
	if ref := metav1.GetControllerOf(p); ref != nil {
		out.OwnerReferences = []metav1.OwnerReference{*ref}
	}
	out.Spec.ServiceAccountName = p.Spec.ServiceAccountName
	out.Spec.HostNetwork = p.Spec.HostNetwork
	out.Spec.InitContainers = trimContainers(p.Spec.InitContainers)
	out.Spec.Containers = trimContainers(p.Spec.Containers)
	out.Status.Phase = p.Status.Phase
	return out, nil
}

func trimContainers(in []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, c := range in {
		t := corev1.Container{Name: c.Name, Ports: c.Ports}
		if c.Name == proxyContainer {
			t.Image = c.Image
		}
		out = append(out, t)
	}
	return out
}

// TrimService keeps what ServiceFacts reads.
func TrimService(in any) (any, error) {
	s, ok := in.(*corev1.Service)
	if !ok {
		return in, nil
	}
	out := &corev1.Service{TypeMeta: s.TypeMeta, ObjectMeta: trimMeta(s.ObjectMeta)}
	out.Spec = corev1.ServiceSpec{Selector: s.Spec.Selector, Type: s.Spec.Type, Ports: s.Spec.Ports}
	return out, nil
}

// TrimNamespace keeps labels and whether the namespace is being deleted.
func TrimNamespace(in any) (any, error) {
	n, ok := in.(*corev1.Namespace)
	if !ok {
		return in, nil
	}
	out := &corev1.Namespace{TypeMeta: n.TypeMeta, ObjectMeta: trimMeta(n.ObjectMeta)}
	if v, ok := n.Annotations[linkerdInject]; ok {
		out.Annotations = map[string]string{linkerdInject: v}
	}
	return out, nil
}

// TrimMetadata keeps name and namespace of what matters by its existence alone.
func TrimMetadata(in any) (any, error) {
	m, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return in, nil
	}
	out := &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: trimMeta(m.ObjectMeta)}
	out.Labels = nil
	return out, nil
}

// TrimDeployment keeps what tells of a control plane: image and availability.
func TrimDeployment(in any) (any, error) {
	d, ok := in.(*appsv1.Deployment)
	if !ok {
		return in, nil
	}
	out := &appsv1.Deployment{TypeMeta: d.TypeMeta, ObjectMeta: trimMeta(d.ObjectMeta)}
	for _, c := range d.Spec.Template.Spec.Containers {
		out.Spec.Template.Spec.Containers = append(out.Spec.Template.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	out.Status.AvailableReplicas = d.Status.AvailableReplicas
	return out, nil
}

// TrimConfigMap drops managed fields.
func TrimConfigMap(in any) (any, error) {
	c, ok := in.(*corev1.ConfigMap)
	if !ok {
		return in, nil
	}
	return &corev1.ConfigMap{TypeMeta: c.TypeMeta, ObjectMeta: trimMeta(c.ObjectMeta), Data: c.Data}, nil
}

// TrimCRD keeps names, served versions and conditions: the schemas of Istio's
// kinds alone are a megabyte.
func TrimCRD(in any) (any, error) {
	c, ok := in.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return in, nil
	}
	out := &apiextensionsv1.CustomResourceDefinition{TypeMeta: c.TypeMeta, ObjectMeta: trimMeta(c.ObjectMeta)}
	out.Labels = nil
	out.Spec.Group, out.Spec.Names.Kind = c.Spec.Group, c.Spec.Names.Kind
	for _, v := range c.Spec.Versions {
		out.Spec.Versions = append(out.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v.Name, Served: v.Served})
	}
	for _, s := range c.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, apiextensionsv1.CustomResourceDefinitionCondition{Type: s.Type, Status: s.Status})
	}
	return out, nil
}
