package drift

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func TestCompareFindsNothingInWhatWasWritten(t *testing.T) {
	want, have := all(t)
	if got := Compare(want, have, Options{IntentUnchanged: true}); len(got) > 0 {
		t.Fatalf("%+v", got)
	}
	for _, o := range want {
		if !equal(o, written(t, o)) {
			t.Errorf("%s does not take the fast path", o.GetName())
		}
	}
}

// row is one live state of one object.
type row struct {
	name   string
	object string
	// change the live object in place, or return another one; nil deletes it.
	change func(t *testing.T, live mesh.Object) mesh.Object
	opts   Options

	// nothing is expected where want is empty.
	want   Type
	fields []v1alpha1.FieldChange
	actor  string
	effect v1alpha1.Effect
	// intent is true where only our intent moved.
	intent, both bool
	waiting      bool
}

const (
	weakens  = v1alpha1.EffectWeakens
	tightens = v1alpha1.EffectTightens
	neutral  = v1alpha1.EffectNeutral
)

func meta(f func(o mesh.Object)) func(*testing.T, mesh.Object) mesh.Object {
	return func(_ *testing.T, o mesh.Object) mesh.Object { f(o); return o }
}

func spec(s string, managed ...string) func(*testing.T, mesh.Object) mesh.Object {
	return func(t *testing.T, o mesh.Object) mesh.Object {
		t.Helper()
		o = respec(t, o, s)
		if len(managed) == 2 {
			by(o, managed[0], 60, managed[1])
		}
		return o
	}
}

func label(o mesh.Object, k, v string) {
	l := map[string]string{k: v}
	for k, v := range o.GetLabels() {
		if _, ok := l[k]; !ok {
			l[k] = v
		}
	}
	o.SetLabels(l)
}

func annotate(o mesh.Object, k, v string) {
	l := map[string]string{k: v}
	for k, v := range o.GetAnnotations() {
		if _, ok := l[k]; !ok {
			l[k] = v
		}
	}
	o.SetAnnotations(l)
}

func strip(o mesh.Object) {
	o.SetLabels(nil)
	o.SetOwnerReferences(nil)
	o.SetManagedFields(nil)
}

func fc(path, want, have string) v1alpha1.FieldChange {
	return v1alpha1.FieldChange{Path: path, Desired: want, Observed: have}
}

const ownerText = "MeshSecurityProfile/payments profile-uid meshsecurity.io/v1alpha1 controller blocking"

var yes = true

