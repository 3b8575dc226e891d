package corpus

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/meshsecurity/mesh-security-operator/internal/audit"
)

func TestCompare(t *testing.T) {
	checks := map[string]audit.Check{
		"A-001": {ID: "A-001", Aliases: []string{"KIA1", "IST0001", "IST0002"}},
		"B-001": {ID: "B-001", Aliases: []string{"KIA1"}},
	}
	given := Reasons{
		Istioctl: map[string]string{"IST0003": "of no interest", "IST0003 Pod": "of no interest for pods"},
		Silent:   map[string]string{"A-001": "it looks elsewhere"},
	}
	f := func(check, namespace, subject string) Finding {
		return Finding{Check: check, Namespace: namespace, Subject: subject}
	}
	m := func(code, namespace, subject string) Message {
		return Message{Code: code, Namespace: namespace, Subject: subject}
	}
	for _, c := range []struct {
		says    string
		cluster Cluster
		want    []Row
	}{
		{"nothing", Cluster{}, nil},
		{
			"by an alias, each once",
			Cluster{Findings: []Finding{f("A-001", "pay", "Pod/a"), f("A-001", "pay", "Pod/b")}, Messages: []Message{m("IST0001", "pay", "Pod/a")}},
			[]Row{{Who: Both, Check: "A-001", Code: "IST0001", Ours: []string{"Pod/a in pay", "Pod/b in pay"}, Theirs: []string{"Pod/a in pay"}}},
		},
		{
			"of the whole cluster",
			Cluster{Findings: []Finding{f("A-001", "pay", "Namespace/pay")}, Messages: []Message{m("IST0002", "", "")}},
			[]Row{{Who: Both, Check: "A-001", Code: "IST0002", Ours: []string{"Namespace/pay"}, Theirs: []string{"the cluster"}}},
		},
		{
			"of different namespaces",
			Cluster{Findings: []Finding{f("A-001", "pay", "Pod/shop/a")}, Messages: []Message{m("IST0003", "shop", "Service/a"), m("IST0003", "shop", "Pod/a"), m("IST0001", "shop", "Pod/a")}},
			[]Row{
				{Who: OnlyOurs, Check: "A-001", Ours: []string{"Pod/shop/a in pay"}, Why: "IST0001, IST0002 is silent: it looks elsewhere"},
				{Who: OnlyIstioctl, Code: "IST0001", Theirs: []string{"Pod/a in shop"}},
				{Who: OnlyIstioctl, Code: "IST0003", Theirs: []string{"Service/a in shop"}, Why: "of no interest"},
				{Who: OnlyIstioctl, Code: "IST0003", Theirs: []string{"Pod/a in shop"}, Why: "of no interest for pods"},
			},
		},
		{
			"what can't be told is not seen",
			Cluster{Findings: []Finding{{Check: "A-001", Namespace: "pay", Subject: "Pod/a", State: "Unknown"}}, Messages: []Message{m("IST0001", "pay", "Pod/a")}},
			[]Row{
				{Who: Untold, Check: "A-001", Ours: []string{"Pod/a in pay (unknown)"}, Why: "unknown is no pass: the finding says what can't be told"},
				{Who: OnlyIstioctl, Code: "IST0001", Theirs: []string{"Pod/a in pay"}},
			},
		},
		{
			"Kiali's codes are none of istioctl's",
			Cluster{Findings: []Finding{f("B-001", "pay", "Pod/a")}},
			[]Row{{Who: OnlyOurs, Check: "B-001", Ours: []string{"Pod/a in pay"}, Why: "istioctl has no analyzer for this"}},
		},
	} {
		t.Run(c.says, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Compare(c.cluster, checks, given), cmpopts.IgnoreUnexported(Row{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
