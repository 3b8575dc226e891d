package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// syncCaches fills an informer of each kind.
func syncCaches(ctx context.Context, config *rest.Config, ready *atomic.Bool, kinds []string) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme),
		securityv1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), networkingv1alpha3.AddToScheme(scheme),
		telemetryv1.AddToScheme(scheme), extensionsv1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var filled []cache.InformerSynced
	for _, text := range kinds {
		text, namespace, _ := strings.Cut(text, "@")
		r, err := wire.ParseResource(text)
		if err != nil {
			return err
		}
		informer, err := informerOf(config, scheme, r, namespace)
		if err != nil {
			return err
		}
		filled = append(filled, informer.HasSynced)
		go informer.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), filled...) {
		return nil
	}
	ready.Store(true)
	<-ctx.Done()
	return nil
}

// informerOf is an informer of whole objects, or of their metadata where the
// operator too has no type for more.
func informerOf(config *rest.Config, scheme *runtime.Scheme, r wire.Resource, namespace string) (cache.SharedInformer, error) {
	gv := r.GroupVersion()
	if !scheme.IsVersionRegistered(gv) {
		client, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return metadatainformer.NewFilteredMetadataInformer(client, r, namespace, 0, nil, nil).Informer(), nil
	}
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	if r.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	if clientgoscheme.Scheme.IsVersionRegistered(gv) {
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return cache.NewSharedInformer(cache.NewListWatchFromClient(client, r.Resource, namespace, fields.Everything()), nil, 0), nil
}
