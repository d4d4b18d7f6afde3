package providers_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

// unknownKey returns a token that is good but for a key id and a signature that nobody ever made.
func unknownKey(i *providertest.Issuer) string {
	header := fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt","kid":%q}`, rand.Text())
	return providertest.Assemble([]byte(header), must(json.Marshal(i.Claims(resource))), make([]byte, 256))
}

// eventually polls, because what is waited for happens in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("in 10 s it did not happen that %s", what)
		}
	}
}

func outage(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, canary, http.StatusInternalServerError)
}

func TestInventedKeysCauseOneFetchPerInterval(t *testing.T) {
	const tokens, interval = 1000, 300 * time.Millisecond
	for _, callers := range []int{1, 50} {
		t.Run(fmt.Sprintf("%d callers", callers), func(t *testing.T) {
			i := providertest.NewIssuer(t)
			i.KeyPolicy.RefetchInterval = interval
			keys := i.Keys(t)
			verifier := providers.NewVerifier(i.Rules(resource), keys)
			eventually(t, "there are keys", func() bool { return keys.Status().Usable })
			start := time.Now()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range tokens / callers {
						if _, err := verifier.Verify(t.Context(), unknownKey(i)); providers.ReasonOf(err) != providers.KeyUnknown {
							t.Errorf("Verify = %v", err)
						}
					}
				})
			}
			wg.Wait()
			if got, most := i.Fetches(), 2+int(time.Since(start)/interval); got > most {
				t.Errorf("%d fetches in %s, want at most %d", got, time.Since(start), most)
			}
		})
	}
}

func TestACallerWhoHangsUpTakesNobodyAlong(t *testing.T) {
	i := providertest.NewIssuer(t)
	asked, release := make(chan struct{}), make(chan struct{})
	i.Answer(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		_, _ = w.Write(i.KeySet())
	})
	keys := providers.NewKeySet(providers.KeySource{URL: at(i.KeysURL()), Client: i.Client()}, i.KeyPolicy, i.Logger)
	verifier := providers.NewVerifier(i.Rules(resource), keys)
	token := i.Token(resource, nil)

	first, hangUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := verifier.Verify(first, token); !errors.Is(err, providers.ErrUnavailable) {
			t.Errorf("who hung up got %v", err)
		}
	})
	<-asked
	for range 5 {
		wg.Go(func() {
			if _, err := verifier.Verify(t.Context(), token); err != nil {
				t.Errorf("who waited got %v", err)
			}
		})
	}
	hangUp()
	time.Sleep(20 * time.Millisecond)
	close(release)
	wg.Wait()
	if i.Fetches() != 1 {
		t.Errorf("%d fetches, want 1", i.Fetches())
	}
}

func at(address string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return address, nil }
}

func TestAnIssuerThatIsDownAtStartIsNoticedWhenItIsBack(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.Answer(outage)
	keys := i.Keys(t)
	verifier := providers.NewVerifier(i.Rules(resource), keys)
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); !errors.Is(err, providers.ErrUnavailable) || providers.ReasonOf(err) != providers.KeysUnavailable {
		t.Fatalf("while it is down: %v", err)
	}
	if status := keys.Status(); status.Usable || status.Age != 0 || status.Problem == "" {
		t.Errorf("while it is down: %+v", status)
	}
	i.Answer(nil)
	eventually(t, "the keys come, without a token that asks for them", func() bool { return keys.Status().Usable })
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil || keys.Status().Problem != "" {
		t.Errorf("when it is back: %v, %+v", err, keys.Status())
	}
}

