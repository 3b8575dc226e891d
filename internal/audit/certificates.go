package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/meshsecurity/mesh-security-operator/api/v1alpha1"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/mesh"
)

const (
	pluginCA  = "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"
	discovery = "https://istio.io/latest/docs/reference/commands/pilot-discovery/"
)

// rootSource says where the certificates come from.
const rootSource = "Looked at is the ConfigMap istio-ca-root-cert of istiod's namespace, and caCertificates of the mesh configuration. Secrets are not read, so that an intermediate between the root and the workloads is not seen unless it is in there."

func certificateChecks() []Check {
	return []Check{
		{
			ID: "CERT-001", Title: "the mesh signs by an authority that it made itself", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"NIST SP 800-53 SC-8"},
			Remediation: "keep a root outside of the cluster, and give istiod an intermediate by the secret cacerts; or accept it by certificates.allowSelfSignedAuthority of a baseline",
			Limits:      "An authority of istiod's own is known by its subject, which is the trust domain as an organization and nothing else. That one who was brought from outside keeps its root's key in the cluster is not seen.",
			References:  []string{pluginCA},
			cluster:     selfMade,
		},
		{
			ID: "CERT-002", Title: "an authority ends soon", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-53 SC-8"},
			Remediation: "rotate it: hand out the new root beside the old one, have istiod sign by the new one once every namespace has both, and take the old one away when no workload's certificate is of it any more",
			Limits:      rootSource + " Medium from 60 days before the end, or what certificates.minAuthorityRemaining of a baseline says, High from 30 and Critical from 7. Where one that lasts is in the same bundle it stays Medium: which of them istiod signs by can't be told.",
			References:  []string{pluginCA, "https://istio.io/latest/docs/ops/common-problems/security-issues/"},
			cluster:     endingAuthority,
		},
		{
			ID: "CERT-003", Title: "workloads' certificates last longer than they may", Severity: v1alpha1.SeverityMedium,
			Compliance:  []string{"NIST SP 800-53 SC-8"},
			Remediation: "set MAX_WORKLOAD_CERT_TTL in istiod's environment to the longest that may be (and DEFAULT_WORKLOAD_CERT_TTL too, where that is less than 24h), and take SECRET_TTL out of the mesh configuration's proxyMetadata and out of pods' proxy.istio.io/config; then restart the workloads",
			Limits:      "The longest is certificates.maxWorkloadTTL of a baseline, or else Istio's own 24 hours. Looked at is what is asked for (SECRET_TTL of each proxy's container and of the mesh configuration) and, where a baseline says so, what istiod lets be asked for (MAX_WORKLOAD_CERT_TTL, DEFAULT_WORKLOAD_CERT_TTL). The certificates themselves are not seen: one that was issued before stays good until it ends. A pod that asks for 24 hours or less is not named; what istiod lets it have is.",
			References:  []string{discovery, "https://istio.io/latest/docs/reference/commands/pilot-agent/"},
			cluster:     longTTL,
		},
		{
			ID: "CERT-005", Title: "an authority is of weak cryptography", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-53 SC-8", "PCI DSS 4.0 4.2.1"},
			Remediation: "make a new authority with an RSA key of 2048 bits or more, or an elliptic curve of 256 or more, signed with SHA-256 or better and marked CA:TRUE, and rotate to it",
			Limits:      rootSource + " Workloads' own keys and certificates are not seen. That an authority's signature of itself is of a broken algorithm is Low, since nobody relies on that signature.",
			References:  []string{pluginCA, "https://csrc.nist.gov/pubs/sp/800/131/a/r2/final"},
			cluster:     weakAuthority,
		},
		{
			ID: "CERT-006", Title: "gateways share a key", Severity: v1alpha1.SeverityHigh,
			Remediation: "give each credential a key of its own; compare them with kubectl, by someone who may read these secrets",
			Limits:      "Secrets are not read, so that it is Unknown wherever Gateways take certificates from secrets, and not looked at where none does. Keys that are shared between clusters are not seen.",
			References:  []string{"https://istio.io/latest/docs/tasks/traffic-management/ingress/secure-ingress/"},
			Aliases:     []string{"IST0138"},
			cluster:     sharedKeys,
		},
		{
			ID: "CERT-007", Title: "a namespace's proxies are told to trust another root", Severity: v1alpha1.SeverityHigh,
			Compliance:  []string{"NIST SP 800-53 SC-8"},
			Remediation: "see who writes the namespace's ConfigMap istio-ca-root-cert; delete it, so that istiod writes it anew, and restart the pods that started with it. Where istiod does not write it any more, the namespace is left out by its discoverySelectors",
			Limits:      "Each namespace's ConfigMap istio-ca-root-cert is compared with that of istiod's namespace. By it proxies know istiod when they start. A namespace without one is not looked at. For five minutes after one of them was written it is Unknown whether they are to differ, since istiod writes a new root into one namespace after the other. A namespace of another mesh has another root rightly: give it an exception.",
			References:  []string{pluginCA, "https://istio.io/latest/docs/ops/configuration/mesh/configuration-scoping/"},
			cluster:     differentRoots,
		},
		{
			ID: "CERT-008", Title: "no revocation list is handed out, or it has ended", Severity: v1alpha1.SeverityLow,
			Remediation: "put the list of every authority of the chain into the secret cacerts as ca-crl.pem, renew it before it ends, and leave PILOT_ENABLE_CA_CRL on",
			Limits:      "Looked at is the ConfigMap istio-ca-crl of istiod's namespace, which Istio writes for an authority that was brought from outside; one that istiod made itself has none. Which certificates a list is about is not looked at. One that has ended is High: proxies that have it refuse the certificates that it is about.",
			References:  []string{pluginCA, discovery},
			cluster:     noRevocationList,
		},
		{
			ID: "CERT-009", Title: "a service account's token lasts for long", Severity: v1alpha1.SeverityMedium,
			Remediation: "ask for a token of 24 hours or less, which the kubelet renews; delete a secret with a token without an end, after nobody has used it for a while",
			Limits:      "Looked at are projected tokens of pods that ask for more than 24 hours, and the secrets by Kubernetes' old names (ACCOUNT-token-) in a service account's list. Tokens in other secrets, and those that somebody asked the API server for, are not seen. The API server may give less than is asked for.",
			References:  []string{"https://kubernetes.io/docs/concepts/security/service-accounts/", "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/"},
			cluster:     longTokens,
		},
	}
}

