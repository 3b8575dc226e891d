package snapshot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

var (
	madeAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	endsAt = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
)

func curve(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate of a subject, signed by the parent or by itself.
func issue(t testing.TB, s pkix.Name, key crypto.Signer, change func(*x509.Certificate), parent *x509.Certificate, by crypto.Signer) (*x509.Certificate, string) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: s, NotBefore: madeAt, NotAfter: endsAt, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if change != nil {
		change(c)
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func root(t testing.TB, name string) string {
	t.Helper()
	_, text := issue(t, pkix.Name{CommonName: name}, curve(t, elliptic.P256()), nil, nil, nil)
	return text
}

func TestBundle(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // a key that is too short is what is looked for
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	own, ownText := issue(t, pkix.Name{Organization: []string{"cluster.local"}}, short, nil, nil, nil)
	_, below := issue(t, pkix.Name{CommonName: "Issuing\x1b[31m CA\n", Organization: []string{"Example"}}, curve(t, elliptic.P224()),
		func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }, own, short)
	_, leaf := issue(t, pkix.Name{}, curve(t, elliptic.P384()), func(c *x509.Certificate) { c.IsCA = false }, own, short)

	got := bundle("# a comment\n" + ownText + below + leaf)
	want := facts.Bundle{Certificates: []facts.Certificate{
		{Name: "cluster.local", Organization: "cluster.local", SelfSigned: true, Authority: true, RSABits: 1024},
		{Name: "Issuing?[31m CA?", Authority: true, WeakKey: "an elliptic curve of 224 bits", WeakSignature: "SHA1-RSA"},
		{Name: got.Certificates[2].Name},
	}}
	for i := range want.Certificates {
		want.Certificates[i].NotBefore, want.Certificates[i].NotAfter = madeAt, endsAt
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, long := issue(t, pkix.Name{CommonName: strings.Repeat("x", 300)}, curve(t, elliptic.P256()), nil, nil, nil)
	if name := bundle(long).Certificates[0].Name; len(name) > 64+len("…") {
		t.Errorf("a long subject is not cut: %q", name)
	}
	if !strings.HasPrefix(got.Certificates[2].Name, "certificate ") {
		t.Errorf("one without a subject is called %q", got.Certificates[2].Name)
	}
}

func TestBundlesThatDoNotTellEverything(t *testing.T) {
	one := root(t, "Root")
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	for name, c := range map[string]struct {
		text         string
		certificates int
		unreadable   int
		tooLarge     bool
	}{
		"nothing":                   {"", 0, 0, false},
		"blank":                     {" \n", 0, 0, false},
		"no PEM":                    {"certificate", 0, 1, false},
		"no certificate":            {one + key, 1, 1, false},
		"a broken one":              {one + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", 1, 1, false},
		"as many as are looked at":  {strings.Repeat(one, maxCertificates), maxCertificates, 0, false},
		"more than are looked at":   {strings.Repeat(one, maxCertificates+1), maxCertificates, 0, true},
		"a longer text than is":     {strings.Repeat("x", maxBundleBytes+1), 0, 0, true},
		"many beginnings":           {strings.Repeat("-----BEGIN CERTIFICATE-----\n", 2000), 0, 1, false},
		"a certificate and a tail":  {one + "-----BEGIN CERT", 1, 0, false},
		"a certificate in Windows'": {strings.ReplaceAll(one, "\n", "\r\n"), 1, 0, false},
	} {
		got := bundle(c.text)
		if len(got.Certificates) != c.certificates || got.Unreadable != c.unreadable || got.TooLarge != c.tooLarge {
			t.Errorf("%s: %d certificates, %d unreadable, too large %t", name, len(got.Certificates), got.Unreadable, got.TooLarge)
		}
	}
}

func TestRevocation(t *testing.T) {
	key := curve(t, elliptic.P256())
	authority, _ := issue(t, pkix.Name{CommonName: "Root"}, key, nil, nil, nil)
	list := func(until time.Time) string {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: madeAt, NextUpdate: until}, authority, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	}
	for name, c := range map[string]struct {
		text string
		want facts.Revocation
	}{
		"none":     {"\n", facts.Revocation{Empty: true}},
		"one":      {list(endsAt), facts.Revocation{Until: endsAt}},
		"two":      {list(endsAt) + list(madeAt.AddDate(1, 0, 0)), facts.Revocation{Until: madeAt.AddDate(1, 0, 0)}},
		"no PEM":   {"list", facts.Revocation{Unreadable: true}},
		"no list":  {root(t, "Root"), facts.Revocation{Unreadable: true}},
		"too long": {strings.Repeat("x", maxBundleBytes+1), facts.Revocation{Unreadable: true}},
	} {
		if diff := cmp.Diff(c.want, revocation(c.text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Whatever somebody writes into such a ConfigMap, it is looked at without harm.
func FuzzBundle(f *testing.F) {
	f.Add(root(f, "Root"))
	f.Add("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
	f.Add("-----BEGIN X509 CRL-----\n\n-----END X509 CRL-----")
	f.Fuzz(func(t *testing.T, text string) {
		b := bundle(text)
		if len(b.Certificates)+b.Unreadable > maxCertificates {
			t.Errorf("%d certificates", len(b.Certificates)+b.Unreadable)
		}
		for _, c := range b.Certificates {
			if c.Name == "" || len(c.Name) > 80 {
				t.Errorf("the name %q", c.Name)
			}
		}
		revocation(text)
		fingerprints(text)
	})
}

func TestDifferingRoots(t *testing.T) {
	one, two := root(t, "One"), root(t, "Two")
	for name, c := range map[string]struct {
		mesh, namespace string
		want            facts.DifferingRoot
		same            bool
	}{
		"the same in another order": {one + two, two + "\n# comment\n" + one, facts.DifferingRoot{}, true},
		"another":                   {one, two, facts.DifferingRoot{Foreign: true, Lacks: true}, false},
		"one more":                  {one, one + two, facts.DifferingRoot{Foreign: true}, false},
		"one less":                  {one + two, one, facts.DifferingRoot{Lacks: true}, false},
		"none":                      {one, "", facts.DifferingRoot{Lacks: true}, false},
		"too large":                 {one, strings.Repeat(one, maxCertificates+1), facts.DifferingRoot{Unreadable: true}, false},
	} {
		trimmed := func(text string) *corev1.ConfigMap {
			out, err := RootTrim()(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: RootConfigMap, Namespace: "shop", Labels: map[string]string{"istio.io/config": "true"}}, Data: map[string]string{rootKey: text}})
			if err != nil {
				t.Fatal(err)
			}
			return out.(*corev1.ConfigMap)
		}
		want, have := rootOf(trimmed(c.mesh)), rootOf(trimmed(c.namespace))
		if (want == have) != c.same {
			t.Errorf("%s: %q and %q", name, want, have)
		}
		if diff := cmp.Diff(c.want, differing(want, have)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Nobody can pass off a text for what the cache makes of it.
	forged := &corev1.ConfigMap{Data: map[string]string{rootKey: fingerprints(one)}}
	if rootOf(forged) == fingerprints(one) {
		t.Error("a text counts as the root that it names")
	}
}

// Ten thousand namespaces hold the same root: the cache holds it once.
func TestRootsAreKeptOnce(t *testing.T) {
	trim, text := RootTrim(), root(t, "Root")
	of := func(ns, text string) map[string]string {
		out, err := trim(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: RootConfigMap, Namespace: ns}, Data: map[string]string{rootKey: strings.Clone(text)}})
		if err != nil {
			t.Fatal(err)
		}
		return out.(*corev1.ConfigMap).Data
	}
	pointer := func(m map[string]string) *byte { return unsafe.StringData(m[fingerprintKey]) }
	if pointer(of("a", text)) != pointer(of("b", text)) {
		t.Error("the same root is kept twice")
	}
	for range maxShared + 1 {
		of("c", text)
		of("c", "x")
		text += "\n"
	}
	s := &sharedData{}
	for i := range 3 * maxShared {
		s.get(strings.Repeat("x", i))
	}
	if len(s.of) > maxShared {
		t.Errorf("%d contents are remembered", len(s.of))
	}
}

func TestLongLivedCredentials(t *testing.T) {
	expiring := func(seconds int64) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds}}}}}}}}
	}
	proxy := func(env ...corev1.EnvVar) corev1.PodSpec {
		return corev1.PodSpec{InitContainers: []corev1.Container{{Name: proxyContainer, Env: append(env, corev1.EnvVar{Name: "OTHER", Value: "x"})}}}
	}
	ttl := func(text string) corev1.PodSpec { return proxy(corev1.EnvVar{Name: requestedTTL, Value: text}) }
	for name, c := range map[string]struct {
		spec  corev1.PodSpec
		ttl   time.Duration
		long  bool
		token int64
	}{
		"nothing":               {corev1.PodSpec{}, 0, false, 0},
		"a proxy":               {proxy(), 0, false, 0},
		"as long as usual":      {ttl("24h"), 24 * time.Hour, false, 0},
		"longer":                {ttl("25h"), 25 * time.Hour, true, 0},
		"no length":             {ttl("long"), 0, false, 0},
		"from elsewhere":        {proxy(corev1.EnvVar{Name: requestedTTL, ValueFrom: &corev1.EnvVarSource{}}), 0, true, 0},
		"a token for a day":     {expiring(86400), 0, false, 0},
		"a token for two":       {expiring(172800), 0, false, 172800},
		"a token for all times": {expiring(1 << 62), 0, false, 1 << 62},
		"of another container":  {corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: requestedTTL, Value: "720h"}}}}}, 0, false, 0},
	} {
		pod := &corev1.Pod{Spec: c.spec}
		kept, err := Trim(pod.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*corev1.Pod{pod, kept.(*corev1.Pod)} {
			got, long := proxyTTL(p)
			if got != c.ttl || long != c.long || longToken(p) != c.token || len(LongLived(p)) > 0 != (c.long || c.token > 0) {
				t.Errorf("%s: %s, %t, %d, %v", name, got, long, longToken(p), LongLived(p))
			}
		}
	}
	if seconds(1<<62) <= 0 {
		t.Error("a very long life is none")
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "cart", Labels: map[string]string{"a": "b"}}, Secrets: []corev1.ObjectReference{{Name: "cart-dockercfg-2v4tq"}, {Name: "cart-token-x7k2p"}}}
	kept, err := Trim(account.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]corev1.ObjectReference{{Name: "cart-token-x7k2p"}}, kept.(*corev1.ServiceAccount).Secrets); diff != "" || len(LongLived(account)) == 0 {
		t.Error(diff)
	}
}

