package authserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

func TestGrant_Code(t *testing.T) {
	r := openReplicas(t, 2)
	mismatches := []struct {
		name    string
		changes []string
		code    string
	}{
		// The table of threats asks for a code that is spent. It stays valid, as in every issuer of this package: a thief
		// who has the code without its verifier could end the sign-in of the client otherwise, and gets nothing anyway.
		{"row 07 another redirect URI", []string{"redirect_uri", "http://127.0.0.1:7778/callback"}, "invalid_grant"},
		{"row 35 another client", []string{"client_id", "other"}, "invalid_grant"},
		{"row 35 another redirect URI", []string{"redirect_uri", "https://app.example/cb?keep=1"}, "invalid_grant"},
		{"row 35 another verifier", []string{"code_verifier", strings.Repeat("x", 50)}, "invalid_grant"},
		{"row 34 no verifier", []string{"code_verifier", ""}, "invalid_grant"},
		{"row 34 a short verifier", []string{"code_verifier", "short"}, "invalid_grant"},
		{"row 35 another resource", []string{"resource", brokerURL + "/other"}, "invalid_target"},
		{"row 43 a foreign resource", []string{"resource", "https://elsewhere.example/mcp"}, "invalid_target"},
		{"row 43 a resource with a fragment", []string{"resource", brokerResource + "#x"}, "invalid_target"},
	}
	for _, c := range mismatches {
		t.Run(c.name, func(t *testing.T) {
			code := r.code(r.person())
			wantError(t, r.first().exchangeCode(code, c.changes...), http.StatusBadRequest, c.code)
			wantTokens(t, r.all[1].exchangeCode(code))
		})
	}
	t.Run("row 43 several resources", func(t *testing.T) {
		code := r.code(r.person())
		form := r.first().exchange(code)
		form["resource"] = []string{brokerResource, brokerURL + "/other"}
		wantError(t, r.first().post("/token", form), http.StatusBadRequest, "invalid_target")
		form["resource"] = nil
		wantTokens(t, r.first().post("/token", form))
	})
	t.Run("row 36 used twice, on two replicas", func(t *testing.T) {
		code := r.code(r.person())
		first := wantTokens(t, r.first().exchangeCode(code))
		wantInvalidGrant(t, r.all[1].exchangeCode(code))
		wantInvalidGrant(t, r.first().refresh(first["refresh_token"]))
		if len(r.events.find("signin.end", authserver.ReasonReplayed)) != 1 {
			t.Errorf("the replay is not recorded: %+v", r.events.all)
		}
	})
	t.Run("row 36 used twice at the same time, on two replicas", func(t *testing.T) {
		for range rounds(10, 200) {
			code := r.code(r.person())
			answers := make([]answer, 4)
			var group sync.WaitGroup
			for n := range answers {
				group.Go(func() { answers[n] = r.all[n%2].exchangeCode(code) })
			}
			group.Wait()
			succeeded := 0
			for _, a := range answers {
				if a.StatusCode != http.StatusOK {
					wantInvalidGrant(t, a)
					continue
				}
				succeeded++
				wantInvalidGrant(t, r.first().refresh(a.json(t)["refresh_token"]))
			}
			if succeeded > 1 {
				t.Fatalf("%d exchanges have succeeded", succeeded)
			}
		}
	})
	t.Run("a code is good for 60 seconds", func(t *testing.T) {
		early, late := r.code(r.person()), r.code(r.person())
		r.clock.forward(59 * time.Second)
		wantTokens(t, r.first().exchangeCode(early))
		r.clock.forward(time.Second)
		wantInvalidGrant(t, r.first().exchangeCode(late))
	})
	t.Run("row 19 one sign-in has one grant", func(t *testing.T) {
		who := r.person()
		request := authserver.Request{ClientID: "public", RedirectURI: callback, Challenge: challengeOf(verifier),
			Resource: brokerResource, Scopes: []string{"notes:read"}}
		for n, issuer := range r.all {
			if _, err := issuer.Approve(t.Context(), request, who, "the same state"); (err == nil) != (n == 0) {
				t.Errorf("replica %d: %v", n, err)
			}
		}
	})
	t.Run("tokens have no profile, and their id names the sign-in", func(t *testing.T) {
		a := wantTokens(t, r.first().exchangeCode(r.code(r.person(), "openid", "notes:read")))
		_, claims := r.first().verify(a["access_token"].(string))
		names := make([]string, 0, len(claims))
		for name := range claims {
			names = append(names, name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "aud client_id exp iat iss jti scope sub" {
			t.Errorf("the claims are %s", got)
		}
		id, _, _ := strings.Cut(claims["jti"].(string), ".")
		list, _, err := r.first().SignIns(t.Context(), authserver.SignInFilter{ID: id}, "", 10)
		if err != nil || len(list) != 1 {
			t.Errorf("the sign-ins are %+v, %v", list, err)
		}
		if _, claims := r.first().verify(a["id_token"].(string)); claims["name"] != nil {
			t.Errorf("the ID token has a name: %v", claims)
		}
	})
}

func TestGrant_RefreshToken(t *testing.T) {
	t.Run("row 37 another client", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		wantInvalidGrant(t, r.first().refresh(token, "client_id", "other"))
		a := r.first().post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.(string)}},
			basic("secretive", "of another client"))
		wantError(t, a, http.StatusUnauthorized, "invalid_client")
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("row 39 an old token after the grace", func(t *testing.T) {
		r := openReplicas(t, 2)
		first := r.tokens(r.person())
		second := wantTokens(t, r.first().refresh(first["refresh_token"]))
		r.clock.forward(foreverGrace)
		wantInvalidGrant(t, r.all[1].refresh(first["refresh_token"]))
		wantInvalidGrant(t, r.first().refresh(second["refresh_token"]))
		r.store.counts()
		for range 5 {
			wantInvalidGrant(t, r.first().refresh(first["refresh_token"]))
		}
		if got := r.store.counts(); got["Get"] != 5 || len(got) != 1 {
			t.Errorf("5 more tries cost %v", got)
		}
		r.events.want(t, 1, "signin.end", authserver.ReasonReplayed)
		if e := r.events.find("signin.end", authserver.ReasonReplayed)[0]; e.Subject != "alice" ||
			e.ClientID != "public" || e.Resource != brokerResource || len(e.SignIn) != 43 {
			t.Errorf("the event is %+v", e)
		}
		r.provider.wantDismissed(t, "credential 1")
	})
	t.Run("row 40 garbage and forged tokens do not reach the store", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"].(string)
		foreign := openReplicas(t, 1).tokens(r.person())["refresh_token"].(string)
		r.store.counts()
		changed := []byte(token)
		changed[10] ^= 1
		for _, forged := range []string{"x", "gr_", "gr_x", string(changed), token + "A", token + "\n", token[:len(token)-1],
			strings.ToUpper(token), foreign, "gr_" + strings.Repeat("A", 44), "gr_" + strings.Repeat("A", 10_000)} {
			wantInvalidGrant(t, r.first().refresh(forged))
			wantInvalidGrant(t, r.first().exchangeCode(forged))
		}
		if got := r.store.counts(); len(got) != 0 {
			t.Errorf("they cost %v", got)
		}
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("row 41 one kind of token is not another", func(t *testing.T) {
		r := openReplicas(t, 1)
		code := r.code(r.person())
		r.store.counts()
		wantInvalidGrant(t, r.first().refresh(code))
		wantInvalidGrant(t, r.first().refresh("gr_"+strings.TrimPrefix(code, "gc_")))
		if got := r.store.counts(); len(got) != 0 {
			t.Errorf("a code as a refresh token costs %v", got)
		}
		tokens := wantTokens(t, r.first().exchangeCode(code))
		wantInvalidGrant(t, r.first().refresh(tokens["access_token"]))
		wantInvalidGrant(t, r.first().exchangeCode(tokens["refresh_token"].(string)))
		wantInvalidGrant(t, r.first().exchangeCode(tokens["access_token"].(string)))
		wantTokens(t, r.first().refresh(tokens["refresh_token"]))
	})
	t.Run("row 43 another resource", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		for _, resource := range []string{brokerURL + "/other", "https://elsewhere.example/mcp", brokerResource + "#x"} {
			wantError(t, r.first().refresh(token, "resource", resource), http.StatusBadRequest, "invalid_target")
		}
		a := wantTokens(t, r.first().refresh(token))
		if _, claims := r.first().verify(a["access_token"].(string)); claims["aud"] != brokerResource {
			t.Errorf("aud %v", claims["aud"])
		}
	})
	t.Run("a repeat is recorded with both addresses", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"].(string)
		from := func(address string) answer {
			chain := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				request = request.WithContext(withAddress(request.Context(), address))
				r.first().Handler().ServeHTTP(w, request)
			}))
			return chain.refresh(token)
		}
		first, again := wantTokens(t, from("192.0.2.1")), wantTokens(t, from("192.0.2.2"))
		if first["refresh_token"] != again["refresh_token"] {
			t.Error("the successors differ")
		}
		r.events.want(t, 1, "signin.repeat", "")
		if e := r.events.find("signin.repeat", "")[0]; e.OtherAddress != "192.0.2.1" {
			t.Errorf("the event is %+v", e)
		}
		r.events.want(t, 1, "signin.refresh", "")
		r.events.want(t, 1, "signin.exchange", "")
	})
	t.Run("row 52 the store has lost its last write", func(t *testing.T) {
		for name, grace := range map[string]time.Duration{"with a grace": foreverGrace, "without": 0} {
			t.Run(name, func(t *testing.T) {
				r := openReplicas(t, 2, func(c *authserver.Config) { c.RefreshGrace = grace })
				first := r.tokens(r.person())
				before := r.store.records(t)[0]
				second := wantTokens(t, r.first().refresh(first["refresh_token"]))
				r.store.restore(t, before)
				third := wantTokens(t, r.all[1].refresh(second["refresh_token"]))
				wantTokens(t, r.first().refresh(third["refresh_token"]))
			})
		}
	})
	t.Run("row 52 the store has lost the exchange of the code", func(t *testing.T) {
		r := openReplicas(t, 1)
		code := r.code(r.person())
		before := r.store.records(t)[0]
		first := wantTokens(t, r.first().exchangeCode(code))
		r.store.restore(t, before)
		r.clock.forward(9 * time.Minute) // the access token is used until it expires
		second := wantTokens(t, r.first().refresh(first["refresh_token"]))
		r.clock.forward(2 * time.Hour)
		wantTokens(t, r.first().refresh(second["refresh_token"]))
	})
	t.Run("row 47 a record that is rolled back reopens one generation at most", func(t *testing.T) {
		r := openReplicas(t, 1)
		first := r.tokens(r.person())
		before := r.store.records(t)[0]
		second := wantTokens(t, r.first().refresh(first["refresh_token"]))
		third := wantTokens(t, r.first().refresh(second["refresh_token"]))
		r.store.restore(t, before)
		wantInvalidGrant(t, r.first().refresh(third["refresh_token"]))
	})
	t.Run("row 47 an edited record is no invalid_grant", func(t *testing.T) {
		r := openReplicas(t, 1)
		token := r.tokens(r.person())["refresh_token"]
		record := r.store.records(t)[0]
		edited := record
		edited.Sealed = append([]byte{record.Sealed[0] ^ 1}, record.Sealed[1:]...)
		r.store.restore(t, edited)
		wantUnavailable(t, r.first().refresh(token), "5")
		r.events.want(t, 1, "signin.refresh", authserver.ReasonRecordUnreadable)
		r.store.restore(t, record)
		wantTokens(t, r.first().refresh(token))
	})
	t.Run("a second secret opens what the first one has sealed", func(t *testing.T) {
		old, young := []byte(strings.Repeat("o", 32)), []byte(strings.Repeat("y", 32))
		var shared store.Store
		r := openReplicas(t, 1, func(c *authserver.Config) { c.Keys = seal.FromSecrets([][]byte{old}); shared = c.Store })
		both := openReplicas(t, 1, func(c *authserver.Config) {
			c.Keys, c.Store = seal.FromSecrets([][]byte{young, old}), shared
		})
		first := r.tokens(r.person())
		second := wantTokens(t, both.first().refresh(first["refresh_token"]))
		third := wantTokens(t, both.first().refresh(second["refresh_token"]))
		only := openReplicas(t, 1, func(c *authserver.Config) {
			c.Keys, c.Store = seal.FromSecrets([][]byte{young}), shared
		})
		wantTokens(t, only.first().refresh(third["refresh_token"]))
	})
}

