package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// The event of a profile's own status may have come before anybody waited for it:
// who does has to look again by itself, or drift stays until something else happens.
func TestWhoWaitsForTheCacheLooksAgainSoon(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	profile := &v1alpha1.MeshSecurityProfile{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "main", UID: "u", ResourceVersion: "100"}}
	c := fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "payments"}}, profile).
		WithIndex(&v1alpha1.MeshSecurityException{}, snapshot.ExceptionIndex, snapshot.ExceptionNamespaces).
		WithIndex(&corev1.Pod{}, snapshot.AgentIndex, snapshot.AgentRole).
		WithIndex(&apiextensionsv1.CustomResourceDefinition{}, snapshot.ConcernsIndex, snapshot.CRDConcerns).Build()
	r := &NamespaceReconciler{
		Ledger: apply.NewLedger(), Clock: time.Now, fleet: &fleet{}, echoes: newEchoes(),
		Reader: &snapshot.Reader{
			Client: c, Optional: c, Scheme: scheme,
			Served: func(schema.GroupVersionKind) bool { return false }, ControlPlaneRead: func() bool { return false },
			Dependant: func(schema.GroupKind) (string, facts.Tristate) { return "", facts.Unknown },
		},
	}
	ahead := profile.DeepCopy()
	ahead.ResourceVersion = "101"
	r.Ledger.Record("payments", apply.WrittenObject(ahead))
	got, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "payments"}})
	if err != nil || got.RequeueAfter != soon {
		t.Errorf("%+v, %v", got, err)
	}
}

// Support for a version ends without any event.
func TestANamespaceIsLookedAtWhenItsFindingsChange(t *testing.T) {
	now := time.Date(2027, 2, 28, 23, 0, 0, 0, time.UTC)
	at := now.Add(time.Hour)
	got := requeue(decide.Decision{NextFindings: &at}, apply.Outcome{}, now)
	if got.RequeueAfter != time.Hour {
		t.Errorf("%+v", got)
	}
	if got := requeue(decide.Decision{}, apply.Outcome{}, now); got.RequeueAfter != 0 {
		t.Errorf("looked at again for nothing: %+v", got)
	}
}
