package telemetry

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/providers/token"
)

// collector sends telemetry to a collector by OTLP over HTTP, in protobuf.
//
// It replaces the transport of otlptracehttp and otlpmetrichttp, which link gRPC: 1.9 MB of code that nothing runs. Its
// errors contain nothing that the collector chose.
type collector struct {
	configs.Collector
	what   string // spans or metrics
	client *http.Client

	closing context.Context // ends all requests
	close   context.CancelFunc
}

func newCollector(c configs.Collector, what string) *collector {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c.TLS
	transport.MaxIdleConns = 1
	closing, end := context.WithCancel(context.Background())
	return &collector{
		Collector: c, what: what, closing: closing,
		close: func() { end(); transport.CloseIdleConnections() },
		client: &http.Client{
			Transport: transport,
			// A redirect would send the headers, which may be secret, to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Waits between two attempts.
const (
	firstWait = time.Second
	maxWait   = 5 * time.Second
)

// send sends a message, repeatedly if the collector is unavailable, until the time limit of an export.
func (c *collector) send(ctx context.Context, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return fmt.Errorf("%s cannot be encoded: %w", c.what, err)
	}
	if body, err = compress(c.Collector, body); err != nil {
		return fmt.Errorf("%s cannot be compressed: %w", c.what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := c.post(ctx, body)
		var busy *unavailableError
		if !errors.As(err, &busy) {
			return err
		}
		timer := time.NewTimer(max(wait, busy.retryAfter))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// unavailableError is the error for an attempt that may succeed later.
type unavailableError struct {
	text       string
	retryAfter time.Duration
}

func (e *unavailableError) Error() string { return e.text }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

func (c *collector) post(ctx context.Context, body []byte) error {
	r, err := newExport(ctx, c.Collector, body)
	if err != nil {
		return fmt.Errorf("%s were not exported: the address is not a URL", c.what)
	}
	answer, err := c.client.Do(r)
	if err != nil {
		reason := token.DescribeNetworkError(err)
		return &unavailableError{text: fmt.Sprintf("%s were not exported to %s: %s", c.what, r.URL.Host, reason)}
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // an error means less text
	switch status := answer.StatusCode; {
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		if n := rejected(text); n > 0 {
			return fmt.Errorf("%s rejected %d %s", r.URL.Host, n, c.what)
		}
		return nil
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable,
		status == http.StatusGatewayTimeout: // OTLP, Retryable Response Codes
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return &unavailableError{
			text:       fmt.Sprintf("%s were not exported: %s answered %d", c.what, r.URL.Host, status),
			retryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second,
		}
	default:
		return fmt.Errorf("%s were not exported: %s answered %d", c.what, r.URL.Host, status)
	}
}

// compress returns body as it is sent to c.
func compress(c configs.Collector, body []byte) ([]byte, error) {
	if !c.Gzip {
		return body, nil
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write(body)
	err = cmp.Or(err, w.Close())
	return compressed.Bytes(), err
}

// newExport returns the request that sends a compressed body.
func newExport(ctx context.Context, c configs.Collector, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range c.Headers {
		r.Header.Set(name, value.Reveal())
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", app.UserAgent())
	if c.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	return r, nil
}

// NewEmptyExport returns a request that exports nothing, as the server sends it otherwise: a message without content is
// a valid one. The error may contain the address.
func NewEmptyExport(ctx context.Context, c configs.Collector) (*http.Request, error) {
	body, err := compress(c, nil)
	if err != nil {
		return nil, err
	}
	return newExport(ctx, c, body)
}

// rejected returns how many items the collector did not accept (OTLP, Partial Success): the first field of the first
// field of the response, in that of traces and of metrics alike. Anything else in it is ignored.
func rejected(response []byte) int64 {
	partial, ok := field(response, protowire.BytesType)
	if !ok {
		return 0
	}
	content, _ := protowire.ConsumeBytes(partial)
	count, ok := field(content, protowire.VarintType)
	if !ok {
		return 0
	}
	n, _ := protowire.ConsumeVarint(count)
	return int64(n)
}

// field returns the value of field 1 of a message, and what follows it.
func field(message []byte, want protowire.Type) (value []byte, ok bool) {
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, false
		}
		message = message[n:]
		length := protowire.ConsumeFieldValue(number, typ, message)
		if length < 0 {
			return nil, false
		}
		if number == 1 && typ == want {
			return message[:length], true
		}
		message = message[length:]
	}
	return nil, false
}
