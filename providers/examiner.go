package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Examiner reads what a provider publishes exactly as the adapters do, and says more about it.
type Examiner struct {
	client *http.Client
	hosts  httpHosts
}

// NewExaminer returns an examiner for the provider of d. A nil transport means the network.
func NewExaminer(d Diagnosis, transport http.RoundTripper) *Examiner {
	return &Examiner{client: newFetchClient(transport), hosts: httpHosts(d.HTTPAllowedHosts)}
}

// Client returns the examiner's client, for an [Examination].
func (e *Examiner) Client() *http.Client { return e.client }

// Refuses says why an address that the provider named must not be asked, or "".
func (e *Examiner) Refuses(address string) string { return e.hosts.refuses(address) }

// PublishedMetadata are the members of a metadata document (RFC 8414) that this server or its clients need. They are as
// the provider sent them: show them through [Quote] only.
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

// Metadata reads the document at place. A member of the wrong type counts as missing, as it does for clients. The error is
// in our own words.
func (e *Examiner) Metadata(ctx context.Context, place string) (PublishedMetadata, error) {
	body, err := getDocument(ctx, e.client, place, maxMetadataBytes)
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

// PublishedKeys says what a key set is good for.
type PublishedKeys struct {
	// Usable is how many keys can verify a signature.
	Usable int
	// Algorithms are those that they can verify, sorted.
	Algorithms []string
	// Skipped says of each other key why it cannot, in our own words.
	Skipped []string
}

// Keys reads a key set as [KeySet] does. The error is in our own words; what was skipped is said with it too.
func (e *Examiner) Keys(ctx context.Context, address string) (PublishedKeys, error) {
	if reason := e.Refuses(address); reason != "" {
		return PublishedKeys{}, fmt.Errorf("the address of the keys cannot be used: %s", reason)
	}
	body, err := getDocument(ctx, e.client, address, maxKeyDocumentBytes)
	if err != nil {
		return PublishedKeys{}, err
	}
	ring, skipped, err := sanitize(body)
	if err != nil {
		return PublishedKeys{Skipped: skipped}, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	_ = json.Unmarshal(body, &set) // sanitize has read it
	return PublishedKeys{Usable: len(set.Keys) - len(skipped), Algorithms: slices.Sorted(maps.Keys(ring.keys)), Skipped: skipped}, nil
}
