package telemetry

import (
	"sync"
	"time"
)

// The counters are sampled at each interval, and the samples kept for the window that the status page shows.
const (
	sampleInterval = 5 * time.Second
	maxSamples     = 61 // the bounds of 60 intervals: five minutes
	rateWindow     = time.Minute
)

// sample are the counters at one time.
type sample struct {
	at           time.Time
	outcomes     map[string]int64 // as in [app.Status].Requests; read only
	serverErrors uint64
}

// requests returns how many requests had finished.
func (s sample) requests() (all int64) {
	for _, n := range s.outcomes {
		all += n
	}
	return all
}

// refused returns how many of them were refused: those that neither succeeded nor failed by a fault of the
// server.
func (s sample) refused() (all int64) {
	for outcome, n := range s.outcomes {
		if isRefusal(outcome) {
			all += n
		}
	}
	return all
}

func isRefusal(outcome string) bool {
	switch outcome {
	case "ok", "server_error", "internal_error":
		return false
	}
	return true
}

// traffic are the last samples, the oldest first.
type traffic struct {
	mu      sync.Mutex
	samples []sample
}

func (t *traffic) add(s sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.samples) == maxSamples {
		copy(t.samples, t.samples[1:])
		t.samples = t.samples[:maxSamples-1]
	}
	t.samples = append(t.samples, s)
}

// all returns the samples.
func (t *traffic) all() []sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]sample(nil), t.samples...)
}

// at returns the youngest sample that is at least as old as age, or the oldest one.
func at(samples []sample, now sample, age time.Duration) sample {
	found := now
	for i, s := range samples {
		if i == 0 || now.at.Sub(s.at) >= age {
			found = s
		}
	}
	return found
}

// oldest returns the first sample of the window.
func oldest(samples []sample, now sample) sample { return at(samples, now, maxSamples*sampleInterval) }

// TrafficStatus are the requests of the last minute.
type TrafficStatus struct {
	// WindowSeconds is the time that the rates are of: a minute, or less after the start.
	WindowSeconds     float64 `json:"window_seconds"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	// RefusedShare is the part of the requests that were refused, from 0 to 1.
	RefusedShare float64 `json:"refused_share"`
	// Refused is how many requests were refused since the start.
	Refused int64 `json:"refused"`
	// ServerErrors is how many responses had a status of 5xx since the start, and in the last five minutes.
	ServerErrors       uint64 `json:"server_errors"`
	RecentServerErrors uint64 `json:"recent_server_errors"`
}

// trafficStatus compares now with the samples.
func trafficStatus(samples []sample, now sample) TrafficStatus {
	then := at(samples, now, rateWindow)
	status := TrafficStatus{
		WindowSeconds: now.at.Sub(then.at).Seconds(), Refused: now.refused(), ServerErrors: now.serverErrors,
	}
	status.RecentServerErrors = now.serverErrors - oldest(samples, now).serverErrors
	requests := now.requests() - then.requests()
	if requests <= 0 || status.WindowSeconds <= 0 {
		return status
	}
	status.RequestsPerSecond = float64(requests) / status.WindowSeconds
	status.RefusedShare = float64(now.refused()-then.refused()) / float64(requests)
	return status
}
