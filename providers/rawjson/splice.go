package rawjson

import "bytes"

// Replace returns a copy of raw with another text in place of part, which must be a value that [Each] or
// [Members] returned for raw. Everything else stays as it is.
func Replace(raw, part, text []byte) []byte {
	begin := offset(raw, part)
	out := make([]byte, 0, len(raw)-len(part)+len(text))
	out = append(out, raw[:begin]...)
	out = append(out, text...)
	return append(out, raw[begin+len(part):]...)
}

// Without returns raw, which must be one JSON object with distinct members, without a member. The result is raw
// itself if there is no such member, and a copy otherwise. Everything else stays as it is.
func Without(raw []byte, name string) []byte {
	begin, end := -1, -1
	_, _ = object(raw, skipBlanks(raw, 0), maxLevels, func(quoted, value []byte) error {
		if decoded, err := decodeName(quoted); err == nil && string(decoded) == name {
			begin, end = offset(raw, quoted), offset(raw, value)+len(value)
		}
		return nil
	})
	if begin < 0 {
		return raw
	}
	before, after := raw[:begin], raw[skipBlanks(raw, end):]
	if after[0] == ',' {
		after = after[1:]
	} else {
		before = bytes.TrimSuffix(bytes.TrimRight(before, " \t\r\n"), []byte{','})
	}
	return append(append(make([]byte, 0, len(before)+len(after)), before...), after...)
}

// offset returns the index in raw at which part begins. part is a slice of raw, and slices keep the end of the
// memory they are part of.
func offset(raw, part []byte) int { return cap(raw) - cap(part) }
