package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"time"
)

// heading begins the table.
func heading(out io.Writer, s settings) {
	fmt.Fprintf(out, "%s, %s, %s/%s, %d cores, %d rounds of %s, %d connections\n\n", time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		cores(), s.rounds, s.slice, s.connections)
	fmt.Fprintln(out, "| what | ratio | half of the rounds | at most | |")
	fmt.Fprintln(out, "|---|---|---|---|---|")
}

// line is one row: the median of the ratios, the quarters of them around it, and what is aimed at.
func line(out io.Writer, name string, ratios []float64, target float64) {
	s := sorted(ratios)
	middle, verdict := s[len(s)/2], "yes"
	if math.Round(100*middle) > math.Round(100*target) { // as it is printed
		verdict = "no"
	}
	fmt.Fprintf(out, "| %s | %.2f | %.2f to %.2f | %.2f | %s |\n", name, middle, s[len(s)/4], s[len(s)*3/4], target, verdict)
}