func TestAnIssuerThatGoesDownLater(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.KeyPolicy = providers.KeyPolicy{RefetchInterval: 20 * time.Millisecond, MaxAge: 100 * time.Millisecond, MaxStale: 2 * time.Second}
	keys := i.Keys(t)
	verifier := providers.NewVerifier(i.Rules(resource), keys)
	eventually(t, "there are keys", func() bool { return keys.Status().Usable })
	i.Answer(outage)
	eventually(t, "the outage is noticed", func() bool { return keys.Status().Problem != "" })
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Errorf("a known key: %v", err)
	}
	if _, err := verifier.Verify(t.Context(), unknownKey(i)); !errors.Is(err, providers.ErrUnavailable) || providers.ReasonOf(err) != providers.KeysUnavailable {
		t.Errorf("an unknown key, which may be a new one: %v", err)
	}
	eventually(t, "the keys are too old", func() bool { return !keys.Status().Usable })
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("a known key that is too old: %v", err)
	}
	i.Answer(nil)
	eventually(t, "the keys are back", func() bool { return keys.Status().Usable })
	if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestANewKeyIsFoundWithoutARestart(t *testing.T) {
	i := providertest.NewIssuer(t)
	verifier := providers.NewVerifier(i.Rules(resource), i.Keys(t))
	old := i.Token(resource, nil)
	if _, err := verifier.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	i.AddKey(jose.ES256)
	token := i.Token(resource, nil)
	eventually(t, "a token by the new key is accepted", func() bool {
		_, err := verifier.Verify(t.Context(), token)
		return err == nil
	})
	if _, err := verifier.Verify(t.Context(), old); err != nil {
		t.Errorf("a token by the old key: %v", err)
	}
}

