package server

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/segmentio/encoding/json"

	"gatehouse/providers"
)

// httpError is an error that determines its response. Steps of the chain return one; only [errorHandler]
// writes it.
type httpError struct {
	status int
	// code is the OAuth error code (RFC 6750, section 3.1); empty when the caller sent no credentials.
	code        string
	description string
	reason      providers.Reason
	// cause is for the log only and never part of a response.
	cause error
	// scopes are the scopes that the challenge names; nil means those of a first sign-in.
	scopes []string
	// caller is the identity of a verified token that lacks scopes. The challenge also names scopes that the
	// token holds.
	caller *providers.Identity
	// noChallenge omits the challenge, because signing in again cannot help.
	noChallenge bool
	// retryAfter is in seconds; 0 omits the header.
	retryAfter int
}

func (e *httpError) Error() string { return string(e.reason) }

func errNoCredentials() error {
	return &httpError{status: http.StatusUnauthorized, description: "Sign in to use this server.",
		reason: providers.ReasonNoCredentials}
}

func errMalformedCredentials(cause error) error {
	return &httpError{status: http.StatusBadRequest, code: "invalid_request",
		description: "The Authorization header must contain exactly one Bearer token.",
		reason:      ReasonCredentialsMalformed, cause: cause}
}

// errVerify turns an error of [providers.Provider.Verify] into its response. Only an error that wraps
// [providers.ErrInvalidToken] becomes a 401. Every other error, known or not, is the server's or the
// provider's fault: a 401 would make clients discard valid tokens.
func errVerify(err error) error {
	if errors.Is(err, providers.ErrInvalidToken) {
		return errInvalidToken(err)
	}
	reason := providers.ReasonOf(err)
	if reason == "" {
		reason = providers.ReasonKeysUnavailable
	}
	retryAfter := 5
	if r, ok := errors.AsType[*providers.Error](err); ok && r.RetryAfter > 0 {
		retryAfter = int(math.Ceil(r.RetryAfter.Seconds()))
	}
	return &httpError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
		description: "The identity provider is unavailable; retry later.",
		reason:      reason, cause: err, retryAfter: retryAfter}
}

const invalidTokenCode = "invalid_token"

func errInvalidToken(cause error) *httpError {
	return &httpError{status: http.StatusUnauthorized, code: invalidTokenCode,
		description: "The access token is not valid for this server.",
		reason:      providers.ReasonOf(cause), cause: cause}
}

const insufficientScopeCode = "insufficient_scope"

func errInsufficientScope(needed, missing []string, caller *providers.Identity) error {
	return &httpError{status: http.StatusForbidden, code: insufficientScopeCode,
		description: "This operation needs more scopes than the access token has.",
		reason:      providers.ReasonInsufficientScope, cause: missingCause(missing),
		scopes: needed, caller: caller}
}

// errScopeUnobtainable has no challenge: clients would sign in again to no effect.
func errScopeUnobtainable(missing []string) error {
	return &httpError{status: http.StatusForbidden, code: insufficientScopeCode,
		description: "This operation needs scopes that no sign-in can give. " +
			"The operator of this server can grant them.",
		reason: ReasonScopeUnobtainable, cause: missingCause(missing), noChallenge: true}
}

func missingCause(missing []string) error {
	return errors.New("missing " + strings.Join(missing, " "))
}

func errOriginNotAllowed(origin string) error {
	return &httpError{status: http.StatusForbidden,
		description: "Pages of this origin may not use this server.",
		reason:      ReasonOriginRefused, cause: errors.New("origin " + providers.Quote(origin))}
}

func errHostNotAllowed(host string) error {
	return &httpError{status: http.StatusForbidden,
		description: "This server does not answer to that host name.",
		reason:      ReasonHostRefused, cause: errors.New("host " + providers.Quote(host))}
}

// errorBody is the body of every error response of this package.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	// MCPURL is the endpoint's URL, for clients that are configured with a wrong path.
	MCPURL    string `json:"mcp_url,omitempty"`
	RequestID string `json:"request_id"`
}

