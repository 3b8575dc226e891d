package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
)

// soundCertificates are those of a mesh whose root was brought from outside.
func soundCertificates() facts.Certificates {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return facts.Certificates{
		RootsRead: true,
		Root: &facts.Bundle{
			Source:       facts.Source{Kind: "ConfigMap", Namespace: "istio-system", Name: "istio-ca-root-cert"},
			Certificates: []facts.Certificate{{Name: "Example Root", NotBefore: from, NotAfter: from.AddDate(20, 0, 0), SelfSigned: true, Authority: true, RSABits: 4096}},
		},
		Revocation: &facts.Revocation{Source: facts.Source{Kind: "ConfigMap", Namespace: "istio-system", Name: "istio-ca-crl"}},
	}
}

const (
	atRoot          = "ConfigMap/istio-system/istio-ca-root-cert: "
	inMeshNamespace = "Namespace/istio-system: "
	atIstiod        = "Deployment/istio-system/istiod: "
)

// rootEnds has the mesh's root end after a time.
func rootEnds(after time.Duration) func(*ClusterScene) {
	return func(s *ClusterScene) { s.Certificates.Root.Certificates[0].NotAfter = s.Now.Add(after) }
}

// besideNew has the root end after a time, and adds another one that lasts.
func besideNew(after time.Duration, from time.Time) func(*ClusterScene) {
	return func(s *ClusterScene) {
		c := s.Certificates.Root.Certificates[0]
		c.Name, c.NotBefore = "New Root", from
		s.Certificates.Root.Certificates = append(s.Certificates.Root.Certificates, c)
		rootEnds(after)(s)
	}
}

func selfMadeRoot(s *ClusterScene) {
	s.Certificates.Root.Certificates[0].Organization = "cluster.local"
}

func rootDiffers(d facts.DifferingRoot) func(*ClusterScene) {
	return func(s *ClusterScene) {
		d.Namespace = "shop"
		s.Certificates.Differing = []facts.DifferingRoot{d}
	}
}

func asksFor(ttl time.Duration) func(*ClusterScene) {
	return func(s *ClusterScene) {
		s.Certificates.Requests = []facts.TTLRequest{{Namespace: "shop", Owner: facts.Owner{Kind: "Deployment", Name: "cart"}, TTL: ttl}}
	}
}

func declaresTTL(ttl time.Duration) func(*ClusterScene) {
	return func(s *ClusterScene) { s.Certificates.Policy.MaxWorkloadTTL = ttl }
}

func istiodSets(name, value string) func(*ClusterScene) {
	return func(s *ClusterScene) { s.ControlPlanes[0].Settings[name] = value }
}

func allOf(changes ...func(*ClusterScene)) func(*ClusterScene) {
	return func(s *ClusterScene) {
		for _, c := range changes {
			c(s)
		}
	}
}

func noRoot(s *ClusterScene)         { s.Certificates.Root = nil }
func noMesh(s *ClusterScene)         { s.Certificates.Root, s.Mesh.Observed = nil, false }
func noControlPlane(s *ClusterScene) { s.ControlPlaneRead, s.ControlPlanes = false, nil }

