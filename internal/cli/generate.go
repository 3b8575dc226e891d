package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	networkingapi "istio.io/api/networking/v1"
	securityapi "istio.io/api/security/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/effective"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

func (a *app) generate() *cobra.Command {
	mode := string(v1alpha1.ModeAudit)
	cmd := &cobra.Command{
		Use:   "generate [FOLDER...]",
		Short: "Write a first profile of a namespace, from what holds there now",
		Long: `Write a first profile of a namespace, from what holds there now: the modes of
mutual TLS of its workloads, who is let in by AuthorizationPolicies, and the
hosts of its ServiceEntries. Workloads that are open today stay so by a rule
that says it, which is to be narrowed.

The profile is on standard output. On standard error is what could not be taken
over, and what the profile would deny or let through with enforcementMode
Enforce that is not so now.`,
		Example: `  kubectl meshsecurity generate -n payments > profile.yaml`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			s, err := a.load(cmd.Context(), paths...)
			if err != nil {
				return err
			}
			namespaces, err := a.namespaces(s)
			if err != nil {
				return err
			}
			if len(namespaces) != 1 {
				return fmt.Errorf("a profile is for one namespace: name it with -n, one of %s", mesh.Some(namespaces))
			}
			return a.writeGenerated(cmd.Context(), s, namespaces[0], v1alpha1.EnforcementMode(mode))
		},
	}
	cmd.Flags().Var(choice{&mode, []string{string(v1alpha1.ModeAudit), string(v1alpha1.ModeDryRun), string(v1alpha1.ModeEnforce)}}, "mode", "enforcementMode of the profile.")
	return cmd
}

func (a *app) writeGenerated(ctx context.Context, s *scene, namespace string, mode v1alpha1.EnforcementMode) error {
	l, err := s.at(ctx, namespace)
	if err != nil {
		return err
	}
	if len(l.observed.Profiles) > 0 && l.declared && !l.decision.Implied() {
		return fmt.Errorf("namespace %s has profile %s already: edit that one", namespace, l.observed.Profiles[0].Name)
	}
	g := generator{look: l, model: l.model(s.live)}
	p := g.profile()
	p.Spec.EnforcementMode = mode
	fields := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.KindProfile,
		"metadata": map[string]any{"name": p.Name, "namespace": p.Namespace}, "spec": p.Spec,
	}
	text, err := yaml.Marshal(fields)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.Out, "# From what holds in namespace %s now. Narrow the rules that say so, then go\n# from Audit by DryRun to Enforce.\n%s", namespace, text); err != nil {
		return err
	}
	out := &page{}
	for _, n := range g.notes {
		out.say("note: %s", n)
	}
	if err := g.prove(ctx, s, p, out); err != nil {
		return err
	}
	return out.writeText(a.Err, false)
}

// generator makes a profile of what holds.
type generator struct {
	look
	model *effective.Model
	// taken are policies of others that the profile says the same as.
	taken []client.Object
	notes []string
	names map[string]bool
}

func (g *generator) note(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

func (g *generator) profile() *v1alpha1.MeshSecurityProfile {
	p := &v1alpha1.MeshSecurityProfile{}
	p.Name, p.Namespace = g.namespace, g.namespace
	p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.KindProfile))
	g.names = map[string]bool{}
	p.Spec.MutualTLS = g.mutualTLS()
	p.Spec.Authorization = g.authorization()
	p.Spec.Egress = g.egress()
	return p
}

