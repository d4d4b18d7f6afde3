package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestWriteRowHasTheMedianAndTheQuartiles(t *testing.T) {
	for name, c := range map[string]struct {
		ratios []float64
		target float64
		want   string
	}{
		"below the bound": {[]float64{0.9, 0.5, 0.7, 0.6, 0.8}, 0.75,
			"| x | 0.70 | 0.60 to 0.80 | 0.75 | yes |"},
		"above the bound":    {[]float64{1.3, 1.2, 1.4}, 1.15, "| x | 1.30 | 1.20 to 1.40 | 1.15 | no |"},
		"above, but rounded": {[]float64{0.754}, 0.75, "| x | 0.75 | 0.75 to 0.75 | 0.75 | yes |"},
		"above by little":    {[]float64{0.756}, 0.75, "| x | 0.76 | 0.76 to 0.76 | 0.75 | no |"},
		"one round":          {[]float64{2}, 2, "| x | 2.00 | 2.00 to 2.00 | 2.00 | yes |"},
		"no bound":           {[]float64{2}, 0, "| x | 2.00 | 2.00 to 2.00 |  |  |"},
	} {
		var out strings.Builder
		writeRow(&out, "x", c.ratios, c.target)
		if got := strings.TrimSpace(out.String()); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A comparison with a server that responds with errors would be wrong.
func TestLoadChecksEveryResponse(t *testing.T) {
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for status, unexpected := range map[int]bool{200: false, 404: true} {
		for _, more := range []string{"", "Connection: close\r\n"} {
			ctx, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
			r, err := load(ctx, strings.TrimPrefix(i.URL, "http://"), 2, status, func(int) []byte {
				return []byte("GET /keys HTTP/1.1\r\nHost: x\r\n" + more + "\r\n")
			})
			end()
			if err != nil || r.responses == 0 || (r.unexpected == r.responses) != unexpected ||
				len(r.latencies) != r.responses || r.median() <= 0 {
				t.Errorf("status %d: %d responses, %d of them unexpected, %v", status, r.responses, r.unexpected, err)
			}
		}
	}
}
