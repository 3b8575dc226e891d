package apply

import (
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

// Kind says what became of a step.
type Kind string

// The kinds of result.
const (
	// Done: written, or there was nothing left to delete.
	Done Kind = "Done"
	// Stale: the object is no longer the one that was seen. The cache will show
	// what it is; nothing is wrong.
	Stale Kind = "Stale"
	// Rejected: the API server, or an admission policy or webhook, said no and
	// will say so again. Not to be retried hot.
	Rejected Kind = "Rejected"
	// Failed: it may succeed when tried again.
	Failed Kind = "Failed"
	// Terminating: the namespace is being deleted; nothing can be written to it.
	Terminating Kind = "Terminating"
	// Held: not sent, since it would be unsafe after a step that was not done,
	// or since no request has a prospect after one that was not answered.
	Held Kind = "Held"
	// Refused: not sent, since the operator must never write there. A defect.
	Refused Kind = "Refused"
)

// maxMessage is the length of a message in bytes.
const maxMessage = 512

// Result is what became of one step.
type Result struct {
	Step plan.Step
	Kind Kind
	// Err is nil where the step is Done.
	Err error
}

// Message says why the step is not Done, in at most 512 bytes.
func (r Result) Message() string {
	if r.Err == nil {
		return ""
	}
	return mesh.Cut(r.Err.Error(), maxMessage)
}

// Outcome is what became of a plan.
type Outcome struct {
	// Results has one entry for each step, in the plan's order.
	Results []Result
	// Written is for the ledger: every write that the API server confirmed.
	Written []Written
	// Stale is true when the plan was made from a cache that is behind. The
	// rest of it was not sent.
	Stale bool
}

// Done is true when every step is.
func (o Outcome) Done() bool { return len(o.Failures()) == 0 }

// Failures are the results of the steps that were not done, in their order.
func (o Outcome) Failures() []Result {
	var out []Result
	for _, r := range o.Results {
		if r.Kind != Done {
			out = append(out, r)
		}
	}
	return out
}

// Rejected is true when some step was rejected.
func (o Outcome) Rejected() bool {
	for _, r := range o.Results {
		if r.Kind == Rejected {
			return true
		}
	}
	return false
}

// Err joins the errors that are worth a retry with a backoff, and a terminal
// error for what was refused. What is Stale, Rejected, Held or Terminating is
// not among them.
func (o Outcome) Err() error {
	var errs []error
	for _, r := range o.Results {
		switch r.Kind {
		case Failed:
			errs = append(errs, fmt.Errorf("%s %s: %w", r.Step.Verb, r.Step.Resource(), r.Err))
		case Refused:
			errs = append(errs, reconcile.TerminalError(fmt.Errorf("%s %s: %w", r.Step.Verb, r.Step.Resource(), r.Err)))
		}
	}
	return errors.Join(errs...)
}

// classify says what an answer means:
//
//	409, or 404 to a replace          Stale: somebody was faster
//	404 to a delete                   Done
//	403 with a cause                  Terminating
//	4xx, but for those above and      Rejected: by RBAC, validation, quota or admission
//	    401, 408, 429
//	all else, and no answer           Failed
func classify(verb plan.Verb, err error) Kind {
	status := apierrors.APIStatus(nil)
	if err == nil || !errors.As(err, &status) {
		if err == nil {
			return Done
		}
		return Failed
	}
	switch code := int(status.Status().Code); {
	case code == http.StatusConflict:
		return Stale
	case code == http.StatusNotFound && verb == plan.Delete:
		return Done
	case code == http.StatusNotFound && verb == plan.Replace:
		return Stale
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return Terminating
	case code == http.StatusNotFound, code == http.StatusUnauthorized, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		// 404 to a create: the kind or the namespace is not there, or not yet.
		return Failed
	case code >= 400 && code < 500:
		return Rejected
	}
	return Failed
}

// unanswered says whether further requests have no prospect either: the API
// server did not answer, or asked to wait. An answer like 500 comes from what
// stands behind one kind, such as its webhook, and others may pass.
func unanswered(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status().Code {
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
