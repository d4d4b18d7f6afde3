package main

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gatehouse/configs"
)

// testCollector is a collector of OTLP over HTTP.
type testCollector struct {
	url string

	mu      sync.Mutex
	spans   []*tracepb.Span
	metrics []*metricspb.Metric // of the last export
	raw     strings.Builder     // everything that arrived, as text
}

func newTestCollector(t testing.TB) *testCollector {
	c := &testCollector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		text, err := io.ReadAll(body)
		if err == nil {
			err = c.receive(r.URL.Path, text)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, "bad", http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// receive decodes an export. ExportTraceServiceRequest and ExportMetricsServiceRequest, whose package needs gRPC, are
// encoded like these.
func (c *testCollector) receive(path string, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch path {
	case "/v1/traces":
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil {
			return err
		}
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		fmt.Fprintln(&c.raw, data.String())
	case "/v1/metrics":
		var data metricspb.MetricsData
		if err := proto.Unmarshal(body, &data); err != nil {
			return err
		}
		c.metrics = nil
		for _, resource := range data.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				c.metrics = append(c.metrics, scope.Metrics...)
			}
		}
		fmt.Fprintln(&c.raw, data.String())
	default:
		return fmt.Errorf("unknown path %s", path)
	}
	return nil
}

// use makes a server send metrics and traces to the collector.
func (c *testCollector) use(cfg *configs.Config) {
	cfg.Telemetry.Metrics, cfg.Telemetry.Traces = configs.TelemetryOTLP, configs.TelemetryOTLP
	cfg.OTLP.Traces = configs.Collector{URL: c.url + "/v1/traces", Timeout: 5e9}
	cfg.OTLP.Metrics = configs.Collector{URL: c.url + "/v1/metrics", Timeout: 5e9, Gzip: true}
}

// receivedSpan is a span in a form that tests compare.
type receivedSpan struct {
	name, trace, id, parent, status string
	links                           []string // trace and span
	end                             time.Time
	attributes                      map[string]any
}

// all returns the spans that arrived.
func (c *testCollector) all() []receivedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	var spans []receivedSpan
	for _, s := range c.spans {
		one := receivedSpan{
			name: s.Name, trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId),
			parent: hex.EncodeToString(s.ParentSpanId), attributes: attributeMap(s.Attributes),
			end:    time.Unix(0, int64(s.EndTimeUnixNano)),
			status: strings.ToLower(strings.TrimPrefix(s.GetStatus().GetCode().String(), "STATUS_CODE_")),
		}
		if s.Kind != tracepb.Span_SPAN_KIND_SERVER {
			one.name += " (" + s.Kind.String() + ")"
		}
		for _, link := range s.Links {
			one.links = append(one.links, hex.EncodeToString(link.TraceId)+" "+hex.EncodeToString(link.SpanId))
		}
		spans = append(spans, one)
	}
	return spans
}

// find returns the only span with an attribute.
func (c *testCollector) find(t *testing.T, key string, value any) receivedSpan {
	t.Helper()
	all := slices.DeleteFunc(c.all(), func(s receivedSpan) bool { return s.attributes[key] != value })
	if len(all) != 1 {
		t.Fatalf("%d spans have %s=%v, want one: %+v", len(all), key, value, all)
	}
	return all[0]
}

func attributeMap(list []*commonpb.KeyValue) map[string]any {
	all := map[string]any{}
	for _, one := range list {
		switch value := one.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			all[one.Key] = value.StringValue
		case *commonpb.AnyValue_IntValue:
			all[one.Key] = value.IntValue
		default:
			all[one.Key] = fmt.Sprintf("%T", value)
		}
	}
	return all
}

// receivedPoint is one series of a metric.
type receivedPoint struct {
	attributes map[string]any
	count      uint64  // of a histogram
	value      float64 // of any other metric
}

// series returns the series of the last export by the name of their metric, and its unit.
func (c *testCollector) series() (points map[string][]receivedPoint, units map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	points, units = map[string][]receivedPoint{}, map[string]string{}
	for _, m := range c.metrics {
		units[m.Name] = m.Unit
		for _, p := range m.GetHistogram().GetDataPoints() {
			points[m.Name] = append(points[m.Name], receivedPoint{attributes: attributeMap(p.Attributes), count: p.Count})
		}
		for _, p := range slices.Concat(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()) {
			points[m.Name] = append(points[m.Name], receivedPoint{
				attributes: attributeMap(p.Attributes), value: float64(p.GetAsInt()) + p.GetAsDouble(),
			})
		}
	}
	return points, units
}
