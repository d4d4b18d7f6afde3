package broker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/rawjson"
	"gatehouse/providers/token"
)

const (
	assertionType        = "oauth-id-jag+jwt"
	maxAssertion         = 16 << 10 // bytes
	maxAssertionLifetime = 5 * time.Minute
	maxAssertionText     = 512 // bytes of one claim that is a text
	maxAssertionList     = 64  // entries of a claim that is a list
)

// AssertionConfig configures [Assertions].
type AssertionConfig struct {
	// Audience is the issuer of this authorization server: aud of every assertion, exactly.
	Audience string
	// Issuers are the providers whose assertions are accepted. Their keys are those that their metadata names.
	Issuers []string
	// SignInIssuer is the provider at which people sign in, if sub is what identifies them there. Its subjects are the
	// same people as those who sign in.
	SignInIssuer string
	// PlainHTTPHosts may be reached over plain http, in addition to loopback.
	PlainHTTPHosts token.PlainHTTPHosts
	// Client fetches metadata and keys. It must not follow redirects; see [token.NewClient].
	Client *http.Client
	Logger *slog.Logger
	// Keys bounds how keys are fetched. Its zero value means the defaults.
	Keys token.KeyPolicy
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Assertions verifies identity assertions of companies' providers
// (draft-ietf-oauth-identity-assertion-authz-grant; MCP: Enterprise-Managed Authorization). It implements
// [authserver.AssertionVerifier]. Run must be running.
//
// The people of two providers are never the same: the subject is the issuer, "#" and sub, except for those of the
// provider at which people sign in. No issuer has a fragment, so two pairs have two subjects.
type Assertions struct {
	config AssertionConfig
	keys   map[string]*token.KeySet // by issuer
}

// NewAssertions returns a verifier.
func NewAssertions(config AssertionConfig) *Assertions {
	if config.Now == nil {
		config.Now = time.Now
	}
	a := &Assertions{config: config, keys: make(map[string]*token.KeySet)}
	for _, issuer := range config.Issuers {
		discovery := token.Discovery{Issuers: []string{issuer}, MetadataURLs: token.MetadataURLs(issuer),
			Client: config.Client, PlainHTTPHosts: config.PlainHTTPHosts}
		a.keys[issuer] = token.NewKeySet(token.KeySource{URL: discovery.KeysURL, Timeout: discovery.Timeout(),
			Client: config.Client}, config.Keys, config.Logger.With("issuer", issuer))
	}
	return a
}

// Run keeps the keys of the issuers until ctx ends.
func (a *Assertions) Run(ctx context.Context) {
	done := make(chan struct{})
	for _, keys := range a.keys {
		go func() { keys.Run(ctx); done <- struct{}{} }()
	}
	for range a.keys {
		<-done
	}
}

// Verify implements [authserver.AssertionVerifier].
func (a *Assertions) Verify(ctx context.Context, assertion string) (authserver.Assertion, error) {
	verified, err := a.verify(ctx, assertion)
	if err == nil {
		return verified, nil
	}
	code := "invalid_grant"
	if errors.Is(err, providers.ErrUnavailable) {
		code = "temporarily_unavailable"
	}
	return authserver.Assertion{}, &authserver.SignInError{Reason: providers.ReasonOf(err), Code: code, Err: err}
}

// verify checks what needs no key first: an assertion for another server costs no signature check.
func (a *Assertions) verify(ctx context.Context, assertion string) (authserver.Assertion, error) {
	header, claims, payload, err := readAssertion(assertion)
	if err != nil {
		return authserver.Assertion{}, err
	}
	alg, err := checkAssertionHeader(header)
	if err != nil {
		return authserver.Assertion{}, err
	}
	verified, err := a.checkClaims(claims)
	if err != nil {
		return authserver.Assertion{}, err
	}
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return authserver.Assertion{}, providers.Invalidf(ReasonAssertionMalformed, "it is not a compact JWS")
	}
	signed, err := a.keys[verified.Issuer].VerifySignature(ctx, jws)
	switch {
	case errors.Is(err, providers.ErrUnavailable):
		return authserver.Assertion{}, err
	case err != nil:
		return authserver.Assertion{}, providers.Invalidf(ReasonAssertionSignature, "%v", err)
	case !bytes.Equal(signed, payload):
		return authserver.Assertion{}, providers.Invalidf(ReasonAssertionMalformed, "two parsers read it differently")
	}
	return verified, nil
}

