package doctor

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"gatehouse/configs"
)

// About says what was examined, and by what.
type About struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Resource and Provider are empty if the configuration is not valid.
	Resource string `json:"resource,omitempty"`
	Provider string `json:"provider,omitempty"`
}

// WriteReport writes everything that a stranger needs to understand the case, in one text that can be shown to strangers:
// secrets are redacted already, and whose computer it is does not matter. home is the person's home directory, or "".
func WriteReport(w io.Writer, about About, settings []configs.Value, results []Result, home string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "gatehouse %s (%s, %s)\n\nconfiguration\n\n", about.Version, about.Go, about.Platform)
	width := 0
	for _, v := range settings {
		width = max(width, len(v.Key))
	}
	for _, v := range settings {
		fmt.Fprintf(&b, "%-*s  %s  (%s)\n", width, v.Key, v.Value, v.Origin)
	}
	b.WriteString("\nchecks\n\n")
	if err := WriteText(&b, results); err != nil {
		return err
	}
	_, err := io.WriteString(w, anonymous(b.String(), home))
	return err
}

var (
	homes   = regexp.MustCompile(`(/home/|/Users/|\\Users\\)[^/\\\s]+`)
	queries = regexp.MustCompile(`(https?://[^\s?"]*\?)[^\s"]+`)
)

// anonymous takes out who the person is, and what people put into the query of an address.
func anonymous(text, home string) string {
	if len(home) > 1 {
		text = strings.ReplaceAll(text, home, "~")
	}
	text = homes.ReplaceAllString(text, "~")
	return queries.ReplaceAllString(text, "${1}[redacted]")
}
