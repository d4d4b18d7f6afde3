package rawjson

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// The functions in this file implement the grammar of JSON (RFC 8259). Each returns the index after the
// element that begins at i, or invalid.

const invalid = -1

// maxLevels bounds the nesting of objects and lists. They are read by recursion here, and decoders that scan
// a value to its end at each level take time in proportion to bytes times levels. Tokens and messages have
// fewer than ten levels.
const maxLevels = 64

var errMalformed = errors.New("not one JSON object")

// at returns the byte at i. After the end it returns 0, which JSON does not allow anywhere.
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
			return invalid
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
	return invalid
}

// object calls member, unless it is nil, with each quoted name and its value.
func object(raw []byte, i, levels int, member func(quoted, value []byte) error) (int, error) {
	if levels == 0 {
		return invalid, errMalformed
	}
	i = skipBlanks(raw, i+1)
	if at(raw, i) == '}' {
		return i + 1, nil
	}
	for {
		if at(raw, i) != '"' {
			return invalid, errMalformed
		}
		nameEnd := text(raw, i)
		colon := skipBlanks(raw, nameEnd)
		if at(raw, colon) != ':' {
			return invalid, errMalformed
		}
		begin := skipBlanks(raw, colon+1)
		end := value(raw, begin, levels-1)
		if end == invalid {
			return invalid, errMalformed
		}
		if member != nil {
			if err := member(raw[i:nameEnd], raw[begin:end]); err != nil {
				return invalid, err
			}
		}
		switch i = skipBlanks(raw, end); at(raw, i) {
		case ',':
			i = skipBlanks(raw, i+1)
		case '}':
			return i + 1, nil
		default:
			return invalid, errMalformed
		}
	}
}

// list calls element, unless it is nil, with each value. It returns invalid if element returns false.
func list(raw []byte, i, levels int, element func(value []byte) bool) int {
	if levels == 0 {
		return invalid
	}
	i = skipBlanks(raw, i+1)
	if at(raw, i) == ']' {
		return i + 1
	}
	for {
		end := value(raw, i, levels-1)
		if end == invalid || element != nil && !element(raw[i:end]) {
			return invalid
		}
		switch i = skipBlanks(raw, end); at(raw, i) {
		case ',':
			i = skipBlanks(raw, i+1)
		case ']':
			return i + 1
		default:
			return invalid
		}
	}
}

func text(raw []byte, i int) int {
	for i++; ; i++ {
		i += plainBytes(raw[min(i, len(raw)):])
		switch c := at(raw, i); {
		case c == '"':
			return i + 1
		case c < ' ':
			return invalid
		case c == '\\':
			if i = escape(raw, i); i == invalid {
				return invalid
			}
		}
	}
}

// plainBytes returns how many bytes at the start of raw are neither a quotation mark nor a backslash nor a
// control character. It reads eight bytes at a time, and does not count a remainder of fewer than eight.
func plainBytes(raw []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(raw)-n >= 8; n += 8 {
		eight := binary.LittleEndian.Uint64(raw[n:])
		quotes, backslashes := eight^('"'*ones), eight^('\\'*ones)
		// A subtraction that goes below zero sets the top bit of its byte. Only the lowest such byte counts: its
		// borrow may set the bit of those above.
		special := ((eight-' '*ones)&^eight | (quotes-ones)&^quotes | (backslashes-ones)&^backslashes) & tops
		if special != 0 {
			return n + bits.TrailingZeros64(special)/8
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
				return invalid
			}
		}
		return i + 5
	}
	return invalid
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

// digits reads one or more digits.
func digits(raw []byte, i int) int {
	if !isDigit(at(raw, i)) {
		return invalid
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
	return invalid
}
