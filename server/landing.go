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

// landingPage answers a person who opens the MCP URL in a browser, or the origin alone: what this is, and how to connect. It says nothing that
// the public metadata does not. An MCP client never asks for HTML, so it never sees this.
func landingPage(c Config) echo.MiddlewareFunc {
	var page bytes.Buffer
	err := template.Must(template.New("landing").Parse(landingHTML)).Execute(&page, struct{ URL, MetadataURL string }{
		c.Resource.String(), c.Resource.MetadataURL(),
	})
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			isLanding := ctx.Path() == c.Resource.Path() || ctx.Request().URL.Path == "/" && !isRegistered(ctx)
			if !isLanding || !fromBrowser(ctx.Request()) {
				return next(ctx)
			}
			if err != nil {
				return err
			}
			header := ctx.Response().Header()
			header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			header.Set("X-Content-Type-Options", "nosniff")
			header.Add("Vary", "Accept, Authorization")
			return ctx.HTMLBlob(http.StatusOK, page.Bytes())
		}
	}
}

// fromBrowser reports whether r is a person's navigation: GET, HTML wanted, no token, and no event stream, which is what
// MCP clients GET.
func fromBrowser(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	accept := r.Header.Get(echo.HeaderAccept)
	return strings.Contains(accept, "text/html") && !strings.Contains(accept, "text/event-stream") &&
		r.Header.Get(echo.HeaderAuthorization) == ""
}
