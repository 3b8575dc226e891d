package corpus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
)

// Finding is one of the audit.
type Finding struct {
	Check     string `json:"check"`
	Severity  string `json:"severity"`
	State     string `json:"state"`
	Namespace string `json:"namespace,omitempty"`
	// Subject is KIND/NAME, or KIND/NAMESPACE/NAME of an object of another namespace.
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// Message is one of istioctl analyze.
type Message struct {
	Code  string `json:"code"`
	Level string `json:"level"`
	// Namespace of the subject; empty for one of the whole cluster.
	Namespace string `json:"namespace,omitempty"`
	// Subject is KIND/NAME; empty where istioctl names none.
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
}

// Cluster is a situation, and what both say of it.
type Cluster struct {
	// Name of the folder, and what its first line says is wrong.
	Name, Wrong string
	Findings    []Finding
	Messages    []Message
}

// Good says whether nothing is wrong there.
func (c Cluster) Good() bool { return strings.HasPrefix(c.Name, "good-") }

// Seen says whether somebody sees something. What the audit can't tell is not seen.
func (c Cluster) Seen() bool {
	return len(c.Messages) > 0 || slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.State != string(v1alpha1.FindingUnknown) })
}

// Who sees it.
type Who string

// The answers.
const (
	Both         Who = "both"
	OnlyOurs     Who = "only we"
	OnlyIstioctl Who = "only istioctl"
	// Untold is what the audit says that it can't tell: that is not to see it.
	Untold Who = "we can't tell"
)

// Row is one thing that at least one of the two says of a cluster.
type Row struct {
	Who Who
	// Check and Code that say it; empty for the one that does not.
	Check, Code string
	// Ours and Theirs are what it is about, each once, sorted.
	Ours, Theirs []string
	// Why the two differ; empty where both see it.
	Why string

	// reason is the key of it, where istioctl is alone.
	reason string
}

// Reasons say why one of the two is silent, or both.
type Reasons struct {
	// Istioctl has, for a code, why there is no finding where istioctl has a
	// message; "CODE KIND" is for messages about that kind.
	Istioctl map[string]string `json:"istioctl"`
	// Silent has, for a check that istioctl has a code for, why that has no
	// message where there is a finding.
	Silent map[string]string `json:"silent"`
	// Unseen has, for a cluster in which neither sees what is wrong, why.
	Unseen map[string]string `json:"unseen"`
}

// alone is the key of the reason why there is no finding where istioctl has a
// message.
func (r Reasons) alone(m Message) string {
	kind, _, _ := strings.Cut(m.Subject, "/")
	if key := m.Code + " " + kind; r.Istioctl[key] != "" {
		return key
	}
	return m.Code
}

// codes of istioctl for the same as a check.
func codes(c audit.Check) []string {
	return slices.DeleteFunc(slices.Clone(c.Aliases), func(a string) bool { return !strings.HasPrefix(a, "IST") })
}

// Compare pairs what both say of a cluster: a finding and a message are the same
// where the check has the code among its aliases and both are of one namespace,
// or one of them is of the whole cluster.
func Compare(c Cluster, checks map[string]audit.Check, reasons Reasons) []Row {
	type pair struct{ check, code, why string }
	rows := map[pair]*Row{}
	at := func(p pair) *Row {
		if rows[p] == nil {
			rows[p] = &Row{Check: p.check, Code: p.code}
		}
		return rows[p]
	}
	matched := make([]bool, len(c.Messages))
	for _, f := range c.Findings {
		if f.State == string(v1alpha1.FindingUnknown) {
			r := at(pair{f.Check, "", string(Untold)})
			r.Who, r.Ours, r.Why = Untold, append(r.Ours, f.about()), "unknown is no pass: the finding says what can't be told"
			continue
		}
		found := false
		for i, m := range c.Messages {
			if slices.Contains(codes(checks[f.Check]), m.Code) && (f.Namespace == m.Namespace || f.Namespace == "" || m.Namespace == "") {
				r := at(pair{f.Check, m.Code, ""})
				r.Who, r.Ours, r.Theirs = Both, append(r.Ours, f.about()), append(r.Theirs, m.about())
				matched[i], found = true, true
			}
		}
		if !found {
			r := at(pair{f.Check, "", ""})
			r.Who, r.Ours, r.Why = OnlyOurs, append(r.Ours, f.about()), whySilent(checks[f.Check], reasons)
		}
	}
	for i, m := range c.Messages {
		if !matched[i] {
			key := reasons.alone(m)
			r := at(pair{"", m.Code, key})
			r.Who, r.Theirs, r.Why = OnlyIstioctl, append(r.Theirs, m.about()), reasons.Istioctl[key]
			r.reason = key
		}
	}
	var out []Row
	for _, r := range rows {
		r.Ours, r.Theirs = once(r.Ours), once(r.Theirs)
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(order(a.Who), order(b.Who)), cmp.Compare(a.Check, b.Check), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Why, b.Why))
	})
	return out
}

func order(w Who) int { return slices.Index([]Who{Both, OnlyOurs, Untold, OnlyIstioctl}, w) }

func once(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// whySilent says why istioctl has no message where there is a finding.
func whySilent(c audit.Check, reasons Reasons) string {
	of := codes(c)
	if len(of) == 0 {
		return "istioctl has no analyzer for this"
	}
	why := reasons.Silent[c.ID]
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s is silent: %s", strings.Join(of, ", "), why)
}

func (f Finding) about() string {
	if f.State != "" && f.State != string(v1alpha1.FindingOpen) {
		return fmt.Sprintf("%s (%s)", about(f.Namespace, f.Subject), strings.ToLower(f.State))
	}
	return about(f.Namespace, f.Subject)
}

func (m Message) about() string { return about(m.Namespace, m.Subject) }

// about is a subject, and the namespace that it was looked at in.
func about(namespace, subject string) string {
	switch {
	case subject == "":
		return "the cluster"
	case namespace == "" || subject == "Namespace/"+namespace:
		return subject
	}
	return subject + " in " + namespace
}
