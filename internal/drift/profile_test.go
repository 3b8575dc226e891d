package drift

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTaken(t *testing.T) {
	entry := func(manager string, op metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const (
		apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
		mode          = `{"f:spec":{"f:mutualTLS":{"f:mode":{}}}}`
		rules         = `{"f:spec":{"f:authorization":{"f:rules":{}}}}`
		annotated     = `{"f:metadata":{"f:annotations":{"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{"f:mutualTLS":{"f:mode":{}}}}`
	)
	for name, c := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    []Taken
	}{
		"an edit beside an apply": {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, mode), entry("kubectl-edit", update, rules)},
			[]Taken{{"kubectl-edit", "argocd-controller", []string{"spec.authorization.rules"}}}},
		"an edit of what was applied": {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, rules), entry("kubectl-edit", update, mode)},
			[]Taken{{"kubectl-edit", "argocd-controller", []string{"spec.mutualTLS.mode"}}}},
		"an edit beside a client's apply": {[]metav1.ManagedFieldsEntry{entry("kubectl-client-side-apply", update, annotated), entry("kubectl-edit", update, rules)},
			[]Taken{{"kubectl-edit", "kubectl-client-side-apply", []string{"spec.authorization.rules"}}}},
		"of one mind":      {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, mode), entry("kubectl-edit", update, mode)}, nil},
		"nobody applied":   {[]metav1.ManagedFieldsEntry{entry("kubectl-create", update, mode), entry("kubectl-edit", update, rules)}, nil},
		"finalizers alone": {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, mode), entry("mesh-security-operator", update, `{"f:metadata":{"f:finalizers":{}}}`)}, nil},
		"a status":         {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, mode), {Manager: "x", Subresource: "status", FieldsV1: metav1.NewFieldsV1(rules)}}, nil},
		"unreadable":       {[]metav1.ManagedFieldsEntry{entry("argocd-controller", apply, mode), entry("x", update, `{"f:`)}, nil},
	} {
		if diff := cmp.Diff(c.want, TakenOf(c.entries)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		digest := TakenDigest(c.entries)
		if diff := cmp.Diff(c.want, TakenOf(digest)); diff != "" {
			t.Errorf("%s, by the digest: %s", name, diff)
		}
		if again := TakenDigest(digest); len(again) != len(digest) {
			t.Errorf("%s: not idempotent", name)
		}
	}
}
