package rawjson

// CountValues returns how many JSON values raw consists of: itself, and each member's and each element's value. It stops
// counting beyond limit, allocates nothing, and does not check that raw is JSON: what is not is counted up to a string
// that does not end.
func CountValues(raw []byte, limit int) int {
	n := 1
	for i := 0; i < len(raw) && n <= limit; {
		switch raw[i] {
		case '"':
			if i = text(raw, i); i == none {
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
