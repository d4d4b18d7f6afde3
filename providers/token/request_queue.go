package token

import (
	"context"
	"sync"

	"gatehouse/providers"
)

const (
	// maxInFlight bounds the introspection requests in flight, so that a flood of invented tokens does not
	// reach the issuer.
	maxInFlight = 32
	// reservedInFlight of them are for tokens that were active at their last introspection.
	reservedInFlight = maxInFlight / 2
	// maxQueued bounds how many other tokens are queued or in flight, those of callers that hung up included.
	maxQueued = 128
	// maxActiveQueued bounds the same for tokens that were active at their last introspection.
	maxActiveQueued = 1_024
	// maxInFlightPerAddress and maxQueuedPerAddress bound both for the other tokens of one address.
	maxInFlightPerAddress = 8
	maxQueuedPerAddress   = 32
)

// requestQueue decides which introspection request is sent next. Requests for tokens that were active at
// their last introspection never wait for the others, which anyone can cause by inventing tokens.
type requestQueue struct {
	// Each holds one element per request in flight.
	shared, reserved chan struct{}
	// Each holds one element per token that is queued or in flight.
	queued, activeQueued chan struct{}

	mu        sync.Mutex
	addresses map[string]*addressRequests
}

// addressRequests are the requests for unknown tokens from one address.
type addressRequests struct {
	inFlight chan struct{}
	queued   int // those in flight included
}

func newRequestQueue() *requestQueue {
	return &requestQueue{
		shared:   make(chan struct{}, maxInFlight-reservedInFlight),
		reserved: make(chan struct{}, reservedInFlight),
		queued:   make(chan struct{}, maxQueued), activeQueued: make(chan struct{}, maxActiveQueued),
		addresses: map[string]*addressRequests{},
	}
}

// enter waits until a request may be sent. active reports that the token was active at its last
// introspection; address is where the token came from, empty if unknown. The caller must call leave after the
// request. The error wraps ErrUnavailable and, unless active, [providers.ErrTooManyUnknown].
func (q *requestQueue) enter(ctx context.Context, active bool, address string) (leave func(), err error) {
	if active {
		return q.enterActive(ctx)
	}
	var entered []func()
	leave = func() {
		for _, undo := range entered {
			undo()
		}
	}
	select {
	case q.queued <- struct{}{}:
		entered = append(entered, func() { <-q.queued })
	default:
		return nil, tooManyUnknownf("%d unknown tokens are queued already", maxQueued)
	}
	if address != "" {
		own, ok := q.addFrom(address)
		if !ok {
			leave()
			return nil, tooManyUnknownf("%d unknown tokens of this address are queued already", maxQueuedPerAddress)
		}
		entered = append(entered, func() { q.removeFrom(address, own) })
		select {
		case own.inFlight <- struct{}{}:
			entered = append(entered, func() { <-own.inFlight })
		case <-ctx.Done():
			leave()
			return nil, tooManyUnknownf("%d requests for tokens of this address are in flight already",
				maxInFlightPerAddress)
		}
	}
	select {
	case q.shared <- struct{}{}:
		entered = append(entered, func() { <-q.shared })
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, tooManyUnknownf("%d requests for unknown tokens are in flight already", cap(q.shared))
	}
}

func tooManyUnknownf(format string, limit int) error {
	return providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, format, limit)
}

func (q *requestQueue) enterActive(ctx context.Context) (leave func(), err error) {
	select {
	case q.activeQueued <- struct{}{}:
	default:
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"%d tokens are queued already", maxActiveQueued)
	}
	select {
	case q.reserved <- struct{}{}:
		return func() { <-q.reserved; <-q.activeQueued }, nil
	case q.shared <- struct{}{}:
		return func() { <-q.shared; <-q.activeQueued }, nil
	case <-ctx.Done():
		<-q.activeQueued
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"%d requests are in flight already", maxInFlight)
	}
}

// addFrom counts one more token of address. ok is false if too many are queued already.
func (q *requestQueue) addFrom(address string) (own *addressRequests, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	own = q.addresses[address]
	if own == nil {
		own = &addressRequests{inFlight: make(chan struct{}, maxInFlightPerAddress)}
		q.addresses[address] = own
	}
	if own.queued >= maxQueuedPerAddress {
		return nil, false
	}
	own.queued++
	return own, true
}

func (q *requestQueue) removeFrom(address string, own *addressRequests) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if own.queued--; own.queued == 0 {
		delete(q.addresses, address)
	}
}