// assertionMembers are JSON values by name.
type assertionMembers map[string]json.RawMessage

// readAssertion decodes header and payload so that no other parser can read them differently.
func readAssertion(assertion string) (header, claims assertionMembers, payload []byte, err error) {
	malformed := providers.Invalidf(ReasonAssertionMalformed, "it is not a compact JWS of a JSON object")
	parts := strings.Split(assertion, ".")
	if len(assertion) > maxAssertion || len(parts) != 3 || strings.ContainsAny(assertion, "\r\n") {
		return nil, nil, nil, malformed
	}
	var decoded [3][]byte
	for n, part := range parts {
		if decoded[n], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, nil, nil, malformed
		}
	}
	if header, err = readAssertionMembers(decoded[0], "typ", "alg", "kid", "crit", "b64"); err != nil {
		return nil, nil, nil, providers.Invalidf(ReasonAssertionMalformed, "header: %v", err)
	}
	claims, err = readAssertionMembers(decoded[1], "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id",
		"resource", "scope", "cnf")
	if err != nil {
		return nil, nil, nil, providers.Invalidf(ReasonAssertionMalformed, "payload: %v", err)
	}
	return header, claims, decoded[1], nil
}

func readAssertionMembers(raw []byte, names ...string) (assertionMembers, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	values := make([]json.RawMessage, len(names))
	if err := rawjson.Members(raw, values, names...); err != nil {
		return nil, err
	}
	members := make(assertionMembers)
	for n, name := range names {
		if values[n] != nil {
			members[name] = values[n]
		}
	}
	return members, nil
}

// checkAssertionHeader returns the algorithm. A key set verifies it only with a key that is for it.
func checkAssertionHeader(header assertionMembers) (jose.SignatureAlgorithm, error) {
	for _, name := range []string{"crit", "b64"} { // RFC 7515, section 4.1.11; RFC 7797
		if header[name] != nil {
			return "", providers.Invalidf(ReasonAssertionMalformed, "the header has %q", name)
		}
	}
	typ, err := header.text("typ")
	if err != nil {
		return "", err
	}
	// RFC 7515, section 4.1.9: the prefix may be left out.
	if strings.TrimPrefix(strings.ToLower(typ), "application/") != assertionType {
		return "", providers.Invalidf(ReasonAssertionType, "typ is %s, it must be %s", providers.Quote(typ), assertionType)
	}
	text, err := header.text("alg")
	if err != nil {
		return "", err
	}
	alg := jose.SignatureAlgorithm(text)
	if !token.IsAsymmetric(alg) {
		return "", providers.Invalidf(ReasonAssertionAlgorithm, "alg is %s, which is not asymmetric", providers.Quote(text))
	}
	if header["kid"] != nil {
		if _, err := header.text("kid"); err != nil {
			return "", err
		}
	}
	return alg, nil
}

func (a *Assertions) checkClaims(claims assertionMembers) (verified authserver.Assertion, err error) {
	if verified.Issuer, err = claims.text("iss"); err != nil {
		return verified, err
	}
	if _, known := a.keys[verified.Issuer]; !known {
		return verified, providers.Invalidf(ReasonAssertionIssuer,
			"iss is %s, which provider.enterprise_issuers does not list",
			providers.Quote(verified.Issuer))
	}
	// A list of several would let one assertion be used at several servers.
	audience, err := claims.texts("aud")
	if err != nil {
		return verified, err
	}
	if !slices.Equal(audience, []string{a.config.Audience}) {
		return verified, providers.Invalidf(ReasonAssertionAudience, "aud is %s, it must be %s alone",
			token.QuoteEach(audience), a.config.Audience)
	}
	if err := a.checkTimes(claims, &verified); err != nil {
		return verified, err
	}
	if verified.ID, err = claims.text("jti"); err != nil {
		return verified, err
	}
	subject, err := claims.text("sub")
	if err != nil {
		return verified, err
	}
	verified.Subject = subject
	if verified.Issuer != a.config.SignInIssuer {
		verified.Subject = verified.Issuer + "#" + subject
	}
	if verified.ClientID, err = claims.text("client_id"); err != nil {
		return verified, err
	}
	if verified.Resources, err = claims.texts("resource"); err != nil {
		return verified, err
	}
	if claims["cnf"] != nil {
		return verified, providers.Invalidf(ReasonAssertionBound, "it has cnf, and proof of possession is not supported")
	}
	if claims["scope"] == nil {
		return verified, nil // the authorization server grants no scope that is not asserted
	}
	scope, ok := rawjson.Text(claims["scope"])
	if !ok {
		return verified, malformedClaim("scope", "a string")
	}
	verified.Scopes = strings.Fields(scope)
	return verified, nil
}