// mutualTLS is Strict where every port of every workload is, but for single
// ports that say otherwise.
func (g *generator) mutualTLS() *v1alpha1.MutualTLS {
	type port struct {
		owner facts.Owned
		n     int32
		mode  string
		by    effective.Ref
	}
	var weaker []port
	strict := 0
	for _, o := range g.observed.Facts.ByOwner() {
		labels := effective.Labels(o.Pods[0].Labels)
		if mode, by := g.model.MutualTLS(labels, 0); mode != "STRICT" {
			if by != (effective.Ref{}) {
				g.note("%s accepts plaintext on every port, by %s: the profile is Permissive", o.Owner, by.Kind+"/"+by.Name)
			}
			return &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSPermissive}
		}
		strict++
		for _, c := range o.Pods[0].Ports {
			if mode, by := g.model.MutualTLS(labels, c.Number); mode != "STRICT" {
				weaker = append(weaker, port{o, c.Number, mode, by})
			}
		}
	}
	if strict == 0 {
		g.note("no workload runs here: mutual TLS is left Permissive")
		return &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSPermissive}
	}
	out := &v1alpha1.MutualTLS{Mode: v1alpha1.MutualTLSStrict}
	for _, w := range weaker {
		mode := v1alpha1.PortPermissive
		if w.mode == "DISABLE" {
			mode = v1alpha1.PortDisable
		}
		out.PortOverrides = append(out.PortOverrides, v1alpha1.PortOverride{
			Name: g.name(fmt.Sprintf("%s-%d", w.owner.Owner.Name, w.n)), WorkloadSelector: *selector(w.owner), Port: w.n, Mode: mode,
			Reason: fmt.Sprintf("as it was by %s/%s when the profile was made", w.by.Kind, w.by.Name),
		})
	}
	return out
}

// authorization denies by default, and allows what is allowed now: what the
// policies of others say, and everybody where none is for a workload.
func (g *generator) authorization() *v1alpha1.Authorization {
	out := &v1alpha1.Authorization{DefaultAction: v1alpha1.DefaultDeny}
	var guarded []map[string]string
	for _, o := range g.observed.Live {
		p, ok := o.(*securityv1.AuthorizationPolicy)
		if !ok || p.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue {
			continue
		}
		if p.Annotations["istio.io/dry-run"] == "true" || len(p.Spec.GetTargetRefs()) > 0 || p.Spec.GetTargetRef() != nil {
			g.note("AuthorizationPolicy/%s is left as it is: it is a dry run, or for something else than workloads", p.Name)
			continue
		}
		action := v1alpha1.RuleAllow
		switch p.Spec.GetAction() {
		case securityapi.AuthorizationPolicy_ALLOW:
			guarded = append(guarded, p.Spec.GetSelector().GetMatchLabels())
		case securityapi.AuthorizationPolicy_DENY:
			action = v1alpha1.RuleDeny
		default:
			g.note("AuthorizationPolicy/%s is left as it is: its action is %s", p.Name, p.Spec.GetAction())
			continue
		}
		rules, why := g.rules(p, action)
		if why != "" {
			g.note("AuthorizationPolicy/%s is left as it is: %s", p.Name, why)
			continue
		}
		out.Rules = append(out.Rules, rules...)
		g.taken = append(g.taken, p)
	}
	var open []facts.Owned
	owners := g.observed.Facts.ByOwner()
	for _, o := range owners {
		if !slices.ContainsFunc(guarded, func(sel map[string]string) bool { return facts.Matches(sel, o.Pods[0].Labels) }) {
			open = append(open, o)
		}
	}
	anyone := []v1alpha1.Caller{{Entity: v1alpha1.EntityAnyone}}
	switch {
	case len(owners) == 0:
		g.note("no workload runs here: who may call is left to you")
	case len(open) == len(owners):
		out.Rules = append(out.Rules, v1alpha1.AuthorizationRule{Name: g.name("everybody"), From: anyone})
		g.note("everybody may call every workload now, and may still by rule everybody: narrow it%s", g.knownCallers())
	default:
		for _, o := range open {
			out.Rules = append(out.Rules, v1alpha1.AuthorizationRule{Name: g.name("everybody-to-" + o.Owner.Name), WorkloadSelector: selector(o), From: anyone})
			g.note("everybody may call %s now, and may still by a rule of the profile: narrow it%s", o.Owner, g.knownCallers())
		}
	}
	return out
}

