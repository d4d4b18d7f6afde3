package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"gatehouse/configs"
)

// to returns a configuration that sends both to a URL.
func to(url string) *configs.Config {
	return &configs.Config{
		Telemetry: configs.Telemetry{Metrics: configs.TelemetryOTLP, Traces: configs.TelemetryOTLP, Sample: 1},
		OTLP: configs.OTLP{
			Traces:  configs.Collector{URL: url, Timeout: time.Minute},
			Metrics: configs.Collector{URL: url, Timeout: time.Minute},
		},
	}
}

func TestNew_OffIsNothing(t *testing.T) {
	off, err := New(&configs.Config{Telemetry: configs.Telemetry{Metrics: "off", Traces: "off"}}, "test")
	if err != nil || off.Meter != nil || off.Tracer != nil || off.Metrics != nil {
		t.Errorf("%+v %v", off, err)
	}
	if err := off.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// Libraries that use the global provider, such as zitadel/oidc, must not export spans of their own.
func TestNew_RegistersNothingGlobally(t *testing.T) {
	telemetry, err := New(to("http://127.0.0.1:1/"), "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := otel.Tracer("library").Start(context.Background(), "theirs")
	if span.IsRecording() || span.SpanContext().IsValid() {
		t.Error("the span of a library is recorded")
	}
	span.End()
	_, own := telemetry.Tracer.Start(ctx, "ours")
	if !own.IsRecording() {
		t.Error("ours is not")
	}
	ending, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = telemetry.Shutdown(ending) // there is no collector
}

// Both exports at the stop take the time limit together, not one after the other, and nothing goes on afterwards.
func TestShutdown_TakesNoLongerThanItMay(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	telemetry, err := New(to("http://"+hanging.Addr().String()+"/"), "test")
	if err != nil {
		t.Fatal(err)
	}
	for range 3_000 { // several batches
		_, span := telemetry.Tracer.Start(context.Background(), "test")
		span.End()
	}
	counter, _ := telemetry.Meter.Int64Counter("test")
	counter.Add(context.Background(), 1)
	const limit = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	begin := time.Now()
	err = telemetry.Shutdown(ctx)
	if took := time.Since(begin); err == nil || took > limit+200*time.Millisecond {
		t.Errorf("%v after %s", err, took)
	}
}

// A collector of traces that hangs does not take the time of the last metrics, nor the other way round.
func TestShutdown_ExportsBothAtTheSameTime(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	received := make(chan string, 10)
	good := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.URL.Path }))
	defer good.Close()
	for path, use := range map[string]func(*configs.Config){
		"/traces":  func(c *configs.Config) { c.OTLP.Traces.URL = good.URL + "/traces" },
		"/metrics": func(c *configs.Config) { c.OTLP.Metrics.URL = good.URL + "/metrics" },
	} {
		cfg := to("http://" + hanging.Addr().String() + "/")
		use(cfg)
		telemetry, err := New(cfg, "test")
		if err != nil {
			t.Fatal(err)
		}
		_, span := telemetry.Tracer.Start(context.Background(), "test")
		span.End()
		counter, _ := telemetry.Meter.Int64Counter("test")
		counter.Add(context.Background(), 1)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		if telemetry.Shutdown(ctx) == nil {
			t.Errorf("%s: the export that hangs is no error", path)
		}
		cancel()
		select {
		case got := <-received:
			if got != path {
				t.Errorf("%s, want %s", got, path)
			}
		default:
			t.Errorf("%s has received nothing", path)
		}
	}
}

// At most one line a minute says that exports fail, with how many others there were.
func TestErrorHandler_LogsOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		handler := NewErrorHandler(slog.New(slog.NewTextHandler(&log, nil)))
		for range 601 { // ten minutes
			handler.Handle(errors.New("a collector\nthat is down" + strings.Repeat("x", 10_000)))
			time.Sleep(time.Second)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 11 {
			t.Errorf("%d lines, want 11", len(lines))
		}
		for i, line := range lines {
			want := "suppressed=59"
			if i == 0 {
				want = "suppressed=0"
			}
			if !strings.HasSuffix(line, want) || !strings.Contains(line, "level=WARN") || len(line) > 500 {
				t.Errorf("%q", line)
			}
		}
	})
}

