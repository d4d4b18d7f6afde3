package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/providers"
)

func outageRules() []Rule {
	return []Rule{
		{"open", "Open does not wait for the network, and the metadata is available at once",
			"Istio issue 37456", checkOpen},
		{"down-at-start",
			"an issuer that is down at startup is reported as an outage, and the adapter recovers when it " +
				"is back",
			"Istio issue 17541; Kubernetes, OIDC authenticator", checkDownAtStart},
		{"concurrent-start", "a hundred concurrent first callers cause at most three fetches, and all are accepted",
			"Vault, jwks_cache_test", checkConcurrentStart},
		{"outage",
			"while the issuer is down, known keys stay usable, and a token with an unknown key is reported " +
				"as an outage, not as invalid",
			"Istio pull request 14577", withAdapter(checkOutage)},
		{"hung-endpoint",
			"an issuer that never responds does not delay tokens with a known key, and delays others " +
				"for a bounded time",
			"OWASP API4:2023; Envoy, jwt_authn RemoteJwks",
			withAdapter(func(o *openAdapter) error { return checkUnresponsive(o, o.Issuer.AnswerAll, hang) })},
		{"slow-endpoint",
			"an issuer that responds one byte at a time delays tokens no more than one that never responds",
			"OWASP API4:2023",
			withAdapter(func(o *openAdapter) error { return checkUnresponsive(o, o.Issuer.AnswerKeys, drip) })},
		{"bad-responses", "a response that is not a key set does not replace valid keys, and is not quoted",
			"Istio pull request 14577; CWE-532",
			withAdapter(func(o *openAdapter) error { return checkBadResponses(o, badResponses) })},
		{"bad-key-sets", "a key set without a usable key does not replace valid keys, and is not quoted",
			"panva/jose, remote.test.ts",
			withAdapter(func(o *openAdapter) error { return checkBadResponses(o, badKeySets) })},
		{"redirects", "a redirect to another origin is not followed",
			"CWE-918; OWASP API7:2023", withAdapter(checkRedirects)},
		{"retry-after", "an issuer that responds with 429 or 503 gets no request before its Retry-After, " +
			"and the keys are kept",
			"RFC 9110, section 10.2.3; RFC 6585, section 4", withAdapter(checkRetryAfter)},
		{"canceled-caller", "a caller that cancels during a fetch does not fail the other callers",
			"go-oidc pull request 433", withAdapter(checkCanceledCaller)},
		{"shutdown", "background work ends with its context", "providers.Settings", checkShutdown},
	}
}

// down is a handler that fails with status 500.
func down(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, canary, http.StatusInternalServerError)
}

// hang never responds.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drip responds endlessly, a byte at a time.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte(" "))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

func checkOpen(s *Subject) error {
	s.Issuer.AnswerAll(hang)
	o, stop, err := s.open()
	if err != nil {
		return fmt.Errorf("while the issuer does not respond: %w", err)
	}
	defer stop()
	return o.metadata()
}

