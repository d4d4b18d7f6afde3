package authserver

import (
	"html/template"
	"net/http"
	"net/url"
	"time"
)

// destination is where a browser goes when it leaves this server.
type destination struct {
	address string
	// title says what has happened, and name where the browser goes, for the page.
	title, name string
	// isProvider is set where people sign in. A redirect would follow the form of the consent page, and Chromium blocks
	// that unless form-action lists every host on the way, which only the provider knows.
	isProvider bool
	// failed is shown before the browser continues, with a status; nil if nothing has failed.
	failed *failure
}

// failure is why a sign-in did not succeed, for the person.
type failure struct {
	status int
	text   string
}

// failureDelay is how long the page of a failure is shown before the application gets its error: a person has to be
// able to read a sentence.
const failureDelay = 10 * time.Second

func toProvider(address string) destination {
	d := destination{address: address, title: "Approved", isProvider: true}
	if u, err := url.Parse(address); err == nil {
		d.name = u.Host
	}
	return d
}

func toClient(a *authorization, title, target string) destination {
	return destination{address: target, title: title, name: redirectHost(a.redirectURI)}
}

// departure sends a browser to a destination. The status is that of a redirect.
type departure interface {
	depart(w http.ResponseWriter, r *http.Request, status int, to destination)
}

// byRedirect always redirects.
type byRedirect struct{}

func (byRedirect) depart(w http.ResponseWriter, _ *http.Request, status int, to destination) {
	redirect(w, status, to.address)
}

// byPage answers the navigation of a browser with a page that continues by itself. A redirect at the end of a sign-in
// belongs to the form that a person has sent to the provider, and the form-action of that page may block it after the
// code is spent. Programs are redirected.
type byPage struct{ pages *pages }

// continueView is the data of the page.
type continueView struct {
	Title, Text, Name string
	Address           template.URL
}

func (d byPage) depart(w http.ResponseWriter, r *http.Request, status int, to destination) {
	isNavigation := r.Header.Get("Sec-Fetch-Mode") == "navigate" // Fetch Metadata, section 2.2
	if !isNavigation && !to.isProvider {
		redirect(w, status, to.address)
		return
	}
	// Not filtered by scheme: it is the provider's or a redirect URI, whose scheme may be that of an app. See
	// isSystemScheme for those that a client cannot register.
	view := continueView{Title: to.title, Name: to.name, Address: template.URL(to.address)}
	code, delay := http.StatusOK, time.Duration(0)
	if to.failed != nil {
		view.Text, code, delay = to.failed.text, to.failed.status, failureDelay
	}
	d.pages.leave(w, code, view, delay)
}
