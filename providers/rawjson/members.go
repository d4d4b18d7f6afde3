// Package rawjson finds the members of a JSON object without decoding them, and refuses objects that two parsers could read
// differently. Tokens and messages are read by us first and by a library later; whoever finds a text that both read in another
// way has got past the check. encoding/json alone would match names in any case and take the last of two.
package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Each calls member for every member of an object, in their order, with the decoded name and with the value as it stands in
// raw. It reads all of the text and takes only what is one JSON object, as [json.Valid] would, and not nested more than 64
// levels deep; it ends at the first error, or at a name that occurs twice. What was told before the error means nothing.
func Each(raw []byte, member func(name, value []byte) error) error {
	i := skipBlanks(raw, 0)
	if at(raw, i) != '{' {
		return errMalformed
	}
	var seen distinct
	end, err := object(raw, i, maxLevels, func(quoted, value []byte) error {
		name, err := nameOf(quoted)
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return errors.New("a member occurs twice")
		}
		return member(name, value)
	})
	switch {
	case err != nil:
		return err
	case skipBlanks(raw, end) < len(raw):
		return errMalformed
	}
	return nil
}

// Members puts the values of members into values, in the order of their names, and leaves alone where there is none. A member that
// differs from one of the names only in case is refused. The values must be as many as the names.
func Members(raw []byte, values []json.RawMessage, names ...string) error {
	return Each(raw, func(name, value []byte) error {
		for n, wanted := range names {
			switch {
			case string(name) == wanted:
				values[n] = value
			case imitates(name, wanted):
				return fmt.Errorf("a member imitates %s", wanted)
			}
		}
		return nil
	})
}

// Text reads a string from raw, which must be one JSON value, such as [Each] tells. ok is false if it is anything else, null included.
// Most strings have nothing in them to decode.
func Text(raw json.RawMessage) (text string, ok bool) {
	if text, ok := undecoded(raw); ok {
		return string(text), true
	}
	var decoded *string
	if json.Unmarshal(raw, &decoded) != nil || decoded == nil {
		return "", false
	}
	return *decoded, true
}

// Texts reads a string or a list of strings from raw, which must be one JSON value. ok is false if it is anything else, null and
// lists with a null in them included. Whoever makes up a list can make it long: it is decoded at once or not at all, never one by one.
func Texts(raw json.RawMessage) (texts []string, ok bool) {
	begin := skipBlanks(raw, 0)
	if at(raw, begin) != '[' {
		text, ok := Text(raw)
		return []string{text}, ok
	}
	asTheyStand := true
	if list(raw, begin, maxLevels, func(value []byte) bool {
		if text, ok := undecoded(value); asTheyStand && ok {
			texts = append(texts, string(text))
		} else {
			asTheyStand = false
		}
		return value[0] == '"'
	}) == none {
		return nil, false
	}
	if asTheyStand {
		return texts, true
	}
	var decoded []string // not texts, which would be on the heap for every token
	return decoded, json.Unmarshal(raw, &decoded) == nil
}

// undecoded is a string between its quotes, if it means what stands there: no escapes, and nothing that a decoder would replace.
func undecoded(value []byte) (text []byte, ok bool) {
	last := len(value) - 1
	if last < 1 || value[0] != '"' || value[last] != '"' {
		return nil, false
	}
	text = value[1:last]
	for i, c := range text {
		switch {
		case c == '\\':
			return nil, false
		case c >= utf8.RuneSelf:
			return text, bytes.IndexByte(text[i:], '\\') < 0 && utf8.Valid(text[i:])
		}
	}
	return text, true
}

// imitates reports whether name is wanted, which is in ASCII, in another case.
func imitates(name []byte, wanted string) bool {
	// Only letters beyond ASCII fold into others of another length, and into ASCII from three bytes at most (the Kelvin sign).
	alike := len(name) == len(wanted) || len(name) <= 3*len(wanted) && !isASCII(name)
	return alike && strings.EqualFold(string(name), wanted) && string(name) != wanted
}

// nameOf decodes the name of a member if it has to be decoded.
func nameOf(quoted []byte) ([]byte, error) {
	if name, ok := undecoded(quoted); ok {
		return name, nil
	}
	var decoded string
	if err := json.Unmarshal(quoted, &decoded); err != nil {
		return nil, err
	}
	return []byte(decoded), nil
}

func isASCII(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// distinct is a set of names that is small as a rule, and must not become slow when somebody makes it large.
type distinct struct {
	few  [24][]byte
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
