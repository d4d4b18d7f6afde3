package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

const (
	healthPath = "/health"
	readyPath  = "/readyz"
)

// route is an exact path that needs no token.
type route struct {
	path    string
	methods []string // nil: the handler checks the method
	handler echo.HandlerFunc
	// anyOrigin lets scripts of every origin read the response.
	anyOrigin bool
	// anyHost exempts the route from checkHost.
	anyHost bool
}

// routeTable holds every public route. It is built before the chain, because CORS and authentication use it.
type routeTable []route

// readMethods are the methods of a document.
func readMethods() []string { return []string{http.MethodGet, http.MethodHead} }

// publicRoutes returns every route that needs no token.
func publicRoutes(c Config, p providers.Provider) routeTable {
	table := routeTable{
		{path: healthPath, methods: readMethods(), handler: handleHealth(c), anyOrigin: true, anyHost: true},
		{path: readyPath, methods: readMethods(), handler: handleReady(c, p), anyHost: true},
	}
	for _, path := range c.Resource.MetadataPaths() {
		table = append(table, route{
			path: path, methods: readMethods(), handler: handleMetadata(p.Metadata()), anyOrigin: true,
		})
	}
	if hosted, ok := p.(providers.RouteProvider); ok {
		table = append(table, hostedRoutes(c, hosted.Routes())...)
	}
	return append(table, hostedRoutes(c, c.Routes)...)
}

// hostedRoutes are the routes of a provider. What fails to authenticate there counts as a bad token of the same address
// does.
func hostedRoutes(c Config, routes []providers.Route) routeTable {
	throttle := c.Shared.throttle
	var table routeTable
	for _, r := range routes {
		wrapped := echo.WrapHandler(r.Handler)
		handler := func(ctx echo.Context) error {
			state, key := stateOf(ctx), rateLimitKey(ctx.RealIP())
			state.rateLimitKey = key
			state.recordFailure = func() time.Duration {
				wait := throttle.recordFailure(key)
				if wait > 0 {
					throttle.tarpit(state)
				}
				return wait
			}
			return wrapped(ctx)
		}
		table = append(table, route{path: r.Path, handler: handler, anyOrigin: r.AnyOrigin})
	}
	return table
}

func routes(e *echo.Echo, table routeTable) {
	for _, r := range table {
		if r.methods == nil {
			e.Any(r.path, r.handler)
		} else {
			e.Match(r.methods, r.path, r.handler)
		}
	}
}

func (t routeTable) find(path string) (route, bool) {
	for _, r := range t {
		if r.path == path {
			return r, true
		}
	}
	return route{}, false
}

func isProbe(c echo.Context) bool { return c.Path() == healthPath || c.Path() == readyPath }

func (t routeTable) has(path string) bool       { _, ok := t.find(path); return ok }
func (t routeTable) anyOrigin(path string) bool { r, _ := t.find(path); return r.anyOrigin }
func (t routeTable) anyHost(path string) bool   { r, _ := t.find(path); return r.anyHost }

// handleHealth reports whether restarting the process would help. It does not check the provider: restarting
// the server during a provider outage would make the outage worse.
func handleHealth(c Config) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		if c.IsStuck != nil && c.IsStuck() {
			return ctx.JSONBlob(http.StatusServiceUnavailable, []byte(`{"status":"stuck"}`))
		}
		return ctx.JSONBlob(http.StatusOK, []byte(`{"status":"healthy"}`))
	}
}

// handleReady reports whether calls can be served. Before the first keys are fetched, while a required audit log
// cannot be written, and while the server drains, it reports 503, so that traffic goes to other replicas.
func handleReady(c Config, p providers.Provider) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		if reason := NotReady(c, p); reason != "" {
			return notReady(ctx, string(reason))
		}
		return ctx.JSONBlob(http.StatusOK, []byte(`{"status":"ready"}`))
	}
}

// reasonStopping is why a server that drains is not ready.
const reasonStopping = "stopping"

// NotReady returns why a server with c and p is not ready, or "" if it is.
func NotReady(c Config, p providers.Provider) providers.Reason {
	if isDone(c.Draining) {
		return reasonStopping
	}
	if isAuditUnavailable(c) {
		return audit.ReasonUnavailable
	}
	if reporter, hasKeys := p.(providers.KeyReporter); hasKeys {
		if keys := reporter.Keys(); !keys.Usable {
			return cmp.Or(keys.Reason, providers.ReasonKeysUnavailable)
		}
	}
	return ""
}

func notReady(ctx echo.Context, reason string) error {
	ctx.Response().Header().Set("Retry-After", "5")
	return ctx.JSON(http.StatusServiceUnavailable, map[string]string{"status": "not_ready", "reason": reason})
}

func isDone(ctx context.Context) bool { return ctx != nil && ctx.Err() != nil }

// handleMetadata serves the RFC 9728 document. It is public and the same for every caller. Caches may keep
// it for minutes, not days: a changed authorization server must reach clients.
func handleMetadata(m providers.Metadata) echo.HandlerFunc {
	document, err := json.Marshal(m)
	return func(c echo.Context) error {
		if err != nil {
			return err
		}
		c.Response().Header().Set("Cache-Control", "public, max-age=300")
		return c.JSONBlob(http.StatusOK, document)
	}
}
