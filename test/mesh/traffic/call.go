package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Protocol is what a call speaks.
type Protocol string

// The protocols. TLS is HTTP inside of the caller's own TLS, which no proxy reads.
const (
	HTTP1 Protocol = "HTTP/1.1"
	HTTP2 Protocol = "HTTP/2"
	GRPC  Protocol = "gRPC"
	TCP   Protocol = "TCP"
	TLS   Protocol = "TLS"
)

// Call is one call, on a connection of its own.
type Call struct {
	Protocol Protocol
	// Address is an IP address and a port.
	Address string
	// Host is the name that is asked for: of HTTP, or of TLS.
	Host string
	// Method and Path of HTTP; a call of gRPC has those of its health service.
	Method, Path string
	// Token is sent as a bearer token; empty for none.
	Token string
}

// Answer is what came of a call.
type Answer struct {
	// Server is the workload that answered; empty where none did.
	Server string
	// Identity is the caller's, as the server was told by its proxy.
	Identity string
	// Status of HTTP, or the code of gRPC; 0 without an answer, and for TCP.
	Status int
	// Text of an answer that no workload gave.
	Text string
	// Error in making the connection or on it.
	Error string
}

// hello is what a server says of a call.
type hello struct{ Server, Identity string }

// Client tells a workload what to do.
type Client struct{ http *http.Client }

// NewClient is for a workload's socket.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Do has the workload make a call.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	body, err := json.Marshal(call)
	if err != nil {
		return Answer{}, err
	}
	out, err := c.ask(ctx, http.MethodPost, "/call", body)
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	return a, json.Unmarshal(out, &a)
}

// Fetch has the workload get a URL, like one of its proxy's own interface.
func (c *Client) Fetch(ctx context.Context, from string) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, "/fetch?url="+url.QueryEscape(from), nil)
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://workload"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	out, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, out)
	}
	return out, err
}
