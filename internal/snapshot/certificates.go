package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/dsa" //nolint:staticcheck // to tell that a key is of this kind
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

// Names that istiod gives to what it hands out to every namespace
// (istio/istio, pilot/pkg/features and pkg/config/constants).
const (
	// RootConfigMap holds what a namespace's proxies trust.
	RootConfigMap    = "istio-ca-root-cert"
	rootKey          = "root-cert.pem"
	revokedConfigMap = "istio-ca-crl"
	revokedKey       = "ca-crl.pem"
)

// Whoever may write a ConfigMap writes what is parsed here.
const (
	maxBundleBytes  = 64 << 10
	maxCertificates = 64
)

// LongLivedIndex finds pods and service accounts that have, or ask for, a
// credential that lasts for longer than is usual, by isLongLived.
const (
	LongLivedIndex = "longLived"
	isLongLived    = "long"
)

// CredentialIndex finds Gateways that take a certificate from a secret, by hasCredential.
const (
	CredentialIndex = "credential"
	hasCredential   = "named"
)

// RootKind is the kind of the ConfigMaps that hold roots, as it is asked for by Dependant.
var RootKind = schema.GroupKind{Kind: "ConfigMap"}

// certificates reads what the mesh's workloads trust and are given.
func (r *Reader) certificates(ctx context.Context, out *facts.Cluster) error {
	c := &out.Certificates
	var errs []error
	collect := func(err error) { errs = append(errs, err) }
	collect(r.certificatePolicy(ctx, c))
	if r.ControlPlaneRead() {
		collect(r.authorities(ctx, out))
	}
	_, read := r.Dependant(RootKind)
	if c.RootsRead = read == facts.Yes; c.RootsRead && c.Root != nil {
		collect(r.differingRoots(ctx, c))
	}
	collect(r.longLived(ctx, c))
	collect(r.credentials(ctx, c))
	return errors.Join(errs...)
}

// certificatePolicy is the strictest of all baselines, whatever they select.
func (r *Reader) certificatePolicy(ctx context.Context, c *facts.Certificates) error {
	var list v1alpha1.MeshSecurityBaselineList
	if err := r.Client.List(ctx, &list, noCopy); err != nil {
		return fmt.Errorf("list baselines: %w", err)
	}
	for i := range list.Items {
		if d := list.Items[i].Spec.Certificates; d != nil && list.Items[i].DeletionTimestamp == nil {
			c.Policy = stricter(c.Policy, d)
		}
	}
	return nil
}

func stricter(p facts.CertificatePolicy, d *v1alpha1.CertificatePolicy) facts.CertificatePolicy {
	// The API server admits lengths of time alone.
	if ttl, err := time.ParseDuration(string(d.MaxWorkloadTTL)); err == nil && (p.MaxWorkloadTTL == 0 || ttl < p.MaxWorkloadTTL) {
		p.MaxWorkloadTTL = ttl
	}
	if left, err := time.ParseDuration(string(d.MinAuthorityRemaining)); err == nil {
		p.MinAuthorityRemaining = max(p.MinAuthorityRemaining, left)
	}
	if d.AllowSelfSignedAuthority != nil && p.SelfSigned != facts.No {
		p.SelfSigned = tristate(*d.AllowSelfSignedAuthority)
	}
	if d.MinRSABits != nil {
		p.MinRSABits = max(p.MinRSABits, int(*d.MinRSABits))
	}
	return p
}

// authorities are what istiod hands out in its own namespace, and what the mesh
// configuration adds.
func (r *Reader) authorities(ctx context.Context, out *facts.Cluster) error {
	c := &out.Certificates
	if pems := out.Mesh.FurtherAuthorities; len(pems) > 0 {
		b := bundle(strings.Join(pems, "\n"))
		b.Source = facts.Source{Kind: "ConfigMap", Namespace: r.MeshNamespace, Name: configName(out.Mesh.Revision)}
		c.Further = &b
	}
	var cm corev1.ConfigMap
	found, err := r.getFrom(ctx, r.Optional, types.NamespacedName{Namespace: r.MeshNamespace, Name: RootConfigMap}, &cm)
	if err != nil {
		return err
	}
	if found {
		b := bundle(cm.Data[rootKey])
		b.Source, b.Changed = facts.Source{Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name}, lastWritten(cm.ManagedFields)
		c.Root = &b
	}
	var crl corev1.ConfigMap
	found, err = r.getFrom(ctx, r.Optional, types.NamespacedName{Namespace: r.MeshNamespace, Name: revokedConfigMap}, &crl)
	if err == nil && found {
		list := revocation(crl.Data[revokedKey])
		list.Source = facts.Source{Kind: "ConfigMap", Namespace: crl.Namespace, Name: crl.Name}
		c.Revocation = &list
	}
	return err
}

