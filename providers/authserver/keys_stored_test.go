package authserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

// sharedStore is a store that can be unreachable, or not answer.
type sharedStore struct {
	*store.Memory
	down, hangs atomic.Bool
}

var errStoreDown = errors.New("connection refused")

func newSharedStore() *sharedStore { return &sharedStore{Memory: store.NewMemory(100, time.Now)} }

func (s *sharedStore) reach(ctx context.Context) error {
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.down.Load() {
		return errStoreDown
	}
	return nil
}

func (s *sharedStore) Create(ctx context.Context, r store.Record) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	return s.Memory.Create(ctx, r)
}

func (s *sharedStore) Get(ctx context.Context, id string) (store.Record, error) {
	if err := s.reach(ctx); err != nil {
		return store.Record{}, err
	}
	return s.Memory.Get(ctx, id)
}

func (s *sharedStore) Replace(ctx context.Context, r store.Record) (uint64, error) {
	if err := s.reach(ctx); err != nil {
		return 0, err
	}
	return s.Memory.Replace(ctx, r)
}

// dump returns all records.
func (s *sharedStore) dump(t *testing.T) []store.Record {
	t.Helper()
	all, err := s.All(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// replica is an issuer with a store. Its handler is called without a network, so that time can be that of
// synctest.
type replica struct {
	*authserver.Issuer
	t   *testing.T
	log *logBuffer
	end context.CancelFunc
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// newReplica returns a replica that does not run yet.
func newReplica(t *testing.T, s store.Store, keys *seal.Keys, change ...func(*authserver.Config)) *replica {
	t.Helper()
	r := &replica{t: t, log: new(logBuffer), end: func() {}}
	config := authserver.Config{
		Issuer: "http://localhost:3002", Resources: []string{"http://localhost:3002/mcp"},
		Scopes: []string{"mcp:use"}, DefaultScopes: []string{"mcp:use"}, SigningAlgorithm: "ES256",
		Clients: []authserver.Client{{ID: "service", Secret: "s", GrantTypes: []string{"client_credentials"}}},
		Store:   s, Keys: keys, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	var err error
	if r.Issuer, err = authserver.New(config); err != nil {
		t.Fatal(err)
	}
	return r
}

// runReplica returns a replica that runs until end is called, or the test ends.
func runReplica(t *testing.T, s store.Store, keys *seal.Keys, change ...func(*authserver.Config)) *replica {
	t.Helper()
	r := newReplica(t, s, keys, change...)
	ctx, cancel := context.WithCancel(t.Context())
	r.end = cancel
	t.Cleanup(cancel)
	go r.Run(ctx)
	synctest.Wait()
	return r
}

// offset is how far a clock is ahead.
type offset struct{ atomic.Int64 }

func (o *offset) add(d time.Duration) *offset { o.Add(int64(d)); return o }

func withClock(o *offset) func(*authserver.Config) {
	return func(c *authserver.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(o.Load())) }
	}
}

func (r *replica) do(request *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, request)
	return w
}

func (r *replica) askToken() *httptest.ResponseRecorder {
	form := url.Values{"grant_type": {"client_credentials"}}
	request := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("service", "s")
	return r.do(request)
}

// token returns a new token, or "" if none is issued at the moment.
func (r *replica) token() string {
	r.t.Helper()
	w := r.askToken()
	var answer struct {
		AccessToken string `json:"access_token"`
		Error       string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		r.t.Fatalf("%d %s", w.Code, w.Body)
	}
	unavailable := w.Code == http.StatusServiceUnavailable && answer.Error == "temporarily_unavailable" &&
		w.Header().Get("Retry-After") != "" && w.Header().Get("Cache-Control") == "no-store"
	if (w.Code != http.StatusOK || answer.AccessToken == "") && !unavailable {
		r.t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	return answer.AccessToken
}

func (r *replica) mustToken() string {
	r.t.Helper()
	token := r.token()
	if token == "" {
		r.t.Fatal("no token is issued")
	}
	return token
}

// keys returns the published keys, or nil if they are not known.
func (r *replica) keys() *jose.JSONWebKeySet {
	r.t.Helper()
	w := r.do(httptest.NewRequest(http.MethodGet, "/keys", nil))
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "" {
		return &jose.JSONWebKeySet{}
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || w.Code != http.StatusOK {
		r.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, key := range set.Keys {
		if !key.IsPublic() {
			r.t.Fatal("a private key is published")
		}
	}
	return &set
}

// verifies reports whether a key of the set has signed the token.
func verifies(t *testing.T, set *jose.JSONWebKeySet, token string) bool {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Key(signed.Signatures[0].Header.KeyID) {
		if _, err := signed.Verify(key); err == nil {
			return true
		}
	}
	return false
}

func (r *replica) wantReady(want providers.Reason) {
	r.t.Helper()
	reason, err := r.Ready()
	if reason != want || (err == nil) != (want == "") {
		r.t.Errorf("Ready is %q, %v; want %q", reason, err, want)
	}
}

func TestStoredKeys_FirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newSharedStore(), seal.Random()
		var replicas [40]*replica
		for i := range replicas {
			replicas[i] = newReplica(t, s, keys)
		}
		var all sync.WaitGroup
		for _, r := range replicas {
			all.Go(func() {
				if err := r.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		set := replicas[0].keys()
		if len(set.Keys) != 2 {
			t.Errorf("%d keys are published, want the current and the next", len(set.Keys))
		}
		for _, r := range replicas {
			r.wantReady("")
			if !verifies(t, set, r.mustToken()) {
				t.Error("two replicas have different keys")
			}
		}
		if all := s.dump(t); len(all) != 2 {
			t.Errorf("the store has %d records, want keys and marker", len(all))
		}
	})
}

// Two replicas issue tokens each second while their keys are rotated. Each token is verified at each replica:
// with the keys at that time, and with those that a cache got a minute before.
func TestStoredKeys_RotationUnderTraffic(t *testing.T) {
	for name, skew := range map[string]time.Duration{
		"row 50 equal clocks":            0,
		"row 50 30 s ahead":              30 * time.Second,
		"row 50 30 s behind":             -30 * time.Second,
		"row 50 a clock 5 minutes ahead": 5 * time.Minute,
		"row 50 a clock 5 minutes late":  -5 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			if skew > 0 && os.Getenv("GATEHOUSE_LONG") == "" {
				t.Skip("set GATEHOUSE_LONG=1")
			}
			synctest.Test(t, func(t *testing.T) {
				s, keys := newSharedStore(), seal.Random()
				var offsets [2]offset
				offsets[1].add(skew)
				a := runReplica(t, s, keys, withClock(&offsets[0]))
				time.Sleep(3 * time.Second) // they do not read at the same time
				b := runReplica(t, s, keys, withClock(&offsets[1]))
				replicas := []*replica{a, b}
				traffic := newTraffic(t, replicas)
				traffic.run(time.Minute, 5*time.Second)
				first := a.keys()

				const month = 30*24*time.Hour - 2*time.Minute
				offsets[0].add(month)
				offsets[1].add(month)
				clear(traffic.tokens) // expired
				traffic.run(3*time.Minute, time.Second)
				traffic.run(23*time.Minute, 5*time.Second)
				second := a.keys()
				if len(second.Keys) != 2 || second.Keys[0].KeyID != first.Keys[1].KeyID {
					t.Errorf("the keys were %v and are %v, want a rotation and the first key withdrawn", first, second)
				}
				if traffic.refused > 0 {
					t.Errorf("%d times no token was issued", traffic.refused)
				}
				if err := b.RotateKeys(true); err != nil {
					t.Fatal(err)
				}
				traffic.run(time.Minute, time.Second)
				traffic.run(11*time.Minute, 10*time.Second)
				if traffic.refused > 0 {
					t.Errorf("%d times no token was issued", traffic.refused)
				}
			})
		})
	}
}

// traffic issues and verifies tokens.
type traffic struct {
	t        *testing.T
	replicas []*replica
	tokens   map[string]time.Time // when the last token of each key expires
	sets     []timedSet           // of the last minute
	refused  int
}

type timedSet struct {
	*jose.JSONWebKeySet
	at time.Time
}

func newTraffic(t *testing.T, replicas []*replica) *traffic {
	return &traffic{t: t, replicas: replicas, tokens: map[string]time.Time{}}
}

func (f *traffic) run(d, step time.Duration) {
	f.t.Helper()
	for range d / step {
		time.Sleep(step)
		now := time.Now()
		for i, r := range f.replicas {
			set := r.keys()
			f.sets = append(f.sets, timedSet{set, now})
			for id, until := range f.tokens {
				if now.Before(until) && len(set.Key(id)) != 1 {
					f.t.Fatalf("a key is not published by replica %d, and tokens of it expire in %s", i, until.Sub(now))
				}
			}
		}
		f.sets = slices.DeleteFunc(f.sets, func(s timedSet) bool { return now.Sub(s.at) > time.Minute })
		for i, r := range f.replicas {
			token := r.token()
			if token == "" {
				f.refused++
				continue
			}
			if !verifies(f.t, f.sets[len(f.sets)-1].JSONWebKeySet, token) {
				f.t.Fatalf("a new token of replica %d does not verify", i)
			}
			id := keyOf(f.t, token)
			f.tokens[id] = now.Add(10 * time.Minute)
			for _, set := range f.sets {
				if len(set.Key(id)) != 1 {
					f.t.Fatalf("the key of a new token of replica %d was not published %s ago", i, now.Sub(set.at))
				}
			}
		}
	}
}

// keyOf returns the id of the key of a token.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header.KeyID
}

// An operator withdraws keys that have leaked.
func TestStoredKeys_RotateNow(t *testing.T) {
	for name, skew := range map[string]time.Duration{
		"row 49 equal clocks": 0, "row 49 30 s ahead": 30 * time.Second, "row 49 30 s behind": -30 * time.Second,
		"row 49 an hour behind": -time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, keys := newSharedStore(), seal.Random()
				a := runReplica(t, s, keys)
				time.Sleep(3 * time.Second)
				b := runReplica(t, s, keys, withClock(new(offset).add(skew)))
				traffic := newTraffic(t, []*replica{a, b})
				traffic.run(time.Minute, time.Second)
				clear(traffic.tokens) // they end before their time
				leaked, old := a.keys(), a.mustToken()
				if err := b.RotateKeys(false); err != nil {
					t.Fatal(err)
				}
				time.Sleep(11 * time.Second)
				for _, r := range []*replica{a, b} {
					r.wantReady("")
					for _, key := range leaked.Keys {
						if len(r.keys().Key(key.KeyID)) != 0 {
							t.Error("a leaked key is published")
						}
					}
					if verifies(t, r.keys(), old) {
						t.Error("a token of a leaked key verifies")
					}
				}
				if skew >= -30*time.Second { // after a restart, too
					traffic.replicas = append(traffic.replicas, runReplica(t, s, keys))
				}
				traffic.run(3*time.Minute, time.Second)
				traffic.run(10*time.Minute, 10*time.Second)
				if most := 3 * 80; traffic.refused == 0 || traffic.refused > most {
					t.Errorf("%d times no token was issued, want 1 to %d", traffic.refused, most)
				}
			})
		})
	}
}

