package configs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeText returns the text of a file that a person wrote. Editors and shells of Windows begin UTF-8 with a
// byte order mark or write UTF-16; both are read. The error names the encoding and quotes nothing.
func DecodeText(content []byte) (string, error) {
	for _, mark := range []struct {
		bytes []byte
		order binary.ByteOrder
	}{{[]byte{0xff, 0xfe}, binary.LittleEndian}, {[]byte{0xfe, 0xff}, binary.BigEndian}} {
		if rest, found := bytes.CutPrefix(content, mark.bytes); found {
			return decodeUTF16(rest, mark.order)
		}
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	switch {
	case bytes.IndexByte(content, 0) >= 0:
		return "", errors.New("it has NUL bytes, so it is UTF-16 without a byte order mark, or no text; " +
			"save it as UTF-8")
	case !utf8.Valid(content):
		return "", errors.New("its encoding is not UTF-8; save it as UTF-8")
	}
	return string(content), nil
}

func decodeUTF16(content []byte, order binary.ByteOrder) (string, error) {
	if len(content)%2 != 0 {
		return "", errors.New("it begins like UTF-16, but has an odd number of bytes; save it as UTF-8")
	}
	units := make([]uint16, len(content)/2)
	for i := range units {
		units[i] = order.Uint16(content[2*i:])
	}
	return string(utf16.Decode(units)), nil
}
