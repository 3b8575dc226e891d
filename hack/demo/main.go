package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/standin"
)

func main() {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv("DEMO") == "once")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: FAILED:", err)
		os.Exit(1)
	}
}

// namespace is the operator's own.
const namespace = `
apiVersion: v1
kind: Namespace
metadata: {name: mesh-security-system}
`

// mallory may edit the mesh's policies of one namespace, as many a developer may.
const mallory = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: mesh-editor, namespace: payments}
rules:
- {apiGroups: [security.istio.io], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: mallory, namespace: payments}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: mesh-editor}
subjects: [{kind: User, name: mallory, apiGroup: rbac.authorization.k8s.io}]
`

func run(ctx context.Context, once bool) (err error) {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("\n=== [%5.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	root, err := operator.Root()
	if err != nil {
		return err
	}

	say("Starting a control plane on loopback: etcd, kube-apiserver, kube-controller-manager")
	c, err := startCluster(ctx, root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()

	say("Installing the operator's account and rights, and what stands for Istio")
	if err := c.apply(standin.Istio + "---" + standin.Injector + "---" + namespace); err != nil {
		return err
	}
	for _, dir := range []string{"config/rbac", "config/istio"} {
		if _, err := c.kubectl(c.kubeconfig, "", "apply", "--server-side", "-k", filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	// Its watch has to end before the API server does.
	kubelet, endKubelet := context.WithCancel(ctx)
	defer endKubelet()
	if err := c.playKubelet(kubelet); err != nil {
		return err
	}

	say("Starting the operator as %s", operator.User)
	op, err := startOperator(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, op.Stop()) }()

	if err := shop(ctx, c, op, say); err != nil {
		return fmt.Errorf("%w\n\nthe operator's log:\n%s", err, tail(op.Log(), 30))
	}
	if once {
		say("Done")
		return nil
	}
	say("The demo stays up until Ctrl-C. In another terminal:")
	fmt.Printf(`
  export KUBECONFIG=%s
  alias kubectl=%s

  kubectl get msp -A -o wide
  kubectl -n payments edit peerauthentication msp-mtls      # it comes back
  kubectl -n payments describe msp payments                 # and tells who did it
  kubectl -n batch patch msp batch --type=merge -p '{"spec":{"enforcementMode":"Enforce"}}'
  kubectl explain msp.spec.egress
