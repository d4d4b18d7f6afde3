package rawjson

// CountValues returns the number of JSON values in raw: the whole, and the value of each member and element.
// It stops counting beyond limit and allocates nothing. It does not check that raw is JSON, and stops at a
// string without an end.
func CountValues(raw []byte, limit int) int {
	n := 1
	for i := 0; i < len(raw) && n <= limit; {
		switch raw[i] {
		case '"':
			if i = text(raw, i); i == invalid {
				return n
			}
			continue
		case ',':
			n++
		case '{', '[':
			if first := at(raw, skipBlanks(raw, i+1)); first != '}' && first != ']' {
				n++
			}
		}
		i++
	}
	return n
}
