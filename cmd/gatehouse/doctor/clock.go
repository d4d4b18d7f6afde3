package doctor

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// clockTransport is a transport that compares the clock of the other side with this computer's.
type clockTransport struct {
	next http.RoundTripper

	mu     sync.Mutex
	offset time.Duration
	known  bool
}

// RoundTrip implements http.RoundTripper.
func (c *clockTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
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

// clockOffset returns by how much the clock of the last response is ahead of this computer's; negative if it is
// behind. It is not ok if no response had a Date.
func (c *clockTransport) clockOffset() (offset time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset, c.known
}