func rows() []row {
	ours := Options{IntentUnchanged: true}
	return []row{
		{
			name: "deleted", object: "msp-mtls", opts: ours,
			change: func(*testing.T, mesh.Object) mesh.Object { return nil },
			want:   Missing, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "not yet written", object: "msp-mtls",
			change: func(*testing.T, mesh.Object) mesh.Object { return nil },
			want:   Missing, actor: ActorUnknown, effect: weakens, intent: true,
		},
		{
			name: "mode changed", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: PERMISSIVE}}`, "kubectl-edit", `{"f:spec":{"f:mtls":{"f:mode":{}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "PERMISSIVE")}, actor: "kubectl-edit", effect: weakens,
		},
		{
			name: "mode removed", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {}}`, "other", `{"f:metadata":{"f:annotations":{"f:x":{}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "UNSET")}, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "port added, which means nothing without a selector", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: DISABLE}}}`, "kubectl-patch", `{"f:spec":{"f:portLevelMtls":{".":{},"f:8080":{".":{},"f:mode":{}}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/portLevelMtls", "", `{"8080":{"mode":"DISABLE"}}`)}, actor: "kubectl-patch", effect: neutral,
		},
		{
			name: "selector that matches nothing", object: "msp-mtls", opts: ours,
			change: spec(`{selector: {matchLabels: {not: there}}, mtls: {mode: STRICT}}`, "helm", `{"f:spec":{"f:selector":{".":{},"f:matchLabels":{".":{},"f:not":{}}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/selector", "", `{"matchLabels":{"not":"there"}}`)}, actor: "helm", effect: weakens,
		},
		{
			name: "rule added to default-deny", object: "msp-default-deny", opts: ours,
			change: spec(`{rules: [{}]}`, "kubectl-edit", `{"f:spec":{"f:rules":{}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/rules", "", `[{}]`)}, actor: "kubectl-edit", effect: weakens,
		},
		{
			name: "action that we omit", object: "msp-default-deny", opts: ours,
			change: spec(`{action: AUDIT}`, "kubectl-edit", `{"f:spec":{"f:action":{}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/action", "ALLOW", "AUDIT")}, actor: "kubectl-edit", effect: weakens,
		},
		{
			name: "value within a rule", object: "msp-deny", opts: ours,
			change: spec(`{action: DENY, rules: [{from: [{source: {notNamespaces: [shop, evil]}}], to: [{operation: {ports: ["8443"]}}]}]}`, "edit", `{"f:spec":{"f:rules":{}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/rules/0/from/0/source/notNamespaces", `["shop"]`, `["shop","evil"]`)}, actor: "edit", effect: weakens,
		},
		{
			name: "explicit default of somebody else", object: "msp-default-deny", opts: ours,
			change: spec(`{action: ALLOW}`, "edit", `{"f:spec":{"f:action":{}}}`),
		},
		{
			name: "field that our types do not know", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: STRICT}}`, "newer", `{"f:spec":{"f:mtls":{"f:exempt":{"f:all":{}}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/exempt", "", "(set by newer)")}, actor: "newer", effect: weakens,
		},
		{
			name: "field of a NetworkPolicy that our types do not know", object: "msp-net", opts: ours,
			change: meta(func(o mesh.Object) { by(o, "newer", 60, `{"f:spec":{"f:podSelector":{},"f:bypass":{}}}`) }),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/bypass", "", "(set by newer)")}, actor: "newer", effect: weakens,
		},
		{
			name: "field that our types do not know, under our own name", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: STRICT}}`, v1alpha1.ManagedByValue, `{"f:spec":{"f:mtls":{"f:exempt":{}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/exempt", "", "(set by unknown)")}, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "selector of a NetworkPolicy, which is owned as a whole", object: "msp-net-deny", opts: ours,
			change: spec(`{podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress]}`, "edit", `{"f:spec":{"f:podSelector":{}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/podSelector/matchLabels/app", "api", "other")}, actor: "edit", effect: weakens,
		},
		{
			name: "our label given to another tool", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				l := maps.Clone(o.GetLabels())
				l[v1alpha1.LabelManagedBy] = "helm"
				o.SetLabels(l)
				by(o, "helm", 60, `{"f:metadata":{"f:labels":{"f:app.kubernetes.io/managed-by":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.ManagedByValue, "helm")}, actor: "helm", effect: neutral,
		},
		{
			name: "finalizer of somebody, and later one of the API server's", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				o.SetFinalizers([]string{"evil.example/stay", metav1.FinalizerDeleteDependents})
				by(o, "intruder", 60, `{"f:metadata":{"f:finalizers":{"v:\"evil.example/stay\"":{}}}}`)
				by(o, "collector", 90, `{"f:metadata":{"f:finalizers":{"v:\"foregroundDeletion\"":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/finalizers", "", "evil.example/stay")}, actor: "intruder", effect: neutral,
		},
		{
			name: "dry run", object: "msp-default-deny", opts: ours,
			change: meta(func(o mesh.Object) {
				annotate(o, "istio.io/dry-run", "true")
				by(o, "kubectl-annotate", 60, `{"f:metadata":{"f:annotations":{"f:istio.io/dry-run":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/annotations/istio.io~1dry-run", "", "true")}, actor: "kubectl-annotate", effect: weakens,
		},
		{
			name: "bound to another revision", object: "msp-default-deny", opts: ours,
			change: meta(func(o mesh.Object) {
				label(o, "istio.io/rev", "canary")
				by(o, "kubectl-label", 60, `{"f:metadata":{"f:labels":{"f:istio.io/rev":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/labels/istio.io~1rev", "", "canary")}, actor: "kubectl-label", effect: weakens,
		},
		{
			name: "mark of the mesh that we do not know", object: "msp-allow", opts: ours,
			change: meta(func(o mesh.Object) { annotate(o, "security.istio.io/new", "x") }),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/metadata/annotations/security.istio.io~1new", "", "x")}, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "adopt mark on our own", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) { annotate(o, v1alpha1.AnnotationAdopt, "true") }),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/metadata/annotations/meshsecurity.io~1adopt", "", "true")}, actor: ActorUnknown, effect: neutral,
		},
		{
			name: "our annotation changed", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) { annotate(o, v1alpha1.AnnotationRule, "other") }),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/metadata/annotations/meshsecurity.io~1rule", "rule", "other")}, actor: ActorUnknown, effect: neutral,
		},
		{
			name: "label stripped", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				l := map[string]string{}
				for k, v := range o.GetLabels() {
					if k != v1alpha1.LabelManagedBy {
						l[k] = v
					}
				}
				o.SetLabels(l)
				by(o, "kubectl-label", 60, `{"f:metadata":{"f:labels":{}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.ManagedByValue, "")}, actor: ActorUnknown, effect: neutral,
		},
		{
			name: "owner reference stripped", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) { o.SetOwnerReferences(nil) }),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/metadata/ownerReferences", ownerText, "")}, actor: ActorUnknown, effect: neutral,
		},
		{
			name: "label and owner reference stripped: we wrote it all the same", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				o.SetOwnerReferences(nil)
				o.SetLabels(nil)
			}),
			want: Modified, actor: ActorUnknown, effect: neutral, fields: []v1alpha1.FieldChange{
				fc("/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.ManagedByValue, ""),
				fc("/metadata/labels/app.kubernetes.io~1part-of", v1alpha1.PartOfValue, ""),
				fc("/metadata/labels/meshsecurity.io~1profile", "payments", ""),
				fc("/metadata/ownerReferences", ownerText, ""),
			},
		},
		{
			name: "every mark stripped from an object seen before", object: "msp-mtls",
			opts:   Options{IntentUnchanged: true, Known: func(u types.UID) bool { return u == "uid-msp-mtls" }},
			change: meta(strip),
			want:   Modified, actor: ActorUnknown, effect: neutral, fields: []v1alpha1.FieldChange{
				fc("/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.ManagedByValue, ""),
				fc("/metadata/labels/app.kubernetes.io~1part-of", v1alpha1.PartOfValue, ""),
				fc("/metadata/labels/meshsecurity.io~1profile", "payments", ""),
				fc("/metadata/ownerReferences", ownerText, ""),
			},
		},
		{
			name: "no longer controlled by us", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				refs := o.GetOwnerReferences()
				refs[0].Controller = nil
				o.SetOwnerReferences(refs)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/ownerReferences", ownerText, strings.Replace(ownerText, " controller", "", 1))}, actor: ActorUnknown, effect: neutral,
		},
		{
			name: "foreign owner added", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "bomb", UID: "b"}))
				by(o, "kubectl-edit", 60, `{"f:metadata":{"f:ownerReferences":{"k:{\"uid\":\"b\"}":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/ownerReferences", ownerText, cut("ConfigMap/bomb b v1, "+ownerText, 128))}, actor: "kubectl-edit", effect: neutral,
		},
		{
			name: "foreign finalizer", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				o.SetFinalizers([]string{"evil.example/stay", metav1.FinalizerDeleteDependents})
				by(o, "kubectl-edit", 60, `{"f:metadata":{"f:finalizers":{".":{},"v:\"evil.example/stay\"":{}}}}`)
			}),
			want: Modified, fields: []v1alpha1.FieldChange{fc("/metadata/finalizers", "", "evil.example/stay")}, actor: "kubectl-edit", effect: neutral,
		},
		{
			name: "harmless metadata of others", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				annotate(o, "kubectl.kubernetes.io/last-applied-configuration", "{}")
				annotate(o, "argocd.argoproj.io/tracking-id", "x")
				annotate(o, "notistio.io/dry-run", "true")
				label(o, "team", "payments")
				by(o, "argocd", 60, `{"f:metadata":{"f:labels":{"f:team":{}}}}`)
			}),
		},
		{
			name: "status condition of the mesh", object: "msp-default-deny", opts: ours,
			change: meta(func(o mesh.Object) {
				now := metav1.Unix(1_790_000_100, 0)
				o.SetManagedFields(append(o.GetManagedFields(), metav1.ManagedFieldsEntry{Manager: "pilot-discovery", Time: &now, Subresource: "status",
					FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:conditions":{}}}`)}))
			}),
		},
		{
			name: "neither who annotated the object nor who wrote its status took the rules away", object: "msp-allow", opts: ours,
			change: func(t *testing.T, o mesh.Object) mesh.Object {
				t.Helper()
				o = respec(t, o, `{selector: {matchLabels: {app: api}}}`)
				by(o, "edit", 60, `{"f:metadata":{"f:annotations":{"f:x":{}}}}`)
				by(o, "istiod", 90, `{"f:status":{}}`)
				entries := o.GetManagedFields()
				entries[len(entries)-1].Subresource = "status"
				o.SetManagedFields(entries)
				return o
			},
			want: Modified, fields: []v1alpha1.FieldChange{fc("/spec/rules", cut(`[{"from":[{"source":{"serviceAccounts":["shop/checkout"]}},{"source":{"namespaces":["batch"]}}],"to":[{"operation":{"methods":["POST"],"paths":["/charges"`, 128), "")},
			actor: ActorUnknown, effect: tightens,
		},
		{
			name: "several managers, the latest that owns it counts", object: "msp-mtls", opts: ours,
			change: func(t *testing.T, o mesh.Object) mesh.Object {
				t.Helper()
				o = respec(t, o, `{mtls: {mode: DISABLE}}`)
				by(o, "first", 10, `{"f:spec":{"f:mtls":{"f:mode":{}}}}`)
				by(o, "second", 20, `{"f:spec":{"f:mtls":{"f:mode":{}}}}`)
				by(o, "unrelated", 30, `{"f:spec":{"f:mtls":{".":{}}}}`)
				return o
			},
			want: Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "DISABLE")}, actor: "second", effect: weakens,
		},
		{
			name: "port of a list by name", object: "msp-egress-api", opts: ours,
			change: func(t *testing.T, o mesh.Object) mesh.Object {
				t.Helper()
				o = respec(t, o, `{hosts: [api.stripe.com], exportTo: ["."], resolution: DNS, ports: [{number: 80, name: tls-443, protocol: TLS}]}`)
				by(o, "other", 90, `{"f:spec":{"f:ports":{"k:{\"name\":\"else\"}":{"f:number":{}}}}}`)
				by(o, "edit", 60, `{"f:spec":{"f:ports":{"k:{\"name\":\"tls-443\"}":{"f:number":{}}}}}`)
				return o
			},
			want: Modified, fields: []v1alpha1.FieldChange{fc("/spec/ports/0/number", "443", "80")}, actor: "edit", effect: weakens,
		},
		{
			name: "unreadable managedFields", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: DISABLE}}`, "odd", `{"f:spec":{"f:mtls":`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "DISABLE")}, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "our own field manager's name", object: "msp-mtls", opts: ours,
			change: spec(`{mtls: {mode: DISABLE}}`, v1alpha1.ManagedByValue, `{"f:spec":{"f:mtls":{"f:mode":{}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "DISABLE")}, actor: ActorUnknown, effect: weakens,
		},
		{
			name: "our intent moved", object: "msp-mtls",
			change: spec(`{mtls: {mode: PERMISSIVE}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "PERMISSIVE")}, actor: ActorUnknown, effect: weakens, intent: true,
		},
		{
			name: "our intent moved, and somebody changed the same", object: "msp-mtls",
			change: spec(`{mtls: {mode: DISABLE}}`, "edit", `{"f:spec":{"f:mtls":{"f:mode":{}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/mtls/mode", "STRICT", "DISABLE")}, actor: "edit", effect: weakens,
		},
		{
			name: "our intent moved, and somebody changed something else", object: "msp-mtls-scrape",
			change: spec(`{selector: {matchLabels: {app: evil}}, mtls: {mode: STRICT}, portLevelMtls: {"9200": {mode: PERMISSIVE}}}`, "edit", `{"f:spec":{"f:selector":{"f:matchLabels":{"f:app":{}}}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/selector/matchLabels/app", "ledger", "evil")}, actor: "edit", effect: weakens, both: true,
		},
		{
			name: "somebody else's object of the name", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) { strip(o); by(o, "helm", 0, `{"f:spec":{"f:mtls":{}}}`) }),
			want:   Conflict, actor: "helm", effect: neutral,
		},
		{
			name: "somebody else's object that asks to be taken over", object: "msp-mtls", opts: ours,
			change: func(t *testing.T, o mesh.Object) mesh.Object {
				t.Helper()
				o = respec(t, o, `{mtls: {mode: PERMISSIVE}}`)
				strip(o)
				o.SetAnnotations(map[string]string{v1alpha1.AnnotationAdopt: "true", v1alpha1.AnnotationRule: "rule"})
				o.SetLabels(desired(t, "msp-mtls").GetLabels())
				delete(o.GetLabels(), v1alpha1.LabelManagedBy)
				o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: v1alpha1.KindProfile, Name: "payments", UID: "x", Controller: &yes}})
				return o
			},
			want: Modified, actor: ActorUnknown, effect: weakens, intent: true, fields: []v1alpha1.FieldChange{
				fc("/spec/mtls/mode", "STRICT", "PERMISSIVE"),
				fc("/metadata/annotations/meshsecurity.io~1adopt", "", "true"),
				fc("/metadata/labels/app.kubernetes.io~1managed-by", v1alpha1.ManagedByValue, ""),
				fc("/metadata/ownerReferences", ownerText, "MeshSecurityProfile/payments x v1 controller"),
			},
		},
		{
			name: "being deleted", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				now := metav1.Unix(1_790_000_000, 0)
				o.SetDeletionTimestamp(&now)
				o.SetFinalizers([]string{metav1.FinalizerDeleteDependents})
			}),
			want: Missing, actor: ActorUnknown, effect: weakens, intent: true, waiting: true,
		},
		{
			name: "held up in its deletion by somebody", object: "msp-mtls", opts: ours,
			change: meta(func(o mesh.Object) {
				now := metav1.Unix(1_790_000_000, 0)
				o.SetDeletionTimestamp(&now)
				o.SetFinalizers([]string{"a/b"})
			}),
			want: Modified, actor: ActorUnknown, effect: neutral, fields: []v1alpha1.FieldChange{fc("/metadata/finalizers", "", "a/b")},
		},
		{
			name: "defaults of a NetworkPolicy", object: "msp-net-deny", opts: ours,
			change: spec(`{podSelector: {matchLabels: {app: api}}, ingress: []}`),
		},
		{
			name: "more defaults of a NetworkPolicy", object: "msp-net-bare", opts: ours,
			change: spec(`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [], ports: [{port: 80, protocol: TCP}]}]}`),
		},
		{
			name: "rule added to a NetworkPolicy", object: "msp-net-deny", opts: ours,
			change: spec(`{podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress], ingress: [{}]}`, "edit", `{"f:spec":{"f:ingress":{}}}`),
			want:   Modified, fields: []v1alpha1.FieldChange{fc("/spec/ingress", "", `[{}]`)}, actor: "edit", effect: weakens,
		},
	}
}

func TestCompare(t *testing.T) {
	for _, r := range rows() {
		t.Run(strings.ReplaceAll(r.name, " ", "-"), func(t *testing.T) {
			want := desired(t, r.object)
			var have []mesh.Object
			if live := r.change(t, written(t, want)); live != nil {
				have = append(have, live)
			}
			got := Compare([]mesh.Object{want}, have, r.opts)
			if r.want == "" {
				if len(got) > 0 {
					t.Fatalf("unexpected change %+v", got[0])
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("got %d changes, want one", len(got))
			}
			c := got[0]
			if c.Type != r.want || c.Actor != r.actor || c.Effect != r.effect {
				t.Errorf("got %s by %s, %s; want %s by %s, %s", c.Type, c.Actor, c.Effect, r.want, r.actor, r.effect)
			}
			if diff := cmp.Diff(r.fields, c.Fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			drift := !r.intent && r.want != Conflict
			if c.Drift != drift || c.OutOfSync != (r.intent || r.both) || c.Waiting != r.waiting {
				t.Errorf("got drift %t, out of sync %t, waiting %t", c.Drift, c.OutOfSync, c.Waiting)
			}
			if named := c.Actor != ActorUnknown; named != (c.At != nil) {
				t.Errorf("actor %s at %v", c.Actor, c.At)
			}
		})
	}
}

func TestCompareFindsWhatNothingAsksFor(t *testing.T) {
	foreign := func(o mesh.Object) mesh.Object { strip(o); return o }
	labelled := func(o mesh.Object) mesh.Object {
		strip(o)
		label(o, v1alpha1.LabelManagedBy, v1alpha1.ManagedByValue)
		return o
	}
	owned := func(o mesh.Object) mesh.Object {
		o.SetLabels(nil)
		o.SetManagedFields(nil)
		return o
	}
	other := written(t, object(t, "AuthorizationPolicy", "no-prefix", `{rules: [{}]}`))
	live := []mesh.Object{
		written(t, desired(t, "msp-allow")),              // ours by every mark
		foreign(written(t, desired(t, "msp-deny"))),      // somebody else's
		labelled(written(t, desired(t, "msp-egress"))),   // ours by its label
		owned(written(t, desired(t, "msp-mtls-scrape"))), // ours by its owner
		labelled(other), // claims to be ours under a name that is not
	}
	for _, unchanged := range []bool{true, false} {
		got := Compare(nil, live, Options{IntentUnchanged: unchanged})
		var names []string
		for _, c := range got {
			names = append(names, c.Key.String())
			if c.Type != Unexpected || c.Drift != unchanged || c.OutOfSync == unchanged || c.Effect != weakens {
				t.Errorf("%+v", c)
			}
			if c.Prunable() != (c.Key.Name != "no-prefix") {
				t.Errorf("%s: prunable %t", c.Key, c.Prunable())
			}
		}
		want := []string{"AuthorizationPolicy/msp-allow", "AuthorizationPolicy/no-prefix", "PeerAuthentication/msp-mtls-scrape", "Sidecar/msp-egress"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecord(t *testing.T) {
	c := Change{Type: Modified, Key: Key{Name: "msp-mtls"}, Actor: strings.Repeat("ä", 300), Effect: weakens}
	c.Key.Kind = "PeerAuthentication"
	for range 20 {
		c.Fields = append(c.Fields, fc("/spec/x", "a", "b"))
	}
	r := c.Record(time.Unix(1, 0), v1alpha1.ResolutionCorrected)
	if r.Resource != "PeerAuthentication/msp-mtls" || len(r.Fields) != v1alpha1.MaxDriftFields || len([]rune(r.Actor)) != 256 {
		t.Errorf("%+v", r)
	}
	if r.Type != v1alpha1.DriftModified || r.Resolution != v1alpha1.ResolutionCorrected || r.DetectedAt.Unix() != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCompareBoundsWhatItReports(t *testing.T) {
	want := desired(t, "msp-mtls")
	live := written(t, want)
	long := strings.Repeat("x", 63)
	for i := range 300 {
		label(live, "a"+strings.Repeat("b", i)+".istio.io/"+long, strings.Repeat("ü", 1000))
	}
	got := Compare([]mesh.Object{want}, []mesh.Object{live}, Options{})
	for _, f := range got[0].Fields {
		if len([]rune(f.Observed)) > v1alpha1.MaxDriftValueLength || len(f.Path) > maxPath {
			t.Fatalf("%d %d", len(f.Observed), len(f.Path))
		}
	}
	if n := len(got[0].Fields); n > maxFields {
		t.Errorf("%d fields", n)
	}
}

func TestOverlay(t *testing.T) {
	want := desired(t, "msp-mtls")
	live := written(t, want)
	live.SetResourceVersion("123")
	live.SetFinalizers([]string{"evil/x", metav1.FinalizerDeleteDependents})
	annotate(live, "kubectl.kubernetes.io/last-applied-configuration", "{}")
	annotate(live, "istio.io/dry-run", "true")
	annotate(live, v1alpha1.AnnotationRule, "evil")
	label(live, "team", "x")
	label(live, "istio.io/rev", "x")
	before := written(t, want)
	got := Overlay(want, live)
	if got.GetUID() != live.GetUID() || got.GetResourceVersion() != "123" || got.GetManagedFields() != nil {
		t.Error("not guarded by what was seen, or carries managedFields")
	}
	wantAnnotations := map[string]string{v1alpha1.AnnotationRule: "rule", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
	if diff := cmp.Diff(wantAnnotations, got.GetAnnotations()); diff != "" {
		t.Error(diff)
	}
	if got.GetLabels()["team"] != "x" || got.GetLabels()["istio.io/rev"] != "" || len(got.GetFinalizers()) != 1 {
		t.Errorf("%v %v", got.GetLabels(), got.GetFinalizers())
	}
	if len(want.GetLabels()) != 3 || len(before.GetLabels()) != 3 {
		t.Error("the desired object was changed")
	}
	// What replaces live is as desired.
	if c := Compare([]mesh.Object{want}, []mesh.Object{got}, Options{}); len(c) > 0 {
		t.Errorf("%+v", c)
	}
}

// What a plan that was not finished left must go under every policy, and is no
// drift; under the same name, what somebody else wrote is.
func TestWhatIsThereOnlyMeanwhile(t *testing.T) {
	ours := desired(t, "msp-allow")
	ours.SetName(mesh.Temporary("allow"))
	ours = written(t, ours)
	theirs := ours.DeepCopyObject().(mesh.Object)
	by(theirs, "kubectl-create", 60, `{"f:spec":{"f:rules":{}}}`)
	for name, r := range map[string]struct {
		live             mesh.Object
		unchanged, drift bool
	}{
		"ours":                           {ours, true, false},
		"ours, after a change":           {ours, false, false},
		"somebody's":                     {theirs, true, true},
		"somebody's, and intent changed": {theirs, false, false},
	} {
		got := Compare(nil, []mesh.Object{r.live}, Options{IntentUnchanged: r.unchanged})
		if len(got) != 1 || got[0].Drift != r.drift || !got[0].OutOfSync || !got[0].Prunable() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
