package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Explanation is what becomes of a call or a connection, as JSON has it.
type Explanation struct {
	What     string            `json:"what"`
	Workload string            `json:"workload"`
	Outcome  effective.Outcome `json:"outcome"`
	Why      string            `json:"why"`
	// By are the objects that decide, as KIND/NAMESPACE/NAME.
	By []string `json:"by,omitempty"`
	// Past says why the mesh does not see it.
	Past string `json:"past,omitempty"`
	// Through are hosts that it is led through.
	Through []string `json:"through,omitempty"`
	// Shadow is what would be said were dry-run policies enforced.
	Shadow string            `json:"shadow,omitempty"`
	Steps  []ExplanationStep `json:"steps"`
}

// ExplanationStep is what one layer says.
type ExplanationStep struct {
	Layer   effective.Layer   `json:"layer"`
	Outcome effective.Outcome `json:"outcome"`
	Why     string            `json:"why"`
	By      []string          `json:"by,omitempty"`
}

// question is a call that is asked about.
type question struct {
	from, to, method, path, host string
	tcp                          bool
}

func (a *app) explain() *cobra.Command {
	var q question
	var output string
	cmd := &cobra.Command{
		Use:   "explain --to WORKLOAD:PORT [--from CALLER] [FOLDER...]",
		Short: "Say whether a call gets in, and which objects decide",
		Long: `Say whether a call gets in, and which objects decide: the network, the capture of
the workload's proxy, mutual TLS, tokens and authorization, in this order.

CALLER is NAMESPACE/SERVICEACCOUNT, SERVICEACCOUNT of the workload's own
namespace, an address, or absent for a caller without an identity, which calls in
plaintext. WORKLOAD is the name of a Deployment or another controller, or of a pod.

It ends with status 0 where the call gets in, and with 2 where it does not or that
can't be told.`,
		Example: `  kubectl meshsecurity explain -n payments --from shop/checkout --to api:8080 --method POST --path /charges
  kubectl meshsecurity explain egress -n payments --from api --to api.stripe.com:443`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			s, l, err := a.one(cmd.Context(), paths)
			if err != nil {
				return err
			}
			e, err := s.call(l, q)
			if err != nil {
				return err
			}
			return a.answer(output, e)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.to, "to", "", "The workload that is called, and its container's port.")
	f.StringVar(&q.from, "from", "", "Who calls. Empty: somebody without an identity.")
	f.StringVar(&q.method, "method", "GET", "HTTP method.")
	f.StringVar(&q.path, "path", "/", "Path of the request.")
	f.StringVar(&q.host, "host", "", "Host of the request.")
	f.BoolVar(&q.tcp, "tcp", false, "The caller speaks something else than HTTP.")
	_ = cmd.MarkFlagRequired("to")
	outputFlag(cmd, &output, "text", "json", "markdown")
	cmd.AddCommand(a.explainEgress())
	return cmd
}

// one looks at the namespace that the flags name.
func (a *app) one(ctx context.Context, paths []string) (*scene, look, error) {
	s, err := a.load(ctx, paths...)
	if err != nil {
		return nil, look{}, err
	}
	namespaces, err := a.namespaces(s)
	if err != nil {
		return nil, look{}, err
	}
	if len(namespaces) != 1 {
		return nil, look{}, fmt.Errorf("name one namespace with -n, of %s", mesh.Some(namespaces))
	}
	l, err := s.inForce(ctx, namespaces[0])
	return s, l, err
}

// answer prints an explanation.
func (a *app) answer(output string, e Explanation) error {
	out := &page{}
	e.page(out)
	if err := a.print(output, e, out, nil); err != nil {
		return err
	}
	if e.Outcome != effective.Allowed {
		return ProblemsError{string(e.Outcome)}
	}
	return nil
}

func (e Explanation) page(out *page) {
	out.heading(1, "%s: %s", e.What, e.Outcome)
	out.say("%s.", e.Why)
	if len(e.Through) > 0 {
		out.say("It goes through %s.", strings.Join(e.Through, ", "))
	}
	var rows [][]string
	for _, s := range e.Steps {
		rows = append(rows, []string{string(s.Layer), string(s.Outcome), s.Why, strings.Join(s.By, ", ")})
	}
	out.table([]string{"LAYER", "OUTCOME", "WHY", "BY"}, rows)
	if e.Shadow != "" {
		out.say("With the dry-run policies enforced: %s.", e.Shadow)
	}
}

func explained(what, workload string, v effective.Verdict) Explanation {
	out := Explanation{What: what, Workload: workload, Outcome: v.Outcome, Why: v.Why, By: refs(v.By), Past: v.Past, Through: v.Through}
	for _, s := range v.Steps {
		out.Steps = append(out.Steps, ExplanationStep{s.Layer, s.Outcome, s.Why, refs(s.By)})
	}
	if v.Shadow != nil {
		out.Shadow = string(v.Shadow.Outcome) + ", " + v.Shadow.Why
	}
	return out
}

func refs(by []effective.Ref) []string {
	var out []string
	for _, r := range by {
		out = append(out, strings.Trim(r.Kind+"/"+r.Namespace+"/"+r.Name, "/"))
	}
	return out
}

// workload finds a pod of a workload by the name of its controller, or the pod of
// a name.
func (l look) workload(name string) (facts.Pod, string, error) {
	var known []string
	for _, o := range l.observed.Facts.ByOwner() {
		known = append(known, o.Owner.String())
		match := o.Owner.Name == name || strings.EqualFold(o.Owner.String(), name)
		for _, p := range o.Pods {
			if match || p.Name == name {
				return p, o.Owner.String(), nil
			}
		}
	}
	if len(known) == 0 {
		return facts.Pod{}, "", fmt.Errorf("no workload runs in namespace %s", l.namespace)
	}
	return facts.Pod{}, "", fmt.Errorf("namespace %s has no workload %s; it has %s", l.namespace, name, mesh.Some(known))
}

