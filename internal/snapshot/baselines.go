package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// declared reads the baselines and exceptions for the namespace, and puts the
// profile that baselines imply first where there is none in force.
func (r *Reader) declared(ctx context.Context, out *facts.Observed) error {
	ns := out.Facts.Namespace
	selecting, err := r.Baselines(ctx, ns)
	if err != nil {
		return err
	}
	profiled := len(out.Profiles) > 0 && out.Profiles[0].DeletionTimestamp == nil
	applying, unprofiled := posture.Apply(selecting, profiled)
	out.Baselines = applying
	if !profiled && unprofiled != v1alpha1.UnprofiledIgnore {
		out.Profiles = slices.Insert(out.Profiles, 0, implied(ns.Name, v1alpha1.EnforcementMode(unprofiled)))
	}
	if len(out.Profiles) == 0 {
		return nil
	}
	out.Exceptions, err = r.exceptions(ctx, ns.Name)
	return err
}

// implied is the profile of a namespace that has none.
func implied(namespace string, mode v1alpha1.EnforcementMode) *v1alpha1.MeshSecurityProfile {
	return &v1alpha1.MeshSecurityProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
		Spec:       v1alpha1.MeshSecurityProfileSpec{EnforcementMode: mode},
	}
}

// Baselines lists the baselines that select a namespace, as they are in force
// there. The mesh's root namespace and the operator's own are never selected.
func (r *Reader) Baselines(ctx context.Context, ns facts.Namespace) ([]facts.Baseline, error) {
	var list v1alpha1.MeshSecurityBaselineList
	if err := r.Client.List(ctx, &list, noCopy); err != nil {
		return nil, fmt.Errorf("list baselines: %w", err)
	}
	var out []facts.Baseline
	for i := range list.Items {
		b := &list.Items[i]
		if b.DeletionTimestamp != nil {
			continue
		}
		rev, err := r.revisions.of(b)
		if err != nil {
			return nil, err
		}
		spec, revision := posture.InForce(b, rev.now, rev.before, ns.Labels)
		if spec == nil || !r.selects(spec, ns) {
			continue
		}
		out = append(out, facts.Baseline{
			Name: b.Name, UID: b.UID, Revision: revision, Spec: spec,
			Paused: b.Annotations[v1alpha1.AnnotationPaused] == "true",
			Held:   slices.Contains(b.Finalizers, v1alpha1.Finalizer),
		})
	}
	slices.SortFunc(out, func(a, b facts.Baseline) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (r *Reader) selects(spec *v1alpha1.MeshSecurityBaselineSpec, ns facts.Namespace) bool {
	return !r.Root(ns.Name) && posture.Selects(spec, ns.Name, ns.Labels, r.Namespace)
}

// Selected says whether a baseline's spec selects a namespace, and the revision
// of it that is to be in force there; empty where it has not got there yet.
func (r *Reader) Selected(b *v1alpha1.MeshSecurityBaseline, ns facts.Namespace) (revision string, selected bool, err error) {
	if !r.selects(&b.Spec, ns) {
		return "", false, nil
	}
	rev, err := r.revisions.of(b)
	if err != nil {
		return "", false, err
	}
	_, revision = posture.InForce(b, rev.now, rev.before, ns.Labels)
	return revision, true, nil
}

// ExceptionIndex finds exceptions by the namespaces that they name.
const ExceptionIndex = "namespaces"

// ExceptionNamespaces are the keys of ExceptionIndex.
func ExceptionNamespaces(o client.Object) []string {
	e, ok := o.(*v1alpha1.MeshSecurityException)
	if !ok {
		return nil
	}
	out := make([]string, 0, len(e.Spec.Namespaces))
	for _, ns := range e.Spec.Namespaces {
		out = append(out, string(ns))
	}
	return out
}

func (r *Reader) exceptions(ctx context.Context, namespace string) ([]*v1alpha1.MeshSecurityException, error) {
	var list v1alpha1.MeshSecurityExceptionList
	if err := r.Client.List(ctx, &list, client.MatchingFields{ExceptionIndex: namespace}, noCopy); err != nil {
		return nil, fmt.Errorf("list exceptions: %w", err)
	}
	var out []*v1alpha1.MeshSecurityException
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			out = append(out, &list.Items[i])
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.MeshSecurityException) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Revision is a fingerprint of what a baseline declares, but for the order in
// which a change of it is rolled out.
func Revision(spec v1alpha1.MeshSecurityBaselineSpec) (string, error) {
	spec.Rollout = nil
	raw, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("fingerprint a baseline: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}

// revisions remembers, for each baseline, what would be worked out anew for
// every namespace that it selects.
type revisions struct {
	mu    sync.Mutex
	known map[types.UID]revision
}

type revision struct {
	generation int64
	// now is the fingerprint of the spec.
	now string
	// done is the fingerprint of what has reached every namespace, and before
	// its content where status keeps it.
	done   string
	before *v1alpha1.MeshSecurityBaselineSpec
}

func (m *revisions) of(b *v1alpha1.MeshSecurityBaseline) (revision, error) {
	done := ""
	if r := b.Status.RolledOut; r != nil {
		done = r.Revision
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.known[b.UID]; ok && r.generation == b.Generation && r.done == done {
		return r, nil
	}
	now, err := Revision(b.Spec)
	if err != nil {
		return revision{}, err
	}
	out := revision{generation: b.Generation, now: now, done: done}
	if r := b.Status.RolledOut; r != nil && r.Spec != nil {
		var before v1alpha1.MeshSecurityBaselineSpec
		// One that can't be read is as good as none: the change is not held back.
		// An error would keep every namespace from being looked after.
		if err := json.Unmarshal(r.Spec.Raw, &before); err == nil {
			out.before = &before
		}
	}
	if m.known == nil {
		m.known = map[types.UID]revision{}
	}
	m.known[b.UID] = out
	return out, nil
}
