package traffic

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

const (
	serverHeader   = "x-server"
	identityHeader = "x-identity"
	// certificateHeader is in which Istio's proxies tell of the caller's certificate.
	certificateHeader = "X-Forwarded-Client-Cert"
)

// Port that a workload listens on.
type Port struct {
	Number int32
	// Kind is http (1.1 and 2), which is auto as well, grpc, tls or tcp.
	Kind string
}

// Workload listens on its ports, and at its socket.
type Workload struct {
	Name   string
	Ports  []Port
	Socket string
}

// Run serves until something fails.
func (w Workload) Run() error {
	failed := make(chan error)
	for _, p := range w.Ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(int(p.Number)))
		if err != nil {
			return err
		}
		go func() { failed <- w.serve(l, p.Kind) }()
	}
	l, err := net.Listen("unix", w.Socket)
	if err != nil {
		return err
	}
	go func() { failed <- http.Serve(l, http.HandlerFunc(control)) }() //nolint:gosec // the test waits as long as its own limit
	return <-failed
}

// control does what a test asks for.
func control(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) { http.Error(w, err.Error(), http.StatusBadGateway) }
	if r.URL.Path == "/call" {
		var c Call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			fail(err)
			return
		}
		_ = json.NewEncoder(w).Encode(do(r.Context(), c)) // nobody listens any more
		return
	}
	response, err := http.Get(r.URL.Query().Get("url"))
	if err != nil {
		fail(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body) // nobody listens any more
}

func (w Workload) serve(l net.Listener, kind string) error {
	switch kind {
	case "http", "auto":
		return w.http().Serve(l)
	case "grpc":
		return w.grpc().Serve(l)
	case "tls":
		certificate, err := selfSigned()
		if err != nil {
			return err
		}
		return w.http().Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	case "tcp":
		return w.tcp(l)
	}
	return fmt.Errorf("port of kind %q", kind)
}

func (w Workload) http() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Protocols: &protocols, ReadHeaderTimeout: callTimeout, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(out).Encode(hello{w.Name, identity(r.Header.Get(certificateHeader))})
	})}
}

// identity is the URI that a proxy tells of the caller's certificate.
func identity(header string) string {
	for field := range strings.SplitSeq(header, ";") {
		if uri, ok := strings.CutPrefix(field, "URI="); ok {
			return uri
		}
	}
	return ""
}

func (w Workload) grpc() *grpc.Server {
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if err := grpc.SetHeader(ctx, metadata.Pairs(serverHeader, w.Name, identityHeader, identity(first(md.Get(certificateHeader))))); err != nil {
			return nil, err
		}
		return handle(ctx, in)
	}))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return s
}

func (w Workload) tcp(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				_, _ = io.WriteString(conn, w.Name+"\n") // nobody listens any more
			}
		}()
	}
}

// selfSigned is a certificate that nobody has a reason to trust.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// variable of the environment that makes a program a workload.
const variable = "TRAFFIC_WORKLOAD"

// Environment makes the program that Main is called in be the workload.
func (w Workload) Environment() (string, error) {
	text, err := json.Marshal(w)
	return variable + "=" + string(text), err
}

// Main is the workload that the environment says; it returns where it says none.
func Main() {
	text, is := os.LookupEnv(variable)
	if !is {
		return
	}
	var w Workload
	err := json.Unmarshal([]byte(text), &w)
	if err == nil {
		err = w.Run()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
