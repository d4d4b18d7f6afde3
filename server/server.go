// Package server is the house's front door: HTTP and nothing else. It knows who may come in (through a
// providers.Provider), what is public, and how a refusal is worded; what it protects is handed to it as a [Mount].
package server

import (
	"slices"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// New is the house in one function: a request runs through it from top to bottom.
func New(c Config, p providers.Provider, mcp Mount) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = errorHandler(c, p) // the one place where an error becomes a status
	e.IPExtractor = clientAddress(c)        // X-Forwarded-For is what a caller says, unless a trusted proxy does
	public := publicRoutes(c, p)            // everything that needs no token, by exact path
	e.Use(chain(
		withRequestState,                   // one id for every request, and one value for what is learnt about it
		closeWhenDraining(c), deadlines(c), // connections end in order, and nobody sends or reads for ever
		accessLog(c), handleErrors(c), recoverPanics, // one line for every request; a panic is a 500
		limitHeaderFields,          // what a header costs in memory is counted by its fields
		checkHost(c, public),       // no DNS rebinding
		cors(c, public),            // 1. CORS: a preflight carries no token, answer it first
		landingPage(c),             //    a person who opens the MCP URL in a browser reads what this is
		authenticate(c, p, public), // 2. auth: who is it? every route that is not named public is closed
		rejectRepeatedHeaders,      //    a proxy in front has read the same headers
		authorize(c, mcp),          //    and may they? the operation's scopes, all in one challenge
	))
	routes(e, public) // 3. routes: health, readiness, metadata, the issuer if embedded
	mount(e, c)       // 4. the MCP mount, last, at exactly one path
	return e
}

// NewIssuer is the chain for a local issuer that runs alone: the same first steps, and nothing that needs a token. In c,
// Resource is the issuer's own address.
func NewIssuer(c Config, issuer []providers.Route) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = errorHandler(c, nil)
	e.IPExtractor = clientAddress(c)
	public := append(routeTable{{path: healthPath, methods: readMethods(), handler: handleHealth(c), anyOrigin: true, anyHost: true}}, hostedRoutes(issuer)...)
	e.Use(chain(withRequestState, deadlines(c), accessLog(c), handleErrors(c), recoverPanics, limitHeaderFields, checkHost(c, public), cors(c, public)))
	routes(e, public)
	return e
}

// chain makes one step of many, put together once. Echo would put its middleware together anew for every request, around
// the handler that it found; here the last step asks for that handler.
func chain(steps ...echo.MiddlewareFunc) echo.MiddlewareFunc {
	handler := func(c echo.Context) error { return c.Handler()(c) }
	for _, step := range slices.Backward(steps) {
		handler = step(handler)
	}
	return func(echo.HandlerFunc) echo.HandlerFunc { return handler }
}
