package localissuer

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// person is somebody who can sign in.
type person struct {
	Subject string
	Name    string
}

// people returns everybody, the default first.
func people() []person {
	return []person{{"alice", "Alice"}, {"bob", "Bob"}}
}

func findPerson(subject string) (person, bool) {
	all := people()
	if at := slices.IndexFunc(all, func(p person) bool { return p.Subject == subject }); at >= 0 {
		return all[at], true
	}
	return all[0], false
}

// authorizationParameters are the parameters that the issuer reads; the library does not get to see others. A
// malformed max_age, say, would make it answer with JSON where a person is looking.
func authorizationParameters() []string {
	return []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt", "login_hint",
		"code_challenge", "code_challenge_method", "resource", "request", "request_uri",
	}
}

// checked is what checkRedirect found out, for the library's callbacks further down.
type checked struct {
	client      *client
	redirectURI string
	repeated    bool // some parameter is there twice
}

type checkedKey struct{}

// checkRedirect lets an authorization request through whose answer may go to its redirect URI. All others end on a page:
// sending the browser to a URI that no known client has registered would make the issuer an open redirector (RFC 6749,
// section 4.1.2.1). What is wrong beyond that is the library's and Authorize's to find, and goes to the client.
func (i *Issuer) checkRedirect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noStore(w.Header())
		w.Header().Set("Referrer-Policy", "no-referrer") // state and challenge are in this page's URL
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || len(r.URL.RawQuery) > maxQuery {
			i.pages.problem(w, http.StatusBadRequest, "The address is not a valid authorization request.")
			return
		}
		if len(query["client_id"]) != 1 || len(query["redirect_uri"]) != 1 {
			i.pages.problem(w, http.StatusBadRequest, "The application must send exactly one client_id and one redirect_uri.")
			return
		}
		c, err := i.findClient(query.Get("client_id"))
		if err != nil {
			i.config.Logger.InfoContext(r.Context(), "authorization request of an unknown client", slog.Any("reason", err))
			i.pages.problem(w, http.StatusBadRequest, unknownClientText(err))
			return
		}
		redirectURI := query.Get("redirect_uri")
		if !mayRedirectTo(redirectURI, c.redirectURIs) {
			i.pages.problem(w, http.StatusBadRequest,
				"The application asks to be answered at an address that it has not registered. "+
					"Its redirect_uri must equal a registered one; only the port of a loopback address may differ.")
			return
		}

		r = r.WithContext(context.WithValue(r.Context(), checkedKey{}, checked{c, redirectURI, hasRepeated(query)}))
		r.Form, r.PostForm = make(url.Values), make(url.Values)
		for _, name := range authorizationParameters() {
			if values, ok := query[name]; ok {
				r.Form[name] = values
			}
		}
		next.ServeHTTP(w, r)
	})
}

func unknownClientText(err error) string {
	if broken := new(documentError); errors.As(err, broken) {
		return "The application's client ID metadata document is not usable: " + broken.reason + "."
	}
	return "The application is not known here. Clients that register themselves are forgotten when the issuer restarts; " +
		"remove the application's stored registration and let it register again."
}

// VerifyAuthRequest implements [op.Server]. It gives the library a request that it has nothing to refuse in, where its
// refusal would be of another kind than ours: [server.Authorize] looks at the original parameters.
func (s *server) VerifyAuthRequest(ctx context.Context, r *op.Request[oidc.AuthRequest]) (*op.ClientRequest[oidc.AuthRequest], error) {
	c, ok := ctx.Value(checkedKey{}).(checked)
	if !ok {
		return nil, errors.New("the authorization request was not checked")
	}
	r.Data.ResponseType = oidc.ResponseTypeCode // other types would get their error in the fragment,
	r.Data.ResponseMode = ""                    // other modes too,
	r.Data.Scopes = []string{oidc.ScopeOpenID}  // and a request without scope would be refused
	return &op.ClientRequest[oidc.AuthRequest]{Request: r, Client: opClient{c.client, c.redirectURI}}, nil
}

