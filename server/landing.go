package server

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed landing.html
var landingHTML string

// landingPage responds to a browser that opens the MCP URL or the origin: what this server is, and how to
// connect. The page contains only what the public metadata contains. MCP clients never ask for HTML.
func landingPage(c Config) echo.MiddlewareFunc {
	var page bytes.Buffer
	parsed := template.Must(template.New("landing").Parse(landingHTML))
	err := parsed.Execute(&page, struct{ URL, MetadataURL string }{
		c.Resource.String(), c.Resource.MetadataURL(),
	})
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			isLanding := ctx.Path() == c.Resource.Path() ||
				ctx.Request().URL.Path == "/" && !isRegistered(ctx)
			if !isLanding || !fromBrowser(ctx.Request()) {
				return next(ctx)
			}
			if err != nil {
				return err
			}
			header := ctx.Response().Header()
			header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; "+
				"frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Add("Vary", "Accept, Authorization")
			return ctx.HTMLBlob(http.StatusOK, page.Bytes())
		}
	}
}

// fromBrowser reports whether r is a browser's navigation: a GET that accepts HTML, without a token, and not
// for an event stream, which is what MCP clients GET.
func fromBrowser(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	accept := r.Header.Get(echo.HeaderAccept)
	return strings.Contains(accept, "text/html") && !strings.Contains(accept, "text/event-stream") &&
		r.Header.Get(echo.HeaderAuthorization) == ""
}
