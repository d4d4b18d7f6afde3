// Package server is the HTTP server: it authenticates and authorizes requests, serves the public routes, and
// writes error responses and the access log. A [providers.Provider] verifies tokens; the protected
// application is a [Mount].
package server

import (
	"slices"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// New assembles the server. A request passes through the chain from top to bottom.
func New(c Config, p providers.Provider, mcp Mount) *echo.Echo {
	c = c.withShared()
	e := echo.New()
	pages := newPages()                            // what browsers are shown
	e.HTTPErrorHandler = errorHandler(c, p, pages) // the only place where an error becomes a status
	e.IPExtractor = clientAddress(c)               // reads X-Forwarded-For from trusted proxies only
	public := publicRoutes(c, p)                   // every route that needs no token, by exact path
	e.Use(chain(
		withRequestState, // a request ID, and what the other steps learn about the request
		closeWhenDraining(c),
		deadlines(c),               // for reading the body and writing the response
		accessLog(c),               // one line for each request
		measure(c),                 // metrics and spans
		recordAudit(c),             // one record for each operation
		handleErrors(c),            // writes error responses
		recoverPanics,              // a panic is a 500
		limitHeaderFields,          // many short fields cost far more memory than their text
		checkHost(c, public),       // prevents DNS rebinding
		cors(c, public),            // 1. CORS: a preflight carries no token, so it is answered first
		landingPage(c, p, pages),   //    for browsers that open the MCP URL
		authenticate(c, p, public), // 2. auth: every route that is not public needs a valid token
		beginSpan(c),               //    only callers with a valid token continue a trace
		rejectRepeatedHeaders,      //    a proxy in front may have read another value
		authorize(c, mcp),          //    the scopes of the operation, in one challenge
	))
	routes(e, public) // 3. routes: health, readiness, metadata, the issuer if embedded
	mount(e, c)       // 4. the MCP mount, last, at exactly one path
	return e
}

// NewIssuer assembles the server of an authorization server that runs alone: the first steps of the same chain, and
// no route that needs a token. c.Resource has the issuer's own origin, and c.Routes are added to those of the provider,
// which may be nil.
func NewIssuer(c Config, p providers.Provider) *echo.Echo {
	c = c.withShared()
	e := echo.New()
	e.HTTPErrorHandler = errorHandler(c, nil, newPages())
	e.IPExtractor = clientAddress(c)
	public := routeTable{
		{path: healthPath, methods: readMethods(), handler: handleHealth(c), anyOrigin: true, anyHost: true},
		{path: readyPath, methods: readMethods(), handler: handleReady(c, p), anyHost: true},
	}
	public = append(public, hostedRoutes(c, c.Routes)...)
	if hosted, ok := p.(providers.RouteProvider); ok {
		public = append(public, hostedRoutes(c, hosted.Routes())...)
	}
	e.Use(chain(
		withRequestState, closeWhenDraining(c), deadlines(c), accessLog(c), measure(c), recordAudit(c), handleErrors(c),
		recoverPanics, limitHeaderFields, checkHost(c, public), cors(c, public),
	))
	routes(e, public)
	return e
}

// chain combines middleware into one, once. Echo would rebuild its chain around the matched handler for
// every request; here the last step looks the handler up.
func chain(steps ...echo.MiddlewareFunc) echo.MiddlewareFunc {
	handler := func(c echo.Context) error { return c.Handler()(c) }
	for _, step := range slices.Backward(steps) {
		handler = step(handler)
	}
	return func(echo.HandlerFunc) echo.HandlerFunc { return handler }
}
