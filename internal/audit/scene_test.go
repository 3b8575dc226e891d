package audit

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// scene is a namespace in which no check of what is in force finds anything:
// each case changes it.
func scene() *Scene {
	in := input()
	in.Facts.Namespace.Labels = map[string]string{"istio-injection": "enabled"}
	in.Facts.Mesh.Observed, in.Facts.Mesh.ConfigRead = true, true
	in.Facts.Mesh.Namespace = "istio-system"
	in.Facts.Mesh.RootNamespace, in.Facts.Mesh.TrustDomain, in.Facts.Mesh.Revision = "istio-system", "cluster.local", "default"
	in.Facts.Mesh.AutoMutualTLS = facts.Yes
	in.Facts.Mesh.AccessLog, in.Facts.Mesh.PathNormalization, in.Facts.Mesh.TrustedProxies = facts.Yes, "MERGE_SLASHES", facts.Yes
	strict := aPeer("payments", "msp-mtls", "", peerStrict, nil)
	strict.CreationTimestamp = metav1.Unix(2, 0)
	s := &Scene{Input: in, Ours: []facts.Object{defaultDeny(), strict}}
	s.closed()
	s.current()
	return s
}

func (s *Scene) add(objects ...facts.Object) { s.Others = append(s.Others, objects...) }

// examined is one case of a check: what it finds where change was made. The
// scene as it is, is the passing case of every check.
type examined struct {
	check, name string
	change      func(*Scene)
	// want are SUBJECT: a part of the message. Empty: nothing is found.
	want []string
}

// judged is what a check finds.
func judged(check string, s *Scene) []Finding {
	return slices.DeleteFunc(Examine(s), func(f Finding) bool { return f.Check != check })
}

// exam runs cases, and wants a failing one of every check of a family.
func exam(t *testing.T, family string, cases []examined) {
	t.Helper()
	failing := map[string]bool{}
	for _, c := range cases {
		t.Run(c.check+" "+c.name, func(t *testing.T) {
			changed := func() *Scene { s := scene(); c.change(s); return s }
			kept(t, kept(t, kept(t, nil, scene), changed), scene)
			got := judged(c.check, changed())
			if len(got) != len(c.want) {
				t.Fatalf("found %d, want %d: %+v", len(got), len(c.want), got)
			}
			for i, want := range c.want {
				subject, part, _ := strings.Cut(want, ": ")
				if got[i].Subject != subject || !strings.Contains(got[i].Message, part) {
					t.Errorf("found %s: %s\nwant  %s", got[i].Subject, got[i].Message, want)
				}
				if unknown := strings.HasPrefix(got[i].Message, "unknown: "); unknown != (got[i].State == v1alpha1.FindingUnknown) {
					t.Errorf("state %s of %q", got[i].State, got[i].Message)
				}
			}
		})
		failing[c.check] = failing[c.check] || len(c.want) > 0
	}
	for _, c := range Checks() {
		if c.examine != nil && Family(c.ID) == family && !failing[c.ID] {
			t.Errorf("no case in which %s finds something", c.ID)
		}
	}
}

func TestTheSceneHasNoFindings(t *testing.T) {
	for _, f := range Examine(scene()) {
		t.Errorf("%s %s: %s", f.Check, f.Subject, f.Message)
	}
}

// The registry is sorted, complete, and no row says less than another.
func TestCatalogue(t *testing.T) {
	checks := Checks()
	if !slices.IsSortedFunc(checks, func(a, b Check) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not sorted by ID")
	}
	seen := map[string]bool{}
	for _, c := range checks {
		if seen[c.ID] || c.Title == "" || c.Severity == "" || c.Remediation == "" || c.Limits == "" || len(c.References) == 0 {
			t.Errorf("%s: twice, or something is missing: %+v", c.ID, c)
		}
		if c.find != nil && (c.examine != nil || c.workload != nil || c.cluster != nil) || !c.Of(true) && !c.Of(false) {
			t.Errorf("%s has to look at what is declared, or at what is in force", c.ID)
		}
		seen[c.ID] = true
	}
}

// The model knows sidecars alone: what it says of ambient mode would be wrong.
func TestAmbientModeIsAskedOfNoModel(t *testing.T) {
	s := scene()
	s.Ours, s.Facts.Mesh.AccessLog, s.Facts.Mesh.DataPlane = nil, facts.No, v1alpha1.DataPlaneAmbient
	s.pod().Bypass = []string{"hostNetwork"}
	var got []string
	for _, f := range Examine(s) {
		got = append(got, f.Check)
	}
	if want := []string{"ENR-002"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
