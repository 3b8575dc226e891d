package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit"
)

// DocumentKind is a kind of object in which the findings of a namespace are told.
type DocumentKind struct {
	GVK schema.GroupVersionKind
	// CRD is the name of the CustomResourceDefinition that serves it.
	CRD string
	// sourceEach is true where each result names its source, rather than the report.
	sourceEach bool
}

// DocumentKinds are the kinds that are written, the first one that is served:
// OpenReports, else its forerunner, the policy report of wgpolicyk8s.io.
func DocumentKinds() []DocumentKind {
	return []DocumentKind{
		{GVK: schema.GroupVersionKind{Group: "openreports.io", Version: "v1alpha1", Kind: "Report"}, CRD: "reports.openreports.io"},
		{GVK: schema.GroupVersionKind{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "PolicyReport"}, CRD: "policyreports.wgpolicyk8s.io", sourceEach: true},
	}
}

// ClusterDocumentKinds are the kinds in which the findings about the cluster as
// a whole are told, the first one that is served.
func ClusterDocumentKinds() []DocumentKind {
	return []DocumentKind{
		{GVK: schema.GroupVersionKind{Group: "openreports.io", Version: "v1alpha1", Kind: "ClusterReport"}, CRD: "clusterreports.openreports.io"},
		{GVK: schema.GroupVersionKind{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "ClusterPolicyReport"}, CRD: "clusterpolicyreports.wgpolicyk8s.io", sourceEach: true},
	}
}

const (
	// DocumentName is the name of the one report of a namespace, and of that of
	// the cluster.
	DocumentName = "msp-findings"
	// AnnotationDigest is a fingerprint of a report's content.
	AnnotationDigest = "meshsecurity.io/digest"
	// maxResultBytes of results keep a report far below what etcd takes, 1.5 MiB.
	maxResultBytes = 900 << 10
)

// Document is the report of a namespace, or of the cluster where meta names
// none: every finding, the worst first, and how many checks found nothing. What
// does not fit is counted, and a last result says how much of it there is.
func Document(kind DocumentKind, meta metav1.ObjectMeta, findings []v1alpha1.Finding) (*unstructured.Unstructured, error) {
	checks := map[string]audit.Check{}
	for _, c := range audit.Checks() {
		checks[c.ID] = c
	}
	counts := map[string]int64{"pass": 0, "fail": 0, "warn": 0, "error": 0, "skip": 0}
	found := map[string]bool{}
	var results []any
	size, left := 0, 0
	for _, f := range findings {
		r := result(kind, meta.Namespace, f, checks[f.Check])
		counts[outcome(f)]++
		found[f.Check] = true
		text, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if size += len(text); size > maxResultBytes {
			left++
			continue
		}
		results = append(results, r)
	}
	if left > 0 {
		counts["warn"]++
		results = append(results, unfit(kind, left))
	}
	for id, c := range checks {
		if !found[id] && c.Of(meta.Namespace != "") {
			counts["pass"]++
		}
	}
	summary := map[string]any{}
	for k, n := range counts {
		summary[k] = n
	}
	content := map[string]any{"summary": summary}
	if meta.Namespace != "" {
		content["scope"] = map[string]any{"apiVersion": "v1", "kind": "Namespace", "name": meta.Namespace}
	}
	if !kind.sourceEach {
		content["source"] = v1alpha1.ManagedByValue
	}
	if len(results) > 0 {
		content["results"] = results
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	out := &unstructured.Unstructured{Object: content}
	out.SetGroupVersionKind(kind.GVK)
	out.SetName(DocumentName)
	out.SetNamespace(meta.Namespace)
	out.SetLabels(meta.Labels)
	out.SetAnnotations(map[string]string{AnnotationDigest: hex.EncodeToString(sum[:16])})
	out.SetOwnerReferences(meta.OwnerReferences)
	return out, nil
}

// outcome of a check, in the words of a report: what can't be told is an error,
// and what an exception covers is skipped.
func outcome(f v1alpha1.Finding) string {
	switch f.State {
	case v1alpha1.FindingUnknown:
		return "error"
	case v1alpha1.FindingExcepted:
		return "skip"
	case v1alpha1.FindingOpen:
	}
	return "fail"
}

func result(kind DocumentKind, namespace string, f v1alpha1.Finding, c audit.Check) map[string]any {
	out := map[string]any{
		"policy": audit.Family(f.Check), "rule": f.Check, "category": "service mesh", "severity": strings.ToLower(string(f.Severity)),
		"result": outcome(f), "scored": true, "message": f.Message,
	}
	if kind.sourceEach {
		out["source"] = v1alpha1.ManagedByValue
	}
	if s := subject(namespace, f.Subject); s != nil {
		out["resources"] = []any{s}
	}
	properties := map[string]any{}
	for k, v := range map[string]string{
		"title": c.Title, "remediation": f.Remediation, "exception": f.Exception,
		"references": strings.Join(c.References, " "), "aliases": strings.Join(c.Aliases, " "), "compliance": strings.Join(c.Compliance, "; "),
	} {
		if v != "" {
			properties[k] = v
		}
	}
	if len(properties) > 0 {
		out["properties"] = properties
	}
	return out
}

// unfit says how many findings do not fit into a report.
func unfit(kind DocumentKind, n int) map[string]any {
	out := map[string]any{
		"policy": "report", "category": "service mesh", "result": "warn", "scored": false,
		"message": fmt.Sprintf("%d more findings are counted and do not fit into this report: they are told once some of these are mended", n),
	}
	if kind.sourceEach {
		out["source"] = v1alpha1.ManagedByValue
	}
	return out
}

// subject is what KIND/NAME or KIND/NAMESPACE/NAME of a finding names.
func subject(namespace, text string) map[string]any {
	parts := strings.Split(text, "/")
	switch len(parts) {
	case 2:
	case 3:
		namespace = parts[1]
	default:
		return nil
	}
	out := map[string]any{"kind": parts[0], "name": parts[len(parts)-1]}
	if namespace != "" && parts[0] != "Namespace" && parts[0] != v1alpha1.KindBaseline && parts[0] != v1alpha1.KindException {
		out["namespace"] = namespace
	}
	return out
}

// Digest is the fingerprint of the content of a report, as it was written.
func Digest(o metav1.Object) string { return o.GetAnnotations()[AnnotationDigest] }

// String is GROUP/KIND.
func (k DocumentKind) String() string { return fmt.Sprintf("%s/%s", k.GVK.Group, k.GVK.Kind) }
