package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// NamespaceStatus is how a namespace stands, as its profile's status says.
type NamespaceStatus struct {
	Namespace  string                            `json:"namespace"`
	Profile    string                            `json:"profile"`
	Effective  *v1alpha1.EffectivePosture        `json:"effective,omitempty"`
	Conditions map[string]metav1.ConditionStatus `json:"conditions"`
	Findings   *v1alpha1.FindingCounts           `json:"findings,omitempty"`
	Attention  []string                          `json:"attention,omitempty"`
}

func (a *app) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how namespaces stand, by the status of their profiles",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			profiles, err := a.profiles(cmd)
			if err != nil {
				return err
			}
			var list []NamespaceStatus
			for _, p := range profiles {
				n := NamespaceStatus{Namespace: p.Namespace, Profile: p.Name, Effective: p.Status.Effective, Conditions: map[string]metav1.ConditionStatus{}, Attention: p.Status.Attention}
				for _, c := range p.Status.Conditions {
					n.Conditions[c.Type] = c.Status
				}
				if p.Status.Summary != nil {
					n.Findings = p.Status.Summary.Findings
				}
				list = append(list, n)
			}
			return a.print(output, list, statusPage(list), nil)
		},
	}
	a.namespaceFlag(cmd)
	outputFlag(cmd, &output, "text", "json", "markdown")
	return cmd
}

// profiles are those of the namespaces that the flags ask for.
func (a *app) profiles(cmd *cobra.Command) ([]*v1alpha1.MeshSecurityProfile, error) {
	s, err := a.load(cmd.Context())
	if err != nil {
		return nil, err
	}
	namespaces, err := a.namespaces(s)
	if err != nil {
		return nil, err
	}
	var out []*v1alpha1.MeshSecurityProfile
	for _, o := range s.All(profileKind) {
		if p, ok := o.(*v1alpha1.MeshSecurityProfile); ok && slices.Contains(namespaces, p.Namespace) {
			out = append(out, p)
		}
	}
	return out, nil
}

func statusPage(list []NamespaceStatus) *page {
	out := &page{}
	if len(list) == 0 {
		out.say("No profile. kubectl meshsecurity audit looks at namespaces without one.")
		return out
	}
	var rows [][]string
	for _, n := range list {
		e := n.Effective
		if e == nil {
			e = &v1alpha1.EffectivePosture{}
		}
		of := func(c string) string { return cmp.Or(string(n.Conditions[c]), "Unknown") }
		open := "-"
		if f := n.Findings; f != nil {
			open = fmt.Sprint(f.Critical + f.High + f.Medium + f.Low)
		}
		rows = append(rows, []string{n.Namespace, n.Profile, cmp.Or(string(e.EnforcementMode), "-"), cmp.Or(e.MutualTLS, "-"), cmp.Or(e.Authorization, "-"), cmp.Or(e.Egress, "-"),
			of(v1alpha1.ConditionInSync), of(v1alpha1.ConditionCompliant), of(v1alpha1.ConditionReady), open})
	}
	out.table([]string{"NAMESPACE", "PROFILE", "MODE", "MTLS", "AUTHZ", "EGRESS", "IN-SYNC", "COMPLIANT", "READY", "FINDINGS"}, rows)
	for _, n := range list {
		if len(n.Attention) > 0 {
			out.heading(1, "Namespace %s", n.Namespace)
			out.list(n.Attention)
		}
	}
	return out
}

// NamespaceDrift are changes by others in a namespace.
type NamespaceDrift struct {
	Namespace string                 `json:"namespace"`
	InSync    metav1.ConditionStatus `json:"inSync"`
	Records   []v1alpha1.DriftRecord `json:"records"`
}

func (a *app) drift() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Show who changed what is managed, and what became of it",
		Long: `Show who changed what is managed, and what became of it: the last ten changes of
each profile, the newest first.

It ends with status 2 where a change is in the cluster still.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			profiles, err := a.profiles(cmd)
			if err != nil {
				return err
			}
			var list []NamespaceDrift
			open := 0
			for _, p := range profiles {
				n := NamespaceDrift{Namespace: p.Namespace, InSync: metav1.ConditionUnknown, Records: p.Status.Drift}
				if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInSync); c != nil {
					n.InSync = c.Status
				}
				if n.InSync == metav1.ConditionFalse {
					open++
				}
				list = append(list, n)
			}
			if err := a.print(output, list, driftPage(list, a.Now()), nil); err != nil {
				return err
			}
			if open > 0 {
				return ProblemsError{plural(open, "namespace", "") + " with open drift"}
			}
			return nil
		},
	}
	a.namespaceFlag(cmd)
	outputFlag(cmd, &output, "text", "json", "markdown")
	return cmd
}

func driftPage(list []NamespaceDrift, now time.Time) *page {
	out := &page{}
	var rows [][]string
	for _, n := range list {
		for _, r := range n.Records {
			what := r.Message
			for _, f := range r.Fields {
				if what != "" {
					what += "; "
				}
				what += fmt.Sprintf("%s %s → %s", f.Path, orNone(f.Desired), orNone(f.Observed))
			}
			rows = append(rows, []string{n.Namespace, duration.HumanDuration(now.Sub(r.DetectedAt.Time)), string(r.Type), r.Resource, r.Actor, string(r.Effect), string(r.Resolution), what})
		}
	}
	if len(rows) == 0 {
		out.say("Nobody changed what is managed.")
	}
	out.table([]string{"NAMESPACE", "AGE", "TYPE", "RESOURCE", "BY", "EFFECT", "RESOLUTION", "WHAT"}, rows)
	return out
}