// declaredSeverity is the severity of what a baseline declares and does not hold; what
// nobody declares is as grave as the catalogue says.
func declaredSeverity(is bool) v1alpha1.Severity {
	if is {
		return v1alpha1.SeverityHigh
	}
	return ""
}

func (f Finding) graded(s v1alpha1.Severity) Finding { f.Severity = s; return f }

func fullName(s facts.Source) string { return s.In("") }

// root is what istiod hands out, or the finding that it can't be told. Both are
// nil where there is no mesh.
func (s *ClusterScene) root() (*facts.Bundle, []Finding) {
	c := s.Certificates
	at := "Namespace/" + s.Mesh.Namespace
	switch {
	case !s.ControlPlaneRead:
		return nil, []Finding{unknown(at, "the ConfigMaps of namespace %s, by which istiod hands out its root, can't be read", s.Mesh.Namespace)}
	case c.Root != nil:
		return c.Root, nil
	case s.Mesh.Observed:
		return nil, []Finding{unknown(at, "there is no ConfigMap istio-ca-root-cert, by which istiod hands out its root: the mesh's authority can't be told")}
	}
	return nil, nil
}

// bundles are the authorities that can be told, and what of them can't be.
func (s *ClusterScene) bundles() ([]facts.Bundle, []Finding) {
	root, untold := s.root()
	var out []facts.Bundle
	if root != nil {
		out = append(out, *root)
	}
	if s.Certificates.Further != nil {
		out = append(out, *s.Certificates.Further)
	}
	for _, b := range out {
		untold = append(untold, doubts(b)...)
	}
	return out, untold
}

// doubts says where a bundle does not tell everything.
func doubts(b facts.Bundle) []Finding {
	switch {
	case b.TooLarge:
		return []Finding{unknown(fullName(b.Source), "it holds more certificates than are looked at")}
	case b.Unreadable > 0:
		return []Finding{unknown(fullName(b.Source), "a part of it is no certificate that can be read")}
	case len(b.Certificates) == 0:
		return []Finding{unknown(fullName(b.Source), "it holds no certificate")}
	}
	return nil
}

