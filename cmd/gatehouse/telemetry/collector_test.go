package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"gatehouse/configs"
	"gatehouse/providers"
)

// serveCollector runs handler as a collector.
func serveCollector(t *testing.T, handler http.HandlerFunc, change func(*configs.Collector)) *collector {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	settings := configs.Collector{URL: server.URL + "/v1/metrics", Timeout: 5 * time.Second}
	if change != nil {
		change(&settings)
	}
	c := newCollector(settings, "metrics")
	t.Cleanup(c.close)
	return c
}

func message() proto.Message {
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{SchemaUrl: "test"}}}
}

func TestCollector_SendsWhatTheVariablesSay(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		var got []byte
		var header http.Header
		c := serveCollector(t, func(_ http.ResponseWriter, r *http.Request) {
			header = r.Header
			body := io.Reader(r.Body)
			if compressed {
				body, _ = gzip.NewReader(r.Body)
			}
			got, _ = io.ReadAll(body)
			if r.Method != http.MethodPost || r.URL.Path != "/v1/metrics" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		}, func(s *configs.Collector) {
			s.Gzip = compressed
			s.Headers = map[string]providers.Secret{"Api-Key": "secret"}
		})
		if err := c.send(context.Background(), message()); err != nil {
			t.Fatal(err)
		}
		want, _ := proto.Marshal(message())
		if !bytes.Equal(got, want) {
			t.Errorf("gzip %t: %q, want %q", compressed, got, want)
		}
		if header.Get("Api-Key") != "secret" || header.Get("Content-Type") != "application/x-protobuf" ||
			(header.Get("Content-Encoding") == "gzip") != compressed ||
			!strings.HasPrefix(header.Get("User-Agent"), "gatehouse/") {
			t.Errorf("%v", header)
		}
	}
}

// An error says what the collector did, and nothing of what it sent. A redirect is not followed: another host would get
// the headers.
func TestCollector_ErrorsQuoteNothing(t *testing.T) {
	partial := protowire.AppendTag(nil, 1, protowire.BytesType)
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 42)
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), "canary")
	partial = protowire.AppendBytes(partial, inner)
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   []byte
		want   string // "" for none
	}{
		"accepted":                {status: 200},
		"accepted without a body": {status: 204},
		"a body of no kind":       {status: 200, body: []byte("canary")},
		"a long body":             {status: 200, body: bytes.Repeat([]byte("canary"), 100_000)},
		"some rejected":           {status: 200, body: partial, want: "rejected 42 metrics"},
		"refused":                 {status: 401, body: []byte("canary"), want: "answered 401"},
		"a fault":                 {status: 500, body: []byte("canary"), want: "answered 500"},
		"elsewhere": {
			status: 307, header: map[string]string{"Location": "http://canary.example/"}, want: "answered 307",
		},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			collector := serveCollector(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write(c.body)
			}, nil)
			err := collector.send(context.Background(), message())
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes the collector: %v", err)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A collector that is unavailable gets the same again, later and later, until the time limit.
func TestCollector_RepeatsWhatMaySucceed(t *testing.T) {
	for name, c := range map[string]struct {
		statuses   []int // of the answers, the last one repeatedly; 0: there is no answer
		retryAfter string
		seconds    string // when there were requests
		failed     bool
	}{
		"unavailable twice": {statuses: []int{503, 429, 200}, seconds: "[0 1 3]"},
		"Retry-After":       {statuses: []int{503, 200}, retryAfter: "4", seconds: "[0 4]"},
		"always":            {statuses: []int{502}, seconds: "[0 1 3 7]", failed: true},
		"a far Retry-After": {statuses: []int{503}, retryAfter: "99999999999999999999", seconds: "[0]", failed: true},
		"unreachable":       {statuses: []int{0}, seconds: "[0 1 3 7]", failed: true},
		"refused":           {statuses: []int{400}, seconds: "[0]", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var seconds []int
				collector := newCollector(configs.Collector{URL: "http://collector.example/", Timeout: 10 * time.Second}, "spans")
				defer collector.close()
				collector.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					seconds = append(seconds, int(time.Since(begin).Seconds()))
					if body, _ := io.ReadAll(r.Body); len(body) == 0 {
						t.Error("a repetition has no body")
					}
					status := c.statuses[min(len(seconds), len(c.statuses))-1]
					if status == 0 {
						return nil, errors.New("canary")
					}
					header := http.Header{"Retry-After": {c.retryAfter}}
					return &http.Response{StatusCode: status, Header: header, Body: http.NoBody}, nil
				})
				err := collector.send(context.Background(), message())
				if (err != nil) != c.failed || err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("%v", err)
				}
				if got := fmt.Sprint(seconds); got != c.seconds {
					t.Errorf("requests at %s, want %s", got, c.seconds)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
