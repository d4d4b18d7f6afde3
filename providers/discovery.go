package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const maxMetadataBytes = 1 << 20

// discovery finds addresses of an issuer in its metadata (RFC 8414; OpenID Connect Discovery 1.0). It is asked again at
// every fetch of the keys, because a provider may move them.
type discovery struct {
	issuers []string // one of which the metadata must name; see namesIssuer
	places  []string // tried in this order
	client  *http.Client
	hosts   httpHosts
}

// authorizationServerMetadata are the members of a metadata document that a resource server needs.
type authorizationServerMetadata struct {
	Issuer                string `json:"issuer"`
	JWKSURI               string `json:"jwks_uri"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
}

func (d discovery) keysURL(ctx context.Context) (string, error) {
	return d.address(ctx, "keys", func(m authorizationServerMetadata) string { return m.JWKSURI })
}

func (d discovery) introspectionURL(ctx context.Context) (string, error) {
	return d.address(ctx, "introspection endpoint", func(m authorizationServerMetadata) string { return m.IntrospectionEndpoint })
}

// address returns what the first place says that has metadata of this very issuer. What a document of another issuer says
// does not count (RFC 8414, section 3.3), and neither does an address that must not be asked: metadata that could name any
// address would make this server send requests into its own network.
func (d discovery) address(ctx context.Context, what string, member func(authorizationServerMetadata) string) (string, error) {
	var failures []string
	for _, place := range d.places {
		address, err := d.addressAt(ctx, place, what, member)
		if err == nil {
			return address, nil
		}
		var busy *busyError
		if errors.As(err, &busy) {
			return "", err // asking at the next place would not make it less busy
		}
		failures = append(failures, fmt.Sprintf("metadata at %s: %v", place, err))
	}
	return "", errors.New(strings.Join(failures, "; "))
}

func (d discovery) addressAt(ctx context.Context, place, what string, member func(authorizationServerMetadata) string) (string, error) {
	body, err := getDocument(ctx, d.client, place, maxMetadataBytes)
	if err != nil {
		return "", err
	}
	var metadata authorizationServerMetadata
	if json.Unmarshal(body, &metadata) != nil {
		return "", errors.New("it is not JSON with an issuer")
	}
	if !slices.ContainsFunc(d.issuers, func(want string) bool { return namesIssuer(want, metadata.Issuer) }) {
		return "", fmt.Errorf("its issuer is %s, configured is %s", quote(metadata.Issuer), quoteEach(d.issuers))
	}
	address := member(metadata)
	if address == "" {
		return "", fmt.Errorf("it names no %s", what)
	}
	if reason := d.hosts.refuses(address); reason != "" {
		return "", fmt.Errorf("the address of its %s cannot be used: %s", what, reason)
	}
	return address, nil
}

// namesIssuer compares byte for byte, but for the name in the braces of an issuer template: Microsoft Entra's metadata for
// many tenants has the literal {tenantid} where a token has the tenant.
func namesIssuer(want, got string) bool {
	return want == got || isTemplate(want) && isTemplate(got) && fillTemplate(want, "{}") == fillTemplate(got, "{}")
}

func quoteEach(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return strings.Join(quoted, " or ")
}

// wellKnownPlaces are where the metadata of an issuer may be, in the order in which they are tried: RFC 8414 between host
// and path (section 3.1), RFC 8414 behind the path, which some providers do, and OpenID Connect Discovery (section 4).
func wellKnownPlaces(issuer string) []string {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base := strings.TrimSuffix(issuer, "/")
	places := []string{base + oauth, base + openid}
	if u, err := url.Parse(base); err == nil && u.Path != "" {
		places = slices.Insert(places, 0, u.Scheme+"://"+u.Host+oauth+u.Path)
	}
	return places
}
