package providers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

const (
	resource = "http://localhost:3002/mcp"
	// canary stands in every token, in claims that nobody has to look at. It must never come out again.
	canary = "canary-7d1f0c"
)

type m = map[string]any

// bench is an issuer with one key for each accepted algorithm, and makes tokens that are good but for one thing.
type bench struct {
	*providertest.Issuer
	rs, ps, es, ed string // key ids
	withdrawn      string
}

func newBench(t testing.TB) *bench {
	b := &bench{Issuer: providertest.NewIssuer(t)}
	b.ps, b.es, b.ed = b.AddKey(jose.PS256), b.AddKey(jose.ES256), b.AddKey(jose.EdDSA)
	b.rs = b.AddKey(jose.RS256)
	b.withdrawn = b.firstKey()
	b.Withdraw(b.withdrawn) // so that there is no choice among the RS256 keys
	return b
}

func (b *bench) firstKey() string {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b.KeySet(), &set); err != nil {
		panic(err)
	}
	return set.Keys[0].KeyID
}

// with returns a good token with changed claims.
func (b *bench) with(changes m) string { return b.Sign(nil, b.claims(changes)) }

func (b *bench) claims(changes m) m {
	claims := b.Claims(resource)
	claims["canary"], claims["jti"] = canary, canary
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// header returns a good token with a changed header, signed by the key that kid names.
func (b *bench) header(changes m) string { return b.Sign(changes, b.claims(nil)) }

// raw returns a token over exactly this payload, with a good header and signature.
func (b *bench) raw(payload string) string { return b.rawHeader(b.goodHeader(), payload) }

func (b *bench) goodHeader() string {
	return fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"at+jwt"}`, b.rs)
}

func (b *bench) rawHeader(header, payload string) string {
	return providertest.SignBytes(jose.RS256, b.PrivateKey(b.rs), []byte(header), []byte(payload))
}

// members returns good claims as JSON without the last brace, to write more members behind them.
func (b *bench) members(without ...string) string {
	claims := b.claims(nil)
	for _, name := range without {
		delete(claims, name)
	}
	return strings.TrimSuffix(string(must(json.Marshal(claims))), "}")
}

func (b *bench) good(kid string) (header, payload, signature string) {
	parts := strings.Split(b.header(m{"kid": kid}), ".")
	return parts[0], parts[1], parts[2]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type hostile struct {
	name  string
	token string
	want  providers.Reason
}

// TestHostileTokensAreRefused is the list of attacks on the token itself.
func TestHostileTokensAreRefused(t *testing.T) {
	b := newBench(t)
	mallory := providertest.NewIssuer(t)
	// The trap is where tokens ask to be looked up. Nobody may ever come.
	var trapped atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()

	verifier := providers.NewVerifier(b.Rules(resource), b.Keys(t))
	if _, err := verifier.Verify(t.Context(), b.with(nil)); err != nil {
		t.Fatalf("the token from which all others are made is refused: %v", err)
	}
	fetches := b.Fetches()

	cases := slices.Concat(
		algorithmAttacks(b), confusedKeys(b), signatureAttacks(b, mallory), headerAttacks(b, mallory, trap.URL),
		otherKindsOfToken(b), shapeAttacks(b), timeAttacks(b), issuerAttacks(b), audienceAttacks(b), nameAttacks(b),
		callerAttacks(b),
	)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			id, err := verifier.Verify(t.Context(), c.token)
			if id != nil || !errors.Is(err, providers.ErrInvalidToken) || errors.Is(err, providers.ErrUnavailable) {
				t.Fatalf("Verify = %+v, %v; want ErrInvalidToken", id, err)
			}
			if got := providers.ReasonOf(err); got != c.want {
				t.Errorf("reason is %s (%v), want %s", got, err, c.want)
			}
			checkDiscretion(t, err, c.token)
		})
	}
	if trapped.Load() > 0 {
		t.Errorf("tokens made the server send %d requests", trapped.Load())
	}
	// Unknown keys may have the keys fetched again, within the interval; 300 tokens take nowhere near 300 intervals.
	if more := b.Fetches() - fetches; more > len(cases)/4 {
		t.Errorf("%d tokens caused %d fetches", len(cases), more)
	}
}

// checkDiscretion fails if an error says more of a token than it may.
func checkDiscretion(t *testing.T, err error, token string) {
	t.Helper()
	text := err.Error()
	if len(text) > 600 {
		t.Errorf("the error has %d bytes", len(text))
	}
	if strings.Contains(text, canary) {
		t.Errorf("the error repeats claims: %s", text)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 20 && strings.Contains(text, part) {
			t.Errorf("the error repeats the token: %s", text)
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the error is not plain ASCII: %q", text)
	}
}

func algorithmAttacks(b *bench) []hostile {
	var cases []hostile
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "none ", "\u017fone", "", "rs256", "RS256 ", " RS256", "RS256\x00", "XS256", "RS512", "PS384", "ES256K", "ES384", "HS256", "dir", "RSA-OAEP", 256, true, []string{"RS256"}, m{}} {
		cases = append(cases,
			hostile{fmt.Sprintf("alg %q over a good signature", alg), b.header(m{"alg": alg}), providers.AlgorithmRefused},
			hostile{fmt.Sprintf("alg %q without a signature", alg), withoutSignature(b.header(m{"alg": alg})), providers.AlgorithmRefused})
	}
	return append(cases,
		hostile{"alg missing", b.header(m{"alg": nil}), providers.AlgorithmRefused},
		hostile{"alg null", b.rawHeader(`{"alg":null,"typ":"at+jwt"}`, b.members()+"}"), providers.AlgorithmRefused},
		hostile{"alg that is a whole novel", b.header(m{"alg": strings.Repeat("\U000e0001", 2000)}), providers.AlgorithmRefused},
	)
}

func withoutSignature(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// confusedKeys are public keys used as HMAC secrets.
func confusedKeys(b *bench) []hostile {
	var cases []hostile
	payload := []byte(b.members() + "}")
	for _, kid := range []string{b.rs, b.es, b.ed} {
		public := b.PublicKey(kid)
		for spelling, secret := range providertest.PublicEncodings(public, kid) {
			header := fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, kid)
			cases = append(cases, hostile{fmt.Sprintf("HS256 by a %T as %s", public, spelling),
				providertest.SignBytes("HS256", secret, []byte(header), payload), providers.AlgorithmRefused})
			cases = append(cases, hostile{fmt.Sprintf("HMAC by a %T as %s that says RS256", public, spelling),
				providertest.SignBytes("HS256", secret, []byte(b.goodHeader()), payload), providers.SignatureInvalid})
		}
	}
	return cases
}

func signatureAttacks(b *bench, mallory *providertest.Issuer) []hostile {
	header, payload, signature := b.good(b.rs)
	other := strings.Split(b.Sign(m{"kid": b.rs}, b.claims(m{"sub": "bob"})), ".")
	otherPayload, otherSignature := other[1], other[2]
	esHeader, esPayload, esSignature := b.good(b.es)
	edHeader, edPayload, _ := b.good(b.ed)
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	es := func(signature []byte) string { return join(esHeader, esPayload, encode(signature)) }

	rs := must(base64.RawURLEncoding.DecodeString(esSignature))
	r, s := new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])
	n := elliptic.P256().Params().N
	der := must(asn1.Marshal(struct{ R, S *big.Int }{r, s}))
	zeros := func(n int) []byte { return make([]byte, n) }
	scalar := func(v *big.Int) []byte { return v.FillBytes(zeros(32)) }

	// The forged token is perfect but for who signed it.
	forged := providertest.SignBytes(jose.RS256, mallory.PrivateKey(keyOf(mallory)), []byte(b.goodHeader()), []byte(b.members()+"}"))

	return []hostile{
		{"forged by somebody else's key under our key id", forged, providers.SignatureInvalid},
		{"signed by a key that the issuer withdrew", b.header(m{"kid": b.withdrawn}), providers.KeyUnknown},
		{"without a signature", join(header, payload, ""), providers.SignatureInvalid},
		{"with the signature of another token", join(header, payload, otherSignature), providers.SignatureInvalid},
		{"with the payload of another token", join(header, otherPayload, signature), providers.SignatureInvalid},
		{"with the header of another token", join(esHeader, payload, signature), providers.SignatureInvalid},
		{"with its parts in another order", join(payload, header, signature), providers.AlgorithmRefused},
		{"RSA signature of zeros", join(header, payload, encode(zeros(256))), providers.SignatureInvalid},
		{"RSA signature one byte short", join(header, payload, encode(must(base64.RawURLEncoding.DecodeString(signature))[:255])), providers.SignatureInvalid},
		{"RSA signature with a zero in front", join(header, payload, encode(append(zeros(1), must(base64.RawURLEncoding.DecodeString(signature))...))), providers.SignatureInvalid},
		{"signature with one bit more in its last letter", join(header, payload, looseEnd(signature)), providers.TokenMalformed},
		{"signature with base64 padding", join(header, payload, signature+"=="), providers.TokenMalformed},
		{"signature in standard base64", join(header, payload, signature[:len(signature)-4]+"+/+/"), providers.TokenMalformed},
		{"psychic ECDSA signature: r and s are zero", es(zeros(64)), providers.SignatureInvalid},
		{"ECDSA signature where r is zero", es(append(zeros(32), scalar(s)...)), providers.SignatureInvalid},
		{"ECDSA signature where s is zero", es(append(scalar(r), zeros(32)...)), providers.SignatureInvalid},
		{"ECDSA signature where r and s are the order", es(append(scalar(n), scalar(n)...)), providers.SignatureInvalid},
		{"ECDSA signature where s is one more than it can be", es(append(scalar(r), slices.Repeat([]byte{0xff}, 32)...)), providers.SignatureInvalid},
		{"ECDSA signature in DER", es(der), providers.SignatureInvalid},
		{"ECDSA signature with a zero in front", es(append(zeros(1), rs...)), providers.SignatureInvalid},
		{"ECDSA signature with a zero behind", es(append(slices.Clone(rs), 0)), providers.SignatureInvalid},
		{"ECDSA signature with r and s swapped", es(append(scalar(s), scalar(r)...)), providers.SignatureInvalid},
		{"ECDSA signature without its second half", es(rs[:32]), providers.SignatureInvalid},
		{"EdDSA signature of zeros", join(edHeader, edPayload, encode(zeros(64))), providers.SignatureInvalid},
		{"RS256 said, PS256 done", providertest.SignBytes(jose.PS256, b.PrivateKey(b.rs), []byte(b.goodHeader()), []byte(b.members()+"}")), providers.SignatureInvalid},
		{"PS256 by a key published for RS256", b.header(m{"kid": b.rs, "alg": "PS256"}), providers.KeyUnknown},
		{"RS256 by a key published for PS256", b.header(m{"kid": b.ps, "alg": "RS256"}), providers.KeyUnknown},
		{"RS256 said, kid of an EC key", b.header(m{"kid": b.es, "alg": "RS256"}), providers.KeyUnknown},
		{"ES256 said, kid of an RSA key", b.header(m{"kid": b.rs, "alg": "ES256"}), providers.KeyUnknown},
		{"EdDSA said, kid of an RSA key", b.header(m{"kid": b.rs, "alg": "EdDSA"}), providers.KeyUnknown},
	}
}

// keyOf returns the id of the key that an issuer began with.
func keyOf(i *providertest.Issuer) string {
	parts := strings.Split(i.Sign(nil, nil), ".")
	var header struct{ Kid string }
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[0])), &header); err != nil {
		panic(err)
	}
	return header.Kid
}

// looseEnd sets a bit of the last letter that stands for nothing. A lax decoder sees no difference.
func looseEnd(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 < 2 {
		panic("every bit of it counts")
	}
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + alphabet[last+1:last+2]
}

func headerAttacks(b *bench, mallory *providertest.Issuer, trap string) []hostile {
	private := mallory.PrivateKey(keyOf(mallory)).(*rsa.PrivateKey)
	// ours is what an attacker can do: their own key, with a header that recommends it.
	ours := func(changes m) string {
		header := m{"alg": "RS256", "typ": "at+jwt", "kid": b.rs}
		maps.Copy(header, changes)
		return providertest.SignBytes(jose.RS256, private, must(json.Marshal(header)), []byte(b.members()+"}"))
	}
	jwk := jose.JSONWebKey{Key: private.Public(), KeyID: "mallory", Algorithm: "RS256"}
	certificate := selfSigned(private)
	cases := []hostile{
		{"brings its own key in jwk", ours(m{"jwk": jwk}), providers.SignatureInvalid},
		{"brings its own key in jwk, by its own id", ours(m{"jwk": jwk, "kid": "mallory"}), providers.KeyUnknown},
		{"brings a private key in jwk", ours(m{"jwk": jose.JSONWebKey{Key: private}}), providers.TokenMalformed},
		{"brings a jwk that is none", ours(m{"jwk": "x"}), providers.TokenMalformed},
		{"brings its own certificate in x5c", ours(m{"x5c": []string{certificate}}), providers.SignatureInvalid},
		{"brings an x5c that is none", ours(m{"x5c": []string{"x"}}), providers.TokenMalformed},
		{"points to keys by jku", ours(m{"jku": trap + "/jwks"}), providers.SignatureInvalid},
		{"points to a certificate by x5u", ours(m{"x5u": trap + "/cert"}), providers.SignatureInvalid},
		{"key id that is a number", b.rawHeader(`{"alg":"RS256","typ":"at+jwt","kid":1}`, b.members()+"}"), providers.TokenMalformed},
		{"crit with what nobody knows", b.header(m{"crit": []string{"x"}, "x": true}), providers.HeaderRefused},
		{"crit with exp", b.header(m{"crit": []string{"exp"}, "exp": 1}), providers.HeaderRefused},
		{"crit with b64", b.header(m{"crit": []string{"b64"}, "b64": true}), providers.HeaderRefused},
		{"crit empty", b.header(m{"crit": []string{}}), providers.HeaderRefused},
		{"crit null", b.rawHeader(`{"alg":"RS256","typ":"at+jwt","crit":null}`, b.members()+"}"), providers.HeaderRefused},
		{"b64 false", b.header(m{"b64": false}), providers.HeaderRefused},
		{"b64 false and crit", b.header(m{"b64": false, "crit": []string{"b64"}}), providers.HeaderRefused},
	}
	for name, kid := range map[string]string{
		"a URL": trap + "/jwks", "a path": "../../../../dev/null", "SQL": "' UNION SELECT 'secret' --", "a command": "| curl " + trap,
		"CRLF": "a\r\nX-Injected: 1", "NUL": strings.Repeat("\x00", 150), "long": strings.Repeat("k", 5000), "hidden": strings.Repeat("\U000e0001", 300),
	} {
		cases = append(cases, hostile{"key id is " + name, ours(m{"kid": kid}), providers.KeyUnknown})
	}
	return cases
}

func selfSigned(private *rsa.PrivateKey) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	return base64.StdEncoding.EncodeToString(must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)))
}

// otherKindsOfToken are good signatures of our own issuer, over something that is no access token.
func otherKindsOfToken(b *bench) []hostile {
	var cases []hostile
	for _, typ := range []any{"JWT", "jwt", "", " at+jwt", "at+jwt ", "at jwt", "application/", "application/application/at+jwt", "text/at+jwt", "at+jwt+json", "absent",
		"dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "ID", "Refresh", "refresh+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "kb+jwt", 7, []string{"at+jwt"}, strings.Repeat("t", 4000)} {
		cases = append(cases, hostile{fmt.Sprintf("typ %.40q", fmt.Sprint(typ)), b.header(m{"typ": typ}), providers.TypeRefused})
	}
	return append(cases,
		hostile{"typ missing", b.header(m{"typ": nil}), providers.TypeRefused},
		hostile{"typ null", b.rawHeader(`{"alg":"RS256","typ":null}`, b.members()+"}"), providers.TypeRefused},
		hostile{"ID token with nonce", b.with(m{"nonce": canary}), providers.IDToken},
		hostile{"ID token with at_hash", b.with(m{"at_hash": canary}), providers.IDToken},
		hostile{"ID token with c_hash", b.with(m{"c_hash": canary}), providers.IDToken},
		hostile{"ID token with nonce null", b.raw(b.members() + `,"nonce":null}`), providers.IDToken},
		hostile{"ID token without any of them", b.with(m{"client_id": nil, "scope": nil}), providers.IDToken},
		hostile{"logout token", b.with(m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}}), providers.TypeRefused},
	)
}

func shapeAttacks(b *bench) []hostile {
	good := b.with(nil)
	header, payload, signature := b.good(b.rs)
	flattened := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, payload, header, signature)
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, payload, header, signature)
	smuggled := fmt.Sprintf(`{"x":"a.%s.b","payload":%q,"protected":%q,"signature":%q}`, payload, payload, header, signature)
	// Of a length that leaves bits unused in the last letter.
	odd := b.rawHeader(padded(b.goodHeader()), padded(b.members()+"}"))
	oddParts := strings.Split(odd, ".")
	encrypter := must(jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: b.PublicKey(b.rs)}, nil))
	jwe := must(must(encrypter.Encrypt([]byte(b.members() + "}"))).CompactSerialize())

	return []hostile{
		{"nothing", "", providers.TokenOpaque},
		{"an opaque token", "gho_" + strings.Repeat("a", 36), providers.TokenOpaque},
		{"an opaque token with other letters", "abc/def+ghi==", providers.TokenOpaque},
		{"two parts", header + "." + payload, providers.TokenMalformed},
		{"four parts", good + ".x", providers.TokenMalformed},
		{"a dot at the end", good + ".", providers.TokenMalformed},
		{"a dot in front", "." + good, providers.TokenMalformed},
		{"dots only", "..", providers.TokenMalformed},
		{"five parts", good + ".." + signature, providers.TokenMalformed},
		{"a thousand parts", strings.Repeat("a.", 1000), providers.TokenMalformed},
		{"encrypted", jwe, providers.TokenMalformed},
		{"longer than 16 KiB", b.with(m{"x": strings.Repeat("x", 16<<10)}), providers.TokenTooLong},
		{"in the flattened JSON serialisation", flattened, providers.TokenOpaque},
		{"in the general JSON serialisation", general, providers.TokenOpaque},
		{"in JSON with a compact one for bait", smuggled, providers.TokenOpaque},
		{"with a blank behind", good + " ", providers.TokenMalformed},
		{"with a blank in front", " " + good, providers.TokenOpaque},
		{"with a new line inside", header + "." + payload + ".\n" + signature, providers.TokenMalformed},
		{"with a NUL behind", good + "\x00", providers.TokenMalformed},
		{"with its scheme", "Bearer " + good, providers.TokenOpaque},
		{"with quotes", `"` + good + `"`, providers.TokenOpaque},
		{"two tokens", good + "," + good, providers.TokenMalformed},
		{"header with one bit more in its last letter", looseEnd(oddParts[0]) + "." + oddParts[1] + "." + oddParts[2], providers.TokenMalformed},
		{"payload with one bit more in its last letter", oddParts[0] + "." + looseEnd(oddParts[1]) + "." + oddParts[2], providers.TokenMalformed},
		{"header that is empty", "." + payload + "." + signature, providers.TokenMalformed},
		{"header that is null", b.rawHeader(`null`, b.members()+"}"), providers.TokenMalformed},
		{"header that is a list", b.rawHeader(`[]`, b.members()+"}"), providers.TokenMalformed},
		{"header with something behind", b.rawHeader(b.goodHeader()+"{}", b.members()+"}"), providers.TokenMalformed},
		{"payload that is empty", header + ".." + signature, providers.ClaimsMalformed},
		{"payload null", b.raw(`null`), providers.ClaimsMalformed},
		{"payload that is a list", b.raw(`[` + b.members() + `}]`), providers.ClaimsMalformed},
		{"payload that is a number", b.raw(`1`), providers.ClaimsMalformed},
		{"payload that is a string", b.raw(`"alice"`), providers.ClaimsMalformed},
		{"payload that is another token", b.rawHeader(`{"alg":"RS256","typ":"at+jwt","cty":"JWT"}`, good), providers.ClaimsMalformed},
		{"payload of two documents", b.raw(b.members() + `}{}`), providers.ClaimsMalformed},
		{"payload with something behind", b.raw(b.members() + `}x`), providers.ClaimsMalformed},
		{"payload with a byte order mark", b.raw("\ufeff" + b.members() + `}`), providers.ClaimsMalformed},
		{"payload with single quotes", b.raw(`{'sub':'alice'}`), providers.ClaimsMalformed},
		{"payload that is not UTF-8", b.raw(b.members("sub") + ",\"sub\":\"alice\xff\"}"), providers.ClaimsMalformed},
		{"payload nested 10,000 times", b.raw(strings.Repeat("[", 10_000)), providers.ClaimsMalformed},
		{"claim nested 5,000 times", b.raw(b.members("aud") + `,"aud":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}"), providers.ClaimsMalformed},
	}
}

