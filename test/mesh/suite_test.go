package mesh

import (
	"context"
	"os"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// outsider is the host outside of the cluster, and hosts are its names.
const outsider = "internet"

var hosts = []string{"api.example.com", "files.example.com", "evil.example.net"}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(controllers.AddToScheme(s))
	return s
}()

// shared is the one stage of all tests.
var shared = sync.OnceValues(func() (*stage.Stage, error) { return set(context.Background()) })

func theStage(t *testing.T) *stage.Stage {
	t.Helper()
	s, err := shared()
	t.Cleanup(func() {
		if t.Failed() && s != nil {
			t.Log(s.Logs(20))
		}
		if to := os.Getenv("MESH_LOGS"); to != "" && s != nil {
			if err := s.KeepLogs(to); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(ctx context.Context) (*stage.Stage, error) {
	root, err := operator.Root()
	if err != nil {
		return nil, err
	}
	s, err := stage.Set(ctx, stage.Options{
		Dir: dir, Assets: os.Getenv("MESH_ASSETS"), Operator: dir + binary, Root: root, Scheme: scheme, Hosts: hosts,
	})
	if err != nil {
		return s, err
	}
	raw, err := os.ReadFile("testdata/mesh.yaml")
	if err != nil {
		return s, err
	}
	docs, err := stage.Documents(raw)
	if err != nil {
		return s, err
	}
	var pods []*corev1.Pod
	for _, doc := range docs {
		var pod corev1.Pod
		if err := yaml.Unmarshal([]byte(doc), &pod); err != nil {
			return s, err
		}
		if pod.Kind == "Pod" {
			pods = append(pods, &pod)
		} else if err := s.Apply(doc); err != nil {
			return s, err
		}
	}
	if err := s.JoinOutside(ctx, outsider, []traffic.Port{{Number: 80, Kind: "http"}, {Number: 443, Kind: "tls"}, {Number: 5432, Kind: "tcp"}}); err != nil {
		return s, err
	}
	for _, pod := range pods {
		if err := s.Join(ctx, pod); err != nil {
			return s, err
		}
	}
	return s, nil
}
