package authserver

import (
	"errors"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	oauthMetadataPath  = "/.well-known/oauth-authorization-server" // RFC 8414
	openidMetadataPath = oidc.DiscoveryEndpoint                    // OpenID Connect Discovery 1.0
	authorizePath      = "/authorize"
	consentPath        = "/consent"
	tokenPath          = "/token"
	keysPath           = "/keys"
	registerPath       = "/register"
	introspectPath     = "/introspect"
	revokePath         = "/revoke"
)

const (
	maxBody  = 64 << 10 // bytes
	maxQuery = 8 << 10  // bytes; parts of it are stored until the consent page is answered
)

// Paths returns all paths of an issuer with alice and bob, sorted. They are exact, not prefixes.
func Paths() []string {
	return []string{
		oauthMetadataPath, openidMetadataPath,
		authorizePath, consentPath, introspectPath, keysPath, registerPath, revokePath, tokenPath,
	}
}

// ProviderPaths is [Paths] for an issuer whose people sign in at another provider ([Config.SignIn]).
func ProviderPaths() []string {
	return []string{
		oauthMetadataPath, openidMetadataPath,
		authorizePath, CallbackPath, consentPath, keysPath, registerPath, revokePath, tokenPath,
	}
}

// Paths returns the paths of the handler, sorted: those of the function Paths or ProviderPaths. The server makes each
// of them a public route.
func (i *Issuer) Paths() []string { return slices.Sorted(slices.Values(i.paths)) }

// OpenCORSPaths returns the paths that pages of any origin may read, so that browser clients work: metadata,
// keys, token, registration and revocation. They use no cookies. The user's pages (/authorize, /consent,
// /callback) and /introspect, which is for servers, must stay closed.
func (i *Issuer) OpenCORSPaths() []string {
	return []string{oauthMetadataPath, openidMetadataPath, keysPath, registerPath, revokePath, tokenPath}
}

// Handler returns the handler of all [Issuer.Paths]. It responds with 404 to other paths and with 405 and
// Allow to other methods, including CORS preflights.
func (i *Issuer) Handler() http.Handler { return i.handler }

// newRoutes restricts the library's router to known paths and methods: it has more of them (/healthz,
// /ready) and accepts any method.
func newRoutes(i *Issuer) http.Handler {
	library := op.RegisterServer(&server{Issuer: i}, op.Endpoints{
		Authorization: op.NewEndpoint(authorizePath),
		Token:         op.NewEndpoint(tokenPath),
		Introspection: op.NewEndpoint(introspectPath),
		Revocation:    op.NewEndpoint(revokePath),
		JwksURI:       op.NewEndpoint(keysPath),
	}, op.WithEncoder(newResponseEncoder(i.config.Issuer)), op.WithServerCORSOptions(nil))

	all := routes{
		openidMetadataPath: getAndHead(library),
		oauthMetadataPath:  getAndHead(rewritePath(openidMetadataPath, library)),
		keysPath:           getAndHead(i.keys.requirePublished(library)),
		authorizePath:      {http.MethodGet: i.requireTopLevel(i.authorize)},
		consentPath: {
			http.MethodGet:  i.requireTopLevel(i.showConsent),
			http.MethodHead: i.requireTopLevel(i.showConsent),
			http.MethodPost: http.HandlerFunc(i.decideConsent),
		},
		tokenPath: {http.MethodPost: i.keys.requireKey(i.requireForm(i.checkGrantType(
			i.serveExtensions(redirectURIOptional(library)))))},
		introspectPath: {http.MethodPost: i.requireForm(i.requireSecret(library))},
		revokePath:     {http.MethodPost: i.requireForm(library)},
		registerPath:   {http.MethodPost: http.HandlerFunc(i.register)},
		CallbackPath:   {http.MethodGet: i.requireTopLevel(i.callback)},
	}
	maps.DeleteFunc(all, func(path string, _ map[string]http.Handler) bool {
		return !slices.Contains(i.paths, path)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.ServeHTTP(errorWriter{w, i.config.Issuer}, r)
	})
}

// routes maps exact paths and methods to handlers. http.ServeMux would redirect paths that are not clean and
// serve HEAD with GET, which would issue codes at /authorize.
type routes map[string]map[string]http.Handler

func (rt routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	methods, ok := rt[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	handler, ok := methods[r.Method]
	if !ok {
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	handler.ServeHTTP(w, r)
}

func getAndHead(h http.Handler) map[string]http.Handler {
	return map[string]http.Handler{http.MethodGet: h, http.MethodHead: h}
}

func rewritePath(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = path, ""
		h.ServeHTTP(w, r)
	})
}

