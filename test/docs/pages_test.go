package docs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// prelude stands before every page's commands, for what can't be run as it is.
const prelude = `
make() { command make --no-print-directory -C "$ROOT" --dry-run "$@" >/dev/null; }
go() {
	[ "$1 $2" = "run ." ] || { echo "docs: go $* is not known to the test" >&2; return 1; }
	shift 2
	"$MANAGER" "$@" --version
}
`

// Limits of time: for one fence, and for its output to be as shown.
const (
	fenceTimeout  = 90 * time.Second
	outputTimeout = 20 * time.Second
)

func TestPages(t *testing.T) {
	ctx := t.Context()
	all := slices.DeleteFunc(pages(t), func(p page) bool { return generated(p.path) || !p.runs() })
	c := newCluster(ctx, t)
	for _, p := range all {
		t.Run(p.path, func(t *testing.T) {
			r := newReader(t, c)
			if p.path != "README.md" {
				c.prepare(ctx, t)
			}
			r.follow(ctx, t, p)
		})
	}
	for _, problem := range c.kubelet.problems() {
		t.Error(problem)
	}
}

// reader does what a page says.
type reader struct {
	*cluster
	dir string
}

func newReader(t *testing.T, c *cluster) *reader {
	t.Helper()
	r := &reader{cluster: c, dir: t.TempDir()}
	abs, err := filepath.Abs(root)
	must(t, err)
	for _, name := range []string{"config", "dist", "docs"} {
		must(t, os.Symlink(filepath.Join(abs, name), filepath.Join(r.dir, name)))
	}
	must(t, os.Mkdir(filepath.Join(r.dir, "bin"), 0o700))
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" --version\n", c.manager)
	must(t, os.WriteFile(filepath.Join(r.dir, "bin", "manager"), []byte(wrapper), 0o700)) //nolint:gosec // it is a program
	return r
}

func (r *reader) follow(ctx context.Context, t *testing.T, p page) {
	t.Helper()
	for i, f := range p.fences {
		if _, skip := f.attributes["no-test"]; skip {
			continue
		}
		at := fmt.Sprintf("%s:%d", p.path, f.line)
		switch f.language {
		case "yaml":
			for _, err := range r.manifest(ctx, f) {
				t.Errorf("%s: %v\n%s", at, err, f.text)
			}
		case "sh":
			want := ""
			if i+1 < len(p.fences) && p.fences[i+1].is("text", "output") {
				want = p.fences[i+1].text
			}
			if err := r.commands(ctx, f, want); err != nil {
				t.Fatalf("%s: %v\n\nthe operator's log:\n%s", at, err, r.kubelet.log())
			}
		}
	}
}

// commands runs a fence, until its output is as wanted if that may come.
func (r *reader) commands(ctx context.Context, f fence, want string) error {
	deadline := time.Now().Add(outputTimeout)
	for {
		out, err := r.bash(ctx, f.text)
		var exit *exec.ExitError
		switch fails := f.is("sh", "fails"); {
		case err != nil && (!fails || !errors.As(err, &exit)):
			return fmt.Errorf("%w\n%s\nprints:\n%s", err, f.text, out)
		case err == nil && fails:
			return fmt.Errorf("is to fail, and does not:\n%s\nprints:\n%s", f.text, out)
		}
		missing := lacks(out, want)
		if missing == "" {
			return nil
		}
		if !readsOnly(f.text) || time.Now().After(deadline) {
			return fmt.Errorf("the line\n\t%s\nis not in the output of\n%s\nwhich prints:\n%s", missing, f.text, out)
		}
		time.Sleep(pause) //nolint:forbidigo // between two attempts, with a deadline
	}
}

func (r *reader) bash(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", prelude+script)
	cmd.Dir = r.dir
	cmd.Env = append(r.environment(), "ROOT="+abs, "MANAGER="+r.manager)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// readsOnly says whether a fence may be repeated.
func readsOnly(script string) bool {
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "kubectl" {
			continue
		}
		if !slices.ContainsFunc(words, func(w string) bool { return slices.Contains([]string{"get", "describe", "events", "explain"}, w) }) {
			return false
		}
	}
	return true
}

// lacks is the first wanted line that the output has not; empty for none.
func lacks(out, want string) string {
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, squeeze(line))
	}
	for line := range strings.Lines(want) {
		line = squeeze(line)
		if strings.Trim(line, "… ") == "" {
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(strings.TrimSpace(parts[i]))
		}
		pattern := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		if !slices.ContainsFunc(lines, pattern.MatchString) {
			return line
		}
	}
	return ""
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// manifest sends a fence of YAML, and saves it where the page says so.
func (r *reader) manifest(ctx context.Context, f fence) []error {
	text := f.text
	if path := f.attributes["in"]; path != "" {
		var err error
		if text, err = complete(path, text); err != nil {
			return []error{err}
		}
	}
	if name := f.attributes["file"]; name != "" {
		if err := os.WriteFile(filepath.Join(r.dir, filepath.Base(name)), []byte(text), 0o600); err != nil {
			return []error{err}
		}
	}
	var errs []error
	docs := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return errs
		}
		if err == nil {
			err = r.dryRun(ctx, doc)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
}

func (r *reader) dryRun(ctx context.Context, doc []byte) error {
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(doc, &o.Object); err != nil {
		return err
	}
	if o.GetAPIVersion() == "" || o.GetKind() == "" {
		return errors.New("neither a whole manifest nor a part with in=PATH")
	}
	return client.WithFieldValidation(r.client, "Strict").Apply(ctx, client.ApplyConfigurationFromUnstructured(o),
		client.DryRunAll, client.FieldOwner("docs"), client.ForceOwnership)
}

// whole is a profile with what parts of it need around them.
const whole = `
apiVersion: meshsecurity.io/v1alpha1
kind: MeshSecurityProfile
metadata: {name: docs, namespace: payments}
spec:
  mutualTLS: {mode: Strict}
  authorization:
    defaultAction: Deny
    jwtProviders:
    - {name: corp, issuer: https://sso.example.com, jwksURI: https://sso.example.com/keys}
    rules: []
  egress: {defaultAction: Deny, assurance: Network}
  drift: {policy: Correct}
`

// complete puts a part of a profile into a whole one.
func complete(path, part string) (string, error) {
	var profile map[string]any
	if err := yaml.Unmarshal([]byte(whole), &profile); err != nil {
		return "", err
	}
	var value any
	if err := yaml.UnmarshalStrict([]byte(part), &value); err != nil {
		return "", err
	}
	steps := strings.Split(path, ".")
	at := profile
	for _, s := range steps[:len(steps)-1] {
		next, ok := at[s].(map[string]any)
		if !ok {
			return "", fmt.Errorf("in=%s: a profile has no %s; it has %s", path, s, slices.Sorted(maps.Keys(at)))
		}
		at = next
	}
	at[steps[len(steps)-1]] = value
	out, err := yaml.Marshal(profile)
	return string(out), err
}