`, c.kubeconfig, c.KubectlPath())
	<-ctx.Done()
	return nil
}

func startOperator(ctx context.Context, c *cluster) (*operator.Process, error) {
	binary, err := operator.Build(ctx, c.Dir())
	if err != nil {
		return nil, err
	}
	config, err := c.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(c.Dir(), "operator.kubeconfig")
	if err := operator.WriteKubeconfig(config, kubeconfig); err != nil {
		return nil, err
	}
	// Nothing enforces a NetworkPolicy here: the demo supposes a network that does.
	return operator.Start(binary, kubeconfig, filepath.Join(c.Dir(), "operator.log"), "--network-policy-enforced=true")
}

// shop is the story itself.
func shop(ctx context.Context, c *cluster, op *operator.Process, say func(string, ...any)) error {
	show := func(kubeconfig string, args ...string) error {
		fmt.Printf("\n$ kubectl %s\n", strings.Join(args, " "))
		out, err := c.kubectl(kubeconfig, "", args...)
		fmt.Print(out)
		return err
	}
	say("A small shop: three namespaces, six deployments with sidecars")
	if _, err := c.kubectl(c.kubeconfig, "", "apply", "--server-side", "-f", filepath.Join(c.root, "config/samples/shop.yaml")); err != nil {
		return err
	}
	for _, ns := range []string{"shop", "payments", "batch"} {
		if _, err := c.kubectl(c.kubeconfig, "", "-n", ns, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"); err != nil {
			return err
		}
	}

	say("The shop's posture is declared")
	declared := time.Now()
	if err := show(c.kubeconfig, "apply", "-f", filepath.Join(c.root, "config/samples/profiles.yaml")); err != nil {
		return err
	}
	if _, err := c.kubectl(c.kubeconfig, "", "wait", "--for=condition=Ready", "msp", "--all", "-A", "--timeout=30s"); err != nil {
		return err
	}
	say("Ready %d ms after it was declared", time.Since(declared).Milliseconds())
	if err := show(c.kubeconfig, "get", "msp", "-A"); err != nil {
		return err
	}
	if err := show(c.kubeconfig, "-n", "payments", "get", "peerauthentications,authorizationpolicies,sidecars.networking.istio.io,serviceentries,telemetries,networkpolicies"); err != nil {
		return err
	}
	if err := show(c.kubeconfig, "-n", "payments", "describe", "msp", "payments"); err != nil {
		return err
	}
	if err := tamper(ctx, c, say, show); err != nil {
		return err
	}
	if err := fleet(ctx, c, say, show); err != nil {
		return err
	}
	mib, err := op.ResidentMiB()
	if err != nil {
		return err
	}
	say("The operator holds %d MiB of memory", mib)
	if mib > 80 {
		return fmt.Errorf("the operator holds %d MiB, more than 80", mib)
	}
	return nil
}

// tamper changes managed objects as another user and waits until they are healed.
func tamper(ctx context.Context, c *cluster, say func(string, ...any), show func(string, ...string) error) error {
	if err := c.apply(mallory); err != nil {
		return err
	}
	user, err := c.Kubeconfig("mallory")
	if err != nil {
		return err
	}
	say("Mallory, who may edit the mesh's policies, opens the namespace")
	for _, args := range [][]string{
		{"patch", "peerauthentication", "msp-mtls", "--type=merge", "-p", `{"spec":{"mtls":{"mode":"PERMISSIVE"}}}`},
		{"patch", "authorizationpolicy", "msp-default-deny", "--type=merge", "-p", `{"spec":{"rules":[{}]}}`},
		{"delete", "authorizationpolicy", "msp-checkout-charges"},
	} {
		if err := show(user, append([]string{"-n", "payments"}, args...)...); err != nil {
			return err
		}
	}
	healed := func(what, want string, args ...string) error {
		return eventually(ctx, what, func() (bool, error) {
			out, err := c.kubectl(c.kubeconfig, "", append([]string{"-n", "payments", "get"}, args...)...)
			return out == want, err
		})
	}
	if err := errors.Join(
		healed("mutual TLS is strict again", "STRICT", "peerauthentication", "msp-mtls", "-o", "jsonpath={.spec.mtls.mode}"),
		healed("the default is to deny again", "{}", "authorizationpolicy", "msp-default-deny", "-o", "jsonpath={.spec}"),
		healed("the deleted rule is back", "msp-checkout-charges", "authorizationpolicy", "msp-checkout-charges", "-o", "jsonpath={.metadata.name}"),
		healed("three changes are on record", strings.TrimSpace(strings.Repeat(" Corrected", 3)), "msp", "payments", "-o", "jsonpath={.status.drift[*].resolution}"),
	); err != nil {
		return err
	}
	say("Found, attributed and healed")
	const template = `{{range .status.drift}}{{.detectedAt}}  {{.resource}} {{.type}} by {{.actor}}: {{.effect}}, {{.resolution}}{{range .fields}}
    {{.path}}: {{with .observed}}{{.}}{{else}}(absent){{end}} instead of {{with .desired}}{{.}}{{else}}(absent){{end}}{{end}}
{{end}}`
	out, err := c.kubectl(c.kubeconfig, "", "-n", "payments", "get", "msp", "payments", "-o", "go-template="+template)
	if err != nil {
		return err
	}
	fmt.Print(out)
	if !strings.Contains(out, "by kubectl-patch: Weakens, Corrected") {
		return errors.New("the record does not say who did it")
	}
	return show(c.kubeconfig, "get", "msp", "-A")
}

// fleet puts a baseline over the shop: one profile falls short of it, and a
// namespace without a profile gets its floor.
func fleet(ctx context.Context, c *cluster, say func(string, ...any), show func(string, ...string) error) error {
	sample := func(name string) string { return filepath.Join(c.root, "config/samples", name+".yaml") }
	say("The security team puts a baseline over production")
	if err := c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: tools, labels: {env: prod, istio-injection: enabled}}}"); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"label", "namespace", "shop", "payments", "env=prod"},
		{"apply", "-f", sample("baseline")},
		{"patch", "msb", "production", "--type=merge", "-p", `{"spec":{"namespacesWithoutProfile":"Enforce"}}`},
		{"-n", "payments", "wait", `--for=jsonpath={.status.conditions[?(@.type=="Accepted")].reason}=MandateViolated`, "msp/payments", "--timeout=30s"},
		{"-n", "tools", "wait", "--for=create", "authorizationpolicy/msp-default-deny", "--timeout=30s"},
		{"-n", "payments", "get", "msp", "payments", "-o", `jsonpath={.status.attention[0]}{"\n"}`},
		{"-n", "tools", "get", "peerauthentications,authorizationpolicies,networkpolicies"},
	} {
		if err := show(c.kubeconfig, args...); err != nil {
			return err
		}
	}
	say("What it refuses to payments is let through for a time, by an exception")
	if err := show(c.kubeconfig, "apply", "-f", sample("exception")); err != nil {
		return err
	}
	if err := eventually(ctx, "payments is Ready", func() (bool, error) {
		out, err := c.kubectl(c.kubeconfig, "", "-n", "payments", "get", "msp", "payments", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		return out == "True", err
	}); err != nil {
		return err
	}
	if err := eventually(ctx, "the baseline has counted three namespaces", func() (bool, error) {
		out, err := c.kubectl(c.kubeconfig, "", "get", "msb", "production", "-o", "jsonpath={.status.namespaces.selected} {.status.namespaces.inSync}")
		return out == "3 3", err
	}); err != nil {
		return err
	}
	if _, err := c.kubectl(c.kubeconfig, "", "wait", "--for=condition=Active", "mse/archive-range", "--timeout=30s"); err != nil {
		return err
	}
	return show(c.kubeconfig, "get", "msb,mse")
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
