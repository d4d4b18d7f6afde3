package token

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// IntrospectionProtocol makes introspection requests and parses the responses.
type IntrospectionProtocol interface {
	request(ctx context.Context, endpoint, token string) (*http.Request, error)
	// claims returns the claims of an active token. The error wraps ErrInvalidToken if the token is not active,
	// and ErrUnavailable if the response does not tell. known are the members that the rules read.
	claims(resp response, known *rawjson.NameSet) (rawObject, error)
}

// rfc7662 is OAuth 2.0 Token Introspection.
type rfc7662 struct {
	authenticate Authenticator
	// authenticated is set once the issuer has accepted the credentials: its response reported whether a token
	// is active.
	authenticated *atomic.Bool
}

// RFC7662 returns the protocol OAuth 2.0 Token Introspection, with authenticate for the credentials of this
// server.
func RFC7662(authenticate Authenticator) IntrospectionProtocol {
	return rfc7662{authenticate, &atomic.Bool{}}
}

func (s rfc7662) request(ctx context.Context, endpoint, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := s.authenticate(form, header); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("the introspection endpoint is not a URL")
	}
	req.Header = header
	return req, nil
}

func (s rfc7662) claims(resp response, known *rawjson.NameSet) (rawObject, error) {
	switch resp.status {
	case http.StatusOK:
	case http.StatusBadRequest:
		// Some issuers respond with an error to tokens of certain forms; oidc-provider does so for JWTs.
		if code := errorCode(resp.body); code == "unsupported_token_type" || code == "invalid_token" {
			return nil, providers.Invalidf(ReasonInactive,
				"the issuer does not introspect tokens of this form")
		}
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"the introspection endpoint answered 400")
	case http.StatusUnauthorized:
		return nil, s.unauthorized(resp)
	case http.StatusForbidden:
		return nil, credentialsError(resp.status)
	default:
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"the introspection endpoint answered %d", resp.status)
	}
	claims, err := parseObject(resp.body, known.With("active", "token_type", "token_use"))
	if err != nil {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "introspection response: %v", err)
	}
	active, _ := claims.find("active")
	if text := string(active); text == "true" || text == "false" {
		s.authenticated.Store(true)
	}
	if string(active) != "true" { // any other value, and none, means no
		return nil, providers.Invalidf(ReasonInactive, "not active at the issuer")
	}
	return claims, nil
}

// ErrUnauthorizedWithoutCause wraps [providers.ErrUnavailable]: the introspection endpoint answered 401, and
// it is not known whether it rejects the credentials of this server or the token.
var ErrUnauthorizedWithoutCause = fmt.Errorf("%w: 401 without a cause", providers.ErrUnavailable)

// unauthorized returns the error for a 401. RFC 7662, section 2.3 defines it for the credentials of this
// server; some issuers, such as Gitea, also use it for a token that is not active. A Basic challenge (RFC
// 7617) or invalid_client (RFC 6749, section 5.2) means the credentials. Otherwise it means the token once
// the credentials were accepted, and before that it can be either.
func (s rfc7662) unauthorized(resp response) error {
	switch {
	case hasBasicChallenge(resp.header.Values("WWW-Authenticate")) || errorCode(resp.body) == "invalid_client":
		return credentialsError(resp.status)
	case s.authenticated.Load():
		return providers.Invalidf(ReasonInactive,
			"the introspection endpoint answered 401, and accepted the credentials of this server before")
	}
	return providers.Errorf(ErrUnauthorizedWithoutCause, providers.ReasonIntrospectionUnavailable,
		"the introspection endpoint answered 401 without a cause: "+
			"it rejects the credentials of this server, or the token is not active")
}

func credentialsError(status int) error {
	return providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
		"the introspection endpoint answered %d: it rejects the credentials of this server", status)
}

// errorCode returns the code of an error response (RFC 6749, section 5.2), or "".
func errorCode(body []byte) string {
	var resp struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &resp) != nil {
		return ""
	}
	return resp.Error
}

// GoogleTokeninfo is Google's protocol at https://oauth2.googleapis.com/tokeninfo: a GET without credentials
// and with the token in the query, numbers as strings, and an error for a token that is not active.
type GoogleTokeninfo struct{}

func (GoogleTokeninfo) request(ctx context.Context, endpoint, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, fmt.Errorf("the tokeninfo endpoint is not a URL")
	}
	query := req.URL.Query()
	query.Set("access_token", token)
	req.URL.RawQuery = query.Encode()
	return req, nil
}

func (GoogleTokeninfo) claims(resp response, known *rawjson.NameSet) (rawObject, error) {
	switch {
	case resp.status == http.StatusBadRequest || resp.status == http.StatusUnauthorized:
		return nil, providers.Invalidf(ReasonInactive, "not active at the issuer")
	case resp.status != http.StatusOK:
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"the tokeninfo endpoint answered %d", resp.status)
	}
	claims, err := parseObject(resp.body, known)
	if err != nil {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "tokeninfo response: %v", err)
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		if text, err := claims.str(name); err == nil && text != "" {
			if _, err := strconv.ParseUint(text, 10, 53); err != nil {
				return nil, providers.Invalidf(ReasonClaimsMalformed,
					"%s: not a number of seconds since 1970", name)
			}
			claims = claims.with(name, json.RawMessage(text))
		}
	}
	return claims, nil
}

// Authenticator adds the credentials of this server to an introspection request (RFC 7662, section 2.1).
type Authenticator func(form url.Values, header http.Header) error

// NoAuthentication is for an endpoint that needs no credentials.
func NoAuthentication(url.Values, http.Header) error { return nil }

// BasicAuthentication is client_secret_basic (RFC 6749, section 2.3.1). ID and secret are form-encoded first.
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

// KeyAuthentication is private_key_jwt (RFC 7523, section 2.2). The audience of the assertion is the issuer
// (draft-ietf-oauth-rfc7523bis).
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
	raw, _ := json.Marshal(s) // cannot fail for a string
	return raw
}
