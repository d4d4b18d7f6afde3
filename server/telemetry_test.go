package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"gatehouse/providers"
)

// Without telemetry, metrics and traces cost nothing: their steps are not there.
func TestTelemetry_OffIsNoStep(t *testing.T) {
	next := func(echo.Context) error { return nil }
	resource, err := providers.ParseResource("https://mcp.example.com/mcp")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Resource: resource}
	for name, step := range map[string]echo.MiddlewareFunc{"measure": measure(c), "beginSpan": beginSpan(c)} {
		if got := step(next); reflect.ValueOf(got).Pointer() != reflect.ValueOf(next).Pointer() {
			t.Errorf("%s is a step", name)
		}
	}
	ctx := httptest.NewRequest(http.MethodPost, "/mcp", nil).Context()
	if DetachOperation(ctx) != nil || BeginSession(ctx, "id", "") != nil || ObservesOperations(ctx) {
		t.Error("an end is recorded")
	}
	if telemetry, err := NewTelemetry(nil, nil, KnownNames{}); telemetry != nil || err != nil {
		t.Errorf("%v %v", telemetry, err)
	}
}

// By the MCP convention, five codes are no error of the server, and every other one is.
func TestErrorType(t *testing.T) {
	for want, results := range map[string][]Result{
		"": {
			{}, {Outcome: OutcomeOK}, {Code: -32700}, {Code: -32600}, {Code: -32601}, {Code: -32602}, {Code: -32002},
			{Outcome: OutcomeDenied, Reason: providers.ReasonInsufficientScope}, {Outcome: OutcomeLimited, Code: -32600},
			{Outcome: OutcomeCanceled}, {Outcome: OutcomeCanceled, TimedOut: true}, {Outcome: OutcomeInvalid},
			{Outcome: OutcomeOK, TimedOut: true}, // it was done at the last moment
		},
		"tool_error": {{Outcome: OutcomeToolError}},
		"timeout": {
			{Outcome: OutcomeToolError, TimedOut: true}, {Code: -32603, TimedOut: true}, {Code: -32602, TimedOut: true},
		},
		"-32603": {{Code: -32603}, {Code: -32603, Outcome: OutcomeError}},
		"-32022": {{Code: -32022, Outcome: OutcomeInvalid}},
		"_OTHER": {{Code: -1}, {Code: 12345}, {Outcome: OutcomeError}},
	} {
		for _, r := range results {
			if got := errorType(r); got != want {
				t.Errorf("%+v: %q, want %q", r, got, want)
			}
		}
	}
}

// However many goroutines ask for labels, each gets those that it asked for; beyond the limit none are kept.
func TestAttributeCache(t *testing.T) {
	cache := newAttributeCache(func(n int) []attribute.KeyValue { return []attribute.KeyValue{attribute.Int("n", n)} })
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithCardinalityLimit(0)).Meter("test")
	histogram, err := meter.Float64Histogram("test")
	if err != nil {
		t.Fatal(err)
	}
	var recording sync.WaitGroup
	for range 4 {
		recording.Go(func() {
			for n := range maxAttributeSets + 100 {
				histogram.Record(context.Background(), float64(n), cache.get(n)...)
			}
		})
	}
	recording.Wait()
	if n := len(*cache.known.Load()); n != maxAttributeSets {
		t.Errorf("%d sets are kept, want %d", n, maxAttributeSets)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	points := data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints
	if len(points) != maxAttributeSets+100 {
		t.Errorf("%d series", len(points))
	}
	for _, p := range points {
		n, _ := p.Attributes.Value("n")
		if p.Count != 4 || p.Sum != 4*float64(n.AsInt64()) {
			t.Fatalf("%d: %d times, sum %v", n.AsInt64(), p.Count, p.Sum)
		}
	}
	if allocations := testing.AllocsPerRun(100, func() { cache.get(7) }); allocations > 0 {
		t.Errorf("known labels cost %.0f allocations", allocations)
	}
}

// Whatever a client sends, a label has one of few values.
func TestLabels_AreBounded(t *testing.T) {
	known, err := NewTelemetry(noop.Meter{}, nil, KnownNames{
		Methods: []string{"tools/call"}, Tools: []string{"greet"}, Versions: []string{"2026-07-28"},
		Reasons: []providers.ReasonDoc{{Code: "token_expired"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{orOther(known.known.tools, "greet"), "greet"}, {orOther(known.known.tools, "canary"), "_OTHER"},
		{orOther(known.known.tools, ""), ""}, {orNone(known.known.versions, "2026-07-28"), "2026-07-28"},
		{orNone(known.known.versions, "canary"), ""}, {known.reasonLabel("token_expired"), "token_expired"},
		{known.reasonLabel("canary"), "_OTHER"}, {known.reasonLabel(""), ""},
		{methodLabel("POST"), "POST"}, {methodLabel("post"), "_OTHER"}, {methodLabel("CANARY"), "_OTHER"},
		{codeLabel(0), ""}, {codeLabel(-32602), "-32602"}, {codeLabel(1), "_OTHER"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	for version, want := range map[[2]int]string{{1, 0}: "1.0", {1, 1}: "1.1", {2, 0}: "2", {3, 0}: "1.1"} {
		if got := protocolLabel(&http.Request{ProtoMajor: version[0], ProtoMinor: version[1]}); got != want {
			t.Errorf("%v: %q, want %q", version, got, want)
		}
	}
}

// A dropped connection has no status and is an error, and only errors of the server have an error.type.
func TestRequestLabels_ErrorType(t *testing.T) {
	for status, want := range map[int]string{200: "", 404: "", 429: "", 500: "500", 503: "503", 0: "_OTHER"} {
		labels := requestLabels{method: "POST", scheme: "https", protocol: "1.1", status: status}
		set := attribute.NewSet(labels.attributes()...)
		got, _ := set.Value("error.type")
		_, hasStatus := set.Value("http.response.status_code")
		if got.AsString() != want || hasStatus != (status != 0) {
			t.Errorf("%d: %s", status, fmt.Sprint(set.ToSlice()))
		}
	}
}

// The path of a span is that of the access log.
func TestShownPath(t *testing.T) {
	if got := shownPath("/a b\n" + strings.Repeat("x", 1000)); len(got) > 210 || strings.ContainsAny(got, " \n") {
		t.Errorf("%q", got)
	}
}

// Requests without a valid token are more than callers can be; their spans must not replace those of callers.
func TestSpans_OfRequestsWithoutATokenAreLimited(t *testing.T) {
	exported := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported)).Tracer("test")
	telemetry, err := NewTelemetry(nil, tracer, KnownNames{})
	if err != nil {
		t.Fatal(err)
	}
	resource, err := providers.ParseResource("https://mcp.example.com/mcp")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := Config{Telemetry: telemetry, Resource: resource}
		router := echo.New()
		send := func(n int, id *providers.Identity) {
			for range n {
				r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
				ctx := router.NewContext(r, httptest.NewRecorder())
				handler := withRequestState(measure(c)(func(ctx echo.Context) error {
					stateOf(ctx).identity = id
					return beginSpan(c)(func(echo.Context) error { return nil })(ctx)
				}))
				if err := handler(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		send(3*lineBurst, nil)
		if n := len(exported.GetSpans()); n != lineBurst {
			t.Errorf("%d spans, want %d", n, lineBurst)
		}
		exported.Reset()
		time.Sleep(time.Second)
		send(3*lineBurst, nil)
		send(100, &providers.Identity{Subject: "alice"})
		if n := len(exported.GetSpans()); n != linesPerSecond+100 {
			t.Errorf("%d spans, want %d", n, linesPerSecond+100)
		}
	})
}
