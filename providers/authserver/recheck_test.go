package authserver_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

const recheckInterval = 10 * time.Minute

// due makes the last confirmation of every sign-in too old.
func (r *replicas) due() { r.clock.forward(recheckInterval) }

func TestRecheck_Answers(t *testing.T) {
	t.Run("asks at a refresh, when the last confirmation is too old", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		r.clock.forward(recheckInterval - time.Second)
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		if n := r.provider.questions(); n != 0 {
			t.Fatalf("asked %d times before it was due", n)
		}
		for round := range 3 {
			r.due()
			token = wantTokens(t, r.first().refresh(token))["refresh_token"]
			if n := r.provider.questions(); n != round+1 {
				t.Fatalf("asked %d times in %d rounds", n, round+1)
			}
		}
		r.events.want(t, 3, "signin.recheck", "")
	})
	t.Run("row 29 the provider names another person", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		r.provider.set(func(p *provider) {
			p.judge = func(who *authserver.Person) error { who.Subject = "mallory"; return nil }
		})
		r.due()
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", authserver.ReasonAccountChanged)
		r.provider.set(func(p *provider) { p.judge = nil })
		wantInvalidGrant(t, r.first().refresh(token))
	})
	t.Run("row 33 scopes shrink, and grow up to what was consented", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person("notes:read", "notes:write"))["refresh_token"]
		for _, c := range []struct {
			allowed []string
			want    string
		}{
			{[]string{"notes:read"}, "notes:read offline_access"},
			{[]string{"notes:write", "admin", "notes:read"}, "notes:read notes:write offline_access"},
			{[]string{"admin", "notes:write"}, "notes:write offline_access"},
		} {
			r.provider.set(func(p *provider) {
				p.judge = func(who *authserver.Person) error { who.Scopes = c.allowed; return nil }
			})
			r.due()
			a := wantTokens(t, r.first().refresh(token))
			token = a["refresh_token"]
			if _, claims := r.first().verify(a["access_token"].(string)); claims["scope"] != c.want || a["scope"] != c.want {
				t.Errorf("allowed %q: scope %q, response %q", c.allowed, claims["scope"], a["scope"])
			}
		}
		wantError(t, r.first().refresh(token, "scope", "notes:read"), http.StatusBadRequest, "invalid_scope")
		wantError(t, r.first().refresh(token, "scope", "admin"), http.StatusBadRequest, "invalid_scope")
		wantTokens(t, r.first().refresh(token, "scope", "notes:write notes:read"))
	})
	t.Run("row 33 no scope is left", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person("notes:read"))["refresh_token"]
		r.provider.set(func(p *provider) {
			p.judge = func(who *authserver.Person) error { who.Scopes = []string{"admin"}; return nil }
		})
		r.due()
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", authserver.ReasonScopesNotAllowed)
	})
	t.Run("row 57 a disabled person gets no new token after the next recheck", func(t *testing.T) {
		r := openReplicas(t, 2)
		token := r.tokens(r.person())["refresh_token"]
		r.provider.set(func(p *provider) { p.disabled = true })
		r.clock.forward(recheckInterval - time.Second)
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		r.clock.forward(time.Second)
		wantInvalidGrant(t, r.all[1].refresh(token))
		r.provider.set(func(p *provider) { p.disabled = false })
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", "account_gone")
		r.events.want(t, 1, "signin.recheck", "account_gone")
	})
	t.Run("row 58 the new credential is saved before the answer is judged", func(t *testing.T) {
		for name, c := range map[string]struct {
			err   error
			alive bool
		}{
			"an answer that cannot be judged": {&authserver.SignInError{Reason: "id_token_invalid", Err: errDown}, true},
			"a definite one": {&authserver.SignInError{Reason: "account_gone",
				Err: fmt.Errorf("gone: %w", authserver.ErrGone)}, false},
		} {
			t.Run(name, func(t *testing.T) {
				r := openReplicas(t, 1)
				token := r.tokens(r.person())["refresh_token"]
				r.provider.set(func(p *provider) { p.judge = func(*authserver.Person) error { return c.err } })
				r.due()
				a := r.first().refresh(token)
				if !c.alive {
					wantInvalidGrant(t, a)
					r.provider.wantDismissed(t, "credential 2")
					return
				}
				token = wantTokens(t, a)["refresh_token"] // within recheck_max_stale
				r.provider.set(func(p *provider) { p.judge = nil })
				r.due()
				wantTokens(t, r.first().refresh(token))
				if asked := r.provider.asked; len(asked) != 2 || asked[0] != "credential 1" || asked[1] != "credential 2" {
					t.Errorf("asked with %q", asked)
				}
			})
		}
	})
}

