package mcptools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// membersOf finds members of a JSON object by their exact names, and returns their values in the order of names; nil where
// there is none. A member that differs from one of the names only in case is refused, as is a member that occurs twice:
// encoding/json would match names in any case and take the last.
//
// The text must be valid JSON, or part of it. The values are parts of raw: a decoder would copy each of them, for every call,
// only to know how the call is named.
func membersOf(raw []byte, names ...string) ([]json.RawMessage, error) {
	i := skipBlanks(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return nil, errors.New("not an object")
	}
	values := make([]json.RawMessage, len(names))
	var seen distinct
	for i = skipBlanks(raw, i+1); raw[i] != '}'; {
		end := endOfValue(raw, i)
		name, err := nameOf(raw[i:end])
		if err != nil {
			return nil, err
		}
		if !seen.add(name) {
			return nil, errors.New("a member occurs twice")
		}
		i = skipBlanks(raw, skipBlanks(raw, end)+1) // behind the colon
		end = endOfValue(raw, i)
		for n, wanted := range names {
			switch {
			case string(name) == wanted:
				values[n] = raw[i:end]
			case imitates(name, wanted):
				return nil, fmt.Errorf("a member imitates %s", wanted)
			}
		}
		if i = skipBlanks(raw, end); raw[i] == ',' {
			i = skipBlanks(raw, i+1)
		}
	}
	return values, nil
}

// nameOf decodes the name of a member if it has to be decoded.
func nameOf(quoted []byte) ([]byte, error) {
	name := quoted[1 : len(quoted)-1]
	if isPlain(name) {
		return name, nil
	}
	var decoded string
	if err := json.Unmarshal(quoted, &decoded); err != nil {
		return nil, err
	}
	return []byte(decoded), nil
}

func isPlain(name []byte) bool {
	for _, c := range name {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// imitates reports whether name is wanted in another case. Only letters beyond ASCII fold into others of another length.
func imitates(name []byte, wanted string) bool {
	return (len(name) == len(wanted) || !isPlain(name)) && strings.EqualFold(string(name), wanted)
}

func skipBlanks(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r') {
		i++
	}
	return i
}

// endOfValue returns the index behind the value that begins at i.
func endOfValue(raw []byte, i int) int {
	for depth := 0; ; {
		switch raw[i] {
		case '"':
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r': // between the values inside
			i++
		default: // a number or a word
			for i < len(raw) && bytes.IndexByte([]byte(",:]} \t\n\r"), raw[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// distinct is a set of names that is small as a rule, and must not become slow when somebody makes it large.
type distinct struct {
	few  [12][]byte
	n    int
	many map[string]bool
}

// add reports whether name is new.
func (d *distinct) add(name []byte) bool {
	if d.many != nil {
		if d.many[string(name)] {
			return false
		}
		d.many[string(name)] = true
		return true
	}
	for _, known := range d.few[:d.n] {
		if bytes.Equal(known, name) {
			return false
		}
	}
	if d.n < len(d.few) {
		d.few[d.n] = name
		d.n++
		return true
	}
	d.many = map[string]bool{string(name): true}
	for _, known := range d.few {
		d.many[string(known)] = true
	}
	return true
}
