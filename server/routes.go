package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

const (
	healthPath = "/health"
	readyPath  = "/readyz"
)

// route is one exact path that needs no token.
type route struct {
	path    string
	methods []string // nil: the handler knows which methods it serves
	handler echo.HandlerFunc
	// anyOrigin: scripts of every page may read it.
	anyOrigin bool
	// probe: it answers to every Host header.
	probe bool
}

// routeTable is all that is public. It is made before the chain, because CORS and auth ask it.
type routeTable []route

// read are the methods of a document.
func read() []string { return []string{http.MethodGet, http.MethodHead} }

// publicRoutes names everything that needs no token.
func publicRoutes(c Config, p providers.Provider) routeTable {
	table := routeTable{
		{path: healthPath, methods: read(), handler: healthy(c), anyOrigin: true, probe: true},
		{path: readyPath, methods: read(), handler: ready(c, p), probe: true},
	}
	for _, path := range c.Resource.MetadataPaths() {
		table = append(table, route{path: path, methods: read(), handler: metadata(p.Metadata()), anyOrigin: true})
	}
	if hosted, ok := p.(providers.RouteProvider); ok {
		table = append(table, hostedRoutes(hosted.Routes())...)
	}
	return table
}

func hostedRoutes(routes []providers.Route) routeTable {
	var table routeTable
	for _, r := range routes {
		table = append(table, route{path: r.Path, handler: echo.WrapHandler(r.Handler), anyOrigin: r.AnyOrigin})
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
func (t routeTable) probe(path string) bool     { r, _ := t.find(path); return r.probe }

// healthy says whether restarting the process would help. It does not look at the provider: an orchestrator that
// restarted the server for the provider's outage would only make it worse.
func healthy(c Config) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		if c.IsStuck != nil && c.IsStuck() {
			return ctx.JSONBlob(http.StatusServiceUnavailable, []byte(`{"status":"stuck"}`))
		}
		return ctx.JSONBlob(http.StatusOK, []byte(`{"status":"healthy"}`))
	}
}

// ready says whether tokens can be verified. Before the first keys, and while the server drains, traffic should go
// elsewhere.
func ready(c Config, p providers.Provider) echo.HandlerFunc {
	reporter, hasKeys := p.(providers.KeyReporter)
	return func(ctx echo.Context) error {
		if ended(c.Draining) {
			return notReady(ctx, "stopping")
		}
		if hasKeys {
			if keys := reporter.Keys(); !keys.Usable {
				return notReady(ctx, string(cmp.Or(keys.Reason, providers.KeysUnavailable)))
			}
		}
		return ctx.JSONBlob(http.StatusOK, []byte(`{"status":"ready"}`))
	}
}

func notReady(ctx echo.Context, reason string) error {
	ctx.Response().Header().Set("Retry-After", "5")
	return ctx.JSON(http.StatusServiceUnavailable, map[string]string{"status": "not_ready", "reason": reason})
}

func ended(ctx context.Context) bool { return ctx != nil && ctx.Err() != nil }

// metadata serves the RFC 9728 document. It is public, the same for everyone, and cheap to ask for again, so caches may
// keep it for minutes but not for days: a changed authorization server must get around.
func metadata(m providers.Metadata) echo.HandlerFunc {
	document, err := json.Marshal(m)
	return func(c echo.Context) error {
		if err != nil {
			return err
		}
		c.Response().Header().Set("Cache-Control", "public, max-age=300")
		return c.JSONBlob(http.StatusOK, document)
	}
}