func TestRecheck_Outages(t *testing.T) {
	t.Run("row 55 the provider is down", func(t *testing.T) {
		r := openReplicas(t, 2)
		token := r.tokens(r.person())["refresh_token"]
		r.provider.set(func(p *provider) { p.down = true })
		for range 5 { // 50 minutes, of the hour of recheck_max_stale
			r.due()
			token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		}
		if n := r.provider.questions(); n != 5 {
			t.Errorf("asked %d times", n)
		}
		r.due()
		wantUnavailable(t, r.first().refresh(token), "10")
		wantUnavailable(t, r.all[1].refresh(token), "10")
		if n := r.provider.questions(); n != 6 {
			t.Errorf("asked %d times: an outage is asked about again at once", n)
		}
		r.events.want(t, 6, "signin.recheck", "provider_unavailable")
		r.events.want(t, 2, "signin.refresh", authserver.ReasonRecheckFailed)
		r.provider.set(func(p *provider) { p.down = false })
		r.clock.forward(10 * time.Second)
		token = wantTokens(t, r.all[1].refresh(token))["refresh_token"]
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("row 54 the store fails after the answer: the credential is kept until it is back", func(t *testing.T) {
		r := openReplicas(t, 1)
		r.first().SetPatience(shortWait, 10*time.Second)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		var once sync.Once
		r.provider.set(func(p *provider) {
			p.before = func() { once.Do(func() { r.store.set(only("Replace"), nil) }) }
		})
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(100 * time.Millisecond)
			r.store.heal()
		})
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		group.Wait()
		r.due()
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("row 54 its write is not confirmed", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		writes := 0
		r.store.set(nil, func(op string) bool { // the second one has the credential
			if op == "Replace" {
				writes++
			}
			return op == "Replace" && writes == 2
		})
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		r.store.heal()
		r.due()
		wantTokens(t, r.first().refresh(token))
		if asked := r.provider.asked; len(asked) != 2 || asked[1] != "credential 2" {
			t.Errorf("asked with %q", asked)
		}
	})
	for _, lenient := range []bool{false, true} {
		t.Run(fmt.Sprintf("row 51 a replica dies between answer and save; lenient provider: %t", lenient),
			func(t *testing.T) {
				r := openReplicas(t, 2)
				other := wantTokens(t, r.first().exchangeCode(r.codeFor("other", r.person()), "client_id", "other"))
				token := r.tokens(r.person())["refresh_token"]
				r.due()
				r.provider.set(func(p *provider) {
					p.lenient = lenient
					p.before = func() { r.store.set(only("Replace"), nil) }
				})
				wantUnavailable(t, r.first().refresh(token), "5") // nothing of what the replica does is stored any more
				r.store.heal()
				r.provider.set(func(p *provider) { p.before = nil })
				wantUnavailable(t, r.all[1].refresh(token), "1")
				if n := r.provider.questions(); n != 1 {
					t.Errorf("asked %d times within the lease", n)
				}
				r.clock.forward(15 * time.Second)
				a := r.all[1].refresh(token)
				if asked := r.provider.asked; len(asked) != 2 || asked[0] != asked[1] {
					t.Errorf("asked with %q", asked)
				}
				if lenient {
					wantTokens(t, a)
				} else {
					wantInvalidGrant(t, a)
					wantInvalidGrant(t, r.first().refresh(token))
				}
				wantTokens(t, r.first().refresh(other["refresh_token"], "client_id", "other"))
			})
	}
	t.Run("row 51 long after the death, nothing waits", func(t *testing.T) {
		r := openReplicas(t, 2)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		r.provider.set(func(p *provider) {
			p.lenient, p.before = true, func() { r.store.set(only("Replace"), nil) }
		})
		wantUnavailable(t, r.first().refresh(token), "5")
		r.store.heal()
		r.provider.set(func(p *provider) { p.before = nil })
		r.due()
		wantTokens(t, r.all[1].refresh(token))
	})
	t.Run("a client that goes away does not lose the answer", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		asking, released := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		defer release() // or a test that fails would wait for the server
		r.provider.set(func(p *provider) { p.before = func() { close(asking); <-released } })
		cancelled := make(chan struct{})
		gone := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			defer context.AfterFunc(request.Context(), func() { close(cancelled) })()
			r.first().Handler().ServeHTTP(w, request)
		}))
		gone.browser.Timeout = 50 * time.Millisecond
		done := make(chan struct{})
		go func() {
			defer close(done)
			request := gone.request(http.MethodPost, "/token", formBody(refreshForm(token)))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if response, err := gone.browser.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		<-asking
		<-done
		<-cancelled
		r.provider.set(func(p *provider) { p.before = nil })
		release()
		for range 200 { // until the request that was left alone has stored its answer
			if len(r.events.find("signin.recheck", "")) == 1 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		r.events.want(t, 1, "signin.recheck", "")
		wantTokens(t, r.first().refresh(token))
		if n := r.provider.questions(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestRecheck_Races(t *testing.T) {
	t.Run("row 38 40 refreshes at once, on two replicas", func(t *testing.T) {
		r := openReplicas(t, 2)
		for _, issuer := range r.all {
			issuer.SetPatience(5*time.Second, time.Second)
		}
		token := r.tokens(r.person())["refresh_token"]
		all := rounds(5, 100)
		for round := range all {
			r.due()
			r.provider.set(func(p *provider) { p.before = func() { time.Sleep(20 * time.Millisecond) } })
			answers := make([]answer, 40)
			var group sync.WaitGroup
			for n := range answers {
				group.Go(func() { answers[n] = r.all[n%2].refresh(token) })
			}
			group.Wait()
			successors := map[any]int{}
			for _, a := range answers {
				if a.StatusCode == http.StatusServiceUnavailable {
					wantUnavailable(t, a, "1")
					continue
				}
				successors[wantTokens(t, a)["refresh_token"]]++
			}
			if len(successors) != 1 {
				t.Fatalf("round %d: %d successors", round, len(successors))
			}
			if n := r.provider.questions(); n != round+1 {
				t.Fatalf("round %d: the provider was asked %d times", round, n)
			}
			for token = range successors {
			}
		}
		r.events.want(t, all, "signin.refresh", "")
		r.events.want(t, 0, "signin.end", authserver.ReasonReplayed)
	})
	for _, c := range []struct {
		name          string
		first, second time.Duration // how far their clocks are ahead
	}{
		{"the second one 30 s ahead", 0, 30 * time.Second},
		{"the second one 30 s behind", 30 * time.Second, 0},
	} {
		t.Run("row 50 clocks of replicas apart, "+c.name, func(t *testing.T) {
			r := openReplicas(t, 2)
			r.clocksApart(c.first, c.second)
			token := r.tokens(r.person())["refresh_token"]
			r.clock.forward(recheckInterval + 30*time.Second)
			asking, released := make(chan struct{}), make(chan struct{})
			release := sync.OnceFunc(func() { close(released) })
			defer release() // or a test that fails would wait for the server
			r.provider.set(func(p *provider) { p.before = func() { close(asking); <-released } })
			answers := make(chan answer)
			go func() { answers <- r.all[0].refresh(token) }()
			<-asking
			r.clock.forward(5 * time.Second)
			wantUnavailable(t, r.all[1].refresh(token), "1")
			r.clock.forward(4 * time.Second)
			wantUnavailable(t, r.all[1].refresh(token), "1")
			release()
			first, second := wantTokens(t, <-answers), wantTokens(t, r.all[1].refresh(token))
			if first["refresh_token"] != second["refresh_token"] {
				t.Error("the successors differ")
			}
			if n := r.provider.questions(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	for _, jump := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		t.Run("row 50 the clock jumps by "+jump.String(), func(t *testing.T) {
			r := openReplicas(t, 2)
			token := r.tokens(r.person())["refresh_token"]
			token = wantTokens(t, r.first().refresh(token))["refresh_token"]
			r.clock.forward(jump)
			next := wantTokens(t, r.all[1].refresh(token))["refresh_token"]
			if again := wantTokens(t, r.first().refresh(token))["refresh_token"]; again != next {
				t.Error("the successors differ")
			}
			r.due()
			wantTokens(t, r.first().refresh(next))
		})
	}
	for n, want := range []int{http.StatusOK, http.StatusOK, http.StatusBadRequest} {
		t.Run(fmt.Sprintf("a replica that need not ask refreshes %d times meanwhile", n), func(t *testing.T) {
			r := openReplicas(t, 2)
			r.clocksApart(30*time.Second, 0)
			token := r.tokens(r.person())["refresh_token"]
			r.due()
			asking, released := make(chan struct{}), make(chan struct{})
			release := sync.OnceFunc(func() { close(released) })
			defer release() // or a test that fails would wait for the server
			r.provider.set(func(p *provider) { p.before = func() { close(asking); <-released } })
			answers := make(chan answer)
			go func() { answers <- r.all[0].refresh(token) }()
			<-asking
			latest := token
			for range n {
				latest = wantTokens(t, r.all[1].refresh(latest))["refresh_token"]
			}
			release()
			a := <-answers
			if a.StatusCode != want {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
			if n == 0 {
				latest = a.json(t)["refresh_token"]
			}
			r.provider.set(func(p *provider) { p.before = nil })
			r.clock.forward(recheckInterval + 30*time.Second)
			wantTokens(t, r.all[1].refresh(latest))
			if asked := r.provider.asked; len(asked) != 2 || asked[1] != "credential 2" {
				t.Errorf("asked with %q", asked)
			}
		})
	}
	t.Run("row 50 a clock that was hours ahead does not put off the question", func(t *testing.T) {
		r := openReplicas(t, 2)
		r.clocksApart(0, 5*time.Hour)
		token := wantTokens(t, r.all[1].refresh(r.tokens(r.person())["refresh_token"]))["refresh_token"]
		r.provider.set(func(p *provider) { p.disabled = true })
		r.clock.forward(time.Minute)
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", "account_gone")
	})
	t.Run("row 50 a clock that was hours ahead does not prolong an outage", func(t *testing.T) {
		r := openReplicas(t, 2)
		r.clocksApart(0, 5*time.Hour)
		token := r.tokens(r.person())["refresh_token"]
		r.provider.set(func(p *provider) { p.down = true })
		wantUnavailable(t, r.all[1].refresh(token), "10")
		r.provider.set(func(p *provider) { p.down = false })
		r.clock.forward(2 * time.Hour)
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("row 50 a clock that was hours ahead does not prolong the grace", func(t *testing.T) {
		r := openReplicas(t, 2)
		r.clocksApart(0, 5*time.Hour)
		token := r.tokens(r.person())["refresh_token"]
		wantTokens(t, r.all[1].refresh(token))
		r.clock.forward(2 * foreverGrace)
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", authserver.ReasonReplayed)
	})
	t.Run("row 50 a question that outlives its lease does not end the sign-in", func(t *testing.T) {
		r := openReplicas(t, 2)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		asking, released := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		defer release() // or a test that fails would wait for the server
		var questions atomic.Int64
		r.provider.set(func(p *provider) {
			p.before = func() {
				if questions.Add(1) == 1 {
					close(asking)
					<-released
				}
			}
		})
		answers := make(chan answer)
		go func() { answers <- r.all[0].refresh(token) }()
		<-asking
		wantUnavailable(t, r.all[1].refresh(token), "1")
		r.clock.forward(15 * time.Second)
		second := wantTokens(t, r.all[1].refresh(token))
		release() // the provider says that the credential of the first question is used
		first := wantTokens(t, <-answers)
		if first["refresh_token"] != second["refresh_token"] {
			t.Error("the successors differ")
		}
		r.due()
		wantTokens(t, r.first().refresh(first["refresh_token"]))
	})
	t.Run("row 50 the clock of one replica is 5 min ahead while the other asks", func(t *testing.T) {
		r := openReplicas(t, 2)
		r.clocksApart(0, 5*time.Minute)
		token := r.tokens(r.person())["refresh_token"]
		r.due()
		asking, released := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		defer release() // or a test that fails would wait for the server
		r.provider.set(func(p *provider) { p.before = func() { close(asking); <-released } })
		answers := make(chan answer)
		go func() { answers <- r.all[0].refresh(token) }()
		<-asking
		wantUnavailable(t, r.all[1].refresh(token), "1")
		release()
		wantTokens(t, <-answers)
		if n := r.provider.questions(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}
