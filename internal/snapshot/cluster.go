package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/audit/bulletins"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/posture"
)

// Cluster returns what there is to know about the cluster as a whole. It reads
// the cache alone, by indexes of what is out of the ordinary, so that it costs
// little however large the cluster is.
func (r *Reader) Cluster(ctx context.Context) (facts.Cluster, error) {
	var out facts.Cluster
	var errs []error
	var err error
	out.Mesh, err = r.mesh(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.MeshNamespace}}, nil)
	errs = append(errs, err)
	errs = append(errs, r.controlPlanes(ctx, &out), r.exceptionsOfCluster(ctx, &out), r.certificates(ctx, &out), r.perimeter(ctx, &out), r.control(ctx, &out))
	out.Unread = unique(out.Unread)
	return out, errors.Join(errs...)
}

// ConcernsCluster says whether Cluster reads something of an object. Events of
// others don't wake the audit of the cluster.
func ConcernsCluster(o client.Object) bool {
	switch o := o.(type) {
	case *v1alpha1.MeshSecurityException, *v1alpha1.MeshSecurityBaseline:
		return true
	case *metav1.PartialObjectMetadata:
		// The cluster's own report: whoever changes it is answered.
		return strings.HasPrefix(o.Kind, "Cluster") && strings.HasSuffix(o.Kind, "Report")
	}
	return OfControlPlane(o) || len(LongLived(o)) > 0 || len(withCredential(o)) > 0 || ofPerimeter(o) || concernsControl(o)
}

// OfControlPlane says whether an object tells of the mesh's control plane: an
// istiod, a mesh configuration, or the table of bulletins beside them.
func OfControlPlane(o client.Object) bool {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Labels["app"] == istiodApp
	case *corev1.ConfigMap:
		return o.Name == "istio" || strings.HasPrefix(o.Name, "istio-") || o.Name == bulletins.ConfigMap
	}
	return false
}

// istiodApp is the label app of istiod (istio/istio, manifests/charts/istio-control).
const istiodApp = "istiod"

// settings are the environment variables of istiod that are kept
// (istio.io/docs, pilot-discovery).
var settings = []string{
	skipTrustDomain, "XDS_AUTH", "PILOT_ENABLE_XDS_IDENTITY_CHECK", "ENABLE_DEBUG_ENDPOINT_AUTH", "UNSAFE_ENABLE_ADMIN_ENDPOINTS", "ENABLE_DEBUG_ON_HTTP",
	"DEFAULT_WORKLOAD_CERT_TTL", "MAX_WORKLOAD_CERT_TTL", "ENABLE_CA_SERVER", "PILOT_SCOPE_GATEWAY_TO_NAMESPACE",
	"PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS", "CLUSTER_ID",
}

// addressFlags are the flags of istiod that say where it listens without TLS
// (istio.io/docs, pilot-discovery).
var addressFlags = []string{"--httpAddr", "--grpcAddr", "--monitoringAddr"}

// addresses reads them of a container's arguments, as FLAG=VALUE or FLAG VALUE.
func addresses(args []string) map[string]string {
	out := map[string]string{}
	for i, a := range args {
		flag, value, given := strings.Cut(a, "=")
		if !slices.Contains(addressFlags, flag) {
			continue
		}
		if !given && i+1 < len(args) {
			value = args[i+1]
		}
		out[flag] = value
	}
	return out
}

// keptArgs are those that addresses reads.
func keptArgs(args []string) []string {
	var out []string
	for i, a := range args {
		if flag, _, given := strings.Cut(a, "="); slices.Contains(addressFlags, flag) {
			out = append(out, a)
			if !given && i+1 < len(args) {
				out = append(out, args[i+1])
			}
		}
	}
	return out
}

func (r *Reader) controlPlanes(ctx context.Context, out *facts.Cluster) error {
	if out.ControlPlaneRead = r.ControlPlaneRead(); !out.ControlPlaneRead {
		return nil
	}
	var list appsv1.DeploymentList
	if err := r.Optional.List(ctx, &list, client.InNamespace(r.MeshNamespace), client.MatchingLabels{"app": istiodApp}, noCopy); err != nil {
		return fmt.Errorf("list istiod deployments: %w", err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		cp := facts.ControlPlane{
			Source:   facts.Source{Kind: "Deployment", Namespace: d.Namespace, Name: d.Name},
			Revision: cmp.Or(d.Labels[istioRevision], defaultRev), Settings: map[string]string{},
			ServiceAccount: cmp.Or(d.Spec.Template.Spec.ServiceAccountName, "default"), Labels: d.Spec.Template.Labels,
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			if c.Name != istiodContainer {
				continue
			}
			cp.Version, cp.Addresses = imageTag(c.Image), addresses(c.Args)
			for _, p := range c.Ports {
				cp.Ports = append(cp.Ports, facts.ContainerPort{Name: p.Name, Number: p.ContainerPort})
			}
			for _, e := range c.Env {
				switch {
				case !slices.Contains(settings, e.Name):
				case e.ValueFrom != nil:
					cp.SettingsElsewhere = append(cp.SettingsElsewhere, e.Name)
				default:
					cp.Settings[e.Name] = e.Value
				}
			}
		}
		slices.Sort(cp.SettingsElsewhere)
		out.ControlPlanes = append(out.ControlPlanes, cp)
	}
	slices.SortFunc(out.ControlPlanes, func(a, b facts.ControlPlane) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// exceptionsOfCluster are those that no baseline of their namespaces refuses.
func (r *Reader) exceptionsOfCluster(ctx context.Context, out *facts.Cluster) error {
	var list v1alpha1.MeshSecurityExceptionList
	if err := r.Client.List(ctx, &list, noCopy); err != nil {
		return fmt.Errorf("list exceptions: %w", err)
	}
	for i := range list.Items {
		e := &list.Items[i]
		refused := false
		for _, name := range e.Spec.Namespaces {
			var ns corev1.Namespace
			found, err := r.get(ctx, types.NamespacedName{Name: string(name)}, &ns)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			baselines, err := r.Baselines(ctx, facts.Namespace{Name: ns.Name, Labels: ns.Labels})
			if err != nil {
				return err
			}
			refused = refused || posture.Overlong(e, baselines) != ""
		}
		if !refused {
			out.Exceptions = append(out.Exceptions, e)
		}
	}
	slices.SortFunc(out.Exceptions, func(a, b *v1alpha1.MeshSecurityException) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}