// Each kind of instrument arrives in OTLP as the SDK collected it, in each temporality.
func TestMetricOf_ConvertsEachKind(t *testing.T) {
	for _, temporality := range []string{"cumulative", "delta", "lowmemory"} {
		exporter := &metricExporter{temporality: temporality}
		reader := sdkmetric.NewManualReader(sdkmetric.WithTemporalitySelector(exporter.Temporality))
		meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
		record(t, meter)
		var data metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &data); err != nil {
			t.Fatal(err)
		}
		got := map[string]*metricspb.Metric{}
		for _, m := range data.ScopeMetrics[0].Metrics {
			converted, err := metricOf(m)
			if err != nil {
				t.Fatal(err)
			}
			got[m.Name] = converted
			if converted.Unit != "s" || converted.Description != "about "+m.Name {
				t.Errorf("%v", converted)
			}
		}
		sum := func(name string) (*metricspb.Sum, *metricspb.NumberDataPoint) {
			s := got[name].GetSum()
			return s, s.GetDataPoints()[0]
		}
		counter, point := sum("counter")
		isDeltaOfAll := temporality != "cumulative"
		if point.GetAsInt() != 5 || !counter.IsMonotonic || isDelta(counter.AggregationTemporality) != isDeltaOfAll {
			t.Errorf("%s: %v", temporality, counter)
		}
		text := strings.ReplaceAll(fmt.Sprint(point.Attributes), "  ", " ") // the spaces are random
		for _, want := range []string{
			`key:"name" value:{string_value:"x"}`, `key:"number" value:{int_value:7}`, `key:"flag" value:{bool_value:true}`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", text, want)
			}
		}
		if point.TimeUnixNano < point.StartTimeUnixNano || point.StartTimeUnixNano == 0 {
			t.Errorf("%v", point)
		}
		updown, point := sum("updown")
		if point.GetAsDouble() != -1.5 || updown.IsMonotonic || isDelta(updown.AggregationTemporality) {
			t.Errorf("%s: %v", temporality, updown)
		}
		observed, point := sum("observed")
		if point.GetAsInt() != 9 || isDelta(observed.AggregationTemporality) != (temporality == "delta") {
			t.Errorf("%s: %v", temporality, observed)
		}
		if points := got["gauge"].GetGauge().GetDataPoints(); len(points) != 1 || points[0].GetAsDouble() != 2.5 {
			t.Errorf("%v", points)
		}
		histogram := got["histogram"].GetHistogram()
		p := histogram.GetDataPoints()[0]
		if p.Count != 3 || p.GetSum() != 12 || p.GetMin() != 1 || p.GetMax() != 9 ||
			fmt.Sprint(p.BucketCounts, p.ExplicitBounds) != "[1 1 1] [1 5]" ||
			isDelta(histogram.AggregationTemporality) != isDeltaOfAll {
			t.Errorf("%s: %v", temporality, histogram)
		}
	}
	if _, err := metricOf(metricdata.Metrics{Name: "test", Data: metricdata.ExponentialHistogram[float64]{}}); err == nil {
		t.Error("an unknown kind is converted")
	}
}

func isDelta(t metricspb.AggregationTemporality) bool {
	return t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
}

// record records with one instrument of each kind.
func record(t *testing.T, meter metric.Meter) {
	t.Helper()
	ctx := context.Background()
	with := metric.WithAttributes(attribute.String("name", "x"), attribute.Int("number", 7), attribute.Bool("flag", true))
	about := func(name string) metric.InstrumentOption { return metric.WithDescription("about " + name) }
	counter, err1 := meter.Int64Counter("counter", metric.WithUnit("s"), about("counter"))
	updown, err2 := meter.Float64UpDownCounter("updown", metric.WithUnit("s"), about("updown"))
	histogram, err3 := meter.Float64Histogram("histogram", metric.WithUnit("s"), about("histogram"),
		metric.WithExplicitBucketBoundaries(1, 5))
	_, err4 := meter.Int64ObservableCounter("observed", metric.WithUnit("s"), about("observed"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(9); return nil }))
	_, err5 := meter.Float64ObservableGauge("gauge", metric.WithUnit("s"), about("gauge"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error { o.Observe(2.5); return nil }))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	counter.Add(ctx, 5, with)
	updown.Add(ctx, -1.5)
	for _, value := range []float64{1, 2, 9} {
		histogram.Record(ctx, value)
	}
}
