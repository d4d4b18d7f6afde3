package authserver

import (
	"embed"
	"fmt"
	"net/http"

	"gatehouse/providers/page"
)

//go:embed templates/*.html
var templates embed.FS

// pages renders the HTML pages.
type pages struct {
	templates *page.Templates
	issuer    string
}

func newPages(issuer string) (*pages, error) {
	parsed, err := page.Parse(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("local issuer: %w", err)
	}
	return &pages{parsed, issuer}, nil
}

// pageData is the data of every template.
type pageData struct {
	Issuer string
	View   any
}

// render writes a page, which must not be cached. redirectURI, which may be empty, is where the response to its
// form redirects to. The page shows the request ID that the server has set as a response header.
func (p *pages) render(w http.ResponseWriter, status int, name, title string, view any, redirectURI string) {
	content := page.Page{Title: title, Site: "demo issuer", Data: pageData{p.issuer, view}}
	if redirectURI != "" {
		content.FormAction = "'self' " + formActionSource(redirectURI)
	}
	if status >= http.StatusBadRequest {
		content.RequestID = w.Header().Get("X-Request-Id")
	}
	noStore(w.Header())
	if err := p.templates.Write(w, status, name, content); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// problem is the content of a page that explains why a sign-in does not continue.
type problem struct{ Title, Text string }

// problem shows why a request failed where the error cannot be sent to the client.
func (p *pages) problem(w http.ResponseWriter, status int, text string) {
	p.explain(w, status, problem{"Sign-in failed", text})
}

func (p *pages) explain(w http.ResponseWriter, status int, content problem) {
	p.render(w, status, "problem.html", content.Title, content, "")
}

// Index is a page for users who open the address of an issuer that runs alone.
func (i *Issuer) Index() http.Handler {
	view := struct {
		Resources []string
		Metadata  []string
		People    []user
	}{
		i.config.Resources,
		[]string{i.config.Issuer + oauthMetadataPath, i.config.Issuer + openidMetadataPath},
		users(),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		i.pages.render(w, http.StatusOK, "index.html", "Demo issuer", view, "")
	})
}
