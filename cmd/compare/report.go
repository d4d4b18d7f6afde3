package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"
)

// writeHeading writes the first lines of the table.
func writeHeading(out io.Writer, s settings) {
	fmt.Fprintf(out, "%s, %s, %s/%s, %d cores, %d rounds of %s", time.Now().UTC().Format("2006-01-02"),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, cores(), s.rounds, s.slice)
	if !s.relayed {
		fmt.Fprintf(out, ", %d connections", s.connections)
	}
	fmt.Fprint(out, "\n\n")
	fmt.Fprintln(out, "| what | ratio | half of the rounds | at most | |")
	fmt.Fprintln(out, "|---|---|---|---|---|")
}

// writeRow writes one row: the median of the ratios, the quartiles, the upper bound, and whether it is met.
// Without a bound, target is 0.
func writeRow(out io.Writer, name string, ratios []float64, target float64) {
	s := slices.Sorted(slices.Values(ratios))
	median, met := s[len(s)/2], "yes"
	if math.Round(100*median) > math.Round(100*target) { // as printed
		met = "no"
	}
	bound := fmt.Sprintf("%.2f | %s", target, met)
	if target == 0 {
		bound = " | "
	}
	fmt.Fprintf(out, "| %s | %.2f | %.2f to %.2f | %s |\n", name, median, s[len(s)/4], s[len(s)*3/4], bound)
}
