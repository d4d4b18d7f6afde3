package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"gatehouse/providers"
)

// anyPortOrigins are the only patterns that allowed_origins may contain: development tools on the same
// machine choose their ports freely.
func anyPortOrigins() []string {
	return []string{"http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"}
}

// cors answers preflights and lets scripts read responses. Public documents are open to every origin; all
// other routes are open to the configured origins and the server's own. A request from any other origin is
// rejected (MCP 2026-07-28, transports, "security warning"): CORS alone would execute it and only hide the
// response.
func cors(c Config, public routeTable) echo.MiddlewareFunc {
	common := middleware.CORSConfig{
		AllowMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		// WWW-Authenticate is the most important: a browser client that cannot read the challenge cannot
		// start a sign-in.
		ExposeHeaders: []string{
			"WWW-Authenticate", sessionHeader, "MCP-Protocol-Version", "Retry-After",
			echo.HeaderXRequestID,
		},
		MaxAge: 600,
		// AllowHeaders is empty, so that Echo allows the headers that the preflight requests. A list cannot
		// name the Mcp-Param-* headers of unknown tools, and "*" never covers Authorization (Fetch,
		// section 3.2.5).
	}
	open, listed := common, common
	open.AllowOrigins = []string{"*"}
	allowed := originMatcher(append([]string{c.Resource.Origin()}, c.Settings.AllowedOrigins...))
	listed.AllowOriginFunc = func(origin string) (bool, error) { return allowed(origin), nil }
	openToAll, openToListed := middleware.CORSWithConfig(open), middleware.CORSWithConfig(listed)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		toAll, toListed := openToAll(next), openToListed(next)
		vary := []string{echo.HeaderOrigin}
		return func(ctx echo.Context) error {
			request := ctx.Request()
			_, fromPage := request.Header[echo.HeaderOrigin]
			if !fromPage && request.Method != http.MethodOptions {
				// The request is not from a web page, so there is nothing to allow. Echo's CORS does the same
				// for requests without Origin, but adds Vary to every response. A POST response is not cached
				// unless it asks for it (RFC 9110, section 9.3.3).
				if request.Method != http.MethodPost {
					ctx.Response().Header()[echo.HeaderVary] = vary
				}
				return next(ctx)
			}
			if public.anyOrigin(ctx.Path()) {
				return toAll(ctx)
			}
			// All values are checked, because rejectRepeatedHeaders runs later, after authentication.
			for _, origin := range request.Header.Values(echo.HeaderOrigin) {
				if !allowed(origin) {
					return errOriginNotAllowed(origin)
				}
			}
			return toListed(ctx)
		}
	}
}

// originMatcher compiles a list of origins. Exact origins are compared as strings, except that the scheme's
// default port may be omitted: "http://localhost.evil.example" must not match "http://localhost". A pattern
// for any port also matches the default port.
func originMatcher(origins []string) func(string) bool {
	var exact, prefixes []string
	for _, o := range origins {
		if prefix, isPattern := strings.CutSuffix(o, ":*"); isPattern {
			prefixes = append(prefixes, prefix)
		} else {
			exact = append(exact, withoutDefaultPort(o))
		}
	}
	return func(origin string) bool {
		origin = withoutDefaultPort(origin)
		return slices.Contains(exact, origin) || slices.ContainsFunc(prefixes, func(prefix string) bool {
			end, ok := strings.CutPrefix(origin, prefix)
			port, hasPort := strings.CutPrefix(end, ":")
			return ok && (end == "" || hasPort && isPort(port))
		})
	}
}

// withoutDefaultPort removes the default port of the origin's scheme. Browsers omit it (RFC 6454, section
// 6.1); other clients and configurations may not.
func withoutDefaultPort(origin string) string {
	scheme, rest, _ := strings.Cut(origin, "://")
	port := providers.DefaultPort(scheme)
	host, hasPort := strings.CutSuffix(rest, port)
	notHostPort := strings.Contains(host, ":") && !strings.HasSuffix(host, "]")
	if port == "" || !hasPort || notHostPort {
		return origin
	}
	return scheme + "://" + host
}

func isPort(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}
