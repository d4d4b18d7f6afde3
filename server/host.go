package server

import (
	"net"
	"strings"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// checkHost rejects requests whose Host header is not one of the server's names. A page that makes its own
// name resolve to this machine (DNS rebinding) is same-origin to the browser; only the Host header reveals
// the attack. Allowed are the host of the resource and the loopback names. Documents that scripts of any
// origin may read are exempt, so that keys can be fetched under an internal name, and so are probes, which
// connect to an IP address.
func checkHost(c Config, public routeTable) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			host := strings.ToLower(ctx.Request().Host)
			exempt := public.anyOrigin(ctx.Path()) || public.anyHost(ctx.Path())
			if exempt || c.Resource.IsHost(host) || isLoopbackHost(host) {
				return next(ctx)
			}
			return errHostNotAllowed(ctx.Request().Host)
		}
	}
}

// isLoopbackHost reports whether host, with or without a port, is a loopback name or address.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return providers.IsLoopback(host)
}
