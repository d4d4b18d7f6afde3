package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// requireToken lets a request pass if its route is public, or if it carries a token that the provider vouches for. A
// route that somebody adds and forgets to name public is closed. A path that nobody registered passes too: its 404 tells
// more than a sign-in that leads nowhere.
func requireToken(cfg Config, p providers.Provider, public routeTable) echo.MiddlewareFunc {
	throttle := newThrottle(cfg.Settings.FailedAuthPerMinute)
	explainer, explains := p.(tokenExplainer)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if !registered(c) || public.has(c.Path()) {
				return next(c)
			}
			token, err := bearerToken(c.Request().Header)
			if err != nil {
				return err
			}
			ctx := c.Request().Context()
			sender := neighbourhood(c.RealIP())
			visitOf(c).sender = sender
			switch all, bad := throttle.exceeded(sender, visitOf(c).began); {
			case bad:
				ctx = providers.WithoutIntrospection(ctx) // the issuer must not pay for whom we told to wait
			case all:
				ctx = providers.OverLimit(ctx)
			}
			id, err := p.Verify(ctx, token)
			if explains && cfg.Logger.Enabled(ctx, slog.LevelDebug) {
				explain(cfg.Logger, explainer, c, token)
			}
			if err != nil {
				// A caller that hangs up while a question is open has cost as much as a bad token, and so has
				// one whose unknown token made others wait.
				if errors.Is(err, providers.ErrInvalidToken) || errors.Is(err, providers.ErrTooManyUnknown) ||
					ctx.Err() != nil && !providers.CountsAsFailure(err) {
					// What was not asked because of the throttle stays throttled, whatever it has room for by now: nobody said that
					// this token is bad.
					if wait := throttle.failed(sender); wait > 0 || providers.ReasonOf(err) == providers.Throttled {
						throttle.linger(ctx)
						return tooManyFailures(wait, err)
					}
				} else if providers.CountsAsFailure(err) && throttle.undecided(sender) > 0 {
					// It stays what it is: the token may be a good one.
					throttle.linger(ctx)
				}
				return refusedToken(err)
			}
			visitOf(c).identity = cfg.Implies.expand(id)
			return next(c)
		}
	}
}

// tokenExplainer is implemented by a provider that can tell each rule's verdict on a token.
type tokenExplainer interface {
	ExplainForLog(ctx context.Context, token string) slog.LogValuer
}

// explain writes the steps of the decision into the log at level debug. Nothing is asked over the network for it.
func explain(logger *slog.Logger, explainer tokenExplainer, c echo.Context, token string) {
	ctx := c.Request().Context()
	logger.DebugContext(ctx, "token", "request_id", visitIn(ctx).id, "steps", explainer.ExplainForLog(ctx, token))
}

// registered reports whether the router knows the path, with whatever method.
func registered(c echo.Context) bool { return c.Path() != "" }

// bearerToken returns the one Bearer credential of a request (RFC 6750, section 2.1). Tokens anywhere else (query, form,
// cookie) do not count: OAuth 2.1, section 5.1 forbids them. Two credentials are refused, because a proxy may have
// looked at the other one.
func bearerToken(h http.Header) (string, error) {
	fields := h.Values(echo.HeaderAuthorization)
	switch {
	case len(fields) == 0:
		return "", noCredentials()
	case len(fields) > 1:
		return "", malformedCredentials(errors.New("more than one Authorization header"))
	}
	scheme, token, found := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		// Another scheme is no credential for this server (RFC 9110, section 11.6.2).
		return "", noCredentials()
	}
	token = strings.TrimLeft(token, " ")
	if !found || !isToken68(token) {
		return "", malformedCredentials(errors.New("no token of the form that RFC 6750 requires behind Bearer"))
	}
	return token, nil
}

// isToken68 reports whether s is a b64token (RFC 6750, section 2.1).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	var other byte
	for i := range len(body) { // to the end, because whether to go on would be asked at every byte of every good token
		other |= notToken68[body[i]]
	}
	return other == 0 && body != ""
}

// notToken68 is 1 for the bytes that no b64token has: a table, because every byte of every token is looked up in it.
var notToken68 = func() (not [256]byte) {
	for i := range not {
		not[i] = 1
	}
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/") {
		not[c] = 0
	}
	return not
}()

// requireScopes checks what the caller may do. It comes after the token, so that a body is never read for a stranger, and
// before anything acts on the request. The mount says what its operation needs; every other closed route needs the
// required scopes.
func requireScopes(cfg Config, mcp Mount) echo.MiddlewareFunc {
	// One client that tries again and again must not fill the log.
	unobtainable := rate.Sometimes{Interval: time.Minute}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			v := visitOf(c)
			if v.identity == nil {
				return next(c)
			}
			var ofOperation []string
			if c.Path() == cfg.Resource.Path() {
				r := c.Request()
				r.Body = http.MaxBytesReader(c.Response(), r.Body, int64(cfg.Settings.MaxBodyBytes))
				var done func()
				ofOperation, v.handler, done = mcp.Route(r)
				defer done()
			}
			missing := union(v.identity.Missing(cfg.RequiredScopes), v.identity.Missing(ofOperation))
			switch {
			case len(missing) == 0:
				return next(c)
			case v.identity.ScopesDefaulted:
				unobtainable.Do(func() {
					cfg.Logger.Warn("a call needs scopes that no sign-in can give",
						"reason", providers.ScopeUnobtainable, "missing", missing, "setting", "provider.default_scopes")
				})
				return scopeUnobtainable(missing)
			}
			return insufficientScope(union(cfg.RequiredScopes, ofOperation), missing, v.identity)
		}
	}
}

// union returns a and what b has besides. It does not change a, and is a if there is nothing to add.
func union(a, b []string) []string {
	out := slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
