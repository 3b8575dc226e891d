// Command manager runs the Mesh Security Operator.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // every way in which a kubeconfig can authenticate
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/meshsecurity/mesh-security-operator/controllers"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// version is set at link time.
var version = "dev"

type options struct {
	metricsAddr, probeAddr, pprofAddr string
	leaderElect                       bool
	leaderElectionNamespace           string
	workers                           int
	qps                               float64
	controllers.Config
	policyEnforced, clusterCIDRs, dnsNamespace, dnsLabels string
	showVersion                                           bool
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("manager", flag.ContinueOnError)
	fs.StringVar(&o.metricsAddr, "metrics-bind-address", "0", "Address that serves metrics over HTTPS to those whom the cluster authorizes, like :8443. 0 serves none.")
	fs.StringVar(&o.probeAddr, "health-probe-bind-address", "0", "Address that serves /healthz and /readyz, like :8081. 0 serves none.")
	fs.StringVar(&o.pprofAddr, "pprof-bind-address", "0", "Loopback address that serves pprof, like 127.0.0.1:6060. 0 serves none.")
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Let one of several replicas act at a time.")
	fs.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", "", "Namespace of the leader's lease. Empty: the operator's own, in a cluster.")
	fs.IntVar(&o.workers, "workers", 4, "Namespaces that are worked on at a time.")
	fs.Float64Var(&o.qps, "kube-api-qps", 200, "Requests a second to the API server, with bursts of twice as many.")
	fs.StringVar(&o.MeshNamespace, "istio-namespace", "istio-system", "Namespace of istiod and of the mesh configuration.")
	fs.StringVar(&o.Namespace, "operator-namespace", "", "The operator's own namespace, which no baseline selects. Empty: that of its service account, in a cluster.")
	fs.StringVar(&o.ClusterDomain, "cluster-domain", "cluster.local", "DNS domain of the cluster's services.")
	fs.StringVar(&o.policyEnforced, "network-policy-enforced", "", "Whether the cluster's network enforces NetworkPolicy: true or false. Empty: unknown, and nothing is reported as held by it.")
	fs.StringVar(&o.clusterCIDRs, "cluster-cidrs", strings.Join(facts.DefaultClusterCIDRs(), ","),
		"Address ranges that count as inside the cluster's network. A rule that opens a port by host name opens everything outside of them. Name your pod and service ranges to let host names resolve to other private addresses.")
	fs.StringVar(&o.dnsNamespace, "dns-namespace", "kube-system", "Namespace of the cluster's DNS.")
	fs.StringVar(&o.dnsLabels, "dns-pod-labels", "k8s-app=kube-dns", "Labels of the pods of the cluster's DNS, as KEY=VALUE,KEY=VALUE.")
	fs.BoolVar(&o.showVersion, "version", false, "Print the version and exit.")
	zapOptions := zap.Options{}
	zapOptions.BindFlags(fs)
	ctrl.RegisterFlags(fs) // --kubeconfig
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if rest := fs.Args(); len(rest) > 0 {
		return o, fmt.Errorf("unexpected arguments %q: every setting is a flag", rest)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&zapOptions)))
	o.Namespace = cmp.Or(o.Namespace, ownNamespace())
	return o, o.network()
}

// ownNamespace is that of the service account that the operator runs as; empty
// outside of a cluster.
func ownNamespace() string {
	raw, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// network checks and fills in what the flags say of the cluster's network.
func (o *options) network() error {
	if err := o.Network.Tell(o.policyEnforced, strings.Split(o.clusterCIDRs, ",")); err != nil {
		return err
	}
	o.Network.DNS = facts.DNS{Namespace: o.dnsNamespace, PodLabels: map[string]string{}}
	for l := range strings.SplitSeq(o.dnsLabels, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(l), "=")
		if !ok || k == "" {
			return fmt.Errorf("--dns-pod-labels: %q is not KEY=VALUE", l)
		}
		o.Network.DNS.PodLabels[k] = v
	}
	return nil
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(2)
	}
	if o.showVersion {
		_, _ = fmt.Fprintln(os.Stdout, version)
		return
	}
	if err := run(o); err != nil {
		ctrl.Log.Error(err, "The operator stops")
		os.Exit(1)
	}
}

func run(o options) error {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(controllers.AddToScheme(scheme))

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find a cluster: %w (set KUBECONFIG or --kubeconfig, or run in a cluster)", err)
	}
	config.QPS, config.Burst = float32(o.qps), int(2*o.qps)
	config.UserAgent = "mesh-security-operator/" + version

	metrics := metricsserver.Options{BindAddress: o.metricsAddr, SecureServing: true}
	if o.metricsAddr != "0" {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	graceful := 20 * time.Second
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(o.MeshNamespace),
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.probeAddr,
		PprofBindAddress:              o.pprofAddr,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "mesh-security-operator",
		LeaderElectionNamespace:       o.leaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &graceful,
	})
	if err != nil {
		return fmt.Errorf("set up the manager: %w", err)
	}
	o.Workers = o.workers
	ready, err := controllers.Setup(mgr, o.Config)
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("caches", func(*http.Request) error { return ready() }); err != nil {
		return err
	}
	ctrl.Log.Info("The operator starts", "version", version, "meshNamespace", o.MeshNamespace, "leaderElection", o.leaderElect)
	return mgr.Start(ctrl.SetupSignalHandler())
}
