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

// Prober reads what a provider publishes exactly as the adapters do, and says more about it.
type Prober struct {
	client *http.Client
	hosts  token.PlainHTTPHosts
}

// NewProber returns a prober for the provider of d. A nil transport means the network. userAgent is the User-Agent of
// every request; empty means that of the library.
func NewProber(d Diagnosis, transport http.RoundTripper, userAgent string) *Prober {
	return &Prober{client: token.NewClient(transport, userAgent), hosts: token.PlainHTTPHosts(d.HTTPAllowedHosts)}
}

// Client returns the client, for a [Check].
func (e *Prober) Client() *http.Client { return e.client }

// CheckURL returns why an address that the provider named must not be asked, or nil.
func (e *Prober) CheckURL(address string) error { return e.hosts.CheckURL(address) }

// Document is what one place says of an issuer.
type Document struct {
	// Place is the address that was asked.
	Place string
	// Metadata are what it said, if Err is nil.
	Metadata token.PublishedMetadata
	// Err says, in our own words, why there are none.
	Err error
	// Location is where the place redirects to; empty if it does not. It is as the provider sent it: show it through
	// [providers.Quote] only.
	Location string
}

// Discover reads the metadata of an authority at each of its places, in their order. All are asked at the same time, so that
// the time of one does not depend on another.
func (e *Prober) Discover(ctx context.Context, a Authority) []Document {
	documents := make([]Document, len(a.MetadataURLs))
	var wg sync.WaitGroup
	for i, place := range a.MetadataURLs {
		wg.Go(func() {
			metadata, err := token.ReadMetadata(ctx, e.client, place)
			documents[i] = Document{Place: place, Metadata: metadata, Err: err}
			if redirect, ok := errors.AsType[*token.RedirectError](err); ok {
				documents[i].Location = redirect.Location
			}
		})
	}
	wg.Wait()
	return documents
}

// KeysURL returns the address of the keys that the server finds in these documents of the authority.
func (e *Prober) KeysURL(a Authority, documents []Document) (string, error) {
	return e.discovery(a).FindKeysURL(published(documents))
}

// IntrospectionURL returns the address of the introspection endpoint likewise.
func (e *Prober) IntrospectionURL(a Authority, documents []Document) (string, error) {
	return e.discovery(a).FindIntrospectionURL(published(documents))
}

func (e *Prober) discovery(a Authority) token.Discovery {
	return token.Discovery{Issuers: a.Issuers, MetadataURLs: a.MetadataURLs, Client: e.client, PlainHTTPHosts: e.hosts}
}

// published reads metadata from documents instead of the network.
func published(documents []Document) func(place string) (token.PublishedMetadata, error) {
	return func(place string) (token.PublishedMetadata, error) {
		i := slices.IndexFunc(documents, func(document Document) bool { return document.Place == place })
		if i < 0 {
			return token.PublishedMetadata{}, errors.New("it was not asked")
		}
		return documents[i].Metadata, documents[i].Err
	}
}

// Keys reads a key set as [token.KeySet] does. The error is in our own words; what was skipped is said with it too.
func (e *Prober) Keys(ctx context.Context, address string) (token.PublishedKeys, error) {
	if err := e.CheckURL(address); err != nil {
		return token.PublishedKeys{}, fmt.Errorf("the address of the keys cannot be used: %w", err)
	}
	return token.ReadKeys(ctx, e.client, address)
}
