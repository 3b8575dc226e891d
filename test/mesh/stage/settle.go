package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// proxyKinds are what istiod makes configuration of.
var proxyKinds = []schema.GroupVersionKind{
	{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"},
	{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"},
	{Group: "security.istio.io", Version: "v1", Kind: "RequestAuthentication"},
	{Group: "networking.istio.io", Version: "v1", Kind: "Sidecar"},
	{Group: "networking.istio.io", Version: "v1", Kind: "ServiceEntry"},
	{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"},
	{Group: "networking.istio.io", Version: "v1", Kind: "Gateway"},
	{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"},
	{Group: "telemetry.istio.io", Version: "v1", Kind: "Telemetry"},
}

// Settle returns when every proxy works by what the API server has now, and has
// closed the connections that it had by anything earlier. A change of the mesh
// configuration that means nothing makes istiod send everything to every proxy
// once more; it is made once istiod has seen all else, so that a proxy which has
// what was sent for it has all else too.
func (s *Stage) Settle(ctx context.Context) error {
	if err := s.Eventually(ctx, "istiod to see every object", s.seen); err != nil {
		return err
	}
	var before int
	for _, p := range s.pods {
		if p.Meshed {
			versions, err := p.versions(ctx)
			if err != nil {
				return err
			}
			for _, v := range versions {
				before = max(before, v)
			}
		}
	}
	if err := s.barrier(ctx); err != nil {
		return err
	}
	for _, p := range s.pods {
		if !p.Meshed {
			continue
		}
		if err := s.Eventually(ctx, "the proxy of "+p.Name+" to have the configuration", func(ctx context.Context) error {
			return p.settled(ctx, before)
		}); err != nil {
			return err
		}
	}
	return nil
}

type identity struct{ kind, namespace, name string }

// seen compares the resource versions that istiod has with the API server's.
func (s *Stage) seen(ctx context.Context) error {
	want := map[identity]string{}
	for _, gvk := range proxyKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := s.Client.List(ctx, list); err != nil {
			return err
		}
		for _, o := range list.Items {
			want[identity{gvk.Kind, o.GetNamespace(), o.GetName()}] = o.GetResourceVersion()
		}
	}
	body, err := get(ctx, "http://127.0.0.1:15014/debug/configz")
	if err != nil {
		return err
	}
	var have []unstructured.Unstructured
	if err := json.Unmarshal(body, &have); err != nil {
		return err
	}
	for _, o := range have {
		id := identity{o.GetKind(), o.GetNamespace(), o.GetName()}
		version, ok := want[id]
		if !ok {
			if known(o.GetKind()) {
				return fmt.Errorf("%v is gone, and istiod has it", id)
			}
			continue
		}
		if version != o.GetResourceVersion() {
			return fmt.Errorf("%v is at %s, and istiod has %s", id, version, o.GetResourceVersion())
		}
		delete(want, id)
	}
	for id := range want {
		return fmt.Errorf("istiod does not have %v", id)
	}
	return nil
}

func known(kind string) bool {
	for _, k := range proxyKinds {
		if k.Kind == kind {
			return true
		}
	}
	return false
}

// Configure adds settings to the mesh configuration that Istio was installed
// with, as YAML, in place of those that were added before.
func (s *Stage) Configure(ctx context.Context, settings string) error {
	s.settings = settings
	return s.barrier(ctx)
}

// barrier changes the mesh configuration in something that nobody reads: whose
// address goes into the status of Ingresses, of which there are none.
func (s *Stage) barrier(ctx context.Context) error {
	config := &corev1.ConfigMap{}
	if err := s.Client.Get(ctx, client.ObjectKey{Namespace: meshNamespace, Name: "istio"}, config); err != nil {
		return err
	}
	const key = "mesh"
	if s.installed == "" {
		s.installed = config.Data[key]
	}
	s.barriers++
	config.Data[key] = fmt.Sprintf("%s\n%s\ningressService: barrier-%d\n", s.installed, s.settings, s.barriers)
	return s.Client.Update(ctx, config)
}

// admin is the interface of a proxy, which its own pod alone reaches.
const admin = "http://127.0.0.1:15000/"

// Stats are the counters and gauges of the pod's proxy whose names match, by name.
func (p *Pod) Stats(ctx context.Context, filter string) (map[string]int, error) {
	out := map[string]int{}
	return out, p.stats(ctx, filter, "All", func(name, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil //nolint:nilerr // a text or a histogram
		}
		out[name] = n
		return nil
	})
}

func (p *Pod) stats(ctx context.Context, filter, kind string, each func(name, value string) error) error {
	body, err := p.Fetch(ctx, admin+"stats?type="+kind+"&filter="+filter)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(body), "\n") {
		if i := strings.LastIndex(line, ": "); i >= 0 {
			if err := each(line[:i], strings.Trim(line[i+2:], `"`)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushVersion ends in the number of istiod's push, after a time.
var pushVersion = regexp.MustCompile(`/([0-9]+)$`)

// versions are the numbers of the pushes that the proxy's listeners, clusters
// and routes are of.
func (p *Pod) versions(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	err := p.stats(ctx, `(lds|cds|rds\..*)\.version_text`, "TextReadouts", func(name, value string) error {
		m := pushVersion.FindStringSubmatch(value)
		if m == nil {
			return fmt.Errorf("%s: %q is no version", name, value)
		}
		n, err := strconv.Atoi(m[1])
		out[name] = n
		return err
	})
	if err == nil && len(out) < 2 {
		err = fmt.Errorf("the proxy of %s has no configuration: %v", p.Name, out)
	}
	return out, err
}

// settled is nil once all that the proxy has is of a push after a number, and
// nothing earlier is still in use.
func (p *Pod) settled(ctx context.Context, after int) error {
	versions, err := p.versions(ctx)
	if err != nil {
		return err
	}
	for name, v := range versions {
		if v <= after {
			return fmt.Errorf("%s is of push %d", name, v)
		}
	}
	draining, err := p.Stats(ctx, `listener_manager\.(total_filter_chains_draining|total_listeners_draining|total_listeners_warming)`)
	if err != nil {
		return err
	}
	if len(draining) != 3 {
		return errors.New("the proxy does not say what it drains")
	}
	for name, n := range draining {
		if n > 0 {
			return fmt.Errorf("%s: %d", name, n)
		}
	}
	return nil
}
