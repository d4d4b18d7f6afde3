package token_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// run renews keys until the test ends, and checks that Run ends then.
func run(t *testing.T, keys *token.KeySet) {
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

// A certificate is text from the peer.
func TestCertificateErrorsDoNotQuoteTheCertificate(t *testing.T) {
	i := providertest.NewIssuer(t)
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: canary},
		DNSNames:  []string{canary + ".example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template,
		private.Public(), private))))
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw},
		PrivateKey: private}}}
	server.StartTLS()
	defer server.Close()
	address := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // the error for a name lists the names
	for _, trusted := range []bool{false, true} {
		client, roots := i.Client(), x509.NewCertPool()
		if trusted {
			roots.AddCert(certificate)
		}
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
		keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(address), Client: client}, token.KeyPolicy{},
			i.Logger)
		_, err := token.NewVerifier(i.Rules(resource), keys).Verify(t.Context(), i.Token(resource, nil))
		if !errors.Is(err, providers.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") ||
			strings.Contains(err.Error(), canary) {
			t.Errorf("trusted %t: %v", trusted, err)
		}
	}
}

// roundTripper responds without a network, for tests in a synctest bubble.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body []byte, header http.Header) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// The issuer works for an hour, and is down for more than a day then.
func TestKeyPolicyOverADay(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		var down atomic.Bool
		keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(i.KeysURL()),
			Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				fetches.Add(1)
				if down.Load() {
					return nil, errors.New(canary)
				}
				return answer(http.StatusOK, i.KeySet(), nil)
			})}}, token.KeyPolicy{}, i.Logger)
		run(t, keys)
		verifier := token.NewVerifier(i.Rules(resource), keys)
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
			t.Errorf("when the issuer is available again: %v", err)
		}
	})
}

// The wait for a new key is bounded, and so is the fetch, whatever the timeout of the client.
func TestSlowIssuerDelaysTokensForABoundedTime(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		keys := token.NewKeySet(token.KeySource{URL: hang, Client: http.DefaultClient}, token.KeyPolicy{}, i.Logger)
		run(t, keys)
		start := time.Now()
		_, err := token.NewVerifier(i.Rules(resource), keys).Verify(t.Context(), i.Token(resource, nil))
		if !errors.Is(err, providers.ErrUnavailable) || time.Since(start) > 4*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		time.Sleep(10 * time.Second)
		if keys.Status().Problem == "" {
			t.Error("the fetch still hangs")
		}
	})
}

func TestTimeoutIsReportedInStatus(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.AnswerKeys(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client := i.Client()
	client.Timeout = 20 * time.Millisecond
	keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(i.KeysURL()), Client: client}, i.KeyPolicy,
		i.Logger)
	_, err := token.NewVerifier(i.Rules(resource), keys).Verify(t.Context(), i.Token(resource, nil))
	if !errors.Is(err, providers.ErrUnavailable) || !strings.Contains(keys.Status().Problem,
		"no answer in time") {
		t.Errorf("%v; the problem is %q", err, keys.Status().Problem)
	}
}

func TestKeySetRespectsRetryAfter(t *testing.T) {
	i := providertest.NewIssuer(t)
	for value, wait := range map[string]time.Duration{
		"120":                 2 * time.Minute,
		"3600":                10 * time.Minute, // at most the maximum age of keys
		"9223372036854775807": 10 * time.Minute,
		"18446744074":         10 * time.Minute, // 290 ms after an overflow
		"0":                   time.Second,
		"-5":                  time.Second,
		"soon":                time.Second,
		"":                    time.Second,
	} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var times []time.Time
				client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					if times = append(times, time.Now()); len(times) > 1 {
						return answer(http.StatusOK, i.KeySet(), nil)
					}
					return answer(http.StatusTooManyRequests, nil, http.Header{"Retry-After": {value}})
				})}
				keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(i.KeysURL()), Client: client},
					token.KeyPolicy{},
					i.Logger)
				run(t, keys)
				time.Sleep(11 * time.Minute)
				synctest.Wait()
				if got := times[1].Sub(times[0]); got != wait {
					t.Errorf("the next fetch is after %s, want %s", got, wait)
				}
			})
		})
	}
}

// Without keys, the fetch is repeated after 1, 2, 4, 8, 16 and then every 30 seconds.
func TestKeySetBacksOff(t *testing.T) {
	i := providertest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var seconds []int
		client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			seconds = append(seconds, int(time.Since(start).Seconds()))
			return nil, errors.New(canary)
		})}
		keys := token.NewKeySet(token.KeySource{URL: token.StaticURL(i.KeysURL()), Client: client},
			token.KeyPolicy{}, i.Logger)
		run(t, keys)
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(seconds), "[0 1 3 7 15 31 61 91]"; got != want {
			t.Errorf("fetched at %s, want %s", got, want)
		}
		if status := keys.Status(); status.FailedFetches != int64(len(seconds)) || status.Fetches != 0 {
			t.Errorf("%+v after %d attempts", status, len(seconds))
		}
	})
}

// A provider that uses a key at once after it publishes it does so just after the renewal of some server.
func TestKeyUsedJustAfterARenewalIsFound(t *testing.T) {
	i := providertest.NewIssuer(t)
	i.KeyPolicy.RefetchInterval, i.KeyPolicy.MaxAge = time.Hour, 24*time.Hour
	v := token.NewVerifier(i.Rules(resource), i.Keys(t))
	for start := time.Now(); i.Fetches() == 0 &&
		time.Since(start) < 5*time.Second; time.Sleep(time.Millisecond) {
	}
	if _, err := v.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Fatal(err)
	}
	i.AddKey(jose.RS256)
	if _, err := v.Verify(t.Context(), i.Token(resource, nil)); err != nil {
		t.Errorf("a key that was published a moment ago: %v", err)
	}
	i.AddKey(jose.RS256)
	if _, err := v.Verify(t.Context(),
		i.Token(resource, nil)); providers.ReasonOf(err) != providers.ReasonKeysUnavailable || i.Fetches() != 2 {
		t.Errorf("another one, in the same interval: %v after %d fetches", err, i.Fetches())
	}
}
