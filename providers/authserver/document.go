package authserver

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/sync/singleflight"

	"gatehouse/providers"
)

const (
	documentTimeout    = 5 * time.Second
	maxDocument        = 5 << 10 // bytes; the draft's section 6.6 suggests 5 KiB
	maxDocumentURL     = 2000
	maxDocuments       = 1000 // cached
	maxDocumentFetches = 8    // concurrent: anyone can make the issuer send requests
	// maxDocumentFetchesByAddress is the part of them that one address may cause.
	maxDocumentFetchesByAddress = 3
	minDocumentLifetime         = time.Minute
	maxDocumentLifetime         = 24 * time.Hour
	documentLifetime            = 5 * time.Minute // without Cache-Control
	documentErrorLifetime       = 3 * time.Second // how long a failure is cached
)

// documentError is why a client ID metadata document is not usable. Its text never quotes the response.
type documentError struct {
	reason    string
	temporary bool // a retry may succeed
}

func (e documentError) Error() string { return "client ID metadata document: " + e.reason }

// documentFetcher fetches the metadata of clients whose client_id is its URL
// (draft-ietf-oauth-client-id-metadata-document). Anyone can make it fetch a URL, so it restricts where it
// connects to and how much it reads.
type documentFetcher struct {
	http   *http.Client
	now    func() time.Time
	logger *slog.Logger
	// userAgent is the User-Agent of requests; empty means that of net/http.
	userAgent string
	rules     clientRules
	// timeout bounds one fetch, including the wait for a slot.
	timeout time.Duration
	slots   chan struct{}
	flight  singleflight.Group

	// enterprise are the ids of clients that may have private_key_jwt alone.
	enterprise []string

	mu    sync.Mutex
	cache map[string]cachedDocument
	// keySets are by URL.
	keySets map[string]cachedKeys
	// fetching counts the fetches in progress by the address that caused them.
	fetching map[string]int
}

type cachedDocument struct {
	client *client
	err    error
	until  time.Time
}

func newDocumentFetcher(config Config, rules clientRules) *documentFetcher {
	dialer := newGuardedDialer(config.AllowLoopbackClientDocuments)
	return &documentFetcher{
		http: &http.Client{
			// The draft's section 5.3 forbids following redirects; the status of the redirect is refused.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would connect without Control
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{RootCAs: config.ClientDocumentRootCAs, MinVersion: tls.VersionTLS12},
				MaxResponseHeaderBytes: 16 << 10,
				DisableKeepAlives:      true,
			},
		},
		now:        config.Now,
		userAgent:  config.UserAgent,
		rules:      rules,
		enterprise: config.ClientPolicy.EnterpriseClients,
		logger:     config.Logger,
		timeout:    documentTimeout,
		slots:      make(chan struct{}, maxDocumentFetches),
		cache:      make(map[string]cachedDocument),
		fetching:   make(map[string]int),
		keySets:    make(map[string]cachedKeys),
	}
}

// newGuardedDialer returns a dialer for addresses that [checkAddress] allows.
func newGuardedDialer(allowLocal bool) *net.Dialer {
	return &net.Dialer{
		// Control gets the address after name resolution, so a name that resolves to another address the
		// second time cannot bypass the check (DNS rebinding).
		Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address, allowLocal) },
	}
}

// find returns the client of the document at id. The error is a [documentError].
func (f *documentFetcher) find(ctx context.Context, id string) (*client, error) {
	if err := checkDocumentURL(id); err != nil {
		return nil, err
	}
	if c, err, ok := f.cached(id); ok {
		return c, err
	}
	// Concurrent requests share one fetch. It has its own deadline: if it ended with the first request,
	// canceling that request would fail the others.
	address := providers.AddressFrom(ctx)
	found, err, _ := f.flight.Do(id, func() (any, error) {
		if !f.begin(address) {
			return (*client)(nil), documentError{"too many concurrent fetches", true}
		}
		defer f.end(address)
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		defer cancel()
		c, lifetime, err := f.fetch(ctx, id)
		f.store(id, c, err, lifetime)
		return c, err
	})
	return found.(*client), err
}

// begin reports whether an address may cause another fetch: one address that names slow hosts must not use all slots.
func (f *documentFetcher) begin(address string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if address == "" { // no server in front tells it
		return true
	}
	if f.fetching[address] >= maxDocumentFetchesByAddress {
		return false
	}
	f.fetching[address]++
	return true
}

