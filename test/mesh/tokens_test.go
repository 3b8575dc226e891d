package mesh

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/effective"
)

// jwksVariable stands in a case's objects for the keys that sign tokens.
const jwksVariable = "${JWKS}"

// tokens by the names that cases call them, what the model is told of each, and
// the keys that sign them but for the one that is forged.
var (
	tokens  = map[string]string{}
	claimed = map[string]*effective.Token{}
	jwks    string
)

func init() {
	key, other := newKey(), newKey()
	jwks = keySet(key)
	const issuer, subject = "https://sso.example.com", "alice"
	hour := time.Now().Add(time.Hour)
	for _, t := range []struct {
		name     string
		key      *rsa.PrivateKey
		audience string
		groups   []string
		expires  time.Time
	}{
		{"payments", key, "payments", []string{"staff", "payments"}, hour},
		{"other-group", key, "payments", []string{"staff"}, hour},
		{"other-audience", key, "shop", []string{"payments"}, hour},
		{"forged", other, "payments", []string{"payments"}, hour},
		{"expired", key, "payments", []string{"payments"}, time.Now().Add(-time.Hour)},
	} {
		tokens[t.name] = sign(t.key, map[string]any{"iss": issuer, "sub": subject, "aud": t.audience, "groups": t.groups, "exp": t.expires.Unix()})
		keys := jwks
		if t.key != key || t.expires != hour {
			keys = "none that are accepted"
		}
		claimed[t.name] = &effective.Token{Issuer: issuer, Subject: subject, Keys: keys, Audiences: []string{t.audience}, Claims: map[string][]string{"groups": t.groups}}
	}
}

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func keySet(key *rsa.PrivateKey) string {
	return fmt.Sprintf(`{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"1","n":"%s","e":"%s"}]}`,
		encoded(key.N.Bytes()), encoded(big.NewInt(int64(key.E)).Bytes()))
}

func sign(key *rsa.PrivateKey, claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	text := encoded([]byte(`{"alg":"RS256","typ":"JWT","kid":"1"}`)) + "." + encoded(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + encoded(signature)
}

// withKeys puts the keys where a case's objects want them.
func withKeys(objects string) string { return strings.ReplaceAll(objects, jwksVariable, "'"+jwks+"'") }
