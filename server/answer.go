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

// refusal is an error that knows its answer. Steps of the chain return one; only [answer] writes it.
type refusal struct {
	status int
	// code is the OAuth error code (RFC 6750, section 3.1); empty when the caller sent no credentials.
	code   string
	text   string
	reason providers.Reason
	// cause is for the log and never leaves the house.
	cause error
	// scopes are what the challenge names; nil means the scopes of first sign-in.
	scopes []string
	// caller is whose verified token lacks scopes. The challenge names scopes that its token holds, too.
	caller *providers.Identity
	// final says that no sign-in can help: there is no challenge.
	final bool
	// retryAfter is in seconds; 0 means that the header is not sent.
	retryAfter int
}

func (r *refusal) Error() string { return string(r.reason) }

func noCredentials() error {
	return &refusal{status: http.StatusUnauthorized, text: "Sign in to use this server.", reason: providers.NoCredentials}
}

func malformedCredentials(cause error) error {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", text: "The Authorization header is not one Bearer credential.",
		reason: providers.CredentialsMalformed, cause: cause}
}

// refusedToken words what a provider's Verify returned. Only an error that blames the token becomes a 401; whatever else
// went wrong, known or not, is ours to mend, and must not make clients throw good tokens away.
func refusedToken(err error) error {
	if errors.Is(err, providers.ErrInvalidToken) {
		return badToken(err)
	}
	reason := providers.ReasonOf(err)
	if reason == "" {
		reason = providers.KeysUnavailable
	}
	retryAfter := 5
	if r, ok := errors.AsType[*providers.Error](err); ok && r.RetryAfter > 0 {
		retryAfter = int(math.Ceil(r.RetryAfter.Seconds()))
	}
	return &refusal{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", text: "The identity provider cannot be asked right now. Try again soon.",
		reason: reason, cause: err, retryAfter: retryAfter}
}

const invalidToken = "invalid_token"

func badToken(cause error) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: invalidToken, text: "The access token is not valid for this server.",
		reason: providers.ReasonOf(cause), cause: cause}
}

const insufficientScopeCode = "insufficient_scope"

func insufficientScope(needed, missing []string, caller *providers.Identity) error {
	return &refusal{status: http.StatusForbidden, code: insufficientScopeCode, text: "This operation needs more scopes than the access token has.",
		reason: providers.InsufficientScope, cause: missingScopes(missing), scopes: needed, caller: caller}
}

// scopeUnobtainable has no challenge: clients would sign in again, to no avail.
func scopeUnobtainable(missing []string) error {
	return &refusal{status: http.StatusForbidden, code: insufficientScopeCode,
		text:   "This operation needs scopes that no sign-in can give. The operator of this server can grant them.",
		reason: providers.ScopeUnobtainable, cause: missingScopes(missing), final: true}
}

func missingScopes(missing []string) error {
	return errors.New("missing " + strings.Join(missing, " "))
}

func foreignOrigin(origin string) error {
	return &refusal{status: http.StatusForbidden, text: "Pages of this origin may not use this server.",
		reason: providers.OriginRefused, cause: errors.New("origin " + strconv.Quote(cut(origin)))}
}

func foreignHost(host string) error {
	return &refusal{status: http.StatusForbidden, text: "This server does not answer to that host name.",
		reason: providers.HostRefused, cause: errors.New("host " + strconv.Quote(cut(host)))}
}

// cut bounds what a caller can write into the log.
func cut(s string) string { return s[:min(len(s), 200)] }

// problem is the body of every error that this package answers.
type problem struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	// MCPURL helps whoever dialled a wrong path.
	MCPURL    string `json:"mcp_url,omitempty"`
	RequestID string `json:"request_id"`
}

// answer is the one place where an error becomes a status, a challenge and a body. What it says to the caller is fixed;
// the reason goes into the request's log line. p may be nil where nothing is protected.
func answer(c Config, p providers.Provider) echo.HTTPErrorHandler {
	challenge, challengeHeader, noStore := newChallenger(c, p), http.CanonicalHeaderKey(echo.HeaderWWWAuthenticate), []string{"no-store"}
	return func(err error, ctx echo.Context) {
		if ctx.Response().Committed {
			return
		}
		connection := *http.NewResponseController(ctx.Response().Writer)
		now := time.Now()
		_ = connection.SetWriteDeadline(now.Add(shortAnswer)) // not supported by a test's recorder
		header := ctx.Response().Header()
		body := problem{RequestID: visitOf(ctx).id}
		status := http.StatusInternalServerError
		if v := visitOf(ctx); v.identity == nil && !v.body.shortly(ctx.Request().ContentLength, now) {
			header.Set("Connection", "close")
		}
		r, refused := errors.AsType[*refusal](err)
		fromEcho, isEchos := errors.AsType[*echo.HTTPError](err)
		switch {
		case refused:
			status, body.Error, body.Description = r.status, r.code, r.text
			note(ctx, r.reason, r.cause)
			if r.retryAfter > 0 {
				header.Set("Retry-After", strconv.Itoa(r.retryAfter))
			}
			// RFC 9110, section 11.6.1 allows a challenge on a 403 too, and RFC 6750 wants one. A 503 must not have
			// one, because clients answer a challenge by signing in again.
			challenged := status == http.StatusUnauthorized || status == http.StatusForbidden ||
				status == http.StatusBadRequest && r.code != ""
			if challenged && !r.final {
				header[challengeHeader] = []string{challenge.header(r)}
			}
			if body.Error == "" {
				body.Error = nameOf(status)
			}
		case isEchos && fromEcho.Code == http.StatusNotFound:
			status, body.Error, body.Description = http.StatusNotFound, "not_found", "Nothing is served at this path."
			if p != nil { // an issuer alone has no MCP endpoint
				body.MCPURL = c.Resource.String()
				body.Description += " The MCP endpoint is " + c.Resource.String()
			}
		case isEchos && fromEcho.Code < http.StatusInternalServerError:
			status = fromEcho.Code
			body.Error = nameOf(status)
			body.Description = http.StatusText(status)
		default:
			note(ctx, providers.InternalError, err)
			body.Error, body.Description = "server_error", "Something went wrong here. The log has it under this request id."
		}
		header[echo.HeaderCacheControl] = noStore
		if ctx.Request().Method == http.MethodHead {
			err = ctx.NoContent(status)
		} else {
			var text []byte
			if text, err = json.Append(make([]byte, 0, 256), body, 0); err == nil {
				err = ctx.JSONBlob(status, text)
			}
		}
		if err != nil {
			note(ctx, providers.AnswerNotSent, err)
		}
	}
}

// nameOf is a status for programs, where no standard has another name for what went wrong.
func nameOf(status int) string {
	if status == http.StatusUnauthorized { // as nearly every refusal is
		return "unauthorized"
	}
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
}

// note adds why the request ended as it did to its log line, and to the statistics.
func note(ctx echo.Context, reason providers.Reason, cause error) {
	v := visitOf(ctx)
	v.reason = reason
	if cause != nil {
		v.cause = cause
	}
}
