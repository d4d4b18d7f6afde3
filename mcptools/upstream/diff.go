package upstream

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"gatehouse/providers"
)

// Change is the difference of one tool between two sets of pins.
type Change struct {
	Tool string
	// Kind is one of the constants below.
	Kind ChangeKind
	// Lines are the lines of the definition: removed ones begin with -, added ones with +, the others with a space.
	Lines []string
}

// ChangeKind says how a tool differs.
type ChangeKind string

// The kinds of changes.
const (
	ToolAdded   ChangeKind = "new"
	ToolRemoved ChangeKind = "gone"
	ToolChanged ChangeKind = "changed"
)

// Renew returns the pins that replace p now that the upstream sends the definitions of now, and what changed. The
// definition of a tool that the upstream has not changed stays as it was reviewed. A nil p has no tools.
func (p *Pins) Renew(now *Pins) (*Pins, []Change) {
	if p == nil {
		p = &Pins{}
	}
	renewed := &Pins{Server: now.Server, Tools: []Pin{}}
	var changes []Change
	for _, pin := range now.Tools {
		before, found := p.Tool(pin.Name())
		switch {
		case !found:
			changes = append(changes, Change{pin.Name(), ToolAdded, diffLines(nil, indented(pin.Definition))})
		case before.SHA256 == pin.SHA256:
			pin = before
		default:
			changes = append(changes,
				Change{pin.Name(), ToolChanged, diffLines(indented(before.Definition), indented(pin.Definition))})
		}
		renewed.Tools = append(renewed.Tools, pin)
	}
	for _, pin := range p.Tools {
		if _, found := now.Tool(pin.Name()); !found {
			changes = append(changes, Change{pin.Name(), ToolRemoved, nil})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.Tool, b.Tool) })
	return renewed, changes
}

// String returns the change as a person reads it, in printable characters.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", c.Kind, providers.Printable(c.Tool, 128))
	for _, line := range c.Lines {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	return b.String()
}

// indented returns the lines of a definition.
func indented(definition json.RawMessage) []string {
	var b bytes.Buffer
	if err := json.Indent(&b, definition, "", "  "); err != nil {
		return []string{string(escapeInvisible(definition))}
	}
	return strings.Split(string(escapeInvisible(b.Bytes())), "\n")
}

// maxDiffCells bounds the time of a comparison. Beyond it, all lines count as different.
const maxDiffCells = 4 << 20

// diffLines returns the lines of a longest common subsequence, and between them those that only one side has.
func diffLines(before, after []string) []string {
	var lines []string
	add := func(sign string, all []string) {
		for _, line := range all {
			lines = append(lines, sign+line)
		}
	}
	if len(before)*len(after) > maxDiffCells {
		add("-", before)
		add("+", after)
		return lines
	}
	// common[i][j] is the length of the subsequence of before[i:] and after[j:].
	common := make([][]int, len(before)+1)
	for i := range common {
		common[i] = make([]int, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			if before[i] == after[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(before) && j < len(after) {
		switch {
		case before[i] == after[j]:
			add(" ", before[i:i+1])
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			add("-", before[i:i+1])
			i++
		default:
			add("+", after[j:j+1])
			j++
		}
	}
	add("-", before[i:])
	add("+", after[j:])
	return lines
}

// escapeInvisible escapes the characters of a JSON text that a reviewer cannot see: a description may hide
// instructions for the model in them. Outside strings, JSON has ASCII only.
func escapeInvisible(text []byte) []byte {
	isVisible := func(r rune) bool { return r == ' ' || r == '\n' || unicode.IsGraphic(r) && !unicode.IsSpace(r) }
	if !bytes.ContainsFunc(text, func(r rune) bool { return !isVisible(r) }) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch high, low := utf16.EncodeRune(r); {
		case isVisible(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}
