// Package packaging_test installs what is shipped on a real API server.
package packaging_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

const namespace = "mesh-security-system"

func TestDefaultInstallation(t *testing.T) {
	ctx := t.Context()
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	noError(t, err)
	t.Cleanup(func() { noError(t, plane.Stop()) })
	kubeconfig, err := plane.Kubeconfig("installer", "system:masters")
	noError(t, err)
	kubectl := func(t *testing.T, args ...string) {
		t.Helper()
		command := exec.CommandContext(ctx, plane.KubectlPath(), append([]string{"--kubeconfig", kubeconfig}, args...)...)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	scheme := runtime.NewScheme()
	noError(t, errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)))
	admin, err := client.New(plane.Config(), client.Options{Scheme: scheme})
	noError(t, err)
	noError(t, plane.CreateNamespace(ctx, "istio-system", nil))

	kubectl(t, "apply", "-k", "../../config/default")
	kubectl(t, "apply", "-k", "../../config/default") // again, as over an earlier version
	noError(t, plane.WaitForServiceAccount(ctx, namespace, "mesh-security-operator"))

	t.Run("its Pod meets the restricted Pod Security standard", func(t *testing.T) {
		pods := &corev1.PodList{}
		noError(t, controlplane.Eventually(ctx, func() error {
			err := admin.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "mesh-security-operator"})
			if err == nil && len(pods.Items) == 0 {
				return errors.New("the Deployment has no Pod: was it refused?")
			}
			return err
		}))
		// The standard is in force, or the above would prove nothing.
		noError(t, plane.WaitForServiceAccount(ctx, namespace, "default"))
		loose := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "loose"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "loose", Image: "loose"}}},
		}
		if err := admin.Create(ctx, loose); !apierrors.IsForbidden(err) {
			t.Errorf("a Pod with no security context: want it refused, got %v", err)
		}
	})

	t.Run("its service account has the rights that it needs and none that let it take more", func(t *testing.T) {
		for _, c := range []struct {
			verb, group, resource, subresource, namespace, name string
			want                                                bool
		}{
			{verb: "list", group: "meshsecurity.io", resource: "meshsecurityprofiles", want: true},
			{verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: namespace, name: "mesh-security-operator", want: true},
			{verb: "create", group: "authentication.k8s.io", resource: "tokenreviews", want: true},
			{verb: "watch", resource: "configmaps", namespace: "istio-system", want: true},
			{verb: "watch", resource: "configmaps", namespace: "default"},
			{verb: "watch", resource: "configmaps"},
			{verb: "watch", resource: "configmaps", name: "istio-ca-root-cert", want: true},
			{verb: "get", resource: "configmaps", namespace: "default", name: "another"},
			{verb: "update", resource: "configmaps", namespace: "default", name: "istio-ca-root-cert"},
			{verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: namespace, name: "another"},
			{verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-system", name: "mesh-security-operator"},
			{verb: "get", resource: "secrets", namespace: namespace},
			{verb: "list", resource: "secrets"},
			{verb: "watch", resource: "secrets"},
			{verb: "watch", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicybindings", want: true},
			{verb: "delete", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicybindings"},
			{verb: "update", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicies"},
			{verb: "update", resource: "namespaces"},
			{verb: "create", resource: "pods"},
			{verb: "create", resource: "pods", subresource: "exec"},
			{verb: "create", resource: "serviceaccounts", subresource: "token"},
			{verb: "impersonate", resource: "users"},
			{verb: "escalate", group: "rbac.authorization.k8s.io", resource: "clusterroles"},
			{verb: "bind", group: "rbac.authorization.k8s.io", resource: "clusterroles"},
			{verb: "update", group: "meshsecurity.io", resource: "meshsecuritybaselines"},
			{verb: "create", group: "meshsecurity.io", resource: "meshsecurityexceptions"},
		} {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":mesh-security-operator",
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: c.verb, Group: c.group, Resource: c.resource, Subresource: c.subresource, Namespace: c.namespace, Name: c.name,
				},
			}}
			noError(t, admin.Create(ctx, review))
			if review.Status.Allowed != c.want {
				t.Errorf("%+v: allowed is %t", c, review.Status.Allowed)
			}
		}
	})

	t.Run("its guard lets through the account that it has", func(t *testing.T) {
		policies := &admissionv1.ValidatingAdmissionPolicyList{}
		noError(t, admin.List(ctx, policies))
		if len(policies.Items) != 3 {
			t.Errorf("%d policies", len(policies.Items))
		}
		bound := map[string]string{}
		bindings := &admissionv1.ValidatingAdmissionPolicyBindingList{}
		noError(t, admin.List(ctx, bindings, client.HasLabels{v1alpha1.LabelGuard}))
		for _, b := range bindings.Items {
			bound[b.Spec.PolicyName] = b.Labels[v1alpha1.LabelGuard]
		}
		for name, guard := range map[string]v1alpha1.Guard{"mesh-security-guard-managed": v1alpha1.GuardManaged, "mesh-security-guard-posture": v1alpha1.GuardPosture} {
			if bound[name] != string(guard) {
				t.Errorf("%s is bound as %q", name, bound[name])
			}
		}
		for _, p := range policies.Items {
			if bound[p.Name] == "" {
				continue // it guards nothing, and exempts nobody
			}
			if e := p.Spec.MatchConditions[0].Expression; !strings.Contains(e, `"system:serviceaccount:`+namespace+`:mesh-security-operator:"`) {
				t.Errorf("%s: %s", p.Name, e)
			}
		}
	})

	t.Run("it can be removed", func(t *testing.T) {
		kubectl(t, "delete", "--wait=false", "-k", "../../config/default")
		noError(t, plane.DeleteNamespace(ctx, namespace))
		noError(t, controlplane.Eventually(ctx, func() error {
			crds := &apiextensionsv1.CustomResourceDefinitionList{}
			err := admin.List(ctx, crds)
			if err == nil && len(crds.Items) > 0 {
				return fmt.Errorf("CRD %s is still there: %+v", crds.Items[0].Name, crds.Items[0].Status.Conditions)
			}
			return err
		}))
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
