package diagnostics

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Clock is a transport that compares the clock of the other side with this computer's.
type Clock struct {
	next http.RoundTripper
	host string

	mu     sync.Mutex
	offset time.Duration
	known  bool
}

// NewClock returns a Clock that sends requests with next; with http.DefaultTransport if next is nil. Only the clock of
// host counts, with a port if that is not the default; if host is empty, that of every host.
func NewClock(next http.RoundTripper, host string) *Clock {
	if next == nil {
		next = http.DefaultTransport
	}
	return &Clock{next: next, host: host}
}

// RoundTrip implements http.RoundTripper.
func (c *Clock) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil || c.host != "" && c.host != r.URL.Host {
		return resp, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// A response from a cache is as old as its Age (RFC 9111, section 5.1).
		age, _ := strconv.Atoi(resp.Header.Get("Age"))
		age = min(max(age, 0), 365*24*60*60)
		c.mu.Lock()
		c.offset, c.known = time.Until(date.Add(time.Duration(age)*time.Second)), true
		c.mu.Unlock()
	}
	return resp, nil
}

// Compare fails if the clock of the last response differs from this computer's by the leeway or more. whose is whose
// clock it is, as in "the provider's", and consequence is what follows.
func (c *Clock) Compare(leeway time.Duration, whose, consequence string) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return Skipped("no response had a Date header")
	}
	return CompareClocks(c.offset, leeway, whose, consequence)
}

// CompareClocks is [Clock.Compare] for a clock that is ahead of this computer's by offset.
func CompareClocks(offset, leeway time.Duration, whose, consequence string) Outcome {
	if offset.Abs() < leeway {
		return OK(fmt.Sprintf("less than %s apart", offset.Abs().Truncate(time.Second)+time.Second))
	}
	direction := "ahead"
	if offset < 0 {
		direction = "behind"
	}
	return Failed(fmt.Sprintf("%s clock is %s %s", whose, offset.Abs().Round(time.Second), direction),
		"synchronize the clock of this computer by NTP (or "+whose+"): "+consequence)
}