// padded returns a JSON object with blanks behind, so that its length is one more than a multiple of three.
func padded(object string) string {
	for len(object)%3 != 1 {
		object += " "
	}
	return object
}

func timeAttacks(b *bench) []hostile {
	now := time.Now()
	raw := func(name, value string) string { return b.raw(b.members(name) + fmt.Sprintf(`,%q:%s}`, name, value)) }
	cases := []hostile{
		{"exp missing", b.with(m{"exp": nil}), providers.ExpiryMissing},
		{"exp past", b.with(m{"exp": now.Add(-time.Hour).Unix()}), providers.TokenExpired},
		{"exp just past the leeway", b.with(m{"exp": now.Add(-providers.DefaultLeeway - time.Second).Unix()}), providers.TokenExpired},
		{"exp zero", raw("exp", "0"), providers.TokenExpired},
		{"exp minus zero", raw("exp", "-0"), providers.TokenExpired},
		{"nbf ahead", b.with(m{"nbf": now.Add(time.Hour).Unix()}), providers.TokenNotYetValid},
		{"nbf just ahead of the leeway", b.with(m{"nbf": now.Add(providers.DefaultLeeway + 5*time.Second).Unix()}), providers.TokenNotYetValid},
		{"iat ahead", b.with(m{"iat": now.Add(time.Hour).Unix()}), providers.TokenNotYetValid},
	}
	later := fmt.Sprint(now.Add(time.Hour).Unix())
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{`"` + later + `"`, `"2999-01-01T00:00:00Z"`, `""`, `null`, `true`, `[` + later + `]`, `{}`, `-1`, `-1e300`, `1e300`, `1e400`, `253402300800`, `9223372036854775808`, `18446744073709551617`} {
			cases = append(cases, hostile{fmt.Sprintf("%s is %s", name, value), raw(name, value), providers.ClaimsMalformed})
		}
	}
	for _, value := range []string{`NaN`, `Infinity`, `0x7fffffff`, `1_000`, `+1`, `.5`, `01`} {
		cases = append(cases, hostile{"exp is " + value, raw("exp", value), providers.ClaimsMalformed})
	}
	return cases
}

