package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// clientSDK is an SDK from which MCP clients are built.
type clientSDK struct {
	name string
	// discover reads the metadata of issuer as the SDK does.
	discover func(ctx context.Context, transport http.RoundTripper, issuer string) *clientError
}

// clientSDKs differ in the Accept header, in the addresses, in whether they go on after an error, and in what
// they accept.
func clientSDKs() []clientSDK {
	return []clientSDK{{"the Go SDK", discoverAsGoSDK}, {"the TypeScript SDK", discoverAsTypeScriptSDK}}
}

// clients requests the metadata as clients do. A provider that answers the Accept header of this server may
// answer others with a page.
func (a *authorityChecks) clients(ctx context.Context) diagnostics.Outcome {
	sdks := clientSDKs()
	errs := make([]*clientError, len(sdks))
	var wg sync.WaitGroup
	for i, sdk := range sdks {
		wg.Go(func() { errs[i] = sdk.discover(ctx, a.prober.Client().Transport, a.Identifier) })
	}
	wg.Wait()
	var found []string
	fix := ""
	for i, err := range errs {
		// Contents that no client accepts are found by the other checks of the documents.
		if err != nil && !(err.isContent && a.contentHasProblem()) {
			found = append(found, sdks[i].name+" finds none: "+err.found)
			fix = cmp.Or(fix, err.fix)
		}
	}
	switch len(found) {
	case 0:
		return diagnostics.OK("the Go and TypeScript SDKs find it")
	case len(sdks):
		return diagnostics.Failed(strings.Join(found, "; "), fix)
	}
	return diagnostics.Warning(strings.Join(found, "; "), fix)
}

// contentHasProblem reports whether another check found a problem in what the documents contain.
func (a *authorityChecks) contentHasProblem() bool {
	return slices.ContainsFunc(a.content, func(c *check) bool { return c.outcome.Verdict != diagnostics.VerdictOK })
}

// clientError is why a client finds no metadata.
type clientError struct {
	found, fix string
	// isContent is set if it found a document and cannot use it.
	isContent bool
}

const (
	fixMissing = "have the provider serve its metadata at an address that clients request (MCP, " +
		"authorization, section Authorization Server Metadata Discovery): "
	fixResponse = "have the provider answer there with its metadata, whatever the Accept header, or with 404 " +
		"if it has none there: the client does not go on after any other response"
	fixType     = fixResponse + "; the Content-Type must be application/json"
	fixRedirect = "have the provider answer there without a redirect"
	fixContent  = "have the provider correct its metadata; RFC 8414, section 2, and OpenID Connect Discovery " +
		"1.0, section 3, list the required members"
	fixScheme = "give the provider an https address for clients, and set it in provider.issuer or " +
		"provider.authorization_servers"
)

// discoverAsGoSDK calls the SDK itself: it sends no Accept header, and insists on application/json.
func discoverAsGoSDK(ctx context.Context, transport http.RoundTripper, issuer string) *clientError {
	last := &lastResponse{next: transport}
	metadata, err := auth.GetAuthServerMetadata(ctx, issuer, &http.Client{Transport: last})
	switch {
	case err == nil && metadata != nil:
		return nil
	case err == nil:
		return &clientError{found: "the last address is " + last.describe(), fix: fixMissing + clientAddresses(issuer)}
	case last.address == "":
		return &clientError{found: "it requests https addresses on public hosts and loopback only", fix: fixScheme}
	case last.status == http.StatusOK && last.mediaType() == "application/json":
		return &clientError{
			found: "it cannot use the document at " + providers.Quote(last.address) + memberIn(err), fix: fixContent,
			isContent: true,
		}
	case last.status == http.StatusOK:
		return &clientError{
			found: last.describe() + " with Content-Type " + providers.Quote(last.contentType), fix: fixType,
		}
	case last.isRedirect():
		return &clientError{
			found: "it does not follow the redirect at " + providers.Quote(last.address), fix: fixRedirect,
		}
	}
	return &clientError{found: "it stops at " + last.describe(), fix: fixResponse}
}

var errorOfMember = regexp.MustCompile(`^([a-z_]{1,40}): `)