// A replica that could not reach the store for a while does not sign with a key that was withdrawn meanwhile.
func TestStoredKeys_ReadBeforeSigning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newSharedStore(), seal.Random()
		a, b := runReplica(t, s, keys), newReplica(t, s, keys) // b does not poll
		old := b.mustToken()
		if err := a.RotateKeys(false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		if b.token() != "" {
			t.Error("a token was issued with a key that was withdrawn")
		}
		if verifies(t, b.keys(), old) {
			t.Error("a withdrawn key is published")
		}
		time.Sleep(80 * time.Second)
		if !verifies(t, a.keys(), b.mustToken()) {
			t.Error("a token does not verify")
		}
	})
}

func TestStoredKeys_Outages(t *testing.T) {
	t.Run("row 54 at start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSharedStore()
			s.down.Store(true)
			r := runReplica(t, s, seal.Random())
			for range 100 {
				r.wantReady(authserver.ReasonStoreUnavailable)
				if r.token() != "" || len(r.keys().Keys) != 0 {
					t.Fatal("a token was issued, or keys are published")
				}
				time.Sleep(time.Second)
			}
			if err := r.Prepare(t.Context()); !errors.Is(err, errStoreDown) || errors.Is(err, authserver.ErrForeignStore) {
				t.Errorf("Prepare: %v", err)
			}
			s.down.Store(false)
			time.Sleep(2 * time.Second)
			r.wantReady("")
			if !verifies(t, r.keys(), r.mustToken()) {
				t.Error("a token does not verify")
			}
			if n := strings.Count(r.log.String(), "cannot be reached"); n != 1 {
				t.Errorf("the log has the outage %d times:\n%s", n, r.log)
			}
		})
	})
	t.Run("row 54 later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			a, b := runReplica(t, s, keys), runReplica(t, s, keys)
			set := a.keys()
			s.down.Store(true)
			for range 20 {
				time.Sleep(time.Minute)
				a.wantReady("")
				if !verifies(t, set, a.mustToken()) || !verifies(t, b.keys(), a.mustToken()) {
					t.Fatal("a token does not verify")
				}
			}
			if err := a.RotateKeys(false); !errors.Is(err, errStoreDown) {
				t.Errorf("RotateKeys: %v", err)
			}
			s.down.Store(false)
			time.Sleep(time.Minute)
			if !verifies(t, set, b.mustToken()) {
				t.Error("the keys have changed")
			}
		})
	})
}

