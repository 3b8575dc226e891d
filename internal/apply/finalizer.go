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
	return w.finalizers(ctx, p, append(slices.Clone(p.Finalizers), v1alpha1.Finalizer))
}

// LetGo takes the finalizer off a profile that is being deleted. One that is
// gone already is no error.
func (w *Writer) LetGo(ctx context.Context, p *v1alpha1.MeshSecurityProfile) error {
	_, err := w.finalizers(ctx, p, slices.DeleteFunc(slices.Clone(p.Finalizers), func(f string) bool { return f == v1alpha1.Finalizer }))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finalizers replaces the list, if the profile is still the one that was seen:
// a merge patch replaces lists as a whole, others' finalizers among them.
func (w *Writer) finalizers(ctx context.Context, p *v1alpha1.MeshSecurityProfile, list []string) (*v1alpha1.MeshSecurityProfile, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": list, "resourceVersion": p.ResourceVersion, "uid": p.UID,
	}})
	if err != nil {
		return nil, err
	}
	p = p.DeepCopy()
	if err := w.client.Patch(ctx, p, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(v1alpha1.ManagedByValue)); err != nil {
		return nil, fmt.Errorf("set the finalizers of profile %s: %w", p.Name, err)
	}
	return p, nil
}