// requireForm validates requests to the form endpoints: parameters are in the body, once each, and the client
// authenticates in one way. The library also accepts parameters in the query, which end up in logs, and uses
// the last of several.
func (i *Issuer) requireForm(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noStore(w.Header())
		r = withResponseHeader(r, w.Header())
		err := readForm(w, r)
		if err == nil {
			err = i.checkCredentialsForm(r)
		}
		if err != nil {
			op.WriteError(w, r, err, nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func readForm(w http.ResponseWriter, r *http.Request) error {
	if r.URL.RawQuery != "" {
		return oidc.ErrInvalidRequest().WithDescription(
			"parameters must be in the body, not in the query") // RFC 6749, section 3.2
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return oidc.ErrInvalidRequest().WithDescription("the body must be application/x-www-form-urlencoded")
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	if err := r.ParseForm(); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return op.NewStatusError(oidc.ErrInvalidRequest().WithDescription("the body is too large"),
				http.StatusRequestEntityTooLarge)
		}
		return oidc.ErrInvalidRequest().WithDescription("the body is not a form")
	}
	if hasRepeated(r.PostForm) {
		return oidc.ErrInvalidRequest().WithDescription("a parameter is repeated")
	}
	return nil
}

// hasRepeated reports whether a parameter is repeated, which RFC 6749, sections 3.1 and 3.2 forbid and two
// parsers may read differently. Only resource may repeat (RFC 8707, section 2).
func hasRepeated(parameters url.Values) bool {
	for name, values := range parameters {
		if name != "resource" && len(values) > 1 {
			return true
		}
	}
	return false
}

// checkCredentialsForm refuses client authentication (RFC 6749, section 2.3) that the library would accept,
// or would refuse with 400 instead of 401.
func (i *Issuer) checkCredentialsForm(r *http.Request) error {
	if r.PostForm.Has("client_assertion") || r.PostForm.Has("client_assertion_type") {
		if !i.acceptsClientAssertions() {
			return invalidClient("client assertions are not supported")
		}
		if r.PostForm.Get("client_assertion") == "" ||
			r.PostForm.Get("client_assertion_type") != oidc.ClientAssertionTypeJWTAssertion {
			return invalidClient("client_assertion is missing, or client_assertion_type is not supported")
		}
		if r.PostForm.Get("client_secret") != "" || r.Header.Get("Authorization") != "" {
			return oidc.ErrInvalidRequest().WithDescription("the client authenticates in two ways")
		}
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return oidc.ErrInvalidRequest().WithDescription("the Authorization header is repeated")
	}
	if r.Header.Get("Authorization") == "" {
		return nil
	}
	user, password, ok := r.BasicAuth()
	id, errID := url.QueryUnescape(user)
	_, errSecret := url.QueryUnescape(password)
	if !ok || errID != nil || errSecret != nil {
		return invalidClient("the Authorization header is not valid Basic authentication")
	}
	if r.PostForm.Has("client_id") && r.PostForm.Get("client_id") != id {
		return oidc.ErrInvalidRequest().WithDescription(
			"the Authorization header and client_id name different clients")
	}
	return nil
}

// requireSecret refuses requests without a client secret with 401. The library would use 400.
func (i *Issuer) requireSecret(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret == "" && r.PostForm.Get("client_secret") == "" {
			op.WriteError(w, r, invalidClient("the client must authenticate"), nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkGrantType refuses unknown grant types with unsupported_grant_type. The library would use
// unauthorized_client.
func (i *Issuer) checkGrantType(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if grant := r.PostForm.Get("grant_type"); grant != "" &&
			!slices.Contains(i.grantTypes(), oidc.GrantType(grant)) {
			op.WriteError(w, r, oidc.ErrUnsupportedGrantType().WithDescription("the grant type is not supported"), nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// redirectURIOptional allows a code exchange without redirect_uri, which the library requires.
// [server.CodeExchange] compares the parameter in PostForm.
func redirectURIOptional(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Form.Get("redirect_uri") == "" {
			r.Form.Set("redirect_uri", "not sent")
		}
		next.ServeHTTP(w, r)
	})
}

// requireTopLevel serves a page to a browser only as a top-level document: an image, a script or a frame of
// another page must not start a sign-in that the user does not see. Programs send no Sec-Fetch-Dest.
func (i *Issuer) requireTopLevel(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, destination := range r.Header.Values("Sec-Fetch-Dest") {
			if destination != "document" {
				i.pages.problem(w, http.StatusForbidden,
					"A sign-in must be opened as a page of its own, not embedded in another page.")
				return
			}
		}
		next(w, r)
	})
}

// errorWriter adds WWW-Authenticate to 401 responses (RFC 9110, section 15.5.2; RFC 6749, section 5.2), and
// Retry-After to 429 and 503, which the library does not. What failed because of an outage may succeed after 5 seconds.
type errorWriter struct {
	http.ResponseWriter
	realm string
}

func (w errorWriter) WriteHeader(status int) {
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="`+w.realm+`", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "5")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// invalidClient returns invalid_client with status 401; the library's default is 400.
func invalidClient(description string) error {
	return op.NewStatusError(oidc.ErrInvalidClient().WithDescription("%s", description), http.StatusUnauthorized)
}

// noStore prevents caching of codes, tokens, secrets and pages with them (RFC 6749, section 5.1).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}