// A store that does not answer delays a request for seconds, and not the next one.
func TestStoredKeys_StoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newSharedStore(), seal.Random()
		known, fresh := newReplica(t, s, keys), newReplica(t, s, keys)
		if err := known.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.hangs.Store(true)
		time.Sleep(time.Minute)
		for _, c := range []struct {
			*replica
			issues bool
		}{{known, true}, {fresh, false}} {
			for _, most := range []time.Duration{3 * time.Second, 0} {
				begin := time.Now()
				if (c.token() != "") != c.issues || (len(c.keys().Keys) > 0) != c.issues {
					t.Errorf("want a token and keys: %t", c.issues)
				}
				if took := time.Since(begin); took > most {
					t.Errorf("it took %s, want %s at most", took, most)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fresh.Prepare(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Prepare: %v", err)
		}
	})
}

// What is in the store is changed by accident, or by a thief.
func TestStoredKeys_ChangedStore(t *testing.T) {
	get := func(t *testing.T, s *sharedStore, id string) store.Record {
		t.Helper()
		r, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("row 47 a record that does not open is never written over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			r := runReplica(t, s, keys)
			set, token, good := r.keys(), r.mustToken(), get(t, s, "keys")
			bad := good
			bad.Sealed = slices.Clone(good.Sealed)
			bad.Sealed[100] ^= 1
			if _, err := s.Replace(t.Context(), bad); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			fresh := runReplica(t, s, keys)
			time.Sleep(2 * time.Hour) // also when records would be sealed again
			for _, one := range []*replica{r, fresh} {
				one.wantReady(authserver.ReasonRecordUnreadable)
				if one.token() != "" {
					t.Error("a token is issued")
				}
				if err := one.RotateKeys(false); err == nil {
					t.Error("keys are replaced")
				}
				if n := strings.Count(one.log.String(), "level=ERROR"); n != 1 {
					t.Errorf("the log has %d errors:\n%s", n, one.log)
				}
				if !strings.Contains(one.log.String(), "last line of provider.secrets_file") {
					t.Errorf("the log has no fix:\n%s", one.log)
				}
			}
			if !verifies(t, r.keys(), token) || len(fresh.keys().Keys) != 0 {
				t.Error("the keys that are known must stay published, and no others")
			}
			if now := get(t, s, "keys"); !bytes.Equal(now.Sealed, bad.Sealed) {
				t.Error("the record was written over")
			}
			// An operator restores it, at the version that it had.
			if err := s.Delete(t.Context(), "keys"); err != nil {
				t.Fatal(err)
			}
			if err := s.Create(t.Context(), good); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			for _, one := range []*replica{r, fresh} {
				one.wantReady("")
				if !verifies(t, set, one.mustToken()) {
					t.Error("the keys have changed")
				}
			}
		})
	})
	t.Run("row 47 the content of another record", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			if err := newReplica(t, s, keys).Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			swapped := get(t, s, "keys")
			swapped.Sealed = get(t, s, "marker").Sealed
			if _, err := s.Replace(t.Context(), swapped); err != nil {
				t.Fatal(err)
			}
			r := newReplica(t, s, keys)
			if err := r.Prepare(t.Context()); err == nil {
				t.Error("the record opens")
			}
			r.wantReady(authserver.ReasonRecordUnreadable)
		})
	})
	t.Run("row 47 an earlier version does not bring leaked keys back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			a, b := runReplica(t, s, keys), runReplica(t, s, keys)
			before, leaked := get(t, s, "keys"), a.keys()
			if err := a.RotateKeys(false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2*time.Minute + time.Second) // between two reads of the replicas
			if err := s.Delete(t.Context(), "keys"); err != nil {
				t.Fatal(err)
			}
			if err := s.Create(t.Context(), before); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			fresh := runReplica(t, s, keys)
			for _, one := range []*replica{a, b, fresh} {
				one.wantReady("")
				if !verifies(t, one.keys(), a.mustToken()) || len(one.keys().Key(leaked.Keys[0].KeyID)) != 0 {
					t.Error("the leaked keys are back")
				}
			}
			if !strings.Contains(a.log.String()+b.log.String(), "the store had earlier signing keys") {
				t.Error("the log does not say so")
			}
		})
	})
	t.Run("row 52 a store that lost everything gets the keys back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			a, b := runReplica(t, s, keys), runReplica(t, s, keys)
			if err := a.RotateKeys(true); err == nil {
				t.Error("a key is to sign that other replicas may not have read")
			}
			time.Sleep(2 * time.Minute)
			if err := a.RotateKeys(true); err != nil {
				t.Fatal(err)
			}
			set, token := a.keys(), a.mustToken()
			for _, r := range s.dump(t) {
				if err := s.Delete(t.Context(), r.ID); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(11 * time.Second)
			fresh := runReplica(t, s, keys)
			for _, one := range []*replica{a, b, fresh} {
				if !verifies(t, one.keys(), token) || !verifies(t, set, one.mustToken()) {
					t.Error("the keys have changed")
				}
			}
			if len(s.dump(t)) != 2 {
				t.Error("the marker is missing")
			}
		})
	})
	t.Run("row 46 a stolen store", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			r := runReplica(t, s, keys)
			time.Sleep(2 * time.Minute)
			if err := r.RotateKeys(true); err != nil {
				t.Fatal(err)
			}
			all := s.dump(t)
			if len(all) != 2 {
				t.Fatalf("%d records", len(all))
			}
			for _, record := range all {
				dump := fmt.Sprintf("%s %s %s", record.ID, record.Owner, record.Sealed)
				for _, word := range []string{"localhost", "ES256", "P-256", "kty", "sig", r.keys().Keys[0].KeyID} {
					if strings.Contains(dump, word) {
						t.Errorf("%q is readable in the record %q", word, record.ID)
					}
				}
				for _, context := range []string{"", record.ID, fmt.Sprintf("%s|%d", record.ID, record.Version)} {
					if _, err := seal.Random().Open(seal.Content, context, record.Sealed); err == nil {
						t.Errorf("the record %q opens with other secrets", record.ID)
					}
				}
			}
		})
	})
}