func checkDownAtStart(s *Subject) error {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"an error", down}, {"no connection", closeConnection},
		{"HTML", text("<!doctype html><title>" + canary + "</title>")}, {"no keys", text(`{"keys":[]}`)},
	} {
		if err := checkStart(s, c.answer); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func checkStart(s *Subject, answer http.HandlerFunc) error {
	s.Issuer.AnswerAll(answer)
	defer s.Issuer.AnswerAll(nil)
	o, stop, err := s.open()
	if err != nil {
		return err
	}
	defer stop()
	if err := o.metadata(); err != nil {
		return err
	}
	good := o.base.token()
	if err := o.reportsOutage(good); err != nil {
		return fmt.Errorf("a token before any key was fetched: %w", err)
	}
	reporter, reports := o.provider.(providers.KeyReporter)
	if reports {
		if err := o.eventually("a problem is reported", func() error {
			if status := reporter.Keys(); status.Usable || status.Age != 0 || status.Problem == "" {
				return fmt.Errorf("without keys it reports %+v", status)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	s.Issuer.AnswerAll(nil)
	if reports {
		// Readiness depends on this: without traffic no token causes a fetch.
		if err := o.eventually("the keys are usable, without a token that needs them", func() error {
			if status := reporter.Keys(); !status.Usable || status.Problem != "" {
				return fmt.Errorf("it reports %+v", status)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return o.eventually("good tokens are accepted when the issuer is back",
		func() error { return o.accepts(good) })
}

func checkConcurrentStart(s *Subject) error {
	s.Issuer.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		_, _ = w.Write(s.Issuer.KeySet())
	})
	o, stop, err := s.open()
	if err != nil {
		return err
	}
	defer stop()
	good := o.base.token()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong problems
	)
	for range 100 {
		wg.Go(func() {
			err := o.accepts(good)
			mu.Lock()
			defer mu.Unlock()
			wrong.add("a first caller", err)
		})
	}
	wg.Wait()
	if n := s.Issuer.mostRequests(); n < 1 || n > 3 {
		wrong.add("fetches", fmt.Errorf("%d, want 1 to 3", n))
	}
	return wrong.err()
}

// waitForOutage waits until the adapter has seen the issuer's present response: from then on a token with an
// unknown key is reported as an outage, even after the refetch interval. Tokens with a known key are accepted
// before and after.
func (o *openAdapter) waitForOutage() error {
	known, unknown := o.base.token(), ""
	var knownErr error
	var since time.Time
	err := o.eventually("a token with an unknown key is reported as an outage for longer than the "+
		"interval", func() error {
		if knownErr = o.acceptsPromptly(known); knownErr != nil {
			return nil
		}
		if unknown == "" {
			unknown, since = o.base.withUnknownKey(newKid()), time.Now()
		}
		if err := o.reportsOutage(unknown); err != nil {
			unknown = "" // it was looked up before the response changed
			return err
		}
		if lasted := time.Since(since); lasted < 2*o.Issuer.KeyPolicy.RefetchInterval {
			return fmt.Errorf("so far for %s", lasted)
		}
		if reporter, reports := o.provider.(providers.KeyReporter); reports && reporter.Keys().Problem == "" {
			return errors.New("it reports no problem")
		}
		return nil
	})
	if err := errors.Join(knownErr, err); err != nil {
		return err
	}
	return o.acceptsPromptly(known)
}

func checkOutage(o *openAdapter) error {
	for name, answer := range map[string]http.HandlerFunc{"an error": down, "no connection": closeConnection} {
		if err := checkOutageOf(o, answer); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkOutageOf(o *openAdapter, answer http.HandlerFunc) error {
	known, token := o.base.token(), o.tokenWithNewKey()
	o.Issuer.AnswerAll(answer)
	// Long enough for the adapter to refresh its keys in the background, which must keep them too.
	for start := time.Now(); time.Since(start) < o.Issuer.KeyPolicy.MaxAge; time.Sleep(20 * time.Millisecond) {
		if err := o.acceptsPromptly(known); err != nil {
			return err
		}
	}
	if err := o.waitForOutage(); err != nil {
		return err
	}
	var wrong problems
	for _, template := range o.all {
		wrong.add(template.name, o.acceptsPromptly(template.token()))
	}
	wrong.add("an expired token", o.refuses(o.base.withClaims(m{"exp": 1})))
	o.Issuer.AnswerAll(nil)
	wrong.add("afterwards", o.eventually("a new key is found", func() error { return o.accepts(token) }))
	return wrong.err()
}

func checkUnresponsive(o *openAdapter, replace func(http.HandlerFunc), answer http.HandlerFunc) error {
	replace(answer)
	ctx, cancel := context.WithCancel(context.Background())
	token, known := o.base.withUnknownKey(newKid()), o.base.token()
	waited := make(chan struct{})
	var waiter error
	go func() {
		defer close(waited)
		begin := time.Now()
		waiter = o.eventually("a token with an unknown key is an outage for longer than the interval",
			func() error {
				if _, err := o.verify(ctx, token); ctx.Err() == nil && !errors.Is(err, providers.ErrUnavailable) {
					return checkOutcome(providers.ErrUnavailable, err)
				}
				if lasted := time.Since(begin); ctx.Err() == nil && lasted < 2*o.Issuer.KeyPolicy.RefetchInterval {
					return fmt.Errorf("so far for %s", lasted)
				}
				return nil
			})
	}()
	defer func() {
		cancel()
		<-waited
	}()
	hasty, done := context.WithTimeout(ctx, 100*time.Millisecond)
	defer done()
	start := time.Now()
	_, err := o.verify(hasty, o.base.withUnknownKey(newKid()))
	if took := time.Since(start); err == nil || took > knownWithin {
		return fmt.Errorf("a caller with a deadline of 100 ms waited %s: %v", took, err)
	}
	for {
		select {
		case <-waited:
			return waiter
		case <-time.After(50 * time.Millisecond):
			if err := o.acceptsPromptly(known); err != nil {
				return err
			}
		}
	}
}

func checkBadResponses(o *openAdapter, answers func(*openAdapter) map[string]http.HandlerFunc) error {
	forged := o.attackerToken()
	for name, answer := range answers(o) {
		if err := checkBadResponse(o, answer, forged); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkBadResponse(o *openAdapter, answer http.HandlerFunc, forged string) error {
	o.Issuer.AnswerKeys(answer)
	if err := o.waitForOutage(); err != nil {
		return err
	}
	if err := o.reportsOutage(forged); err != nil {
		return fmt.Errorf("an attacker's key: %w", err)
	}
	if err := o.checkOutageText(forged); err != nil {
		return err
	}
	o.Issuer.AnswerKeys(nil)
	return o.waitForNewKey()
}

// attackerToken returns a valid token by a key that only the bad responses contain.
func (o *openAdapter) attackerToken() string {
	return o.Issuer.Sign(merged(o.base.header, m{"kid": o.attackerKey()}), o.base.claims)
}

const attackerKid = "attackers-key"

// attackerKey returns the id of a key that is not published, and generates it at the first call.
func (o *openAdapter) attackerKey() string {
	if !o.Issuer.knows(attackerKid) {
		alg := o.base.algorithm()
		o.Issuer.ImportKey(newKey(o.Issuer.t, alg), alg, m{"kid": attackerKid})
		o.Issuer.Withdraw(attackerKid)
	}
	return attackerKid
}

// attackerKeySet is a valid key set with the attacker's key.
func (o *openAdapter) attackerKeySet() string {
	k := o.Issuer.key(o.attackerKey())
	return string(mustJSON(m{canary: 1, "keys": []any{k.public}}))
}

// checkOutageText returns an error if the adapter quotes what the issuer sent.
func (o *openAdapter) checkOutageText(token string) error {
	_, err := o.verify(context.Background(), token)
	if err == nil {
		return errors.New("the token is accepted")
	}
	problem := ""
	if reporter, ok := o.provider.(providers.KeyReporter); ok {
		problem = reporter.Keys().Problem
	}
	for _, text := range []string{err.Error(), problem, o.log.String()} {
		if err := leaks(text, token); err != nil {
			return err
		}
		if strings.Contains(text, "<title>") {
			return errors.New("it quotes what the issuer sent")
		}
	}
	if len(problem) > 600 {
		return fmt.Errorf("the problem has %d bytes", len(problem))
	}
	return checkErrorText(err, token)
}

func checkRedirects(o *openAdapter) error {
	attackerKeySet := o.attackerKeySet()
	var requests atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write([]byte(attackerKeySet))
	}))
	defer elsewhere.Close()
	wrong := checkBadResponses(o, func(*openAdapter) map[string]http.HandlerFunc {
		answers := map[string]http.HandlerFunc{}
		for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			answers[http.StatusText(status)] = respond(status, attackerKeySet, "Location", elsewhere.URL)
		}
		return answers
	})
	if n := requests.Load(); n > 0 {
		return errors.Join(wrong, fmt.Errorf("another origin received %d requests", n))
	}
	return wrong
}

func checkRetryAfter(o *openAdapter) error {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		if err := checkRetryAfterOf(o, status); err != nil {
			return fmt.Errorf("%s: %w", http.StatusText(status), err)
		}
	}
	return nil
}

func checkRetryAfterOf(o *openAdapter, status int) error {
	known, token := o.base.token(), o.tokenWithNewKey()
	o.Issuer.AnswerAll(respond(status, "", "Retry-After", "1"))
	if err := o.waitForOutage(); err != nil {
		return err
	}
	// The adapter may fetch again when its keys reach MaxAge, even if Retry-After is longer. The margin keeps
	// the timing of one more request from deciding.
	quiet := min(time.Second, o.Issuer.KeyPolicy.MaxAge) * 6 / 10
	before, start := o.Issuer.mostRequests(), time.Now()
	for ; time.Since(start) < quiet; time.Sleep(5 * time.Millisecond) {
		if err := o.reportsOutage(o.base.withUnknownKey(newKid())); err != nil {
			return err
		}
	}
	if n := o.Issuer.mostRequests() - before; n > 1 {
		return fmt.Errorf("it received %d more requests in %s, although Retry-After was one second", n, quiet)
	}
	if err := o.acceptsPromptly(known); err != nil {
		return err
	}
	o.Issuer.AnswerAll(nil)
	return o.eventually("a new key is found afterwards", func() error { return o.accepts(token) })
}

func checkCanceledCaller(o *openAdapter) error {
	fetching, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	token := o.tokenWithNewKey()
	o.Issuer.AnswerKeys(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(fetching) })
		select {
		case <-release:
			_, _ = w.Write(o.Issuer.KeySet())
		case <-r.Context().Done():
		}
	})
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong problems
	)
	report := func(name string, err error) {
		mu.Lock()
		defer mu.Unlock()
		wrong.add(name, err)
	}
	first, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	var waitingSince atomic.Pointer[time.Time] // nil while the first caller is not in Verify
	wg.Go(func() {
		// Until the refetch interval has passed the key is simply unknown, so the caller repeats until a
		// fetch is in progress.
		for first.Err() == nil {
			waitingSince.Store(new(time.Now()))
			_, _ = o.verify(first, token)
			waitingSince.Store(nil)
			time.Sleep(time.Millisecond)
		}
	})
	select {
	case <-fetching:
	case <-time.After(o.timeout()):
		close(release)
		hangUp()
		wg.Wait()
		return errors.New("a token with an unknown key caused no fetch")
	}
	// The others must find the first caller waiting for this fetch, unless the adapter lets no caller wait.
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; time.Sleep(time.Millisecond) {
		if since := waitingSince.Load(); since != nil && time.Since(*since) > 20*time.Millisecond {
			break
		}
	}
	var ready sync.WaitGroup
	for range 5 {
		ready.Add(1)
		wg.Go(func() {
			ready.Done()
			report("a caller that waited", o.accepts(token))
		})
	}
	ready.Wait()
	time.Sleep(100 * time.Millisecond) // until they wait, on a busy machine too
	hangUp()
	wg.Go(func() {
		// The caller cannot be served, but the token is not at fault.
		if _, err := o.verify(first, token); err != nil {
			report("the caller that canceled", checkOutcome(providers.ErrUnavailable, err))
		}
	})
	time.Sleep(20 * time.Millisecond)
	close(release)
	wg.Wait()
	return wrong.err()
}

func checkShutdown(s *Subject) error {
	o, stop, err := s.open()
	if err != nil {
		return err
	}
	err = o.waitReady()
	stop()
	if err != nil {
		return err
	}
	before := s.Issuer.mostRequests()
	if before == 0 {
		return errNoRequests
	}
	// Keys are refreshed within MaxAge, so several times in this period. One request may have been in
	// progress.
	for start := time.Now(); time.Since(start) < 4*s.Issuer.KeyPolicy.MaxAge; time.Sleep(20 * time.Millisecond) {
		if n := s.Issuer.mostRequests() - before; n > 1 {
			return fmt.Errorf("the issuer received %d more requests after the context ended", n)
		}
	}
	return nil
}