func issuerAttacks(b *bench) []hostile {
	var cases []hostile
	for name, iss := range map[string]any{
		"another": "https://mallory.example", "with a slash": b.URL() + "/", "in another case": strings.ToUpper(b.URL()),
		"with more behind": b.URL() + ".mallory.example", "with a path": b.URL() + "/realms/x", "a part of it": b.URL()[:len(b.URL())-1],
		"with user info": strings.Replace(b.URL(), "http://", "http://user@", 1), "with the right host as user info": b.URL() + "@mallory.example",
		"with a fragment": b.URL() + "#", "with a query": b.URL() + "?", "with a blank": b.URL() + " ", "with a NUL": b.URL() + "\x00",
		"over https": strings.Replace(b.URL(), "http:", "https:", 1), "empty": "", "long": strings.Repeat("i", 5000), "hidden": strings.Repeat("\U000e0001", 2000),
	} {
		cases = append(cases, hostile{"iss is " + name, b.with(m{"iss": iss}), providers.IssuerMismatch})
	}
	for name, iss := range map[string]any{"a list": []string{b.URL()}, "an object": m{"iss": b.URL()}, "a number": 1, "null": json.RawMessage("null"), "true": true} {
		cases = append(cases, hostile{"iss is " + name, b.with(m{"iss": iss}), providers.ClaimsMalformed})
	}
	return append(cases, hostile{"iss missing", b.with(m{"iss": nil}), providers.IssuerMismatch})
}

