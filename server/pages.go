package server

import (
	"embed"
	"net/http"

	"github.com/labstack/echo/v4"

	"gatehouse/providers/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages renders what this package shows to browsers.
type pages struct {
	templates *page.Templates
	err       error // of the templates, which are part of the program
}

func newPages() pages {
	templates, err := page.Parse(pageFiles, "pages/*.html")
	return pages{templates, err}
}

func (p pages) landing(ctx echo.Context, data landing) error {
	return p.write(ctx, http.StatusOK, "landing.html", page.Page{Title: data.Name, Data: data})
}

// problem shows an error to a user.
func (p pages) problem(ctx echo.Context, status int, body errorBody) error {
	title := http.StatusText(status)
	data := struct{ Title, Description, MCPURL string }{title, body.Description, body.MCPURL}
	return p.write(ctx, status, "error.html", page.Page{Title: title, RequestID: body.RequestID, Data: data})
}

func (p pages) write(ctx echo.Context, status int, name string, content page.Page) error {
	if p.err != nil {
		return p.err
	}
	return p.templates.Write(ctx.Response(), status, name, content)
}
