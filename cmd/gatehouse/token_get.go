package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers"
)

func tokenGet(ctx context.Context, args []string, c console) int {
	flags := newFlags("token get", `Sign in at the running server of this configuration, as a native client would, and print an access token on standard output.
Everything else is printed on standard error, so that it can be piped: gatehouse token get | gatehouse token inspect

`+settingsHelp, c)
	s := signIn{console: c}
	flags.StringVar(&s.clientID, "client-id", "", "a client that the provider knows; without it, one is registered on the spot")
	flags.StringSliceVar(&s.scopes, "scope", nil, "scopes to ask for, instead of those that the server names")
	flags.IntVar(&s.port, "port", 0, "port on this computer at which the browser comes back; a registered client may need a certain one")
	flags.BoolVar(&s.noBrowser, "no-browser", false, "print the address instead of opening a browser")
	patience := flags.Duration("timeout", 5*time.Minute, "how long to wait for somebody to sign in")
	cfg, code, done := configured(flags, args, c)
	if done {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	token, err := s.run(ctx, cfg.Resource)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse token get: %v\n", err)
		return exitFailure
	}
	fmt.Fprintln(c.stdout, token)
	return exitOK
}

// signIn is one native client (RFC 8252), for one token.
type signIn struct {
	console   console
	clientID  string
	scopes    []string
	port      int
	noBrowser bool

	redirect string
	arrived  chan url.Values
	witness  *witness
	refused  error // why there is no authorization code, in our own words
}

func (s *signIn) run(ctx context.Context, resource providers.Resource) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port)))
	if err != nil {
		return "", fmt.Errorf("port %d on this computer cannot be had: %w", s.port, err)
	}
	s.redirect, s.arrived = "http://"+ln.Addr().String()+"/callback", make(chan url.Values, 1)
	callback := &http.Server{Handler: http.HandlerFunc(s.callback), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = callback.Serve(ln) }() // it ends with Shutdown below
	defer func() {
		// The browser must get its page before this program is gone.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = callback.Shutdown(last)
	}()

	s.witness = &witness{next: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	client := &http.Client{Transport: s.witness, Timeout: 20 * time.Second}
	config := &auth.AuthorizationCodeHandlerConfig{RedirectURL: s.redirect, AuthorizationCodeFetcher: s.fetch, Client: client}
	if s.clientID != "" {
		config.PreregisteredClient = &oauthex.ClientCredentials{ClientID: s.clientID}
	} else {
		config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			RedirectURIs: []string{s.redirect}, ClientName: "gatehouse token get", TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code"},
		}}
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, resource.String(), strings.NewReader(""))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer from %s; is `gatehouse serve` running with the same configuration?", resource)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		resp.Body.Close()
		return "", fmt.Errorf("%s answered %d without a token, where 401 says how to get one", resource, resp.StatusCode)
	}
	s.askFor(resp.Header)
	token, err := authorize(ctx, handler, req, resp)
	switch {
	case s.refused != nil:
		return "", s.refused
	case err != nil:
		return "", s.witness.tell(err)
	}
	return token.AccessToken, nil
}

func authorize(ctx context.Context, handler *auth.AuthorizationCodeHandler, req *http.Request, resp *http.Response) (*oauth2.Token, error) {
	if err := handler.Authorize(ctx, req, resp); err != nil {
		return nil, err
	}
	source, err := handler.TokenSource(ctx)
	if err != nil {
		return nil, err
	}
	return source.Token()
}

var challengedScope = regexp.MustCompile(`(, *)?scope="[^"]*"`)

// askFor puts the scopes of --scope in the place of those that the challenge names, where the client looks for them.
func (s *signIn) askFor(answer http.Header) {
	if len(s.scopes) == 0 {
		return
	}
	challenge := challengedScope.ReplaceAllString(answer.Get("WWW-Authenticate"), "")
	answer.Set("WWW-Authenticate", challenge+`, scope="`+strings.Join(s.scopes, " ")+`"`)
}

// fetch gets the authorization code: from an issuer on this computer that asks nobody, or from a person with a browser.
func (s *signIn) fetch(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	s.witness.forget() // what goes wrong from here on has nothing to do with earlier requests
	answer, ok := s.withoutAnybody(ctx, args.URL)
	if s.refused != nil {
		return nil, s.refused
	}
	if !ok {
		fmt.Fprintf(s.console.stderr, "Sign in at\n\n  %s\n\n", args.URL)
		if !s.noBrowser && openBrowser(ctx, args.URL) != nil {
			fmt.Fprintln(s.console.stderr, "(no browser could be opened)")
		}
		select {
		case answer = <-s.arrived:
		case <-ctx.Done():
			s.refused = errors.New("nobody signed in while it waited")
			return nil, s.refused
		}
	}
	if code := answer.Get("error"); code != "" {
		s.refused = errors.New("the provider refused: " + providers.Quote(code))
		return nil, s.refused
	}
	return &auth.AuthorizationResult{Code: answer.Get("code"), State: answer.Get("state"), Iss: answer.Get("iss")}, nil
}

// withoutAnybody follows the address as a browser without a person would, and looks whether it leads straight back. It does
// with the local issuer's auto_approve. Nobody need wait for a person where the request is no good (RFC 6749, section 4.1.2.1).
// Providers elsewhere are left to the person.
func (s *signIn) withoutAnybody(ctx context.Context, address string) (url.Values, bool) {
	u, err := url.Parse(address)
	if err != nil || !providers.IsLoopback(u.Hostname()) {
		return nil, false
	}
	var back url.Values
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), s.redirect+"?") {
			back = r.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, false
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusBadRequest {
		s.refused = fmt.Errorf("the provider at %s refuses to let anybody sign in with this request (status 400): does it know the client, with %s as its redirect address?", u.Host, s.redirect)
	}
	return back, back != nil
}

// callback is where the browser comes back.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.URL.Path != "/callback" || !query.Has("code") && !query.Has("error") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "Done. You can close this page.\n")
	select {
	case s.arrived <- query:
	default: // somebody reloaded the page
	}
}

func openBrowser(ctx context.Context, address string) error {
	switch runtime.GOOS {
	case "darwin":
		return exec.CommandContext(ctx, "open", address).Run()
	case "windows":
		return exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", address).Run()
	default:
		return exec.CommandContext(ctx, "xdg-open", address).Run()
	}
}