// knownCallers names who is known to call from outside of the mesh's own rules.
func (g *generator) knownCallers() string {
	var from []string
	d := g.observed.Facts.Dependants
	for _, r := range d.Routes {
		from = append(from, r.Source.In(g.namespace))
	}
	for _, s := range d.Scrapes {
		from = append(from, s.Source.In(g.namespace))
	}
	if len(from) == 0 {
		return ""
	}
	slices.Sort(from)
	return "; these lead calls here: " + mesh.Some(slices.Compact(from))
}

// rules say the same as a policy; why says why they can't.
func (g *generator) rules(p *securityv1.AuthorizationPolicy, action v1alpha1.RuleAction) (out []v1alpha1.AuthorizationRule, why string) {
	var sel *v1alpha1.WorkloadSelector
	if labels := p.Spec.GetSelector().GetMatchLabels(); len(labels) > 0 {
		sel = selectorOf(labels)
	}
	for i, r := range p.Spec.GetRules() {
		rule := v1alpha1.AuthorizationRule{WorkloadSelector: sel}
		if action == v1alpha1.RuleDeny {
			rule.Action = action
		}
		if len(r.GetWhen()) > 0 {
			return nil, fmt.Sprintf("rules[%d] has conditions (when)", i)
		}
		for _, f := range r.GetFrom() {
			callers, why := g.callers(f.GetSource())
			if why != "" {
				return nil, fmt.Sprintf("rules[%d].from: %s", i, why)
			}
			rule.From = append(rule.From, callers...)
		}
		if len(r.GetFrom()) == 0 {
			rule.From = []v1alpha1.Caller{{Entity: v1alpha1.EntityAnyone}}
		}
		for _, t := range r.GetTo() {
			op, why := operation(t.GetOperation())
			if why != "" {
				return nil, fmt.Sprintf("rules[%d].to: %s", i, why)
			}
			rule.To = append(rule.To, op)
		}
		name := p.Name
		if len(p.Spec.GetRules()) > 1 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		rule.Name = g.name(name)
		out = append(out, rule)
	}
	return out, ""
}

