package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"gatehouse/providers/diagnostics"
)

// WriteText writes the results for people: a line for each check; below a failure or warning, what was
// expected, what was found, and the fix; at the end, the counts.
func WriteText(w io.Writer, results []Result) error {
	var b strings.Builder
	width := 0
	for _, r := range results {
		width = max(width, len(r.Name))
	}
	for i, r := range results {
		if i > 0 && group(r) != group(results[i-1]) {
			b.WriteByte('\n')
		}
		line := fmt.Sprintf("%-7s  %-*s  %s", r.Verdict, width, r.Name, summary(r))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		if r.Verdict != diagnostics.VerdictWarning && r.Verdict != diagnostics.VerdictFailed {
			continue
		}
		for _, part := range [][2]string{{"expected", r.Expected}, {"found", r.Found}, {"fix", r.Fix}} {
			if part[1] != "" {
				fmt.Fprintf(&b, "           %-8s  %s\n", part[0], part[1])
			}
		}
	}
	warnings := count(results, diagnostics.VerdictWarning)
	plural := "s"
	if warnings == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "\n%d ok, %d warning%s, %d failed, %d skipped\n", count(results, diagnostics.VerdictOK),
		warnings, plural, count(results, diagnostics.VerdictFailed), count(results, diagnostics.VerdictSkipped))
	_, err := io.WriteString(w, b.String())
	return err
}

func group(r Result) string {
	name, _, _ := strings.Cut(r.Name, ".")
	return name
}

// summary is the rest of a check's own line. Warnings and failures have more lines below it.
func summary(r Result) string {
	text := ""
	switch r.Verdict {
	case diagnostics.VerdictOK:
		text = r.Found
	case diagnostics.VerdictSkipped:
		text = r.Reason
	}
	if r.Subject == "" || text == "" {
		return r.Subject + text
	}
	return r.Subject + ": " + text
}

// WriteJSON writes the results for programs.
func WriteJSON(w io.Writer, about About, results []Result) error {
	counts := map[diagnostics.Verdict]int{}
	for _, verdict := range []diagnostics.Verdict{
		diagnostics.VerdictOK, diagnostics.VerdictWarning, diagnostics.VerdictFailed, diagnostics.VerdictSkipped,
	} {
		counts[verdict] = count(results, verdict)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		About
		Counts map[diagnostics.Verdict]int `json:"counts"`
		Checks []Result                    `json:"checks"`
	}{about, counts, results})
}
