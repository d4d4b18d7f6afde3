package doctor

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// clock is a transport that compares the clock of whoever answers with ours.
type clock struct {
	next http.RoundTripper

	mu     sync.Mutex
	ahead  time.Duration
	readAt bool
}

// RoundTrip implements http.RoundTripper.
func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	date, wrong := http.ParseTime(resp.Header.Get("Date"))
	if wrong == nil {
		// What a cache kept is as old as it says (RFC 9111, section 5.1).
		age, _ := strconv.Atoi(resp.Header.Get("Age"))
		age = min(max(age, 0), 365*24*60*60)
		c.mu.Lock()
		c.ahead, c.readAt = time.Until(date.Add(time.Duration(age)*time.Second)), true
		c.mu.Unlock()
	}
	return resp, nil
}

func (c *clock) read() (ahead time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead, c.readAt
}
