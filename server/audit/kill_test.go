package audit

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/providers"
)

// writerEnv makes the test binary write a log in the folder that it names.
const writerEnv = "GATEHOUSE_AUDIT_TEST_DIR"

// writeUntilKilled writes records as fast as it can, and prints how many are written.
func writeUntilKilled(dir string) {
	s := DefaultSettings()
	s.Dir, s.SigningKey, s.SegmentBytes = dir, providers.Secret(os.Getenv(writerEnv+"_KEY")), 64<<10
	l, err := Open(s, "test", "c0ffee", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	put := 0
	for n := 0; ; n++ {
		select {
		case <-ended:
			err := l.Close()
			fmt.Println("put", put, err)
			os.Exit(0)
		default:
		}
		l.Put(call(n))
		put++
		if n%7 == 0 {
			fmt.Println("written", l.Status().Sequence)
		}
		if n%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// runWriter runs the writer for a moment, ends it by the signal and returns its output.
func runWriter(t *testing.T, s Settings, end syscall.Signal) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+s.Dir, writerEnv+"_KEY="+string(s.SigningKey))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		if lines = append(lines, scanner.Text()); len(lines) == 1 {
			after := time.Duration(rand.IntN(150)) * time.Millisecond
			defer time.AfterFunc(after, func() { _ = cmd.Process.Signal(end) }).Stop()
		}
	}
	_ = cmd.Wait() // it was killed
	if len(lines) == 0 {
		t.Fatal("the writer printed nothing")
	}
	return lines
}

// A killed process loses no record that it has written, and the next one continues the chain.
func TestLog_KillLosesNoWrittenRecord(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("GATEHOUSE_LONG") != "" {
		rounds = 100
	}
	s, key := testSettings(t)
	torn := 0
	for round := range rounds {
		lines := runWriter(t, s, syscall.SIGKILL)
		text := lines[len(lines)-1]
		if len(lines) > 1 {
			text = lines[len(lines)-2] // the last line may be cut
		}
		written, err := strconv.ParseUint(strings.TrimPrefix(text, "written "), 10, 64)
		if err != nil {
			t.Fatalf("the writer printed %q", text)
		}
		r := verify(t, s.Dir, key)
		expectIntact(t, r)
		if r.Last < written {
			t.Fatalf("round %d: %d records were written, and %d are left", round, written, r.Last)
		}
		torn = len(r.Torn)
	}
	t.Logf("%d rounds, %d torn lines", rounds, torn)
}

// A process that is told to end loses no record at all.
func TestLog_TerminationLosesNoRecord(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	total := 0
	for range 3 {
		lines := runWriter(t, s, syscall.SIGTERM)
		var put int
		if _, err := fmt.Sscanf(lines[len(lines)-1], "put %d <nil>", &put); err != nil {
			t.Fatalf("the writer printed %q", lines[len(lines)-1])
		}
		total += put
	}
	calls := 0
	for name, text := range files(t, s.Dir) {
		if segmentName.MatchString(name) {
			calls += strings.Count(string(text), `"event":"call"`)
		}
	}
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	if calls != total || r.Uncovered() != 0 || len(r.Torn) > 0 {
		t.Errorf("%d records of %d, %d uncovered, %d torn", calls, total, r.Uncovered(), len(r.Torn))
	}
}

// A crash of the machine can leave a part of a record. It stays, and verification names it.
func TestLog_TornRecordStaysAndIsNamed(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	l := openLog(t, s)
	l.Put(call(1))
	waitFor(t, "the write", func() bool { return l.Status().Sequence == 3 })
	closeLog(t, l)
	var first string
	for name := range files(t, s.Dir) {
		if segmentName.MatchString(name) {
			first = s.Dir + "/" + name
		}
	}
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	stop := strings.LastIndex(strings.TrimSuffix(string(text), "\n"), "\n") + 1
	if err := os.WriteFile(first, text[:stop+40], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Dir + "/" + checkpointsName); err != nil {
		t.Fatal(err)
	}
	closeLog(t, openLog(t, s))
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	if len(r.Torn) != 1 || r.Torn[0] != (Torn{Segment: 1, After: 3, Bytes: 40}) {
		t.Errorf("torn records: %+v", r.Torn)
	}
	if after, _ := os.ReadFile(first); len(after) != stop+40 {
		t.Error("the segment was changed")
	}
}

// A crash can also leave a segment without a whole record. The next one has a new number and continues the chain.
func TestLog_ContinuesAfterASegmentWithoutARecord(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"", `{"v":1,"seq":4,"time":`} {
		s, key := testSettings(t)
		closeLog(t, openLog(t, s))
		path := s.Dir + "/" + nameSegment(2, time.Now())
		if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		closeLog(t, openLog(t, s))
		r := verify(t, s.Dir, key)
		expectIntact(t, r)
		if r.Segments != 3 || r.Last != 6 || len(r.Torn) != min(len(left), 1) {
			t.Errorf("%q: %+v", left, r)
		}
	}
}

// A log in which the end cannot be read is not continued: it would be lost in what follows.
func TestOpen_RefusesALogWhoseEndCannotBeRead(t *testing.T) {
	t.Parallel()
	s, _ := testSettings(t)
	closeLog(t, openLog(t, s))
	segments, err := listSegments(os.DirFS(s.Dir))
	if err != nil {
		t.Fatal(err)
	}
	path := s.Dir + "/" + segments[0].name
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "no record\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(s, "test", "", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "move the log to another folder") {
		t.Errorf("the error is %v", err)
	}
}
