package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

const maxMetadataBytes = 1 << 20

// Discovery finds the endpoints of an issuer in its metadata (RFC 8414; OpenID Connect Discovery 1.0). The
// metadata is read again for every fetch of the keys, because a provider may move them.
type Discovery struct {
	Issuers        []string // the metadata must name one of them; see [NamesIssuer]
	MetadataURLs   []string // tried in this order
	Client         *http.Client
	PlainHTTPHosts PlainHTTPHosts
}

// PublishedMetadata has the members of a metadata document (RFC 8414) that this server or its clients need,
// as the provider sent them: quote them with [providers.Quote] in texts.
type PublishedMetadata struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	RegistrationEndpoint  string
	IntrospectionEndpoint string
	RevocationEndpoint    string
	UserinfoEndpoint      string
	JWKSURI               string
	// CodeChallengeMethods are the PKCE methods. MCP clients do not sign in unless S256 is one of them.
	CodeChallengeMethods []string
	Scopes               []string
	// ClientIDMetadataDocuments reports that a client may use the URL of its metadata document as its client ID.
	ClientIDMetadataDocuments bool
	// GrantTypes are the grant types. TokenAuthMethods are the methods of client authentication at the token endpoint:
	// client_secret_basic if there are none (RFC 8414, section 2).
	GrantTypes, TokenAuthMethods []string
	// IssParameter reports that authorization responses have the parameter iss (RFC 9207, section 3).
	IssParameter bool
}

