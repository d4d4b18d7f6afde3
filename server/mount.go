package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/modelcontextprotocol/go-sdk/auth"
)

// retained is what the SDK's queue holds of a message until the next one of its session, which may be never. The visit must not hang on it.
type retained struct {
	info      auth.TokenInfo
	requestID [1]string
}

// mount registers the MCP endpoint at exactly the resource's path, for every method. The SDK's bearer middleware is the
// only way to put TokenInfo where the SDK looks for it; it gets a verifier that believes us, because everything was checked before, and
// with better answers than it would give.
func mount(e *echo.Echo, c Config) {
	placeholder := []string{"bearer checked"}
	trustVerified := func(ctx context.Context, _ string, r *http.Request) (*auth.TokenInfo, error) {
		v := stateFrom(ctx)
		k := retained{info: v.identity.TokenInfo(), requestID: [1]string{v.id}}
		r.Header[echo.HeaderXRequestID] = k.requestID[:]
		return &k.info, nil
	}
	// Expiry was checked with the provider's leeway; the SDK must not check it again with none.
	withTokenInfo := auth.RequireBearerToken(trustVerified, &auth.RequireBearerTokenOptions{ClockSkew: 24 * time.Hour})
	serve := withTokenInfo(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(echo.HeaderAuthorization)
		stateFrom(r.Context()).handler.ServeHTTP(w, r)
	}))
	e.Any(c.Resource.Path(), func(ctx echo.Context) error {
		if v := stateOf(ctx); v.identity == nil || v.handler == nil {
			return errNoCredentials() // the chain was built without its auth step: stay closed
		}
		// The SDK shows tools the headers of a request. What a tool does not see it cannot pass on (MCP 2026-07-28, security best
		// practices, "token passthrough"). Only the middleware wants to see some credential.
		ctx.Request().Header[echo.HeaderAuthorization] = placeholder
		serve.ServeHTTP(ctx.Response(), ctx.Request())
		return nil
	})
}
