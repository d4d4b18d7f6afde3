package mcphttp

import (
	"testing"

	"pgregory.net/rapid"
)

// In any order of acquire and release, no limit is exceeded, and what is free can be acquired.
func TestQuota_IsNeverExceededAndNeverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perUser, inAll := rapid.IntRange(1, 4).Draw(t, "per user"), rapid.IntRange(1, 6).Draw(t, "in all")
		q := newQuota(perUser, inAll)
		held, total := map[string]int{}, 0
		user := rapid.SampledFrom([]string{"alice", "bob", "carol"})
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				who := user.Draw(t, "who")
				err := q.acquire(who)
				want := error(nil)
				switch {
				case held[who] >= perUser:
					want = errUserLimit
				case total >= inAll:
					want = errTotalLimit
				}
				if err != want {
					t.Fatalf(
						"%s holds %d of %d, %d of %d in all: got %v, want %v", who, held[who], perUser, total, inAll, err,
						want,
					)
				}
				if err == nil {
					held[who]++
					total++
				}
			},
			"give": func(t *rapid.T) {
				who := user.Draw(t, "who")
				if held[who] == 0 {
					t.Skip("nothing to give back")
				}
				q.release(who, 1)
				held[who]--
				total--
			},
			"": func(t *rapid.T) {
				if q.total != total || len(q.users) > 3 {
					t.Fatalf("counted %d, held %d", q.total, total)
				}
			},
		})
	})
}