// own says whether istiod made the certificate itself: it names its authority by
// the trust domain alone (istio/istio, security/pkg/pki/ca).
func (s *ClusterScene) own(c facts.Certificate) bool {
	return c.SelfSigned && c.Organization != "" && c.Organization == s.Mesh.TrustDomain
}

func selfMade(s *ClusterScene) []Finding {
	policy := s.Certificates.Policy.SelfSigned
	if policy == facts.Yes {
		return nil
	}
	root, out := s.root()
	if root == nil {
		return out
	}
	if !slices.ContainsFunc(root.Certificates, s.own) {
		out = append(out, doubts(*root)...)
	} else {
		out = append(out, open(fullName(root.Source), "istiod made its authority itself: the key of the mesh's root is in a secret of the cluster, and whoever reads that secret can be any workload").graded(declaredSeverity(policy == facts.No)))
	}
	return out
}

// The steps by which an authority's end becomes graver.
const (
	day          = 24 * time.Hour
	endsSoon     = 60 * day
	endsHigh     = 30 * day
	endsCritical = 7 * day
)

func endingAuthority(s *ClusterScene) []Finding {
	bundles, out := s.bundles()
	begin := cmp.Or(s.Certificates.Policy.MinAuthorityRemaining, endsSoon)
	for i, b := range bundles {
		for _, c := range b.Certificates {
			for _, before := range []time.Duration{begin, endsHigh, endsCritical, 0} {
				s.later(c.NotAfter.Add(-before))
			}
			left := c.NotAfter.Sub(s.Now)
			if left > begin {
				continue
			}
			ends := "ends"
			if left <= 0 {
				ends = "has ended"
			}
			text := fmt.Sprintf("%s %s at %s", c.Name, ends, c.NotAfter.UTC().Format(time.RFC3339))
			lasts := slices.IndexFunc(b.Certificates, func(o facts.Certificate) bool {
				return o.NotAfter.Sub(s.Now) > begin && !o.NotBefore.After(c.NotAfter)
			})
			switch {
			case lasts >= 0 && left > 0:
				out = append(out, open(fullName(b.Source), "%s; %s in the same bundle lasts: see that istiod signs by that one before", text, b.Certificates[lasts].Name).graded(v1alpha1.SeverityMedium))
			case lasts >= 0: // One that has ended is no longer trusted, and others are.
			case i > 0:
				out = append(out, open(fullName(b.Source), "%s, and nothing in the mesh configuration takes its place: callers that it vouches for are refused then", text).graded(v1alpha1.SeverityMedium))
			default:
				out = append(out, open(fullName(b.Source), "%s, and nothing that is handed out takes its place: workloads refuse each other then", text).graded(endSeverity(left)))
			}
		}
	}
	return out
}

func endSeverity(left time.Duration) v1alpha1.Severity {
	switch {
	case left <= endsCritical:
		return v1alpha1.SeverityCritical
	case left <= endsHigh:
		return v1alpha1.SeverityHigh
	}
	return v1alpha1.SeverityMedium
}

// Settings of istiod that decide about certificates.
const (
	maxTTL     = "MAX_WORKLOAD_CERT_TTL"
	defaultTTL = "DEFAULT_WORKLOAD_CERT_TTL"
	signs      = "ENABLE_CA_SERVER"
)

