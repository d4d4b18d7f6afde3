package upstream

import (
	"bytes"
	"io"
)

// eventReader reads the data of server-sent events in bounded memory (HTML, section 9.2).
type eventReader struct {
	lines *lineReader
	max   int // bytes of the data of an event
	// skipped is called after each line that is not part of a message, with its length.
	skipped func(bytes int)
}

func newEventReader(from io.Reader, limit int, skipped func(bytes int)) *eventReader {
	return &eventReader{lines: newLineReader(from, limit+len("data: ")), max: limit, skipped: skipped}
}

// next returns the data of the next event that has any, and is a message. The error of an event that is too long is
// that of errTooLarge.
func (r *eventReader) next() ([]byte, error) {
	var data []byte
	isMessage := true
	for {
		l, err := r.lines.read()
		if err != nil {
			return nil, err // an event without its end is incomplete
		}
		if l.tooLong {
			return nil, errTooLarge()
		}
		if len(l.text) == 0 {
			if isMessage && len(data) > 0 {
				return data, nil
			}
			r.skipped(len(data))
			data, isMessage = nil, true
			continue
		}
		field, value, _ := bytes.Cut(l.text, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if len(data)+len(value) > r.max {
				return nil, errTooLarge()
			}
			if data == nil {
				data = value
			} else {
				data = append(append(data, '\n'), value...)
			}
		case "event":
			isMessage = string(value) == "message"
		default:
			r.skipped(len(l.text))
		}
	}
}