var certificateCases = []examinedCluster{
	{"CERT-001", "made by istiod", selfMadeRoot, []string{atRoot + "istiod made its authority itself"}},
	{"CERT-001", "and accepted", allOf(selfMadeRoot, func(s *ClusterScene) { s.Certificates.Policy.SelfSigned = facts.Yes }), nil},
	{"CERT-001", "an organization that is not the trust domain", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].Organization = "Example" }, nil},
	{"CERT-001", "signed by another", allOf(selfMadeRoot, func(s *ClusterScene) { s.Certificates.Root.Certificates[0].SelfSigned = false }), nil},
	{"CERT-001", "not handed out", noRoot, []string{inMeshNamespace + "there is no ConfigMap istio-ca-root-cert"}},
	{"CERT-001", "not read", noControlPlane, []string{inMeshNamespace + "can't be read"}},
	{"CERT-001", "no mesh", noMesh, nil},
	{"CERT-001", "can't be read", func(s *ClusterScene) { s.Certificates.Root.Unreadable, s.Certificates.Root.Certificates = 1, nil }, []string{atRoot + "no certificate that can be read"}},

	{"CERT-002", "ends", rootEnds(59 * day), []string{atRoot + "Example Root ends at 2027-03-15T12:00:00Z, and nothing that is handed out takes its place"}},
	{"CERT-002", "has ended", rootEnds(-time.Hour), []string{atRoot + "Example Root has ended at 2027-01-15T11:00:00Z"}},
	{"CERT-002", "lasts", rootEnds(61 * day), nil},
	{"CERT-002", "a longer rest is declared", allOf(rootEnds(61*day), func(s *ClusterScene) { s.Certificates.Policy.MinAuthorityRemaining = 90 * day }), []string{atRoot + "ends at"}},
	{"CERT-002", "a shorter rest is declared", allOf(rootEnds(20*day), func(s *ClusterScene) { s.Certificates.Policy.MinAuthorityRemaining = 10 * day }), nil},
	{"CERT-002", "another one is there", besideNew(5*day, time.Time{}), []string{atRoot + "New Root in the same bundle lasts"}},
	{"CERT-002", "another one begins after it", besideNew(5*day, time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)), []string{atRoot + "nothing that is handed out takes its place"}},
	{"CERT-002", "ended, and another one is there", besideNew(-time.Hour, time.Time{}), nil},
	{"CERT-002", "of the mesh configuration", func(s *ClusterScene) {
		further := *s.Certificates.Root
		further.Name, further.Certificates = "istio", []facts.Certificate{{Name: "Partner", NotAfter: s.Now.Add(day), Authority: true}}
		s.Certificates.Further = &further
	}, []string{"ConfigMap/istio-system/istio: Partner ends at 2027-01-16T12:00:00Z, and nothing in the mesh configuration"}},
	{"CERT-002", "not handed out", noRoot, []string{inMeshNamespace + "there is no ConfigMap"}},
	{"CERT-002", "a part can't be read", func(s *ClusterScene) { s.Certificates.Root.Unreadable = 1 }, []string{atRoot + "no certificate that can be read"}},
	{"CERT-002", "too large", func(s *ClusterScene) { s.Certificates.Root.TooLarge = true }, []string{atRoot + "more certificates than are looked at"}},
	{"CERT-002", "empty", func(s *ClusterScene) { s.Certificates.Root.Certificates = nil }, []string{atRoot + "holds no certificate"}},

	{"CERT-003", "a workload asks for long", asksFor(48 * time.Hour), []string{"Deployment/shop/cart: asks for certificates of 48h, and 24h is the longest"}},
	{"CERT-003", "for as long as is declared", allOf(asksFor(48*time.Hour), declaresTTL(48*time.Hour), istiodSets(maxTTL, "48h")), nil},
	{"CERT-003", "for longer than istiod gives", allOf(asksFor(48*time.Hour), istiodSets(maxTTL, "24h")), nil},
	{"CERT-003", "from elsewhere", asksFor(0), []string{"Deployment/shop/cart: unknown: its proxy takes SECRET_TTL from another object"}},
	{"CERT-003", "the mesh configuration asks for long", func(s *ClusterScene) { s.Mesh.CertificateTTL = "720h" }, []string{inMeshNamespace + "has proxies ask for certificates of 720h"}},
	{"CERT-003", "the mesh configuration says nothing a duration", func(s *ClusterScene) { s.Mesh.CertificateTTL = "long" }, nil},
	{"CERT-003", "istiod gives more than is declared", declaresTTL(24 * time.Hour), []string{atIstiod + "up to 2160h, and a baseline declares 24h"}},
	{"CERT-003", "istiod gives what is declared", allOf(declaresTTL(24*time.Hour), istiodSets(maxTTL, "24h")), nil},
	{"CERT-003", "who asks for none gets more than is declared", allOf(declaresTTL(12*time.Hour), istiodSets(maxTTL, "12h")), []string{atIstiod + "up to 24h, and a baseline declares 12h"}},
	{"CERT-003", "Istio's default is more than is declared", declaresTTL(time.Hour), []string{inMeshNamespace + "ask for certificates of 24h", atIstiod + "declares 1h"}},
	{"CERT-003", "another authority", allOf(declaresTTL(24*time.Hour), istiodSets(signs, "false")), []string{atIstiod + "another authority than istiod"}},
	{"CERT-003", "settings from elsewhere", allOf(declaresTTL(24*time.Hour), func(s *ClusterScene) { s.ControlPlanes[0].SettingsElsewhere = []string{maxTTL} }), []string{atIstiod + "taken from another object"}},
	{"CERT-003", "istiod not read", allOf(declaresTTL(24*time.Hour), noControlPlane), []string{inMeshNamespace + "istiod's deployment can't be read"}},
	{"CERT-003", "istiod elsewhere", allOf(declaresTTL(24*time.Hour), func(s *ClusterScene) { s.ControlPlanes = nil }), []string{inMeshNamespace + "istiod does not run here"}},

	{"CERT-005", "a short key", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].RSABits = 1024 }, []string{atRoot + "RSA key of 1024 bits, where 2048 are the least"}},
	{"CERT-005", "shorter than declared", allOf(func(s *ClusterScene) { s.Certificates.Root.Certificates[0].RSABits = 2048 }, func(s *ClusterScene) { s.Certificates.Policy.MinRSABits = 3072 }), []string{atRoot + "3072 are the least"}},
	{"CERT-005", "a weak curve", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].WeakKey = "an elliptic curve of 224 bits" }, []string{atRoot + "an elliptic curve of 224 bits"}},
	{"CERT-005", "no authority", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].Authority = false }, []string{atRoot + "CA:TRUE"}},
	{"CERT-005", "signed with SHA-1", func(s *ClusterScene) {
		s.Certificates.Root.Certificates[0].SelfSigned, s.Certificates.Root.Certificates[0].WeakSignature = false, "SHA1-RSA"
	}, []string{atRoot + "is signed with SHA1-RSA"}},
	{"CERT-005", "signs itself with SHA-1", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].WeakSignature = "SHA1-RSA" }, []string{atRoot + "signs itself with SHA1-RSA"}},
	{"CERT-005", "not handed out", noRoot, []string{inMeshNamespace + "there is no ConfigMap"}},

	{"CERT-006", "Gateways name secrets", func(s *ClusterScene) { s.Certificates.Credentials = []string{"api", "shop"} }, []string{inMeshNamespace + "(api, shop)"}},

	{"CERT-007", "another root", rootDiffers(facts.DifferingRoot{Foreign: true, Lacks: true, Used: true}), []string{"ConfigMap/shop/istio-ca-root-cert: another root than the mesh's"}},
	{"CERT-007", "one more root", rootDiffers(facts.DifferingRoot{Foreign: true, Used: true}), []string{"ConfigMap/shop/istio-ca-root-cert: more roots than the mesh's"}},
	{"CERT-007", "an old root", rootDiffers(facts.DifferingRoot{Lacks: true, Used: true}), []string{"ConfigMap/shop/istio-ca-root-cert: lacks a root"}},
	{"CERT-007", "nobody uses it", rootDiffers(facts.DifferingRoot{Foreign: true}), []string{"ConfigMap/shop/istio-ca-root-cert: no proxy runs there now"}},
	{"CERT-007", "too large", rootDiffers(facts.DifferingRoot{Unreadable: true, Used: true}), []string{"ConfigMap/shop/istio-ca-root-cert: more certificates than are looked at"}},
	{"CERT-007", "the mesh's has just changed", allOf(rootDiffers(facts.DifferingRoot{Lacks: true, Used: true}), func(s *ClusterScene) { s.Certificates.Root.Changed = s.Now.Add(-time.Minute) }), []string{inMeshNamespace + "less than five minutes ago"}},
	{"CERT-007", "it has just changed", func(s *ClusterScene) {
		rootDiffers(facts.DifferingRoot{Foreign: true, Lacks: true, Used: true, Changed: s.Now.Add(-time.Minute)})(s)
	}, []string{inMeshNamespace + "less than five minutes ago"}},
	{"CERT-007", "the mesh's changed a while ago", allOf(rootDiffers(facts.DifferingRoot{Lacks: true, Used: true}), func(s *ClusterScene) { s.Certificates.Root.Changed = s.Now.Add(-rootsSpread) }), []string{"ConfigMap/shop/istio-ca-root-cert: lacks a root"}},
	{"CERT-007", "others not read", func(s *ClusterScene) { s.Certificates.RootsRead = false }, []string{inMeshNamespace + "of other namespaces can't be read"}},
	{"CERT-007", "not handed out", noRoot, []string{inMeshNamespace + "there is no ConfigMap"}},

	{"CERT-008", "no list", func(s *ClusterScene) { s.Certificates.Revocation = nil }, []string{inMeshNamespace + "no list of revoked certificates"}},
	{"CERT-008", "an empty one", func(s *ClusterScene) { s.Certificates.Revocation.Empty = true }, []string{"ConfigMap/istio-system/istio-ca-crl: no list of revoked certificates"}},
	{"CERT-008", "one that has ended", func(s *ClusterScene) { s.Certificates.Revocation.Until = s.Now }, []string{"ConfigMap/istio-system/istio-ca-crl: has ended at 2027-01-15T12:00:00Z"}},
	{"CERT-008", "one that lasts", func(s *ClusterScene) { s.Certificates.Revocation.Until = s.Now.Add(time.Hour) }, nil},
	{"CERT-008", "one that can't be read", func(s *ClusterScene) { s.Certificates.Revocation.Unreadable = true }, []string{"ConfigMap/istio-system/istio-ca-crl: no list of revoked certificates that can be read"}},
	{"CERT-008", "istiod's own authority has none", allOf(selfMadeRoot, func(s *ClusterScene) { s.Certificates.Revocation = nil }), nil},
	{"CERT-008", "not read", noControlPlane, []string{inMeshNamespace + "can't be read"}},

	{"CERT-009", "tokens that last", func(s *ClusterScene) {
		s.Certificates.Tokens = []facts.Token{{Subject: "Deployment/shop/cart", TTL: 48 * time.Hour}, {Subject: "ServiceAccount/shop/cart", Secret: "cart-token-x7k2p"}}
	}, []string{"Deployment/shop/cart: lasts 48h", "ServiceAccount/shop/cart: the secret cart-token-x7k2p"}},
}

