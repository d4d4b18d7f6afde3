package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"gatehouse/providers/token"
)

const (
	// metadataTimeout bounds one attempt to read the metadata, at all of its URLs.
	metadataTimeout = 10 * time.Second
	// metadataMaxStale is how long metadata is used while it cannot be read again. [token.KeySet] reads it every few
	// minutes, and uses keys for as long.
	metadataMaxStale = 24 * time.Hour
	// metadataMaxBackoff bounds the time after a failure in which the metadata is not read again, which begins at 1 s.
	metadataMaxBackoff = 30 * time.Second
)

// metadataCache remembers the metadata of the provider.
type metadataCache struct {
	read    func(context.Context) (token.PublishedMetadata, error)
	now     func() time.Time
	current atomic.Pointer[metadataSnapshot] // nil as long as there is none

	// turn holds one element; who has it reads the metadata and uses the fields below.
	turn     chan struct{}
	failures int // in a row
	nextTry  time.Time
	lastErr  error
}

type metadataSnapshot struct {
	metadata token.PublishedMetadata
	fetched  time.Time
}

func newMetadataCache(
	read func(context.Context) (token.PublishedMetadata, error), now func() time.Time,
) *metadataCache {
	return &metadataCache{read: read, now: now, turn: make(chan struct{}, 1)}
}

// known returns the metadata unless it is too old.
func (c *metadataCache) known() (m token.PublishedMetadata, ok bool) {
	s := c.current.Load()
	if s == nil || c.now().Sub(s.fetched) >= metadataMaxStale {
		return token.PublishedMetadata{}, false
	}
	return s.metadata, true
}

// get returns the metadata, and reads it only if it is not known.
func (c *metadataCache) get(ctx context.Context) (token.PublishedMetadata, error) {
	if m, ok := c.known(); ok {
		return m, nil
	}
	if err := c.wait(ctx); err != nil {
		return token.PublishedMetadata{}, err
	}
	defer c.done()
	if m, ok := c.known(); ok { // another caller has read it
		return m, nil
	}
	return c.fetch(ctx)
}

// renew reads the metadata. If it cannot be read, it returns what is known.
func (c *metadataCache) renew(ctx context.Context) (token.PublishedMetadata, error) {
	if err := c.wait(ctx); err != nil {
		return token.PublishedMetadata{}, err
	}
	defer c.done()
	return c.fetch(ctx)
}

// readNow reads the metadata within ctx, whatever is known.
func (c *metadataCache) readNow(ctx context.Context) (token.PublishedMetadata, error) {
	m, err := c.read(ctx)
	if err == nil {
		c.current.Store(&metadataSnapshot{m, c.now()})
	}
	return m, err
}

func (c *metadataCache) wait(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.New("the metadata was not read while the caller waited")
	}
}

func (c *metadataCache) done() { <-c.turn }

// fetch reads the metadata, unless that has failed a moment ago. A caller that hangs up does not end it: others wait
// for the result.
func (c *metadataCache) fetch(ctx context.Context) (token.PublishedMetadata, error) {
	if now := c.now(); !now.Before(c.nextTry) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), metadataTimeout)
		defer cancel()
		m, err := c.read(ctx)
		c.lastErr = err
		if err == nil {
			c.current.Store(&metadataSnapshot{m, now})
			c.failures = 0
			return m, nil
		}
		c.nextTry = c.now().Add(min(time.Second<<min(c.failures, 16), metadataMaxBackoff))
		c.failures++
	}
	if m, ok := c.known(); ok {
		return m, nil
	}
	return token.PublishedMetadata{}, c.lastErr
}
