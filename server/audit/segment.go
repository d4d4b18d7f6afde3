package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// segmentName is the name of a segment file: its number and when it was begun.
var segmentName = regexp.MustCompile(`^segment-([0-9]{8,18})-[0-9]{8}T[0-9]{6}Z\.jsonl$`)

func nameSegment(number uint64, begun time.Time) string {
	return fmt.Sprintf("segment-%08d-%s.jsonl", number, begun.UTC().Format("20060102T150405Z"))
}

// segment is one file of the log.
type segment struct {
	number uint64
	name   string
}

// listSegments returns the segments of a folder by number.
func listSegments(folder fs.FS) ([]segment, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, err
	}
	var segments []segment
	for _, e := range entries {
		match := segmentName.FindStringSubmatch(e.Name())
		if match == nil || !e.Type().IsRegular() {
			continue
		}
		number, _ := strconv.ParseUint(match[1], 10, 64) // 18 digits at most
		segments = append(segments, segment{number, e.Name()})
	}
	slices.SortStableFunc(segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	return segments, nil
}

// line is what the log and the verification read from a record.
type line struct {
	Version int       `json:"v"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Event   Event     `json:"event"`
	Prev    string    `json:"prev"`
	// Log, Segment and Key are members of [EventSegment].
	Log     string `json:"log"`
	Segment uint64 `json:"segment"`
	Key     string `json:"key"`
	// Count is a member of [EventGap].
	Count uint64 `json:"count"`
}

// parseLine parses a whole line.
func parseLine(text []byte) (line, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return line{}, errors.New("it is not a JSON object with the members of a record")
	}
	if strconv.Itoa(l.Version) != recordVersion {
		return line{}, fmt.Errorf("it has version %d, and this program reads version %s", l.Version, recordVersion)
	}
	return l, nil
}

// maxLine is longer than every record: lists and members have limits of their own.
const maxLine = 1 << 20

// readLines calls each with every whole line of a segment, its number from 1 and its offset. The text is valid until
// each returns; that of a line that is too long for a record is empty. readLines returns the number of bytes after the
// last line end.
func readLines(
	folder fs.FS, name string, each func(text []byte, number int, offset int64),
) (torn int64, err error) {
	f, err := folder.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	var offset int64
	var long []byte // the start of a line that is longer than the buffer
	for number := 1; ; number++ {
		text, err := r.ReadSlice('\n')
		length := int64(len(text))
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], text...)
			for errors.Is(err, bufio.ErrBufferFull) {
				text, err = r.ReadSlice('\n')
				if length += int64(len(text)); length <= maxLine {
					long = append(long, text...)
				}
			}
			text = long
		}
		switch {
		case errors.Is(err, io.EOF):
			return length, nil
		case err != nil:
			return 0, err
		case length > maxLine:
			text = nil
		}
		each(text, number, offset)
		offset += length
	}
}

// position is where a log continues.
type position struct {
	head    head
	log     string // its ID
	segment uint64 // the highest number that is in use
}

// findPosition reads where the log in dir ends. In a folder without a log it is the position before its first
// record.
func findPosition(dir string) (position, error) {
	folder := os.DirFS(dir)
	segments, err := listSegments(folder)
	if err != nil {
		return position{}, err
	}
	var p position
	if len(segments) > 0 {
		p.segment = segments[len(segments)-1].number
	}
	const unreadable = "cannot be read; move the log to another folder"
	// A crash can leave a segment without a whole record.
	for _, s := range slices.Backward(segments) {
		var first, last []byte
		lines := 0
		_, err := readLines(folder, s.name, func(text []byte, number int, _ int64) {
			if number == 1 {
				first = bytes.Clone(text)
			}
			last, lines = append(last[:0], text...), number
		})
		if err != nil {
			return position{}, err
		}
		if lines == 0 {
			continue
		}
		begin, err := parseLine(first)
		if err != nil || begin.Event != EventSegment || begin.Log == "" {
			return position{}, fmt.Errorf("the first record of %s %s", s.name, unreadable)
		}
		end, err := parseLine(last)
		if err != nil {
			return position{}, fmt.Errorf("the last record of %s %s", s.name, unreadable)
		}
		p.log, p.head = begin.Log, head{seq: end.Seq, hash: sha256.Sum256(last)}
		return p, nil
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	p.log = hex.EncodeToString(id[:])
	return p, nil
}
