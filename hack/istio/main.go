// Command istio is Istio's istiod (pilot-discovery) and its sidecar's agent
// (pilot-agent) in one binary, and istio-manifest, which writes what Istio's own
// charts install. The name of the link that it is called through decides which
// of them runs.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/operator/pkg/render"
	agent "istio.io/istio/pilot/cmd/pilot-agent/app"
	discovery "istio.io/istio/pilot/cmd/pilot-discovery/app"
	istioagent "istio.io/istio/pkg/istio-agent"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/nodeagent/sds"
	"sigs.k8s.io/yaml"
)

var programs = map[string]func() error{
	"pilot-discovery": func() error { return discovery.NewRootCommand().Execute() },
	"pilot-agent":     func() error { return agent.NewRootCommand(secrets).Execute() },
	"istio-manifest":  func() error { return manifest(os.Args[1:]) },
}

func main() {
	name := filepath.Base(os.Args[0])
	program, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: call this binary through a link named pilot-discovery, pilot-agent or istio-manifest\n", name)
		os.Exit(2)
	}
	log.EnableKlogWithCobra()
	if err := program(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// secrets is the server that hands Envoy its certificates.
func secrets(options *security.Options, manager security.SecretManager, keys *meshconfig.PrivateKeyProvider) istioagent.SDSService {
	return sds.NewServer(options, manager, keys)
}

// manifest writes what the charts install with settings (path=value) to the file
// that is named first: Istio's packages log to stdout.
func manifest(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: istio-manifest FILE [PATH=VALUE...]")
	}
	sets, _, err := render.GenerateManifest(nil, args[1:], false, nil, nil)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, set := range sets {
		for _, m := range set.Manifests {
			doc, err := yaml.Marshal(m.Object)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "---\n%s", doc)
		}
	}
	return os.WriteFile(args[0], out.Bytes(), 0o600)
}