func (g *generator) callers(s *securityapi.Source) (out []v1alpha1.Caller, why string) {
	if len(s.GetNotPrincipals())+len(s.GetNotNamespaces())+len(s.GetNotIpBlocks())+len(s.GetNotServiceAccounts())+
		len(s.GetNotRequestPrincipals())+len(s.GetRequestPrincipals())+len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0 {
		return nil, "a profile has no such callers: all but some, by token, or by a remote address"
	}
	kinds := 0
	for _, have := range [][]string{s.GetPrincipals(), s.GetNamespaces(), s.GetIpBlocks(), s.GetServiceAccounts()} {
		if len(have) > 0 {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, "several kinds of callers have to hold at once"
	}
	for _, p := range s.GetPrincipals() {
		parts := strings.Split(p, "/")
		if p == "*" {
			out = append(out, v1alpha1.Caller{Entity: v1alpha1.EntityAnyAuthenticated})
			continue
		}
		domain := cmp.Or(g.observed.Facts.Mesh.TrustDomain, "cluster.local")
		if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || strings.Contains(p, "*") || parts[0] != domain && parts[0] != "cluster.local" {
			return nil, "principal " + p + " is a pattern, or of another trust domain"
		}
		out = append(out, g.account(parts[2], parts[4]))
	}
	for _, n := range s.GetNamespaces() {
		if strings.Contains(n, "*") {
			return nil, "namespace " + n + " is a pattern"
		}
		out = append(out, v1alpha1.Caller{Namespace: v1alpha1.NamespaceName(n)})
	}
	for _, b := range s.GetIpBlocks() {
		if !strings.Contains(b, "/") {
			b += map[bool]string{true: "/128", false: "/32"}[strings.Contains(b, ":")]
		}
		out = append(out, v1alpha1.Caller{IPBlock: &v1alpha1.IPBlock{CIDR: v1alpha1.CIDR(b)}})
	}
	for _, sa := range s.GetServiceAccounts() {
		ns, name, ok := strings.Cut(sa, "/")
		if !ok {
			ns, name = g.namespace, sa
		}
		out = append(out, g.account(ns, name))
	}
	return out, ""
}

func (g *generator) account(namespace, name string) v1alpha1.Caller {
	ref := &v1alpha1.ServiceAccountReference{Name: v1alpha1.ObjectName(name)}
	if namespace != g.namespace {
		ref.Namespace = v1alpha1.NamespaceName(namespace)
	}
	return v1alpha1.Caller{ServiceAccount: ref}
}

func operation(o *securityapi.Operation) (out v1alpha1.Operation, why string) {
	if len(o.GetNotHosts())+len(o.GetNotMethods())+len(o.GetNotPaths())+len(o.GetNotPorts()) > 0 {
		return out, "all but some requests"
	}
	for _, p := range o.GetPorts() {
		n, err := strconv.ParseInt(p, 10, 32)
		if err != nil {
			return out, "port " + p + " is no number"
		}
		out.Ports = append(out.Ports, int32(n))
	}
	for _, m := range o.GetMethods() {
		if strings.Contains(m, "*") {
			return out, "method " + m + " is a pattern"
		}
		out.Methods = append(out.Methods, v1alpha1.HTTPMethod(m))
	}
	for _, p := range o.GetPaths() {
		if strings.ContainsAny(strings.TrimSuffix(p, "/*"), "*{}") {
			return out, "path " + p + " is a pattern that a profile does not have"
		}
		out.Paths = append(out.Paths, v1alpha1.HTTPPath(p))
	}
	for _, h := range o.GetHosts() {
		if strings.Contains(strings.TrimPrefix(h, "*."), "*") || strings.Contains(h, ":") {
			return out, "host " + h + " is a pattern that a profile does not have"
		}
		out.Hosts = append(out.Hosts, v1alpha1.Host(h))
	}
	return out, ""
}

// egress allows everything, as now, and knows the hosts that the namespace's own
// ServiceEntries declare: what is needed once it is to deny.
func (g *generator) egress() *v1alpha1.Egress {
	out := &v1alpha1.Egress{DefaultAction: v1alpha1.DefaultAllow}
	for _, o := range g.observed.Live {
		e, ok := o.(*networkingv1.ServiceEntry)
		if !ok || e.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue || e.Spec.GetLocation() != networkingapi.ServiceEntry_MESH_EXTERNAL {
			continue
		}
		target := v1alpha1.EgressTarget{}
		for _, h := range e.Spec.GetHosts() {
			target.Hosts = append(target.Hosts, v1alpha1.ExternalHost(h))
		}
		known := true
		for _, p := range e.Spec.GetPorts() {
			protocol := v1alpha1.EgressProtocol(strings.ToUpper(p.GetProtocol()))
			known = known && slices.Contains([]v1alpha1.EgressProtocol{v1alpha1.ProtocolTLS, v1alpha1.ProtocolHTTPS, v1alpha1.ProtocolHTTP,
				v1alpha1.ProtocolHTTP2, v1alpha1.ProtocolGRPC, v1alpha1.ProtocolTCP, v1alpha1.ProtocolMongo}, protocol)
			target.Ports = append(target.Ports, v1alpha1.EgressPort{Port: int32(p.GetNumber()), Protocol: protocol}) //nolint:gosec // a port
		}
		if !known || len(target.Ports) == 0 || len(target.Hosts) == 0 {
			g.note("ServiceEntry/%s is left out: it has no host or port, or a protocol that a profile does not have", e.Name)
			continue
		}
		out.Rules = append(out.Rules, v1alpha1.EgressRule{Name: g.name(e.Name), To: []v1alpha1.EgressTarget{target}, Via: v1alpha1.ViaDirect})
	}
	if len(out.Rules) == 0 {
		return nil
	}
	return out
}

// name makes a rule's name of another, once.
func (g *generator) name(of string) v1alpha1.RuleName {
	of = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(of)), "-")
	of = cmp.Or(strings.TrimRight(of[:min(len(of), 40)], "-"), "rule")
	if of == "default-deny" {
		of = "rule-default-deny"
	}
	name := of
	for i := 2; g.names[name]; i++ {
		name = fmt.Sprintf("%s-%d", of, i)
	}
	g.names[name] = true
	return v1alpha1.RuleName(name)
}