// Two authorization servers use one store.
func TestForeignStore(t *testing.T) {
	otherIssuer := func(c *authserver.Config) { c.Issuer = "http://localhost:4000" }
	for name, c := range map[string]struct {
		other  bool // secrets
		change func(*authserver.Config)
		want   string
	}{
		"row 60 other secrets": {true, func(*authserver.Config) {}, "its marker was sealed with other secrets"},
		"row 60 other issuer": {false, otherIssuer,
			`its issuer is "http://localhost:3002", and this one is "http://localhost:4000"`},
		"row 60 both": {true, otherIssuer, "its marker was sealed with other secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, keys := newSharedStore(), seal.Random()
				first := runReplica(t, s, keys)
				before := s.dump(t)
				if c.other {
					keys = seal.Random()
				}
				s.down.Store(true)
				second := runReplica(t, s, keys, c.change)
				second.wantReady(authserver.ReasonStoreUnavailable)
				if second.token() != "" {
					t.Error("a token is issued before the store was checked")
				}
				s.down.Store(false)
				time.Sleep(2 * time.Hour)
				err := second.Prepare(t.Context())
				if !errors.Is(err, authserver.ErrForeignStore) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Prepare: %v, want %s", err, c.want)
				}
				second.wantReady(authserver.ReasonStoreForeign)
				if second.token() != "" || len(second.keys().Keys) != 0 || second.RotateKeys(false) == nil {
					t.Error("the second one works")
				}
				if !strings.Contains(second.log.String(), "for this authorization server alone") {
					t.Errorf("the log has no fix:\n%s", second.log)
				}
				if !slices.EqualFunc(s.dump(t), before, func(a, b store.Record) bool {
					return a.ID == b.ID && a.Version == b.Version && bytes.Equal(a.Sealed, b.Sealed)
				}) {
					t.Error("the second one has written to the store")
				}
				first.wantReady("")
				first.mustToken()
			})
		})
	}
	t.Run("row 60 at the same moment", func(t *testing.T) {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				s := newSharedStore()
				var foreign atomic.Int32
				var all sync.WaitGroup
				for range 5 {
					r := newReplica(t, s, seal.Random())
					all.Go(func() {
						if err := r.Prepare(t.Context()); errors.Is(err, authserver.ErrForeignStore) {
							foreign.Add(1)
						}
						r.token()
					})
				}
				all.Wait()
				if foreign.Load() != 4 {
					t.Errorf("%d of 5 are refused, want 4", foreign.Load())
				}
			})
		}
	})
	t.Run("row 60 the marker is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, keys := newSharedStore(), seal.Random()
			if err := newReplica(t, s, keys).Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(t.Context(), "marker"); err != nil {
				t.Fatal(err)
			}
			second := newReplica(t, s, seal.Random())
			if err := second.Prepare(t.Context()); err == nil {
				t.Error("the second one takes the store")
			}
			second.wantReady(authserver.ReasonRecordUnreadable)
			if err := newReplica(t, s, keys).Prepare(t.Context()); err != nil {
				t.Errorf("the first one is locked out: %v", err)
			}
		})
	})
	t.Run("a store without keys", func(t *testing.T) {
		_, err := authserver.New(authserver.Config{Issuer: "http://localhost:3002",
			Resources: []string{"http://localhost:3002/mcp"}, Store: newSharedStore()})
		if err == nil || !strings.Contains(err.Error(), "a store without keys") {
			t.Error(err)
		}
	})
}

