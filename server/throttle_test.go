package server

import (
	"log/slog"
	"testing"
	"time"
)

func exceeded(t *throttle, address string) bool {
	all, _ := t.exceeded(rateLimitKey(address), time.Now())
	return all
}

// The owner of one IPv6 address usually has 2^64 of them, and would never be throttled.
func TestThrottleCountsByRateLimitKey(t *testing.T) {
	for _, c := range []struct {
		name, one, other string
		together         bool
	}{
		{"one IPv4 address", "192.0.2.1", "192.0.2.1", true},
		{"two IPv4 addresses", "192.0.2.1", "192.0.2.2", false},
		{"two addresses of a /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		{"two /64", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"two IPv4 addresses in IPv6", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"no address at all", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			throttle := newThrottle(1)
			if exceeded(throttle, c.one) || throttle.recordFailure(rateLimitKey(c.one)) > 0 {
				t.Fatal("throttled before the first failure")
			}
			if over := exceeded(throttle, c.other); over != c.together {
				t.Errorf("the other is throttled: %v", over)
			}
			if waits := throttle.recordFailure(rateLimitKey(c.other)) > 0; waits != c.together {
				t.Errorf("the other waits: %v", waits)
			}
		})
	}
}

// Another limit applies to addresses that are counted already.
func TestThrottle_SetLimit(t *testing.T) {
	shared := NewShared(Settings{FailedAuthPerMinute: 100}, slog.New(slog.DiscardHandler))
	throttle := shared.throttle
	for range 5 {
		throttle.recordFailure("a")
	}
	shared.SetLimits(Settings{FailedAuthPerMinute: 2})
	if exceeded(throttle, "a") || throttle.recordFailure("a") > 0 || throttle.recordFailure("a") > 0 {
		t.Error("it is throttled before two failures")
	}
	if !exceeded(throttle, "a") {
		t.Error("it is not throttled after two failures")
	}
	throttle.recordFailure("b")
	throttle.recordFailure("b")
	if throttle.recordFailure("b") == 0 {
		t.Error("a new address is not throttled by the new limit")
	}
}