func TestGrant_StoreDown(t *testing.T) {
	r := openReplicas(t, 1)
	tokens := r.tokens(r.person())
	code := r.code(r.person())
	for _, op := range []string{"Get", "Replace"} {
		t.Run("row 54 at the exchange: "+op, func(t *testing.T) {
			r.store.set(only(op), nil)
			a := r.first().exchangeCode(code)
			r.store.heal()
			wantUnavailable(t, a, "5")
		})
		t.Run("row 54 at the refresh: "+op, func(t *testing.T) {
			r.store.set(only(op), nil)
			a := r.first().refresh(tokens["refresh_token"])
			r.store.heal()
			wantUnavailable(t, a, "5")
		})
		t.Run("row 54 at the revocation: "+op, func(t *testing.T) {
			r.store.set(only(op), nil)
			defer r.store.heal()
			wantUnavailable(t, r.first().revoke(tokens["refresh_token"], "public"), "5")
		})
	}
	t.Run("row 54 at the callback", func(t *testing.T) {
		r.store.set(always, nil)
		defer r.store.heal()
		_, err := r.first().Approve(t.Context(), authserver.Request{ClientID: "public"}, r.person(), "")
		if err == nil {
			t.Error("there is a code without a grant")
		}
	})
	t.Run("row 54 a call", func(t *testing.T) {
		r.store.set(always, nil)
		defer r.store.heal()
		r.first().verify(tokens["access_token"].(string))
	})
	t.Run("row 54 afterwards nothing is spent", func(t *testing.T) {
		wantTokens(t, r.first().exchangeCode(code))
		wantTokens(t, r.first().refresh(tokens["refresh_token"]))
		if found := r.events.find("signin.end", authserver.ReasonReplayed); len(found) > 0 {
			t.Errorf("a sign-in has ended: %+v", found)
		}
	})
	t.Run("row 54 an exchange that is stored, but not confirmed, succeeds", func(t *testing.T) {
		code := r.code(r.person())
		lost := 0
		r.store.set(nil, func(op string) bool {
			if op == "Replace" {
				lost++
			}
			return op == "Replace" && lost == 1
		})
		defer r.store.heal()
		first := wantTokens(t, r.first().exchangeCode(code))
		wantTokens(t, r.first().refresh(first["refresh_token"]))
	})
	t.Run("row 54 a refresh that is stored, but not confirmed, can be repeated", func(t *testing.T) {
		token := r.tokens(r.person())["refresh_token"]
		r.store.set(nil, only("Replace"))
		wantUnavailable(t, r.first().refresh(token), "5")
		r.store.heal()
		second := wantTokens(t, r.first().refresh(token))
		wantTokens(t, r.first().refresh(second["refresh_token"]))
	})
}

