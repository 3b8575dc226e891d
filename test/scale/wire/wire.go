package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Resource is a kind by its place in the API.
type Resource = schema.GroupVersionResource

// ParseResource reads GROUP/VERSION/RESOURCE, or VERSION/RESOURCE of the core group.
func ParseResource(text string) (Resource, error) {
	switch parts := strings.Split(text, "/"); len(parts) {
	case 2:
		return Resource{Version: parts[0], Resource: parts[1]}, nil
	case 3:
		return Resource{Group: parts[0], Version: parts[1], Resource: parts[2]}, nil
	}
	return Resource{}, fmt.Errorf("%q is not GROUP/VERSION/RESOURCE", text)
}

// At is a place.
func At(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// Metadata is as much of an object's as is needed here.
type Metadata struct {
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	UID             string `json:"uid"`
	ResourceVersion string `json:"resourceVersion"`
}

// Marshal is the text of fields, to be sent in the place of the object that was seen.
func (m Metadata) Marshal(fields map[string]any) ([]byte, error) {
	if meta, ok := fields["metadata"].(map[string]any); ok {
		meta["uid"], meta["resourceVersion"] = m.UID, m.ResourceVersion
	}
	return json.Marshal(fields)
}

// Object is an object with what is not needed left as it came.
type Object struct {
	Metadata Metadata        `json:"metadata"`
	Spec     json.RawMessage `json:"spec"`
	Status   json.RawMessage `json:"status"`
	raw      json.RawMessage
}

// UnmarshalJSON keeps the text too.
func (o *Object) UnmarshalJSON(text []byte) error {
	type plain Object
	if err := json.Unmarshal(text, (*plain)(o)); err != nil {
		return err
	}
	o.raw = bytes.Clone(text)
	return nil
}

// Key is the object's place.
func (o *Object) Key() types.NamespacedName {
	return At(o.Metadata.Namespace, o.Metadata.Name)
}

// Fields are the object's, to be changed and sent: without what the API server
// alone says of it.
func (o *Object) Fields() (map[string]any, error) {
	var out map[string]any
	if err := json.Unmarshal(o.raw, &out); err != nil {
		return nil, err
	}
	meta, ok := out["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("no metadata")
	}
	maps.DeleteFunc(meta, func(field string, _ any) bool {
		switch field {
		case "managedFields", "creationTimestamp", "generation", "uid", "resourceVersion":
			return true
		}
		return false
	})
	return out, nil
}

// Client of one API server.
type Client struct{ rest *rest.RESTClient }

// New returns a client without a rate limit.
func New(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.UnversionedRESTClientFor(config)
	return &Client{c}, err
}

func path(r Resource, namespace string, rest ...string) string {
	out := "/apis/" + r.Group + "/" + r.Version
	if r.Group == "" {
		out = "/api/" + r.Version
	}
	if namespace != "" {
		out += "/namespaces/" + namespace
	}
	return strings.Join(append([]string{out, r.Resource}, rest...), "/")
}

// manager is who a write is by, in managedFields.
const manager = "fieldManager"

// Post creates an object and returns it as it is then.
func (c *Client) Post(ctx context.Context, r Resource, namespace, as string, body []byte) (Object, error) {
	return object(c.rest.Post().AbsPath(path(r, namespace)).Param(manager, as).Body(body).Do(ctx))
}

// Put replaces an object, or its part that rest names.
func (c *Client) Put(ctx context.Context, r Resource, at types.NamespacedName, as string, body []byte, rest ...string) (Object, error) {
	return object(c.rest.Put().AbsPath(path(r, at.Namespace, append([]string{at.Name}, rest...)...)).Param(manager, as).Body(body).Do(ctx))
}

// Patch merges into an object.
func (c *Client) Patch(ctx context.Context, r Resource, at types.NamespacedName, as string, body []byte) (Object, error) {
	return object(c.rest.Patch(types.MergePatchType).AbsPath(path(r, at.Namespace, at.Name)).Param(manager, as).Body(body).Do(ctx))
}

// DeleteAll deletes the objects of a kind in a namespace that the selector chooses.
func (c *Client) DeleteAll(ctx context.Context, r Resource, namespace, selector string) error {
	return c.rest.Delete().AbsPath(path(r, namespace)).Param("labelSelector", selector).Do(ctx).Error()
}

func object(r rest.Result) (Object, error) {
	var out Object
	text, err := r.Raw()
	if err != nil {
		return out, errors.Join(r.Error(), err)
	}
	return out, json.Unmarshal(text, &out)
}

// List returns all objects of a kind that the selector chooses, and the version
// from which to watch on.
func (c *Client) List(ctx context.Context, r Resource, selector string) ([]Object, string, error) {
	text, err := c.rest.Get().AbsPath(path(r, "")).Param("labelSelector", selector).Do(ctx).Raw()
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", r.Resource, err)
	}
	var list struct {
		Metadata Metadata
		Items    []Object
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, "", fmt.Errorf("list %s: %w", r.Resource, err)
	}
	return list.Items, list.Metadata.ResourceVersion, nil
}

// Event of a watch.
type Event struct {
	Type   string
	Object Object
}

// Watch calls see for each event since a version, one after the other, until
// the context ends. It opens the watch before it returns.
func (c *Client) Watch(ctx context.Context, r Resource, selector, version string, see func(Event)) (ended <-chan error, err error) {
	stream, err := c.rest.Get().AbsPath(path(r, "")).Param("labelSelector", selector).Param("watch", "true").Param("resourceVersion", version).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", r.Resource, err)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { _ = stream.Close() }()
		done <- read(ctx, stream, see)
	}()
	return done, nil
}

func read(ctx context.Context, stream io.Reader, see func(Event)) error {
	events := json.NewDecoder(stream)
	for {
		var e Event
		err := events.Decode(&e)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to end
		}
		switch {
		case err != nil:
			return fmt.Errorf("watch: %w", err)
		case e.Type == "ERROR":
			return fmt.Errorf("watch: %s", e.Object.raw)
		}
		see(e)
	}
}

// CollectGarbage has the API server do so now, by its profiling endpoint.
func (c *Client) CollectGarbage(ctx context.Context) error {
	_, err := c.rest.Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Do(ctx).Raw()
	return err
}
