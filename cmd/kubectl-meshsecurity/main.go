// Command kubectl-meshsecurity is kubectl meshsecurity: the command line of the
// Mesh Security Operator.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // every way in which a kubeconfig can authenticate
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshsecurity/mesh-security-operator/internal/cli"
)

// version is set at link time.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	_, plain := os.LookupEnv("NO_COLOR")
	cmd := cli.Command(cli.Environment{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Version: version,
		Terminal: term.IsTerminal(int(os.Stdout.Fd())) && !plain,
		Progress: term.IsTerminal(int(os.Stderr.Fd())),
	})
	err := cmd.ExecuteContext(ctx)
	var problems cli.ProblemsError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &problems):
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}
