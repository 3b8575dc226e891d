package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

const ns = "payments"

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{securityv1.AddToScheme, networkingv1.AddToScheme, telemetryv1.AddToScheme, netv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func meta(name string) metav1.ObjectMeta {
	return mesh.Meta(posture.Posture{Namespace: ns, Owner: posture.Owner{Kind: v1alpha1.KindProfile, Name: "p", UID: "u"}}, "msp-"+name, "")
}

func mtls(mode securityapi.PeerAuthentication_MutualTLS_Mode) mesh.Object {
	return &securityv1.PeerAuthentication{ObjectMeta: meta("mtls"), Spec: securityapi.PeerAuthentication{Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: mode}}}
}

func allow(name, from string) mesh.Object {
	return &securityv1.AuthorizationPolicy{ObjectMeta: meta(name), Spec: securityapi.AuthorizationPolicy{Rules: []*securityapi.Rule{{
		From: []*securityapi.Rule_From{{Source: &securityapi.Source{Namespaces: []string{from}}}},
	}}}}
}

func defaultDeny() mesh.Object {
	return &securityv1.AuthorizationPolicy{ObjectMeta: meta("default-deny")}
}

func network() mesh.Object {
	return &netv1.NetworkPolicy{ObjectMeta: meta("net"), Spec: netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress}}}
}

const (
	strict     = securityapi.PeerAuthentication_MutualTLS_STRICT
	permissive = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
)

// cluster is a fake API server that counts the writes and can answer as told.
type cluster struct {
	client.WithWatch
	requests []string
	options  []client.DeleteOptions
	owners   []string
	// answer is asked before each write: VERB NAME.
	answer func(request string) error
}

func newCluster(t *testing.T, objects ...mesh.Object) *cluster {
	t.Helper()
	c := &cluster{}
	b := fake.NewClientBuilder().WithScheme(scheme(t))
	for _, o := range objects {
		o, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T", o)
		}
		o.SetUID("uid")
		b = b.WithObjects(o)
	}
	ask := func(verb string, o client.Object) error {
		r := verb + " " + strings.TrimPrefix(o.GetName(), "msp-")
		c.requests = append(c.requests, r)
		if o.GetManagedFields() != nil {
			return errors.New("managedFields were sent")
		}
		if c.answer == nil {
			return nil
		}
		return c.answer(r)
	}
	c.WithWatch = b.WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := ask("create", o); err != nil {
				return err
			}
			var co client.CreateOptions
			co.ApplyOptions(opts)
			c.owners = append(c.owners, co.FieldManager)
			o.SetUID(types.UID(fmt.Sprint("uid-", len(c.requests)))) // which the fake leaves out
			return w.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := ask("replace", o); err != nil {
				return err
			}
			var uo client.UpdateOptions
			uo.ApplyOptions(opts)
			c.owners = append(c.owners, uo.FieldManager)
			return w.Update(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := ask("delete", o); err != nil {
				return err
			}
			var do client.DeleteOptions
			do.ApplyOptions(opts)
			c.options = append(c.options, do)
			return w.Delete(ctx, o, opts...)
		},
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			t.Error("the writer reads")
			return nil
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			t.Error("the writer patches")
			return nil
		},
	}).Build()
	return c
}

// live is what the fake API server holds, as the cache would show it.
func (c *cluster) live(t *testing.T) []mesh.Object {
	t.Helper()
	var out []mesh.Object
	for _, k := range mesh.ManagedKinds() {
		list, ok := k.NewList().(client.ObjectList)
		if !ok {
			t.Fatal(k)
		}
		if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		switch l := list.(type) {
		case *securityv1.PeerAuthenticationList:
			for _, o := range l.Items {
				out = append(out, o)
			}
		case *securityv1.AuthorizationPolicyList:
			for _, o := range l.Items {
				out = append(out, o)
			}
		case *netv1.NetworkPolicyList:
			for i := range l.Items {
				out = append(out, &l.Items[i])
			}
		}
	}
	return out
}

