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

// Discovery finds addresses of an issuer in its metadata (RFC 8414; OpenID Connect Discovery 1.0). It is asked again at
// every fetch of the keys, because a provider may move them.
type Discovery struct {
	Issuers        []string // one of which the metadata must name; see namesIssuer
	MetadataURLs   []string // tried in this order
	Client         *http.Client
	PlainHTTPHosts PlainHTTPHosts
}

// PublishedMetadata are the members of a metadata document (RFC 8414) that this server or its clients need. They are as
// the provider sent them: show them through [providers.Quote] only.
type PublishedMetadata struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	RegistrationEndpoint  string
	IntrospectionEndpoint string
	JWKSURI               string
	// CodeChallengeMethods are the PKCE methods; clients of MCP refuse to sign in where S256 is not among them.
	CodeChallengeMethods []string
	Scopes               []string
	// ClientIDMetadataDocuments says that clients may describe themselves by a document of their own.
	ClientIDMetadataDocuments bool
}

// ReadMetadata reads the document at place, within fetchTimeout. A member of the wrong type counts as missing, as it does for
// clients. The error is in our own words.
func ReadMetadata(ctx context.Context, client *http.Client, place string) (PublishedMetadata, error) {
	body, err := getDocument(ctx, client, place, acceptJSON, maxMetadataBytes)
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
		"registration_endpoint": &m.RegistrationEndpoint, "introspection_endpoint": &m.IntrospectionEndpoint, "jwks_uri": &m.JWKSURI,
		"code_challenge_methods_supported": &m.CodeChallengeMethods, "scopes_supported": &m.Scopes,
		"client_id_metadata_document_supported": &m.ClientIDMetadataDocuments,
	} {
		if raw, ok := members[name]; ok {
			_ = json.Unmarshal(raw, target)
		}
	}
	return m, nil
}

// KeysURL returns the address of the keys. The error wraps [ErrNoUsableKeys] if the metadata names none.
func (d Discovery) KeysURL(ctx context.Context) (string, error) {
	address, err := d.FindKeysURL(d.fromNetwork(ctx))
	if _, ok := errors.AsType[notNamedError](err); ok {
		return "", fmt.Errorf("%w: %w", ErrNoUsableKeys, err)
	}
	return address, err
}

// IntrospectionURL returns the address of the introspection endpoint.
func (d Discovery) IntrospectionURL(ctx context.Context) (string, error) {
	return d.FindIntrospectionURL(d.fromNetwork(ctx))
}

// FindKeysURL returns the address of the keys in the metadata that read returns for each place.
func (d Discovery) FindKeysURL(read func(place string) (PublishedMetadata, error)) (string, error) {
	return d.find(read, "keys", func(m PublishedMetadata) string { return m.JWKSURI })
}

// FindIntrospectionURL returns the address of the introspection endpoint likewise.
func (d Discovery) FindIntrospectionURL(read func(place string) (PublishedMetadata, error)) (string, error) {
	return d.find(read, "introspection endpoint", func(m PublishedMetadata) string { return m.IntrospectionEndpoint })
}

// Timeout is the time in which every place can be asked, each for as long as one request may take.
func (d Discovery) Timeout() time.Duration { return time.Duration(len(d.MetadataURLs)) * fetchTimeout }

func (d Discovery) fromNetwork(ctx context.Context) func(place string) (PublishedMetadata, error) {
	return func(place string) (PublishedMetadata, error) { return ReadMetadata(ctx, d.Client, place) }
}

// find returns what the first place says that has metadata of this very issuer. A place that fails, hangs, redirects or is
// busy does not hide the next. What a document of another issuer says does not count (RFC 8414, section 3.3), and neither
// does an address that must not be asked: metadata that could name any address would make this server send requests into
// its own network. The error is a [retryAfterError] if every place is busy.
func (d Discovery) find(read func(place string) (PublishedMetadata, error), what string, member func(PublishedMetadata) string) (string, error) {
	var (
		failures []string // of the places without usable metadata
		causes   []string // of those with metadata, which are not those of the issuer or not complete
		busiest  *retryAfterError
		busy     int
	)
	notNamed := false
	for _, place := range d.MetadataURLs {
		metadata, err := read(place)
		if err == nil {
			var address string
			if address, err = d.addressIn(metadata, what, member); err == nil {
				return address, nil
			}
			causes = append(causes, fmt.Sprintf("%v (metadata at %s)", err, providers.RedactURL(place)))
		}
		if one, ok := errors.AsType[*retryAfterError](err); ok {
			busy++
			if busiest == nil || one.retryAfter > busiest.retryAfter {
				busiest = one
			}
		}
		failures = append(failures, fmt.Sprintf("metadata at %s: %v", providers.RedactURL(place), err))
		_, ok := errors.AsType[notNamedError](err)
		notNamed = notNamed || ok
	}
	if len(causes) > 0 {
		failures = causes // that nothing is at the other places is no news
	}
	if notNamed {
		return "", notNamedError{strings.Join(failures, "; ")}
	}
	if busy > 0 && busy == len(d.MetadataURLs) {
		return "", busiest
	}
	return "", errors.New(strings.Join(failures, "; "))
}

func (d Discovery) addressIn(metadata PublishedMetadata, what string, member func(PublishedMetadata) string) (string, error) {
	if !slices.ContainsFunc(d.Issuers, func(want string) bool { return NamesIssuer(want, metadata.Issuer) }) {
		return "", fmt.Errorf("its issuer is %s, configured is %s", providers.Quote(metadata.Issuer), QuoteEach(d.Issuers))
	}
	address := member(metadata)
	if address == "" {
		return "", notNamedError{"it names no " + what}
	}
	if err := d.PlainHTTPHosts.CheckURL(address); err != nil {
		return "", fmt.Errorf("the address of its %s cannot be used: %w", what, err)
	}
	return address, nil
}

// notNamedError says that the issuer's metadata was read and does not have the address asked for.
type notNamedError struct{ text string }

func (e notNamedError) Error() string { return e.text }

// NamesIssuer compares byte for byte, but for the name in the braces of an issuer template: Microsoft Entra's metadata for
// many tenants has the literal {tenantid} where a token has the tenant.
func NamesIssuer(want, got string) bool {
	return want == got || IsTemplate(want) && IsTemplate(got) && fillTemplate(want, "{}") == fillTemplate(got, "{}")
}

// QuoteEach is [providers.Quote] for each of the values, with "or" between them.
func QuoteEach(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = providers.Quote(v)
	}
	return strings.Join(quoted, " or ")
}

// MetadataURLs are where the metadata of an issuer may be, in the order in which they are tried: RFC 8414 between host
// and path (section 3.1), RFC 8414 behind the path, which some providers do, and OpenID Connect Discovery (section 4).
func MetadataURLs(issuer string) []string {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base := strings.TrimSuffix(issuer, "/")
	places := []string{base + oauth, base + openid}
	if u, err := url.Parse(base); err == nil && u.Path != "" {
		places = slices.Insert(places, 0, u.Scheme+"://"+u.Host+oauth+u.Path)
	}
	return places
}
