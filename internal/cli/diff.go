package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) diff() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "diff [FOLDER...]",
		Short: "Show where the cluster is not as the profiles have it",
		Long: `Show where the cluster is not as the profiles have it: what the operator would
write now. Where it runs, there is nothing but what drift.policy Report leaves,
or what it could not write.

It ends with status 0 where there is no difference, and with 2 where there is one.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			s, err := a.load(cmd.Context(), paths...)
			if err != nil {
				return err
			}
			namespaces, err := a.namespaces(s)
			if err != nil {
				return err
			}
			var p Plan
			n := 0
			for _, ns := range namespaces {
				l, err := s.at(cmd.Context(), ns)
				if err != nil {
					return err
				}
				if !l.declared {
					continue
				}
				diff := differences(l)
				if len(diff.Changes) > 0 {
					p.Namespaces = append(p.Namespaces, diff)
					n += len(diff.Changes)
				}
			}
			if err := a.print(output, p, diffPage(p), func() error { return p.writeResources(a.Out) }); err != nil {
				return err
			}
			if n > 0 {
				return ProblemsError{fmt.Sprintf("%s not as the profiles have it", plural(n, "object is", "objects are"))}
			}
			return nil
		},
	}
	a.namespaceFlag(cmd)
	outputFlag(cmd, &output, "text", "json", "markdown", "yaml")
	return cmd
}

// differences are what is not as desired, whether or not it is to be undone.
func differences(l look) NamespacePlan {
	n := NamespacePlan{Namespace: l.namespace}
	if l.decision.Profile == nil {
		return n
	}
	n.Profile, n.Mode = l.decision.Profile.Name, string(l.decision.Resolution.Posture.Mode)
	for _, c := range l.decision.Changes {
		n.Changes = append(n.Changes, changeOf(c))
		if c.Desired != nil {
			n.resources = append(n.resources, c.Desired)
		}
	}
	return n
}

func diffPage(p Plan) *page {
	out := &page{}
	if len(p.Namespaces) == 0 {
		out.say("Everything is as the profiles have it.")
	}
	for _, n := range p.Namespaces {
		n.page(out)
	}
	return out
}
