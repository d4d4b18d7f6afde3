package broker

import (
	"errors"
	"strings"
)

// ClaimList is a list of conditions on claims. A value with a comma, ">" or a quotation mark is a JSON string, so that
// in text, where commas separate the entries, those within quotes do not.
type ClaimList []string

// ParseText parses the list as it is written in the environment, in flags, and in a profile as one text. The error
// quotes nothing.
func (ClaimList) ParseText(text string) ([]string, error) {
	list := []string{}
	var entry strings.Builder
	add := func() {
		if one := strings.TrimSpace(entry.String()); one != "" {
			list = append(list, one)
		}
		entry.Reset()
	}
	quoted, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			add()
			continue
		}
		entry.WriteRune(r)
	}
	if quoted {
		return nil, errors.New("a quotation mark is not closed")
	}
	add()
	return list, nil
}

// Redacted returns the list: it has no secrets.
func (c ClaimList) Redacted() []string { return c }

// Text is the list in the form of ParseText.
func (c ClaimList) Text() string { return strings.Join(c, ",") }

// Example is a list in that form.
func (ClaimList) Example() string {
	return `groups=mcp-users > mcp:use, groups="CN=MCP,OU=x" > mcp:admin`
}

// AcceptsText reports that a profile may have one text in place of a list.
func (ClaimList) AcceptsText() bool { return true }
