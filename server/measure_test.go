package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"gatehouse/server"
)

// Each request is one measurement and one span, however it ends. Probes are none.
func TestMeasure_EachRequestIsRecordedOnce(t *testing.T) {
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	telemetry, err := server.NewTelemetry(meter, tracer, server.KnownNames{})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, options{telemetry: telemetry})
	caller := func(do string) map[string]string {
		h := bearer(f.token("mcp:use"))
		h["X-Do"] = do
		return h
	}
	f.do(t, http.MethodPost, "/mcp", caller(""), nil)
	f.do(t, http.MethodPost, "/mcp", caller("panic"), nil)
	f.do(t, http.MethodPost, "/mcp", nil, nil)
	f.do(t, http.MethodGet, "/unknown", nil, nil)
	f.do(t, http.MethodGet, "/health", nil, nil)
	f.do(t, http.MethodGet, "/readyz", nil, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.address+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range caller("drop") {
		req.Header.Set(name, value)
	}
	req.Host = f.resource.Host()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("the connection is not dropped: %d", resp.StatusCode)
	}
	want := map[string]uint64{
		"POST /mcp 200 ": 1, "POST /mcp 500 500": 1, "POST /mcp 401 ": 1, "GET  404 ": 1, "POST /mcp  _OTHER": 1,
	}
	var got map[string]uint64
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(5 * time.Millisecond) {
		if got = recordedRequests(t, reader); len(got) == len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(spans.Ended()); n != len(want) {
		t.Errorf("%d spans, want %d", n, len(want))
	}
}

// recordedRequests counts requests by method, route, status and error.type.
func recordedRequests(t *testing.T, reader sdkmetric.Reader) map[string]uint64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			histogram, ok := m.Data.(metricdata.Histogram[float64])
			if !ok || m.Name != "http.server.request.duration" {
				t.Errorf("%s is recorded", m.Name)
				continue
			}
			for _, p := range histogram.DataPoints {
				text := ""
				for _, key := range []string{
					"http.request.method", "http.route", "http.response.status_code", "error.type",
				} {
					value, has := p.Attributes.Value(attribute.Key(key))
					if text != "" {
						text += " "
					}
					if has {
						text += value.String()
					}
				}
				counts[text] += p.Count
			}
		}
	}
	return counts
}
