package authserver

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed templates/*.html templates/style.css
var templates embed.FS

// pages renders the HTML pages.
type pages struct {
	templates *template.Template
	style     template.CSS
	styleHash string // for the Content-Security-Policy
	issuer    string
}

func newPages(issuer string) (*pages, error) {
	parsed, err := template.ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("local issuer: %w", err)
	}
	style, err := templates.ReadFile("templates/style.css")
	if err != nil {
		return nil, fmt.Errorf("local issuer: %w", err)
	}
	digest := sha256.Sum256(style)
	return &pages{
		templates: parsed,
		style:     template.CSS(style),
		styleHash: "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'",
		issuer:    issuer,
	}, nil
}

// page is the data of every template.
type page struct {
	Style  template.CSS
	Issuer string
	Data   any
}

// render writes a page that loads nothing, runs nothing, cannot be framed (RFC 6819, section 4.4.1.9) and may
// send its form to the issuer and, through the following redirect, to redirectURI.
func (p *pages) render(w http.ResponseWriter, status int, name string, data any, redirectURI string) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, page{p.style, p.issuer, data}); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	formAction := "'none'"
	if redirectURI != "" {
		formAction = "'self' " + formActionSource(redirectURI)
	}
	h := w.Header()
	noStore(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+p.styleHash+
		"; form-action "+formAction+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: browsers would send "Origin: null" with the form, and without Sec-Fetch-Site it would
	// look cross-site. Other origins get no referrer with this policy either.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // fails only if the browser closed the connection
}

// problem shows why a request failed where the error cannot be sent to the client.
func (p *pages) problem(w http.ResponseWriter, status int, text string) {
	p.render(w, status, "problem.html", text, "")
}
