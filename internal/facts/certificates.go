package facts

import "time"

// Certificates is what the mesh's workloads trust and are given, as far as
// ConfigMaps, pods, service accounts and istiod's settings tell. No secret is read.
type Certificates struct {
	// Policy is the strictest of what baselines declare.
	Policy CertificatePolicy
	// Root is what istiod hands out in its own namespace; nil where there is none.
	Root *Bundle
	// Further are authorities that the mesh configuration adds; nil for none.
	Further *Bundle
	// RootsRead is true where the roots of all namespaces can be read.
	RootsRead bool
	// Differing are the namespaces whose root is not Root, sorted.
	Differing []DifferingRoot
	// Revocation is the mesh's list of revoked certificates; nil where there is none.
	Revocation *Revocation
	// Requests are the workloads whose proxies ask for a longer life than
	// DefaultWorkloadTTL, or for one that is written elsewhere, sorted.
	Requests []TTLRequest
	// Tokens are service account tokens that last for longer than LongToken, sorted.
	Tokens []Token
	// Credentials are the names of secrets that Gateways take certificates from, sorted.
	Credentials []string
}

// Istio's own lifetimes of a workload's certificate (security/pkg/cmd).
const (
	DefaultWorkloadTTL    = 24 * time.Hour
	DefaultMaxWorkloadTTL = 90 * 24 * time.Hour
)

// LongToken is the longest life of a token that is nothing out of the ordinary.
const LongToken = 24 * time.Hour

// CertificatePolicy is what certificates are held to. Zero values: nobody says so.
type CertificatePolicy struct {
	MaxWorkloadTTL        time.Duration
	MinAuthorityRemaining time.Duration
	// SelfSigned says whether an authority that the mesh made itself will do.
	SelfSigned Tristate
	MinRSABits int
}

// Bundle is a set of certificates that are trusted.
type Bundle struct {
	Source
	Certificates []Certificate
	// Unreadable is how many of it are none that can be read, and TooLarge true
	// where there is more than is looked at.
	Unreadable int
	TooLarge   bool
	// Changed is when it was written; zero where it can't be told.
	Changed time.Time
}

// Certificate is what matters of an authority's certificate.
type Certificate struct {
	// Name is its subject, fit for a message.
	Name                string
	NotBefore, NotAfter time.Time
	// SelfSigned is true where it names itself as its issuer.
	SelfSigned bool
	// Organization is set where its subject is that and nothing else.
	Organization string
	// Authority is true where it says that it may sign others (CA:TRUE).
	Authority bool
	// RSABits is the length of its key; 0 for one that is not RSA.
	RSABits int
	// WeakKey names a key of another kind that is too weak; empty for none.
	WeakKey string
	// WeakSignature names an algorithm that is broken; empty for none.
	WeakSignature string
}

// DifferingRoot is a namespace's root that is not the mesh's.
type DifferingRoot struct {
	Namespace string
	// Foreign is true where it has certificates that the mesh's does not have,
	// and Lacks where it misses some that the mesh's has.
	Foreign, Lacks bool
	// Unreadable is true where it can't be told.
	Unreadable bool
	// Used is true where a proxy runs in the namespace.
	Used bool
	// Changed is when it was written; zero where it can't be told.
	Changed time.Time
}

// Revocation is a list of certificates that are revoked.
type Revocation struct {
	Source
	// Empty is true where there is none in it, and Unreadable where one can't be read.
	Empty, Unreadable bool
	// Until is when the first of its lists ends; zero for never.
	Until time.Time
}

// TTLRequest is a workload whose proxies ask for certificates of a lifetime.
type TTLRequest struct {
	Namespace string
	Owner     Owner
	// TTL is the longest; zero where it is written elsewhere.
	TTL time.Duration
}

// Token is a token of a service account that lasts for long.
type Token struct {
	// Subject is KIND/NAMESPACE/NAME of the workload, or of the service account.
	Subject string
	// TTL is how long it lasts; zero for a secret's, which has no end.
	TTL time.Duration
	// Secret that holds it; empty for a pod's own.
	Secret string
}
