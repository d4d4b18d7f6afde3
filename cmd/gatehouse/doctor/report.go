package doctor

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"gatehouse/configs"
)

// About identifies the program and what it checked.
type About struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Resource and Provider are empty if the configuration is invalid.
	Resource string `json:"resource,omitempty"`
	Provider string `json:"provider,omitempty"`
}

// WriteReport writes one text for a public bug report: versions, settings and results. The values of secrets
// are redacted already; home, the user's home directory or "", is replaced by "~".
func WriteReport(
	w io.Writer, about About, settings []configs.Value, results []Result, home string,
) error {
	var b strings.Builder
	fmt.Fprintf(&b, "gatehouse %s (%s, %s)\n\nconfiguration\n\n", about.Version, about.Go, about.Platform)
	width := 0
	for _, v := range settings {
		width = max(width, len(v.Key))
	}
	for _, v := range settings {
		fmt.Fprintf(&b, "%-*s  %s  (%s)\n", width, v.Key, v.Text(), v.Origin)
	}
	b.WriteString("\nchecks\n\n")
	if err := WriteText(&b, results); err != nil {
		return err
	}
	_, err := io.WriteString(w, anonymize(b.String(), home))
	return err
}

var (
	homePath = regexp.MustCompile(`(/home/|/Users/|\\Users\\)[^/\\\s]+`)
	urlQuery = regexp.MustCompile(`(https?://[^\s?"]*\?)[^\s"]+`)
)

// anonymize removes home directories, which contain user names, and the queries of URLs.
func anonymize(text, home string) string {
	if len(home) > 1 {
		text = strings.ReplaceAll(text, home, "~")
	}
	text = homePath.ReplaceAllString(text, "~")
	return urlQuery.ReplaceAllString(text, "${1}[redacted]")
}
