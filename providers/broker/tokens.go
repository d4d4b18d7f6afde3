package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/providers/rawjson"
	"gatehouse/providers/token"
)

const (
	// exchangeTimeout bounds a request to the token endpoint, and those for userinfo and revocation.
	exchangeTimeout = 10 * time.Second
	// maxResponseBytes bounds the response to such a request. An ID token with 10,000 groups has about 600 KB.
	maxResponseBytes = 1 << 20
	// maxCredentialBytes bounds a refresh token, which is stored for each sign-in.
	maxCredentialBytes = 16 << 10
)

// tokens is a successful response of the token endpoint (RFC 6749, section 5.1).
type tokens struct{ access, kind, refresh, id string }

// tokenError is an error response of the token endpoint (RFC 6749, section 5.2): a JSON object, with a status of 4xx
// other than 429, or a 401. Every other response that has no tokens is an outage.
type tokenError struct {
	status int
	// code is one of knownCodes, or empty for any other and for none.
	code string
}

// isClient reports whether the provider refuses the client of this server. Only client authentication has the status
// 401 (RFC 6749, section 5.2).
func (e *tokenError) isClient() bool {
	return e.code == errorInvalidClient || e.code == errorUnauthorizedClient ||
		e.code == "" && e.status == http.StatusUnauthorized
}

// Error implements error.
func (e *tokenError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("the token endpoint answered %d with an unknown error, or none", e.status)
	}
	return fmt.Sprintf("the token endpoint answered %d with %s", e.status, e.code)
}

// The errors of a token endpoint (RFC 6749, section 5.2; OpenID Connect Core 1.0, section 3.1.2.6).
const (
	errorInvalidGrant        = "invalid_grant"
	errorInvalidClient       = "invalid_client"
	errorUnauthorizedClient  = "unauthorized_client"
	errorInteractionRequired = "interaction_required"
	errorLoginRequired       = "login_required"
	errorConsentRequired     = "consent_required"
)

// knownCodes are the errors that may be in a text; others could be anything.
func knownCodes() []string {
	return []string{errorInvalidGrant, errorInvalidClient, errorUnauthorizedClient, errorInteractionRequired,
		errorLoginRequired, errorConsentRequired, "invalid_request", "unsupported_grant_type", "invalid_scope",
		"access_denied", codeServerError, codeUnavailable, "account_selection_required", "unsupported_response_type",
		"invalid_target", "slow_down"}
}

func knownCode(code string) string {
	if slices.Contains(knownCodes(), code) {
		return code
	}
	return ""
}

// requestTokens makes one request to the token endpoint. The error is a [*tokenError], or an outage.
func (u *Upstream) requestTokens(ctx context.Context, m token.PublishedMetadata, form url.Values) (tokens, error) {
	status, body, err := u.post(ctx, m, m.TokenEndpoint, form)
	if err != nil {
		return tokens{}, err
	}
	if status != http.StatusOK {
		return tokens{}, u.errorResponse(status, body)
	}
	var t tokens
	values := make([]json.RawMessage, 4)
	if rawjson.Members(body, values, "access_token", "token_type", "refresh_token", "id_token") != nil {
		return tokens{}, errors.New("the token endpoint answered 200 without a JSON object that can be read")
	}
	for i, target := range []*string{&t.access, &t.kind, &t.refresh, &t.id} {
		if values[i] == nil || string(values[i]) == "null" {
			continue
		}
		var ok bool
		if *target, ok = rawjson.Text(values[i]); !ok {
			return tokens{}, errors.New("the token endpoint answered 200 with a member that is not a string")
		}
	}
	if t.access == "" {
		return tokens{}, errors.New("the token endpoint answered 200 without an access token")
	}
	u.state.accepted(u.logger)
	return t, nil
}

// errorResponse returns the error for a response that has no tokens.
func (u *Upstream) errorResponse(status int, body []byte) error {
	values := make([]json.RawMessage, 1)
	if status < 400 || status > 499 || rawjson.Members(body, values, "error") != nil || values[0] == nil {
		if status != http.StatusUnauthorized {
			return fmt.Errorf("the token endpoint answered %d", status)
		}
		values[0] = nil
	}
	code, _ := rawjson.Text(values[0])
	failure := &tokenError{status: status, code: knownCode(code)}
	switch {
	case failure.isClient():
		u.state.refused(u.logger, u.config.Now(), failure)
	case failure.code == errorInvalidGrant:
		u.state.accepted(u.logger) // the client is authenticated before the grant is judged
	}
	return failure
}

// post makes one request with the credentials of the client.
func (u *Upstream) post(
	ctx context.Context, m token.PublishedMetadata, endpoint string, form url.Values,
) (status int, body []byte, err error) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := u.authenticate[u.authMethod(m)](form, header); err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, errors.New("the endpoint is not a URL")
	}
	req.Header = header
	return token.Do(u.client, req, maxResponseBytes)
}

// authMethod returns how the client authenticates: as the settings say, and with a secret in the header unless the
// metadata has only the method with the secret in the body.
func (u *Upstream) authMethod(m token.PublishedMetadata) string {
	if _, ok := u.authenticate[authKey]; ok {
		return authKey
	}
	if slices.Contains(m.TokenAuthMethods, authPost) && !slices.Contains(m.TokenAuthMethods, authBasic) {
		return authPost
	}
	return authBasic
}

// ClientStatus is whether the provider accepts the client of this server.
type ClientStatus struct {
	// Refused is set if the provider refused the client, or its credentials, at the last request. Since is when that
	// began.
	Refused bool
	Since   time.Time
	// Refusals counts them since the start.
	Refusals int64
	// SignIns counts the people who signed in since the start, and WithoutRefresh those for whom the provider issued no
	// refresh token.
	SignIns, WithoutRefresh int64
}

// ClientStatus returns whether the provider accepts the client of this server.
func (u *Upstream) ClientStatus() ClientStatus {
	u.state.mu.Lock()
	defer u.state.mu.Unlock()
	return u.state.status
}

// clientState is the changing [ClientStatus].
type clientState struct {
	mu     sync.Mutex
	status ClientStatus
	logged time.Time
}

// alarmInterval is the minimum time between two log lines about refused credentials: every refresh causes one.
const alarmInterval = time.Minute

func (s *clientState) refused(logger *slog.Logger, now time.Time, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Refusals++
	if !s.status.Refused {
		s.status.Refused, s.status.Since, s.logged = true, now, time.Time{}
	}
	if now.Sub(s.logged) < alarmInterval {
		return
	}
	s.logged = now
	logger.Error("the provider refuses the client of this server: no person can sign in, and sign-ins are not renewed",
		"reason", ReasonProviderClientRefused, "error", cause, "since", s.status.Since, "refusals", s.status.Refusals,
		"fix", "compare provider.client_id and its secret or key with the registration at the provider; secrets expire")
}

func (s *clientState) accepted(logger *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Refused {
		s.status.Refused = false
		logger.Info("the provider accepts the client of this server again")
	}
}

func (s *clientState) signedIn(hasRefresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.SignIns++
	if !hasRefresh {
		s.status.WithoutRefresh++
	}
}

// bounded returns a refresh token that can be stored, or "".
func (u *Upstream) bounded(refresh string) string {
	if len(refresh) > maxCredentialBytes {
		u.logger.Warn("a refresh token of the provider is not kept: it is longer than 16 KiB",
			"reason", ReasonProviderError)
		return ""
	}
	return refresh
}
