package controlplane_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

func TestControlPlane(t *testing.T) {
	ctx := t.Context()
	istioCRDs, err := controlplane.IstioCRDs(ctx)
	noError(t, err)
	plane, err := controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{istioCRDs}})
	noError(t, err)
	t.Cleanup(func() { noError(t, plane.Stop()) })
	admin := newClient(t, plane.Config())

	// CreateNamespace returns only once the controller manager has been at work.
	noError(t, plane.CreateNamespace(ctx, "shop", nil))

	t.Run("users have what RBAC grants and no more", func(t *testing.T) {
		noError(t, admin.Create(ctx, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}},
		}))
		noError(t, admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects: []rbacv1.Subject{
				{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"},
				{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "default"},
			},
		}))
		alice, _, err := plane.User("alice")
		noError(t, err)
		account, err := plane.ServiceAccountConfig(ctx, "shop", "default")
		noError(t, err)
		for _, config := range []*rest.Config{alice, account} {
			user := newClient(t, config)
			root := &corev1.ConfigMap{}
			noError(t, controlplane.Eventually(ctx, func() error { // the authorizer learns of a binding by a watch
				return user.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "kube-root-ca.crt"}, root)
			}))
			if err := user.Delete(ctx, root); !apierrors.IsForbidden(err) {
				t.Errorf("deleting was not granted, yet the answer is %v", err)
			}
		}
	})

	t.Run("owned objects are collected", func(t *testing.T) {
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "owner"}}
		noError(t, admin.Create(ctx, owner))
		owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "owned", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
		}}}
		noError(t, admin.Create(ctx, owned))
		noError(t, admin.Delete(ctx, owner))
		noError(t, controlplane.Eventually(ctx, func() error {
			return gone(admin.Get(ctx, client.ObjectKeyFromObject(owned), owned))
		}))
	})

	t.Run("every request is counted once", func(t *testing.T) {
		config, _, err := plane.User("bob")
		noError(t, err)
		bob := newClient(t, config)
		const sent = 25
		for range sent {
			if err := bob.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "owner"}, &corev1.ConfigMap{}); !apierrors.IsForbidden(err) {
				t.Fatalf("want forbidden, got %v", err)
			}
		}
		requests, err := plane.Requests(ctx)
		noError(t, err)
		counted := 0
		for _, r := range requests {
			if r.User == "bob" && r.Verb == "get" && r.Resource == "configmaps" && r.Namespace == "shop" && r.Name == "owner" && r.Code == 403 {
				counted++
			}
		}
		if counted != sent {
			t.Errorf("%d requests were sent, %d counted", sent, counted)
		}
	})

	t.Run("namespaces are deleted", func(t *testing.T) {
		noError(t, plane.DeleteNamespace(ctx, "shop"))
	})
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	assets := t.TempDir()
	for _, program := range []string{"etcd", "kube-apiserver"} {
		noError(t, os.WriteFile(filepath.Join(assets, program), nil, 0o700))
	}
	_, err := controlplane.Start(t.Context(), controlplane.Options{AssetsDir: assets})
	if err == nil || !strings.Contains(err.Error(), "kube-controller-manager") || !strings.Contains(err.Error(), "hack/control-plane.sh") {
		t.Errorf("the error names neither the program nor the remedy: %v", err)
	}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	noError(t, err)
	return c
}

// gone turns the answer to a read into nil if there is no such object.
func gone(err error) error {
	if err == nil {
		return errors.New("it still exists")
	}
	return client.IgnoreNotFound(err)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