func (f *documentFetcher) end(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetching[address]--; f.fetching[address] <= 0 {
		delete(f.fetching, address)
	}
}

func (f *documentFetcher) cached(id string) (*client, error, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry, ok := f.cache[id]
	if !ok || !f.now().Before(entry.until) {
		return nil, nil, false
	}
	return entry.client, entry.err, true
}

func (f *documentFetcher) store(id string, c *client, err error, lifetime time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if len(f.cache) >= maxDocuments {
		maps.DeleteFunc(f.cache, func(_ string, entry cachedDocument) bool { return !now.Before(entry.until) })
	}
	for victim := range f.cache { // any entry: it is fetched again when needed
		if len(f.cache) < maxDocuments {
			break
		}
		delete(f.cache, victim)
	}
	f.cache[id] = cachedDocument{c, err, now.Add(lifetime)}
}

// fetch fetches and checks a document, and returns how long the result may be cached.
func (f *documentFetcher) fetch(ctx context.Context, id string) (*client, time.Duration, error) {
	response, body, lifetime, err := f.get(ctx, id, maxDocument)
	if err != nil {
		return nil, lifetime, err
	}
	c, err := f.read(id, response, body)
	if err != nil {
		return nil, documentErrorLifetime, err
	}
	return c, cacheLifetime(response.Header), nil
}

// get makes one request. The body has at most limit bytes, and one more if it is longer. With an error it returns how
// long that may be cached.
func (f *documentFetcher) get(ctx context.Context, address string, limit int64) (
	*http.Response, []byte, time.Duration, error,
) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, nil, 0, documentError{"too many concurrent fetches", true}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, documentErrorLifetime, documentError{"its URL is not valid", false}
	}
	request.Header.Set("Accept", "application/json")
	if f.userAgent != "" {
		request.Header.Set("User-Agent", f.userAgent)
	}
	response, err := f.http.Do(request)
	if err != nil {
		f.logger.Info("client ID metadata document not fetched", slog.String("client_id", address),
			slog.Any("reason", err))
		if errors.Is(err, errForbiddenAddress) {
			return nil, nil, documentErrorLifetime, documentError{errForbiddenAddress.Error(), false}
		}
		return nil, nil, documentErrorLifetime, documentError{"its host does not respond", true}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, nil, documentErrorLifetime, documentError{"its host does not respond in time", true}
	}
	return response, body, 0, nil
}

func (f *documentFetcher) read(id string, response *http.Response, body []byte) (*client, error) {
	if err := checkResponse(response); err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, documentError{"it is larger than 5 KiB", false}
	}
	var d struct {
		clientMetadata
		ClientID            string           `json:"client_id"`
		AuthMethods         []string         `json:"token_endpoint_auth_methods_supported"`
		ClientSecret        *json.RawMessage `json:"client_secret"`
		ClientSecretExpires *json.RawMessage `json:"client_secret_expires_at"`
		KeysURL             string           `json:"jwks_uri"`
		Keys                json.RawMessage  `json:"jwks"`
	}
	if err := f.rules.decode(body, &d); err != nil {
		return nil, documentError{"it is not a JSON object of client metadata", false}
	}
	rules, isEnterprise := f.rules, slices.Contains(f.enterprise, id)
	if isEnterprise {
		rules.grants = append(slices.Clone(rules.grants), oidc.GrantTypeBearer)
	}
	if err := rules.check(&d.clientMetadata); err != nil {
		return nil, documentError{description(err), false}
	}
	keys := newPublishedKeys(d.KeysURL, d.Keys)
	requiresKeys := isEnterprise && !allowsNone(d.TokenEndpointAuthMethod, d.AuthMethods) &&
		offersKeys(d.TokenEndpointAuthMethod, d.AuthMethods)
	switch {
	case d.ClientID != id:
		return nil, documentError{"its client_id is not its own URL", false}
	case d.ClientName == "":
		return nil, documentError{"it has no client_name", false}
	case len(d.RedirectURIs) == 0 && slices.Contains(d.GrantTypes, oidc.GrantTypeCode):
		return nil, documentError{"it has no redirect_uris", false}
	case requiresKeys && keys == nil:
		return nil, documentError{"it has no keys for private_key_jwt: no jwks_uri or jwks, or both", false}
	case !requiresKeys && !allowsNone(d.TokenEndpointAuthMethod, d.AuthMethods):
		// A secret in a public document is not secret. Anyone can publish keys, so private_key_jwt alone is for clients
		// that the operator names.
		return nil,
			documentError{
				"its token_endpoint_auth_method is not none, and " +
					"token_endpoint_auth_methods_supported does not list none", false}
	case d.ClientSecret != nil || d.ClientSecretExpires != nil:
		return nil, documentError{"it contains a client_secret", false}
	}
	// The client cannot authenticate, so it cannot act for itself.
	grants := slices.DeleteFunc(d.GrantTypes,
		func(g oidc.GrantType) bool { return g == oidc.GrantTypeClientCredentials })
	return &client{id: id, name: d.ClientName, origin: document, redirectURIs: d.RedirectURIs,
		grantTypes: grants, keys: keys, requiresKeys: requiresKeys}, nil
}

