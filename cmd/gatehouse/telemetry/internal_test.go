package telemetry

import (
	"math"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/app"
)

// The values are those of histogram_quantile of Prometheus for the same buckets.
func TestHistogram_Quantile(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	for name, c := range map[string]struct {
		h        histogram
		q        float64
		want     float64
		wantText string
	}{
		"no histogram":             {nil, 0.5, 0, "–"},
		"no values":                {histogram{1: 0, 2: 0, inf: 0}, 0.5, 0, "< 1.0 s"},
		"in the middle":            {histogram{1: 2, 2: 6, 4: 8, inf: 8}, 0.5, 1.5, "1.5 s"},
		"in the first bucket":      {histogram{1: 8, 2: 8, inf: 8}, 0.5, 0.5, "< 1.0 s"},
		"at the end of a bucket":   {histogram{1: 4, 2: 4, 4: 8, inf: 8}, 0.5, 1, "1.0 s"},
		"after empty buckets":      {histogram{1: 0, 2: 0, 4: 8, inf: 8}, 0.5, 3, "3.0 s"},
		"beyond the last bound":    {histogram{1: 1, 2: 1, inf: 8}, 0.95, 2, "> 2.0 s"},
		"one value":                {histogram{0.1: 0, 0.2: 1, inf: 1}, 0.5, 0.15, "150 ms"},
		"no bound but the last":    {histogram{inf: 3}, 0.5, 0, "–"},
		"milliseconds are rounded": {histogram{0.01: 0, 0.02: 3, inf: 3}, 0.95, 0.0195, "20 ms"},
	} {
		got := c.h.quantile(c.q)
		if math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if text := c.h.text(got); text != c.wantText {
			t.Errorf("%s: written %q, want %q", name, text, c.wantText)
		}
	}
}

func TestTraffic_KeepsFiveMinutes(t *testing.T) {
	t.Parallel()
	var all traffic
	began := time.Now()
	for i := range 1000 {
		all.add(sample{at: began.Add(time.Duration(i) * sampleInterval)})
	}
	kept := all.all()
	if len(kept) != maxSamples || !kept[maxSamples-1].at.Equal(began.Add(999*sampleInterval)) ||
		!kept[0].at.Equal(began.Add(939*sampleInterval)) {
		t.Errorf("%d samples are kept, from %s to %s", len(kept), kept[0].at.Sub(began), kept[len(kept)-1].at.Sub(began))
	}
}

// A limit is a problem from 80 % on, as for the alert GatehouseNearLimit.
func TestProblems_NearLimit(t *testing.T) {
	t.Parallel()
	for active, want := range map[int64]int{799: 0, 800: 1, 1000: 1} {
		s := OperatorStatus{Status: app.Status{Streams: app.Usage{Active: active, Limit: 1000}}}
		if got := problems(s); len(got) != want {
			t.Errorf("%d of 1000: %+v", active, got)
		}
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		number(0): "0", number(999): "999", number(1000): "1,000", number(-1234567): "-1,234,567",
		number(uint64(100_000)): "100,000", number(123_456_789): "123,456,789",
		count(1, "entry"): "1 entry", count(0, "entry"): "0 entries", count(2000, "request"): "2,000 requests",
		percent(0): "0 %", percent(0.0004): "< 0.1 %", percent(0.023): "2.3 %", percent(0.5): "50 %", percent(1): "100 %",
		perSecond(0): "0", perSecond(0.02): "< 0.1", perSecond(3.14159): "3.1", perSecond(12345.6): "12,346",
		latency(0.0123): "12 ms", latency(2.04): "2.0 s", latency(300): "300 s",
		span(59e9): "59 s", span(150e9): "2 min", span(3 * 3600e9): "3 h 0 min", span(75 * 3600e9): "3 d 3 h",
		megabytes(31_400_000): "31 MB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
