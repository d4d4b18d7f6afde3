package mcptools

import (
	"context"
	"sync/atomic"
	"time"
)

// fading is the context of a request that somebody keeps when the request is over: the SDK makes the context of the request
// that opens a session that of all calls in it. When it ends it becomes another, so that a session keeps neither the token that
// opened it in memory, nor an identity that a tool could take for its caller's.
type fading struct {
	inner atomic.Pointer[context.Context]
	over  *context.Context
}

// fadingInto makes ctx fade into over, which is the same for all.
func fadingInto(over *context.Context, ctx context.Context) *fading {
	f := &fading{over: over}
	f.inner.Store(&ctx)
	return f
}

func (f *fading) end() { f.inner.Store(f.over) }

func (f *fading) current() context.Context { return *f.inner.Load() }

// These implement context.Context.
func (f *fading) Deadline() (time.Time, bool) { return f.current().Deadline() }
func (f *fading) Done() <-chan struct{}       { return f.current().Done() }
func (f *fading) Err() error                  { return f.current().Err() }
func (f *fading) Value(key any) any           { return f.current().Value(key) }
