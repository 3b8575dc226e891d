package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
)

// namespace of every case's profile.
const namespace = "payments"

// claimTimeout is how long status may take to say what it has to.
const claimTimeout = 20 * time.Second

// TestNothingDeclaredStopsNothing makes the calls of every case with no profile:
// what a case says is stopped must be stopped by what the case declares.
func TestNothingDeclaredStopsNothing(t *testing.T) {
	s := theStage(t)
	services := servicesOf(t, s)
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	tried := map[call]bool{}
	for _, c := range readCases(t) {
		for _, call := range c.calls() {
			call.Expect, call.Shadow = passes, ""
			if tried[call] {
				continue
			}
			tried[call] = true
			r, err := routeOf(s, services, call)
			if err != nil {
				t.Fatalf("%s: %s: %v", c.name, call, err)
			}
			// Endpoints come by themselves, some time after a pod is ready.
			if err := s.Eventually(t.Context(), call.String()+" to pass", func(ctx context.Context) error {
				o, err := observe(ctx, r)
				if err == nil && o.outcome != passes {
					err = errors.New(string(o.outcome))
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d calls", len(tried))
}

// TestConformance compares, for each call of each case, what became of it with
// what the case says, with the model's answer, and with what status claims.
func TestConformance(t *testing.T) {
	cases := readCases(t)
	s := theStage(t)
	services := servicesOf(t, s)
	calls := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			calls += len(c.calls())
			run(t, s, services, c)
		})
	}
	t.Logf("%d cases, %d calls", len(cases), calls)
}

func servicesOf(t *testing.T, s *stage.Stage) []corev1.Service {
	t.Helper()
	var list corev1.ServiceList
	if err := s.Client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func run(t *testing.T, s *stage.Stage, services []corev1.Service, c scenario) {
	t.Helper()
	ctx := t.Context()
	t.Cleanup(func() { withdraw(t, s, c) })
	if err := s.Configure(ctx, c.mesh); err != nil {
		t.Fatal(err)
	}
	for _, group := range c.groups(t) {
		if err := s.Apply(group); err != nil {
			t.Fatal(err)
		}
		if err := s.Eventually(ctx, "the profile to be dealt with", func(ctx context.Context) error { return dealtWith(ctx, s, group) }); err != nil {
			t.Fatal(err)
		}
		second := time.Now().Truncate(time.Second)
		if err := s.Eventually(ctx, "the next second, by which the mesh tells ages apart", func(context.Context) error {
			if !time.Now().Truncate(time.Second).After(second) {
				return errors.New("it is the same second")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if c.tamper != "" {
		if _, err := s.Kubectl(c.tamper, "apply", "--server-side", "--force-conflicts", "--field-manager=intruder", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	soon, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	if err := s.Eventually(soon, "status to say what the case says", func(ctx context.Context) error { return claim(ctx, s, c.Status) }); err != nil {
		said, _ := s.Kubectl("", "-n", namespace, "describe", "msp")
		t.Fatalf("%v\n%s", err, said)
	}
	attempt(t, s, services, c.name, c.calls())
	// What was claimed before the calls is claimed after them.
	if err := claim(ctx, s, c.Status); err != nil {
		t.Error(err)
	}
}

// attempt makes calls once every proxy has what the API server has, and compares
// what becomes of each.
func attempt(t *testing.T, s *stage.Stage, services []corev1.Service, name string, calls []call) (out []outcome) {
	t.Helper()
	ctx := t.Context()
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := modelsOf(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		r, err := routeOf(s, services, call)
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		o, err := observe(ctx, r)
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		out = append(out, o.outcome)
		if wrong := compare(t, p, m, r, o); wrong {
			if err := errors.Join(s.KeepConfiguration(ctx, r.from, name), s.KeepConfiguration(ctx, r.to, name)); err != nil {
				t.Error(err)
			}
		}
	}
	return out
}

// compare says where what became of a call is not what somebody said.
func compare(t *testing.T, p *v1alpha1.MeshSecurityProfile, m models, r route, o observed) bool {
	t.Helper()
	whole := predict(m.whole, r)
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	switch {
	case r.Expect == "" && !slices.Contains(outcomes, o.outcome):
		complain("there is no evidence of what stopped it")
	case r.Expect != "" && o.outcome != r.Expect:
		complain("the case says %s", r.Expect)
	}
	if o.shadow != r.Shadow && r.Shadow != "" {
		complain("the case says that what is only evaluated says %s, and it says %s", r.Shadow, o.shadow)
	}
	if judges(m.whole, r) && (whole.Unknown || whole.Passes != (o.outcome == passes)) {
		complain("the model is wrong")
	}
	if want := identityOf(m.whole, r); o.outcome == passes && r.http() && o.identity != want {
		complain("the workload should be told that %q calls", want)
	}
	wrong = append(wrong, dishonest(p, m, r, o)...)
	detail := fmt.Sprintf("%s: %s; the model: it %s; %+v; counted: %v", r.call, o.outcome, said(whole), o.answer, o.counted)
	if len(wrong) > 0 {
		t.Errorf("%s\n\t%s", detail, strings.Join(wrong, "\n\t"))
	} else {
		t.Log(detail)
	}
	return len(wrong) > 0
}

// identityOf is whom the workload should be told of.
func identityOf(m *effective.Model, r route) string {
	if r.from.Pod == nil || !r.from.Meshed || r.Direct || r.to.Pod == nil || !r.to.Meshed {
		return ""
	}
	if r.to.Pod.Namespace == m.Namespace {
		if mode, _ := m.MutualTLS(r.to.Pod.Labels, r.port); mode == "DISABLE" {
			return ""
		}
	}
	return "spiffe://cluster.local/ns/" + r.from.Pod.Namespace + "/sa/" + r.from.Pod.Spec.ServiceAccountName
}

// areas are the conditions that speak of what objects of a kind stop.
var areas = map[string]string{
	"PeerAuthentication":    v1alpha1.ConditionMutualTLSEnforced,
	"AuthorizationPolicy":   v1alpha1.ConditionAuthorizationEnforced,
	"RequestAuthentication": v1alpha1.ConditionAuthorizationEnforced,
	"Sidecar":               v1alpha1.ConditionEgressEnforced,
	"ServiceEntry":          v1alpha1.ConditionEgressEnforced,
}

// dishonest is where status does not keep its word: where it says that an area
// is enforced, no call passes that what is declared in it would stop; and where
// it says that nothing is amiss, no call is stopped that what is declared lets pass.
func dishonest(p *v1alpha1.MeshSecurityProfile, m models, r route, o observed) (wrong []string) {
	if !judges(m.desired, r) {
		return nil
	}
	declared := predict(m.desired, r)
	if o.outcome == passes && !declared.Passes {
		for _, by := range declared.By {
			if condition, ok := areas[by.Kind]; !ok || meta.IsStatusConditionTrue(p.Status.Conditions, condition) {
				wrong = append(wrong, "status says "+condition+", and by what is declared it "+said(declared))
			}
		}
	}
	// What others deny is judged only where something is enforced.
	enforces := p.Status.Effective != nil && p.Status.Effective.EnforcementMode == v1alpha1.ModeEnforce
	if o.outcome != passes && declared.Passes && enforces && meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionInSync) {
		wrong = append(wrong, "status says that nothing is amiss, and by what is declared it "+said(declared))
	}
	return wrong
}

func profile(ctx context.Context, s *stage.Stage) (*v1alpha1.MeshSecurityProfile, error) {
	var list v1alpha1.MeshSecurityProfileList
	if err := s.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, fmt.Errorf("%d profiles", len(list.Items))
	}
	return &list.Items[0], nil
}

// dealtWith is nil once the operator has done what there is to do for a profile
// that is among the objects.
func dealtWith(ctx context.Context, s *stage.Stage, objects string) error {
	if !strings.Contains(objects, "kind: "+v1alpha1.KindProfile) {
		return nil
	}
	return claim(ctx, s, claims{anyDrift: true})
}

// claim compares what the profile's status says with what it has to say.
func claim(ctx context.Context, s *stage.Stage, want claims) error {
	p, err := profile(ctx, s)
	if err != nil {
		return err
	}
	if p.Status.ObservedGeneration != p.Generation {
		return errors.New("the profile was not looked at yet")
	}
	var wrong []error
	for kind, says := range want.Conditions {
		have := meta.FindStatusCondition(p.Status.Conditions, kind)
		if have == nil {
			wrong = append(wrong, fmt.Errorf("no condition %s", kind))
		} else if says != string(have.Status) && says != string(have.Status)+"/"+have.Reason {
			wrong = append(wrong, fmt.Errorf("%s is %s/%s (%s), not %s", kind, have.Status, have.Reason, have.Message, says))
		}
	}
	if reconciling := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReconciling); reconciling != nil && reconciling.Status == metav1.ConditionTrue {
		wrong = append(wrong, errors.New("it is being reconciled"))
	}
	for name, verdict := range want.Rules {
		i := slices.IndexFunc(p.Status.Rules, func(r v1alpha1.RuleStatus) bool { return string(r.Name) == name })
		if i < 0 {
			wrong = append(wrong, fmt.Errorf("no rule %s", name))
		} else if r := p.Status.Rules[i]; string(r.Verdict) != verdict {
			wrong = append(wrong, fmt.Errorf("rule %s is %s (%s), not %s", name, r.Verdict, r.Message, verdict))
		}
	}
	var drift []string
	for _, d := range p.Status.Drift {
		drift = append(drift, strings.Join([]string{string(d.Type), d.Resource, string(d.Effect)}, " "))
	}
	slices.Sort(drift)
	if !want.anyDrift && !slices.Equal(drift, slices.Sorted(slices.Values(want.Drift))) {
		wrong = append(wrong, fmt.Errorf("drift is %q, not %q", drift, want.Drift))
	}
	return errors.Join(wrong...)
}

// objectsOf are the objects of a text, profiles first.
func objectsOf(t *testing.T, text string) (out []*unstructured.Unstructured) {
	t.Helper()
	docs, err := stage.Documents([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == v1alpha1.KindProfile {
			out = slices.Insert(out, 0, o)
		} else {
			out = append(out, o)
		}
	}
	return out
}

// remove deletes an object and waits until it is gone.
func remove(ctx context.Context, t *testing.T, s *stage.Stage, o *unstructured.Unstructured) {
	t.Helper()
	if err := client.IgnoreNotFound(s.Client.Delete(ctx, o.DeepCopy())); err != nil {
		t.Error(err)
	}
	if err := s.Eventually(ctx, o.GetKind()+" "+o.GetName()+" to be gone", func(ctx context.Context) error {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy())
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	}); err != nil {
		t.Error(err)
	}
}

// withdraw takes a case's objects away, the profile first, and waits until nothing
// of the operator's is left.
func withdraw(t *testing.T, s *stage.Stage, c scenario) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, o := range objectsOf(t, c.objects) {
		remove(ctx, t, s, o)
	}
	for _, k := range mesh.ManagedKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List"))
		if err := s.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			t.Error(err)
		}
		for _, o := range list.Items {
			t.Errorf("the case left %s %s", o.GetKind(), o.GetName())
		}
	}
}
