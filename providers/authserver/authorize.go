package authserver

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// authorize is the authorization endpoint (RFC 6749, section 3.1). A valid request leads to the consent page,
// or with AutoApprove back to the client with a code. An error is redirected to the client only where
// [mayRedirectError] allows it.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	noStore(w.Header())
	w.Header().Set("Referrer-Policy", "no-referrer") // state and challenge are in this page's URL
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxQuery {
		i.pages.problem(w, http.StatusBadRequest, "The URL is not a valid authorization request.")
		return
	}
	if len(query["client_id"]) != 1 || len(query["redirect_uri"]) != 1 {
		i.pages.problem(w, http.StatusBadRequest,
			"The application must send exactly one client_id and one redirect_uri.")
		return
	}
	c, err := i.findClient(r.Context(), query.Get("client_id"))
	if err != nil {
		i.refuseClient(r.Context(), w, err)
		return
	}
	if i.isDeniedClient(c) {
		i.config.Logger.InfoContext(r.Context(), "authorization request of a denied client",
			slog.String("client_id", displayClientID(c.id)))
		i.pages.problem(w, http.StatusForbidden, deniedClientText)
		return
	}
	// A redirect to a URI that is not registered would make the issuer an open redirector (RFC 6749, section
	// 4.1.2.1).
	redirectURI := query.Get("redirect_uri")
	if !matchesRedirectURI(redirectURI, c.redirectURIs) {
		i.pages.problem(w, http.StatusBadRequest, redirectURIText(c))
		return
	}
	a := &authorization{client: c, redirectURI: redirectURI, state: query.Get("state"),
		nonce: query.Get("nonce"), loginHint: query.Get("login_hint")}
	target, err := i.nextURL(r, a, query)
	if err != nil {
		i.refuse(w, r, a, err)
		return
	}
	redirect(w, http.StatusFound, target)
}

// nextURL reads the rest of the request into a and returns where the browser goes: to the consent page, or
// back with a code. The error is an [oidc.Error], an [*endedError] or one of this server.
func (i *Issuer) nextURL(r *http.Request, a *authorization, query url.Values) (target string, err error) {
	if err := i.readAuthorization(a, query); err != nil {
		return "", err
	}
	if i.config.AutoApprove && !isCrossSite(r) {
		who, _, err := i.signIn.Begin(r.Context(), Attempt{LoginHint: a.loginHint})
		if err != nil {
			return "", err
		}
		_, target, err = i.signedIn(r.Context(), a, *who, "")
		return target, err
	}
	if strings.TrimSpace(query.Get("prompt")) == oidc.PromptNone {
		// There are no sessions, so a user always has to see the page (OpenID Connect Core 1.0, section
		// 3.1.2.6).
		return "", oidc.ErrLoginRequired().WithDescription("the user must sign in")
	}
	id, err := i.requests.put(i.config.Now(), a)
	if err != nil {
		return "", err
	}
	return i.config.Issuer + consentPath + "?request=" + id, nil
}

// refuse responds to an authorization request with an error: to the client, with state and iss, or on a page.
func (i *Issuer) refuse(w http.ResponseWriter, r *http.Request, a *authorization, err error) {
	if ended := new(endedError); errors.As(err, &ended) {
		i.explainEnded(w, r, ended)
		return
	}
	e := new(oidc.Error)
	if !errors.As(err, &e) {
		i.config.Logger.ErrorContext(r.Context(), "authorization request", slog.Any("error", err))
		i.pages.problem(w, http.StatusInternalServerError, "Internal error.")
		return
	}
	i.config.Logger.InfoContext(r.Context(), "authorization request refused",
		slog.String("client_id", displayClientID(a.client.id)),
		slog.String("error", string(e.ErrorType)), slog.String("reason", e.Description))
	if mayRedirectError(a) {
		e.State = a.state
		if target, err := i.responseURL(a, e); err == nil {
			redirect(w, http.StatusFound, target)
			return
		}
	}
	text := "The authorization request of the application was refused with error " + string(e.ErrorType)
	if e.Description != "" {
		text += ": " + e.Description
	}
	i.pages.problem(w, http.StatusBadRequest, text+
		". The error is not sent to the application, because no user has approved it.")
}

// mayRedirectError reports whether an error may be redirected although no user has approved the client.
// Anyone can register a client, so a link to /authorize that causes an error would redirect from the issuer
// to any other site without asking the user (RFC 9700, section 4.11.2).
func mayRedirectError(a *authorization) bool {
	return a.client.origin == preregistered || redirectsToLoopback(a.redirectURI)
}

