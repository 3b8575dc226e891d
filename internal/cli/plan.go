package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/offline"
)

// Plan is what would become of a change, as JSON has it.
type Plan struct {
	Namespaces []NamespacePlan `json:"namespaces"`
	// Notes are what a reader has to know about how it was worked out.
	Notes []string `json:"notes,omitempty"`
	// Problems are why the change should not be made as it is; none where it can be.
	Problems []string `json:"problems,omitempty"`
}

// NamespacePlan is what would become of one namespace.
type NamespacePlan struct {
	Namespace string                `json:"namespace"`
	Profile   string                `json:"profile,omitempty"`
	Mode      string                `json:"enforcementMode,omitempty"`
	Changes   []Change              `json:"changes,omitempty"`
	Rules     []v1alpha1.RuleStatus `json:"rules,omitempty"`
	// Denied is what is let through now and would not be any more, Allowed the
	// reverse.
	Denied  []string `json:"denied,omitempty"`
	Allowed []string `json:"allowed,omitempty"`
	// Incomplete is true where there is more than was worked out.
	Incomplete bool `json:"incomplete,omitempty"`
	// Findings there would be and are not now, and Resolved those that would be over.
	Findings []v1alpha1.Finding `json:"findings,omitempty"`
	Resolved []v1alpha1.Finding `json:"resolved,omitempty"`
	// Conditions that would not be True, as TYPE is STATUS: MESSAGE.
	Conditions []string `json:"conditions,omitempty"`

	resources []runtime.Object
}

// Change is one object that would be written.
type Change struct {
	// Verb is create, change or delete.
	Verb     string `json:"verb"`
	Resource string `json:"resource"`
	// Fields that differ of one that changes.
	Fields []v1alpha1.FieldChange `json:"fields,omitempty"`
	// Rule that it is for; empty for none of its own.
	Rule string `json:"rule,omitempty"`
}