func audienceAttacks(b *bench) []hostile {
	var cases []hostile
	for _, aud := range []string{
		"https://elsewhere.example/mcp", "http://localhost:3002", "http://localhost:3002/", "http://localhost:3002/mc", "http://localhost:3002/mcp/", "http://localhost:3002/mcp/x",
		"http://localhost:3002/mcp2", "http://localhost:3002/MCP", "http://localhost:3002//mcp", "http://localhost:3002/./mcp", "http://localhost:3002/%6dcp", "http://localhost:3002/mcp?", "http://localhost:3002/mcp#",
		"http://localhost:3002/mcp#x", "http://localhost:3002/mcp?x=1", "http://localhost:3002\\mcp", "https://localhost:3002/mcp", "http://localhost/mcp", "http://localhost:03002/mcp", "http://localhost:30020/mcp", "http://user@localhost:3002/mcp",
		"http://localhost:3002@mallory.example/mcp", "http://loca\u017fho\u017ft:3002/mcp", "http\u017f://localhost:3002/mcp", "http://localhost.:3002/mcp", "http://127.0.0.1:3002/mcp", "http://localhost:3002/mcp http://localhost:3002/mcp",
		"http://localhost:3002/mcp,https://elsewhere.example", " http://localhost:3002/mcp", "http://localhost:3002/mcp\n", "http://localhost:3002/mcp\x00", "//localhost:3002/mcp", "localhost:3002/mcp", "/mcp", "*", "", "test-client",
		strings.Repeat("a", 5000), strings.Repeat("\U000e0001", 2000),
	} {
		cases = append(cases,
			hostile{fmt.Sprintf("aud is %.60q", aud), b.with(m{"aud": aud}), providers.AudienceMismatch},
			hostile{fmt.Sprintf("aud lists %.60q", aud), b.with(m{"aud": []string{aud, b.URL()}}), providers.AudienceMismatch})
	}
	for name, aud := range map[string]any{
		"an object": m{"aud": resource}, "a number": 1, "true": true, "null": json.RawMessage("null"), "a list with null": []any{resource, nil},
		"a list with a number": []any{resource, 1}, "a list in a list": []any{[]string{resource}}, "a list with an object": []any{resource, m{}},
	} {
		cases = append(cases, hostile{"aud is " + name, b.with(m{"aud": aud}), providers.ClaimsMalformed})
	}
	return append(cases,
		hostile{"aud missing", b.with(m{"aud": nil}), providers.AudienceMismatch},
		hostile{"aud is an empty list", b.with(m{"aud": []string{}}), providers.AudienceMismatch},
		hostile{"aud is the issuer", b.with(m{"aud": b.URL()}), providers.AudienceMismatch},
	)
}