// Authorize implements [op.Server]: it checks what the client asks for and sends the browser to the consent page, or
// back with a code if nobody has to be asked. Errors go to the client's redirect URI, with state and iss.
func (s *server) Authorize(ctx context.Context, r *op.ClientRequest[oidc.AuthRequest]) (*op.Redirect, error) {
	c, _ := ctx.Value(checkedKey{}).(checked)
	a, err := s.readAuthorization(c, r.Form)
	if err != nil {
		return nil, err
	}
	if s.config.AutoApprove {
		who, _ := findPerson(a.loginHint)
		target, err := s.approve(a, who)
		if err != nil {
			return nil, err
		}
		return op.NewRedirect(target), nil
	}
	if slices.Contains(r.Data.Prompt, oidc.PromptNone) {
		// There are no sessions: somebody always has to look at the page (OpenID Connect Core 1.0, section 3.1.2.6).
		return nil, oidc.ErrLoginRequired().WithDescription("somebody has to sign in")
	}
	id := s.store.putRequest(s.config.Now(), a)
	return op.NewRedirect(s.config.Issuer + consentPath + "?request=" + id), nil
}

func (i *Issuer) readAuthorization(c checked, form url.Values) (*authorization, error) {
	switch {
	case c.repeated:
		return nil, oidc.ErrInvalidRequest().WithDescription("a parameter is there twice")
	case form.Get("request") != "":
		return nil, oidc.ErrRequestNotSupported()
	case form.Get("request_uri") != "":
		return nil, &oidc.Error{ErrorType: "request_uri_not_supported"}
	case form.Get("response_type") == "":
		return nil, oidc.ErrInvalidRequest().WithDescription("response_type is missing")
	case form.Get("response_type") != string(oidc.ResponseTypeCode):
		return nil, (&oidc.Error{ErrorType: "unsupported_response_type"}).WithDescription("only response_type=code is supported")
	case form.Get("response_mode") != "" && form.Get("response_mode") != string(oidc.ResponseModeQuery):
		return nil, oidc.ErrInvalidRequest().WithDescription("only response_mode=query is supported")
	case !c.client.mayUse(oidc.GrantTypeCode):
		return nil, oidc.ErrUnauthorizedClient().WithDescription("the client may not use authorization_code")
	}
	// OAuth 2.1, section 7.5.2: a code that leaks is worth nothing without the verifier. No method means plain (RFC
	// 7636, section 4.3), which the library would accept.
	if form.Get("code_challenge_method") != string(oidc.CodeChallengeMethodS256) || !isChallenge(form.Get("code_challenge")) {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE is required: a code_challenge with code_challenge_method=S256")
	}
	resource, err := i.chooseResource(form["resource"])
	if err != nil {
		return nil, err
	}
	scopes, err := i.grantScopes(form.Get("scope"))
	if err != nil {
		return nil, err
	}
	return &authorization{
		client:      c.client,
		redirectURI: c.redirectURI,
		state:       form.Get("state"),
		nonce:       form.Get("nonce"),
		challenge:   form.Get("code_challenge"),
		resource:    resource,
		scopes:      scopes,
		loginHint:   form.Get("login_hint"),
	}, nil
}

// isChallenge reports whether s can be the base64url form of a SHA-256 digest (RFC 7636, section 4.2).
func isChallenge(s string) bool {
	digest, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(digest) == 32 && !strings.ContainsAny(s, "\r\n")
}

// approve makes a code and returns where the browser takes it.
func (i *Issuer) approve(a *authorization, who person) (string, error) {
	now := i.config.Now()
	code := i.store.putCode(now, &grant{
		clientID: a.client.id,
		subject:  who.Subject,
		name:     who.Name,
		resource: a.resource,
		scopes:   a.scopes,
		authTime: now,
	}, a)
	return i.responseURL(a, &op.CodeResponseType{Code: code, State: a.state})
}

// deny returns where the browser takes the refusal.
func (i *Issuer) deny(a *authorization) (string, error) {
	return i.responseURL(a, &oidc.Error{ErrorType: oidc.AccessDenied, Description: "the request was denied", State: a.state})
}

func (i *Issuer) responseURL(a *authorization, response any) (string, error) {
	return op.AuthResponseURL(a.redirectURI, oidc.ResponseTypeCode, oidc.ResponseModeQuery, response, newResponseEncoder(i.config.Issuer))
}

// responseEncoder adds iss to authorization responses, successes and errors alike (RFC 9207, section 2), by which a
// client with several issuers notices that one of them answers in another's name.
type responseEncoder struct {
	httphelper.Encoder
	issuer string
}

func newResponseEncoder(issuer string) responseEncoder {
	return responseEncoder{oidc.NewEncoder(), issuer}
}

// Encode implements [httphelper.Encoder].
func (e responseEncoder) Encode(src any, dst map[string][]string) error {
	err := e.Encoder.Encode(src, dst)
	switch src.(type) {
	case *op.CodeResponseType, *oidc.Error:
		dst["iss"] = []string{e.issuer}
	}
	return err
}