func (a *app) plan() *cobra.Command {
	var files, against []string
	var output string
	cmd := &cobra.Command{
		Use:   "plan -f FILE... [--against FOLDER...]",
		Short: "Say what profiles, baselines and exceptions would do, before they are applied",
		Long: `Say what profiles, baselines and exceptions would do, before they are applied:
the resources that the operator would write, what becomes of each rule, and what
would be denied that is let through now, and the reverse.

It is worked out against the cluster, or with --against against folders of YAML,
as in a pull request: no cluster is needed then. Files may have other objects
too, which count as applied.

It ends with status 0 where the change can be made, 2 where it would not do what
it declares or lock somebody out, and 1 where it could not be worked out.`,
		Example: `  kubectl meshsecurity plan -f profile.yaml
  kubectl meshsecurity plan -f clusters/prod --against clusters/prod-live -o markdown`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.makePlan(cmd.Context(), files, against)
			if err != nil {
				return err
			}
			if err := a.print(output, p, p.page(), func() error { return p.writeResources(cmd.OutOrStdout()) }); err != nil {
				return err
			}
			if len(p.Problems) > 0 {
				return ProblemsError{plural(len(p.Problems), "problem", "") + " in the plan"}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "Files or folders to be applied; - is standard input.")
	cmd.Flags().StringSliceVar(&against, "against", nil, "Files or folders that stand for the cluster. Empty: the cluster of the kubeconfig.")
	outputFlag(cmd, &output, "text", "json", "markdown", "yaml")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

func (a *app) makePlan(ctx context.Context, files, against []string) (Plan, error) {
	var out Plan
	docs, err := a.read(files...)
	if err != nil {
		return out, err
	}
	var objects []client.Object
	for _, d := range docs {
		objects = append(objects, d.Object)
	}
	if !slices.ContainsFunc(objects, ours) {
		return out, fmt.Errorf("%s: there is no MeshSecurityProfile, MeshSecurityBaseline or MeshSecurityException in it", strings.Join(files, ", "))
	}
	if slices.Contains(against, "-") && slices.Contains(files, "-") {
		return out, errors.New("-f and --against can't both be standard input")
	}
	s, err := a.load(ctx, against...)
	if err != nil {
		return out, err
	}
	before := map[string]look{}
	all := s.Namespaces()
	for _, ns := range all {
		if before[ns], err = s.inForce(ctx, ns); err != nil {
			return out, err
		}
	}
	for _, o := range objects {
		if err := adopt(s, o); err != nil {
			return out, err
		}
	}
	if err := s.Fill(); err != nil {
		return out, err
	}
	if mesh := before[a.settings.MeshNamespace].observed.Facts.Mesh; !s.live && !mesh.ConfigRead {
		out.Notes = append(out.Notes, "no file has the mesh configuration (ConfigMap istio of namespace "+a.settings.MeshNamespace+"): what would be denied and let through is worked out by Istio's defaults")
	}
	for _, ns := range s.Namespaces() {
		n, touched, err := s.planFor(ctx, ns, before, objects)
		if err != nil {
			return out, err
		}
		if touched {
			out.Namespaces = append(out.Namespaces, n)
			out.Problems = append(out.Problems, n.problems(s.live)...)
		}
	}
	return out, nil
}

// adopt puts an object in the place of the one that is there, as apply does:
// what the API server keeps of it stays.
func adopt(s *scene, o client.Object) error {
	kind := o.GetObjectKind().GroupVersionKind().GroupKind()
	for _, have := range s.All(kind) {
		if have.GetNamespace() != o.GetNamespace() || have.GetName() != o.GetName() {
			continue
		}
		o.SetUID(have.GetUID())
		o.SetCreationTimestamp(have.GetCreationTimestamp())
		o.SetFinalizers(have.GetFinalizers())
		o.SetGeneration(have.GetGeneration() + 1)
		switch o := o.(type) {
		case *v1alpha1.MeshSecurityProfile:
			if have, ok := have.(*v1alpha1.MeshSecurityProfile); ok {
				o.Status = have.Status
			}
		case *v1alpha1.MeshSecurityBaseline:
			// A plan is of the end, when the change has reached every namespace.
			o.Spec.Rollout = nil
		}
	}
	return s.Put(o)
}

func ours(o client.Object) bool {
	return o.GetObjectKind().GroupVersionKind().Group == v1alpha1.GroupVersion.Group
}

// planFor works out one namespace, and says whether the change touches it.
func (s *scene) planFor(ctx context.Context, ns string, before map[string]look, objects []client.Object) (NamespacePlan, bool, error) {
	out := NamespacePlan{Namespace: ns}
	first, err := s.at(ctx, ns)
	if err != nil {
		return out, false, err
	}
	was, known := before[ns]
	named := slices.ContainsFunc(objects, func(o client.Object) bool { return o.GetNamespace() == ns && ours(o) })
	if !first.declared && (!known || !was.declared) && !named {
		return out, false, nil
	}
	if err := s.settle(first); err != nil {
		return out, false, err
	}
	last, err := s.at(ctx, ns)
	if err != nil {
		return out, false, err
	}
	out.describe(first, last)
	if known {
		out.compare(was, last, s.live)
	}
	touched := named || len(out.Changes) > 0 || len(out.Denied) > 0 || len(out.Allowed) > 0 || known && !sameRules(was.result.Status.Rules, last.result.Status.Rules)
	return out, touched, nil
}

func sameRules(a, b []v1alpha1.RuleStatus) bool {
	return slices.EqualFunc(a, b, func(x, y v1alpha1.RuleStatus) bool {
		return x.Name == y.Name && x.From == y.From && x.Area == y.Area && x.Verdict == y.Verdict && x.Message == y.Message
	})
}

func (n *NamespacePlan) describe(first, last look) {
	d := first.decision
	if d.Profile != nil && last.declared {
		n.Profile = d.Profile.Name
		n.Mode = string(d.Resolution.Posture.Mode)
	}
	for _, c := range d.Changes {
		// What is there only while the plan is carried out was never seen in a cluster.
		if d.Left(c) || c.Type == drift.Unexpected && c.Live.GetUID() == "" {
			continue
		}
		n.Changes = append(n.Changes, changeOf(c))
	}
	for _, o := range d.Desired {
		n.resources = append(n.resources, o)
	}
	if !last.declared {
		return
	}
	n.Rules = last.result.Status.Rules
	for _, c := range last.result.Status.Conditions {
		if c.Status != "True" && c.Reason != v1alpha1.ReasonNotDeclared {
			n.Conditions = append(n.Conditions, fmt.Sprintf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
}

// changeOf is what has to be done about a difference.
func changeOf(c drift.Change) Change {
	out := Change{Resource: c.Resource()}
	switch {
	case c.Type == drift.Missing:
		out.Verb = "create"
	case c.Desired == nil:
		out.Verb = "delete"
	default:
		out.Verb, out.Fields = "change", c.Fields
	}
	if c.Desired != nil {
		out.Rule = c.Desired.GetAnnotations()[v1alpha1.AnnotationRule]
	}
	return out
}

// compare says what the mesh would let through, and what would be found, that
// is not so now, and the reverse.
func (n *NamespacePlan) compare(was, last look, live bool) {
	a, b := was.model(live), last.model(live)
	c := effective.Compare(a, b).Felt(b)
	n.Allowed, n.Denied = effective.Sentences(b, c.Opens, true), effective.Sentences(b, c.Shuts, false)
	n.Incomplete = c.Partial || len(c.Unknown) > 0
	n.Findings, n.Resolved = onlyIn(last.result.Findings, was.result.Findings), onlyIn(was.result.Findings, last.result.Findings)
	for i, f := range n.Findings {
		if f.Subject == v1alpha1.KindProfile+"/"+undeclared {
			n.Findings[i].Subject = "Namespace/" + n.Namespace
		}
	}
}

// onlyIn are the open findings of one list that are not open in the other.
func onlyIn(list, other []v1alpha1.Finding) []v1alpha1.Finding {
	return slices.DeleteFunc(slices.Clone(list), func(f v1alpha1.Finding) bool {
		return f.State != v1alpha1.FindingOpen || slices.ContainsFunc(other, func(g v1alpha1.Finding) bool {
			return g.Check == f.Check && g.Subject == f.Subject && g.State == v1alpha1.FindingOpen
		})
	})
}

// problems are why the change should not be made as it is. That something is not
// in files is none: not everything is kept there.
func (n *NamespacePlan) problems(live bool) []string {
	var out []string
	for _, c := range n.Conditions {
		if strings.HasPrefix(c, v1alpha1.ConditionAccepted+" ") || live && strings.HasPrefix(c, v1alpha1.ConditionResolvedRefs+" ") {
			out = append(out, n.Namespace+": "+c)
		}
	}
	for _, r := range n.Rules {
		if r.Verdict == v1alpha1.VerdictLooser || r.Verdict == v1alpha1.VerdictUnsupported || r.Verdict == v1alpha1.VerdictConflict {
			out = append(out, fmt.Sprintf("%s: %s rule %s would be %s: %s", n.Namespace, r.Area, r.Name, r.Verdict, r.Message))
		}
	}
	for _, f := range n.Findings {
		if strings.HasPrefix(f.Check, "LOCK-") && (f.Severity == v1alpha1.SeverityCritical || f.Severity == v1alpha1.SeverityHigh) {
			out = append(out, fmt.Sprintf("%s: %s %s: %s", n.Namespace, f.Check, f.Subject, f.Message))
		}
	}
	return out
}

func (p Plan) page() *page {
	out := &page{}
	if len(p.Namespaces) == 0 {
		out.say("Nothing would change.")
	}
	for _, n := range p.Namespaces {
		n.page(out)
	}
	if len(p.Notes) > 0 {
		out.heading(1, "Notes")
		out.list(p.Notes)
	}
	if len(p.Problems) > 0 {
		out.heading(1, "%s", plural(len(p.Problems), "problem", ""))
		out.list(p.Problems)
	}
	return out
}

func (n NamespacePlan) page(out *page) {
	switch {
	case n.Profile != "":
		out.heading(1, "Namespace %s: profile %s, %s", n.Namespace, n.Profile, n.Mode)
	case n.Mode != "":
		out.heading(1, "Namespace %s: by baselines alone, %s", n.Namespace, n.Mode)
	default:
		out.heading(1, "Namespace %s: nothing is declared any more", n.Namespace)
	}
	var rows [][]string
	for _, c := range n.Changes {
		rows = append(rows, []string{c.Verb, c.Resource, c.Rule})
		for _, f := range c.Fields {
			rows = append(rows, []string{"", "  " + f.Path, fmt.Sprintf("%s → %s", orNone(f.Observed), orNone(f.Desired))})
		}
	}
	if len(rows) == 0 {
		out.say("No resource would change.")
	}
	out.table([]string{"WHAT", "RESOURCE", "RULE"}, rows)
	rows = nil
	for _, r := range n.Rules {
		rows = append(rows, []string{string(r.Area), string(r.Name), string(r.Verdict), r.Message})
	}
	out.table([]string{"AREA", "RULE", "VERDICT", "WHY"}, rows)
	section := func(title string, items []string) {
		if len(items) > 0 {
			out.heading(2, "%s", title)
			out.list(items)
		}
	}
	section("Denied that is let through now", n.Denied)
	section("Let through that is denied now", n.Allowed)
	if n.Incomplete {
		out.say("There is more than could be worked out: objects whose effect is unknown, or too many of them.")
	}
	section("Would be found", findingLines(n.Findings))
	section("Would be over", findingLines(n.Resolved))
	section("Would not hold", n.Conditions)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func findingLines(findings []v1alpha1.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s %s: %s", f.Check, f.Severity, f.Subject, f.Message))
	}
	return out
}

// writeResources writes what the operator would have in the cluster, as one
// would apply it.
func (p Plan) writeResources(w io.Writer) error {
	var all []runtime.Object
	for _, n := range p.Namespaces {
		all = append(all, n.resources...)
	}
	text, err := offline.YAML(all)
	if err != nil || len(text) == 0 {
		return err
	}
	_, err = fmt.Fprintf(w, "---\n%s", text)
	return err
}
