package token

import (
	"time"

	"gatehouse/providers"
)

// DurationLimits are the bounds of one setting.
type DurationLimits struct {
	Key         string
	Value       time.Duration
	Least, Most time.Duration
}

// KeyDurations are the settings of a [KeyPolicy], and the leeway, which every remote kind has.
func KeyDurations(leeway, refetchInterval, maxAge, maxStale time.Duration) []DurationLimits {
	return []DurationLimits{
		{"leeway", leeway, time.Second, 5 * time.Minute},
		{"key_refetch_interval", refetchInterval, time.Second, time.Hour},
		{"key_max_age", maxAge, 2 * time.Second, 24 * time.Hour},
		{"key_max_stale", maxStale, maxAge, 30 * 24 * time.Hour},
	}
}

// CheckDurations reports the settings that are out of their bounds.
func CheckDurations(report func(providers.Problem), durations []DurationLimits) {
	for _, d := range durations {
		if d.Value < d.Least || d.Value > d.Most {
			report(providers.Problem{Key: d.Key, Code: providers.CodeOutOfRange,
				Reason: "it is not between " + d.Least.String() + " and " + d.Most.String(),
				Fix:    "leave it out for the default"})
		}
	}
}

// CheckMaxTokenBytes checks the setting max_token_bytes, which every kind has.
func CheckMaxTokenBytes(n int, report func(providers.Problem)) {
	if n < 1<<10 || n > 64<<10 {
		report(providers.Problem{Key: "max_token_bytes", Code: providers.CodeOutOfRange,
			Reason: "it is not between 1024 and 65536",
			Fix:    "leave it out for the default"})
	}
}