func TestGrant_Revocation(t *testing.T) {
	r := openReplicas(t, 2)
	wantOK := func(t *testing.T, a answer) {
		t.Helper()
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	}
	for _, kind := range []string{"access_token", "refresh_token"} {
		t.Run("row 59 its own "+kind, func(t *testing.T) {
			who := r.person()
			tokens := r.tokens(who)
			wantOK(t, r.all[1].revoke(tokens[kind], "public"))
			wantInvalidGrant(t, r.first().refresh(tokens["refresh_token"]))
			r.provider.wantDismissed(t, who.Credential)
			wantOK(t, r.first().revoke(tokens[kind], "public"))
		})
	}
	t.Run("row 59 garbage, and tokens of others", func(t *testing.T) {
		tokens := r.tokens(r.person())
		for _, foreign := range []any{"x", "gr_x", "a.b.c", openReplicas(t, 1).tokens(r.person())["access_token"],
			open(t).tokens()["access_token"], wantTokens(t, r.first().exchangeCode(r.code(r.person(), "openid")))["id_token"]} {
			wantOK(t, r.first().revoke(foreign, "public"))
		}
		for _, kind := range []string{"access_token", "refresh_token"} {
			// The client is told (RFC 7009, section 2.1).
			wantInvalidGrant(t, r.first().revoke(tokens[kind], "other"))
		}
		wantTokens(t, r.first().refresh(tokens["refresh_token"]))
	})
	t.Run("row 59 an access token that has expired", func(t *testing.T) {
		tokens := r.tokens(r.person())
		r.clock.forward(11 * time.Minute)
		wantOK(t, r.first().revoke(tokens["access_token"], "public"))
		wantInvalidGrant(t, r.first().refresh(tokens["refresh_token"]))
	})
}