func TestAWithdrawnKeyIsRefusedWithinItsAge(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.KeyPolicy.MaxAge = 300 * time.Millisecond
	kid := i.AddKey(jose.ES256)
	verifier := providers.NewVerifier(i.Rules(resource), i.Keys(t))
	token := i.Sign(m{"kid": kid}, i.Claims(resource))
	if _, err := verifier.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	i.Withdraw(kid)
	start := time.Now()
	eventually(t, "its tokens are refused", func() bool {
		_, err := verifier.Verify(t.Context(), token)
		return providers.ReasonOf(err) == providers.KeyUnknown
	})
	if took := time.Since(start); took > i.KeyPolicy.MaxAge+2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAnOddKeyDoesNotSpoilItsNeighbours(t *testing.T) {
	odd := map[string]string{
		"of a curve that is not supported":    `{"kty":"EC","crv":"secp256k1","kid":"odd","x":"JiHo7yNVTOtGVPJBZKBqtw2RIJMjpm_4KHhAfhvjYZs","y":"sLwvBHHHAlBWWzbYIDLvBaOUEVbLqlLnLSOKKcdqwyc"}`,
		"off its curve":                       `{"kty":"EC","crv":"P-256","kid":"odd","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}`,
		"weak":                                `{"kty":"RSA","kid":"odd","e":"AQAB","n":"` + encode(bytes.Repeat([]byte{0xff}, 128)) + `"}`,
		"without a modulus":                   `{"kty":"RSA","kid":"odd","e":"AQAB"}`,
		"for encryption":                      `{"kty":"RSA","kid":"odd","use":"enc","e":"AQAB","n":"` + encode(bytes.Repeat([]byte{0xff}, 256)) + `"}`,
		"symmetric":                           `{"kty":"oct","kid":"odd","k":"c2VjcmV0"}`,
		"of a type from the future":           `{"kty":"AKP","alg":"ML-DSA-44","kid":"odd","pub":"AA"}`,
		"without a type":                      `{"kid":"odd"}`,
		"with a broken certificate":           `{"kty":"RSA","kid":"odd","e":"AQAB","n":"` + encode(bytes.Repeat([]byte{0xff}, 256)) + `","x5c":["AAAA"]}`,
		"with a broken thumbprint":            `{"kty":"RSA","kid":"odd","e":"AQAB","n":"` + encode(bytes.Repeat([]byte{0xff}, 256)) + `","x5t":"AA"}`,
		"for key agreement":                   `{"kty":"OKP","crv":"X25519","kid":"odd","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"whose key_ops do not include verify": `{"kty":"OKP","crv":"Ed25519","kid":"odd","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"whose key_ops are no list":           `{"kty":"OKP","crv":"Ed25519","kid":"odd","key_ops":"verify","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"private":                             `{"kty":"OKP","crv":"Ed25519","kid":"odd","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"with an id that is a number":         `{"kty":"OKP","crv":"Ed25519","kid":1,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"that is null":                        `null`,
		"that is a string":                    `"` + canary + `"`,
		"that is a list":                      `[]`,
	}
	verify := func(t *testing.T, i *providertest.Issuer) {
		verifier := providers.NewVerifier(i.Rules(resource), i.Keys(t))
		if _, err := verifier.Verify(t.Context(), i.Token(resource, nil)); err != nil {
			t.Error(err)
		}
	}
	all := providertest.NewIssuer(t)
	for name, jwk := range odd {
		all.Publish(jwk)
		t.Run(name, func(t *testing.T) {
			i := providertest.NewIssuer(t)
			i.Publish(jwk)
			verify(t, i)

			// Alone it is as good as nothing.
			i.Answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"keys":[%s]}`, jwk) })
			keys := i.Keys(t)
			eventually(t, "it is noticed that no key can be used", func() bool { return keys.Status().Problem != "" })
			if keys.Status().Usable {
				t.Error("it counts as a key")
			}
		})
	}
	t.Run("and all of them together", func(t *testing.T) { verify(t, all) })
}

// TestABadAnswerNeverReplacesGoodKeys also looks for what was sent, which must not come up in the log or in the status,
// and at the clock: who has a known key must not wait for the issuer.
func TestABadAnswerNeverReplacesGoodKeys(t *testing.T) {
	// What comes with every wrong status, and stands at the end of every redirect, are keys that would do.
	mallory := providertest.NewIssuer(t)
	temptation := strings.Replace(string(mallory.KeySet()), "{", `{"`+canary+`":1,`, 1)
	manyKeys := strings.Repeat(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},`, 101)
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for n := 0; n+1 < len(header); n += 2 {
				w.Header().Set(header[n], header[n+1])
			}
			w.Header().Set("X-Canary", canary)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, temptation)
		}
	}
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an empty set":                  text(`{"keys":[]}`),
		"a set that is null":            text(`{"keys":null,"` + canary + `":1}`),
		"no set":                        text(`{"error":"` + canary + `"}`),
		"null":                          text(`null`),
		"nothing":                       text(``),
		"HTML":                          text(`<!doctype html><title>` + canary + `</title>`),
		"half of it":                    text(`{"keys":[{"kty":"` + canary),
		"keys that are no list":         text(`{"keys":{"` + canary + `":1}}`),
		"a key type that we are told":   text(`{"keys":[{"kty":"` + canary + `","kid":"` + canary + `"}]}`),
		"more than 100 keys":            text(`{"keys":[` + strings.TrimSuffix(manyKeys, ",") + `]}`),
		"2 MiB":                         text(temptation + strings.Repeat(" ", 2<<20)),
		"a gzip bomb":                   bomb(temptation),
		"not found":                     status(http.StatusNotFound),
		"an error":                      status(http.StatusInternalServerError),
		"no content":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"too many requests":             status(http.StatusTooManyRequests),
		"an outage with a date":         status(http.StatusServiceUnavailable, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"),
		"a redirect to other keys":      status(http.StatusFound, "Location", mallory.KeysURL()),
		"a permanent redirect":          status(http.StatusPermanentRedirect, "Location", mallory.KeysURL()),
		"a connection that is cut":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"less than it promised":         status(http.StatusOK, "Content-Length", "10000"),
		"no HTTP":                       noHTTP,
		"no answer":                     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"an answer that drips for ever": drip,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := providertest.NewIssuer(t)
			var log lockedBuffer
			logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			client := i.Client()
			client.Timeout = 200 * time.Millisecond
			keys := providers.NewKeySet(providers.KeySource{URL: at(i.KeysURL()), Client: client},
				providers.KeyPolicy{RefetchInterval: 20 * time.Millisecond, MaxAge: 100 * time.Millisecond}, logger)
			run(t, keys)
			verifier := providers.NewVerifier(i.Rules(resource), keys)
			good, forged := i.Token(resource, nil), mallory.Sign(nil, i.Claims(resource))
			if _, err := verifier.Verify(t.Context(), good); err != nil {
				t.Fatal(err)
			}

			i.Answer(answer)
			for start, worst := time.Now(), time.Duration(0); keys.Status().Problem == ""; {
				before := time.Now()
				if _, err := verifier.Verify(t.Context(), good); err != nil {
					t.Fatalf("a known key: %v", err)
				}
				worst = max(worst, time.Since(before))
				if worst > 1500*time.Millisecond {
					t.Fatalf("a known key had to wait %s", worst)
				}
				if time.Since(start) > 10*time.Second {
					t.Fatal("nothing was found wrong with the answer")
				}
				time.Sleep(time.Millisecond)
			}
			for name, token := range map[string]string{"a new key": unknownKey(i), "another issuer's key": forged} {
				_, err := verifier.Verify(t.Context(), token)
				if !errors.Is(err, providers.ErrUnavailable) {
					t.Errorf("%s: %v", name, err)
				}
				checkDiscretion(t, err, token)
			}
			if _, err := verifier.Verify(t.Context(), good); err != nil {
				t.Errorf("a known key, afterwards: %v", err)
			}
			for _, said := range []string{keys.Status().Problem, log.String()} {
				if strings.Contains(said, canary) || strings.Contains(said, "html") {
					t.Errorf("what the issuer sent is repeated: %.500s", said)
				}
			}
			if len(keys.Status().Problem) > 300 {
				t.Errorf("the problem has %d bytes", len(keys.Status().Problem))
			}
		})
	}
	t.Cleanup(func() {
		if mallory.Fetches() > 0 {
			t.Error("a redirect was followed")
		}
	})
}

