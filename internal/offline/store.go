package offline

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
)

// Scheme has the types of everything that is read, but for kinds whose types are
// not imported.
var Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme,
		securityv1.AddToScheme, networkingv1.AddToScheme, telemetryv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}()

// Store holds objects and answers reads, by indexes too, as the operator's cache
// does. It is not safe for concurrent use while objects are put.
type Store struct {
	of      map[schema.GroupKind]map[types.NamespacedName]client.Object
	indexes map[schema.GroupKind]map[string]client.IndexerFunc
}

var _ client.Reader = &Store{}

// NewStore returns an empty one.
func NewStore() *Store {
	s := &Store{of: map[schema.GroupKind]map[types.NamespacedName]client.Object{}, indexes: map[schema.GroupKind]map[string]client.IndexerFunc{}}
	add := func(kind schema.GroupKind, field string, keys client.IndexerFunc) {
		if s.indexes[kind] == nil {
			s.indexes[kind] = map[string]client.IndexerFunc{}
		}
		s.indexes[kind][field] = keys
	}
	for _, i := range snapshot.Indexes() {
		add(i.Kind.GroupKind(), i.Field, i.Keys)
	}
	for _, k := range snapshot.DependantKinds() {
		add(k.GroupKind, snapshot.ConcernsIndex, k.Concerns)
		for field, keys := range snapshot.ClusterIndexes(k.GroupKind) {
			add(k.GroupKind, field, keys)
		}
	}
	for _, i := range snapshot.CoreIndexes() {
		gvk, err := apiutil.GVKForObject(i.Object, Scheme)
		utilruntime.Must(err)
		add(gvk.GroupKind(), i.Field, i.Keys)
	}
	return s
}

// Put adds an object, or takes the place of one of the same kind and name.
func (s *Store) Put(o client.Object) error {
	gvk, err := apiutil.GVKForObject(o, Scheme)
	if err != nil {
		return fmt.Errorf("put %T: %w", o, err)
	}
	kind := gvk.GroupKind()
	if s.of[kind] == nil {
		s.of[kind] = map[types.NamespacedName]client.Object{}
	}
	s.of[kind][client.ObjectKeyFromObject(o)] = o
	return nil
}

// Remove takes an object away; nothing happens where it is not there.
func (s *Store) Remove(o client.Object) error {
	gvk, err := apiutil.GVKForObject(o, Scheme)
	if err != nil {
		return fmt.Errorf("remove %T: %w", o, err)
	}
	delete(s.of[gvk.GroupKind()], client.ObjectKeyFromObject(o))
	return nil
}

// All are the objects of a kind, sorted by namespace and name.
func (s *Store) All(kind schema.GroupKind) []client.Object {
	var out []client.Object
	for _, o := range s.of[kind] {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Get implements client.Reader.
func (s *Store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(into, Scheme)
	if err != nil {
		return err
	}
	have, ok := s.of[gvk.GroupKind()][key]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, key.Name)
	}
	return assign(into, have)
}

// List implements client.Reader.
func (s *Store) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(into, Scheme)
	if err != nil {
		return err
	}
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	var o client.ListOptions
	o.ApplyOptions(opts)
	var items []client.Object
	for _, have := range s.All(gvk.GroupKind()) {
		if o.Namespace != "" && have.GetNamespace() != o.Namespace || o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(have.GetLabels())) {
			continue
		}
		match, err := s.selected(gvk.GroupKind(), have, o.FieldSelector)
		if err != nil {
			return err
		}
		if !match {
			continue
		}
		if _, bare := into.(*metav1.PartialObjectMetadataList); bare {
			m := &metav1.PartialObjectMetadata{}
			m.SetGroupVersionKind(gvk)
			if err := assign(m, have); err != nil {
				return err
			}
			have = m
		}
		items = append(items, have)
	}
	return setItems(into, items)
}

func (s *Store) selected(kind schema.GroupKind, o client.Object, by fields.Selector) (bool, error) {
	if by == nil || by.Empty() {
		return true, nil
	}
	for _, r := range by.Requirements() {
		keys := s.indexes[kind][r.Field]
		if keys == nil {
			return false, fmt.Errorf("%s has no index %s", kind, r.Field)
		}
		if !slices.Contains(keys(o), r.Value) {
			return false, nil
		}
	}
	return true, nil
}

// assign copies what is held into what a caller gave, which may be its metadata alone.
func assign(into, have client.Object) error {
	if m, ok := into.(*metav1.PartialObjectMetadata); ok {
		a, err := meta.Accessor(have)
		if err != nil {
			return err
		}
		gvk := m.GroupVersionKind()
		m.ObjectMeta = *meta.AsPartialObjectMetadata(a).ObjectMeta.DeepCopy()
		m.SetGroupVersionKind(gvk)
		return nil
	}
	if u, ok := into.(*unstructured.Unstructured); ok {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(have)
		if err != nil {
			return err
		}
		u.Object = fields
		return nil
	}
	from, to := reflect.ValueOf(have), reflect.ValueOf(into)
	if from.Type() != to.Type() {
		return fmt.Errorf("%T asked for, and %T is there", into, have)
	}
	to.Elem().Set(from.Elem())
	return nil
}

// setItems is meta.SetList for lists of pointers too, as those of Istio's kinds
// are, and without a copy of what is in the objects.
func setItems(into client.ObjectList, items []client.Object) error {
	at, err := meta.GetItemsPtr(into)
	if err != nil {
		return err
	}
	list := reflect.ValueOf(at).Elem()
	out := reflect.MakeSlice(list.Type(), 0, len(items))
	for _, item := range items {
		v := reflect.ValueOf(item)
		switch want := list.Type().Elem(); {
		case v.Type() == want:
		case v.Elem().Type() == want:
			v = v.Elem()
		default:
			return fmt.Errorf("%T asked for, and %T is there", into, item)
		}
		out = reflect.Append(out, v)
	}
	list.Set(out)
	return nil
}