func TestGrant_Ends(t *testing.T) {
	const day = 24 * time.Hour
	t.Run("with alice and bob, a lifetime after the last refresh", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.RefreshTokenLifetime = time.Hour })
		token := issuer.tokens()["refresh_token"]
		for range 3 {
			issuer.clock.forward(59 * time.Minute)
			token = wantTokens(t, issuer.refresh(token))["refresh_token"]
		}
		issuer.clock.forward(time.Hour)
		wantInvalidGrant(t, issuer.refresh(token))
	})
	t.Run("at its lifetime, however often it is refreshed", func(t *testing.T) {
		r := openReplicas(t, 1, func(c *authserver.Config) {
			c.Sessions.Lifetime, c.Sessions.RecheckInterval = 2*day, 5*day
		})
		token := r.tokens(r.person())["refresh_token"]
		for range 3 {
			r.clock.forward(day/2 + time.Hour)
			token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		}
		r.clock.forward(day/2 - 3*time.Hour)
		wantInvalidGrant(t, r.first().refresh(token))
	})
	t.Run("earlier without a credential", func(t *testing.T) {
		r := openReplicas(t, 1, func(c *authserver.Config) { c.Sessions.LifetimeWithoutRefresh = 2 * time.Hour })
		token := r.tokens(authserver.Person{Subject: "alice", Unrestricted: true})["refresh_token"]
		r.clock.forward(2*time.Hour - time.Second)
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		r.clock.forward(time.Second)
		wantInvalidGrant(t, r.first().refresh(token))
		if r.provider.questions() != 0 {
			t.Error("the provider was asked without a credential")
		}
	})
	t.Run("if the operator revokes earlier sign-ins", func(t *testing.T) {
		before := time.Now().Add(time.Minute)
		r := openReplicas(t, 1, func(c *authserver.Config) { c.Sessions.RevokeBefore = before })
		code := r.code(r.person())
		wantInvalidGrant(t, r.first().exchangeCode(code))
		r.events.want(t, 1, "signin.end", authserver.ReasonSignInTooOld)
		r.clock.forward(2 * time.Minute)
		wantTokens(t, r.first().refresh(r.tokens(r.person())["refresh_token"]))
	})
	t.Run("if the operator denies the caller", func(t *testing.T) {
		var mu sync.Mutex
		denied := false
		var asked []providers.Identity
		r := openReplicas(t, 1, func(c *authserver.Config) {
			c.Denied = func(id *providers.Identity) (providers.Reason, bool) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, *id)
				return "caller_denied", denied
			}
		})
		signedIn := r.clock.Now()
		token := r.tokens(r.person())["refresh_token"]
		r.clock.forward(time.Minute)
		token = wantTokens(t, r.first().refresh(token))["refresh_token"]
		mu.Lock()
		if id := asked[len(asked)-1]; len(asked) != 2 || id.Issuer != brokerURL || id.Subject != "alice" ||
			id.Client != "public" || !id.IssuedAt.Equal(signedIn) {
			t.Errorf("asked about %+v", asked)
		}
		denied = true
		mu.Unlock()
		wantInvalidGrant(t, r.first().refresh(token))
		r.events.want(t, 1, "signin.end", "caller_denied")
		r.events.want(t, 1, "signin.refresh", "caller_denied")
	})
	t.Run("if there are too many of a person and a client: the oldest", func(t *testing.T) {
		r := openReplicas(t, 1)
		other := wantTokens(t, r.first().exchangeCode(r.codeFor("other", r.person()), "client_id", "other"))
		var tokens []any
		for range 23 {
			r.clock.forward(time.Second)
			tokens = append(tokens, r.tokens(r.person())["refresh_token"])
		}
		for n, token := range tokens {
			a := r.first().refresh(token)
			if (a.StatusCode == http.StatusOK) != (n >= 3) {
				t.Errorf("sign-in %d: status %d", n, a.StatusCode)
			}
		}
		wantTokens(t, r.first().refresh(other["refresh_token"], "client_id", "other"))
		r.events.want(t, 3, "signin.end", authserver.ReasonTooManySignIns)
	})
	t.Run("if there are too many of a person, whose client registers each time", func(t *testing.T) {
		r := openReplicas(t, 1)
		for n := range 110 {
			r.clock.forward(100 * time.Millisecond) // codes are good for a minute
			r.codeFor(fmt.Sprint("client ", n), r.person())
		}
		r.events.want(t, 10, "signin.end", authserver.ReasonTooManySignIns)
	})
	t.Run("for good: its record keeps no credential, and goes", func(t *testing.T) {
		r := openReplicas(t, 1)
		tokens := r.tokens(r.person())
		hasCredential := func() bool {
			return strings.Contains(authserver.RecordContent(t, r.keys, r.store.records(t)[0]), "credential 1")
		}
		if !hasCredential() {
			t.Error("the record has no credential to begin with")
		}
		r.first().revoke(tokens["refresh_token"], "public")
		if expires := r.store.records(t)[0].Expires; hasCredential() || expires.Sub(r.clock.Now()) > time.Hour {
			t.Errorf("its record has the credential: %t; it expires %s", hasCredential(), expires)
		}
		r.clock.forward(time.Hour)
		if left := r.store.records(t); len(left) != 0 {
			t.Errorf("%d records are left", len(left))
		}
		r.store.counts()
		wantInvalidGrant(t, r.first().refresh(tokens["refresh_token"]))
		if got := r.store.counts(); got["Get"] != 1 || len(got) != 1 {
			t.Errorf("another try costs %v", got)
		}
	})
}
