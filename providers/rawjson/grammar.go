package rawjson

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// The functions here are the grammar of JSON (RFC 8259), strict: each returns the index behind what begins at i, or none.

const none = -1

// maxLevels bounds how deep objects and lists are nested. They are read on the stack here, and decoders that read a
// value to its end at each level take time in proportion to bytes times levels. Real tokens and messages have fewer than
// ten levels.
const maxLevels = 64

var errMalformed = errors.New("not one JSON object")

// at returns the byte at i, or 0, which stands nowhere in JSON, if the text has ended.
func at(raw []byte, i int) byte {
	if i < 0 || i >= len(raw) {
		return 0
	}
	return raw[i]
}

func skipBlanks(raw []byte, i int) int {
	for i >= 0 && i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r') {
		i++
	}
	return i
}

func value(raw []byte, i, levels int) int {
	switch c := at(raw, i); {
	case c == '"':
		return text(raw, i)
	case c == '{':
		end, err := object(raw, i, levels, nil)
		if err != nil {
			return none
		}
		return end
	case c == '[':
		return list(raw, i, levels, nil)
	case c == '-' || isDigit(c):
		return number(raw, i)
	case c == 't':
		return word(raw, i, "true")
	case c == 'f':
		return word(raw, i, "false")
	case c == 'n':
		return word(raw, i, "null")
	}
	return none
}

// object calls member, if there is one, with each name as it is quoted, and with its value.
func object(raw []byte, i, levels int, member func(quoted, value []byte) error) (int, error) {
	if levels == 0 {
		return none, errMalformed
	}
	i = skipBlanks(raw, i+1)
	if at(raw, i) == '}' {
		return i + 1, nil
	}
	for {
		if at(raw, i) != '"' {
			return none, errMalformed
		}
		endOfName := text(raw, i)
		colon := skipBlanks(raw, endOfName)
		if at(raw, colon) != ':' {
			return none, errMalformed
		}
		begin := skipBlanks(raw, colon+1)
		end := value(raw, begin, levels-1)
		if end == none {
			return none, errMalformed
		}
		if member != nil {
			if err := member(raw[i:endOfName], raw[begin:end]); err != nil {
				return none, err
			}
		}
		switch i = skipBlanks(raw, end); at(raw, i) {
		case ',':
			i = skipBlanks(raw, i+1)
		case '}':
			return i + 1, nil
		default:
			return none, errMalformed
		}
	}
}

// list calls element, if there is one, with each value. It returns none if that returns false.
func list(raw []byte, i, levels int, element func(value []byte) bool) int {
	if levels == 0 {
		return none
	}
	i = skipBlanks(raw, i+1)
	if at(raw, i) == ']' {
		return i + 1
	}
	for {
		end := value(raw, i, levels-1)
		if end == none || element != nil && !element(raw[i:end]) {
			return none
		}
		switch i = skipBlanks(raw, end); at(raw, i) {
		case ',':
			i = skipBlanks(raw, i+1)
		case ']':
			return i + 1
		default:
			return none
		}
	}
}

func text(raw []byte, i int) int {
	for i++; ; i++ {
		i += unremarkable(raw[min(i, len(raw)):])
		switch c := at(raw, i); {
		case c == '"':
			return i + 1
		case c < ' ':
			return none
		case c == '\\':
			if i = escape(raw, i); i == none {
				return none
			}
		}
	}
}

// unremarkable returns how many bytes, looked at eight at a time, can stand in a text without a second look: those that are no
// quotation mark, no backslash, and not below a blank.
func unremarkable(raw []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(raw)-n >= 8; n += 8 {
		eight := binary.LittleEndian.Uint64(raw[n:])
		quotes, backslashes := eight^('"'*ones), eight^('\\'*ones)
		// A byte becomes remarkable when subtracting takes it below zero. The lowest such is one; those above may be so by its borrowing.
		remarkable := ((eight-' '*ones)&^eight | (quotes-ones)&^quotes | (backslashes-ones)&^backslashes) & tops
		if remarkable != 0 {
			return n + bits.TrailingZeros64(remarkable)/8
		}
	}
	return n
}

// escape returns the index of the last byte of the escape that begins at i.
func escape(raw []byte, i int) int {
	switch at(raw, i+1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for digit := i + 2; digit < i+6; digit++ {
			if c := at(raw, digit); !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return none
			}
		}
		return i + 5
	}
	return none
}

func number(raw []byte, i int) int {
	if at(raw, i) == '-' {
		i++
	}
	if at(raw, i) == '0' {
		i++
	} else {
		i = digits(raw, i)
	}
	if at(raw, i) == '.' {
		i = digits(raw, i+1)
	}
	if at(raw, i)|0x20 == 'e' {
		i++
		if sign := at(raw, i); sign == '+' || sign == '-' {
			i++
		}
		return digits(raw, i)
	}
	return i
}

// digits are one or more.
func digits(raw []byte, i int) int {
	if !isDigit(at(raw, i)) {
		return none
	}
	for isDigit(at(raw, i)) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func word(raw []byte, i int, word string) int {
	if end := i + len(word); end <= len(raw) && string(raw[i:end]) == word {
		return end
	}
	return none
}
