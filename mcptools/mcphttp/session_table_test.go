package mcphttp

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"gatehouse/mcptools"
)

// table is a sessionTable whose sessions have names, with the clock of a synctest bubble.
type table struct {
	*sessionTable
	named map[string]*session
}

func tableOf(perUser, inAll int) *table {
	s := DefaultSettings()
	s.MaxSessionsPerUser, s.MaxSessions = perUser, inAll
	return &table{newSessionTable(s), map[string]*session{}}
}

// add opens a session with a name that starts with its owner's, such as alice1, and waits a second.
func (t *table) add(name string) error {
	s := newSession(name[:len(name)-1], t.sessionTable, 30*time.Minute)
	if err := t.sessionTable.add(s); err != nil {
		_ = s.Close()
		return err
	}
	t.named[name] = s
	time.Sleep(time.Second)
	return nil
}

// open returns the names of the open sessions.
func (t *table) open() []string {
	names := []string{}
	for name, s := range t.named {
		if t.lookup(s.id, s.owner) != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (t *table) close() {
	for _, s := range t.named {
		_ = s.Close()
	}
}

// used sends one request in a session.
func (t *table) used(name string) {
	t.beginRequest(t.named[name])
	t.endRequest(t.named[name])
}

// calling starts a call in a session. The call continues after the POST if its client hangs up.
func (t *table) calling(name string, id float64) (e *exchange, done func()) {
	s := t.named[name]
	e = newTestExchange(nil, id)
	t.beginRequest(s)
	done = func() { t.endRequest(s) }
	s.register(e)
	return e, done
}

func TestSessionTable_TheLeastRecentlyUsedIdleSessionMakesRoom(t *testing.T) {
	for name, c := range map[string]struct {
		perUser, inAll int
		opened         []string
		before         func(*table)
		add            string
		err            error
		open           []string
		retryAfter     time.Duration
	}{
		"below the limits none ends": {
			3, 9, []string{"alice1", "alice2"}, nil, "alice3", nil, []string{"alice1", "alice2", "alice3"}, 0,
		},
		"the oldest of the caller's": {
			2, 9, []string{"alice1", "bob1", "alice2"}, nil,
			"alice3", nil, []string{"alice2", "alice3", "bob1"}, 0,
		},
		"not the one that was used since": {2, 9, []string{"alice1", "alice2"}, func(t *table) { t.used("alice1") },
			"alice3", nil, []string{"alice1", "alice3"}, 0},
		"not one with a POST in progress": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			t.beginRequest(t.named["alice1"])
			t.used("alice2")
		}, "alice3", nil, []string{"alice1", "alice3"}, 0},
		"not one with a standing stream": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			t.addStreams(t.named["alice1"], 1)
			t.used("alice2")
		}, "alice3", nil, []string{"alice1", "alice3"}, 0},
		"one whose stream ended last is used last": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			t.addStreams(t.named["alice1"], 1)
			t.addStreams(t.named["alice1"], -1)
		}, "alice3", nil, []string{"alice1", "alice3"}, 0},
		"not one whose call goes on without its client": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			e, done := t.calling("alice1", 1)
			t.named["alice1"].orphan(context.Background(), e)
			done()
			t.used("alice2")
		}, "alice3", nil, []string{"alice1", "alice3"}, 0},
		"one whose call has ended without its client": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			e, done := t.calling("alice1", 1)
			t.named["alice1"].orphan(context.Background(), e)
			done()
			_ = t.named["alice1"].Write(context.Background(), e.newResponse())
			t.beginRequest(t.named["alice2"])
		}, "alice3", nil, []string{"alice2", "alice3"}, 0},
		"none is idle: the first call that must end": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			t.calling("alice1", 1)
			time.Sleep(4*time.Minute + 50*time.Second)
			t.calling("alice2", 1)
		}, "alice3", errUserLimit, []string{"alice1", "alice2"}, 10 * time.Second},
		"none is idle: the last call of a session": {1, 9, []string{"alice1"}, func(t *table) {
			t.calling("alice1", 1)
			time.Sleep(4*time.Minute + 50*time.Second)
			t.calling("alice1", 2)
		}, "alice2", errUserLimit, []string{"alice1"}, 30 * time.Second},
		"none is idle: the first stream that must end": {2, 9, []string{"alice1", "alice2"}, func(t *table) {
			streams := newQuota(9, 9)
			for name, until := range map[string]time.Duration{"alice1": time.Hour, "alice2": 7 * time.Second} {
				t.addStreams(t.named[name], 1)
				_ = t.named[name].attach(newStandaloneStream(nil, time.Now().Add(until)), streams)
			}
		}, "alice3", errUserLimit, []string{"alice1", "alice2"}, 7 * time.Second},
		"none is idle: the session that must end": {1, 9, []string{"alice1"}, func(t *table) {
			t.addStreams(t.named["alice1"], 1)
			_ = t.named["alice1"].attach(newStandaloneStream(nil, time.Now().Add(time.Hour)), newQuota(9, 9))
			time.Sleep(30*time.Minute - 5*time.Second)
		}, "alice2", errUserLimit, []string{"alice1"}, 5 * time.Second},
		"in all: the oldest, another caller's after a minute": {9, 2, []string{"bob1", "alice1"},
			func(*table) { time.Sleep(time.Minute) },
			"carol1", nil, []string{"alice1", "carol1"}, 0},
		"in all: the oldest, the caller's own": {9, 2, []string{"alice1", "bob1"}, func(*table) { time.Sleep(time.Minute) },
			"alice2", nil, []string{"alice2", "bob1"}, 0},
		"in all: not the one that was used since": {9, 2, []string{"bob1", "dave1"}, func(t *table) {
			t.used("bob1")
			time.Sleep(time.Minute)
		}, "carol1", nil, []string{"bob1", "carol1"}, 0},
		"in all: the caller's own if no other is old enough": {9, 2, []string{"bob1", "alice1"}, nil,
			"alice2", nil, []string{"alice2", "bob1"}, 0},
		"in all: another caller's that is idle behind one in use": {9, 2, []string{"bob1", "dave1"}, func(t *table) {
			t.addStreams(t.named["bob1"], 1)
			time.Sleep(2 * time.Minute)
		}, "carol1", nil, []string{"bob1", "carol1"}, 0},
		"in all: none used in the last minute": {9, 2, []string{"bob1", "dave1"},
			func(*table) { time.Sleep(40 * time.Second) },
			"carol1", errTotalLimit, []string{"bob1", "dave1"}, 18 * time.Second},
		"in all: none that is in use": {9, 1, []string{"bob1"}, func(t *table) {
			t.calling("bob1", 1)
			time.Sleep(4 * time.Minute)
		}, "carol1", errTotalLimit, []string{"bob1"}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := tableOf(c.perUser, c.inAll)
				defer table.close()
				for _, name := range c.opened {
					if err := table.add(name); err != nil {
						t.Fatalf("%s is refused: %v", name, err)
					}
				}
				if c.before != nil {
					c.before(table)
				}
				owner := c.add[:len(c.add)-1]
				if err := table.checkRoom(owner); err != c.err {
					t.Errorf("before, the table says %v, want %v", err, c.err)
				}
				if c.err != nil {
					if got := table.retryAfter(owner, c.err); got != c.retryAfter {
						t.Errorf("the caller is told to wait for %v, want %v", got, c.retryAfter)
					}
				}
				if err := table.add(c.add); err != c.err {
					t.Errorf("added: %v, want %v", err, c.err)
				}
				if got := table.open(); !slices.Equal(got, c.open) {
					t.Errorf("open are %v, want %v", got, c.open)
				}
			})
		})
	}
}