// lastWritten is when an object was last written; zero where it can't be told.
func lastWritten(entries []metav1.ManagedFieldsEntry) (at time.Time) {
	for _, e := range entries {
		if e.Time != nil && e.Time.After(at) {
			at = e.Time.Time
		}
	}
	return at
}

// timeOf keeps that of them.
func timeOf(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	at := lastWritten(entries)
	if at.IsZero() {
		return nil
	}
	return []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: at}}}
}

// blocks hands out the PEM blocks of a text; false where there are too many of
// them to be looked at.
func blocks(text string, each func(*pem.Block)) bool {
	if len(text) > maxBundleBytes {
		return false
	}
	rest := []byte(text)
	for n := 0; ; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return true
		}
		if n == maxCertificates {
			return false
		}
		each(b)
	}
}

func bundle(text string) facts.Bundle {
	var out facts.Bundle
	whole := blocks(text, func(b *pem.Block) {
		c, err := x509.ParseCertificate(b.Bytes)
		if b.Type != "CERTIFICATE" || err != nil {
			out.Unreadable++
			return
		}
		out.Certificates = append(out.Certificates, certificate(c))
	})
	out.TooLarge = !whole
	if whole && len(out.Certificates) == 0 && out.Unreadable == 0 && strings.TrimSpace(text) != "" {
		out.Unreadable = 1
	}
	return out
}

func certificate(c *x509.Certificate) facts.Certificate {
	out := facts.Certificate{
		Name: subject(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		SelfSigned: bytes.Equal(c.RawSubject, c.RawIssuer), Authority: c.BasicConstraintsValid && c.IsCA,
	}
	if len(c.Subject.Names) == 1 && len(c.Subject.Organization) == 1 {
		out.Organization = c.Subject.Organization[0]
	}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		out.RSABits = key.N.BitLen()
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			out.WeakKey = fmt.Sprintf("an elliptic curve of %d bits", bits)
		}
	case *dsa.PublicKey:
		out.WeakKey = "DSA"
	}
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		out.WeakSignature = c.SignatureAlgorithm.String()
	default:
	}
	return out
}

// subject is a short name of a certificate. Whoever made it chose the text.
func subject(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	name := cmp.Or(c.Subject.CommonName, strings.Join(c.Subject.Organization, "+"))
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
	return cmp.Or(mesh.Cut(name, 64), "certificate "+hex.EncodeToString(sum[:8]))
}

func revocation(text string) facts.Revocation {
	out := facts.Revocation{Empty: strings.TrimSpace(text) == ""}
	read := 0
	whole := blocks(text, func(b *pem.Block) {
		list, err := x509.ParseRevocationList(b.Bytes)
		if err != nil {
			out.Unreadable = true
			return
		}
		read++
		if !list.NextUpdate.IsZero() && (out.Until.IsZero() || list.NextUpdate.Before(out.Until)) {
			out.Until = list.NextUpdate
		}
	})
	out.Unreadable = out.Unreadable || !whole || read == 0 && !out.Empty
	return out
}

// fingerprintKey is where the cache keeps the fingerprints of a namespace's
// root. Nobody can write it: the API server admits no key with a space.
const fingerprintKey = "fingerprints of " + rootKey

// tooLarge stands for the fingerprints of a bundle that is not looked at.
const tooLarge = "too large"

// fingerprints are the same for bundles of the same certificates.
func fingerprints(text string) string {
	var all []string
	if !blocks(text, func(b *pem.Block) {
		sum := sha256.Sum256(b.Bytes)
		all = append(all, hex.EncodeToString(sum[:16]))
	}) {
		return tooLarge
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// rootOf are the fingerprints of a namespace's root, trimmed or not.
func rootOf(cm *corev1.ConfigMap) string {
	if f, ok := cm.Data[fingerprintKey]; ok {
		return f
	}
	return fingerprints(cm.Data[rootKey])
}

// sharedData are the few different contents that all namespaces' roots have:
// thousands of objects point to the same one.
type sharedData struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]map[string]string
}

