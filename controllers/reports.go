package controllers

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/apply"
	"github.com/meshsecurity/mesh-security-operator/internal/report"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// +kubebuilder:rbac:groups=openreports.io,resources=reports,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=wgpolicyk8s.io,resources=policyreports,verbs=get;list;watch;create;update;delete

// reports keeps one report a namespace, or one of the cluster, of the first kind that is served. It is
// written when its content changes, or when somebody else changed it.
type reports struct {
	// cache has the metadata of our own reports.
	cache client.Reader
	// client writes them.
	client client.Writer
	// served says whether a kind is served and in the cache.
	served func(report.DocumentKind) bool
	clock  func() time.Time
	// kinds are those that can be written, the first one that is served.
	kinds []report.DocumentKind

	mu sync.Mutex
	of map[string]reported
}

// reported is what was last written to a namespace.
type reported struct {
	kind   report.DocumentKind
	digest string
	// findings is a fingerprint of what it was made from.
	findings uint64
	uid      types.UID
	// generation counts the changes of the content, whoever makes them.
	generation int64
	at         time.Time
	// seen is true once the cache has shown it; foreign, where somebody else has
	// one of that name.
	seen, foreign bool
}

// reportsCache holds the operator's own reports, whoever else writes some.
func reportsCache(mgr ctrl.Manager) (cache.Cache, error) {
	opts := cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultLabelSelector:        labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}),
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
	}
	c, err := cache.New(mgr.GetConfig(), opts)
	if err != nil {
		return nil, fmt.Errorf("make a cache of reports: %w", err)
	}
	return c, mgr.Add(anyReplica{c})
}

func (r *reports) kind() (report.DocumentKind, bool) {
	for _, k := range r.kinds {
		if r.served(k) {
			return k, true
		}
	}
	return report.DocumentKind{}, false
}

// write brings the report of a namespace, or of the cluster, up to date, and says when to look again
// where the cache does not show yet what was written; 0: not before something happens.
func (r *reports) write(ctx context.Context, of metav1.ObjectMeta, findings []v1alpha1.Finding) (again time.Duration, err error) {
	kind, ok := r.kind()
	if !ok {
		return 0, nil
	}
	last, now := r.last(of.Namespace), r.clock()
	// To make it costs as much as to work the findings out.
	next := reported{kind: kind, digest: last.digest, findings: fingerprint(findings), at: now}
	var want *unstructured.Unstructured
	if last.kind.GVK != kind.GVK || last.findings != next.findings {
		if want, err = document(kind, of, findings); err != nil {
			return 0, err
		}
		next.digest = report.Digest(want)
	}
	have := snapshot.Metadata(kind.GVK)
	err = r.cache.Get(ctx, types.NamespacedName{Namespace: of.Namespace, Name: report.DocumentName}, have)
	same := last.kind.GVK == kind.GVK && last.digest == next.digest && (err != nil || last.uid == have.UID)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return 0, fmt.Errorf("read the report: %w", err)
	case err != nil && same && last.foreign:
		return 0, nil
	case err != nil && same && !last.seen && now.Sub(last.at) < apply.Patience,
		err == nil && same && have.Generation < last.generation && now.Sub(last.at) < apply.Patience:
		return apply.Patience, nil
	case err == nil && report.Digest(have) == next.digest && (!same || have.Generation <= last.generation):
		next.uid, next.generation, next.seen = have.UID, have.Generation, true
		r.remember(of.Namespace, next)
		return 0, nil
	}
	if want == nil {
		var bad error
		if want, bad = document(kind, of, findings); bad != nil {
			return 0, bad
		}
	}
	if err == nil {
		want.SetUID(have.UID)
		want.SetResourceVersion(have.ResourceVersion)
	}
	return 0, r.send(ctx, want, next)
}

// Fingerprints differ from one run of the operator to the next.
var seed = maphash.MakeSeed()

func fingerprint(findings []v1alpha1.Finding) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, f := range findings {
		maphash.WriteComparable(&h, f)
	}
	return h.Sum64()
}

func document(kind report.DocumentKind, of metav1.ObjectMeta, findings []v1alpha1.Finding) (*unstructured.Unstructured, error) {
	out, err := report.Document(kind, of, findings)
	if err != nil {
		return nil, fmt.Errorf("make the report: %w", err)
	}
	return out, nil
}

// send writes a report, in the place of the one whose version it has.
func (r *reports) send(ctx context.Context, want *unstructured.Unstructured, next reported) (err error) {
	owner := client.FieldOwner(v1alpha1.ManagedByValue)
	if want.GetResourceVersion() == "" {
		err = r.client.Create(ctx, want, owner)
	} else {
		err = r.client.Update(ctx, want, owner)
	}
	switch {
	case apierrors.IsAlreadyExists(err):
		ctrl.LoggerFrom(ctx).Info("The report is somebody else's, and is left", "report", next.kind.String()+" "+report.DocumentName)
		next.foreign = true
	case err != nil:
		return fmt.Errorf("write the report: %w", err)
	default:
		next.uid, next.generation = want.GetUID(), want.GetGeneration()
	}
	r.remember(want.GetNamespace(), next)
	return nil
}

func (r *reports) remember(namespace string, is reported) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[namespace] = is
}

// remove takes the report of a namespace away of which nothing is declared any more.
func (r *reports) remove(ctx context.Context, namespace string) error {
	kind, ok := r.kind()
	if !ok {
		return nil
	}
	have := snapshot.Metadata(kind.GVK)
	err := r.cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: report.DocumentName}, have)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		uid := have.UID
		err = r.client.Delete(ctx, have, client.Preconditions{UID: &uid})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, namespace)
	return client.IgnoreNotFound(err)
}

func (r *reports) last(namespace string) reported {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[namespace]
}

// reportChanged looks at the content alone.
func reportChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() || report.Digest(before) != report.Digest(after)
}
