package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// linesOf reads all lines of text, as short notes.
func linesOf(t testing.TB, from io.Reader, limit int) (notes []string, _ error) {
	t.Helper()
	r := newLineReader(from, limit)
	for {
		l, err := r.next()
		switch {
		case err != nil:
			return notes, err
		case l.tooLong:
			notes = append(notes, fmt.Sprintf("too long: %.3s...%s", l.head, l.tail[max(0, len(l.tail)-3):]))
			if l.text != nil || len(l.head) > sampleBytes || len(l.tail) > sampleBytes {
				t.Errorf("it keeps %d, %d and %d bytes", len(l.text), len(l.head), len(l.tail))
			}
		default:
			notes = append(notes, string(l.text))
		}
	}
}

func TestLineReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 30<<10)
	for text, want := range map[string][]string{
		"":                      nil,
		"a\nb\n":                {"a", "b"},
		"a\r\n\n \t\nb":         {"a", "b"},
		"  {\"a\": 1} \n":       {`{"a": 1}`},
		long + "\na\n":          {long, "a"},
		long + "xxx\na\n":       {"too long: xxx...xxx", "a"},
		"abc" + long + "def\na": {"too long: abc...def", "a"},
		"abc" + long + "def":    {"too long: abc...def"},
		"a\n" + strings.Repeat("abc"+long+"\n", 2): {"a", "too long: abc...xxx", "too long: abc...xxx"},
	} {
		for name, from := range map[string]io.Reader{
			"at once": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text)),
			"with its end": iotest.DataErrReader(strings.NewReader(text)),
		} {
			got, err := linesOf(t, from, len(long))
			if !slices.Equal(got, want) || err != io.EOF {
				t.Errorf("%.10q, %s: %.50q, %v", text, name, got, err)
			}
		}
	}
}

// zeros is an input without an end.
type zeros struct{ read int }

func (z *zeros) Read(p []byte) (int, error) {
	z.read += len(p)
	return len(p), nil
}

func TestLineReader_EndlessLine(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	var from zeros
	if _, err := newLineReader(&from, limit).next(); !errors.Is(err, errEndlessLine) {
		t.Errorf("the error is %v", err)
	}
	if from.read > (maxLineFactor+2)*limit {
		t.Errorf("it read %d bytes", from.read)
	}
}

// FuzzLineReader compares the reader with one that has the whole text in memory.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), uint16(1), uint8(1))
	f.Add([]byte(strings.Repeat("x", 40000)+"\ny"), uint16(100), uint8(7))
	f.Add([]byte(strings.Repeat("x", 17<<10)+"\n"), uint16(17<<10), uint8(255))
	f.Fuzz(func(t *testing.T, text []byte, limit uint16, chunk uint8) {
		max := int(limit) + 1
		r := newLineReader(&chunks{text, int(chunk) + 1}, max)
		for raw := range bytes.Lines(text) {
			want, isTooLong := bytes.TrimSpace(raw), len(raw) > max+len("\r\n")
			if len(want) == 0 && !isTooLong {
				continue
			}
			got, err := r.next()
			if errors.Is(err, errEndlessLine) && len(raw) > maxLineFactor*max {
				return
			}
			switch {
			case err != nil:
				t.Fatalf("%v instead of %.100q", err, want)
			case got.tooLong != isTooLong:
				t.Fatalf("too long is %v for %d bytes, with a limit of %d", got.tooLong, len(raw), max)
			case got.tooLong && (!bytes.HasPrefix(raw, got.head) || !bytes.Contains(raw, got.tail)):
				t.Fatal("the head or the tail is another")
			case !got.tooLong && !bytes.Equal(got.text, want):
				t.Fatalf("%.100q instead of %.100q", got.text, want)
			}
		}
		if l, err := r.next(); err != io.EOF {
			t.Fatalf("after the end: %.100q, %v", l.text, err)
		}
	})
}

// chunks reads a few bytes at a time.
type chunks struct {
	text []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text[:min(c.size, len(c.text))])
	c.text = c.text[n:]
	return n, nil
}

// FuzzReceive gives a process's line to a link: nothing panics, and only the request with its id gets an answer.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":7,"result":{}}`, `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}`,
		`{"jsonrpc":"2.0","id":7,"method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/progress",` +
			`"params":{"progressToken":7,"progress":1}}`, `{"id":7`, `hello {"jsonrpc":"2.0","id":7,"result":{}}`,
		`{"jsonrpc":"2.0","id":{"id":7},"method":"x"}`, `{"jsonrpc":"2.0","id":null,"result":{}}`,
	} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, first bool) {
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			return
		}
		l := &stdioLink{waiting: map[requestID]*waiter{}, counters: &counters{logger: discardLogger},
			background: make(chan struct{})} // no room: nothing is written
		mine := &waiter{response: make(chan response, 1), progress: make(chan progress, 1)}
		other := &waiter{response: make(chan response, 1), progress: make(chan progress, 1)}
		l.waiting[7], l.waiting[8] = mine, other
		l.receive(text, first)
		for id, w := range map[string]*waiter{"7": mine, "8": other} {
			if len(w.response)+len(w.progress) > 0 && !bytes.Contains(text, []byte(id)) {
				t.Errorf("%q answers request %s", text, id)
			}
			if len(w.response) == 1 {
				r := <-w.response
				if r.err == nil && r.reply.fault == nil && (len(r.reply.result) == 0 || r.reply.result[0] != '{') {
					t.Errorf("the result is %q", r.reply.result)
				}
			}
		}
	})
}
