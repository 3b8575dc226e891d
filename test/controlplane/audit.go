package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// auditPolicy records every request once it has been answered; a watch, which
// may never end, also when it starts.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
`

// markerAgent is the user agent of Requests' own requests.
const markerAgent = "audit-marker"

// Request is one request that the API server has received.
type Request struct {
	User      string
	UserAgent string
	Verb      string // get, list, watch, create, update, patch, delete, deletecollection
	Group     string // "" is the core group, and any request that names no resource
	Resource  string
	Subresource,
	Namespace,
	Name string
	URI  string // with the query: dryRun, fieldManager and so on
	Code int32
	Time time.Time
}

// Requests returns all requests that were answered before the call, and the
// watches that have started, in the order of the audit log.
func (c *ControlPlane) Requests(ctx context.Context) ([]Request, error) {
	// A request may be answered an instant before it is logged. One sent now and
	// found in the log has all earlier ones before it.
	c.marker++
	agent := fmt.Sprintf("%s/%d", markerAgent, c.marker)
	if err := c.mark(ctx, agent); err != nil {
		return nil, err
	}
	var requests []Request
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		var marked bool
		var err error
		requests, marked, err = readAuditLog(c.path("audit.log"), agent)
		return marked, err
	})
	return requests, err
}

func (c *ControlPlane) mark(ctx context.Context, agent string) error {
	config := c.Config()
	config.UserAgent = agent
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	anything, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	return anything.Get().AbsPath("/readyz/ping").Do(ctx).Error()
}

// auditEvent has the fields of audit.k8s.io/v1 Event that are used here.
type auditEvent struct {
	AuditID                  string
	RequestURI               string
	Verb                     string
	User                     struct{ Username string }
	UserAgent                string
	ObjectRef                struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	ResponseStatus           struct{ Code int32 }
	RequestReceivedTimestamp time.Time
}

// readAuditLog also tells whether a request with the user agent is in the log.
func readAuditLog(path, agent string) (requests []Request, found bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			// The last line is half written, so the marker is not there yet: read again.
			return nil, false, nil
		}
		if strings.HasPrefix(event.UserAgent, markerAgent+"/") {
			found = found || event.UserAgent == agent
			continue
		}
		if seen[event.AuditID] { // a watch is logged at its start and at its end
			continue
		}
		seen[event.AuditID] = true
		requests = append(requests, Request{
			User: event.User.Username, UserAgent: event.UserAgent, Verb: event.Verb,
			Group: event.ObjectRef.APIGroup, Resource: event.ObjectRef.Resource, Subresource: event.ObjectRef.Subresource,
			Namespace: event.ObjectRef.Namespace, Name: event.ObjectRef.Name,
			URI: event.RequestURI, Code: event.ResponseStatus.Code, Time: event.RequestReceivedTimestamp,
		})
	}
	return requests, found, lines.Err()
}