func (c *cluster) plan(t *testing.T, want ...mesh.Object) []plan.Step {
	t.Helper()
	return plan.Make(drift.Compare(want, c.live(t), drift.Options{}), effective.World{Namespace: ns, Objects: c.live(t)})
}

func kinds(o Outcome) []string {
	var out []string
	for _, r := range o.Results {
		out = append(out, strings.TrimPrefix(r.Step.Object.GetName(), "msp-")+" "+string(r.Kind))
	}
	return out
}

func TestOneRequestForEachObject(t *testing.T) {
	c := newCluster(t)
	want := []mesh.Object{mtls(permissive), allow("a", "x"), allow("b", "x"), defaultDeny(), network()}
	w := NewWriter(c)
	out := w.Apply(t.Context(), ns, c.plan(t, want...))
	if !out.Done() || out.Err() != nil || out.Stale || len(out.Written) != len(want)+2 {
		t.Fatalf("%v %v", kinds(out), out.Err())
	}
	if diff := cmp.Diff([]string{"create mtls", "create net", "create transition.allow", "create a", "create b", "create default-deny", "delete transition.allow"}, c.requests); diff != "" {
		t.Error(diff)
	}

	// One that is changed, one that is added, one that goes.
	c.requests = nil
	want = []mesh.Object{mtls(strict), allow("a", "x"), allow("c", "x"), defaultDeny(), network()}
	if out = w.Apply(t.Context(), ns, c.plan(t, want...)); !out.Done() {
		t.Fatalf("%v %v", kinds(out), out.Results)
	}
	if diff := cmp.Diff([]string{"replace mtls", "create c", "delete b"}, c.requests); diff != "" {
		t.Error(diff)
	}
	for _, o := range c.owners {
		if o != v1alpha1.ManagedByValue {
			t.Errorf("field owner %q", o)
		}
	}

	// Nothing is left to do.
	c.requests = nil
	if out = w.Apply(t.Context(), ns, c.plan(t, want...)); !out.Done() || len(c.requests) > 0 {
		t.Errorf("%v", c.requests)
	}
}

func TestWhatIsAddedIsUndone(t *testing.T) {
	tampered := mtls(strict)
	tampered.(*securityv1.PeerAuthentication).Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{8080: {Mode: securityapi.PeerAuthentication_MutualTLS_DISABLE}}
	tampered.SetAnnotations(map[string]string{"istio.io/dry-run": "true", "team": "x"})
	c := newCluster(t, tampered)
	if out := NewWriter(c).Apply(t.Context(), ns, c.plan(t, mtls(strict))); !out.Done() {
		t.Fatal(out.Results)
	}
	got := c.live(t)[0].(*securityv1.PeerAuthentication)
	if len(got.Spec.PortLevelMtls) > 0 || got.Annotations["istio.io/dry-run"] != "" || got.Annotations["team"] != "x" {
		t.Errorf("%v %v", &got.Spec, got.Annotations)
	}
}

func TestDeletesWhatWasSeen(t *testing.T) {
	c := newCluster(t, allow("old", "x"))
	steps := c.plan(t)
	seen := steps[0].Object
	if out := NewWriter(c).Apply(t.Context(), ns, steps); !out.Done() || out.Written[0].UID != seen.GetUID() {
		t.Fatal(out.Results)
	}
	p := c.options[0].Preconditions
	if p == nil || p.UID == nil || *p.UID != seen.GetUID() || p.ResourceVersion == nil || *p.ResourceVersion != seen.GetResourceVersion() {
		t.Errorf("%+v", p)
	}
}

