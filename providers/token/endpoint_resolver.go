package token

import (
	"context"
	"errors"
	"sync"
	"time"
)

// EndpointResolver keeps the address of an endpoint in the issuer's metadata.
type EndpointResolver struct {
	find    func(context.Context) (string, error)
	timeout time.Duration // of one call of find

	mu      sync.Mutex
	address string
	err     error
}

// NewEndpointResolver returns a resolver that calls find, each time for at most timeout. Run must be running.
func NewEndpointResolver(
	find func(context.Context) (string, error), timeout time.Duration,
) *EndpointResolver {
	return &EndpointResolver{find: find, timeout: timeout, err: errors.New("the metadata was not read yet")}
}

// StaticEndpoint returns a resolver with a fixed address. It need not run.
func StaticEndpoint(address string) *EndpointResolver { return &EndpointResolver{address: address} }

// Run looks up the address now and every ten minutes until ctx ends; after a failure sooner, with a backoff
// from one second. A known address is kept after a failure.
func (r *EndpointResolver) Run(ctx context.Context) {
	for wait := time.Second; ; {
		err := r.refresh(ctx)
		pause := 10 * time.Minute
		if err != nil {
			pause, wait = wait, min(2*wait, 30*time.Second)
		} else {
			wait = time.Second
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// refresh looks up the address now.
func (r *EndpointResolver) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	address, err := r.find(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.address = address
	}
	r.err = err
	return err
}

// lookUp looks up the address if it is not known yet.
func (r *EndpointResolver) lookUp(ctx context.Context) error {
	if _, err := r.current(); err == nil {
		return nil
	}
	return r.refresh(ctx)
}

func (r *EndpointResolver) current() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.address == "" {
		return "", r.err
	}
	return r.address, nil
}
