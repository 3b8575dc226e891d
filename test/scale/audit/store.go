package main

import (
	"context"
	"fmt"
	"reflect"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// store is what the operator's cache would hold: trimmed and indexed alike, and
// read without copies.
type store map[reflect.Type]cache.Indexer

const byNamespace = "namespace"

// field are the indexes of a kind.
func fields(of client.Object) map[string]client.IndexerFunc {
	out := map[string]client.IndexerFunc{}
	switch of.(type) {
	case *corev1.Pod:
		out[snapshot.AgentIndex] = snapshot.AgentRole
	case *apiextensionsv1.CustomResourceDefinition:
		out[snapshot.ConcernsIndex] = snapshot.CRDConcerns
	case *v1alpha1.MeshSecurityException:
		out[snapshot.ExceptionIndex] = snapshot.ExceptionNamespaces
	case *networkingv1.ServiceEntry, *networkingv1.DestinationRule, *networkingv1.Sidecar, *networkingv1.Gateway, *securityv1.AuthorizationPolicy:
		kind := reflect.TypeOf(of).Elem().Name()
		for _, i := range snapshot.Indexes() {
			if i.Kind.Kind == kind {
				out[i.Field] = i.Keys
			}
		}
	}
	return out
}

func (s store) of(o client.Object) cache.Indexer {
	t := reflect.TypeOf(o).Elem()
	if s[t] == nil {
		indexers := cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc}
		for name, keys := range fields(o) {
			indexers[name] = func(o any) ([]string, error) {
				obj, ok := o.(client.Object)
				if !ok {
					return nil, fmt.Errorf("%T is not an object", o)
				}
				return keys(obj), nil
			}
		}
		s[t] = cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers)
	}
	return s[t]
}

// put stores an object as the cache would.
func (s store) put(o client.Object) error {
	trimmed, err := snapshot.Trim(o)
	if err != nil {
		return err
	}
	return s.of(o).Update(trimmed)
}

// Get is client.Reader's.
func (s store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	name := key.Name
	if key.Namespace != "" {
		name = key.String()
	}
	found, exists, err := s.of(into).GetByKey(name)
	if err != nil {
		return err
	}
	if !exists {
		return apierrors.NewNotFound(schema.GroupResource{Resource: reflect.TypeOf(into).Elem().Name()}, key.Name)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(found).Elem())
	return nil
}

// List is client.Reader's.
func (s store) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	items, err := meta.GetItemsPtr(list)
	if err != nil {
		return err
	}
	t := reflect.TypeOf(items).Elem().Elem()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	one, ok := reflect.New(t).Interface().(client.Object)
	if !ok {
		return fmt.Errorf("%s is not an object", t)
	}
	index := s.of(one)
	var found []any
	switch {
	case o.FieldSelector != nil:
		r := o.FieldSelector.Requirements()[0]
		found, err = index.ByIndex(r.Field, r.Value)
	case o.Namespace != "":
		found, err = index.ByIndex(byNamespace, o.Namespace)
	default:
		found = index.List()
	}
	if err != nil {
		return err
	}
	var objects []runtime.Object
	for _, f := range found {
		obj, ok := f.(client.Object)
		if ok && (o.Namespace == "" || obj.GetNamespace() == o.Namespace) && (o.LabelSelector == nil || o.LabelSelector.Matches(labelsOf(obj))) {
			objects = append(objects, obj)
		}
	}
	return meta.SetList(list, objects)
}