// A secret is replaced: the new one is added, moved to the front, and the old one is removed.
func TestStoredKeys_SecretRotation(t *testing.T) {
	one, two := seal.NewSecret(), seal.NewSecret()
	parse := func(t *testing.T, secrets ...string) *seal.Keys {
		t.Helper()
		keys, err := seal.Parse([]byte(strings.Join(secrets, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	t.Run("row 48 replicas one after the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSharedStore()
			a, b := runReplica(t, s, parse(t, one)), runReplica(t, s, parse(t, one))
			token, set := a.mustToken(), a.keys()
			check := func() {
				t.Helper()
				for _, r := range []*replica{a, b} {
					r.wantReady("")
					if !verifies(t, r.keys(), token) || !verifies(t, set, r.mustToken()) {
						t.Error("a token does not verify")
					}
				}
			}
			for _, secrets := range [][]string{{one, two}, {two, one}, {two}} {
				for _, r := range []**replica{&a, &b} {
					(*r).end()
					*r = runReplica(t, s, parse(t, secrets...))
					time.Sleep(time.Minute)
					check()
				}
				time.Sleep(2 * time.Hour)
				check()
			}
			old := newReplica(t, s, parse(t, one))
			if err := old.Prepare(t.Context()); !errors.Is(err, authserver.ErrForeignStore) {
				t.Errorf("the old secret alone: %v", err)
			}
		})
	})
	t.Run("row 48 the old secret is removed at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSharedStore()
			if err := newReplica(t, s, parse(t, one)).Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := newReplica(t, s, parse(t, two))
			if err := r.Prepare(t.Context()); !errors.Is(err, authserver.ErrForeignStore) {
				t.Error(err)
			}
		})
	})
}
