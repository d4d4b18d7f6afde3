package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// authenticate passes on a request whose route is public or whose token is valid. Every route that is not in
// the table of public routes needs a token. A path without a route passes too, so that the response is a 404:
// a challenge would start a sign-in for a path that does not exist.
func authenticate(cfg Config, p providers.Provider, public routeTable) echo.MiddlewareFunc {
	throttle := cfg.Shared.throttle
	explainer, explains := p.(tokenExplainer)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if !isRegistered(c) || public.has(c.Path()) {
				return next(c)
			}
			token, err := bearerToken(c.Request().Header)
			if err != nil {
				return err
			}
			ctx := c.Request().Context()
			key := rateLimitKey(c.RealIP())
			stateOf(c).rateLimitKey = key
			switch all, bad := throttle.exceeded(key, stateOf(c).started); {
			case bad:
				ctx = providers.WithoutIntrospection(ctx) // a throttled address must not cause introspection
			case all:
				ctx = providers.OverLimit(ctx)
			}
			id, err := p.Verify(ctx, token)
			if explains && cfg.Logger.Enabled(ctx, slog.LevelDebug) {
				logExplanation(cfg.Logger, explainer, c, token)
			}
			if err != nil {
				// A request that is canceled during an introspection costs the issuer as much as a bad token,
				// and so does an unknown token that finds the queue full.
				if errors.Is(err, providers.ErrInvalidToken) || errors.Is(err, providers.ErrTooManyUnknown) ||
					ctx.Err() != nil && !providers.CountsAsFailure(err) {
					// A token that was not introspected because of the throttle stays throttled even if the
					// limit has recovered in the meantime: it was not found invalid, so the response must not
					// be a 401.
					wait := throttle.recordFailure(key)
					if wait > 0 || providers.ReasonOf(err) == providers.ReasonThrottled {
						throttle.tarpit(ctx)
						return errTooManyFailures(wait, err)
					}
				} else if providers.CountsAsFailure(err) && throttle.recordUndecided(key) > 0 {
					// The response stays a 503: the token may be valid.
					throttle.tarpit(ctx)
				}
				return errVerify(err)
			}
			id = cfg.Implies.expand(id)
			stateOf(c).identity = id
			if err := checkDenials(cfg, id); err != nil {
				return err
			}
			c.SetRequest(c.Request().WithContext(providers.WithIdentity(c.Request().Context(), id)))
			stateOf(c).admitted = true
			stateOf(c).body.proceed()
			return next(c)
		}
	}
}

// tokenExplainer is implemented by a provider that can tell each rule's verdict on a token.
type tokenExplainer interface {
	ExplainForLog(ctx context.Context, token string) slog.LogValuer
}

// logExplanation logs the steps of the verification at level debug. It makes no network request.
func logExplanation(logger *slog.Logger, explainer tokenExplainer, c echo.Context, token string) {
	ctx := c.Request().Context()
	steps := explainer.ExplainForLog(ctx, token)
	logger.DebugContext(ctx, "token", "request_id", stateFrom(ctx).id, "steps", steps)
}

// isRegistered reports whether the router has a route for the path, with any method.
func isRegistered(c echo.Context) bool { return c.Path() != "" }

// bearerToken returns the single Bearer credential of a request (RFC 6750, section 2.1). Tokens in the
// query, a form or a cookie are ignored: OAuth 2.1, section 5.1 forbids them. Two credentials are an error,
// because a proxy may have checked the other one.
func bearerToken(h http.Header) (string, error) {
	fields := h.Values(echo.HeaderAuthorization)
	switch {
	case len(fields) == 0:
		return "", errNoCredentials()
	case len(fields) > 1:
		return "", errMalformedCredentials(errors.New("more than one Authorization header"))
	}
	scheme, token, found := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		// A credential of another scheme counts as none (RFC 9110, section 11.6.2).
		return "", errNoCredentials()
	}
	token = strings.TrimLeft(token, " ")
	if !found || !isToken68(token) {
		return "", errMalformedCredentials(errors.New("no token (RFC 6750, section 2.1) after Bearer"))
	}
	return token, nil
}

// isToken68 reports whether s is a b64token (RFC 6750, section 2.1).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	var other byte
	for i := range len(body) { // no early exit: valid tokens would pay for the branch at every byte
		other |= nonToken68[body[i]]
	}
	return other == 0 && body != ""
}

// nonToken68 is 1 for bytes that cannot be part of a b64token. It is a table, because it is read for every
// byte of every token.
var nonToken68 = func() (not [256]byte) {
	for i := range not {
		not[i] = 1
	}
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/") {
		not[c] = 0
	}
	return not
}()

// authorize checks that the token has the scopes that the operation needs. It runs after authenticate, so
// that no body is read without a valid token. The mount names the scopes of its operations; every other
// protected route needs the required scopes only.
func authorize(cfg Config, mcp Mount) echo.MiddlewareFunc {
	// Rate-limited: a client that retries must not fill the log.
	unobtainableWarning := rate.Sometimes{Interval: time.Minute}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			state := stateOf(c)
			if state.identity == nil {
				return next(c)
			}
			var operationScopes []string
			if c.Path() == cfg.Resource.Path() {
				r := c.Request()
				r.Body = http.MaxBytesReader(c.Response(), r.Body, int64(cfg.Settings.MaxBodyBytes))
				var done func()
				operationScopes, state.handler, done = mcp.Route(r)
				defer done()
				// The body arrived only now: a client could send it long after it was denied.
				if err := checkDenials(cfg, state.identity); err != nil {
					return err
				}
			}
			missing := state.identity.Missing(cfg.RequiredScopes)
			missing = providers.MergeScopes(missing, state.identity.Missing(operationScopes))
			switch {
			case len(missing) == 0:
				return next(c)
			case state.identity.ScopesDefaulted:
				unobtainableWarning.Do(func() {
					cfg.Logger.Warn("a call needs scopes that signing in again cannot grant",
						"reason", ReasonScopeUnobtainable,
						"missing", missing, "setting", "provider.default_scopes")
				})
				return errScopeUnobtainable(missing)
			}
			return errInsufficientScope(providers.MergeScopes(cfg.RequiredScopes, operationScopes), missing, state.identity)
		}
	}
}
