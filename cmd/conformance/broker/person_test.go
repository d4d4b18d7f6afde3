package broker

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// redirectURI is never requested: signIn reads the redirect.
const redirectURI = "http://127.0.0.1:17433/callback"

// person is someone with an account at the provider, and a browser.
type person struct {
	account string
	seen    *secrets
	http    *http.Client
	pages   []string // the titles of the pages, in order
}

func (w *world) person(account string) *person {
	jar, _ := cookiejar.New(nil) // never fails without options
	return &person{account: account, seen: w.seen, http: &http.Client{Jar: jar,
		Transport:     &recorder{w.seen, &http.Transport{DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

var (
	titleTag = regexp.MustCompile(`<title>([^<]*)</title>`)
	refresh  = regexp.MustCompile(`http-equiv="refresh" content="\d+;\s*url=([^"]+)"`)
	formTag  = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
	hidden   = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
)

// maxSteps bounds the pages and redirects of a sign-in.
const maxSteps = 20

// signIn opens an authorization URL, approves, signs in at the provider, and returns the authorization response.
func (p *person) signIn(ctx context.Context, address string) (url.Values, error) {
	method, form := http.MethodGet, url.Values(nil)
	for range maxSteps {
		if u, err := url.Parse(address); err == nil && strings.HasPrefix(address, redirectURI+"?") {
			p.seen.addValues(u.Query(), "code", "state")
			return u.Query(), nil
		}
		resp, page, err := p.request(ctx, method, address, form)
		if err != nil {
			return nil, err
		}
		method, form = http.MethodGet, nil
		if target, err := resp.Location(); err == nil {
			address = target.String()
			continue
		}
		p.pages = append(p.pages, title(page))
		next, fields := "", url.Values(nil)
		if m := refresh.FindStringSubmatch(page); m != nil {
			next = html.UnescapeString(m[1])
		} else if m := formTag.FindStringSubmatch(page); m != nil && resp.StatusCode == http.StatusOK {
			method, next, fields = http.MethodPost, m[1], url.Values{"decision": {"approve"}, "account": {p.account}}
			for _, m := range hidden.FindAllStringSubmatch(page, -1) {
				fields.Set(m[1], html.UnescapeString(m[2]))
			}
		} else {
			return nil, fmt.Errorf("the sign-in ended at %s with %s: %s", resp.Request.URL.Path, resp.Status, title(page))
		}
		target, err := resp.Request.URL.Parse(next)
		if err != nil {
			return nil, err
		}
		address, form = target.String(), fields
	}
	return nil, fmt.Errorf("the sign-in does not end; the pages are %q", p.pages)
}

func title(page string) string {
	m := titleTag.FindStringSubmatch(page)
	if m == nil {
		return "a page without a title"
	}
	return html.UnescapeString(m[1])
}

// request sends the request of a navigation.
func (p *person) request(ctx context.Context, method, address string, form url.Values) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	p.seen.addPage(page)
	return resp, string(page), err
}

// recorder remembers the secrets in answers.
type recorder struct {
	seen *secrets
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err == nil {
		r.seen.addAnswer(resp)
	}
	return resp, err
}

func mustSignIn(t *testing.T, p *person, address string) url.Values {
	t.Helper()
	response, err := p.signIn(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return response
}
