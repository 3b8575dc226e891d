package snapshot

import (
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Trim is a transform of the cache: it keeps what the reader uses of an object
// and drops the rest, since a pod is 8 KB whole and a quarter of it so.
func Trim(in any) (any, error) {
	switch o := in.(type) {
	case *corev1.Pod:
		return trimPod(o), nil
	case *corev1.Service:
		return trimService(o), nil
	case *corev1.ServiceAccount:
		return &corev1.ServiceAccount{TypeMeta: o.TypeMeta, ObjectMeta: trimMeta(o.ObjectMeta), Secrets: legacyTokens(o)}, nil
	case *corev1.Namespace:
		return trimNamespace(o), nil
	case *metav1.PartialObjectMetadata:
		return trimMetadata(o), nil
	case *appsv1.Deployment:
		return trimDeployment(o), nil
	case *corev1.ConfigMap:
		return trimConfigMap(o), nil
	case *apiextensionsv1.CustomResourceDefinition:
		return trimCRD(o), nil
	case *unstructured.Unstructured:
		return trimUntyped(o), nil
	case *netv1.Ingress:
		return trimIngress(o), nil
	case *admissionv1.ValidatingWebhookConfiguration:
		return trimValidating(o), nil
	case *admissionv1.MutatingWebhookConfiguration:
		return trimMutating(o), nil
	case *batchv1.CronJob:
		return trimCronJob(o), nil
	case *rbacv1.RoleBinding:
		return &rbacv1.RoleBinding{TypeMeta: o.TypeMeta, ObjectMeta: trimMeta(o.ObjectMeta), Subjects: trimSubjects(o.Subjects), RoleRef: o.RoleRef}, nil
	case *rbacv1.ClusterRoleBinding:
		return &rbacv1.ClusterRoleBinding{TypeMeta: o.TypeMeta, ObjectMeta: trimMeta(o.ObjectMeta), Subjects: trimSubjects(o.Subjects), RoleRef: o.RoleRef}, nil
	case *rbacv1.Role:
		return &rbacv1.Role{TypeMeta: o.TypeMeta, ObjectMeta: trimMeta(o.ObjectMeta), Rules: powerful(o.Rules)}, nil
	case *rbacv1.ClusterRole:
		return &rbacv1.ClusterRole{TypeMeta: o.TypeMeta, ObjectMeta: trimMeta(o.ObjectMeta), Rules: powerful(o.Rules)}, nil
	case *networkingv1.DestinationRule:
		return trimDestinationRule(o), nil
	case *networkingv1.VirtualService:
		return trimVirtualService(o), nil
	case *networkingv1.Gateway:
		return trimGateway(o), nil
	case *v1alpha1.MeshSecurityProfile:
		o.ManagedFields = append(overridesSet(o.ManagedFields), drift.TakenDigest(o.ManagedFields)...)
	case metav1.Object:
		o.SetManagedFields(nil)
	}
	return in, nil
}

// overridesSet keeps of a profile's managedFields who set its port overrides, and when.
func overridesSet(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, e := range entries {
		if e.Subresource == "" && e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), posture.OverridesField) {
			e.FieldsV1 = metav1.NewFieldsV1("{" + posture.OverridesField + ":{}}")
			out = append(out, e)
		}
	}
	return out
}

func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels,
	}
}

