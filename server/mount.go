package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/modelcontextprotocol/go-sdk/auth"
)

// retained is what the SDK references until the session's next message, possibly forever; it must not point
// to requestState.
type retained struct {
	info      auth.TokenInfo
	requestID [1]string
}

// mount registers the MCP endpoint at exactly the resource's path, for every method. The SDK's bearer
// middleware is the only way to pass TokenInfo to the SDK. The token is already verified; the middleware's
// verifier only passes the result on.
func mount(e *echo.Echo, c Config) {
	placeholder := []string{"bearer checked"}
	trustVerified := func(ctx context.Context, _ string, r *http.Request) (*auth.TokenInfo, error) {
		state := stateFrom(ctx)
		k := retained{info: state.identity.TokenInfo(), requestID: [1]string{state.id}}
		r.Header[echo.HeaderXRequestID] = k.requestID[:]
		return &k.info, nil
	}
	// Expiry was checked with the provider's leeway; the SDK must not check it again with none.
	options := &auth.RequireBearerTokenOptions{ClockSkew: 24 * time.Hour}
	withTokenInfo := auth.RequireBearerToken(trustVerified, options)
	serve := withTokenInfo(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(echo.HeaderAuthorization)
		stateFrom(r.Context()).handler.ServeHTTP(w, r)
	}))
	e.Any(c.Resource.Path(), func(ctx echo.Context) error {
		if state := stateOf(ctx); state.identity == nil || state.handler == nil {
			return errNoCredentials() // the chain lacks authenticate: stay closed
		}
		// The SDK exposes request headers to tools, so the token is removed: what a tool does not see it
		// cannot pass on (MCP 2026-07-28, security best practices, "token passthrough"). The placeholder is
		// for the SDK's middleware only.
		ctx.Request().Header[echo.HeaderAuthorization] = placeholder
		serve.ServeHTTP(ctx.Response(), ctx.Request())
		return nil
	})
}
