package controllers

import (
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// A list by this one name, and no other, is what the right is for.
//
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=istio-ca-root-cert,verbs=list;watch

// rootsCache holds what istiod tells each namespace's proxies to trust. It is a
// cache of its own, since no other ConfigMap outside of the mesh's namespace may be read.
func rootsCache(mgr ctrl.Manager) (cache.Cache, error) {
	opts := cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultFieldSelector:        fields.OneTermEqualSelector("metadata.name", snapshot.RootConfigMap),
		DefaultTransform:            snapshot.RootTrim(),
		ReaderFailOnMissingInformer: true,
	}
	c, err := cache.New(mgr.GetConfig(), opts)
	if err != nil {
		return nil, fmt.Errorf("make a cache of roots: %w", err)
	}
	return c, mgr.Add(anyReplica{c})
}