func longTTL(s *ClusterScene) []Finding {
	policy := s.Certificates.Policy.MaxWorkloadTTL
	limit := cmp.Or(policy, facts.DefaultWorkloadTTL)
	grants, out := ceiling(s, policy)

	// istiod refuses who asks for more than it grants.
	granted := func(ttl time.Duration) bool { return ttl > limit && ttl <= grants }
	asked, err := time.ParseDuration(s.Mesh.CertificateTTL)
	if err != nil {
		asked = facts.DefaultWorkloadTTL // The agent takes it for what it can't read.
	}
	if s.Mesh.ConfigRead && granted(asked) {
		out = append(out, open("Namespace/"+s.Mesh.Namespace, "the mesh configuration has proxies ask for certificates of %s, and %s is the longest that may be", span(asked), span(limit)).graded(declaredSeverity(policy > 0)))
	}
	for _, r := range s.Certificates.Requests {
		subject := facts.Source{Kind: r.Owner.Kind, Namespace: r.Namespace, Name: r.Owner.Name}
		switch {
		case r.TTL == 0:
			out = append(out, unknown(fullName(subject), "its proxy takes SECRET_TTL from another object, which is not read"))
		case granted(r.TTL):
			out = append(out, open(fullName(subject), "its proxy asks for certificates of %s, and %s is the longest that may be", span(r.TTL), span(limit)).graded(declaredSeverity(policy > 0)))
		}
	}
	return out
}

// ceiling is the longest that some istiod grants who asks for it, and where a
// baseline says how long a certificate may last, the findings about that.
func ceiling(s *ClusterScene, policy time.Duration) (grants time.Duration, out []Finding) {
	at := "Namespace/" + s.Mesh.Namespace
	untold := func(subject, format string, args ...any) {
		grants = max(grants, facts.DefaultMaxWorkloadTTL)
		if policy > 0 {
			out = append(out, unknown(subject, format, args...))
		}
	}
	switch {
	case !s.ControlPlaneRead:
		untold(at, "istiod's deployment can't be read: how long certificates it gives to workloads can't be told")
	case len(s.ControlPlanes) == 0 && s.Mesh.Observed:
		untold(at, "istiod does not run here: how long certificates it gives to workloads can't be told")
	}
	for _, cp := range s.ControlPlanes {
		signing, err := strconv.ParseBool(cp.Settings[signs])
		switch {
		case err == nil && !signing:
			untold(fullName(cp.Source), "another authority than istiod signs workloads' certificates (%s=%s): how long they last can't be told", signs, cp.Settings[signs])
			continue
		case slices.Contains(cp.SettingsElsewhere, maxTTL) || slices.Contains(cp.SettingsElsewhere, defaultTTL):
			untold(fullName(cp.Source), "%s or %s is taken from another object, which is not read", maxTTL, defaultTTL)
			continue
		}
		asked := ttlSetting(cp, maxTTL, facts.DefaultMaxWorkloadTTL)
		grants = max(grants, asked)
		// Who asks for none gets the default, were it more than the most.
		if most := max(asked, ttlSetting(cp, defaultTTL, facts.DefaultWorkloadTTL)); policy > 0 && most > policy {
			out = append(out, open(fullName(cp.Source), "it gives a workload that asks for it a certificate of up to %s, and a baseline declares %s as the longest", span(most), span(policy)))
		}
	}
	return grants, out
}

func ttlSetting(cp facts.ControlPlane, name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(cp.Settings[name]); err == nil {
		return d
	}
	return otherwise
}

// span writes a length of time as people do: 24h, and not 24h0m0s.
func span(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d%time.Minute == 0:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}

// leastRSABits is the least that NIST SP 800-131A lets be used.
const leastRSABits = 2048

func weakAuthority(s *ClusterScene) []Finding {
	bundles, out := s.bundles()
	least := max(leastRSABits, s.Certificates.Policy.MinRSABits)
	for _, b := range bundles {
		var weak, signatures []string
		for _, c := range b.Certificates {
			if c.RSABits > 0 && c.RSABits < least {
				weak = append(weak, fmt.Sprintf("%s has an RSA key of %d bits, where %d are the least", c.Name, c.RSABits, least))
			}
			if c.WeakKey != "" {
				weak = append(weak, fmt.Sprintf("%s has a key that is too weak (%s)", c.Name, c.WeakKey))
			}
			if !c.Authority {
				weak = append(weak, fmt.Sprintf("%s does not say that it is an authority (CA:TRUE)", c.Name))
			}
			switch {
			case c.WeakSignature == "":
			case c.SelfSigned:
				signatures = append(signatures, fmt.Sprintf("%s signs itself with %s", c.Name, c.WeakSignature))
			default:
				weak = append(weak, fmt.Sprintf("%s is signed with %s", c.Name, c.WeakSignature))
			}
		}
		if len(weak) > 0 {
			out = append(out, open(fullName(b.Source), "%s", mesh.Some(weak)))
		}
		if len(signatures) > 0 {
			out = append(out, open(fullName(b.Source), "%s", mesh.Some(signatures)).graded(v1alpha1.SeverityLow))
		}
	}
	return out
}

