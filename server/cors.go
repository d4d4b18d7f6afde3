package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"gatehouse/providers"
)

// anyPortOrigins are the only patterns among origins. Development tools on this computer choose their ports freely.
func anyPortOrigins() []string {
	return []string{"http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"}
}

// cors answers preflights and lets scripts read answers. Public documents are open to every origin; the rest is for the
// configured origins and the server's own, and a request from any other page is refused (MCP 2026-07-28, transports,
// "security warning"): CORS alone would let it happen and only hide the answer.
func cors(c Config, public routeTable) echo.MiddlewareFunc {
	common := middleware.CORSConfig{
		AllowMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		// First of all the challenge: a browser client that cannot read it cannot find the sign-in.
		ExposeHeaders: []string{"WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version", "Retry-After", echo.HeaderXRequestID},
		MaxAge:        600,
		// AllowHeaders stays empty: the library then allows what the preflight asks for. A list could not name the
		// Mcp-Param-* headers of tools that are not known here, and "*" never covers Authorization (Fetch, section 3.2.5).
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
			if _, fromPage := request.Header[echo.HeaderOrigin]; !fromPage && request.Method != http.MethodOptions {
				// No page, nothing to allow: what the library does for every call of a client that is no browser, except that it says of
				// every answer what it varies by. No cache keeps one to a POST that does not ask for it (RFC 9110, section 9.3.3).
				if request.Method != http.MethodPost {
					ctx.Response().Header()[echo.HeaderVary] = vary
				}
				return next(ctx)
			}
			if public.anyOrigin(ctx.Path()) {
				return toAll(ctx)
			}
			// All of them, where there are several: singleFields refuses those only after the token.
			for _, origin := range request.Header.Values(echo.HeaderOrigin) {
				if !allowed(origin) {
					return errOriginNotAllowed(origin)
				}
			}
			return toListed(ctx)
		}
	}
}

// originRule compiles a list of origins. Exact strings are compared as such, but for the default port of the
// scheme, which may be there or not: "http://localhost.evil.example" must not match "http://localhost". A
// pattern for any port matches the default port, too.
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
			port, isPortToo := strings.CutPrefix(end, ":")
			return ok && (end == "" || isPortToo && isPort(port))
		})
	}
}

// withoutDefaultPort is an origin without the default port of its scheme. Browsers leave it out (RFC 6454,
// section 6.1); other clients and configurations may not.
func withoutDefaultPort(origin string) string {
	scheme, rest, _ := strings.Cut(origin, "://")
	port := providers.DefaultPort(scheme)
	host, spelledOut := strings.CutSuffix(rest, port)
	if port == "" || !spelledOut || strings.Contains(host, ":") && !strings.HasSuffix(host, "]") { // not host:port
		return origin
	}
	return scheme + "://" + host
}

func isPort(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}
