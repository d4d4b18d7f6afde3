package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/providers"
)

// records returns all records of a log as they are parsed by others.
func records(t testing.TB, dir string) []map[string]any {
	t.Helper()
	segments, err := listSegments(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for _, s := range segments {
		_, err := readLines(os.DirFS(dir), s.name, func(text []byte, _ int, _ int64) {
			var record map[string]any
			if err := json.Unmarshal(text, &record); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			all = append(all, record)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func events(all []map[string]any, event Event) (found []map[string]any) {
	for _, r := range all {
		if r["event"] == string(event) {
			found = append(found, r)
		}
	}
	return found
}

func TestLog_RecordsOfManyGoroutinesAreAllWritten(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	s.SegmentBytes = 20 << 10
	l := openLog(t, s)
	const writers, each = 8, 200
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				l.Put(call(w*each + n))
			}
		})
	}
	all.Wait()
	closeLog(t, l)
	l.Put(call(0)) // ignored
	got := map[any]bool{}
	for _, r := range events(records(t, s.Dir), EventCall) {
		got[r["request_id"]] = true
	}
	if len(got) != writers*each {
		t.Errorf("%d of %d records", len(got), writers*each)
	}
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	if r.Segments < 10 || r.Uncovered() != 0 || r.Gaps != 0 {
		t.Errorf("%+v", r)
	}
}

// A record has the documented members, whatever a caller puts into them.
func TestRecord_HasTheDocumentedMembers(t *testing.T) {
	t.Parallel()
	s, _ := testSettings(t)
	l := openLog(t, s)
	hostile := "a\"\\\n\x1b[2J\u202e\x00\xff \U000e0001 é"
	l.Put(Record{
		Time: time.Date(2026, 11, 29, 8, 0, 1, 2000, time.UTC), Event: EventCall, Decision: Deny, Outcome: "denied",
		Reason: "insufficient_scope", Issuer: "iss", Subject: hostile, Client: "client", Scopes: []string{"a", "b"},
		Address: "192.0.2.7", RequestID: "id", TraceID: "trace", Method: "tools/call", Tool: "t", Prompt: "p", URI: "u",
		Arguments: (&ArgumentRecorder{}).Of([]byte(`{"arguments":{"name":"secret"}}`)), Protocol: "2026-07-28",
		Session: HashSession("session"), Config: "config", Duration: 1500 * time.Microsecond,
		Generation: 2, Keys: []string{"scopes.required", "log.level"}, Loosened: []string{"scopes.required"},
		OtherAddress: "192.0.2.8", SignIn: "digest", Resource: "https://mcp.example.com/mcp",
	})
	l.Put(Record{Event: EventCall, Subject: strings.Repeat("x", 600) + "1"})
	l.Put(Record{Event: EventCall, Subject: strings.Repeat("x", 600) + "2"})
	closeLog(t, l)
	calls := events(records(t, s.Dir), EventCall)
	got := calls[0]
	var names []string
	for name := range got {
		names = append(names, name)
	}
	for _, name := range strings.Fields("v seq time event decision outcome reason iss sub client_id ip request_id " +
		"trace_id method tool prompt uri args scopes protocol session config generation keys loosened us prev " +
		"first_ip sign_in resource") {
		if _, has := got[name]; !has {
			t.Errorf("%s is missing in %v", name, names)
		}
	}
	if got["time"] != "2026-11-29T08:00:01.000002Z" || got["us"] != 1500.0 {
		t.Errorf("time %v, us %v", got["time"], got["us"])
	}
	if want := strings.ToValidUTF8(hostile, "\ufffd"); got["sub"] != want {
		t.Errorf("sub is %q, want %q", got["sub"], want)
	}
	for _, text := range files(t, s.Dir) {
		if bytes.ContainsAny(text, "\x1b\x00\u202e") {
			t.Error("the log contains characters that a terminal interprets")
		}
		if bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte(`"session":"session"`)) {
			t.Error("the log contains a value that it must not")
		}
	}
	if a, b := calls[1]["sub"].(string), calls[2]["sub"].(string); a == b || len(a) > maxMember {
		t.Errorf("two long subjects are %q and %q", a, b)
	}
}

