package istio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const cases = "../../internal/golden/testdata/cases"

// accepted are the warnings that cases may cause, with the reason why they stand.
var accepted = map[string]string{
	"will deny all traffic to TCP ports under its scope": "a rule that denies HTTP requests on every port, for workloads without a port known as TCP: the verdict says that it is Stricter",
}

// seen are the accepted warnings that came up.
var seen = map[string]bool{}

// kind is how one kind is decoded and validated.
type kind struct {
	decode   func([]byte) (metav1.ObjectMeta, config.Spec, error)
	validate validation.ValidateFunc
}

func decoded[T any](meta func(*T) metav1.ObjectMeta, spec func(*T) config.Spec) func([]byte) (metav1.ObjectMeta, config.Spec, error) {
	return func(doc []byte) (metav1.ObjectMeta, config.Spec, error) {
		var o T
		if err := yaml.UnmarshalStrict(doc, &o); err != nil {
			return metav1.ObjectMeta{}, nil, err
		}
		return meta(&o), spec(&o), nil
	}
}

var kinds = map[string]kind{
	"PeerAuthentication": {decoded(
		func(o *securityv1.PeerAuthentication) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *securityv1.PeerAuthentication) config.Spec { return &o.Spec }), validation.ValidatePeerAuthentication},
	"RequestAuthentication": {decoded(
		func(o *securityv1.RequestAuthentication) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *securityv1.RequestAuthentication) config.Spec { return &o.Spec }), validation.ValidateRequestAuthentication},
	"AuthorizationPolicy": {decoded(
		func(o *securityv1.AuthorizationPolicy) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *securityv1.AuthorizationPolicy) config.Spec { return &o.Spec }), validation.ValidateAuthorizationPolicy},
	"ServiceEntry": {decoded(
		func(o *networkingv1.ServiceEntry) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *networkingv1.ServiceEntry) config.Spec { return &o.Spec }), validation.ValidateServiceEntry},
	"Sidecar": {decoded(
		func(o *networkingv1.Sidecar) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *networkingv1.Sidecar) config.Spec { return &o.Spec }), validation.ValidateSidecar},
	"DestinationRule": {decoded(
		func(o *networkingv1.DestinationRule) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *networkingv1.DestinationRule) config.Spec { return &o.Spec }), validation.ValidateDestinationRule},
	"Gateway": {decoded(
		func(o *networkingv1.Gateway) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *networkingv1.Gateway) config.Spec { return &o.Spec }), validation.ValidateGateway},
	"VirtualService": {decoded(
		func(o *networkingv1.VirtualService) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *networkingv1.VirtualService) config.Spec { return &o.Spec }), validation.ValidateVirtualService},
	"Telemetry": {decoded(
		func(o *telemetryv1.Telemetry) metav1.ObjectMeta { return o.ObjectMeta },
		func(o *telemetryv1.Telemetry) config.Spec { return &o.Spec }), validation.ValidateTelemetry},
}

// notIstios are kinds that Istio has no opinion about.
var notIstios = map[string]bool{"NetworkPolicy": true}

// check returns the name of the document's kind, and Istio's complaint.
func check(doc []byte) (string, error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return "", err
	}
	k, ok := kinds[head.Kind]
	if !ok {
		if notIstios[head.Kind] {
			return head.Kind, nil
		}
		return head.Kind, errors.New("no validation is known for this kind; add it")
	}
	meta, spec, err := k.decode(doc)
	if err != nil {
		return head.Kind, fmt.Errorf("decode: %w", err)
	}
	warning, err := k.validate(config.Config{
		Meta: config.Meta{Name: meta.Name, Namespace: meta.Namespace, Labels: meta.Labels, Annotations: meta.Annotations},
		Spec: spec,
	})
	if err != nil {
		return head.Kind, fmt.Errorf("%s/%s: %w", head.Kind, meta.Name, err)
	}
	if warning == nil {
		return head.Kind, nil
	}
	for text := range accepted {
		if strings.Contains(warning.Error(), text) {
			seen[text] = true
			return head.Kind, nil
		}
	}
	return head.Kind, fmt.Errorf("%s/%s: warning: %w", head.Kind, meta.Name, warning)
}

