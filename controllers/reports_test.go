package controllers

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
)

// A report is written when its content changes or is changed, and at no other time.
func TestReportsAreWrittenOnce(t *testing.T) {
	kind := report.DocumentKinds()[0]
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(kind.GVK, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(kind.GVK.GroupVersion().WithKind("ReportList"), &unstructured.UnstructuredList{})
	metav1.AddToGroupVersion(scheme, kind.GVK.GroupVersion())
	writes := 0
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			writes++
			o.SetGeneration(1)
			return w.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			writes++
			o.SetGeneration(o.GetGeneration() + 1)
			return w.Update(ctx, o, opts...)
		},
	}).Build()
	now := time.Unix(1_800_000_000, 0)
	fresh := func() *reports {
		return &reports{cache: c, client: c, of: map[string]reported{}, clock: func() time.Time { return now }, kinds: report.DocumentKinds(),
			served: func(k report.DocumentKind) bool { return k.GVK == kind.GVK }}
	}
	r := fresh()
	found := []v1alpha1.Finding{{Check: "ENR-001", Severity: v1alpha1.SeverityHigh, State: v1alpha1.FindingOpen, Subject: "Pod/a", Message: "m"}}
	write := func(want int, why string, findings ...v1alpha1.Finding) {
		t.Helper()
		before := writes
		if _, err := r.write(t.Context(), metav1.ObjectMeta{Namespace: "pay"}, findings); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		if got := writes - before; got != want {
			t.Errorf("%s: %d writes, want %d", why, got, want)
		}
	}
	live := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind.GVK)
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "pay", Name: report.DocumentName}, u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	write(1, "there is none")
	write(0, "nothing changed")
	write(1, "something was found", found...)
	write(0, "nothing changed", found...)
	r = fresh()
	write(0, "the operator was restarted", found...)
	u := live()
	u.SetGeneration(u.GetGeneration() + 1)
	if err := unstructured.SetNestedField(u.Object, int64(0), "summary", "fail"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	write(1, "somebody changed it", found...)
	write(0, "nothing changed", found...)
	if err := c.Delete(t.Context(), live()); err != nil {
		t.Fatal(err)
	}
	write(1, "somebody deleted it", found...)
	if err := r.remove(t.Context(), "pay"); err != nil {
		t.Fatal(err)
	}
	write(1, "it was removed, and is needed again", found...)
}