// In any order of events, no limit is exceeded, no session in use ends, and nothing is retained of callers without
// sessions.
func TestSessionTable_KeepsItsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perUser, inAll := rapid.IntRange(1, 3).Draw(t, "per user"), rapid.IntRange(1, 5).Draw(t, "in all")
		table := newSessionTable(
			Settings{MaxSessionsPerUser: perUser, MaxSessions: inAll, CallTimeout: time.Minute},
		)
		var all []*session
		busy := map[*session]func(){}
		user := rapid.SampledFrom([]string{"alice", "bob", "carol"})
		one := func(t *rapid.T) *session {
			if len(all) == 0 {
				t.Skip("no session was opened")
			}
			return rapid.SampledFrom(all).Draw(t, "which")
		}
		isOpen := func(s *session) bool { return table.lookup(s.id, s.owner) == s }
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				s := newSession(user.Draw(t, "who"), table, time.Hour)
				room := table.checkRoom(s.owner)
				if err := table.add(s); err != room {
					t.Fatalf("room says %v, add says %v", room, err)
				}
				if room != nil {
					_ = s.Close()
					return
				}
				all = append(all, s)
			},
			"begin": func(t *rapid.T) {
				if s := one(t); busy[s] == nil && isOpen(s) {
					table.beginRequest(s)
					busy[s] = func() { table.endRequest(s) }
				}
			},
			"end": func(t *rapid.T) {
				if s := one(t); busy[s] != nil {
					busy[s]()
					delete(busy, s)
				}
			},
			"close": func(t *rapid.T) {
				s := one(t)
				_ = s.Close()
				delete(busy, s)
			},
			"": func(t *rapid.T) {
				each := map[string]int{}
				for _, s := range all {
					if isOpen(s) {
						each[s.owner]++
					}
				}
				for s := range busy {
					if !isOpen(s) {
						t.Fatal("a session in use was ended")
					}
				}
				total := 0
				for owner, n := range each {
					if total += n; n > perUser {
						t.Fatalf("%s has %d sessions of %d", owner, n, perUser)
					}
				}
				if total > inAll || total != table.count() || len(table.callers) != len(each) ||
					table.byUse.Len() != total {
					t.Fatalf(
						"%d sessions of %d are open, %d counted, %d listed, of %d callers", total, inAll, table.count(),
						table.byUse.Len(), len(table.callers),
					)
				}
			},
		})
		for _, s := range all {
			_ = s.Close()
		}
	})
}

