package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	uid    types.UID
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
	want, err := report.Document(kind, of, findings)
	if err != nil {
		return 0, fmt.Errorf("make the report: %w", err)
	}
	last, now := r.last(of.Namespace), r.clock()
	have := snapshot.Metadata(kind.GVK)
	err = r.cache.Get(ctx, types.NamespacedName{Namespace: of.Namespace, Name: report.DocumentName}, have)
	same := last.kind.GVK == kind.GVK && last.digest == report.Digest(want) && (err != nil || last.uid == have.UID)
	owner := client.FieldOwner(v1alpha1.ManagedByValue)
	switch {
	case apierrors.IsNotFound(err):
		if same && last.foreign {
			return 0, nil
		}
		if same && !last.seen && now.Sub(last.at) < apply.Patience {
			return apply.Patience, nil
		}
		if err = r.client.Create(ctx, want, owner); apierrors.IsAlreadyExists(err) {
			ctrl.LoggerFrom(ctx).Info("The report is somebody else's, and is left", "report", kind.String()+" "+report.DocumentName)
			r.remember(of.Namespace, reported{kind: kind, digest: report.Digest(want), foreign: true})
			return 0, nil
		}
	case err != nil:
		return 0, fmt.Errorf("read the report: %w", err)
	case same && have.Generation < last.generation && now.Sub(last.at) < apply.Patience:
		return apply.Patience, nil
	case report.Digest(have) == report.Digest(want) && (!same || have.Generation <= last.generation):
		r.remember(of.Namespace, reported{kind: kind, digest: report.Digest(want), uid: have.UID, generation: have.Generation, at: now, seen: true})
		return 0, nil
	default:
		want.SetUID(have.UID)
		want.SetResourceVersion(have.ResourceVersion)
		err = r.client.Update(ctx, want, owner)
	}
	if err != nil {
		return 0, fmt.Errorf("write the report: %w", err)
	}
	r.remember(of.Namespace, reported{kind: kind, digest: report.Digest(want), uid: want.GetUID(), generation: want.GetGeneration(), at: now})
	return 0, nil
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