func trimPod(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{TypeMeta: p.TypeMeta, ObjectMeta: trimMeta(p.ObjectMeta)}
	for k, v := range p.Annotations {
		if strings.Contains(k, "istio.io/") || strings.HasPrefix(k, scrapePrefix) {
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
	if c := p.Spec.SecurityContext; c != nil && c.RunAsUser != nil && *c.RunAsUser == proxyUser {
		out.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: c.RunAsUser}
	}
	out.Spec.InitContainers = trimContainers(p, p.Spec.InitContainers)
	out.Spec.Containers = trimContainers(p, p.Spec.Containers)
	if i := slices.IndexFunc(p.Spec.Volumes, apiToken); i >= 0 {
		out.Spec.Volumes = []corev1.Volume{bareToken}
	}
	if s := longToken(p); s > 0 {
		out.Spec.Volumes = append(out.Spec.Volumes, longTokenVolume(s))
	}
	out.Status.Phase = p.Status.Phase
	if ready(p) {
		// Whether a gateway is there is asked of its pods.
		out.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return out
}

func trimContainers(p *corev1.Pod, in []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, c := range in {
		t := corev1.Container{Name: c.Name, Ports: c.Ports}
		if slices.Contains(captureContainers, c.Name) {
			t.Args = trimCapture(c.Args)
		}
		if c.Name == proxyContainer {
			t.Image, t.RestartPolicy, t.Env = c.Image, c.RestartPolicy, ttlSetting(c.Env)
			if slices.Contains(c.Args, "router") {
				t.Args = []string{"router"}
			}
		} else {
			t.SecurityContext = trimSecurity(c.SecurityContext)
			t.LivenessProbe, t.ReadinessProbe, t.StartupProbe = trimProbe(p, c.LivenessProbe), trimProbe(p, c.ReadinessProbe), trimProbe(p, c.StartupProbe)
		}
		out = append(out, t)
	}
	return out
}

// trimSecurity keeps what lets a container reach the proxy beside it.
func trimSecurity(c *corev1.SecurityContext) *corev1.SecurityContext {
	if c == nil {
		return nil
	}
	var out corev1.SecurityContext
	if c.Privileged != nil && *c.Privileged {
		out.Privileged = c.Privileged
	}
	if c.RunAsUser != nil && *c.RunAsUser == proxyUser {
		out.RunAsUser = c.RunAsUser
	}
	if c.Capabilities != nil {
		for _, add := range c.Capabilities.Add {
			if slices.Contains(networkCapabilities, add) {
				if out.Capabilities == nil {
					out.Capabilities = &corev1.Capabilities{}
				}
				out.Capabilities.Add = append(out.Capabilities.Add, add)
			}
		}
	}
	if out.Privileged == nil && out.RunAsUser == nil && out.Capabilities == nil {
		return nil
	}
	return &out
}

func trimService(s *corev1.Service) *corev1.Service {
	out := &corev1.Service{TypeMeta: s.TypeMeta, ObjectMeta: trimMeta(s.ObjectMeta)}
	out.Spec = corev1.ServiceSpec{
		Selector: s.Spec.Selector, Type: s.Spec.Type, ExternalName: s.Spec.ExternalName, Ports: s.Spec.Ports, ExternalTrafficPolicy: s.Spec.ExternalTrafficPolicy,
		ExternalIPs: s.Spec.ExternalIPs,
	}
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		out.Spec.ClusterIP = corev1.ClusterIPNone
	}
	for k, v := range s.Annotations {
		if strings.HasPrefix(k, scrapePrefix) {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = v
		}
	}
	return out
}

func trimNamespace(n *corev1.Namespace) *corev1.Namespace {
	out := &corev1.Namespace{TypeMeta: n.TypeMeta, ObjectMeta: trimMeta(n.ObjectMeta)}
	if v, ok := n.Annotations[linkerdInject]; ok {
		out.Annotations = map[string]string{linkerdInject: v}
	}
	return out
}

func trimMetadata(m *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	out := &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: trimMeta(m.ObjectMeta)}
	out.Labels = nil
	return out
}

func trimDeployment(d *appsv1.Deployment) *appsv1.Deployment {
	out := &appsv1.Deployment{TypeMeta: d.TypeMeta, ObjectMeta: trimMeta(d.ObjectMeta)}
	out.Spec.Template.Labels, out.Spec.Template.Spec.ServiceAccountName = d.Spec.Template.Labels, d.Spec.Template.Spec.ServiceAccountName
	for _, c := range d.Spec.Template.Spec.Containers {
		out.Spec.Template.Spec.Containers = append(out.Spec.Template.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image,
			Ports: c.Ports, Args: keptArgs(c.Args),
			Env: slices.DeleteFunc(slices.Clone(c.Env), func(e corev1.EnvVar) bool { return !slices.Contains(settings, e.Name) })})
	}
	out.Status.AvailableReplicas = d.Status.AvailableReplicas
	return out
}

func trimConfigMap(c *corev1.ConfigMap) *corev1.ConfigMap {
	out := &corev1.ConfigMap{TypeMeta: c.TypeMeta, ObjectMeta: trimMeta(c.ObjectMeta), Data: c.Data}
	if c.Name == RootConfigMap {
		out.ManagedFields = timeOf(c.ManagedFields)
	}
	return out
}

func trimCRD(c *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	out := &apiextensionsv1.CustomResourceDefinition{TypeMeta: c.TypeMeta, ObjectMeta: trimMeta(c.ObjectMeta)}
	out.Labels = nil
	out.Spec.Group, out.Spec.Names.Kind = c.Spec.Group, c.Spec.Names.Kind
	if conversion(c) != nil {
		out.Spec.Conversion = c.Spec.Conversion.DeepCopy()
		out.Spec.Conversion.Webhook.ClientConfig.CABundle = nil
	}
	for _, v := range c.Spec.Versions {
		out.Spec.Versions = append(out.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v.Name, Served: v.Served})
	}
	for _, s := range c.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, apiextensionsv1.CustomResourceDefinitionCondition{Type: s.Type, Status: s.Status})
	}
	return out
}

// trimDestinationRule keeps what the rule does, and who made it.
func trimDestinationRule(d *networkingv1.DestinationRule) *networkingv1.DestinationRule {
	out := &networkingv1.DestinationRule{TypeMeta: d.TypeMeta, ObjectMeta: trimMeta(d.ObjectMeta)}
	out.ManagedFields = drift.MadeBy(d.ManagedFields)
	d.Spec.DeepCopyInto(&out.Spec)
	return out
}
