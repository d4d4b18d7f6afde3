package diagnostics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"gatehouse/providers/token"
)

// Prober reads what a provider publishes exactly as the adapters do, and reports more details.
type Prober struct {
	client *http.Client
	hosts  token.PlainHTTPHosts
}

// NewProber returns a prober for the provider of d. A nil transport is the default one. userAgent is the
// User-Agent of every request; if empty, that of net/http.
func NewProber(d Diagnosis, transport http.RoundTripper, userAgent string) *Prober {
	return &Prober{client: token.NewClient(transport, userAgent), hosts: token.PlainHTTPHosts(d.HTTPAllowedHosts)}
}

// Client returns the client, for a [Check].
func (p *Prober) Client() *http.Client { return p.client }

// CheckURL returns why no request may be sent to an address that the provider published, or nil.
func (p *Prober) CheckURL(address string) error { return p.hosts.CheckURL(address) }

// Document is the response of one metadata URL.
type Document struct {
	// URL is where the document was requested.
	URL string
	// Metadata is the document, if Err is nil.
	Metadata token.PublishedMetadata
	// Err is why there is none. Its text contains nothing that the provider sent.
	Err error
	// Location is the target of a redirect, if the response is one. It is as the provider sent it: show it
	// through [providers.Quote] only.
	Location string
}

// Discover reads the metadata of an authority at each of its URLs, and returns the responses in the same
// order. The requests run concurrently, so that one that hangs does not use up the time of the others.
func (p *Prober) Discover(ctx context.Context, a Authority) []Document {
	documents := make([]Document, len(a.MetadataURLs))
	var wg sync.WaitGroup
	for i, address := range a.MetadataURLs {
		wg.Go(func() {
			metadata, err := token.ReadMetadata(ctx, p.client, address)
			documents[i] = Document{URL: address, Metadata: metadata, Err: err}
			if redirect, ok := errors.AsType[*token.RedirectError](err); ok {
				documents[i].Location = redirect.Location
			}
		})
	}
	wg.Wait()
	return documents
}

// KeysURL returns the address of the keys that the server would read from these documents of the authority.
func (p *Prober) KeysURL(a Authority, documents []Document) (string, error) {
	return p.discovery(a).FindKeysURL(readFrom(documents))
}

// IntrospectionURL is like KeysURL for the introspection endpoint.
func (p *Prober) IntrospectionURL(a Authority, documents []Document) (string, error) {
	return p.discovery(a).FindIntrospectionURL(readFrom(documents))
}

func (p *Prober) discovery(a Authority) token.Discovery {
	return token.Discovery{
		Issuers: a.Issuers, MetadataURLs: a.MetadataURLs, Client: p.client, PlainHTTPHosts: p.hosts,
	}
}

// readFrom reads metadata from documents instead of the network.
func readFrom(documents []Document) func(address string) (token.PublishedMetadata, error) {
	return func(address string) (token.PublishedMetadata, error) {
		i := slices.IndexFunc(documents, func(document Document) bool { return document.URL == address })
		if i < 0 {
			return token.PublishedMetadata{}, errors.New("it was not requested")
		}
		return documents[i].Metadata, documents[i].Err
	}
}

// Keys reads a key set as [token.KeySet] does. With an error, the result still lists the skipped keys.
func (p *Prober) Keys(ctx context.Context, address string) (token.PublishedKeys, error) {
	if err := p.CheckURL(address); err != nil {
		return token.PublishedKeys{}, fmt.Errorf("the address of the keys cannot be used: %w", err)
	}
	return token.ReadKeys(ctx, p.client, address)
}
