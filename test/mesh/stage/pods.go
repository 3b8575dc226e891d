package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
)

// Users of the processes of a pod: the proxy's is the one whose traffic is not
// redirected.
const (
	proxyUser = 1337
	appUser   = 1000
)

// proxyContainer is what Istio's injector adds.
const proxyContainer = "istio-proxy"

// Pod is a pod that runs.
type Pod struct {
	// Name is NAMESPACE/NAME; the host outside of the cluster has no namespace.
	Name    string
	Address string
	// Pod as it is in the API server; nil for the host outside.
	Pod *corev1.Pod
	// Meshed is true where it has a sidecar.
	Meshed bool
	*traffic.Client
}

// Pods are all that run, by their names.
func (s *Stage) Pods() map[string]*Pod { return s.pods }

// JoinOutside runs the host outside of the cluster.
func (s *Stage) JoinOutside(ctx context.Context, name string, ports []traffic.Port) error {
	if err := s.attach(name, outsideHost, false); err != nil {
		return err
	}
	p := &Pod{Name: name, Address: outsideHost}
	// Its ports are low ones.
	if err := s.startApp(ctx, p, name, 0, ports); err != nil {
		return err
	}
	s.pods[name] = p
	return nil
}

// Join creates a pod and does what a kubelet would: what the injector made of
// the pod says whether it gets a sidecar. It listens on the ports that its own
// containers declare, each of the kind that its name begins with.
func (s *Stage) Join(ctx context.Context, pod *corev1.Pod) error {
	if err := s.Eventually(ctx, "pod "+pod.Name+" to be accepted", func(ctx context.Context) error {
		return s.Client.Create(ctx, pod)
	}); err != nil {
		return err
	}
	p := &Pod{Name: pod.Namespace + "/" + pod.Name, Pod: pod, Address: fmt.Sprintf("%s%d", podPrefix, 10+len(s.pods))}
	var ports []traffic.Port
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if c.Name == proxyContainer {
			p.Meshed = true
			continue
		}
		for _, port := range c.Ports {
			kind, _, _ := strings.Cut(port.Name, "-")
			ports = append(ports, traffic.Port{Number: port.ContainerPort, Kind: kind})
		}
	}
	namespace := pod.Namespace + "-" + pod.Name
	if err := s.attach(namespace, p.Address, true); err != nil {
		return err
	}
	if err := s.runs(ctx, pod, p.Address, false); err != nil {
		return err
	}
	if err := s.startApp(ctx, p, namespace, appUser, ports); err != nil {
		return err
	}
	if p.Meshed {
		if err := s.startSidecar(ctx, p, namespace); err != nil {
			return err
		}
	}
	s.pods[p.Name] = p
	return errors.Join(s.runs(ctx, pod, p.Address, true), s.serve(ctx, p))
}

// serve makes the pod an endpoint of the services that select it. The controller
// manager does so only for a pod on a node, and a node that does not report is
// soon found dead.
func (s *Stage) serve(ctx context.Context, p *Pod) error {
	var services corev1.ServiceList
	if err := s.Client.List(ctx, &services, client.InNamespace(p.Pod.Namespace)); err != nil {
		return err
	}
	for i := range services.Items {
		svc := &services.Items[i]
		if !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Pod.Labels)) {
			continue
		}
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: "stage-" + svc.Name + "-" + p.Pod.Name, Labels: map[string]string{
				discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: "stage",
			}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{p.Address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Pod.Namespace, Name: p.Pod.Name, UID: p.Pod.UID},
			}},
		}
		for _, port := range svc.Spec.Ports {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.TargetPort.IntVal, Protocol: &port.Protocol})
		}
		if err := s.Client.Create(ctx, slice); err != nil {
			return err
		}
	}
	return nil
}

// runs reports a pod's status.
func (s *Stage) runs(ctx context.Context, pod *corev1.Pod, address string, ready bool) error {
	before := pod.DeepCopy()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.PodIP, pod.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()}}
	return s.Client.Status().Patch(ctx, pod, client.MergeFrom(before))
}

