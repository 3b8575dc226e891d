package offline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/offline"
	"github.com/meshsecurity/mesh-security-operator/internal/snapshot"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// Operator is what an operator is told by flags, as operator.yaml has it.
type Operator struct {
	PolicyEnforced facts.Tristate `json:"policyEnforced"`
	ClusterCIDRs   []string       `json:"clusterCIDRs"`
	ClusterDomain  string         `json:"clusterDomain"`
	// Unread are kinds, as KIND.GROUP, that it has no right to read.
	Unread []string `json:"unread"`
}

// Defaults are those of a cluster whose network enforces NetworkPolicy.
func Defaults() Operator {
	return Operator{PolicyEnforced: facts.Yes, ClusterDomain: "cluster.local", ClusterCIDRs: []string{"10.0.0.0/8", "fd00::/8"}}
}

// Read returns the objects of YAML files, as internal/offline reads them.
func Read(files ...string) ([]client.Object, error) {
	docs, err := offline.Read(nil, files...)
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for _, d := range docs {
		// Golden files name owners by this.
		if d.GetUID() == types.UID("uid-"+d.GetNamespace()+"-"+d.GetName()) {
			d.SetUID(types.UID("uid-" + d.GetName()))
		}
		out = append(out, d.Object)
	}
	return out, nil
}

// Overlay puts objects on top of others: one of the same kind and name takes the
// other's place, and one with the annotation takes it away.
func Overlay(base, over []client.Object) []client.Object {
	replaced := map[string]bool{}
	var out []client.Object
	for _, o := range over {
		replaced[key(o)] = true
		if o.GetAnnotations()[Absent] != "true" {
			out = append(out, o)
		}
	}
	for _, o := range base {
		if !replaced[key(o)] {
			out = append(out, o)
		}
	}
	return out
}

// Absent is the annotation by which Overlay takes an object away.
const Absent = "golden/absent"

func key(o client.Object) string {
	return o.GetObjectKind().GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Cluster is one made of objects, and the operator's way of reading it.
type Cluster struct {
	*offline.Cluster
	Reader *snapshot.Reader
	// implied are statuses by namespace, where there is no profile to keep one.
	implied map[string]v1alpha1.MeshSecurityProfileStatus
}

// New makes a cluster of objects, as Read returns them.
func New(objects []client.Object, o Operator) (*Cluster, error) {
	c := &Cluster{Cluster: offline.NewCluster(), implied: map[string]v1alpha1.MeshSecurityProfileStatus{}}
	for _, obj := range objects {
		if err := c.Put(obj.DeepCopyObject().(client.Object)); err != nil {
			return nil, err
		}
	}
	c.Reader = c.Cluster.Reader(offline.Settings{MeshNamespace: "istio-system", ClusterDomain: o.ClusterDomain, Network: facts.Network{
		PolicyEnforced: o.PolicyEnforced, ClusterCIDRs: o.ClusterCIDRs,
		DNS: facts.DNS{Namespace: "kube-system", PodLabels: map[string]string{"k8s-app": "kube-dns"}},
	}})
	// Nothing tells what admission refuses: golden cases say so.
	c.Reader.GuardsRead = nil
	served := c.Reader.Dependant
	c.Reader.Dependant = func(k schema.GroupKind) (string, facts.Tristate) {
		if slices.Contains(o.Unread, k.String()) {
			return "", facts.Unknown
		}
		return served(k)
	}
	return c, nil
}

// Reconcile does in a namespace what the controller does, at the time now: what
// is decided is written, and so is the status. Nothing happens where nothing is
// declared for the namespace: then the decision has no profile.
func (c *Cluster) Reconcile(ctx context.Context, namespace string, now time.Time) (decide.Decision, status.Result, error) {
	observed, err := c.Reader.Read(ctx, namespace)
	if err != nil {
		return decide.Decision{}, status.Result{}, err
	}
	if before, ok := c.implied[namespace]; ok && len(observed.Profiles) > 0 {
		observed.Profiles[0].Status = before
	}
	d := decide.Make(observed, now)
	if d.Profile == nil {
		return d, status.Result{}, nil
	}
	d.Profile = d.Profile.DeepCopy()
	r := status.Compute(status.Input{Profile: d.Profile, Observed: observed, Decision: d, Now: now})
	d.Profile.Status = r.Status
	if d.Implied() {
		c.implied[namespace] = r.Status
	} else if err := c.Put(d.Profile); err != nil {
		return d, r, fmt.Errorf("write the status of profile %s/%s: %w", namespace, d.Profile.Name, err)
	}
	for _, o := range d.Desired {
		// What is there already is what a second look must not want to change.
		obj := o.DeepCopyObject().(client.Object)
		if err := c.Get(ctx, client.ObjectKeyFromObject(obj), o.DeepCopyObject().(client.Object)); err == nil {
			continue
		}
		if err := c.Put(obj); err != nil {
			return d, r, fmt.Errorf("write %s: %w", offline.Named(obj), err)
		}
	}
	return d, r, nil
}