// selector selects a workload by the labels that all of its pods have, without
// those by which a controller tells its pods apart.
func selector(o facts.Owned) *v1alpha1.WorkloadSelector {
	labels := maps.Clone(o.Pods[0].Labels)
	for _, p := range o.Pods[1:] {
		maps.DeleteFunc(labels, func(k, v string) bool { return p.Labels[k] != v })
	}
	for _, by := range []string{"app", "app.kubernetes.io/name"} {
		if v, ok := labels[by]; ok {
			return selectorOf(map[string]string{by: v})
		}
	}
	maps.DeleteFunc(labels, func(k, _ string) bool {
		return slices.Contains([]string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "pod-template-generation"}, k) ||
			strings.Contains(k, "istio.io/")
	})
	// A selector has four labels at most.
	for _, k := range slices.Sorted(maps.Keys(labels))[min(len(labels), 4):] {
		delete(labels, k)
	}
	return selectorOf(labels)
}

func selectorOf(labels map[string]string) *v1alpha1.WorkloadSelector {
	out := &v1alpha1.WorkloadSelector{MatchLabels: map[string]v1alpha1.LabelValue{}}
	for k, v := range labels {
		out.MatchLabels[k] = v1alpha1.LabelValue(v)
	}
	return out
}

// prove says what would be different with the profile enforced, in the place of
// the policies that it took over.
func (g *generator) prove(ctx context.Context, s *scene, p *v1alpha1.MeshSecurityProfile, out *page) error {
	p = p.DeepCopy()
	p.Spec.EnforcementMode = v1alpha1.ModeEnforce
	p.UID = "uid-generated"
	for _, o := range g.taken {
		if err := s.Remove(o); err != nil {
			return err
		}
	}
	if err := s.Put(p); err != nil {
		return err
	}
	first, err := s.at(ctx, g.namespace)
	if err != nil {
		return err
	}
	if err := s.settle(first); err != nil {
		return err
	}
	last, err := s.at(ctx, g.namespace)
	if err != nil {
		return err
	}
	plan := NamespacePlan{Namespace: g.namespace}
	plan.describe(first, last)
	plan.compare(g.look, last, s.live)
	if len(g.taken) > 0 {
		var names []string
		for _, o := range g.taken {
			names = append(names, "AuthorizationPolicy/"+o.GetName())
		}
		out.say("note: the profile says the same as %s: delete %s once it is enforced", mesh.Some(names), map[bool]string{true: "it", false: "them"}[len(names) == 1])
	}
	switch problems := plan.problems(s.live); {
	case len(problems) > 0:
		out.say("Enforced, the profile would not do all that it declares:")
		out.list(problems)
	case plan.Incomplete:
		out.say("Whether anything would change with enforcementMode Enforce could not all be worked out.")
	case len(plan.Denied)+len(plan.Allowed) == 0:
		out.say("With enforcementMode Enforce nothing would be denied that is let through now, and nothing let through that is denied.")
	}
	if len(plan.Denied) > 0 {
		out.say("With enforcementMode Enforce this would be denied that is let through now:")
		out.list(plan.Denied)
	}
	if len(plan.Allowed) > 0 {
		out.say("With enforcementMode Enforce this would be let through that is denied now:")
		out.list(plan.Allowed)
	}
	return nil
}
