package traffic

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// callTimeout is far more than a call takes; one that takes as long failed.
const callTimeout = 10 * time.Second

func do(ctx context.Context, c Call) Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch c.Protocol {
	case GRPC:
		return doGRPC(ctx, c)
	case TCP:
		return doTCP(ctx, c)
	}
	return doHTTP(ctx, c)
}

func doHTTP(ctx context.Context, c Call) Answer {
	var protocols http.Protocols
	protocols.SetHTTP1(c.Protocol != HTTP2)
	protocols.SetUnencryptedHTTP2(c.Protocol == HTTP2)
	transport := &http.Transport{
		Protocols:         &protocols,
		DisableKeepAlives: c.Protocol != HTTP2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
		},
		// Who answers is told by what it says.
		TLSClientConfig: &tls.Config{ServerName: c.Host, InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if c.Protocol == TLS {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, c.Method, scheme+"://"+c.Address, nil)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	r.Host = c.Host
	// The path as it is; with two slashes in front it would be a host.
	if strings.HasPrefix(c.Path, "//") {
		r.URL.Path = c.Path
	} else {
		r.URL.Opaque = c.Path
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{Status: response.StatusCode, Error: err.Error()}
	}
	a := Answer{Status: response.StatusCode}
	var h hello
	if err := json.Unmarshal(body, &h); err != nil || h.Server == "" {
		a.Text = strings.TrimSpace(string(body))
		return a
	}
	a.Server, a.Identity = h.Server, h.Identity
	return a
}

func doGRPC(ctx context.Context, c Call) Answer {
	conn, err := grpc.NewClient("passthrough:///"+c.Address, grpc.WithAuthority(c.Host), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer func() { _ = conn.Close() }()
	if c.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.Token)
	}
	var header metadata.MD
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
	a := Answer{Server: first(header.Get(serverHeader)), Identity: first(header.Get(identityHeader))}
	if err != nil {
		s := status.Convert(err)
		a.Status, a.Text = int(s.Code()), s.Message()
	}
	return a
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// doTCP says a line, and hears the server's name.
func doTCP(ctx context.Context, c Call) Answer {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	_, sent := io.WriteString(conn, "hello\n")
	line, heard := bufio.NewReader(conn).ReadString('\n')
	a := Answer{Server: strings.TrimSpace(line)}
	if err := errors.Join(err, sent, heard); err != nil {
		a.Server, a.Text, a.Error = "", line, err.Error()
	}
	return a
}
