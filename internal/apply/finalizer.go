package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
)

// Hold puts the finalizer on a profile, before anything is written for it. The
// answer is in the profile that it returns.
func (w *Writer) Hold(ctx context.Context, p *v1alpha1.MeshSecurityProfile) (*v1alpha1.MeshSecurityProfile, error) {
	return finalizers(ctx, w.client, p, append(slices.Clone(p.Finalizers), v1alpha1.Finalizer))
}

// HoldBaseline does the same with a baseline.
func (w *Writer) HoldBaseline(ctx context.Context, b *v1alpha1.MeshSecurityBaseline) (*v1alpha1.MeshSecurityBaseline, error) {
	return finalizers(ctx, w.client, b, append(slices.Clone(b.Finalizers), v1alpha1.Finalizer))
}

// LetBaselineGo is LetGo for a baseline.
func (w *Writer) LetBaselineGo(ctx context.Context, b *v1alpha1.MeshSecurityBaseline) error {
	return letGo(ctx, w.client, b)
}

// LetGo takes the finalizer off a profile that is being deleted. One that is
// gone already is no error.
func (w *Writer) LetGo(ctx context.Context, p *v1alpha1.MeshSecurityProfile) error {
	return letGo(ctx, w.client, p)
}

func letGo[T client.Object](ctx context.Context, c client.Writer, o T) error {
	_, err := finalizers(ctx, c, o, slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == v1alpha1.Finalizer }))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finalizers replaces the list, if the object is still the one that was seen: a
// merge patch replaces lists as a whole, others' finalizers among them.
func finalizers[T client.Object](ctx context.Context, c client.Writer, o T, list []string) (T, error) {
	var none T
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": list, "resourceVersion": o.GetResourceVersion(), "uid": o.GetUID(),
	}})
	if err != nil {
		return none, err
	}
	out, ok := o.DeepCopyObject().(T)
	if !ok {
		return none, fmt.Errorf("%T: not an object", o)
	}
	if err := c.Patch(ctx, out, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(v1alpha1.ManagedByValue)); err != nil {
		return none, fmt.Errorf("set the finalizers of %s: %w", o.GetName(), err)
	}
	return out, nil
}