func TestStale(t *testing.T) {
	for _, r := range []struct {
		name   string
		there  []mesh.Object
		want   []mesh.Object
		behind func(t *testing.T, c *cluster)
	}{
		{"created by somebody else", nil, []mesh.Object{mtls(strict), network()}, func(t *testing.T, c *cluster) {
			t.Helper()
			if err := c.Create(t.Context(), mtls(permissive).(client.Object)); err != nil {
				t.Fatal(err)
			}
		}},
		{"changed by somebody else", []mesh.Object{mtls(permissive)}, []mesh.Object{mtls(strict), network()}, func(t *testing.T, c *cluster) {
			t.Helper()
			o := c.live(t)[0].(client.Object)
			o.SetLabels(map[string]string{"x": "y"})
			if err := c.Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}},
		{"deleted by somebody else", []mesh.Object{mtls(permissive)}, []mesh.Object{mtls(strict), network()}, func(t *testing.T, c *cluster) {
			t.Helper()
			if err := c.Delete(t.Context(), c.live(t)[0].(client.Object)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := newCluster(t, r.there...)
			steps := c.plan(t, r.want...)
			r.behind(t, c)
			c.requests = nil
			out := NewWriter(c).Apply(t.Context(), ns, steps)
			if !out.Stale || out.Err() != nil || out.Rejected() || len(c.requests) != 1 {
				t.Errorf("stale %t, %v, %v", out.Stale, out.Err(), c.requests)
			}
			if diff := cmp.Diff([]string{"mtls Stale", "net Held"}, kinds(out)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("deleted before we do", func(t *testing.T) {
		c := newCluster(t, allow("old", "x"))
		steps := c.plan(t)
		if err := c.Delete(t.Context(), c.live(t)[0].(client.Object)); err != nil {
			t.Fatal(err)
		}
		if out := NewWriter(c).Apply(t.Context(), ns, steps); !out.Done() || len(out.Written) > 0 {
			t.Errorf("%v", out.Results)
		}
	})
}

func status(code int32, reason metav1.StatusReason, causes ...metav1.StatusCause) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: reason, Message: "no", Details: &metav1.StatusDetails{Causes: causes}}}
}

func TestFailures(t *testing.T) {
	gr := schema.GroupResource{Resource: "x"}
	all := []mesh.Object{mtls(strict), allow("a", "x"), defaultDeny(), network()}
	for _, r := range []struct {
		name  string
		at    string
		err   error
		want  []string
		retry bool
	}{
		{"a rule is rejected: no lock-out", "create a", apierrors.NewInvalid(schema.GroupKind{Kind: "x"}, "a", nil), []string{"mtls Done", "net Done", "a Rejected", "default-deny Held"}, false},
		{"mutual TLS is rejected: the rest goes on", "create mtls", apierrors.NewForbidden(gr, "a", errors.New("by policy")), []string{"mtls Rejected", "net Done", "a Done", "default-deny Done"}, false},
		{"too large", "create net", status(http.StatusRequestEntityTooLarge, ""), []string{"mtls Done", "net Rejected", "a Done", "default-deny Done"}, false},
		{"webhook that says 418", "create net", status(http.StatusTeapot, ""), []string{"mtls Done", "net Rejected", "a Done", "default-deny Done"}, false},
		{"webhook down: others go on", "create mtls", apierrors.NewInternalError(errors.New("failed calling webhook")), []string{"mtls Failed", "net Done", "a Done", "default-deny Done"}, true},
		{"asked to wait", "create mtls", apierrors.NewTooManyRequests("later", 1), []string{"mtls Failed", "net Held", "a Held", "default-deny Held"}, true},
		{"logged out", "create mtls", apierrors.NewUnauthorized("who"), []string{"mtls Failed", "net Held", "a Held", "default-deny Held"}, true},
		{"timed out", "create a", apierrors.NewTimeoutError("slow", 1), []string{"mtls Done", "net Done", "a Failed", "default-deny Held"}, true},
		{"no answer", "create a", &net.OpError{Op: "read", Err: errors.New("connection reset")}, []string{"mtls Done", "net Done", "a Failed", "default-deny Held"}, true},
		{"stopped", "create a", context.Canceled, []string{"mtls Done", "net Done", "a Failed", "default-deny Held"}, true},
		{"kind not served", "create a", apierrors.NewNotFound(gr, ""), []string{"mtls Done", "net Done", "a Failed", "default-deny Held"}, true},
		{"namespace going", "create a", status(http.StatusForbidden, metav1.StatusReasonForbidden, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause}), []string{"mtls Done", "net Done", "a Terminating", "default-deny Held"}, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := newCluster(t)
			c.answer = func(request string) error {
				if request == r.at {
					return r.err
				}
				return nil
			}
			out := NewWriter(c).Apply(t.Context(), ns, c.plan(t, all...))
			if diff := cmp.Diff(r.want, kinds(out)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := out.Err(); (err != nil) != r.retry || (err != nil && !errors.Is(err, r.err)) || errors.Is(err, reconcile.TerminalError(nil)) {
				t.Errorf("error %v", err)
			}
			if out.Rejected() != slices.ContainsFunc(r.want, func(s string) bool { return strings.HasSuffix(s, string(Rejected)) }) || out.Done() || out.Stale {
				t.Error("the outcome as a whole")
			}
			for _, f := range out.Failures() {
				if f.Message() == "" {
					t.Errorf("%s says nothing", f.Step.Resource())
				}
			}
			if done := len(r.want) - len(out.Failures()); len(out.Written) != done {
				t.Errorf("%d of %d writes in the ledger", len(out.Written), done)
			}
		})
	}
}

func TestMessageIsCut(t *testing.T) {
	m := Result{Kind: Rejected, Err: errors.New(strings.Repeat("ä", 1000))}.Message()
	if len(m) > 512 || !utf8.ValidString(m) || !strings.HasSuffix(m, "…") {
		t.Errorf("%d bytes", len(m))
	}
	if (Result{Kind: Done}).Message() != "" {
		t.Error("done, and says something")
	}
}

// steps as a defect could make them.
func step(verb plan.Verb, o mesh.Object) plan.Step {
	s := plan.Step{Verb: verb, Object: o, Change: drift.Change{Type: drift.Missing, Desired: o}}
	s.Change.Key.Name = o.GetName()
	return s
}

func TestRefusesToWriteElsewhere(t *testing.T) {
	seen := func(o mesh.Object) mesh.Object {
		o.SetUID("u")
		o.SetResourceVersion("1")
		return o
	}
	elsewhere, nowhere, unnamed, unprefixed := mtls(strict), mtls(strict), mtls(strict), seen(mtls(strict))
	elsewhere.SetNamespace("istio-system")
	nowhere.SetNamespace("")
	unnamed.SetName("")
	unprefixed.SetName("mtls")
	secret := &corev1.Secret{ObjectMeta: meta("s")}
	for name, bad := range map[string]plan.Step{
		"another namespace":            step(plan.Create, elsewhere),
		"no namespace":                 step(plan.Create, nowhere),
		"no name":                      step(plan.Create, unnamed),
		"no prefix":                    step(plan.Delete, unprefixed),
		"another kind":                 step(plan.Create, secret),
		"to replace what was not seen": step(plan.Replace, mtls(strict)),
		"to delete what was not seen":  step(plan.Delete, mtls(strict)),
		"to create what was seen":      step(plan.Create, seen(mtls(strict))),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			out := NewWriter(c).Apply(t.Context(), ns, []plan.Step{step(plan.Create, network()), bad})
			if len(c.requests) > 0 || len(out.Written) > 0 {
				t.Fatalf("sent: %v", c.requests)
			}
			if got := []Kind{out.Results[0].Kind, out.Results[1].Kind}; got[0] != Held || got[1] != Refused {
				t.Error(got)
			}
			if !errors.Is(out.Err(), reconcile.TerminalError(nil)) {
				t.Errorf("not terminal: %v", out.Err())
			}
		})
	}
	c := newCluster(t)
	if out := NewWriter(c).Apply(t.Context(), "", []plan.Step{step(plan.Create, nowhere)}); out.Done() || len(c.requests) > 0 {
		t.Error("an owner without a namespace writes")
	}
}

func TestDesiredObjectsAreNotChanged(t *testing.T) {
	o := mtls(strict)
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "x"}})
	c := newCluster(t)
	if out := NewWriter(c).Apply(t.Context(), ns, c.plan(t, o)); !out.Done() {
		t.Fatal(out.Results)
	}
	if o.GetUID() != "" || o.GetResourceVersion() != "" {
		t.Error("the answer was written into the desired object")
	}
}