const handshake = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{` +
	`"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// Clients that open a session for each request and end none must not lock their user out.
func TestInitialize_ManyConcurrentOnesSucceed(t *testing.T) {
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{greet()}},
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 3 },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			resp, err := bearerClient().Do(testPost{handshake, nil}.to(url))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK ||
				resp.Header.Get(sessionHeader) == "" {
				t.Errorf("answered %d %s", resp.StatusCode, body)
			}
		})
	}
	clients.Wait()
	if n := h.Sessions(); n != 3 {
		t.Errorf("%d sessions are open, want 3", n)
	}
}

func TestSessionTable_AReplacedSessionIs404(t *testing.T) {
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{greet()}},
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 1 },
	)
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	first := openSession(t, url)
	second := openSession(t, url)
	hello := legacy("tools/call", `"name":"greet","arguments":{"name":"Ada"}`).body
	for session, status := range map[string]int{first: http.StatusNotFound, second: http.StatusOK} {
		resp := request(t, http.MethodPost, url, hello, map[string]string{sessionHeader: session})
		if resp.StatusCode != status {
			t.Errorf("answered %d, want %d", resp.StatusCode, status)
		}
	}
	t.Run("a handshake that fails ends no session", func(t *testing.T) {
		request(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`, nil)
		resp := request(t, http.MethodPost, url, hello, map[string]string{sessionHeader: second})
		if resp.StatusCode != http.StatusOK {
			t.Errorf("answered %d, want 200", resp.StatusCode)
		}
	})
}

func TestSessionTable_WithoutAnIdleSessionThereIsNoRoom(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	for name, use := range map[string]func(t *testing.T, url, session string){
		"a standing stream": func(t *testing.T, url, session string) {
			request(t, http.MethodGet, url, "", map[string]string{sessionHeader: session})
		},
		"a call in flight": func(t *testing.T, url, session string) {
			calling(t, url, session)
			<-begun
		},
		"a call in flight whose client hung up": func(t *testing.T, url, session string) {
			hangUp := calling(t, url, session)
			<-begun
			hangUp()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{waitTool(begun, ended)}},
				func(cfg *Config) {
					cfg.Settings.MaxSessionsPerUser, cfg.Settings.CallTimeout = 1, 12*time.Second
				},
			)
			url := serve(t, h, time.Now().Add(12*time.Second))
			use(t, url, openSession(t, url))
			resp := request(t, http.MethodPost, url, handshake, nil)
			seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			if resp.StatusCode != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 12 {
				t.Errorf(
					"answered %d, Retry-After %q; want 429 and at most 12", resp.StatusCode,
					resp.Header.Get("Retry-After"),
				)
			}
			h.CloseSessions()
			for len(ended) > 0 {
				<-ended
			}
		})
	}
}

// calling calls the waiting tool.
func calling(t *testing.T, url, session string) (hangUp func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		call := legacy("tools/call", `"name":"wait"`).with(sessionHeader, session)
		if resp, err := bearerClient().Do(call.to(url).WithContext(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	hangUp = func() { cancel(); <-done }
	t.Cleanup(hangUp)
	return hangUp
}

// A session with a call in flight is not ended, however many others the same caller opens.
func TestSessionTable_DoesNotEndASessionDuringACall(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	h := handlerOf(
		mcptools.Catalog{Tools: []mcptools.Tool{silentTool(begun, goOn, nil)}},
		func(cfg *Config) { cfg.Settings.MaxSessionsPerUser = 2 },
	)
	url := serve(t, h, time.Now().Add(time.Hour))
	in := openSession(t, url)
	answers := make(chan string, 1)
	go func() {
		resp, err := bearerClient().Do(legacy("tools/call", `"name":"silent"`).with(sessionHeader, in).to(url))
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answers <- string(body)
	}()
	<-begun
	for range 10 {
		openSession(t, url)
	}
	close(goOn)
	if got := <-answers; !strings.Contains(got, "done") {
		t.Errorf("the call was answered %s", got)
	}
}
