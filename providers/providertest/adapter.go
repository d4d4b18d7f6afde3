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
	// canary stands in every token, in claims that nobody has to look at, and in the answers of a broken issuer. It must
	// never come out again.
	canary = "canary-7d1f0c"

	// openWithin is how long an adapter may take to open, which is not a matter of the network.
	openWithin = 2 * time.Second
	// answerWithin bounds every answer, whatever the issuer does. A client of the server has given up by then.
	answerWithin = 5 * time.Second
	// knownWithin bounds the answer to a token whose key is known, which is not a matter of the network either.
	knownWithin = 1500 * time.Millisecond
)

// opened is an adapter at work for one rule.
type openAdapter struct {
	*Subject
	provider providers.Provider
	info     providers.ServerInfo
	log      *logBuffer
	varieties
}

// opening makes a rule's Check of one that begins with an adapter that works.
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

// processors lets two rules at a time sign and verify by the hundred, whichever adapters they are about: the rules that
// look at the clock must not feel it.
var processors = make(chan struct{}, 2)

// working makes a rule's Check of one that keeps a processor busy.
func cpuBound(check func(*openAdapter) error) func(*Subject) error {
	return withAdapter(func(o *openAdapter) error {
		processors <- struct{}{}
		defer func() { <-processors }()
		return check(o)
	})
}

// open opens the adapter. What it does in the background is over when stop has been called.
func (s *Subject) open() (o *openAdapter, stop func(), err error) {
	if err := s.validate(); err != nil {
		return nil, nil, fmt.Errorf("the harness is not complete: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	log := &logBuffer{}
	info := providers.ServerInfo{
		Resource: s.Resource, Name: "Conformance", InitialScopes: []string{"mcp:use"}, KnownScopes: []string{"mcp:use", "files:read"},
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	var provider providers.Provider
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("its Open panicked: %v", p)
			}
		}()
		p, err := s.Open(ctx, info)
		provider = p
		done <- err
	}()
	select {
	case err = <-done:
	case <-time.After(openWithin):
		err = fmt.Errorf("its Open did not return in %s", openWithin)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return &openAdapter{Subject: s, provider: provider, info: info, log: log, varieties: s.varieties()}, stop, nil
}

// works waits until the first good token is accepted.
func (o *openAdapter) waitReady() error {
	token := o.base.token()
	return o.eventually("the first good token is accepted", func() error { return o.accepts(token) })
}

// patience is Timeout or its default.
func (s *Subject) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return 5 * time.Second
}

// eventually polls until there is no error, because what is waited for happens in the background.
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
			return fmt.Errorf("in %s it did not happen that %s: %w", s.timeout(), what, err)
		}
	}
}

// final is an error that no waiting helps against.
type permanentError struct{ error }

// verify asks the adapter once. An adapter that panics, does not answer, or does not keep the contract of
// [providers.Provider], has failed whatever it was asked.
func (o *openAdapter) verify(ctx context.Context, token string) (*providers.Identity, error) {
	return o.verifyWithin(ctx, answerWithin, token)
}

func (o *openAdapter) verifyWithin(ctx context.Context, limit time.Duration, token string) (*providers.Identity, error) {
	type answer struct {
		id  *providers.Identity
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // who is no longer waited for may stop
	answers := make(chan answer, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answers <- answer{nil, &contractError{fmt.Sprintf("it panicked: %v", p)}}
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
		return nil, &contractError{fmt.Sprintf("there was no answer in %s", limit)}
	}
}

// contract returns err, or what is wrong with it.
func checkContract(id *providers.Identity, err error) error {
	invalid, unavailable := errors.Is(err, providers.ErrInvalidToken), errors.Is(err, providers.ErrUnavailable)
	switch {
	case id == nil && err == nil:
		return &contractError{"it returned neither an identity nor an error"}
	case id != nil && err != nil:
		return &contractError{fmt.Sprintf("it returned an identity and an error: %v", err)}
	case err != nil && invalid == unavailable:
		return &contractError{fmt.Sprintf("its error must wrap one of ErrInvalidToken and ErrUnavailable: %v", err)}
	}
	return err
}

// broken is an outcome that the contract does not know.
type contractError struct{ text string }

func (b *contractError) Error() string { return b.text }

// accepts returns an error if the token is not accepted.
func (o *openAdapter) accepts(token string) error {
	if _, err := o.verify(context.Background(), token); err != nil {
		return fmt.Errorf("a good token is not accepted: %w", err)
	}
	return nil
}

// acceptsPromptly is accepts for a token whose key is known: nobody who has one waits for the issuer.
func (o *openAdapter) acceptsPromptly(token string) error {
	if _, err := o.verifyWithin(context.Background(), knownWithin, token); err != nil {
		return fmt.Errorf("a good token whose key is known is not accepted: %w", err)
	}
	return nil
}

// refuses returns an error unless the token is to blame. The adapter may call that an outage until the interval is over in
// which it fetches no keys: the token may be by a new key.
func (o *openAdapter) refuses(token string) error {
	_, err := o.refusal(token)
	return err
}

// refusal is refuses, and what the adapter said.
func (o *openAdapter) refusal(token string) (said, err error) {
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		_, said := o.verify(context.Background(), token)
		if !errors.Is(said, providers.ErrUnavailable) || time.Since(start) > o.Issuer.KeyPolicy.RefetchInterval+o.timeout() {
			return said, checkOutcome(providers.ErrInvalidToken, said)
		}
	}
}

// rejects returns an error if the token is accepted, whatever is to blame.
func (o *openAdapter) notAccepted(token string) error {
	_, err := o.verify(context.Background(), token)
	var violation *contractError
	switch {
	case err == nil:
		return errors.New("it is accepted")
	case errors.As(err, &violation):
		return err
	}
	return nil
}

// reportsOutage returns an error unless the provider is to blame.
func (o *openAdapter) reportsOutage(token string) error { return o.fails(token, providers.ErrUnavailable) }

func (o *openAdapter) fails(token string, outcome error) error {
	_, err := o.verify(context.Background(), token)
	return checkOutcome(outcome, err)
}

// want returns an error unless err is of that outcome.
func checkOutcome(outcome, err error) error {
	switch {
	case err == nil:
		return errors.New("it is accepted")
	case !errors.Is(err, outcome):
		return fmt.Errorf("want %q, got: %w", outcome, err)
	}
	return nil
}

// problems collects what is wrong, of which the first few tell enough.
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

// repeats returns an error if text says more of a token, or of what a broken issuer sent, than it may.
func leaks(text, token string) error {
	if strings.Contains(text, canary) {
		return errors.New("claims, or what the issuer sent, are repeated")
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 20 && strings.Contains(text, part) {
			return errors.New("the token is repeated")
		}
	}
	return nil
}

// indiscreet returns an error if the text of err is not fit for a log.
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

// logBuffer is what an adapter logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *logBuffer) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *logBuffer) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