func TestArgumentRecorder_RecordsNamesOrHMACs(t *testing.T) {
	t.Parallel()
	const params = `{"name":"greet","arguments":{"name":  {"first": "Ada"},"n":1}}`
	var none *ArgumentRecorder
	hmacs := &ArgumentRecorder{key: []byte(strings.Repeat("k", 32))}
	for _, c := range []struct {
		recorder     *ArgumentRecorder
		params, want string
	}{
		{none, params, ""},
		{&ArgumentRecorder{}, params, `["name","n"]`},
		// printf 'name\0{"first":"Ada"}' | openssl dgst -sha256 -hmac kkk...
		{hmacs, params, `{"name":"` + hmacOf("name\x00"+`{"first":"Ada"}`) + `","n":"` + hmacOf("n\x001") + `"}`},
		{hmacs, `{"arguments":{}}`, `{}`},
		{hmacs, `{"arguments":null}`, ""},
		{hmacs, `{"arguments":"secret"}`, ""},
		{hmacs, ``, ""},
	} {
		if got := c.recorder.Of([]byte(c.params)); got.json != c.want || got.omitted != 0 {
			t.Errorf("%s: %+v, want %s", c.params, got, c.want)
		}
	}
	var many strings.Builder
	for n := range 100 {
		many.WriteString(`,"a` + string(rune('A'+n/10)) + string(rune('A'+n%10)) + `":1`)
	}
	got := hmacs.Of([]byte(`{"arguments":{` + many.String()[1:] + `}}`))
	if got.omitted != 100-maxArguments || !json.Valid([]byte(got.json)) {
		t.Errorf("%d are omitted, %s", got.omitted, got.json)
	}
}

// failingFile is a file on a disk with room for a number of bytes.
type failingFile struct {
	file
	disk *disk
}

// disk is a disk that can be full, refuse to cut files back, and fail to sync.
type disk struct {
	mu                      sync.Mutex
	room                    int
	failTruncate, failSync  bool
	shortWrites, truncation int
}

func (d *disk) set(change func(d *disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *disk) create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room <= 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOSPC}
	}
	f, err := createFile(path)
	return failingFile{f, d}, err
}

func (f failingFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := min(len(p), f.disk.room)
	written, err := f.file.Write(p[:n])
	f.disk.room -= written
	if err == nil && n < len(p) {
		f.disk.shortWrites++
		err = syscall.ENOSPC
	}
	return written, err
}

func (f failingFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.truncation++
	if f.disk.failTruncate {
		return syscall.EIO
	}
	return f.file.Truncate(size)
}

func (f failingFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.failSync {
		return syscall.EIO
	}
	return f.file.Sync()
}

func openOn(t *testing.T, s Settings, d *disk) *Log {
	t.Helper()
	l, err := open(s, "test", "c0ffee", slog.New(slog.NewTextHandler(io.Discard, nil)), d.create)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLog_SurvivesAFullDisk(t *testing.T) {
	t.Parallel()
	for _, failTruncate := range []bool{false, true} {
		for range 3 {
			s, key := testSettings(t)
			s.Sync, s.SegmentBytes = time.Millisecond, 8<<10
			d := &disk{room: 4<<10 + rand.IntN(2000), failTruncate: failTruncate}
			l := openOn(t, s, d)
			put := 0
			for l.Status().Err == nil {
				l.Put(call(put))
				put++
				time.Sleep(100 * time.Microsecond)
			}
			for range 20 {
				l.Put(call(put))
				put++
			}
			d.set(func(d *disk) { d.room = 1 << 30 })
			waitFor(t, "the recovery", func() bool { return l.Status().Err == nil })
			l.Put(call(put))
			put++
			closeLog(t, l)
			r := verify(t, s.Dir, key)
			expectIntact(t, r)
			if r.Gaps != 1 || r.Lost != 0 {
				t.Errorf("%d gaps, %d lost records", r.Gaps, r.Lost)
			}
			if n := len(events(records(t, s.Dir), EventCall)); n != put {
				t.Errorf("%d of %d records", n, put)
			}
			if d.shortWrites == 0 || d.truncation == 0 {
				t.Error("the disk was never full")
			}
		}
	}
}

// The memory for records is bounded while nothing can be written. What is lost is counted in a record, after
// those that came before.
func TestLog_DropsAndCountsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	s.SegmentBytes = 1 << 30
	d := &disk{room: 3 << 10}
	l := openOn(t, s, d)
	const put = maxPending + 500
	for n := range put {
		l.Put(call(n))
	}
	waitFor(t, "the failure", func() bool { return l.Status().Err != nil })
	for n := range put {
		l.Put(call(put + n))
	}
	lost := l.Status().Lost
	if lost < put || lost > 2*put {
		t.Errorf("%d records were dropped of %d", lost, 2*put)
	}
	d.set(func(d *disk) { d.room = 1 << 30 })
	waitFor(t, "the recovery", func() bool { return l.Status().Err == nil })
	closeLog(t, l)
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	calls := len(events(records(t, s.Dir), EventCall))
	if r.Lost != uint64(lost) || calls+int(lost) != 2*put {
		t.Errorf("%d calls and %d lost ones of %d; %d were dropped", calls, r.Lost, 2*put, lost)
	}
}

