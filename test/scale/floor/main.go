package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meshsecurity/mesh-security-operator/test/scale/wire"
)

// manager is the operator's name in managedFields, so that objects look the
// same whoever of the two wrote them last.
const manager = "mesh-security-operator"

func main() {
	address := flag.String("health-probe-bind-address", "", "loopback address of /readyz")
	workers := flag.Int("workers", 4, "namespaces that converge at a time, as the operator's flag of that name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *address, *workers, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string, workers int, args []string) error {
	if len(args) == 0 {
		return errors.New("heal, converge or sync?")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS = -1
	var ready atomic.Bool
	if err := serve(address, &ready); err != nil {
		return err
	}
	switch args[0] {
	case "heal":
		return heal(ctx, config, &ready, args[1:])
	case "converge":
		return converge(ctx, config, &ready, workers, args[1:])
	case "sync":
		return syncCaches(ctx, config, &ready, args[1:])
	}
	return fmt.Errorf("%q is neither heal, converge nor sync", args[0])
}

// serve answers as the operator's probe does. It ends with the program.
func serve(address string, ready *atomic.Bool) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	return nil
}

// watches are watches of several kinds, all of which have to go on.
type watches struct {
	client *wire.Client
	ended  chan error
}

func newWatches(config *rest.Config) (*watches, error) {
	c, err := wire.New(config)
	return &watches{c, make(chan error)}, err
}

// wait returns when the first watch ends, or the context.
func (w *watches) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.ended:
		return err
	}
}

func (w *watches) follow(ctx context.Context, r wire.Resource, selector, version string, see func(wire.Event)) error {
	ended, err := w.client.Watch(ctx, r, selector, version, see)
	if err != nil {
		return err
	}
	go func() {
		select {
		case w.ended <- <-ended:
		case <-ctx.Done():
		}
	}()
	return nil
}