// The strictest of all baselines holds, whichever comes first.
func TestTheStrictestCertificatePolicyHolds(t *testing.T) {
	a := &v1alpha1.CertificatePolicy{MaxWorkloadTTL: "24h", MinAuthorityRemaining: "720h", AllowSelfSignedAuthority: new(true), MinRSABits: new(int32(2048))}
	b := &v1alpha1.CertificatePolicy{MaxWorkloadTTL: "12h", MinAuthorityRemaining: "1440h", AllowSelfSignedAuthority: new(false), MinRSABits: new(int32(3072))}
	none := &v1alpha1.CertificatePolicy{}
	want := facts.CertificatePolicy{MaxWorkloadTTL: 12 * time.Hour, MinAuthorityRemaining: 1440 * time.Hour, SelfSigned: facts.No, MinRSABits: 3072}
	for _, order := range [][]*v1alpha1.CertificatePolicy{{a, b, none}, {b, none, a}, {none, b, a}} {
		var got facts.CertificatePolicy
		for _, d := range order {
			got = stricter(got, d)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if got := stricter(stricter(facts.CertificatePolicy{}, none), a); got.SelfSigned != facts.Yes {
		t.Errorf("accepted by one, and refused by none: %q", got.SelfSigned)
	}
}

func TestReadMeshConfigForCertificates(t *testing.T) {
	var m facts.Mesh
	readMeshConfig("defaultConfig: {proxyMetadata: {SECRET_TTL: 48h, OTHER: 1}}\ncaCertificates: [{pem: one}, {spiffeBundleUrl: https://example.com}, {pem: two}]\n", &m)
	if !m.ConfigRead || m.CertificateTTL != "48h" || strings.Join(m.FurtherAuthorities, ",") != "one,two" {
		t.Errorf("%+v", m)
	}
}
