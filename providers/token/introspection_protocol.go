package token

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/zitadel/oidc/v3/pkg/client"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// IntrospectionProtocol is how a question about a token is put, and how the answer is read.
type IntrospectionProtocol interface {
	request(ctx context.Context, address, token string) (*http.Request, error)
	// claims returns the claims of an active token. The error wraps ErrInvalidToken if it is not active, and
	// ErrUnavailable if the answer says nothing about it. fixed are the members whose meaning is fixed.
	claims(answer reply, fixed *rawjson.NameSet) (rawObject, error)
}

// rfc7662 is OAuth 2.0 Token Introspection.
type rfc7662 struct {
	authenticate Authenticator
	// authenticated is set once the issuer has told this server about a token, whether that was active or
	// not.
	authenticated *atomic.Bool
}

// RFC7662 is OAuth 2.0 Token Introspection, with these credentials of this server.
func RFC7662(authenticate Authenticator) IntrospectionProtocol {
	return rfc7662{authenticate, &atomic.Bool{}}
}

func (s rfc7662) request(ctx context.Context, address, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := s.authenticate(form, header); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("the address of the introspection endpoint is not a URL")
	}
	req.Header = header
	return req, nil
}

func (s rfc7662) claims(answer reply, fixed *rawjson.NameSet) (rawObject, error) {
	switch answer.status {
	case http.StatusOK:
	case http.StatusBadRequest:
		// Some issuers refuse tokens of certain forms instead of calling them inactive; oidc-provider does so with JWTs.
		if code := errorCode(answer.body); code == "unsupported_token_type" || code == "invalid_token" {
			return nil, providers.Invalidf(providers.TokenInactive, "the issuer does not tell about tokens of this form")
		}
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the introspection endpoint answered 400")
	case http.StatusUnauthorized:
		return nil, s.unauthorized(answer)
	case http.StatusForbidden:
		return nil, credentialsRefused(answer.status)
	default:
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the introspection endpoint answered %d", answer.status)
	}
	claims, err := parseObject(answer.body, fixed.With("active", "token_type", "token_use"))
	if err != nil {
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the answer about a token is %v", err)
	}
	active, _ := claims.find("active")
	if text := string(active); text == "true" || text == "false" {
		s.authenticated.Store(true)
	}
	if string(active) != "true" { // anything else, absent included, is no
		return nil, providers.Invalidf(providers.TokenInactive, "the issuer says so")
	}
	return claims, nil
}

// ErrUnauthorizedWithoutCause is an [providers.ErrUnavailable]: the introspection endpoint answered 401, and nothing
// says whether it refuses the credentials of this server or the token that it was asked about.
var ErrUnauthorizedWithoutCause = fmt.Errorf("%w: 401 without a cause", providers.ErrUnavailable)

// unauthorized is what a 401 means. RFC 7662, section 2.3 has it for the credentials of this server. Some
// issuers, such as Gitea, answer it to a token that is not active as well. With a Basic challenge (RFC 7617)
// or invalid_client (RFC 6749, section 5.2) the credentials are meant. Without, they are only as long as
// nothing has shown that they are good.
func (s rfc7662) unauthorized(answer reply) error {
	challenges, _ := oauthex.ParseWWWAuthenticate(answer.header.Values("WWW-Authenticate"))
	basic := slices.ContainsFunc(challenges, func(c oauthex.Challenge) bool { return strings.EqualFold(c.Scheme, "Basic") })
	switch {
	case basic || errorCode(answer.body) == "invalid_client":
		return credentialsRefused(answer.status)
	case s.authenticated.Load():
		return providers.Invalidf(providers.TokenInactive, "the introspection endpoint answered 401, and accepted the credentials of this server before")
	}
	return providers.Errorf(ErrUnauthorizedWithoutCause, providers.IntrospectionUnavailable,
		"the introspection endpoint answered 401 without a cause: the credentials of this server may not be good there, or the token is not active")
}

func credentialsRefused(status int) error {
	return providers.Unavailablef(providers.IntrospectionUnavailable, "the introspection endpoint answered %d: the credentials of this server are not good there", status)
}

// errorCode is the code of an error response (RFC 6749, section 5.2), or "".
func errorCode(body []byte) string {
	var wrong struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &wrong) != nil {
		return ""
	}
	return wrong.Error
}

// GoogleTokeninfo is Google's own: a GET that needs no credentials, numbers as text, and an error for a token that is not
// active. (https://oauth2.googleapis.com/tokeninfo; the token stands in the query, as Google wants it.)
type GoogleTokeninfo struct{}

func (GoogleTokeninfo) request(ctx context.Context, address, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("the address of the tokeninfo endpoint is not a URL")
	}
	query := req.URL.Query()
	query.Set("access_token", token)
	req.URL.RawQuery = query.Encode()
	return req, nil
}

func (GoogleTokeninfo) claims(answer reply, fixed *rawjson.NameSet) (rawObject, error) {
	switch {
	case answer.status == http.StatusBadRequest || answer.status == http.StatusUnauthorized:
		return nil, providers.Invalidf(providers.TokenInactive, "the issuer says so")
	case answer.status != http.StatusOK:
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the tokeninfo endpoint answered %d", answer.status)
	}
	claims, err := parseObject(answer.body, fixed)
	if err != nil {
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the answer about a token is %v", err)
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		if text, err := claims.str(name); err == nil && text != "" {
			if _, err := strconv.ParseUint(text, 10, 53); err != nil {
				return nil, providers.Invalidf(providers.ClaimsMalformed, "%s: not a number of seconds since 1970", name)
			}
			claims = claims.with(name, json.RawMessage(text))
		}
	}
	return claims, nil
}

// Authenticator adds what proves to the issuer that this server may ask (RFC 7662, section 2.1).
type Authenticator func(form url.Values, header http.Header) error

// NoAuthentication is for an endpoint that asks for no credentials.
func NoAuthentication(url.Values, http.Header) error { return nil }

// BasicAuthentication is client_secret_basic (RFC 6749, section 2.3.1), where both parts are form-encoded first.
func BasicAuthentication(id string, secret providers.Secret) Authenticator {
	return func(_ url.Values, header http.Header) error {
		req := http.Request{Header: header}
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret.Reveal()))
		return nil
	}
}

// PostAuthentication is client_secret_post (RFC 6749, section 2.3.1).
func PostAuthentication(id string, secret providers.Secret) Authenticator {
	return func(form url.Values, _ http.Header) error {
		form.Set("client_id", id)
		form.Set("client_secret", secret.Reveal())
		return nil
	}
}

// KeyAuthentication is private_key_jwt (RFC 7523, section 2.2). The audience of the assertion is the issuer, which every party to it
// can know (draft-ietf-oauth-rfc7523bis).
func KeyAuthentication(id, issuer string, signer jose.Signer) Authenticator {
	return func(form url.Values, _ http.Header) error {
		assertion, err := client.SignedJWTProfileAssertion(id, []string{issuer}, time.Minute, signer)
		if err != nil {
			return fmt.Errorf("the client assertion could not be signed")
		}
		form.Set("client_id", id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
		return nil
	}
}

func mustMarshal(s string) json.RawMessage {
	raw, _ := json.Marshal(s) // a string cannot fail
	return raw
}