// nameAttacks are about two readers of one token who see different claims.
func nameAttacks(b *bench) []hostile {
	var cases []hostile
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "cnf", "nonce"} {
		for _, imitation := range []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			cases = append(cases, hostile{"claim " + imitation, b.raw(b.members() + fmt.Sprintf(`,%q:"x"}`, imitation)), providers.ClaimsMalformed})
		}
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "scope", "canary"} {
		value := must(json.Marshal(b.claims(nil)[name]))
		cases = append(cases,
			hostile{name + " twice", b.raw(b.members() + fmt.Sprintf(`,%q:%s}`, name, value)), providers.ClaimsMalformed},
			hostile{name + " twice, once escaped", b.raw(b.members() + fmt.Sprintf(`,"\u%04x%s":%s}`, name[0], name[1:], value)), providers.ClaimsMalformed})
	}
	return append(cases,
		hostile{"aud only as AUD", b.raw(b.members("aud") + fmt.Sprintf(`,"AUD":%q}`, resource)), providers.ClaimsMalformed},
		hostile{"sub with a long s", b.raw(b.members() + `,"\u017fub":"admin"}`), providers.ClaimsMalformed},
		hostile{"imitation in escapes", b.raw(b.members() + `,"\u0053ub":"admin"}`), providers.ClaimsMalformed},
		hostile{"header alg twice", b.rawHeader(`{"alg":"none","alg":"RS256","typ":"at+jwt"}`, b.members()+"}"), providers.TokenMalformed},
		hostile{"header typ twice", b.rawHeader(`{"typ":"JWT","alg":"RS256","typ":"at+jwt"}`, b.members()+"}"), providers.TokenMalformed},
		hostile{"header Alg beside alg", b.rawHeader(`{"alg":"RS256","Alg":"none","typ":"at+jwt"}`, b.members()+"}"), providers.TokenMalformed},
		hostile{"header KID beside kid", b.rawHeader(`{"alg":"RS256","KID":"x","typ":"at+jwt"}`, b.members()+"}"), providers.TokenMalformed},
		hostile{"header Crit", b.rawHeader(`{"alg":"RS256","Crit":["x"],"typ":"at+jwt"}`, b.members()+"}"), providers.TokenMalformed},
	)
}

func callerAttacks(b *bench) []hostile {
	var cases []hostile
	for name, sub := range map[string]string{"empty": "", "blank": " ", "white space": "\t\n\u2003"} {
		cases = append(cases, hostile{"sub is " + name, b.with(m{"sub": sub}), providers.SubjectMissing})
	}
	for name, value := range map[string]any{"a number": 1, "a list": []any{1}, "an object": m{"x": 1}, "null": json.RawMessage("null"), "true": true} {
		cases = append(cases,
			hostile{"sub is " + name, b.with(m{"sub": value}), providers.ClaimsMalformed},
			hostile{"scope is " + name, b.with(m{"scope": value}), providers.ClaimsMalformed},
			hostile{"client_id is " + name, b.with(m{"client_id": value}), providers.ClaimsMalformed})
	}
	return append(cases,
		hostile{"sub missing", b.with(m{"sub": nil}), providers.SubjectMissing},
		hostile{"bound to a DPoP key", b.with(m{"cnf": m{"jkt": "x"}}), providers.SenderConstrained},
		hostile{"bound to a certificate", b.with(m{"cnf": m{"x5t#S256": "x"}}), providers.SenderConstrained},
		hostile{"bound to null", b.with(m{"cnf": json.RawMessage("null")}), providers.SenderConstrained},
	)
}

