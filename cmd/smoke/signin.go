package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// redirectURI is never requested: the redirect has the authorization response.
const redirectURI = "http://127.0.0.1:17433/callback"

// maxPages is how many pages a sign-in may have: with a company's provider there are three, consent, the way to the
// provider, and its own.
const maxPages = 5

var (
	refresh     = regexp.MustCompile(`<meta http-equiv="refresh" content="\d+; url=([^"]+)">`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// signIn opens address as a browser does, approves on each page as person, and returns the authorization response. With
// auto_approve the issuer redirects without a page.
func signIn(ctx context.Context, network http.RoundTripper, address, person string) (url.Values, error) {
	jar, _ := cookiejar.New(nil) // never fails without options
	var response url.Values
	browser := &http.Client{Transport: network, Jar: jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), redirectURI+"?") {
				response = r.URL.Query()
				return http.ErrUseLastResponse
			}
			return nil
		}}
	page, at, err := load(ctx, browser, http.MethodGet, address, nil)
	for n := 0; err == nil && response == nil; n++ {
		if n == maxPages {
			return nil, fmt.Errorf("the sign-in goes on after %d pages, at %s", maxPages, at.Path)
		}
		page, at, err = goOn(ctx, browser, page, at, person)
	}
	if err != nil {
		return nil, err
	}
	if response.Get("code") == "" {
		return nil, fmt.Errorf("%s returned no code: %q", at.Path, response.Get("error"))
	}
	return response, nil
}

// goOn leaves a page as a person does who approves, and returns the next one. person is who signs in, where the page
// asks for that.
func goOn(ctx context.Context, browser *http.Client, page string, at *url.URL, person string) (string, *url.URL,
	error) {
	if to := refresh.FindStringSubmatch(page); to != nil {
		target, err := at.Parse(html.UnescapeString(to[1]))
		if err != nil {
			return "", nil, errors.New("the page continues at an address that is none")
		}
		return load(ctx, browser, http.MethodGet, target.String(), nil)
	}
	action := formAction.FindStringSubmatch(page)
	if action == nil {
		return "", nil, fmt.Errorf("the sign-in ended at %s, which is not a page of the demo issuer", at.Path)
	}
	target, err := at.Parse(html.UnescapeString(action[1]))
	if err != nil {
		return "", nil, errors.New("the form of the sign-in page has no valid action")
	}
	form := url.Values{"person": {person}, "decision": {"approve"}}
	for _, field := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return load(ctx, browser, http.MethodPost, target.String(), form)
}

// load returns a page and its URL, after redirects.
func load(ctx context.Context, browser *http.Client, method, address string, form url.Values) (string,
	*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, errors.New("the address of the sign-in is not a URL")
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	var failure *url.Error
	if errors.As(err, &failure) {
		// failure.Err does not have the query, as failure does.
		return "", nil, fmt.Errorf("no response from %s during sign-in: %w", req.URL.Host, failure.Err)
	}
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(page), resp.Request.URL, err
}
