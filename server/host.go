package server

import (
	"net"
	"strings"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// checkHost refuses requests whose Host header is not ours. A page that makes its own name resolve to this computer (DNS
// rebinding) is same-origin to the browser; only the Host header gives it away. Ours are the host of the resource and the
// names of this computer. What scripts of any page may read anyway is not guarded, so that keys can be fetched by an inner
// name, and neither are probes, which dial an address.
func checkHost(c Config, public routeTable) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			host := strings.ToLower(ctx.Request().Host)
			if c.Resource.IsHost(host) || isLoopbackHost(host) || public.anyOrigin(ctx.Path()) || public.anyHost(ctx.Path()) {
				return next(ctx)
			}
			return errHostNotAllowed(ctx.Request().Host)
		}
	}
}

// isLoopbackHost reports whether host, with or without a port, is one of this computer's names.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return providers.IsLoopback(host)
}