// TestKeysServeTheirOwnPurposeOnly signs each token well, by a key that was not published for that.
func TestKeysServeTheirOwnPurposeOnly(t *testing.T) {
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	strong := must(rsa.GenerateKey(rand.Reader, 2048))
	for name, adopt := range map[string]func(*providertest.Issuer) (kid, alg string){
		"a key for encryption": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(strong, jose.RS256, m{"use": "enc"}), "RS256"
		},
		"a key whose key_ops do not include verify": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(strong, jose.RS256, m{"use": nil, "key_ops": []string{"encrypt"}}), "RS256"
		},
		"a key for another algorithm of its type": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(strong, jose.RS256, m{"alg": "RS512"}), "RS256"
		},
		"a key for key transport": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(strong, jose.RS256, m{"alg": "RSA-OAEP", "use": nil}), "RS256"
		},
		"a weak RSA key": func(i *providertest.Issuer) (string, string) { return i.Adopt(weak, jose.RS256, nil), "RS256" },
		"a key of another curve": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(p384, jose.ES384, m{"alg": nil}), "ES256"
		},
		"a key that lies about its curve": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(p384, jose.ES384, m{"alg": "ES256"}), "ES256"
		},
		"a private key that was published": func(i *providertest.Issuer) (string, string) {
			return i.Adopt(strong, jose.RS256, m{"d": encode(strong.D.Bytes()), "p": encode(strong.Primes[0].Bytes()), "q": encode(strong.Primes[1].Bytes())}), "RS256"
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := providertest.NewIssuer(t)
			kid, alg := adopt(i)
			verifier := providers.NewVerifier(i.Rules(resource), i.Keys(t))
			token := i.Sign(m{"kid": kid, "alg": alg}, i.Claims(resource))
			if _, err := verifier.Verify(t.Context(), token); providers.ReasonOf(err) != providers.KeyUnknown {
				t.Errorf("Verify = %v, want %s", err, providers.KeyUnknown)
			}
		})
	}
}

// A key without an id beside one with the token's id must not let the latter do what it was not published for.
func TestAKeyWithoutAnIDLendsNothingToItsNeighbour(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.AddKey(jose.PS256)
	named := i.AddKey(jose.RS256)
	i.Adopt(must(rsa.GenerateKey(rand.Reader, 2048)), jose.PS256, m{"kid": nil, "alg": nil})
	verifier := providers.NewVerifier(i.Rules(resource), i.Keys(t))
	token := i.Sign(m{"kid": named, "alg": "PS256"}, i.Claims(resource))
	if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, providers.ErrInvalidToken) {
		t.Errorf("Verify = %v", err)
	}
}

// TestNoRuleAdmitsSymmetricAlgorithms gives the rules that a careless adapter might.
func TestNoRuleAdmitsSymmetricAlgorithms(t *testing.T) {
	i := providertest.NewIssuer(t)
	secret := []byte(strings.Repeat("s", 32))
	i.Publish(fmt.Sprintf(`{"kty":"oct","kid":"shared","alg":"HS256","use":"sig","k":%q}`, encode(secret)))
	rules := i.Rules(resource)
	rules.Algorithms = []jose.SignatureAlgorithm{"none", jose.HS256, jose.RS256}
	verifier := providers.NewVerifier(rules, i.Keys(t))
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Fatalf("RS256: %v", err)
	}
	payload := must(json.Marshal(i.Claims(resource)))
	for _, token := range []string{
		providertest.SignBytes(jose.HS256, secret, []byte(`{"alg":"HS256","kid":"shared","typ":"at+jwt"}`), payload),
		providertest.Assemble([]byte(`{"alg":"none","typ":"at+jwt"}`), payload, nil),
	} {
		if _, err := verifier.Verify(t.Context(), token); providers.ReasonOf(err) != providers.AlgorithmRefused {
			t.Errorf("Verify = %v", err)
		}
	}
}

// TestEmptyRulesAcceptNothing: what was forgotten must close the door, not open it.
func TestEmptyRulesAcceptNothing(t *testing.T) {
	i := providertest.NewIssuer(t)
	keys := i.Keys(t)
	for name, c := range map[string]struct {
		change func(*providers.Rules)
		claims m
	}{
		"no issuers":       {func(r *providers.Rules) { r.Issuers = nil }, nil},
		"an empty issuer":  {func(r *providers.Rules) { r.Issuers = []string{""} }, m{"iss": nil}},
		"no audiences":     {func(r *providers.Rules) { r.Audiences = nil }, m{"aud": nil}},
		"an odd audience":  {func(r *providers.Rules) { r.Audiences = []string{""} }, m{"aud": nil}},
		"no algorithms":    {func(r *providers.Rules) { r.Algorithms = nil }, nil},
		"no token types":   {func(r *providers.Rules) { r.TokenTypes = nil }, nil},
		"nothing whatever": {func(r *providers.Rules) { *r = providers.Rules{} }, m{"iss": nil, "aud": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			rules := i.Rules(resource)
			c.change(&rules)
			if id, err := providers.NewVerifier(rules, keys).Verify(t.Context(), i.Token(resource, c.claims)); !errors.Is(err, providers.ErrInvalidToken) {
				t.Errorf("Verify = %+v, %v", id, err)
			}
		})
	}
}

// TestOtherTypesAreNoDoorForIDTokens: with typ JWT or none, as many providers have it, the claims must tell.
func TestOtherTypesAreNoDoorForIDTokens(t *testing.T) {
	i := providertest.NewIssuer(t)
	rules := i.Rules(resource)
	rules.TokenTypes = []string{"at+jwt", "jwt", "absent"}
	verifier := providers.NewVerifier(rules, i.Keys(t))
	for name, c := range map[string]struct {
		changes m
		want    providers.Reason
	}{
		"access token":                        {nil, ""},
		"ID token of the code flow":           {m{"nonce": "n", "at_hash": "h", "scope": nil, "client_id": nil, "azp": "c"}, providers.IDToken},
		"ID token of the hybrid flow":         {m{"c_hash": "h", "scope": nil, "client_id": nil, "azp": "c"}, providers.IDToken},
		"ID token with next to nothing in it": {m{"scope": nil, "client_id": nil}, providers.IDToken},
		"logout token":                        {m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}}, providers.TypeRefused},
	} {
		for _, typ := range []any{"JWT", nil} {
			t.Run(fmt.Sprintf("%s with typ %v", name, typ), func(t *testing.T) {
				claims := i.Claims(resource)
				for k, v := range c.changes {
					if claims[k] = v; v == nil {
						delete(claims, k)
					}
				}
				_, err := verifier.Verify(t.Context(), i.Sign(m{"typ": typ}, claims))
				if (err == nil) != (c.want == "") || providers.ReasonOf(err) != c.want {
					t.Errorf("Verify = %v, want %q", err, c.want)
				}
			})
		}
	}
	for _, typ := range []string{"absent", "dpop+jwt", "logout+jwt"} {
		if _, err := verifier.Verify(t.Context(), i.Sign(m{"typ": typ}, i.Claims(resource))); providers.ReasonOf(err) != providers.TypeRefused {
			t.Errorf("typ %s: %v", typ, err)
		}
	}
}

