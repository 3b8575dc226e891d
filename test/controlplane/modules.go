package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// OperatorCRDs is the folder of the product's own CRDs.
func OperatorCRDs(ctx context.Context) (string, error) {
	dir, err := moduleDir(ctx, "github.com/meshsecurity/mesh-security-operator")
	return filepath.Join(dir, "config", "crd", "bases"), err
}

// IstioCRDs is the file of all CRDs of the Istio version in go.mod: the one
// that Istio's own chart installs, in the module cache.
func IstioCRDs(ctx context.Context) (string, error) {
	dir, err := moduleDir(ctx, "istio.io/api")
	return filepath.Join(dir, "kubernetes", "customresourcedefinitions.gen.yaml"), err
}

// OpenReportsCRDs is the folder of the CRDs of OpenReports.
func OpenReportsCRDs(ctx context.Context) (string, error) {
	dir, err := moduleDir(ctx, "github.com/openreports/reports-api")
	return filepath.Join(dir, "config", "crd"), err
}

// moduleDir is the folder of a module's files, of the version that is in use.
func moduleDir(ctx context.Context, module string) (string, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("finding module %s: %w", module, err)
	}
	if len(strings.TrimSpace(string(dir))) == 0 {
		return "", fmt.Errorf("module %s is not in the module cache: run `go mod download %s`", module, module)
	}
	return strings.TrimSpace(string(dir)), nil
}
