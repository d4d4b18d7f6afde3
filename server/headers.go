package server

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// maxHeaderFields limits the header fields of a request. Browsers and proxies together send about forty. A
// field of two letters takes more than a hundred bytes in memory, for as long as the call or the session
// lasts.
const maxHeaderFields = 200

// sessionHeader names the session of a request (MCP 2025-11-25, Transports, Session Management).
const sessionHeader = "Mcp-Session-Id"

// limitHeaderFields rejects a request with too many header fields.
func limitHeaderFields(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		n := 0
		for _, values := range c.Request().Header {
			n += len(values)
		}
		if n > maxHeaderFields {
			return &httpError{status: http.StatusRequestHeaderFieldsTooLarge,
				description: "The request has too many header fields.", reason: ReasonHeaderTooLong}
		}
		return next(c)
	}
}

// rejectRepeatedHeaders rejects a request that has one of these header fields twice: net/http reads the
// first, and a proxy that routes, filters or logs by the field may read the last. It runs after
// authentication, so that a caller without a token learns nothing.
func rejectRepeatedHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	single := [...]string{
		echo.HeaderOrigin, sessionHeader, "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name",
	}
	return func(c echo.Context) error {
		if stateOf(c).identity == nil {
			return next(c)
		}
		header := c.Request().Header
		for _, name := range single {
			if len(header[name]) > 1 {
				return &httpError{status: http.StatusBadRequest,
					description: "A header field that may occur once occurs more than once.",
					reason:      ReasonHeaderRepeated,
					cause:       errors.New("more than one field of " + name)}
			}
		}
		return next(c)
	}
}