func bomb(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, text)
		_, _ = z.Write(bytes.Repeat([]byte(" "), 16<<20))
		_ = z.Close()
	}
}

func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

func noHTTP(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, canary+"\r\n\r\n")
		_ = conn.Close()
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// run renews keys until the test ends, and checks that Run ends then.
func run(t *testing.T, keys *providers.KeySet) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keys.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("Run did not end with its context")
		}
	})
}

// A certificate is text that the other side wrote, too.
func TestACertificateIsNotRepeated(t *testing.T) {
	i := providertest.NewIssuer(t)
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: canary}, DNSNames: []string{canary + ".example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))))
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: private}}}
	server.StartTLS()
	defer server.Close()
	address := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // the error for a name lists the names
	for _, trusted := range []bool{false, true} {
		client, roots := i.Client(), x509.NewCertPool()
		if trusted {
			roots.AddCert(certificate)
		}
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
		keys := providers.NewKeySet(providers.KeySource{URL: at(address), Client: client}, providers.KeyPolicy{}, i.Logger)
		_, err := providers.NewVerifier(i.Rules(resource), keys).Verify(t.Context(), i.Token(resource, nil))
		if !errors.Is(err, providers.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), canary) {
			t.Errorf("trusted %t: %v", trusted, err)
		}
	}
}

// memory answers requests for keys without a network, for tests that fake the time.
type memory func(*http.Request) (*http.Response, error)