func checkResponse(response *http.Response) error {
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode != http.StatusOK:
		return documentError{fmt.Sprintf("its host responds with status %d, not 200", response.StatusCode),
			response.StatusCode >= 500}
	case mediaType != "application/json" && !(strings.HasPrefix(mediaType, "application/") &&
		strings.HasSuffix(mediaType, "+json")):
		return documentError{"it is not served as application/json", false}
	}
	return nil
}

// allowsNone reports whether a document allows its client to use no authentication. One document serves all
// issuers, so a client may prefer a method and list all that it supports (OpenID Connect Relying Party
// Metadata Choices 1.0, section 3).
func allowsNone(preferred oidc.AuthMethod, supported []string) bool {
	return preferred == oidc.AuthMethodNone || preferred == "" && supported == nil ||
		slices.Contains(supported, string(oidc.AuthMethodNone))
}

// offersKeys reports whether a document allows its client to use private_key_jwt.
func offersKeys(preferred oidc.AuthMethod, supported []string) bool {
	return preferred == oidc.AuthMethodPrivateKeyJWT ||
		slices.Contains(supported, string(oidc.AuthMethodPrivateKeyJWT))
}

// cacheLifetime returns how long a document may be cached (RFC 9111, section 5.2.2), within limits: long
// enough that a sign-in fetches it once, and short enough that a withdrawn redirect URI expires.
func cacheLifetime(h http.Header) time.Duration {
	lifetime := documentLifetime
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
				lifetime = min(max(time.Duration(seconds)*time.Second, minDocumentLifetime), maxDocumentLifetime)
			}
		}
	}
	return lifetime
}

// checkDocumentURL applies the draft's section 3: https with a path, and nothing that two parsers could read
// differently.
func checkDocumentURL(id string) error {
	u, err := url.Parse(id)
	switch {
	case err != nil || len(id) > maxDocumentURL || u.Scheme != "https" || !isASCIIHost(u.Hostname()):
		return documentError{"its URL is not a valid https URL", false}
	case u.User != nil || strings.Contains(id, "#"):
		return documentError{"its URL has a user name or a fragment", false}
	case strings.Trim(u.Path, "/") == "":
		return documentError{"its URL has no path", false}
	}
	for segment := range strings.SplitSeq(u.Path, "/") { // decoded: %2e is a dot too
		if segment == "." || segment == ".." {
			return documentError{"its URL has dot segments", false}
		}
	}
	return nil
}

var errForbiddenAddress = errors.New("its host is not on the public internet")

// checkAddress allows connections to the public internet only: the issuer can reach networks that a client
// cannot (draft-ietf-oauth-client-id-metadata-document, section 6.5). allowLocal adds loopback and private
// networks for development, but never link-local addresses, where clouds serve credentials.
func checkAddress(address string, allowLocal bool) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return errForbiddenAddress
	}
	addr := host.Addr().WithZone("").Unmap()
	if allowLocal && (addr.IsLoopback() || addr.IsPrivate()) {
		return nil
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() ||
		slices.ContainsFunc(specialPurposeNetworks(), func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return errForbiddenAddress
	}
	return nil
}

// specialPurposeNetworks are those of the IANA special-purpose registries that netip does not cover: not
// globally reachable, or IPv6 with an embedded IPv4 address.
func specialPurposeNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"),
		netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("::/96"),          // IPv4-compatible
		netip.MustParsePrefix("64:ff9b::/96"),   // NAT64
		netip.MustParsePrefix("64:ff9b:1::/48"), // NAT64, local use
		netip.MustParsePrefix("100::/64"),
		netip.MustParsePrefix("2001::/23"), // Teredo among others
		netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), // 6to4
		netip.MustParsePrefix("fec0::/10"), // site-local
	}
}
