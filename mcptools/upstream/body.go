package upstream

import (
	"context"
	"io"
	"time"
)

const (
	// longMessage is the number of bytes from which a message counts as long. Real ones are rarely longer.
	longMessage = 32 << 10
	// maxLongMessages is how many long messages of an upstream are read at once. Together with longMessage, it bounds
	// the memory of the calls whose responses are not complete, whatever the upstream sends.
	maxLongMessages = 4
)

// boundedBody is the body of a response, in which a long message waits until there are fewer than maxLongMessages.
type boundedBody struct {
	io.ReadCloser
	ctx    context.Context
	long   chan struct{}
	read   int // bytes of the current message
	isLong bool
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.read >= longMessage && !b.isLong {
		select {
		case b.long <- struct{}{}:
			b.isLong = true
		case <-b.ctx.Done():
		}
	}
	if err := b.ctx.Err(); err != nil { // often several calls end at once, and none of them needs the place
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

// nextMessage begins another message: of a stream, nothing is kept from those before.
func (b *boundedBody) nextMessage() {
	b.read = 0
	if b.isLong {
		b.isLong = false
		<-b.long
	}
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	b.nextMessage()
	return b.ReadCloser.Close()
}

const (
	finishBytes   = 4 << 10
	finishTimeout = time.Second
	// maxFinishing is how many bodies are finished at once. An upstream that never ends its streams must not use up
	// the connections that this process can have.
	maxFinishing = maxIdleConns
)

// finish reads the end of a body, without which its connection cannot be used again, and calls cancel. If many bodies
// have no end, the connection is closed instead.
func (e *endpoint) finish(body io.ReadCloser, cancel context.CancelFunc) {
	select {
	case e.finishing <- struct{}{}:
	default:
		cancel()
		_ = body.Close()
		return
	}
	go func() {
		defer func() { <-e.finishing }()
		defer time.AfterFunc(finishTimeout, cancel).Stop()
		_, _ = io.CopyN(io.Discard, body, finishBytes)
		_ = body.Close()
		cancel()
	}()
}