// checkTimes checks exp, iat and nbf. An assertion is for one use at once, so it must be short: until it expires, its
// jti is stored.
func (a *Assertions) checkTimes(claims assertionMembers, verified *authserver.Assertion) (err error) {
	if verified.Expires, err = claims.time("exp"); err != nil {
		return err
	}
	if verified.IssuedAt, err = claims.time("iat"); err != nil {
		return err
	}
	now := a.config.Now()
	switch lifetime := verified.Expires.Sub(verified.IssuedAt); {
	case !now.Before(verified.Expires.Add(token.DefaultLeeway)):
		return providers.Invalidf(ReasonAssertionExpired, "it expired %s ago", now.Sub(verified.Expires).Round(time.Second))
	case verified.IssuedAt.After(now.Add(token.DefaultLeeway)):
		return providers.Invalidf(ReasonAssertionFuture, "iat is %s in the future",
			verified.IssuedAt.Sub(now).Round(time.Second))
	case lifetime <= 0 || lifetime > maxAssertionLifetime:
		return providers.Invalidf(ReasonAssertionLifetime, "exp is %s after iat, at most %s are accepted", lifetime,
			maxAssertionLifetime)
	}
	if claims["nbf"] == nil {
		return nil
	}
	start, err := claims.time("nbf")
	if err == nil && start.After(now.Add(token.DefaultLeeway)) {
		return providers.Invalidf(ReasonAssertionFuture, "nbf is %s in the future", start.Sub(now).Round(time.Second))
	}
	return err
}

func missingClaim(name string) error {
	return providers.Invalidf(ReasonAssertionIncomplete, "%s is missing", name)
}

func malformedClaim(name, want string) error {
	return providers.Invalidf(ReasonAssertionClaim, "%s is not %s", name, want)
}

// text returns a member that is a string, not empty, and that a log or a token can have.
func (m assertionMembers) text(name string) (string, error) {
	if m[name] == nil {
		return "", missingClaim(name)
	}
	text, ok := rawjson.Text(m[name])
	if !ok || !isAssertionText(text) {
		return "", malformedClaim(name, fmt.Sprintf("a printable string of at most %d bytes", maxAssertionText))
	}
	return text, nil
}

// texts returns a member that is a string or a list of strings.
func (m assertionMembers) texts(name string) ([]string, error) {
	if m[name] == nil {
		return nil, missingClaim(name)
	}
	texts, ok := rawjson.Texts(m[name])
	unusable := func(s string) bool { return !isAssertionText(s) }
	if !ok || len(texts) > maxAssertionList || slices.ContainsFunc(texts, unusable) {
		return nil, malformedClaim(name, "a string or a list of strings")
	}
	return texts, nil
}

// isAssertionText refuses U+FFFD too: decoders write it for each lone surrogate, so that two subjects would be equal.
func isAssertionText(text string) bool {
	return text != "" && len(text) <= maxAssertionText && strings.TrimSpace(text) == text &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

// time returns a NumericDate (RFC 7519, section 2).
func (m assertionMembers) time(name string) (time.Time, error) {
	if m[name] == nil {
		return time.Time{}, missingClaim(name)
	}
	const last = 253402300799 // of the year 9999
	var seconds *float64
	if json.Unmarshal(m[name], &seconds) != nil || seconds == nil || *seconds < 0 || *seconds > last {
		return time.Time{}, malformedClaim(name, "a time")
	}
	whole, fraction := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}
