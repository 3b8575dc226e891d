package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/drift"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
	"github.com/meshsecurity/mesh-security-operator/internal/plan"
)

// Writer writes managed objects. It can't read.
type Writer struct{ client client.Writer }

// NewWriter returns a writer that sends its requests through c.
func NewWriter(c client.Writer) *Writer { return &Writer{c} }

// Gateway is an egress gateway's namespace, and the baseline that declares it.
type Gateway struct {
	Namespace string
	Baseline  types.UID
}

// Apply sends the steps of a namespace's owner, one request each, in their
// order. All of it is in the namespace, but for the one policy for it at an
// egress gateway that a baseline declares. It stops where the cache turns out to be behind or the API server no
// longer answers; any other failure holds back only the steps that would be
// unsafe without the one that failed. Nothing is sent when a single step must
// not be.
func (w *Writer) Apply(ctx context.Context, namespace string, steps []plan.Step, gateways ...Gateway) Outcome {
	if out, refused := refuse(namespace, steps, gateways); refused {
		return out
	}
	var out Outcome
	var failed []plan.Step
	var stop error
	for _, s := range steps {
		r := Result{Step: s, Kind: Held, Err: stop}
		if stop == nil {
			r.Err = held(s, failed)
		}
		if r.Err == nil {
			var done Written
			done, r.Err = w.send(ctx, follow(s, out.Written))
			switch r.Kind = classify(s.Verb, r.Err); r.Kind {
			case Done:
				if r.Err == nil {
					out.Written = append(out.Written, done)
				}
				r.Err = nil // what was to be deleted is gone
			case Stale:
				out.Stale = true
				stop = fmt.Errorf("not sent: %s is no longer as it was seen", s.Resource())
			case Terminating:
				stop = errors.New("not sent: the namespace is being deleted")
			case Failed:
				if unanswered(r.Err) {
					stop = fmt.Errorf("not sent: no answer to the write of %s", s.Resource())
				}
			}
		}
		if r.Kind != Done {
			failed = append(failed, s)
		}
		out.Results = append(out.Results, r)
	}
	return out
}

// follow makes a step about what an earlier one left of the same object.
func follow(s plan.Step, before []Written) plan.Step {
	for _, w := range before {
		if key := keyOf(s.Object); w.Key == key {
			o, ok := s.Object.DeepCopyObject().(mesh.Object)
			if !ok {
				continue
			}
			o.SetUID(w.UID)
			o.SetResourceVersion(w.ResourceVersion)
			s.Object = o
		}
	}
	return s
}

func held(s plan.Step, failed []plan.Step) error {
	for _, f := range failed {
		if because, yes := s.HeldBackBy(f); yes {
			return fmt.Errorf("held back, since %s was not written: %s", f.Resource(), because)
		}
	}
	return nil
}

func (w *Writer) send(ctx context.Context, s plan.Step) (Written, error) {
	// The answer is decoded into what is sent, and the plan's objects may be the cache's.
	o, ok := s.Object.DeepCopyObject().(client.Object)
	if !ok {
		return Written{}, fmt.Errorf("%T is not an object", s.Object)
	}
	o.SetManagedFields(nil)
	var err error
	switch owner := client.FieldOwner(v1alpha1.ManagedByValue); s.Verb {
	case plan.Create:
		err = w.client.Create(ctx, o, owner)
	case plan.Replace:
		err = w.client.Update(ctx, o, owner)
	case plan.Delete:
		uid, version := o.GetUID(), o.GetResourceVersion()
		err = w.client.Delete(ctx, o, client.Preconditions{UID: &uid, ResourceVersion: &version})
	default:
		err = fmt.Errorf("unknown verb %q", s.Verb)
	}
	if err != nil {
		return Written{}, err
	}
	done := written(s.Verb, o)
	if s.Verb != plan.Delete {
		done.AsSent = len(drift.Find([]mesh.Object{s.Object}, []mesh.Object{o}, drift.Options{})) == 0
	}
	return done, nil
}

// refuse refuses the whole of a plan that would write where the operator must
// not: it can only be a defect, or the work of somebody who found one.
func refuse(namespace string, steps []plan.Step, gateways []Gateway) (Outcome, bool) {
	var out Outcome
	refused := false
	for i, s := range steps {
		r := Result{Step: s, Kind: Held, Err: errors.New("not sent: another step of the plan must not be")}
		if err := allowed(namespace, s, follows(s, steps[:i]), gateways); err != nil {
			r.Kind, r.Err, refused = Refused, err, true
		}
		out.Results = append(out.Results, r)
	}
	return out, refused
}

// follows says whether an earlier step is of the same object.
func follows(s plan.Step, before []plan.Step) bool {
	return s.Object != nil && slices.ContainsFunc(before, func(b plan.Step) bool { return b.Object != nil && keyOf(b.Object) == keyOf(s.Object) })
}

func allowed(namespace string, s plan.Step, follows bool, gateways []Gateway) error {
	o := s.Object
	if o == nil {
		return errors.New("no object")
	}
	if _, ok := mesh.KindOf(o); !ok {
		return fmt.Errorf("%T is not a managed kind", o)
	}
	switch {
	case namespace == "" || (o.GetNamespace() != namespace && !atGateway(namespace, s, gateways)):
		return fmt.Errorf("it is in namespace %q, and its owner in %q", o.GetNamespace(), namespace)
	case !strings.HasPrefix(o.GetName(), mesh.NamePrefix):
		return fmt.Errorf("its name %q does not begin with %s", o.GetName(), mesh.NamePrefix)
	case s.Verb != plan.Create && !follows && (o.GetUID() == "" || o.GetResourceVersion() == ""):
		return errors.New("it does not say which object was seen")
	case s.Verb == plan.Create && o.GetResourceVersion() != "":
		return errors.New("it is to be created and has a resource version")
	}
	return nil
}

// atGateway says whether a step is about the namespace's policy at an egress
// gateway. One that is written belongs to the baseline that declares a gateway in
// that very namespace, and to nobody else. One that goes, or is left without an
// owner, belonged to a baseline.
func atGateway(namespace string, s plan.Step, gateways []Gateway) bool {
	if tenant, is := mesh.GatewayTenant(s.Object); !is || tenant != namespace {
		return false
	}
	owners := s.Object.GetOwnerReferences()
	if s.Verb == plan.Delete || (s.Verb == plan.Replace && len(owners) == 0) {
		return s.Change.Live != nil && drift.Controlled(s.Change.Live)
	}
	return len(owners) == 1 && drift.OwnedBy(owners[0], v1alpha1.KindBaseline) &&
		slices.Contains(gateways, Gateway{s.Object.GetNamespace(), owners[0].UID})
}