// TestGoodTokensAreAccepted is the list of what issuers really send.
func TestGoodTokensAreAccepted(t *testing.T) {
	b := newBench(t)
	es384 := b.AddKey(jose.ES384)
	rules := b.Rules(resource)
	rules.Algorithms = append(rules.Algorithms, jose.ES384)
	rules.TokenTypes = []string{"at+jwt", "jwt", "absent"}
	rules.ScopeClaims = []string{"scope", "scp"}
	verifier := providers.NewVerifier(rules, b.Keys(t))
	now := time.Now()

	header := func(changes m) string {
		h := m{"kid": b.rs}
		maps.Copy(h, changes)
		return b.Sign(h, b.claims(nil))
	}
	with := func(changes m) string { return b.Sign(m{"kid": b.rs}, b.claims(changes)) }
	scopes := func(s ...string) func(*providers.Identity) {
		return func(id *providers.Identity) { id.Scopes = s }
	}
	audience := func(a ...string) func(*providers.Identity) {
		return func(id *providers.Identity) { id.Audience = a }
	}
	expiry := func(at time.Time) func(*providers.Identity) {
		return func(id *providers.Identity) { id.Expiry = at }
	}
	ahead := now.Add(30 * time.Second).Unix()
	for _, c := range []struct {
		name  string
		token string
		want  func(*providers.Identity) // changes what is expected
	}{
		{"RS256", header(m{"kid": b.rs}), nil},
		{"PS256", header(m{"kid": b.ps}), nil},
		{"ES256", header(m{"kid": b.es}), nil},
		{"ES384, configured", header(m{"kid": es384}), nil},
		{"EdDSA", header(m{"kid": b.ed}), nil},
		{"the other of the two valid ECDSA signatures, which issuers may send too", otherHalf(header(m{"kid": b.es})), nil},
		{"no key id and a single key of that algorithm", providertest.SignBytes(jose.EdDSA, b.PrivateKey(b.ed), []byte(`{"alg":"EdDSA","typ":"at+jwt"}`), must(json.Marshal(b.claims(nil)))), nil},
		{"typ in another case", header(m{"typ": "AT+JWT"}), nil},
		{"typ as media type", header(m{"typ": "application/at+jwt"}), nil},
		{"typ as media type in another case", header(m{"typ": "Application/AT+JWT"}), nil},
		{"typ JWT, configured", header(m{"typ": "JWT"}), nil},
		{"typ absent, configured", header(m{"typ": nil}), nil},
		{"x5t and jku, which are not looked at", header(m{"x5t": "abc", "jku": "https://elsewhere.example/jwks", "cty": "x", "x": m{"y": 1}}), nil},
		{"aud in a list", with(m{"aud": []string{resource}}), nil},
		{"aud among others", with(m{"aud": []string{"https://elsewhere.example", resource}}), audience("https://elsewhere.example", resource)},
		{"aud with upper-case scheme and host", with(m{"aud": "HTTP://LOCALHOST:3002/mcp"}), audience("HTTP://LOCALHOST:3002/mcp")},
		{"two scopes", with(m{"scope": "mcp:use files:read"}), scopes("mcp:use", "files:read")},
		{"scopes with more blanks", with(m{"scope": "  mcp:use   files:read "}), scopes("mcp:use", "files:read")},
		{"scopes in a list", with(m{"scope": []string{"mcp:use", "files:read"}}), scopes("mcp:use", "files:read")},
		{"scopes in scp", with(m{"scope": nil, "scp": "mcp:use"}), nil},
		{"scopes in a list in scp", with(m{"scope": nil, "scp": []string{"mcp:use"}}), nil},
		{"scope counts before scp", with(m{"scp": "admin"}), nil},
		{"no scopes", with(m{"scope": nil}), scopes()},
		{"scope empty", with(m{"scope": ""}), scopes()},
		{"client in azp", with(m{"client_id": nil, "azp": "test-client"}), nil},
		{"no client", with(m{"client_id": nil}), func(id *providers.Identity) { id.Client = "" }},
		{"another subject", with(m{"sub": "b\u00f6b|x"}), func(id *providers.Identity) { id.Subject = "b\u00f6b|x" }},
		{"exp with a fraction", with(m{"exp": float64(ahead) + 0.5}), expiry(time.Unix(ahead, 5e8))},
		{"exp with an exponent", with(m{"exp": json.RawMessage("25e8")}), expiry(time.Unix(25e8, 0))},
		{"exp past within the leeway", with(m{"exp": now.Add(-30 * time.Second).Unix()}), expiry(time.Unix(now.Add(-30*time.Second).Unix(), 0))},
		{"exp in the year 9999", with(m{"exp": int64(253402300799)}), expiry(time.Unix(253402300799, 0))},
		{"nbf ahead within the leeway", with(m{"nbf": ahead}), nil},
		{"iat ahead within the leeway", with(m{"iat": ahead}), nil},
		{"no iat", with(m{"iat": nil}), nil},
		{"claims that nobody here knows", with(m{"https://example.com/x": m{"Aud": "x", "sub": []any{1, nil}}, "Roles": []string{"a"}, "": 1}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := verifier.Verify(t.Context(), c.token)
			if err != nil {
				t.Fatal(err)
			}
			want := &providers.Identity{
				Issuer: b.URL(), Subject: "alice", Client: "test-client", Audience: []string{resource}, Scopes: []string{"mcp:use"},
				Expiry: got.Expiry, GoodUntil: got.Expiry.Add(providers.DefaultLeeway),
			}
			if c.want != nil {
				c.want(want)
			} else if left := time.Until(got.Expiry); left < 9*time.Minute || left > 11*time.Minute {
				t.Errorf("it expires in %s", left)
			}
			claims := got.Claims()
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(providers.Identity{})); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if got := string(claims["canary"]); got != `"`+canary+`"` {
				t.Errorf("claims are not at hand: %q", got)
			}
		})
	}
}

