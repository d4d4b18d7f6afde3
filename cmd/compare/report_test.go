package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestALineSaysTheMedianAndTheQuartersAroundIt(t *testing.T) {
	for name, c := range map[string]struct {
		ratios []float64
		target float64
		want   string
	}{
		"better than aimed at": {[]float64{0.9, 0.5, 0.7, 0.6, 0.8}, 0.75, "| x | 0.70 | 0.60 to 0.80 | 0.75 | yes |"},
		"worse":                {[]float64{1.3, 1.2, 1.4}, 1.15, "| x | 1.30 | 1.20 to 1.40 | 1.15 | no |"},
		"what cannot be told":  {[]float64{0.754}, 0.75, "| x | 0.75 | 0.75 to 0.75 | 0.75 | yes |"},
		"worse by little":      {[]float64{0.756}, 0.75, "| x | 0.76 | 0.76 to 0.76 | 0.75 | no |"},
		"one round":            {[]float64{2}, 2, "| x | 2.00 | 2.00 to 2.00 | 2.00 | yes |"},
	} {
		var out strings.Builder
		line(&out, "x", c.ratios, c.target)
		if got := strings.TrimSpace(out.String()); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A comparison with a server that answers something else would be worth nothing.
func TestEveryAnswerIsLookedAt(t *testing.T) {
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for status, allWrong := range map[int]bool{200: false, 404: true} {
		for _, more := range []string{"", "Connection: close\r\n"} {
			ctx, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
			r, err := load(ctx, strings.TrimPrefix(i.URL, "http://"), 2, status, func(int) []byte {
				return []byte("GET /keys HTTP/1.1\r\nHost: x\r\n" + more + "\r\n")
			})
			end()
			if err != nil || r.answered == 0 || (r.wrong == r.answered) != allWrong || len(r.waited) != r.answered || r.median() <= 0 {
				t.Errorf("status %d: %d answers, %d of them wrong, %v", status, r.answered, r.wrong, err)
			}
		}
	}
}