// memberIn returns the member that an error of the Go SDK is about. The rest of its text is the provider's.
func memberIn(err error) string {
	if m := errorOfMember.FindStringSubmatch(err.Error()); m != nil {
		return ", because of " + m[1]
	}
	return ""
}

const (
	wellKnownOAuth  = "/.well-known/oauth-authorization-server"
	wellKnownOpenID = "/.well-known/openid-configuration"
)

// metadataAddresses are what MCP clients request, in this order: the well-known path is between host and path
// of the issuer, and only that of OpenID is also behind it.
func metadataAddresses(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.Path, "/")
	addresses := []string{origin + wellKnownOAuth + path, origin + wellKnownOpenID + path}
	if path != "" {
		addresses = append(addresses, origin+path+wellKnownOpenID)
	}
	return addresses
}

func clientAddresses(issuer string) string { return strings.Join(metadataAddresses(issuer), " or ") }

// discoverAsTypeScriptSDK does what discoverAuthorizationServerMetadata of releases 1.32 and 2.4 does. It
// follows redirects, as fetch does.
func discoverAsTypeScriptSDK(ctx context.Context, transport http.RoundTripper, issuer string) *clientError {
	last := &lastResponse{next: transport}
	client := &http.Client{Transport: last}
	for _, address := range metadataAddresses(issuer) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return &clientError{found: "the issuer is not a URL", fix: fixScheme}
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("MCP-Protocol-Version", "2025-11-25")
		resp, err := client.Do(req)
		if err != nil {
			return &clientError{found: "it stops at " + last.describe(), fix: fixResponse}
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes))
		resp.Body.Close()
		switch {
		case err != nil, resp.StatusCode >= 500:
			return &clientError{found: "it stops at " + last.describe(), fix: fixResponse}
		case resp.StatusCode >= 200 && resp.StatusCode <= 299:
			return parseAsTypeScriptSDK(body, address)
		}
	}
	return &clientError{found: "the last address is " + last.describe(), fix: fixMissing + clientAddresses(issuer)}
}

// parseAsTypeScriptSDK applies the schema of the SDK, which requires more of an OpenID provider.
func parseAsTypeScriptSDK(body []byte, address string) *clientError {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members == nil {
		return &clientError{found: providers.Quote(address) + " answered 200 without a JSON object", fix: fixResponse}
	}
	texts, lists := []string{"issuer", "authorization_endpoint", "token_endpoint"}, []string{"response_types_supported"}
	if strings.Contains(address, wellKnownOpenID) {
		texts = append(texts, "jwks_uri")
		lists = append(lists, "subject_types_supported", "id_token_signing_alg_values_supported")
	}
	var missing []string
	for _, name := range texts {
		var text string
		if json.Unmarshal(members[name], &text) != nil || text == "" {
			missing = append(missing, name)
		}
	}
	for _, name := range lists {
		var list []string
		if json.Unmarshal(members[name], &list) != nil || list == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &clientError{
		found: "the document at " + providers.Quote(address) + " lacks " + strings.Join(missing, ", "),
		fix:   fixContent, isContent: true,
	}
}

// lastResponse records the last response, so that an error can be described without the texts of the
// provider.
type lastResponse struct {
	next http.RoundTripper

	address     string
	status      int // 0 without a response
	contentType string
	problem     string
}

// RoundTrip implements http.RoundTripper. It is not safe for concurrent use.
func (l *lastResponse) RoundTrip(r *http.Request) (*http.Response, error) {
	*l = lastResponse{next: l.next, address: r.URL.Scheme + "://" + r.URL.Host + r.URL.Path}
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		l.problem = token.DescribeNetworkError(err)
		return nil, err
	}
	l.status, l.contentType = resp.StatusCode, resp.Header.Get("Content-Type")
	return resp, nil
}

func (l *lastResponse) mediaType() string {
	mediaType, _, _ := strings.Cut(l.contentType, ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

func (l *lastResponse) isRedirect() bool { return l.status >= 300 && l.status < 400 }

func (l *lastResponse) describe() string {
	if l.status == 0 {
		return providers.Quote(l.address) + ", " + cmp.Or(l.problem, "without a response")
	}
	return providers.Quote(l.address) + fmt.Sprintf(", which answered %d", l.status)
}
