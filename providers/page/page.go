// Package page renders HTML pages in one style. A page loads nothing, runs no script, and cannot be framed.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"time"
)

//go:embed layout.html style.css icon.svg
var files embed.FS

// Templates are parsed templates, each of one page.
type Templates struct {
	parsed *template.Template
	style  template.CSS
	icon   template.URL
	policy string // Content-Security-Policy, with %s for the sources of form-action
}

// Parse parses the templates in dir that match the patterns. The template of a page starts with
// {{template "head" .}} and ends with {{template "foot" .}}; its data is a [Page].
func Parse(dir fs.FS, patterns ...string) (*Templates, error) {
	parsed, err := template.ParseFS(files, "layout.html")
	if err == nil {
		parsed, err = parsed.ParseFS(dir, patterns...)
	}
	style, styleErr := files.ReadFile("style.css")
	icon, iconErr := files.ReadFile("icon.svg")
	for _, err := range []error{err, styleErr, iconErr} {
		if err != nil {
			return nil, fmt.Errorf("page templates: %w", err)
		}
	}
	t := &Templates{
		parsed: parsed,
		icon:   template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(icon)),
	}
	t.AddStyle(string(style))
	return t, nil
}

// AddStyle appends to the style sheet what only these templates need. It must not be called after Write.
func (t *Templates) AddStyle(css string) {
	t.style += template.CSS(css)
	hash := sha256.Sum256([]byte(t.style))
	t.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; " +
		"img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action %s;"
}

// Page is the content of one page.
type Page struct {
	// Title names the page, and Site who serves it.
	Title, Site string
	// RequestID is shown at the foot, so that a user can quote it; empty for none.
	RequestID string
	// FormAction is where forms may be sent, as sources of a Content-Security-Policy; empty for nowhere. It
	// includes the targets of redirects that follow.
	FormAction string
	// Refresh is after how long the browser loads the page again, in whole seconds; 0 means never.
	Refresh time.Duration
	// RefreshTo is the page that the browser loads after Refresh, which may be 0, instead of this one; empty for none.
	// The caller has checked its scheme.
	RefreshTo template.URL
	// Data is for the template of the page.
	Data any
}

// Style returns the style sheet, for the layout.
func (v view) Style() template.CSS { return v.templates.style }

// Icon returns the site's icon as a data URL, for the layout: browsers then do not request /favicon.ico.
func (v view) Icon() template.URL { return v.templates.icon }

// RefreshSeconds returns Refresh for the layout.
func (p Page) RefreshSeconds() int { return int(p.Refresh / time.Second) }

// view is the data of a template.
type view struct {
	Page
	templates *Templates
}

// Write writes a page. The error is that of a template; nothing is written then. Errors of the connection are
// ignored: the browser is gone.
func (t *Templates) Write(w http.ResponseWriter, status int, name string, p Page) error {
	var body bytes.Buffer
	if err := t.parsed.ExecuteTemplate(&body, name, view{p, t}); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	formAction := p.FormAction
	if formAction == "" {
		formAction = "'none'"
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", fmt.Sprintf(t.policy, formAction))
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer, browsers send "Origin: null" with a form. Where they send no Sec-Fetch-Site, the
	// request would look like that of another site. Other origins learn as little from this policy.
	header.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
	return nil
}
