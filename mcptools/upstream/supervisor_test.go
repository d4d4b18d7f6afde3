package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memoryLink is a link to an upstream without tools, for tests of time.
type memoryLink struct {
	ended chan struct{}
	once  sync.Once
}

func (l *memoryLink) roundTrip(_ context.Context, r request, _ func(progress)) (reply, error) {
	if r.method == "tools/list" {
		return reply{result: json.RawMessage(`{"tools":[]}`)}, nil
	}
	return reply{result: json.RawMessage(`{"supportedVersions":["2026-07-28"]}`)}, nil
}
func (l *memoryLink) notify(context.Context, string) error { return nil }
func (l *memoryLink) agreed(string)                        {}
func (l *memoryLink) lost() <-chan struct{}                { return l.ended }
func (l *memoryLink) cause() error                         { return errors.New("the end") }
func (l *memoryLink) output() []string                     { return nil }
func (l *memoryLink) close(<-chan struct{})                { l.once.Do(func() { close(l.ended) }) }

// An upstream that is lost again and again is started again after 1 s, 2 s, ... 1 min; one that lasted a minute is
// started after 1 s.
func TestSupervisor_Backoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lasts := []time.Duration{0, 0, 0, -1, -1, 0, 0, 0, 0, time.Minute, 0} // -1: it does not start
		var waits []time.Duration
		var lost time.Time
		done := make(chan struct{})
		s := newSupervisor(connector{
			client: newClient("1"), timeout: time.Second, logger: discardLogger,
			open: func(string) (link, error) {
				if !lost.IsZero() {
					waits = append(waits, time.Since(lost))
				}
				if len(lasts) == 0 {
					close(done)
					return nil, errors.New("the end of the test")
				}
				last := lasts[0]
				lasts = lasts[1:]
				lost = time.Now().Add(max(last, 0))
				if last < 0 {
					return nil, errors.New("it does not start")
				}
				l := &memoryLink{ended: make(chan struct{})}
				time.AfterFunc(last, func() { l.close(nil) })
				return l, nil
			},
		}, processBackoff, func([]Definition) {})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.run(ctx); close(ended) }()
		<-done
		cancel()
		<-ended
		want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 2}
		for i, wait := range waits {
			limit := want[i] * time.Second
			if wait > limit || wait < limit*3/4 {
				t.Errorf("wait %d is %v, not about %v", i, wait, limit)
			}
		}
		if len(waits) != len(want) {
			t.Errorf("the waits are %v", waits)
		}
	})
}