// call answers a question.
func (s *scene) call(l look, q question) (Explanation, error) {
	name, port, err := target(q.to)
	if err != nil {
		return Explanation{}, fmt.Errorf("--to: %w", err)
	}
	pod, owner, err := l.workload(name)
	if err != nil {
		return Explanation{}, fmt.Errorf("--to: %w", err)
	}
	from, who, err := s.caller(l, q.from)
	if err != nil {
		return Explanation{}, fmt.Errorf("--from: %w", err)
	}
	call := effective.Call{Port: port, From: from, HTTP: !q.tcp, Host: q.host}
	what := fmt.Sprintf("%s to %s:%d", who, owner, port)
	if !q.tcp {
		call.Method, call.Path = q.method, q.path
		what += " " + q.method + " " + q.path
	}
	return explained(what, owner, l.model(s.live).Explain(call, pod)), nil
}

// target is WORKLOAD:PORT.
func target(text string) (string, int32, error) {
	i := strings.LastIndex(text, ":")
	if i <= 0 {
		return "", 0, fmt.Errorf("%q is not NAME:PORT", text)
	}
	n, err := strconv.ParseUint(text[i+1:], 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is no port", text[i+1:])
	}
	return text[:i], int32(n), nil //nolint:gosec // a port
}

// caller is who calls, with what the network sees of a pod of that account.
func (s *scene) caller(l look, text string) (effective.Caller, string, error) {
	if text == "" {
		return effective.Caller{}, "somebody without an identity", nil
	}
	if isAddress(text) {
		return effective.Caller{Address: text}, text, nil
	}
	ns, name, ok := strings.Cut(text, "/")
	if !ok {
		ns, name = l.namespace, text
	}
	if ns == "" || name == "" || strings.Contains(name, "/") {
		return effective.Caller{}, "", errors.New("it must be NAMESPACE/SERVICEACCOUNT, SERVICEACCOUNT or an address")
	}
	out := effective.Caller{TrustDomain: l.observed.Facts.Mesh.TrustDomain, Namespace: ns, ServiceAccount: name, Pod: effective.Pod{Namespace: ns}}
	for _, o := range s.All(schema.GroupKind{Kind: "Namespace"}) {
		if o.GetName() == ns {
			out.Pod.NamespaceLabels = effective.Labels(o.GetLabels())
		}
	}
	for _, o := range s.All(schema.GroupKind{Kind: "Pod"}) {
		if p, is := o.(*corev1.Pod); is && p.Namespace == ns && accountOf(p) == name {
			out.Pod.Labels = effective.Labels(p.Labels)
			return out, ns + "/" + name, nil
		}
	}
	return out, ns + "/" + name + " (no pod of it runs: by labels the network can't know it)", nil
}

func accountOf(p *corev1.Pod) string {
	if p.Spec.ServiceAccountName == "" {
		return "default"
	}
	return p.Spec.ServiceAccountName
}

func (a *app) explainEgress() *cobra.Command {
	var from, to, output string
	cmd := &cobra.Command{
		Use:   "egress --from WORKLOAD [--to HOST:PORT] [FOLDER...]",
		Short: "Say where a workload may go, through what, and what evades its proxy",
		RunE: func(cmd *cobra.Command, paths []string) error {
			s, l, err := a.one(cmd.Context(), paths)
			if err != nil {
				return err
			}
			pod, owner, err := l.workload(from)
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			if to == "" {
				x := l.model(s.live).Exits(pod)
				return a.print(output, x, exitsPage(owner, x), nil)
			}
			host, port, err := target(to)
			if err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			x := effective.Exit{Host: host, Port: port}
			if at := strings.Trim(host, "[]"); isAddress(at) {
				x.Host, x.Address = "", at
			}
			return a.answer(output, explained(owner+" to "+to, owner, l.model(s.live).Reach(x, pod)))
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "The workload.")
	cmd.Flags().StringVar(&to, "to", "", "A host or an address, and a port. Empty: a summary.")
	_ = cmd.MarkFlagRequired("from")
	outputFlag(cmd, &output, "text", "json", "markdown")
	return cmd
}

// exitsPage says where a workload may go.
func exitsPage(owner string, x effective.Outbound) *page {
	out := &page{}
	out.heading(1, "%s", owner)
	var rows [][]string
	for _, d := range x.Declared {
		where, through := d.Host, "direct"
		if where == "" {
			where = d.Block
		}
		if len(d.Verdict.Through) > 0 {
			through = strings.Join(d.Verdict.Through, ", ")
		}
		rows = append(rows, []string{where, fmt.Sprint(d.Port), string(d.Verdict.Outcome), through, strings.Join(refs(d.Verdict.By), ", ")})
	}
	out.table([]string{"DESTINATION", "PORT", "OUTCOME", "THROUGH", "BY"}, rows)
	if x.Rest != nil {
		out.say("What nobody declares, at the proxy: %s, %s.", x.Rest.Outcome, x.Rest.Why)
	}
	out.say("An address outside of the cluster, at the network: %s, %s.", x.Network.Outcome, x.Network.Why)
	if len(x.Imports) > 0 {
		out.say("Its proxy knows %s.", mesh.Some(x.Imports))
	}
	if len(x.Past) > 0 {
		out.say("Past the proxy goes:")
		out.list(x.Past)
	}
	return out
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}
