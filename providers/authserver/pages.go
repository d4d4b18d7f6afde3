package authserver

import (
	"embed"
	"net/http"
	"time"

	"gatehouse/providers/page"
)

//go:embed templates/*.html
var templates embed.FS

// wording is what the pages call this server, and the templates that differ.
type wording struct {
	site          string // in titles
	name          string // before the issuer at the foot of a page
	index         string // the title of Index
	indexTemplate string
	consent       string // the template of the consent page
	loopback      string // the warning for a redirect to this computer
	style         string // what only these pages need
}

func demoWording() wording {
	return wording{
		site: "demo issuer", name: "Demo issuer",
		index: "Demo issuer", indexTemplate: "index.html",
		consent: "consent.html",
		loopback: "The redirect goes to this computer, and any program on it could receive the response. " +
			approveOnly,
	}
}

const approveOnly = "Approve only if you have just started the sign-in yourself."

func providerWording() wording {
	return wording{
		site: "sign-in", name: "Sign-in service",
		index: "Sign-in service", indexTemplate: "index_provider.html",
		consent: "consent_provider.html",
		loopback: "The redirect goes to a program on this computer, and any program on it could be the one that asks. " +
			"Neither the name nor the host below proves which one it is. " + approveOnly,
		style: "a.button{display:block;padding:.6rem .8rem;border-radius:.5rem;background:var(--accent);" +
			"color:var(--accent-ink);font-weight:600;text-align:center;text-decoration:none;overflow-wrap:anywhere}",
	}
}

// pages renders the HTML pages.
type pages struct {
	templates *page.Templates
	issuer    string
	wording   wording
}

func newPages(issuer string, w wording) (*pages, error) {
	parsed, err := page.Parse(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	if w.style != "" {
		parsed.AddStyle(w.style)
	}
	return &pages{parsed, issuer, w}, nil
}

// pageData is the data of every template.
type pageData struct {
	Issuer string
	Name   string // what the page calls this server
	View   any
}

// render writes a page, which must not be cached. redirectURI, which may be empty, is where the response to its
// form redirects to. The page shows the request ID that the server has set as a response header.
func (p *pages) render(w http.ResponseWriter, status int, name, title string, view any, redirectURI string) {
	content := page.Page{Title: title, Data: view}
	if redirectURI != "" {
		content.FormAction = "'self' " + formActionSource(redirectURI)
	}
	p.write(w, status, name, content)
}

// leave writes the page that continues elsewhere after the delay.
func (p *pages) leave(w http.ResponseWriter, status int, view continueView, delay time.Duration) {
	p.write(w, status, "continue.html", page.Page{Title: view.Title, Data: view, Refresh: delay,
		RefreshTo: view.Address})
}

func (p *pages) write(w http.ResponseWriter, status int, name string, content page.Page) {
	content.Site, content.Data = p.wording.site, pageData{p.issuer, p.wording.name, content.Data}
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

const (
	failedTitle   = "Sign-in failed"
	signedInTitle = "Signed in"
)

// problem shows why a request failed where the error cannot be sent to the client.
func (p *pages) problem(w http.ResponseWriter, status int, text string) {
	p.explain(w, status, problem{failedTitle, text})
}

func (p *pages) explain(w http.ResponseWriter, status int, content problem) {
	p.render(w, status, "problem.html", content.Title, content, "")
}

// Index is a page for users who open the address of an issuer that runs alone.
func (i *Issuer) Index() http.Handler {
	view := struct {
		Resources []string
		Metadata  []string
		People    []Person
	}{
		i.config.Resources,
		[]string{i.config.Issuer + oauthMetadataPath, i.config.Issuer + openidMetadataPath},
		i.signIn.Choices(),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		i.pages.render(w, http.StatusOK, i.wording.indexTemplate, i.wording.index, view, "")
	})
}
