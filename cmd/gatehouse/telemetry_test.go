package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
)

// sampleOf sets telemetry.sample.
func sampleOf(share float64) func(*configs.Config) {
	return func(c *configs.Config) { c.Telemetry.Sample = share }
}

// usePrometheus collects metrics for Prometheus.
func usePrometheus(c *configs.Config) { c.Telemetry.Metrics = configs.TelemetryPrometheus }

// hangUpAfter sends a request and hangs up after a while. It returns when the request has its line in the log.
func hangUpAfter(t *testing.T, srv *testServer, token, body string, header map[string]string, after time.Duration) {
	t.Helper()
	ctx, hangUp := context.WithTimeout(context.Background(), after)
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
	for begin := time.Now(); !strings.Contains(srv.log.String(), "request_id="+header["X-Request-Id"]); {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the request does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