// An authority's end comes closer without any event: the finding gets graver by
// itself, and it is known when.
func TestAnAuthoritysEndGetsGraver(t *testing.T) {
	end := time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
	now := end.Add(-400 * day)
	var got []string
	for range 10 {
		s := clusterScene()
		s.Now, s.Certificates.Root.Certificates[0].NotAfter = now, end
		findings, next := ExamineCluster(s)
		text := end.Sub(now).String() + ":"
		for _, f := range findings {
			text += " " + string(f.Severity) + " " + string(f.State)
		}
		got = append(got, text)
		if next == nil {
			break
		}
		now = *next
	}
	want := "9600h0m0s:, 1440h0m0s: Medium Open, 720h0m0s: High Open, 168h0m0s: Critical Open, 0s: Critical Open"
	if have := strings.Join(got, ", "); have != want {
		t.Errorf("%s\nwant %s", have, want)
	}
}

// So does the end of a revocation list, and that of the time in which roots may differ.
func TestWhatOfCertificatesChangesByItself(t *testing.T) {
	now := clusterScene().Now
	for name, c := range map[string]struct {
		change func(*ClusterScene)
		want   time.Time
	}{
		"a revocation list": {func(s *ClusterScene) { s.Certificates.Revocation.Until = now.Add(time.Hour) }, now.Add(time.Hour)},
		"a fresh root":      {rootDiffers(facts.DifferingRoot{Lacks: true, Used: true, Changed: now.Add(-time.Minute)}), now.Add(4 * time.Minute)},
	} {
		s := clusterScene()
		c.change(s)
		if _, next := ExamineCluster(s); next == nil || !next.Equal(c.want) {
			t.Errorf("%s: %v, want %s", name, next, c.want)
		}
	}
}

