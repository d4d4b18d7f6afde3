package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatehouse/providers"
)

const (
	// canary is in every token, in claims that an adapter has no reason to read, and in the responses of a
	// failing issuer. It must not appear in any error or log line.
	canary = "canary-7d1f0c"

	// openWithin bounds Open, which makes no request.
	openWithin = 2 * time.Second
	// answerWithin bounds every Verify, whatever the issuer does. HTTP clients of the server give up after
	// about that time.
	answerWithin = 5 * time.Second
	// knownWithin bounds the verification of a token with a known key, which makes no request either.
	knownWithin = 1500 * time.Millisecond
)

// openAdapter is the opened adapter that one rule checks.
type openAdapter struct {
	*Subject
	provider providers.Provider
	info     providers.ServerInfo
	log      *logBuffer
	varieties
}

// withAdapter makes a Rule.Check of a function that needs an open adapter which accepts tokens.
func withAdapter(check func(*openAdapter) error) func(*Subject) error {
	return func(s *Subject) error {
		o, stop, err := s.open()
		if err != nil {
			return err
		}
		defer stop()
		if err := o.waitReady(); err != nil {
			return err
		}
		return check(o)
	}
}

// processors limits the rules that sign and verify by the hundred to two at a time across all adapters, so
// that the rules that measure time are not disturbed.
var processors = make(chan struct{}, 2)

// cpuBound is like withAdapter, for a rule that keeps a processor busy.
func cpuBound(check func(*openAdapter) error) func(*Subject) error {
	return withAdapter(func(o *openAdapter) error {
		processors <- struct{}{}
		defer func() { <-processors }()
		return check(o)
	})
}

// open opens the adapter. The context of its background work ends when stop is called.
func (s *Subject) open() (o *openAdapter, stop func(), err error) {
	if err := s.validate(); err != nil {
		return nil, nil, fmt.Errorf("incomplete harness: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	log := &logBuffer{}
	info := providers.ServerInfo{
		Resource: s.Resource, Name: "Conformance", InitialScopes: []string{"mcp:use"},
		KnownScopes: []string{"mcp:use", "files:read"},
		Logger:      slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	var provider providers.Provider
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("a call of Open panicked: %v", p)
			}
		}()
		p, err := s.Open(ctx, info)
		provider = p
		done <- err
	}()
	select {
	case err = <-done:
	case <-time.After(openWithin):
		err = fmt.Errorf("a call of Open did not return within %s", openWithin)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return &openAdapter{Subject: s, provider: provider, info: info, log: log, varieties: s.varieties()}, stop,
		nil
}

// waitReady waits until the adapter accepts the first good token.
func (o *openAdapter) waitReady() error {
	token := o.base.token()
	return o.eventually("the first good token is accepted", func() error { return o.accepts(token) })
}

// timeout returns Timeout or its default.
func (s *Subject) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return 5 * time.Second
}

// eventually calls try until it returns nil or a [permanentError], because the adapter works in the
// background.
func (s *Subject) eventually(what string, try func() error) error {
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if wrong, ok := errors.AsType[*permanentError](err); ok {
			return wrong.error
		}
		if time.Since(start) > s.timeout() {
			return fmt.Errorf("expected within %s that %s: %w", s.timeout(), what, err)
		}
	}
}

// permanentError ends [Subject.eventually] at once.
type permanentError struct{ error }

// verify calls Verify once. A panic, a missing answer and a breach of the contract of [providers.Provider]
// are returned as a [contractError].
func (o *openAdapter) verify(ctx context.Context, token string) (*providers.Identity, error) {
	return o.verifyWithin(ctx, answerWithin, token)
}

func (o *openAdapter) verifyWithin(ctx context.Context, limit time.Duration,
	token string) (*providers.Identity, error) {
	type answer struct {
		id  *providers.Identity
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answers <- answer{nil, &contractError{fmt.Sprintf("Verify panicked: %v", p)}}
			}
		}()
		id, err := o.provider.Verify(ctx, token)
		answers <- answer{id, checkContract(id, err)}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.id, a.err
	case <-timer.C:
		return nil, &contractError{fmt.Sprintf("Verify did not return within %s", limit)}
	}
}