// maxShared contents are remembered; more are no longer a mesh's own.
const maxShared = 64

func (s *sharedData) get(text string) map[string]string {
	key := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, ok := s.of[key]; ok {
		return data
	}
	if s.of == nil || len(s.of) >= maxShared {
		s.of = map[[sha256.Size]byte]map[string]string{}
	}
	s.of[key] = map[string]string{fingerprintKey: fingerprints(text)}
	return s.of[key]
}

// RootTrim makes a transform of the cache that holds the roots of all
// namespaces: it keeps fingerprints, and each set of them once.
func RootTrim() func(any) (any, error) {
	var shared sharedData
	return func(in any) (any, error) {
		cm, ok := in.(*corev1.ConfigMap)
		if !ok {
			return in, nil
		}
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: RootConfigMap, Namespace: cm.Namespace, ResourceVersion: cm.ResourceVersion, ManagedFields: timeOf(cm.ManagedFields)},
			Data:       shared.get(cm.Data[rootKey]),
		}, nil
	}
}

func (r *Reader) differingRoots(ctx context.Context, c *facts.Certificates) error {
	var list corev1.ConfigMapList
	if err := r.Roots.List(ctx, &list, noCopy); err != nil {
		return fmt.Errorf("list the roots of namespaces: %w", err)
	}
	want, found := "", false
	for i := range list.Items {
		if cm := &list.Items[i]; cm.Name == RootConfigMap && cm.Namespace == r.MeshNamespace {
			want, found = rootOf(cm), true
		}
	}
	if !found {
		return nil // It is not in this cache yet, and will be soon.
	}
	for i := range list.Items {
		cm := &list.Items[i]
		if cm.Name != RootConfigMap {
			continue
		}
		have := rootOf(cm)
		if have == want {
			continue
		}
		d := differing(want, have)
		d.Namespace, d.Changed = cm.Namespace, lastWritten(cm.ManagedFields)
		var err error
		if d.Used, err = r.proxied(ctx, cm.Namespace); err != nil {
			return err
		}
		c.Differing = append(c.Differing, d)
	}
	slices.SortFunc(c.Differing, func(a, b facts.DifferingRoot) int { return cmp.Compare(a.Namespace, b.Namespace) })
	return nil
}

func differing(want, have string) facts.DifferingRoot {
	if want == tooLarge || have == tooLarge {
		return facts.DifferingRoot{Unreadable: true}
	}
	w, h := strings.Fields(want), strings.Fields(have)
	return facts.DifferingRoot{
		Foreign: slices.ContainsFunc(h, func(f string) bool { return !slices.Contains(w, f) }),
		Lacks:   slices.ContainsFunc(w, func(f string) bool { return !slices.Contains(h, f) }),
	}
}

// proxied says whether a proxy runs in the namespace.
func (r *Reader) proxied(ctx context.Context, namespace string) (bool, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), noCopy); err != nil {
		return false, fmt.Errorf("list pods: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return !ended(&p) && proxyOf(&p) != nil }), nil
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func proxyOf(p *corev1.Pod) *corev1.Container {
	for _, all := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range all {
			if all[i].Name == proxyContainer {
				return &all[i]
			}
		}
	}
	return nil
}

// requestedTTL is the agent's setting for how long its certificates are to last
// (istio/istio, pilot/cmd/pilot-agent).
const requestedTTL = "SECRET_TTL"

// ttlSetting keeps that setting of a proxy's environment.
func ttlSetting(env []corev1.EnvVar) []corev1.EnvVar {
	return slices.DeleteFunc(slices.Clone(env), func(e corev1.EnvVar) bool { return e.Name != requestedTTL })
}

// proxyTTL is how long a pod's proxy asks its certificates to last, where that
// is longer than Istio's default; zero with true where it is written elsewhere.
func proxyTTL(p *corev1.Pod) (ttl time.Duration, long bool) {
	c := proxyOf(p)
	if c == nil {
		return 0, false
	}
	for _, e := range c.Env {
		if e.Name != requestedTTL {
			continue
		}
		if e.ValueFrom != nil {
			ttl, long = 0, true
			continue
		}
		// The agent takes its default for what it can't read.
		d, err := time.ParseDuration(e.Value)
		ttl, long = d, err == nil && d > facts.DefaultWorkloadTTL
	}
	return ttl, long
}

// longToken is the longest life beyond facts.LongToken that a pod asks for a
// token of its service account, in seconds; zero for none.
func longToken(p *corev1.Pod) (seconds int64) {
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if t := s.ServiceAccountToken; t != nil && t.ExpirationSeconds != nil && *t.ExpirationSeconds > int64(facts.LongToken/time.Second) {
				seconds = max(seconds, *t.ExpirationSeconds)
			}
		}
	}
	return seconds
}