// handleErrors writes the response to an error before the access log reads the status, and counts the
// request. Without it, slog-echo would log every error that it does not know as a 500.
func handleErrors(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			if err := next(ctx); err != nil {
				ctx.Error(err)
			}
			state := stateOf(ctx)
			state.outcome = outcomeOf(state, ctx.Response())
			c.Counts.record(ctx)
			return nil
		}
	}
}

// errorHandler is the only place where an error becomes a status, a challenge and a body. Texts in the
// response are fixed; the reason goes to the request's log line. p may be nil if no route needs a token.
func errorHandler(c Config, p providers.Provider, pages pages) echo.HTTPErrorHandler {
	challenge, noStore := newChallenger(c, p), []string{"no-store"}
	challengeHeader := http.CanonicalHeaderKey(echo.HeaderWWWAuthenticate)
	return func(err error, ctx echo.Context) {
		if ctx.Response().Committed {
			return
		}
		connection := *http.NewResponseController(ctx.Response().Writer)
		now := time.Now()
		_ = connection.SetWriteDeadline(now.Add(writeTimeout)) // fails only in tests with a recorder
		header := ctx.Response().Header()
		body := errorBody{RequestID: stateOf(ctx).id}
		status := http.StatusInternalServerError
		if state := stateOf(ctx); !state.admitted && !state.body.drainable(ctx.Request().ContentLength, now) {
			header.Set("Connection", "close")
		}
		r, refused := errors.AsType[*httpError](err)
		fromEcho, isEchoError := errors.AsType[*echo.HTTPError](err)
		switch {
		case refused:
			status, body.Error, body.Description = r.status, r.code, r.description
			recordReason(ctx, r.reason, r.cause)
			if r.retryAfter > 0 {
				header.Set("Retry-After", strconv.Itoa(r.retryAfter))
			}
			// RFC 9110, section 11.6.1 allows a challenge on a 403, and RFC 6750, section 3 requires one. A
			// 503 must not have one, because clients respond to a challenge by signing in again.
			challenged := status == http.StatusUnauthorized || status == http.StatusForbidden ||
				status == http.StatusBadRequest && r.code != ""
			if challenged && !r.noChallenge {
				header[challengeHeader] = []string{challenge.header(r)}
			}
			if body.Error == "" {
				body.Error = errorCode(status)
			}
		case isEchoError && fromEcho.Code == http.StatusNotFound:
			status, body.Error = http.StatusNotFound, "not_found"
			body.Description = "Nothing is served at this path."
			if p != nil { // a standalone issuer has no MCP endpoint
				body.MCPURL = c.Resource.String()
			}
		case isEchoError && fromEcho.Code < http.StatusInternalServerError:
			status = fromEcho.Code
			body.Error = errorCode(status)
			body.Description = http.StatusText(status)
		default:
			recordReason(ctx, providers.ReasonInternalError, err)
			body.Error = "server_error"
			body.Description = "Internal error. Quote the request ID to the operator."
		}
		header[echo.HeaderCacheControl] = noStore
		switch {
		case ctx.Request().Method == http.MethodHead:
			err = ctx.NoContent(status)
		case fromBrowser(ctx.Request()):
			err = pages.problem(ctx, status, body)
		default:
			if body.MCPURL != "" {
				body.Description += " The MCP endpoint is " + body.MCPURL
			}
			var text []byte
			if text, err = json.Append(make([]byte, 0, 256), body, 0); err == nil {
				err = ctx.JSONBlob(status, text)
			}
		}
		if err != nil {
			recordReason(ctx, ReasonAnswerNotSent, err)
		}
	}
}

// errorCode derives the "error" member from the status, for errors without an OAuth error code.
func errorCode(status int) string {
	if status == http.StatusUnauthorized { // the most frequent error
		return "unauthorized"
	}
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
}

// recordReason sets the reason and cause of the request's log line and metric.
func recordReason(ctx echo.Context, reason providers.Reason, cause error) {
	state := stateOf(ctx)
	state.reason = reason
	if cause != nil {
		state.cause = cause
	}
}