// checkContract returns err, or how the result breaks the contract of [providers.Provider].
func checkContract(id *providers.Identity, err error) error {
	invalid, unavailable := errors.Is(err, providers.ErrInvalidToken), errors.Is(err, providers.ErrUnavailable)
	switch {
	case id == nil && err == nil:
		return &contractError{"Verify returned neither an identity nor an error"}
	case id != nil && err != nil:
		return &contractError{fmt.Sprintf("Verify returned an identity and an error: %v", err)}
	case err != nil && invalid == unavailable:
		return &contractError{
			fmt.Sprintf("the error does not wrap exactly one of ErrInvalidToken and ErrUnavailable: %v", err)}
	}
	return err
}

// contractError is a breach of the contract of [providers.Provider].
type contractError struct{ text string }

func (b *contractError) Error() string { return b.text }

// accepts returns an error if the token is not accepted.
func (o *openAdapter) accepts(token string) error {
	if _, err := o.verify(context.Background(), token); err != nil {
		return fmt.Errorf("a good token is not accepted: %w", err)
	}
	return nil
}

// acceptsPromptly is accepts for a token whose key is known: its verification must not wait for the issuer.
func (o *openAdapter) acceptsPromptly(token string) error {
	if _, err := o.verifyWithin(context.Background(), knownWithin, token); err != nil {
		return fmt.Errorf("a good token whose key is known is not accepted: %w", err)
	}
	return nil
}

// refuses returns an error unless Verify reports an invalid token. Until the refetch interval has passed the
// adapter may report an outage instead, because the token could be signed by a new key.
func (o *openAdapter) refuses(token string) error {
	_, err := o.refusal(token)
	return err
}

// refusal is refuses, and also returns the error of Verify.
func (o *openAdapter) refusal(token string) (verifyErr, err error) {
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		_, verifyErr := o.verify(context.Background(), token)
		if !errors.Is(verifyErr, providers.ErrUnavailable) ||
			time.Since(start) > o.Issuer.KeyPolicy.RefetchInterval+o.timeout() {
			return verifyErr, checkOutcome(providers.ErrInvalidToken, verifyErr)
		}
	}
}

// notAccepted returns an error if the token is accepted. Both kinds of errors are allowed, an outage and an
// invalid token.
func (o *openAdapter) notAccepted(token string) error {
	_, err := o.verify(context.Background(), token)
	var violation *contractError
	switch {
	case err == nil:
		return errors.New("the token is accepted")
	case errors.As(err, &violation):
		return err
	}
	return nil
}

// reportsOutage returns an error unless Verify reports that the provider is unavailable.
func (o *openAdapter) reportsOutage(token string) error {
	return o.fails(token, providers.ErrUnavailable)
}

func (o *openAdapter) fails(token string, outcome error) error {
	_, err := o.verify(context.Background(), token)
	return checkOutcome(outcome, err)
}

// checkOutcome returns an error unless err wraps outcome.
func checkOutcome(outcome, err error) error {
	switch {
	case err == nil:
		return errors.New("the token is accepted")
	case !errors.Is(err, outcome):
		return fmt.Errorf("want %q, got: %w", outcome, err)
	}
	return nil
}

// problems collects errors and keeps the first five.
type problems struct {
	list []error
	more int
}

func (p *problems) add(name string, err error) {
	switch {
	case err == nil:
	case len(p.list) < 5:
		p.list = append(p.list, fmt.Errorf("%s: %w", name, err))
	default:
		p.more++
	}
}

func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.list, fmt.Errorf("and %d more", p.more))...)
	}
	return errors.Join(p.list...)
}

// leaks returns an error if text contains a part of the token, or the canary.
func leaks(text, token string) error {
	if strings.Contains(text, canary) {
		return errors.New("it contains claims, or text that the issuer sent")
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 20 && strings.Contains(text, part) {
			return errors.New("it contains a part of the token")
		}
	}
	return nil
}

// checkErrorText returns an error if the text of err is not fit for a log.
func checkErrorText(err error, token string) error {
	text := err.Error()
	switch {
	case len(text) > 600:
		return fmt.Errorf("the error has %d bytes", len(text))
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("the error is not plain ASCII: %.100q", text)
	}
	return leaks(text, token)
}

// logBuffer holds the log of an adapter.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