// otherHalf returns the token with (r, n-s) for (r, s), which verifies as well: a token has no single spelling that a list
// of revoked tokens could go by.
func otherHalf(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	signature := must(base64.RawURLEncoding.DecodeString(token[at:]))
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:at] + encode(signature)
}

// A resource on a default port without a path has many spellings, and issuers choose among them.
func TestTheAudienceMayBeSpelledInOtherWays(t *testing.T) {
	const site = "https://mcp.example.com/"
	i := providertest.NewIssuer(t)
	p := i.Provider(t, must(providers.ParseResource(site)))
	for aud, good := range map[string]bool{
		"https://mcp.example.com/":      true,
		"https://mcp.example.com":       true,
		"https://mcp.example.com:443":   true,
		"https://mcp.example.com:443/":  true,
		"HTTPS://MCP.Example.COM":       true,
		"https://mcp.example.com:80/":   false,
		"https://mcp.example.com:/":     false,
		"https://mcp.example.com//":     false,
		"https://mcp.example.com/mcp":   false,
		"https://mcp.example.com?":      false,
		"https://mcp.example.com/#":     false,
		"http://mcp.example.com/":       false,
		"https://mcp.example.com./":     false,
		"https://mcp.example.com.evil/": false,
	} {
		if _, err := p.Verify(t.Context(), i.Token(aud, nil)); (err == nil) != good {
			t.Errorf("aud %s: %v", aud, err)
		}
	}
}

// The times are compared with the clock of the rules, to the second.
func TestLeewayEndsWhereItShould(t *testing.T) {
	i := providertest.NewIssuer(t)
	now := time.Unix(2_000_000_000, 0)
	rules := i.Rules(resource)
	rules.Leeway, rules.Now = 10*time.Second, func() time.Time { return now }
	verifier := providers.NewVerifier(rules, i.Keys(t))
	at := func(seconds int64) int64 { return now.Unix() + seconds }
	for _, c := range []struct {
		name  string
		times m
		want  providers.Reason
	}{
		{"expires now", m{"exp": at(0)}, ""},
		{"expired 9 s ago", m{"exp": at(-9)}, ""},
		{"expired 10 s ago", m{"exp": at(-10)}, providers.TokenExpired},
		{"begins in 10 s", m{"exp": at(60), "nbf": at(10)}, ""},
		{"begins in 11 s", m{"exp": at(60), "nbf": at(11)}, providers.TokenNotYetValid},
		{"issued in 10 s", m{"exp": at(60), "iat": at(10)}, ""},
		{"issued in 11 s", m{"exp": at(60), "iat": at(11)}, providers.TokenNotYetValid},
	} {
		claims := i.Claims(resource)
		delete(claims, "iat")
		maps.Copy(claims, c.times)
		if _, err := verifier.Verify(t.Context(), i.Sign(nil, claims)); providers.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzVerify signs whatever it is given, so that the fuzzer gets past the signature. What is accepted must mean the same
// to a second implementation.
func FuzzVerify(f *testing.F) {
	i := providertest.NewIssuer(f)
	i.KeyPolicy.RefetchInterval = time.Hour
	kid := i.AddKey(jose.EdDSA)
	private, public := i.PrivateKey(kid), i.PublicKey(kid)
	const issuer = "https://issuer.example"
	rules := i.Rules(resource)
	rules.Issuers = []string{issuer}
	rules.Now = func() time.Time { return time.Unix(2_000_000_000, 0) }
	verifier := providers.NewVerifier(rules, i.Keys(f))

	const header = `{"alg":"EdDSA","typ":"at+jwt"}`
	const claims = `{"iss":"https://issuer.example","sub":"alice","aud":"http://localhost:3002/mcp","exp":2000000060,"client_id":"c","scope":"a b"}`
	for _, seed := range []struct {
		header, payload, tail string
	}{
		{header, claims, ""},
		{header, claims, "."},
		{header, claims, "A"},
		{header, strings.Replace(claims, `"http://localhost:3002/mcp"`, `["x","HTTP://localhost:3002/mcp"]`, 1), ""},
		{header, strings.Replace(claims, "2000000060", "2.00000006e9", 1), ""},
		{header, strings.Replace(claims, "2000000060", "2000000059.999999999999", 1), ""},
		{header, strings.Replace(claims, `"alice"`, `"\ud800"`, 1), ""},
		{header, strings.Replace(claims, `"sub"`, `"s\u0075b"`, 1), ""},
		{header, strings.Replace(claims, `"sub"`, `"Sub"`, 1), ""},
		{header, claims + " ", ""},
		{header, "null", ""},
		{`{"alg":"none"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","crit":["b64"],"b64":false}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","kid":"x"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","alg":"none"}`, claims, ""},
		{`{"alg":"EdDSA","typ":"at+jwt","jwk":{"kty":"oct","k":"AA"}}`, claims, ""},
	} {
		f.Add([]byte(seed.header), []byte(seed.payload), seed.tail)
	}
	f.Fuzz(func(t *testing.T, header, payload []byte, tail string) {
		token := providertest.SignBytes(jose.EdDSA, private, header, payload) + tail
		id, err := verifier.Verify(context.Background(), token)
		if err != nil {
			if id != nil || errors.Is(err, providers.ErrInvalidToken) == errors.Is(err, providers.ErrUnavailable) || len(err.Error()) > 1000 {
				t.Fatalf("Verify = %v, %v", id, err)
			}
			return
		}
		parsed, err := jwt.ParseSigned(token, rules.Algorithms)
		if err != nil {
			t.Fatalf("go-jose cannot read what was accepted: %v", err)
		}
		var other struct {
			jwt.Claims
			Client string `json:"client_id"`
		}
		if err := parsed.Claims(public, &other); err != nil {
			t.Fatalf("go-jose refuses what was accepted: %v", err)
		}
		if err := other.ValidateWithLeeway(jwt.Expected{Issuer: issuer, Time: rules.Now()}, providers.DefaultLeeway+time.Second); err != nil {
			t.Fatalf("go-jose finds it invalid: %v", err)
		}
		if other.Subject != id.Subject || other.Issuer != id.Issuer || !slices.Equal(other.Audience, id.Audience) ||
			other.Expiry.Time().Unix() != id.Expiry.Unix() || other.Client != "" && other.Client != id.Client {
			t.Fatalf("go-jose reads %+v where we read %+v", other, id)
		}
	})
}
