package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh/providers"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Decision is what is to be done for the profile in force.
type Decision struct {
	// Profile is the one in force; nil where there is none, or where the
	// profile or the namespace is being deleted.
	Profile    *v1alpha1.MeshSecurityProfile
	Resolution posture.Resolution
	// Unsupported says why the namespace's mesh can't be programmed; empty where it can.
	Unsupported string
	// Compiled is false where there is nothing to go by: what was last written
	// stays as it is, and nothing is pruned.
	Compiled bool
	Result   mesh.Result
	// Desired are the objects that are to be in the cluster and whose kind is served.
	Desired []mesh.Object
	// Unserved are kinds that are needed and that the API server does not serve, as GROUP/KIND.
	Unserved []string
	// Digest is the fingerprint of everything desired.
	Digest string
	// Changes are the differences between what is desired and what is there.
	Changes []drift.Change
	// Steps are what is to be written, in order.
	Steps []plan.Step
	// Paused is true where the profile's annotation stops all writes.
	Paused bool
}

// Make decides what to do in a namespace at the time now.
func Make(o facts.Observed, now time.Time) Decision {
	if len(o.Profiles) == 0 || o.Profiles[0].DeletionTimestamp != nil || o.Facts.Namespace.Terminating {
		return Decision{}
	}
	d := Decision{Profile: o.Profiles[0]}
	d.Paused = d.Profile.Annotations[v1alpha1.AnnotationPaused] == "true"
	d.Resolution = posture.Resolve(d.Profile, o.Facts, now)
	compiler, ok := providers.Find(o.Facts.Mesh.Provider, o.Facts.Mesh.DataPlane)
	if !ok {
		d.Unsupported = fmt.Sprintf("this version can't program %s: nothing is written for it",
			strings.TrimSpace(string(o.Facts.Mesh.Provider)+" "+string(o.Facts.Mesh.DataPlane)))
	}
	if !ok || !d.Resolution.Compilable() {
		return d
	}
	d.Compiled = true
	d.Result = compiler.Compile(d.Resolution.Posture, o.Facts)
	d.Digest = drift.Digest(d.Result.Objects)
	d.Desired, d.Unserved = served(d.Result.Objects, o.Facts.Mesh.MissingKinds)
	d.Changes = drift.Compare(d.Desired, o.Live, drift.Options{
		IntentUnchanged: d.Digest == d.Profile.Status.AppliedDigest,
		Known:           func(uid types.UID) bool { return o.Ours[uid] },
	})
	// An object that bears our label under a name that we never give is not ours to judge.
	d.Changes = slices.DeleteFunc(d.Changes, func(c drift.Change) bool { return c.Type == drift.Unexpected && !c.Prunable() })
	if !d.Paused {
		d.Steps = plan.Make(slices.DeleteFunc(slices.Clone(d.Changes), d.Left))
	}
	return d
}

// Left says whether a change is left as it is: somebody else's object, or
// drift that is only to be reported.
func (d Decision) Left(c drift.Change) bool {
	return d.Paused || c.Type == drift.Conflict ||
		(c.Drift && !c.OutOfSync && d.Resolution.Posture.DriftPolicy == v1alpha1.DriftReport)
}

// served separates the objects whose kind the API server serves from the names of the other kinds.
func served(objects []mesh.Object, missing []string) (out []mesh.Object, unserved []string) {
	for _, o := range objects {
		k, _ := mesh.KindOf(o)
		if kind := k.GVK.GroupKind().String(); slices.Contains(missing, kind) {
			unserved = append(unserved, kind)
			continue
		}
		out = append(out, o)
	}
	slices.Sort(unserved)
	return out, slices.Compact(unserved)
}
