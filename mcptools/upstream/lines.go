package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

// lineReader reads what a process writes, line by line, in bounded memory.
type lineReader struct {
	from *bufio.Reader
	max  int // bytes of a line, without its end
}

// line is one line without its end, and without blanks around it.
type line struct {
	text []byte
	// If the line is too long, text is nil, and head and tail are its first and last bytes.
	tooLong    bool
	head, tail []byte
}

const (
	lineBuffer = 8 << 10
	// sampleBytes is the length of head and tail.
	sampleBytes = 1 << 10
	// maxLineFactor bounds what is skipped of a line that is too long, as a multiple of the limit. Without it, a
	// process that never ends its line would keep a processor busy for good.
	maxLineFactor = 16
)

// errEndlessLine means that no end of a line is in sight.
var errEndlessLine = errors.New("it writes a line without an end")

func newLineReader(from io.Reader, limit int) *lineReader {
	return &lineReader{from: bufio.NewReaderSize(from, lineBuffer), max: limit}
}

// next returns the next line that is not empty. The end of the input ends a line, too.
func (r *lineReader) next() (line, error) {
	for {
		l, err := r.read()
		if err != nil || l.tooLong || len(l.text) > 0 {
			return l, err
		}
	}
}

func (r *lineReader) read() (line, error) {
	var text []byte // of a line that is longer than the buffer
	for {
		chunk, err := r.from.ReadSlice('\n')
		isFull := errors.Is(err, bufio.ErrBufferFull)
		switch {
		case len(text)+len(chunk) > r.max+len("\r\n"):
			return r.skip(append(text, chunk...), isFull)
		case isFull:
			if len(text)+len(chunk) > cap(text) { // by append alone, the copies would be five times the line
				text = slices.Grow(text, max(len(text), 2*len(chunk)))
			}
			text = append(text, chunk...)
		case err != nil && len(text)+len(chunk) == 0:
			return line{}, err
		default: // the next call returns an error other than the end of the line
			// A copy, because the buffer is used again, and the text may be kept.
			return line{text: bytes.TrimSpace(append(text, chunk...))}, nil
		}
	}
}

// skip reads up to the end of a line that is too long. isFull is true if its end was not read yet.
func (r *lineReader) skip(text []byte, isFull bool) (line, error) {
	head, tail := bytes.Clone(text[:min(len(text), sampleBytes)]), lastBytes(text)
	for skipped := len(text); isFull; {
		if skipped > maxLineFactor*r.max {
			return line{}, errEndlessLine
		}
		chunk, err := r.from.ReadSlice('\n')
		isFull = errors.Is(err, bufio.ErrBufferFull)
		skipped += len(chunk)
		tail = lastBytes(append(tail, chunk...))
	}
	return line{tooLong: true, head: head, tail: bytes.TrimSpace(tail)}, nil
}

// lastBytes returns a copy of the last bytes of b.
func lastBytes(b []byte) []byte { return bytes.Clone(b[max(0, len(b)-sampleBytes):]) }
