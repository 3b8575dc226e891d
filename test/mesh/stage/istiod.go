package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// meshNamespace is where Istio is installed.
const meshNamespace = "istio-system"

// version that Istio's manifests are rendered for, as a user would see it.
const version = "1.31.1"

// startIstiod installs Istio as its charts do, and runs istiod as a process that
// the API server reaches by address, since no proxy serves cluster addresses here.
func (s *Stage) startIstiod(ctx context.Context) error {
	file := filepath.Join(s.Dir, "istio.yaml")
	if err := command(filepath.Join(s.Assets, "istio-manifest"), file,
		"profile=minimal", "hub=docker.io/istio", "tag="+version,
		// Envoy of its own project has none of the extensions of Istio's build.
		"values.telemetry.enabled=false",
		"values.base.validationURL=https://127.0.0.1:15017/validate",
		"values.istiodRemote.injectionURL=https://127.0.0.1:15017/inject",
	); err != nil {
		return fmt.Errorf("render Istio's manifests: %w", err)
	}
	manifest, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all, err := Documents(manifest)
	if err != nil {
		return err
	}
	var docs []string
	for _, doc := range all {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			return err
		}
		// The CRDs are there.
		if !slices.Contains([]string{"", "CustomResourceDefinition", "HorizontalPodAutoscaler"}, head.Kind) {
			docs = append(docs, doc)
		}
	}
	if err := s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + meshNamespace + "}\n"); err != nil {
		return err
	}
	if err := s.Apply(strings.Join(docs, "\n---\n")); err != nil {
		return err
	}
	kubeconfig, err := s.account(ctx, meshNamespace, "istiod")
	if err != nil {
		return err
	}
	if err := s.runIstiod(kubeconfig); err != nil {
		return err
	}
	if err := s.Eventually(ctx, "istiod to be ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://127.0.0.1:8080/ready")
		return err
	}); err != nil {
		return err
	}
	return s.istiodsPod(ctx)
}

func (s *Stage) runIstiod(kubeconfig string) error {
	cmd := exec.Command(filepath.Join(s.Assets, "pilot-discovery"), "discovery", "--kubeconfig", kubeconfig, "--ctrlz_port", "0")
	cmd.Dir = filepath.Join(s.Dir, "istiod")
	if err := os.Mkdir(cmd.Dir, 0o755); err != nil { //nolint:gosec // nothing secret
		return err
	}
	cmd.Env = []string{
		"POD_NAMESPACE=" + meshNamespace, "POD_NAME=istiod-0", "REVISION=default", "CLUSTER_ID=Kubernetes", "PILOT_CERT_PROVIDER=istiod",
		"ISTIOD_CUSTOM_HOST=127.0.0.1," + hub + ",localhost",
		"VALIDATION_WEBHOOK_CONFIG_NAME=istio-validator-istio-system", "INJECTION_WEBHOOK_CONFIG_NAME=istio-sidecar-injector",
		"PILOT_DEBOUNCE_AFTER=10ms",
		// As values.telemetry.enabled=false.
		"PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false", "PILOT_DISABLE_MX_ALPN=true",
	}
	return s.run("istiod", cmd)
}

// istiodsPod says of istiod's pod, which the deployment has, what a kubelet would.
func (s *Stage) istiodsPod(ctx context.Context) error {
	return s.Eventually(ctx, "the deployment of istiod to be available", func(ctx context.Context) error {
		var pods corev1.PodList
		if err := s.Client.List(ctx, &pods, client.InNamespace(meshNamespace), client.MatchingLabels{"app": "istiod"}); err != nil {
			return err
		}
		for i := range pods.Items {
			if err := s.runs(ctx, &pods.Items[i], hub, true); err != nil {
				return err
			}
		}
		var d appsv1.Deployment
		if err := s.Client.Get(ctx, client.ObjectKey{Namespace: meshNamespace, Name: "istiod"}, &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas == 0 {
			return errors.New("no replica is available")
		}
		return nil
	})
}

// get is the body of an answer that says 200.
func get(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return body, err
}