// ReadMetadata reads the metadata document at address, within fetchTimeout. A member of the wrong type counts
// as missing, as it does for clients. The error contains no text from the provider.
func ReadMetadata(ctx context.Context, client *http.Client, address string) (PublishedMetadata, error) {
	body, err := getDocument(ctx, client, address, acceptJSON, maxMetadataBytes)
	if err != nil {
		return PublishedMetadata{}, err
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members == nil {
		return PublishedMetadata{}, errors.New("it is not a JSON object")
	}
	var m PublishedMetadata
	for name, target := range map[string]any{
		"issuer": &m.Issuer, "authorization_endpoint": &m.AuthorizationEndpoint, "token_endpoint": &m.TokenEndpoint,
		"registration_endpoint": &m.RegistrationEndpoint, "introspection_endpoint": &m.IntrospectionEndpoint,
		"revocation_endpoint": &m.RevocationEndpoint, "userinfo_endpoint": &m.UserinfoEndpoint,
		"jwks_uri": &m.JWKSURI, "grant_types_supported": &m.GrantTypes,
		"code_challenge_methods_supported": &m.CodeChallengeMethods, "scopes_supported": &m.Scopes,
		"client_id_metadata_document_supported":          &m.ClientIDMetadataDocuments,
		"token_endpoint_auth_methods_supported":          &m.TokenAuthMethods,
		"authorization_response_iss_parameter_supported": &m.IssParameter,
	} {
		if raw, ok := members[name]; ok {
			_ = json.Unmarshal(raw, target)
		}
	}
	return m, nil
}

// KeysURL returns the address of the key set. The error wraps [ErrNoUsableKeys] if the metadata has none.
func (d Discovery) KeysURL(ctx context.Context) (string, error) {
	address, err := d.FindKeysURL(d.fetch(ctx))
	if _, ok := errors.AsType[missingEndpointError](err); ok {
		return "", fmt.Errorf("%w: %w", ErrNoUsableKeys, err)
	}
	return address, err
}

// IntrospectionURL returns the address of the introspection endpoint.
func (d Discovery) IntrospectionURL(ctx context.Context) (string, error) {
	return d.FindIntrospectionURL(d.fetch(ctx))
}

// SignInMetadata returns the metadata document for signing people in. Requests may be sent to its authorization, token
// and key endpoints; those for revocation and userinfo are empty if they may not be used.
func (d Discovery) SignInMetadata(ctx context.Context) (PublishedMetadata, error) {
	var m PublishedMetadata
	_, err := d.find(d.fetch(ctx), "authorization endpoint", func(published PublishedMetadata) string {
		m = published
		return m.AuthorizationEndpoint
	})
	if err != nil {
		return PublishedMetadata{}, err
	}
	for _, required := range []struct{ what, address string }{
		{"token endpoint", m.TokenEndpoint}, {"keys", m.JWKSURI},
	} {
		if _, err := d.endpoint(m, required.what, func(PublishedMetadata) string { return required.address }); err != nil {
			return PublishedMetadata{}, err
		}
	}
	for _, optional := range []*string{&m.RevocationEndpoint, &m.UserinfoEndpoint} {
		if d.PlainHTTPHosts.CheckURL(*optional) != nil {
			*optional = ""
		}
	}
	return m, nil
}

// FindKeysURL returns the address of the key set from the metadata that read returns for each of
// MetadataURLs.
func (d Discovery) FindKeysURL(read func(address string) (PublishedMetadata, error)) (string, error) {
	return d.find(read, "keys", func(m PublishedMetadata) string { return m.JWKSURI })
}

// FindIntrospectionURL is like FindKeysURL for the introspection endpoint.
func (d Discovery) FindIntrospectionURL(
	read func(address string) (PublishedMetadata, error),
) (string, error) {
	return d.find(read, "introspection endpoint",
		func(m PublishedMetadata) string { return m.IntrospectionEndpoint })
}

// Timeout is long enough to read the metadata at every URL, each within the timeout of one request.
func (d Discovery) Timeout() time.Duration { return time.Duration(len(d.MetadataURLs)) * fetchTimeout }

func (d Discovery) fetch(ctx context.Context) func(address string) (PublishedMetadata, error) {
	return func(address string) (PublishedMetadata, error) { return ReadMetadata(ctx, d.Client, address) }
}

// find returns an endpoint from the first metadata document of this issuer that has a usable one. A URL that
// fails, hangs, redirects or is busy does not hide the next. Metadata of another issuer does not count (RFC
// 8414, section 3.3), and neither does an endpoint that [PlainHTTPHosts] does not allow: metadata could make
// this server send requests into its own network. The error is a [retryAfterError] if every URL is busy.
func (d Discovery) find(
	read func(address string) (PublishedMetadata, error), what string, member func(PublishedMetadata) string,
) (string, error) {
	var (
		failures []string
		causes   []string // the failures where metadata was read
		longest  *retryAfterError
		busy     int
		others   int // how many failures, the first ones, are documents of another issuer
		missing  bool
	)
	for _, metadataURL := range d.MetadataURLs {
		metadata, err := read(metadataURL)
		if err == nil {
			var endpoint string
			if endpoint, err = d.endpoint(metadata, what, member); err == nil {
				return endpoint, nil
			}
			causes = append(causes, fmt.Sprintf("%v (metadata at %s)", err, providers.RedactURL(metadataURL)))
		}
		if retry, ok := errors.AsType[*retryAfterError](err); ok {
			busy++
			if longest == nil || retry.retryAfter > longest.retryAfter {
				longest = retry
			}
		}
		failure := fmt.Sprintf("metadata at %s: %v", providers.RedactURL(metadataURL), err)
		if _, ok := errors.AsType[otherIssuerError](err); ok {
			// The document at a later URL is the cause; that there is none at the others is not.
			failures = slices.Insert(failures, others, failure)
			others++
		} else {
			failures = append(failures, failure)
		}
		_, ok := errors.AsType[missingEndpointError](err)
		missing = missing || ok
	}
	if len(causes) > 0 {
		failures = causes // that there is nothing at the other URLs does not matter
	}
	if missing {
		return "", missingEndpointError{strings.Join(failures, "; ")}
	}
	if busy > 0 && busy == len(d.MetadataURLs) {
		return "", longest
	}
	return "", errors.New(strings.Join(failures, "; "))
}

func (d Discovery) endpoint(
	metadata PublishedMetadata, what string, member func(PublishedMetadata) string,
) (string, error) {
	if !slices.ContainsFunc(d.Issuers, func(want string) bool { return NamesIssuer(want, metadata.Issuer) }) {
		return "", otherIssuerError{metadata.Issuer, d.Issuers}
	}
	address := member(metadata)
	if address == "" {
		return "", missingEndpointError{"it names no " + what}
	}
	if err := d.PlainHTTPHosts.CheckURL(address); err != nil {
		return "", fmt.Errorf("the address of its %s cannot be used: %w", what, err)
	}
	return address, nil
}

// otherIssuerError reports that a document is that of another issuer.
type otherIssuerError struct {
	got  string
	want []string
}

func (e otherIssuerError) Error() string {
	text := fmt.Sprintf("its issuer is %s, configured is %s", providers.Quote(e.got), QuoteEach(e.want))
	trim := func(s string) string { return strings.TrimRight(s, "/") }
	if slices.ContainsFunc(e.want, func(want string) bool { return trim(want) == trim(e.got) }) {
		return "a slash at the end differs: " + text
	}
	return text
}

// missingEndpointError reports that the issuer's metadata was read and does not contain the endpoint.
type missingEndpointError struct{ text string }

func (e missingEndpointError) Error() string { return e.text }

// NamesIssuer reports whether two issuers are equal byte for byte, except for the name in the braces of an
// issuer template: Microsoft Entra's metadata for many tenants has the literal {tenantid} where a token has
// the tenant.
func NamesIssuer(want, got string) bool {
	return want == got || IsTemplate(want) && IsTemplate(got) &&
		fillTemplate(want, "{}") == fillTemplate(got, "{}")
}

// QuoteEach quotes each value with [providers.Quote] and joins them with "or".
func QuoteEach(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = providers.Quote(v)
	}
	return strings.Join(quoted, " or ")
}

// MetadataURLs returns where the metadata of an issuer may be, in the order in which they are tried: RFC 8414
// between host and path (section 3.1), RFC 8414 after the path, which some providers do, and OpenID Connect
// Discovery (section 4).
func MetadataURLs(issuer string) []string {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base := strings.TrimSuffix(issuer, "/")
	urls := []string{base + oauth, base + openid}
	if u, err := url.Parse(base); err == nil && u.Path != "" {
		urls = slices.Insert(urls, 0, u.Scheme+"://"+u.Host+oauth+u.Path)
	}
	return urls
}