// What a baseline declares and does not hold is grave, what nobody declares is
// not, and what shows little is Low.
func TestSeveritiesOfCertificates(t *testing.T) {
	for name, c := range map[string]struct {
		check  string
		change func(*ClusterScene)
		want   v1alpha1.Severity
	}{
		"own authority":                      {"CERT-001", selfMadeRoot, v1alpha1.SeverityMedium},
		"own authority, and declared not":    {"CERT-001", allOf(selfMadeRoot, func(s *ClusterScene) { s.Certificates.Policy.SelfSigned = facts.No }), v1alpha1.SeverityHigh},
		"a new root is there":                {"CERT-002", besideNew(5*day, time.Time{}), v1alpha1.SeverityMedium},
		"asks for long":                      {"CERT-003", asksFor(48 * time.Hour), v1alpha1.SeverityMedium},
		"asks for longer than declared":      {"CERT-003", allOf(asksFor(72*time.Hour), declaresTTL(48*time.Hour)), v1alpha1.SeverityHigh},
		"could ask for longer than declared": {"CERT-003", declaresTTL(24 * time.Hour), v1alpha1.SeverityMedium},
		"weak":                               {"CERT-005", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].RSABits = 1024 }, v1alpha1.SeverityHigh},
		"its own signature is":               {"CERT-005", func(s *ClusterScene) { s.Certificates.Root.Certificates[0].WeakSignature = "SHA1-RSA" }, v1alpha1.SeverityLow},
		"secrets are not granted":            {"CERT-006", func(s *ClusterScene) { s.Certificates.Credentials = []string{"shop"} }, v1alpha1.SeverityLow},
		"another root":                       {"CERT-007", rootDiffers(facts.DifferingRoot{Foreign: true, Lacks: true, Used: true}), v1alpha1.SeverityHigh},
		"an old root":                        {"CERT-007", rootDiffers(facts.DifferingRoot{Lacks: true, Used: true}), v1alpha1.SeverityMedium},
		"another root that nobody uses":      {"CERT-007", rootDiffers(facts.DifferingRoot{Foreign: true, Lacks: true}), v1alpha1.SeverityLow},
		"no list":                            {"CERT-008", func(s *ClusterScene) { s.Certificates.Revocation = nil }, v1alpha1.SeverityLow},
		"a list that has ended":              {"CERT-008", func(s *ClusterScene) { s.Certificates.Revocation.Until = s.Now }, v1alpha1.SeverityHigh},
	} {
		s := clusterScene()
		c.change(s)
		findings, _ := ExamineCluster(s)
		var got v1alpha1.Severity
		for _, f := range findings {
			if f.Check == c.check && got == "" {
				got = f.Severity
			}
		}
		if got != c.want {
			t.Errorf("%s: %s is %q, want %s", name, c.check, got, c.want)
		}
	}
}