// longTokenVolume stands in the cache for the volumes with such a token.
func longTokenVolume(seconds int64) corev1.Volume {
	return corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "*", ExpirationSeconds: &seconds}}},
	}}}
}

// legacyTokens are the secrets of a service account that hold a token without
// an end, by the names that Kubernetes gave them until 1.24.
func legacyTokens(a *corev1.ServiceAccount) []corev1.ObjectReference {
	var out []corev1.ObjectReference
	for _, s := range a.Secrets {
		if strings.HasPrefix(s.Name, a.Name+"-token-") {
			out = append(out, corev1.ObjectReference{Name: s.Name})
		}
	}
	return out
}

// LongLived says whether a pod or service account belongs into the index.
func LongLived(o client.Object) []string {
	long := false
	switch o := o.(type) {
	case *corev1.Pod:
		_, ttl := proxyTTL(o)
		long = ttl || longToken(o) > 0
	case *corev1.ServiceAccount:
		long = len(legacyTokens(o)) > 0
	}
	if long {
		return []string{isLongLived}
	}
	return nil
}

func (r *Reader) longLived(ctx context.Context, c *facts.Certificates) error {
	by := client.MatchingFields{LongLivedIndex: isLongLived}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, by, noCopy); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var accounts corev1.ServiceAccountList
	if err := r.Client.List(ctx, &accounts, by, noCopy); err != nil {
		return fmt.Errorf("list service accounts: %w", err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if ended(p) {
			continue
		}
		who := owner(p)
		if ttl, long := proxyTTL(p); long {
			c.Requests = append(c.Requests, facts.TTLRequest{Namespace: p.Namespace, Owner: who, TTL: ttl})
		}
		if s := longToken(p); s > 0 {
			c.Tokens = append(c.Tokens, facts.Token{Subject: facts.Source{Kind: who.Kind, Namespace: p.Namespace, Name: who.Name}.In(""), TTL: seconds(s)})
		}
	}
	for i := range accounts.Items {
		a := &accounts.Items[i]
		for _, s := range legacyTokens(a) {
			c.Tokens = append(c.Tokens, facts.Token{Subject: facts.Source{Kind: "ServiceAccount", Namespace: a.Namespace, Name: a.Name}.In(""), Secret: s.Name})
		}
	}
	slices.SortFunc(c.Requests, func(a, b facts.TTLRequest) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Owner.String(), b.Owner.String()), cmp.Compare(b.TTL, a.TTL))
	})
	c.Requests = slices.Compact(c.Requests)
	slices.SortFunc(c.Tokens, func(a, b facts.Token) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(b.TTL, a.TTL), cmp.Compare(a.Secret, b.Secret))
	})
	c.Tokens = slices.Compact(c.Tokens)
	return nil
}

// seconds is a length of time, as long as one can be.
func seconds(s int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(min(s, most)) * time.Second
}

// credentialNames are the secrets that a Gateway takes certificates from.
func credentialNames(g *networkingv1.Gateway) []string {
	var out []string
	for _, s := range g.Spec.GetServers() {
		if name := s.GetTls().GetCredentialName(); name != "" {
			out = append(out, name)
		}
	}
	return out
}

func withCredential(o client.Object) []string {
	if g, ok := o.(*networkingv1.Gateway); ok && len(credentialNames(g)) > 0 {
		return []string{hasCredential}
	}
	return nil
}

func (r *Reader) credentials(ctx context.Context, c *facts.Certificates) error {
	kind, _ := mesh.KindOf(&networkingv1.Gateway{})
	if !r.Served(kind.GVK) {
		return nil
	}
	var list networkingv1.GatewayList
	if err := r.Client.List(ctx, &list, client.MatchingFields{CredentialIndex: hasCredential}, noCopy); err != nil {
		return fmt.Errorf("list gateways: %w", err)
	}
	for _, g := range list.Items {
		c.Credentials = append(c.Credentials, credentialNames(g)...)
	}
	slices.Sort(c.Credentials)
	c.Credentials = slices.Compact(c.Credentials)
	return nil
}