func (s *Stage) startApp(ctx context.Context, p *Pod, namespace string, user int, ports []traffic.Port) error {
	dir := filepath.Join(s.Dir, "app-"+namespace)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, user, user)); err != nil { //nolint:gosec // nothing secret
		return err
	}
	w := traffic.Workload{Name: p.Name, Ports: ports, Socket: filepath.Join(dir, "control")}
	variable, err := w.Environment()
	if err != nil {
		return err
	}
	if err := s.run("app-"+namespace, as(namespace, user, []string{variable}, s.bin("workload"))); err != nil {
		return err
	}
	p.Client = traffic.NewClient(w.Socket)
	return s.Eventually(ctx, p.Name+" to listen", func(context.Context) error {
		conn, err := net.Dial("unix", w.Socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// startSidecar redirects the pod's traffic and runs Istio's agent, which runs Envoy.
func (s *Stage) startSidecar(ctx context.Context, p *Pod, namespace string) error {
	dir := filepath.Join(s.Dir, "proxy-"+namespace)
	if err := s.secrets(ctx, p, dir); err != nil {
		return err
	}
	env := []string{"PATH=" + s.Assets + ":" + os.Getenv("PATH"), "TMPDIR=" + dir}
	capture := as(namespace, 0, env, s.bin("pilot-agent"), "istio-iptables", "--native-nftables",
		"-p", "15001", "-z", "15006", "-u", fmt.Sprint(proxyUser), "-g", fmt.Sprint(proxyUser), "-m", "REDIRECT",
		"-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020")
	if out, err := capture.CombinedOutput(); err != nil {
		return fmt.Errorf("redirect the traffic of %s: %w\n%s", p.Name, err, out)
	}
	env, err := s.agentEnvironment(p)
	if err != nil {
		return err
	}
	agent := as(namespace, proxyUser, env, s.bin("pilot-agent"), "proxy", "sidecar", "--domain", p.Pod.Namespace+".svc.cluster.local",
		"--proxyLogLevel", "warning", "--log_output_level", "default:info")
	agent.Dir = dir
	if err := s.run("proxy-"+namespace, agent); err != nil {
		return err
	}
	return s.Eventually(ctx, "the sidecar of "+p.Name+" to be ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+net.JoinHostPort(p.Address, "15021")+"/healthz/ready")
		return err
	})
}

// secrets are the files that a kubelet would mount into the sidecar's container.
func (s *Stage) secrets(ctx context.Context, p *Pod, dir string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.Pod.Namespace, Name: p.Pod.Spec.ServiceAccountName}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{"istio-ca"},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Pod.Name, UID: p.Pod.UID},
	}}
	if err := s.Client.SubResource("token").Create(ctx, account, token); err != nil {
		return fmt.Errorf("token of %s: %w", p.Name, err)
	}
	root := &corev1.ConfigMap{}
	if err := s.Eventually(ctx, "istiod to publish its root certificate in "+p.Pod.Namespace, func(ctx context.Context) error {
		return s.Client.Get(ctx, client.ObjectKey{Namespace: p.Pod.Namespace, Name: "istio-ca-root-cert"}, root)
	}); err != nil {
		return err
	}
	var podLabels []string
	for k, v := range p.Pod.Labels {
		podLabels = append(podLabels, fmt.Sprintf("%s=%q\n", k, v))
	}
	slices.Sort(podLabels)
	for name, text := range map[string]string{
		"var/run/secrets/tokens/istio-token":        token.Status.Token,
		"var/run/secrets/istio/root-cert.pem":       root.Data["root-cert.pem"],
		"etc/istio/pod/labels":                      strings.Join(podLabels, ""),
		"etc/istio/proxy/a-folder-for-the-proxy":    "",
		"var/lib/istio/data/a-folder-for-the-agent": "",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil { //nolint:gosec // the proxy's own
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, proxyUser, proxyUser))
	})
}

func (s *Stage) agentEnvironment(p *Pod) ([]string, error) {
	config, err := json.Marshal(map[string]any{
		"discoveryAddress": hub + ":15012", "binaryPath": s.bin("envoy"), "proxyBootstrapTemplatePath": s.bin("envoy_bootstrap.json"),
		"concurrency": 1,
		// Connections of an earlier configuration end soon, which Settle waits for.
		"drainDuration": "1s",
		// What tells a denied connection from one that failed.
		"proxyStatsMatcher": map[string]any{"inclusionRegexps": []string{".*"}},
	})
	if err != nil {
		return nil, err
	}
	ports, err := podPorts(p.Pod)
	if err != nil {
		return nil, err
	}
	return []string{
		"POD_NAME=" + p.Pod.Name, "POD_NAMESPACE=" + p.Pod.Namespace, "SERVICE_ACCOUNT=" + p.Pod.Spec.ServiceAccountName,
		"INSTANCE_IP=" + p.Address, "HOST_IP=" + hub, "TRUST_DOMAIN=cluster.local", "CA_ADDR=" + hub + ":15012",
		"JWT_POLICY=third-party-jwt", "PILOT_CERT_PROVIDER=istiod", "CLOUD_PLATFORM=none", "PROXY_CONFIG=" + string(config),
		"ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_INTERCEPTION_MODE=REDIRECT", "ISTIO_META_MESH_ID=cluster.local",
		"ISTIO_META_WORKLOAD_NAME=" + p.Pod.Name, "ISTIO_META_APP_CONTAINERS=app", "ISTIO_META_POD_PORTS=" + ports,
	}, nil
}

// podPorts are the declared ports, as the injector writes them.
func podPorts(pod *corev1.Pod) (string, error) {
	ports := []corev1.ContainerPort{}
	for _, c := range pod.Spec.Containers {
		if c.Name != proxyContainer {
			ports = append(ports, c.Ports...)
		}
	}
	out, err := json.Marshal(ports)
	return string(out), err
}
