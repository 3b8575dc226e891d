package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/offline"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// Environment is what the command line has around it.
type Environment struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal is true where Out is one that shows colours, and Progress where
	// Err is one.
	Terminal, Progress bool
	Now                func() time.Time
	Version            string
}

// ProblemsError is the error of a command that worked and found what it looks for:
// the process ends with status 2, as opposed to 1 for a command that failed.
type ProblemsError struct{ What string }

// Error implements error.
func (p ProblemsError) Error() string { return p.What }

// app is one run of the command line.
type app struct {
	Environment
	config    clientcmd.ConfigOverrides
	path      string // of the kubeconfig
	all       bool
	settings  offline.Settings
	enforced  string
	cidrs     []string
	dnsLabels map[string]string
}

// Command returns the command line.
func Command(env Environment) *cobra.Command {
	a := &app{Environment: env}
	root := &cobra.Command{
		Use:   "kubectl-meshsecurity",
		Short: "See, plan and prove the security posture of a service mesh",
		Long: `See, plan and prove the security posture of a service mesh.

Everything is worked out by the same code as the operator's, from what an API
server answers or from folders of YAML. Nothing is written to a cluster.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl meshsecurity"},
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       env.Version,
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	f := root.PersistentFlags()
	f.StringVar(&a.path, "kubeconfig", "", "Path of the kubeconfig; empty: KUBECONFIG, else ~/.kube/config.")
	clientcmd.BindOverrideFlags(&a.config, f, clientcmd.RecommendedConfigOverrideFlags(""))
	f.StringVar(&a.settings.MeshNamespace, "istio-namespace", "istio-system", "Namespace of istiod and of the mesh configuration.")
	f.StringVar(&a.settings.OperatorNamespace, "operator-namespace", "mesh-security-system", "The operator's own namespace, which no baseline selects.")
	f.StringVar(&a.settings.ClusterDomain, "cluster-domain", "cluster.local", "DNS domain of the cluster's services.")
	f.StringVar(&a.enforced, "network-policy-enforced", "", "Whether the cluster's network enforces NetworkPolicy: true or false. Empty: unknown, and nothing is taken to be held by it.")
	f.StringSliceVar(&a.cidrs, "cluster-cidrs", facts.DefaultClusterCIDRs(),
		"Address ranges that count as inside the cluster's network.")
	f.StringVar(&a.settings.Network.DNS.Namespace, "dns-namespace", "kube-system", "Namespace of the cluster's DNS.")
	f.StringToStringVar(&a.dnsLabels, "dns-pod-labels", map[string]string{"k8s-app": "kube-dns"}, "Labels of the pods of the cluster's DNS.")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.check() }
	root.AddCommand(a.plan(), a.audit(), a.diff(), a.status(), a.drift(), a.explain(), a.generate())
	return root
}

func (a *app) check() error {
	a.settings.Network.DNS.PodLabels = a.dnsLabels
	return a.settings.Network.Tell(a.enforced, a.cidrs)
}

// loader reads kubeconfigs as kubectl does.
func (a *app) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.path
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &a.config)
}

// scene is a cluster in memory, and the operator's way of looking at it.
type scene struct {
	*offline.Cluster
	reader *snapshot.Reader
	now    time.Time
	// live is true where it was read from an API server.
	live bool
	// docs are where the objects were read, of files.
	docs []offline.Document
}

// load reads a cluster: of folders and files where there are any, else of the
// API server that the kubeconfig names.
func (a *app) load(ctx context.Context, paths ...string) (*scene, error) {
	if len(paths) > 0 {
		docs, err := a.read(paths...)
		if err != nil {
			return nil, err
		}
		c := offline.NewCluster()
		for _, d := range docs {
			if err := c.Put(d.Object); err != nil {
				return nil, err
			}
		}
		if err := c.Fill(); err != nil {
			return nil, err
		}
		return &scene{Cluster: c, reader: c.Reader(a.settings), now: a.Now(), docs: docs}, nil
	}
	config, err := a.loader().ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster: %w; name a folder of YAML files to look at instead, or set --kubeconfig", err)
	}
	c, err := a.connect(ctx, config)
	if err != nil {
		return nil, err
	}
	return &scene{Cluster: c, reader: c.Reader(a.settings), now: a.Now(), live: true}, nil
}

func (a *app) connect(ctx context.Context, config *rest.Config) (*offline.Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100
	// A server warns of what is deprecated: that is no affair of who reads.
	config.WarningHandler = rest.NoWarnings{}
	from, err := client.New(config, client.Options{Scheme: offline.Scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	var progress func(string)
	if a.Progress {
		show := func(text string) { _, _ = io.WriteString(a.Err, "\r\033[K"+text) }
		progress = func(kind string) { show("reading " + kind) }
		defer show("")
	}
	return offline.Load(ctx, from, a.settings, progress)
}

func (a *app) read(paths ...string) ([]offline.Document, error) {
	files, err := offline.Files(paths...)
	if err != nil {
		return nil, err
	}
	return offline.Read(a.In, files...)
}

// namespaces are those that the flags ask for, sorted: all of them, the one that
// is named, else the kubeconfig's, or of files all that they have.
func (a *app) namespaces(s *scene) ([]string, error) {
	name := a.config.Context.Namespace
	if a.all || !s.live && name == "" {
		return s.Namespaces(), nil
	}
	if name == "" {
		var err error
		if name, _, err = a.loader().Namespace(); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(s.Namespaces(), name) {
		return nil, fmt.Errorf("there is no namespace %s", name)
	}
	return []string{name}, nil
}

// look is how a namespace is, and what the operator makes of it.
type look struct {
	namespace string
	observed  facts.Observed
	decision  decide.Decision
	result    status.Result
	// declared is false where neither a profile nor a baseline says anything.
	declared bool
}

var profileKind = schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: v1alpha1.KindProfile}

// undeclared is the name of the profile that stands for none.
const undeclared = "undeclared"

// at looks at a namespace. One of which nothing is declared is looked at as if a
// profile asked for an audit and nothing else.
func (s *scene) at(ctx context.Context, namespace string) (look, error) {
	out := look{namespace: namespace, declared: true}
	var err error
	if out.observed, err = s.reader.Read(ctx, namespace); err != nil {
		return out, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	if len(out.observed.Profiles) == 0 {
		out.declared = false
		p := &v1alpha1.MeshSecurityProfile{Spec: v1alpha1.MeshSecurityProfileSpec{EnforcementMode: v1alpha1.ModeAudit}}
		p.Name, p.Namespace, p.UID = undeclared, namespace, undeclared
		p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.KindProfile))
		if err := s.Put(p); err != nil {
			return out, err
		}
		out.observed, err = s.reader.Read(ctx, namespace)
		if err := errors.Join(err, s.Remove(p)); err != nil {
			return out, fmt.Errorf("namespace %s: %w", namespace, err)
		}
	}
	out.decision = decide.Make(out.observed, s.now)
	if out.decision.Profile != nil {
		out.result = status.Compute(status.Input{Profile: out.decision.Profile, Observed: out.observed, Decision: out.decision, Now: s.now})
	}
	return out, nil
}

// inForce is at where what is declared is in force: of files it is, though nobody
// keeps in Git what the operator writes.
func (s *scene) inForce(ctx context.Context, namespace string) (look, error) {
	l, err := s.at(ctx, namespace)
	if err != nil || s.live || !l.declared {
		return l, err
	}
	if err := s.settle(l); err != nil {
		return l, err
	}
	return s.at(ctx, namespace)
}

// settle writes to memory what was decided, as the operator would to the cluster.
func (s *scene) settle(l look) error {
	left := map[string]bool{}
	for _, c := range l.decision.Changes {
		if l.decision.Left(c) {
			left[c.Resource()] = true
			continue
		}
		if o, ok := c.Live.(client.Object); ok && c.Desired == nil {
			if err := s.Remove(o); err != nil {
				return err
			}
		}
	}
	for _, want := range l.decision.Desired {
		o, ok := want.DeepCopyObject().(client.Object)
		if !ok || left[o.GetObjectKind().GroupVersionKind().Kind+"/"+o.GetName()] {
			continue
		}
		if o.GetUID() == "" {
			o.SetUID(types.UID("uid-" + o.GetNamespace() + "-" + o.GetName()))
		}
		if err := s.Put(o); err != nil {
			return err
		}
	}
	if p := l.decision.Profile; p != nil && l.declared && !l.decision.Implied() {
		p = p.DeepCopy()
		p.Status = l.result.Status
		return s.Put(p)
	}
	return nil
}

// model is what the mesh makes of what is in a namespace. What no file has is
// Istio's default.
func (l look) model(live bool) *effective.Model {
	w := effective.WorldOf(l.observed, slices.Concat(l.observed.Live, l.observed.Others))
	w.Partial = w.Partial && live
	return effective.New(w)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(many, one+"s"))
}