func TestLog_RequiredRecordIsOnDisk(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	s.Sync = time.Hour
	d := &disk{room: 1 << 30}
	l := openOn(t, s, d)
	ctx := context.Background()
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			if err := l.PutRequired(ctx, call(n)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if status := l.Status(); status.Synced < 52 {
		t.Errorf("%+v", status)
	}
	for name, fail := range map[string]func(d *disk){
		"a full disk":   func(d *disk) { d.room = 0 },
		"a failed sync": func(d *disk) { d.failSync = true },
	} {
		d.set(fail)
		err := l.PutRequired(ctx, call(100))
		if !errors.Is(err, providers.ErrUnavailable) || providers.ReasonOf(err) != ReasonUnavailable {
			t.Errorf("%s: %v", name, err)
		}
		began := time.Now()
		if err := l.PutRequired(ctx, call(101)); err == nil || time.Since(began) > time.Second {
			t.Errorf("%s: the second error is %v, after %v", name, err, time.Since(began))
		}
		d.set(func(d *disk) { d.room, d.failSync = 1<<30, false })
		waitFor(t, "the recovery", func() bool { return l.Status().Err == nil })
		if err := l.PutRequired(ctx, call(102)); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	closeLog(t, l)
	expectIntact(t, verify(t, s.Dir, key))
}

// A real file system without room, for which root is needed; the disk above covers the same otherwise.
func TestLog_SurvivesAFullFileSystem(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(s.Dir); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	defer unmount(t, s.Dir)
	s.SegmentBytes = 64 << 10
	ballast := filepath.Join(s.Dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, s)
	put := 0
	for ; l.Status().Err == nil; put++ {
		l.Put(call(put))
		time.Sleep(50 * time.Microsecond)
	}
	if err := l.PutRequired(context.Background(), call(put)); err == nil {
		t.Error("a required record is accepted")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the recovery", func() bool { return l.Status().Err == nil })
	closeLog(t, l)
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	if n := len(events(records(t, s.Dir), EventCall)); r.Gaps == 0 || n+int(r.Lost) != put {
		t.Errorf("%d gaps; %d of %d records, %d lost", r.Gaps, n, put, r.Lost)
	}
}

func TestOpen_RefusesASecondWriter(t *testing.T) {
	t.Parallel()
	s, _ := testSettings(t)
	l := openLog(t, s)
	if _, err := Open(s, "test", "", slog.New(slog.DiscardHandler)); !errors.Is(err, errLocked) {
		t.Errorf("the second writer got %v", err)
	}
	closeLog(t, l)
	closeLog(t, openLog(t, s)) // the folder is free again
}

func TestOpen_ReplacesHostname(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	parent := s.Dir
	s.Dir = filepath.Join(parent, hostnamePlaceholder)
	closeLog(t, openLog(t, s))
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	expectIntact(t, verify(t, filepath.Join(parent, host), key))
}

func TestOpen_RemovesAnIncompleteCheckpoint(t *testing.T) {
	t.Parallel()
	s, key := testSettings(t)
	closeLog(t, openLog(t, s))
	path := filepath.Join(s.Dir, checkpointsName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, text[:len(text)/2]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, s.Dir, key); !r.TornCheckpoint || !r.Intact() {
		t.Errorf("%+v", r)
	}
	closeLog(t, openLog(t, s))
	r := verify(t, s.Dir, key)
	expectIntact(t, r)
	if r.TornCheckpoint || r.Checkpoints != 2 {
		t.Errorf("%+v", r)
	}
}

func TestLog_CountsRefusalsOfUnauthenticatedClients(t *testing.T) {
	t.Parallel()
	s, _ := testSettings(t)
	l := openLog(t, s)
	for range 1000 {
		l.CountRefused("no_credentials")
	}
	l.CountRefused("expired")
	l.Count(EventSignInApprove, Allow, "")
	l.Count(EventSignInApprove, Allow, "")
	closeLog(t, l)
	counts := map[any]any{}
	for _, r := range events(records(t, s.Dir), EventRefusedUnauthenticated) {
		counts[r["reason"]] = r["count"]
	}
	if len(counts) != 2 || counts["no_credentials"] != 1000.0 || counts["expired"] != 1.0 {
		t.Errorf("counts: %v", counts)
	}
	approved := events(records(t, s.Dir), EventSignInApprove)
	if len(approved) != 1 || approved[0]["count"] != 2.0 || approved[0]["decision"] != "allow" {
		t.Errorf("the count of approvals: %v", approved)
	}
}

// The checkpoints in the server's log, in both of its formats, can be given to Verify as they are.
func TestVerify_ReadsCheckpointsFromTheLogOfTheServer(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		s, key := testSettings(t)
		var serverLog bytes.Buffer
		l, err := Open(s, "test", "", slog.New(handler(&serverLog)))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 20 {
			l.Put(call(n))
		}
		closeLog(t, l)
		r := verify(t, s.Dir, key, CheckpointFile{Name: "server.log", Content: serverLog.Bytes()})
		expectIntact(t, r)
		if len(r.Kept) != r.Checkpoints || len(r.Kept) == 0 || r.Kept[len(r.Kept)-1].Seq != r.Last {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestPublicKey_BelongsToTheSigningKey(t *testing.T) {
	t.Parallel()
	signing, public, err := NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PublicKey(signing + "\n"); err != nil || got != public {
		t.Errorf("got %q, %v; want %q", got, err, public)
	}
	for _, text := range []string{"", public, "PRIVATE+KEY+test+00000000+secret"} {
		if _, err := PublicKey(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSettings_ReportsProblems(t *testing.T) {
	t.Parallel()
	valid, _ := testSettings(t)
	valid.SegmentBytes = 1 << 20
	for name, c := range map[string]struct {
		change func(*Settings)
		key    string
		code   providers.Code
	}{
		"valid":                {func(*Settings) {}, "", ""},
		"off":                  {func(s *Settings) { *s = DefaultSettings() }, "", ""},
		"no key":               {func(s *Settings) { s.SigningKey = "" }, "signing_key", providers.CodeMissing},
		"another secret":       {func(s *Settings) { s.SigningKey = "secret" }, "signing_key", providers.CodeInvalidValue},
		"required without log": {func(s *Settings) { s.Dir, s.Required = "", true }, "required", providers.CodeNoEffect},
		"sync":                 {func(s *Settings) { s.Sync = -1 }, "sync", providers.CodeOutOfRange},
		"checkpoint":           {func(s *Settings) { s.Checkpoint = 0 }, "checkpoint", providers.CodeOutOfRange},
		"segment_bytes":        {func(s *Settings) { s.SegmentBytes = 1 }, "segment_bytes", providers.CodeOutOfRange},
		"events":               {func(s *Settings) { s.Events = "some" }, "events", providers.CodeUnknownValue},
		"arguments":            {func(s *Settings) { s.Arguments = "all" }, "arguments", providers.CodeUnknownValue},
		"hmac without key":     {func(s *Settings) { s.Arguments = "hmac" }, "arguments_key", providers.CodeMissing},
		"key without hmac":     {func(s *Settings) { s.ArgumentsKey = "secret" }, "arguments_key", providers.CodeNoEffect},
		"hmac with a short key": {
			func(s *Settings) { s.Arguments, s.ArgumentsKey = "hmac", "secret" }, "arguments_key", providers.CodeInsecure,
		},
		"one key for both": {
			func(s *Settings) { s.Arguments, s.ArgumentsKey = "hmac", s.SigningKey },
			"arguments_key", providers.CodeConflict,
		},
	} {
		s := valid
		c.change(&s)
		var problems []providers.Problem
		s.Validate(func(p providers.Problem) { problems = append(problems, p) })
		switch {
		case c.key == "" && len(problems) > 0:
			t.Errorf("%s: %v", name, problems)
		case c.key != "" && (len(problems) != 1 || problems[0].Key != c.key || problems[0].Code != c.code):
			t.Errorf("%s: %v", name, problems)
		}
		for _, p := range problems {
			if strings.Contains(p.Reason+p.Fix, "secret") {
				t.Errorf("%s: the problem quotes a secret", name)
			}
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s, _ := testSettings(b)
	s.SegmentBytes = 64 << 20
	l := openLog(b, s)
	r := call(1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			time.Sleep(5 * time.Millisecond) // let the writer keep up
		}
		l.Put(r)
	}
	b.ReportMetric(float64(l.Status().Lost), "lost")
}

// Records that belong to no operation have the digest of the configuration in force.
func TestLog_SetConfig(t *testing.T) {
	t.Parallel()
	s, _ := testSettings(t)
	l := openLog(t, s)
	l.SetConfig("another")
	l.CountRefused("no_credentials")
	closeLog(t, l)
	all := records(t, s.Dir)
	for event, want := range map[Event]any{
		EventStart: "c0ffee", EventStop: "another", EventRefusedUnauthenticated: "another",
	} {
		if found := events(all, event); len(found) != 1 || found[0]["config"] != want {
			t.Errorf("%s: %v, want config %v", event, found, want)
		}
	}
}
