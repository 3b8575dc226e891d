package mesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
	"github.com/meshsecurity/mesh-security-operator/test/operator"
)

// binary is where the operator is in the stage's folder.
const binary = "/manager"

// dir is the stage's folder.
var dir string

func TestMain(m *testing.M) {
	traffic.Main()
	var err error
	dir, err = stage.Enter(func(dir string) error {
		for _, variable := range []string{"MESH_ASSETS", "KUBEBUILDER_ASSETS"} {
			if os.Getenv(variable) == "" {
				return errors.New(variable + " is not set; `make test-mesh` provides it")
			}
		}
		_, err := operator.Build(context.Background(), dir)
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/mesh:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
