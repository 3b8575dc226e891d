package snapshot

import (
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	netv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kept are the fields of a spec that are read of kinds without types.
var kept = []string{"selector", "namespaceSelector", "endpoints", "podMetricsEndpoints", "parentRefs", "rules", "service"}

// inList are the fields that are read of the entries of lists in it.
var inList = []string{"port", "portNumber", "targetPort", "path", "group", "kind", "namespace", "name", "backendRefs"}

func trimUntyped(u *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind()}}
	out.SetName(u.GetName())
	if ns := u.GetNamespace(); ns != "" {
		out.SetNamespace(ns)
	}
	out.SetUID(u.GetUID())
	out.SetResourceVersion(u.GetResourceVersion())
	if spec, ok := u.Object["spec"].(map[string]any); ok {
		trimmed := map[string]any{}
		for _, k := range kept {
			if v, ok := spec[k]; ok {
				trimmed[k] = trimEntries(v)
			}
		}
		out.Object["spec"] = trimmed
	}
	return out
}

// trimEntries leaves maps as they are, and of the entries of lists what is read.
func trimEntries(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make([]any, 0, len(list))
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			out = append(out, e)
			continue
		}
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(k string, _ any) bool { return !slices.Contains(inList, k) })
		if refs, ok := m["backendRefs"]; ok {
			m["backendRefs"] = trimEntries(refs)
		}
		out = append(out, m)
	}
	return out
}

func trimIngress(i *netv1.Ingress) *netv1.Ingress {
	out := &netv1.Ingress{TypeMeta: i.TypeMeta, ObjectMeta: trimMeta(i.ObjectMeta)}
	out.Labels = nil
	out.Spec.DefaultBackend = i.Spec.DefaultBackend
	for _, r := range i.Spec.Rules {
		out.Spec.Rules = append(out.Spec.Rules, netv1.IngressRule{IngressRuleValue: r.IngressRuleValue})
	}
	return out
}

// bare keeps the service that a webhook calls; the bundle of authorities is most of the rest.
func bare(c admissionv1.WebhookClientConfig) admissionv1.WebhookClientConfig {
	return admissionv1.WebhookClientConfig{Service: c.Service}
}

func trimValidating(w *admissionv1.ValidatingWebhookConfiguration) *admissionv1.ValidatingWebhookConfiguration {
	out := &admissionv1.ValidatingWebhookConfiguration{TypeMeta: w.TypeMeta, ObjectMeta: trimMeta(w.ObjectMeta)}
	mine := len(meshHookKeys(w)) > 0
	for _, h := range w.Webhooks {
		kept := admissionv1.ValidatingWebhook{Name: h.Name, ClientConfig: bare(h.ClientConfig)}
		if mine {
			kept.FailurePolicy, kept.NamespaceSelector, kept.ObjectSelector, kept.MatchConditions = h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.MatchConditions
		}
		out.Webhooks = append(out.Webhooks, kept)
	}
	return out
}

func trimMutating(w *admissionv1.MutatingWebhookConfiguration) *admissionv1.MutatingWebhookConfiguration {
	out := &admissionv1.MutatingWebhookConfiguration{TypeMeta: w.TypeMeta, ObjectMeta: trimMeta(w.ObjectMeta)}
	mine := len(meshHookKeys(w)) > 0
	for _, h := range w.Webhooks {
		kept := admissionv1.MutatingWebhook{Name: h.Name, ClientConfig: bare(h.ClientConfig)}
		if mine {
			kept.FailurePolicy, kept.NamespaceSelector, kept.ObjectSelector, kept.MatchConditions = h.FailurePolicy, h.NamespaceSelector, h.ObjectSelector, h.MatchConditions
		}
		out.Webhooks = append(out.Webhooks, kept)
	}
	return out
}

func trimCronJob(j *batchv1.CronJob) *batchv1.CronJob {
	out := &batchv1.CronJob{TypeMeta: j.TypeMeta, ObjectMeta: trimMeta(j.ObjectMeta)}
	from, to := &j.Spec.JobTemplate.Spec.Template, &out.Spec.JobTemplate.Spec.Template
	for _, key := range []string{sidecarInject, nativeSidecar} {
		if v, ok := from.Labels[key]; ok {
			to.Labels = map[string]string{key: v}
		}
		if v, ok := from.Annotations[key]; ok {
			if to.Annotations == nil {
				to.Annotations = map[string]string{}
			}
			to.Annotations[key] = v
		}
	}
	return out
}

// trimSubjects keeps who is bound. There is one API group for each kind.
func trimSubjects(subjects []rbacv1.Subject) []rbacv1.Subject {
	var out []rbacv1.Subject
	for _, s := range subjects {
		out = append(out, rbacv1.Subject{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name})
	}
	return out
}
