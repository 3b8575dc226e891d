package cel_test

import (
	"context"
	"flag"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/test/controlplane"
)

const crdFolder = "../../config/crd/bases"

var (
	plane      *controlplane.ControlPlane
	api        client.Client
	kubeconfig string
)

func TestCEL(t *testing.T) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // what fails is in the output
		t.Fatal(err)
	}
	RegisterFailHandler(Fail)
	RunSpecs(t, "What the API server refuses and accepts")
}

var _ = BeforeSuite(func(ctx context.Context) {
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{crdFolder}, NoControllerManager: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(plane.Stop)
	api, err = client.New(plane.Config(), client.Options{})
	Expect(err).NotTo(HaveOccurred())
	kubeconfig, err = plane.Kubeconfig("admin", "system:masters")
	Expect(err).NotTo(HaveOccurred())
})
