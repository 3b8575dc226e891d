package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// Audit is what was found, as JSON has it.
type Audit struct {
	Namespaces []NamespaceAudit `json:"namespaces"`
	// Cluster is what was found about the cluster as a whole, where it was looked at.
	Cluster []v1alpha1.Finding `json:"cluster,omitempty"`
	// Notes are what a reader has to know about how it was looked at.
	Notes []string `json:"notes,omitempty"`
}

// NamespaceAudit is what was found in one namespace.
type NamespaceAudit struct {
	Namespace string                  `json:"namespace"`
	Declared  bool                    `json:"declared"`
	Counts    *v1alpha1.FindingCounts `json:"counts"`
	Findings  []v1alpha1.Finding      `json:"findings,omitempty"`
}

func (a *app) audit() *cobra.Command {
	var output, least string
	cmd := &cobra.Command{
		Use:   "audit [FOLDER...]",
		Short: "Find what weakens the posture of namespaces and of the cluster",
		Long: `Find what weakens the posture of namespaces and of the cluster.

Namespaces of which nothing is declared are looked at too. What the operator has
yet to write counts as written. Every check, and what it can't see, is in
docs/reference/checks.md.

It ends with status 0 where nothing of the severity of --fail-on or above is
open, and with 2 where something is.`,
		Example: `  kubectl meshsecurity audit -A
  kubectl meshsecurity audit -n payments -o json
  kubectl meshsecurity audit clusters/prod -o sarif > audit.sarif`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			s, err := a.load(cmd.Context(), paths...)
			if err != nil {
				return err
			}
			found, err := a.makeAudit(cmd.Context(), s)
			if err != nil {
				return err
			}
			switch output {
			case "sarif":
				err = a.writeSARIF(found, s)
			default:
				err = a.print(output, found, found.page(), nil)
			}
			if err != nil {
				return err
			}
			if n := found.grave(least); n > 0 {
				return ProblemsError{fmt.Sprintf("%s of severity %s or above", plural(n, "finding", ""), least)}
			}
			return nil
		},
	}
	a.namespaceFlag(cmd)
	outputFlag(cmd, &output, "text", "json", "markdown", "sarif")
	least = "High"
	cmd.Flags().Var(choice{&least, []string{"Critical", "High", "Medium", "Low", "never"}}, "fail-on", "Least severity of an open finding that makes the command fail.")
	return cmd
}

func (a *app) namespaceFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.all, "all-namespaces", "A", false, "All namespaces, rather than one.")
}

func (a *app) makeAudit(ctx context.Context, s *scene) (Audit, error) {
	var out Audit
	namespaces, err := a.namespaces(s)
	if err != nil {
		return out, err
	}
	for _, ns := range namespaces {
		l, err := s.at(ctx, ns)
		if err != nil {
			return out, err
		}
		if !l.declared && len(l.observed.Facts.Pods) == 0 && len(l.observed.Live) == 0 {
			// Nothing runs, and nobody says anything.
			continue
		}
		n := NamespaceAudit{Namespace: ns, Declared: l.declared, Findings: l.result.Findings}
		for i, f := range n.Findings {
			if f.Subject == v1alpha1.KindProfile+"/"+undeclared {
				n.Findings[i].Subject = "Namespace/" + ns
			}
		}
		n.Counts = status.Count(n.Findings)
		out.Namespaces = append(out.Namespaces, n)
		if s.live && len(l.decision.Steps) > 0 && l.declared {
			out.Notes = append(out.Notes, fmt.Sprintf("namespace %s: the operator has yet to write %s; it was looked at as if that were done", ns, plural(len(l.decision.Steps), "object", "")))
		}
	}
	if a.all || !s.live {
		whole, err := s.reader.Cluster(ctx)
		if err != nil {
			return out, err
		}
		out.Cluster, _ = audit.ExamineCluster(&audit.ClusterScene{Cluster: whole, Now: s.now})
	}
	return out, nil
}

// all are the findings, each with its namespace; empty for the cluster's.
func (f Audit) all() map[string][]v1alpha1.Finding {
	out := map[string][]v1alpha1.Finding{}
	for _, n := range f.Namespaces {
		out[n.Namespace] = n.Findings
	}
	if len(f.Cluster) > 0 {
		out[""] = f.Cluster
	}
	return out
}

var severities = []string{"Critical", "High", "Medium", "Low"}

// grave counts the open findings of a severity or above.
func (f Audit) grave(least string) int {
	n := 0
	for _, findings := range f.all() {
		for _, x := range findings {
			if at := slices.Index(severities, string(x.Severity)); x.State == v1alpha1.FindingOpen && at <= slices.Index(severities, least) {
				n++
			}
		}
	}
	return n
}

func (f Audit) page() *page {
	out := &page{}
	var rows [][]string
	clean := 0
	for _, n := range f.Namespaces {
		c := n.Counts
		if len(n.Findings) == 0 {
			clean++
			continue
		}
		declared := "by a profile or baseline"
		if !n.Declared {
			declared = "nothing"
		}
		rows = append(rows, []string{n.Namespace, declared, number(c.Critical), number(c.High), number(c.Medium), number(c.Low), number(c.Excepted), number(c.Unknown)})
	}
	if len(f.Namespaces) > 1 {
		out.table([]string{"NAMESPACE", "DECLARED", "CRITICAL", "HIGH", "MEDIUM", "LOW", "EXCEPTED", "UNKNOWN"}, rows)
	}
	if clean > 0 {
		out.say("%s without a finding.", plural(clean, "namespace", ""))
	}
	for _, n := range f.Namespaces {
		if len(n.Findings) > 0 {
			out.heading(1, "Namespace %s", n.Namespace)
			findingsPage(out, n.Findings)
		}
	}
	if len(f.Cluster) > 0 {
		out.heading(1, "The cluster")
		findingsPage(out, f.Cluster)
	}
	if len(f.Notes) > 0 {
		out.heading(1, "Notes")
		out.list(f.Notes)
	}
	if len(f.Namespaces) == 0 {
		out.say("No namespace in which something runs or is declared.")
	}
	return out
}

func number(n int32) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// findingsPage has a table of what was found, and what to do, once a check.
func findingsPage(out *page, findings []v1alpha1.Finding) {
	var rows [][]string
	remedies := map[string]bool{}
	var todo []string
	for _, f := range findings {
		state := string(f.Severity)
		if f.State != v1alpha1.FindingOpen {
			state = string(f.State)
		}
		message := f.Message
		if f.Exception != "" {
			message += " (exception " + f.Exception + ")"
		}
		rows = append(rows, []string{f.Check, state, f.Subject, message})
		if line := f.Check + ": " + f.Remediation; f.Remediation != "" && !remedies[line] && f.State != v1alpha1.FindingExcepted {
			remedies[line] = true
			todo = append(todo, line)
		}
	}
	out.table([]string{"CHECK", "SEVERITY", "SUBJECT", "WHAT"}, rows)
	if len(todo) > 0 {
		out.heading(2, "What to do")
		out.list(todo)
	}
}