// isCrossSite reports whether a page of another site opened the request (Fetch Metadata, section 2.3). Such a
// page could start a sign-in without the user noticing, so consent is required even with AutoApprove.
// Programs send no such header.
func isCrossSite(r *http.Request) bool {
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "none" && site != "same-origin" && site != "same-site" {
			return true
		}
	}
	return false
}

func redirect(w http.ResponseWriter, status int, target string) {
	noStore(w.Header())
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", target)
	w.WriteHeader(status)
}

const deniedClientText = "The operator of this server has denied access to this application."

func redirectURIText(c *client) string {
	if c.origin == unregistered {
		return "The application has not registered since the issuer started, so only its loopback redirect URIs " +
			"are valid. " + registerAgainText
	}
	return "The redirect_uri is not registered for the application. " +
		"It must equal a registered one; only the port of a loopback address may differ."
}

// readAuthorization validates the request parameters and completes a.
func (i *Issuer) readAuthorization(a *authorization, query url.Values) error {
	prompt := strings.Fields(query.Get("prompt"))
	switch {
	case hasRepeated(query):
		return oidc.ErrInvalidRequest().WithDescription("a parameter is repeated")
	case query.Get("request") != "":
		return oidc.ErrRequestNotSupported()
	case query.Get("request_uri") != "":
		return &oidc.Error{ErrorType: "request_uri_not_supported"}
	case query.Get("response_type") == "":
		return oidc.ErrInvalidRequest().WithDescription("response_type is missing")
	case query.Get("response_type") != string(oidc.ResponseTypeCode):
		return (&oidc.Error{ErrorType: "unsupported_response_type"}).WithDescription(
			"only response_type=code is supported")
	case query.Get("response_mode") != "" && query.Get("response_mode") != string(oidc.ResponseModeQuery):
		return oidc.ErrInvalidRequest().WithDescription("only response_mode=query is supported")
	case len(prompt) > 1 && slices.Contains(prompt, oidc.PromptNone):
		return oidc.ErrInvalidRequest().WithDescription("prompt=none must be the only value")
	case !a.client.mayUseGrant(oidc.GrantTypeCode):
		return oidc.ErrUnauthorizedClient().WithDescription("authorization_code is not allowed for the client")
	}
	// OAuth 2.1, section 7.5.2: without the verifier an intercepted code is useless. A missing method means
	// plain (RFC 7636, section 4.3).
	if query.Get("code_challenge_method") != string(oidc.CodeChallengeMethodS256) ||
		!isChallenge(query.Get("code_challenge")) {
		return oidc.ErrInvalidRequest().WithDescription(
			"PKCE is required: a code_challenge with code_challenge_method=S256")
	}
	resource, err := i.chooseResource(query["resource"])
	if err != nil {
		return err
	}
	scopes, err := i.grantScopes(query.Get("scope"))
	if err != nil {
		return err
	}
	a.challenge, a.resource, a.scopes = query.Get("code_challenge"), resource, scopes
	return nil
}

// isChallenge reports whether s can be the base64url form of a SHA-256 digest (RFC 7636, section 4.2).
func isChallenge(s string) bool {
	digest, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(digest) == 32 && !strings.ContainsAny(s, "\r\n")
}

// deny returns the redirect to the client with access_denied.
func (i *Issuer) deny(a *authorization) (string, error) {
	return i.responseURL(a, &oidc.Error{ErrorType: oidc.AccessDenied, Description: "the request was denied",
		State: a.state})
}

func (i *Issuer) responseURL(a *authorization, response any) (string, error) {
	return op.AuthResponseURL(a.redirectURI, oidc.ResponseTypeCode, oidc.ResponseModeQuery, response,
		newResponseEncoder(i.config.Issuer))
}

// responseEncoder adds iss to authorization responses, successful or not (RFC 9207, section 2), so that a
// client with several issuers detects a response from the wrong one.
type responseEncoder struct {
	httphelper.Encoder
	issuer string
}

func newResponseEncoder(issuer string) responseEncoder {
	return responseEncoder{oidc.NewEncoder(), issuer}
}

// Encode implements [httphelper.Encoder].
func (e responseEncoder) Encode(src any, dst map[string][]string) error {
	err := e.Encoder.Encode(src, dst)
	switch src.(type) {
	case *op.CodeResponseType, *oidc.Error:
		dst["iss"] = []string{e.issuer}
	}
	return err
}