func sharedKeys(s *ClusterScene) []Finding {
	if names := s.Certificates.Credentials; len(names) > 0 {
		return []Finding{ungranted("Namespace/"+s.Mesh.Namespace, "the operator does not read secrets: whether those that Gateways take certificates from (%s) have a key in common can't be told", mesh.Some(names))}
	}
	return nil
}

// rootsSpread is how long istiod may take to write a new root into every
// namespace: 10,000 of them at its 80 requests a second are two minutes.
const rootsSpread = 5 * time.Minute

func differentRoots(s *ClusterScene) []Finding {
	root, out := s.root()
	if root == nil {
		return out
	}
	if !s.Certificates.RootsRead {
		return append(out, unknown("Namespace/"+s.Mesh.Namespace, "the ConfigMaps istio-ca-root-cert of other namespaces can't be read: what their proxies are told to trust can't be told"))
	}
	changing := false
	for _, d := range s.Certificates.Differing {
		changed := root.Changed
		if d.Changed.After(changed) {
			changed = d.Changed
		}
		if settled := changed.Add(rootsSpread); settled.After(s.Now) {
			s.later(settled)
			changing = true
			continue
		}
		subject := "ConfigMap/" + d.Namespace + "/" + root.Name
		var f Finding
		switch {
		case d.Unreadable:
			f = unknown(subject, "it holds more certificates than are looked at")
		case d.Foreign && d.Lacks:
			f = open(subject, "it holds another root than the mesh's: its proxies take whoever has a certificate of that one for istiod, and not the mesh's own")
		case d.Foreign:
			f = open(subject, "it holds more roots than the mesh's: its proxies take whoever has a certificate of these for istiod as well")
		default:
			f = open(subject, "it lacks a root that the mesh has: its proxies refuse istiod once that signs by it").graded(v1alpha1.SeverityMedium)
		}
		if !d.Used {
			f.Severity = v1alpha1.SeverityLow
			f.Message += "; no proxy runs there now"
		}
		out = append(out, f)
	}
	if changing {
		out = append(out, unknown("Namespace/"+s.Mesh.Namespace, "some namespaces' ConfigMap istio-ca-root-cert is not the mesh's, and one of these was written less than five minutes ago: istiod may be about to change it").graded(v1alpha1.SeverityLow))
	}
	return out
}

func noRevocationList(s *ClusterScene) []Finding {
	root, out := s.root()
	if root == nil || slices.ContainsFunc(root.Certificates, s.own) {
		return out
	}
	list := s.Certificates.Revocation
	switch {
	case list == nil || list.Empty:
		f := open("Namespace/"+s.Mesh.Namespace, "istiod hands out no list of revoked certificates: an intermediate whose key is stolen is trusted until it ends")
		if list != nil {
			f.Subject = fullName(list.Source)
		}
		return append(out, f)
	case list.Unreadable:
		return append(out, unknown(fullName(list.Source), "a part of it is no list of revoked certificates that can be read"))
	case list.Until.IsZero():
		return out
	}
	s.later(list.Until)
	if !s.Now.Before(list.Until) {
		out = append(out, open(fullName(list.Source), "a list of revoked certificates has ended at %s: proxies that have it refuse the certificates that it is about", list.Until.UTC().Format(time.RFC3339)).graded(v1alpha1.SeverityHigh))
	}
	return out
}

func longTokens(s *ClusterScene) []Finding {
	var out []Finding
	for _, t := range s.Certificates.Tokens {
		if t.Secret != "" {
			out = append(out, open(t.Subject, "the secret %s is in its list, by the name that Kubernetes gave to tokens without an end", t.Secret))
		} else {
			out = append(out, open(t.Subject, "its pods ask for a token of their service account that lasts %s: whoever takes it can be that account for as long", span(t.TTL)))
		}
	}
	return out
}
