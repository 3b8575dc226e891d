package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

// cluster is a control plane and what the demo needs to act on it.
type cluster struct {
	*controlplane.ControlPlane
	root       string
	clientset  kubernetes.Interface
	kubeconfig string
}

func startCluster(ctx context.Context, root string) (*cluster, error) {
	istio, err := controlplane.IstioCRDs(ctx)
	if err != nil {
		return nil, err
	}
	cp, err := controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{filepath.Join(root, "config/crd/bases"), istio}})
	if err != nil {
		return nil, err
	}
	c := &cluster{ControlPlane: cp, root: root}
	if c.clientset, err = kubernetes.NewForConfig(cp.Config()); err == nil {
		c.kubeconfig, err = cp.Kubeconfig("admin", "system:masters")
	}
	if err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	return c, nil
}

// kubectl runs the real kubectl as the owner of a kubeconfig.
func (c *cluster) kubectl(kubeconfig, stdin string, args ...string) (string, error) {
	return c.Kubectl([]string{"KUBECONFIG=" + kubeconfig}, stdin, args...)
}

// apply applies YAML as the administrator.
func (c *cluster) apply(yaml string) error {
	_, err := c.kubectl(c.kubeconfig, yaml, "apply", "--server-side", "-f", "-")
	return err
}

// playKubelet reports every pod as running and ready, as soon as there is one.
func (c *cluster) playKubelet(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(c.clientset, 0)
	pods := factory.Core().V1().Pods().Informer()
	const running = `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		p, ok := o.(*corev1.Pod)
		if !ok || p.Status.Phase == corev1.PodRunning {
			return
		}
		if _, err := c.clientset.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, []byte(running), metav1.PatchOptions{}, "status"); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "demo: a pod can't be reported as running:", err)
		}
	}})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return errors.New("pods can't be listed")
	}
	return nil
}

// eventually asks until the answer is as wished, for half a minute: what is
// waited for is another program's work.
func eventually(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		ok, err := ask()
		if ok && err == nil {
			return nil
		}
		last = err
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain: %s", what), last)
		}
	}
}