// TestGoldenCasesPassIstiosValidation validates everything that a case writes.
func TestGoldenCasesPassIstiosValidation(t *testing.T) {
	files, err := filepath.Glob(cases + "/*/resources.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", cases, err)
	}
	counts, total := map[string]int{}, 0
	for _, file := range files {
		for _, doc := range documents(t, file) {
			kind, err := check(doc)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(filepath.Dir(file)), err)
			}
			counts[kind]++
			if !notIstios[kind] {
				total++
			}
		}
	}
	if total == 0 {
		t.Fatal("no case writes anything that Istio validates")
	}
	for kind := range kinds {
		if counts[kind] == 0 {
			t.Errorf("no case writes a %s", kind)
		}
	}
	for text, reason := range accepted {
		if !seen[text] {
			t.Errorf("no case causes the warning %q any more, which was accepted because: %s; remove it", text, reason)
		}
	}
	fmt.Printf("%d resources of %d cases validated by Istio: %v\n", total, len(files), counts)
}

// TestValidationRejects shows that the validation is the real one: it has to
// refuse what is broken, and to warn.
func TestValidationRejects(t *testing.T) {
	for name, test := range map[string]struct{ doc, want string }{
		"port override without a selector": {`
kind: PeerAuthentication
metadata: {name: a, namespace: payments}
spec: {mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: DISABLE}}}`, "cannot have port level mTLS"},
		"accounts beside principals": {`
kind: AuthorizationPolicy
metadata: {name: a, namespace: payments}
spec: {rules: [{from: [{source: {serviceAccounts: [shop/a], principals: [b]}}]}]}`, "cannot set serviceAccounts with namespaces or principals"},
		"an empty source": {`
kind: AuthorizationPolicy
metadata: {name: a, namespace: payments}
spec: {rules: [{from: [{source: {}}]}]}`, "must not be empty"},
		"keys that are not keys": {`
kind: RequestAuthentication
metadata: {name: a, namespace: payments}
spec: {jwtRules: [{issuer: a, jwks: '{"keys": "none"}'}]}`, "jwks parse error"},
		"a range of addresses that is resolved": {`
kind: ServiceEntry
metadata: {name: a, namespace: payments}
spec: {hosts: [a.example.com], addresses: [203.0.113.0/24], resolution: DNS, ports: [{number: 443, name: tcp, protocol: TCP}]}`, "CIDR addresses are allowed only for"},
		"an empty Sidecar": {`
kind: Sidecar
metadata: {name: a, namespace: payments}
spec: {}`, "empty configuration"},
		"a log provider without a name": {`
kind: Telemetry
metadata: {name: a, namespace: payments}
spec: {accessLogging: [{providers: [{}]}]}`, "providers.name may not be empty"},
		"a warning that nothing accepts": {`
kind: Sidecar
metadata: {name: a, namespace: payments}
spec: {egress: [{hosts: [./a.example.com, ./a.example.com]}]}`, "duplicated egress host"},
		"an unknown kind": {`
kind: EnvoyFilter
metadata: {name: a}`, "no validation is known"},
		"a server that ends TLS by nothing": {`
kind: Gateway
metadata: {name: a, namespace: payments}
spec: {selector: {app: a}, servers: [{hosts: ["./a.example.com"], port: {number: 443, name: tls, protocol: TLS}, tls: {mode: MUTUAL}}]}`, "MUTUAL TLS requires"},
		"a subset without a name": {`
kind: DestinationRule
metadata: {name: a, namespace: payments}
spec: {host: a.example.com, subsets: [{labels: {a: b}}]}`, "subset name cannot be empty"},
		"a route to nowhere": {`
kind: VirtualService
metadata: {name: a, namespace: payments}
spec: {hosts: [a.example.com], tcp: [{match: [{port: 443}]}]}`, "route"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := check([]byte(test.doc)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	out, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// read returns the documents of a YAML file.
func read(file string) ([][]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	var out [][]byte
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(bytes.TrimSpace(doc)) > 0 {
			out = append(out, doc)
		}
	}
}
