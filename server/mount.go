package server

import "github.com/labstack/echo/v4"

// mount registers the MCP endpoint at exactly the resource's path, for every method. The application sees the request
// headers without the token, because what a tool does not see it cannot pass on (MCP 2026-07-28, Security Best
// Practices, Token Passthrough); the identity is in the context.
func mount(e *echo.Echo, c Config) {
	e.Any(c.Resource.Path(), func(ctx echo.Context) error {
		state, r := stateOf(ctx), ctx.Request()
		if state.identity == nil || state.handler == nil {
			return errNoCredentials() // without authenticate in the chain nothing is served
		}
		r.Header.Del(echo.HeaderAuthorization)
		r.Header.Set(echo.HeaderXRequestID, state.id)
		state.handler.ServeHTTP(ctx.Response(), state.measured.handlerRequest(r))
		return nil
	})
}
