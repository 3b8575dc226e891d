package mesh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/meshsecurity/mesh-security-operator/test/mesh/stage"
	"github.com/meshsecurity/mesh-security-operator/test/mesh/traffic"
)

// kindOf is the first part of a port's name.
func kindOf(port string) string {
	kind, _, _ := strings.Cut(port, "-")
	return kind
}

// request is the route's call, completed.
func (r route) request() traffic.Call {
	protocol := r.Protocol
	if protocol == "" {
		protocol = map[string]traffic.Protocol{"http": traffic.HTTP1, "auto": traffic.HTTP1, "grpc": traffic.GRPC, "tls": traffic.TLS, "tcp": traffic.TCP}[r.kind]
	}
	host := cmp.Or(r.Host, r.name)
	if r.Host == "" && r.service != 80 && r.service != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(int(r.service)))
	}
	c := traffic.Call{Protocol: protocol, Address: r.address, Host: host, Method: cmp.Or(r.Method, http.MethodGet), Path: cmp.Or(r.Path, "/"), Token: tokens[r.Token]}
	if protocol == traffic.GRPC {
		c.Method, c.Path = http.MethodPost, "/grpc.health.v1.Health/Check"
	}
	return c
}

// http says whether the proxies see requests.
func (r route) http() bool { return r.kind == "http" || r.kind == "grpc" || r.kind == "auto" }

// observed is what became of a call.
type observed struct {
	outcome outcome
	// shadow is what the policies that are only evaluated said.
	shadow outcome
	// identity of the caller, as the workload was told.
	identity string
	answer   traffic.Answer
	// counted is what the proxies counted meanwhile, that tells why.
	counted []string
}

// The counters that say why a call came to nothing.
var (
	deniedCounter  = regexp.MustCompile(`\.rbac\..*(^|\.)denied$|\.rbac\.denied$|^rbac\..*denied$`)
	shadowDenied   = regexp.MustCompile(`rbac\..*shadow_denied$`)
	shadowAllowed  = regexp.MustCompile(`rbac\..*shadow_allowed$`)
	refusedCounter = regexp.MustCompile(`\.no_filter_chain_match$`)
	blockedCounter = regexp.MustCompile(`BlackHoleCluster|no_route$|no_cluster$`)
)

// refusal is how a proxy answers what its policies, or its authentication of
// tokens, deny.
var refusal = regexp.MustCompile(`^RBAC: access denied|^Jwt |Jwt are not allowed$`)

// counters that are looked at.
const counters = `rbac|no_filter_chain_match|BlackHoleCluster|no_route|no_cluster`

// observe makes a call. Nothing else calls meanwhile, so that what the proxies
// count is the call's.
func observe(ctx context.Context, r route) (observed, error) {
	client, err := count(ctx, r.from)
	if err != nil {
		return observed{}, err
	}
	server, err := count(ctx, r.to)
	if err != nil {
		return observed{}, err
	}
	out := observed{}
	if out.answer, err = r.from.Do(ctx, r.request()); err != nil {
		return out, err
	}
	out.identity = out.answer.Identity
	atClient, err := client.grew(ctx)
	if err != nil {
		return out, err
	}
	atServer, err := server.grew(ctx)
	if err != nil {
		return out, err
	}
	for _, n := range atClient {
		out.counted = append(out.counted, "client "+n)
	}
	for _, n := range atServer {
		out.counted = append(out.counted, "server "+n)
	}
	switch {
	case match(atServer, shadowDenied):
		out.shadow = denied
	case match(atServer, shadowAllowed):
		out.shadow = passes
	}
	out.outcome = judge(r, out.answer, atClient, atServer)
	return out, nil
}

// judge tells one outcome from another, and from a failure.
func judge(r route, a traffic.Answer, atClient, atServer []string) outcome {
	switch {
	case a.Server == r.to.Name:
		return passes
	case a.Server != "":
		return outcome("answered by " + a.Server)
	case r.http() && refusal.MatchString(a.Text) && slices.Contains([]int{http.StatusForbidden, http.StatusUnauthorized, int(codes.PermissionDenied), int(codes.Unauthenticated)}, a.Status):
		return denied
	case match(atServer, deniedCounter) && !r.http():
		return denied
	case match(atServer, refusedCounter):
		return refused
	case match(atClient, blockedCounter), a.Status == http.StatusBadGateway && len(atServer) == 0:
		return blocked
	}
	return outcome(fmt.Sprintf("failed: %+v", a))
}

func match(names []string, of *regexp.Regexp) bool {
	for _, n := range names {
		if of.MatchString(n) {
			return true
		}
	}
	return false
}

// tally is what a pod's proxy has counted so far.
type tally struct {
	pod   *stage.Pod
	stats map[string]int
}

func count(ctx context.Context, p *stage.Pod) (tally, error) {
	if !p.Meshed {
		return tally{pod: p}, nil
	}
	stats, err := p.Stats(ctx, counters)
	return tally{p, stats}, err
}

// grew are the names of those that have grown since.
func (t tally) grew(ctx context.Context) (out []string, err error) {
	now, err := count(ctx, t.pod)
	for name, n := range now.stats {
		if n > t.stats[name] {
			out = append(out, name)
		}
	}
	return out, err
}
