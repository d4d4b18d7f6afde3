package server

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// maxHeaderFields bounds the header fields of a request. Browsers and proxies together send some forty. A field of
// two letters costs more than a hundred bytes once it is read, and what is read stays in memory as long as
// the call, or the session.
const maxHeaderFields = 200

// limitHeaderFields refuses a request with too many header fields.
func limitHeaderFields(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		n := 0
		for _, values := range c.Request().Header {
			n += len(values)
		}
		if n > maxHeaderFields {
			return &httpError{status: http.StatusRequestHeaderFieldsTooLarge, description: "The request has too many header fields.", reason: providers.HeaderTooLong}
		}
		return next(c)
	}
}

// rejectRepeatedHeaders refuses a request that has one of these header fields twice: net/http reads the first, and a
// proxy that routes, filters or logs by it may read the last. It comes after the token, so that a caller
// without one learns nothing.
func rejectRepeatedHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	single := [...]string{echo.HeaderOrigin, "Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"}
	return func(c echo.Context) error {
		if stateOf(c).identity == nil {
			return next(c)
		}
		header := c.Request().Header
		for _, name := range single {
			if len(header[name]) > 1 {
				return &httpError{status: http.StatusBadRequest, description: "A header field that may occur once occurs more than once.",
					reason: providers.HeaderRepeated, cause: errors.New("more than one field of " + name)}
			}
		}
		return next(c)
	}
}
