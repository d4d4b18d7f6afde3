package telemetry

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"gatehouse/providers"
)

// gatherInterval is for how long gathered metrics are used again, so that requests of a stranger cost little.
const gatherInterval = time.Second

// recentMetrics gathers the metrics at most once in each interval. A nil recentMetrics has none.
type recentMetrics struct {
	source prometheus.Gatherer

	mu       sync.Mutex
	at       time.Time
	families []*dto.MetricFamily // read only
	err      error
}

// gather returns the metrics. Some of them may be returned together with an error about others.
func (m *recentMetrics) gather() ([]*dto.MetricFamily, error) {
	if m == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.at.IsZero() || now.Sub(m.at) >= gatherInterval {
		m.at = now
		m.families, m.err = m.source.Gather()
	}
	return m.families, m.err
}

// series returns the series of a metric.
func (m *recentMetrics) series(name string) []*dto.Metric {
	families, _ := m.gather() // /metrics reports the error
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()
		}
	}
	return nil
}

// serverErrors returns how many responses had a status of 5xx.
func (m *recentMetrics) serverErrors() (count uint64) {
	for _, series := range m.series("http_server_request_duration_seconds") {
		if strings.HasPrefix(label(series, "http_response_status_code"), "5") {
			count += series.GetHistogram().GetSampleCount()
		}
	}
	return count
}

// ToolStatus are the calls of a tool since the start.
type ToolStatus struct {
	Name  string `json:"name"`
	Calls uint64 `json:"calls"`
	// ToolErrors is how many results said that the tool failed, and Errors how many calls failed in another way.
	ToolErrors uint64 `json:"tool_errors"`
	Errors     uint64 `json:"errors"`
	// P50 and P95 are quantiles of the latency, in seconds, interpolated within a bucket of the histogram as the
	// function histogram_quantile of Prometheus does it.
	P50 float64 `json:"p50_seconds"`
	P95 float64 `json:"p95_seconds"`

	latency histogram
}

// Bounds of what is shown of tools, because their names may come from other servers.
const (
	maxTools        = 50
	maxToolNameSize = 64
)

// tools returns the tools that were called, the most called first, and how many calls others had.
func (m *recentMetrics) tools() (tools []ToolStatus, others uint64) {
	byName := map[string]*ToolStatus{}
	for _, series := range m.series("mcp_server_operation_duration_seconds") {
		name, count := label(series, "gen_ai_tool_name"), series.GetHistogram().GetSampleCount()
		if label(series, "mcp_method_name") != "tools/call" || name == "" {
			continue
		}
		tool := byName[name]
		if tool == nil {
			tool = &ToolStatus{Name: providers.Printable(name, maxToolNameSize)}
			byName[name] = tool
		}
		tool.Calls += count
		switch label(series, "error_type") {
		case "":
		case "tool_error":
			tool.ToolErrors += count
		default:
			tool.Errors += count
		}
		tool.latency.add(series.GetHistogram())
	}
	for _, tool := range byName {
		tool.P50, tool.P95 = toMicros(tool.latency.quantile(0.5)), toMicros(tool.latency.quantile(0.95))
		tools = append(tools, *tool)
	}
	slices.SortFunc(tools, func(a, b ToolStatus) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
	for _, tool := range tools[min(len(tools), maxTools):] {
		others += tool.Calls
	}
	return tools[:min(len(tools), maxTools)], others
}

// toMicros rounds seconds to microseconds.
func toMicros(seconds float64) float64 { return math.Round(seconds*1e6) / 1e6 }

func label(series *dto.Metric, name string) string {
	for _, pair := range series.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// histogram is the sum of histograms with the same bounds: how many values are at most each bound.
type histogram map[float64]uint64

func (h *histogram) add(other *dto.Histogram) {
	if *h == nil {
		*h = histogram{}
	}
	for _, bucket := range other.GetBucket() {
		(*h)[bucket.GetUpperBound()] += bucket.GetCumulativeCount()
	}
	// The last bucket is implied in some encodings.
	if n := len(other.GetBucket()); n == 0 || !math.IsInf(other.GetBucket()[n-1].GetUpperBound(), 1) {
		(*h)[math.Inf(1)] += other.GetSampleCount()
	}
}

// bounds returns the upper bounds in order.
func (h histogram) bounds() []float64 { return slices.Sorted(maps.Keys(h)) }

// quantile returns a value below which the part q of all values is. Within a bucket the values are taken to
// be evenly distributed; beyond the last bound it is that bound. Without values it is 0.
func (h histogram) quantile(q float64) float64 {
	rank, lower, below := q*float64(h[math.Inf(1)]), 0.0, 0.0
	for _, bound := range h.bounds() {
		count := float64(h[bound])
		if count >= rank && count > below {
			if math.IsInf(bound, 1) {
				return lower
			}
			return lower + (bound-lower)*(rank-below)/(count-below)
		}
		if !math.IsInf(bound, 1) {
			lower, below = bound, count
		}
	}
	return 0
}