func (f memory) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body []byte, header http.Header) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// TestTheDefaultPolicyOverADay is the life of a server whose issuer works for an hour and is down for a day and a half.
func TestTheDefaultPolicyOverADay(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		var down atomic.Bool
		keys := providers.NewKeySet(providers.KeySource{URL: at(i.KeysURL()), Client: &http.Client{Transport: memory(func(*http.Request) (*http.Response, error) {
			fetches.Add(1)
			if down.Load() {
				return nil, errors.New(canary)
			}
			return answer(http.StatusOK, i.KeySet(), nil)
		})}}, providers.KeyPolicy{}, i.Logger)
		run(t, keys)
		verifier := providers.NewVerifier(i.Rules(resource), keys)
		verify := func() error {
			_, err := verifier.Verify(t.Context(), i.Token(resource, nil))
			return err
		}

		time.Sleep(time.Hour - time.Second)
		if got := fetches.Load(); got != 12 {
			t.Errorf("%d fetches in an hour, want one every 5 minutes", got)
		}
		down.Store(true)
		fetches.Store(0)
		time.Sleep(23 * time.Hour)
		if err := verify(); err != nil || !keys.Status().Usable {
			t.Errorf("after 23 hours: %v, %+v", err, keys.Status())
		}
		if got := fetches.Load(); got < 23*60 || got > 23*60*2+10 {
			t.Errorf("%d attempts in 23 hours, want one every 30 seconds", got)
		}
		time.Sleep(2 * time.Hour)
		if err := verify(); !errors.Is(err, providers.ErrUnavailable) || keys.Status().Usable {
			t.Errorf("after 25 hours: %v, %+v", err, keys.Status())
		}
		down.Store(false)
		time.Sleep(30 * time.Second)
		if err := verify(); err != nil {
			t.Errorf("when it is back: %v", err)
		}
	})
}

// TestASlowIssuerHoldsNobodyUp: the wait for a new key has a bound, and so has the fetch, whatever the client's timeout.
func TestASlowIssuerHoldsNobodyUp(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		keys := providers.NewKeySet(providers.KeySource{URL: hang, Client: http.DefaultClient}, providers.KeyPolicy{}, i.Logger)
		run(t, keys)
		start := time.Now()
		_, err := providers.NewVerifier(i.Rules(resource), keys).Verify(t.Context(), i.Token(resource, nil))
		if !errors.Is(err, providers.ErrUnavailable) || time.Since(start) > 4*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		time.Sleep(10 * time.Second)
		if keys.Status().Problem == "" {
			t.Error("the fetch still hangs")
		}
	})
}

func TestRetryAfterIsRespected(t *testing.T) {
	i := providertest.NewIssuer(t)
	for value, wait := range map[string]time.Duration{
		"120":                 2 * time.Minute,
		"3600":                10 * time.Minute, // no longer than keys may be old
		"9223372036854775807": 10 * time.Minute,
		"18446744074":         10 * time.Minute, // would be 290 ms if it were multiplied carelessly
		"0":                   time.Second,
		"-5":                  time.Second,
		"soon":                time.Second,
		"":                    time.Second,
	} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var times []time.Time
				client := &http.Client{Transport: memory(func(*http.Request) (*http.Response, error) {
					if times = append(times, time.Now()); len(times) > 1 {
						return answer(http.StatusOK, i.KeySet(), nil)
					}
					return answer(http.StatusTooManyRequests, nil, http.Header{"Retry-After": {value}})
				})}
				keys := providers.NewKeySet(providers.KeySource{URL: at(i.KeysURL()), Client: client}, providers.KeyPolicy{}, i.Logger)
				run(t, keys)
				time.Sleep(11 * time.Minute)
				synctest.Wait()
				if got := times[1].Sub(times[0]); got != wait {
					t.Errorf("asked again after %s, want %s", got, wait)
				}
			})
		})
	}
}

// While the issuer has not answered yet, it is asked after 1, 2, 4, 8, 16 and then every 30 seconds.
func TestAttemptsGrowRarer(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var seconds []int
		client := &http.Client{Transport: memory(func(*http.Request) (*http.Response, error) {
			seconds = append(seconds, int(time.Since(start).Seconds()))
			return nil, errors.New(canary)
		})}
		keys := providers.NewKeySet(providers.KeySource{URL: at(i.KeysURL()), Client: client}, providers.KeyPolicy{}, i.Logger)
		run(t, keys)
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(seconds), "[0 1 3 7 15 31 61 91]"; got != want {
			t.Errorf("asked at %s, want %s", got, want)
		}
	})
}
