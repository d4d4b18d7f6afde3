// Package rawjson reads the members of a JSON object in place, and rejects objects that two parsers could
// read differently. Tokens and messages are checked here and decoded by a library afterwards; a document that
// the two read differently would bypass the check. encoding/json matches names in any case, and takes the
// last of duplicates.
package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Each calls member for every member of an object, in order, with the decoded name and the encoded value,
// both of which may be part of raw. It returns the first error of member, or an error if raw is not one JSON
// object as [json.Valid] defines it, is nested more than 64 levels deep, has a name twice, or has more than 10,000
// members. After an error, the members that were passed on must not be used.
func Each(raw []byte, member func(name, value []byte) error) error {
	i := skipBlanks(raw, 0)
	if at(raw, i) != '{' {
		return errMalformed
	}
	var seen seenNames
	end, err := object(raw, i, maxLevels, func(quoted, value []byte) error {
		name, err := decodeName(quoted)
		if err != nil {
			return err
		}
		switch {
		case !seen.add(name):
			return errors.New("a member occurs twice")
		case len(seen.many) > maxMembers:
			return errors.New("it has too many members")
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

// maxMembers bounds the memory of the names that are compared, which is many times that of a short member.
const maxMembers = 10_000

// Members stores the encoded value of each named member in values, at the index of its name. Values of absent
// members are not changed. A member that differs from a name only in case is an error. len(values) must be
// len(names).
func Members(raw []byte, values []json.RawMessage, names ...string) error {
	return Each(raw, func(name, value []byte) error {
		for n, wanted := range names {
			switch {
			case string(name) == wanted:
				values[n] = value
			case isCaseVariant(name, wanted):
				return fmt.Errorf("a member differs from %s only in case", wanted)
			}
		}
		return nil
	})
}

// Text decodes a string from raw, which must be one JSON value, such as one from [Each]. ok is false for any
// other value, null included.
func Text(raw json.RawMessage) (text string, ok bool) {
	if text, ok := plainString(raw); ok {
		return string(text), true
	}
	var decoded *string
	if json.Unmarshal(raw, &decoded) != nil || decoded == nil {
		return "", false
	}
	return *decoded, true
}

// Texts decodes a string or a list of strings from raw, which must be one JSON value. ok is false for any
// other value, null and lists with a null included. A list is decoded as a whole: decoding its strings one by
// one would make long lists in invented tokens expensive.
func Texts(raw json.RawMessage) (texts []string, ok bool) {
	begin := skipBlanks(raw, 0)
	if at(raw, begin) != '[' {
		text, ok := Text(raw)
		return []string{text}, ok
	}
	allPlain := true
	if list(raw, begin, maxLevels, func(value []byte) bool {
		if text, ok := plainString(value); allPlain && ok {
			texts = append(texts, string(text))
		} else {
			allPlain = false
		}
		return value[0] == '"'
	}) == invalid {
		return nil, false
	}
	if allPlain {
		return texts, true
	}
	var decoded []string // not texts, which would move to the heap for every token
	return decoded, json.Unmarshal(raw, &decoded) == nil
}

// plainString returns the content of a string that needs no decoding: without escapes, and in valid UTF-8.
func plainString(value []byte) (text []byte, ok bool) {
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

// isCaseVariant reports whether name differs from wanted, which is in ASCII, only in case.
func isCaseVariant(name []byte, wanted string) bool {
	// Letters beyond ASCII that fold into ASCII have at most three bytes (the Kelvin sign).
	possible := len(name) == len(wanted) || len(name) <= 3*len(wanted) && !isASCII(name)
	return possible && strings.EqualFold(string(name), wanted) && string(name) != wanted
}

// decodeName decodes the name of a member.
func decodeName(quoted []byte) ([]byte, error) {
	if name, ok := plainString(quoted); ok {
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

// seenNames is a set of names that is usually small, and must not become slow for an object with many
// members.
type seenNames struct {
	few  [24][]byte
	n    int
	many map[string]bool
}

// add reports whether name is new.
func (d *seenNames) add(name []byte) bool {
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
