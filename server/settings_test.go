package server_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/server"
)

func TestSettingsCheckReportsEveryProblem(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*server.Settings)
		want   string
	}{
		"the defaults":       {func(*server.Settings) {}, ""},
		"every address":      {func(s *server.Settings) { s.Listen = ":3002" }, ""},
		"any free port":      {func(s *server.Settings) { s.Listen = "127.0.0.1:0" }, ""},
		"IPv6":               {func(s *server.Settings) { s.Listen = "[::1]:3002" }, ""},
		"no port":            {func(s *server.Settings) { s.Listen = "localhost" }, "listen"},
		"a port too large":   {func(s *server.Settings) { s.Listen = "localhost:99999" }, "listen"},
		"a named port":       {func(s *server.Settings) { s.Listen = "localhost:http" }, "listen"},
		"a URL to listen on": {func(s *server.Settings) { s.Listen = "http://localhost:3002" }, "listen"},
		"good origins": {func(s *server.Settings) {
			s.AllowedOrigins = []string{"https://a.example", "http://localhost:*", "https://a.example:8443",
				"https://b.example:443"}
		}, ""},
		"every kind of bad origin": {func(s *server.Settings) {
			s.AllowedOrigins = []string{"*", "null", "https://*.example", "a.example", "https://a.example/",
				"https://A.example", "https://u@a.example", "https://a.example:", "https://:443"}
		}, strings.TrimSpace(strings.Repeat("allowed_origins ", 9))},
		"proxies": {func(s *server.Settings) {
			s.TrustedProxies = []string{"10.0.0.0/8", "2001:db8::/32"}
		}, ""},
		"proxies by name": {func(s *server.Settings) {
			s.TrustedProxies = []string{"proxy.example", "10.0.0.1"}
		}, "trusted_proxies trusted_proxies"},
		"no room for a body":  {func(s *server.Settings) { s.MaxBodyBytes = 0 }, "max_body_bytes"},
		"no room for a token": {func(s *server.Settings) { s.MaxHeaderBytes = 100 }, "max_header_bytes"},
		"zero timeouts": {func(s *server.Settings) {
			s.ReadHeaderTimeout, s.ReadBodyTimeout, s.IdleTimeout, s.ShutdownTimeout = 0, 0, 0, 0
		}, "read_header_timeout read_body_timeout idle_timeout shutdown_timeout"},
		"no drain time":         {func(s *server.Settings) { s.DrainTime = 0 }, ""},
		"a negative drain time": {func(s *server.Settings) { s.DrainTime = -time.Second }, "drain_time"},
		"no failures are allowed": {func(s *server.Settings) { s.FailedAuthPerMinute = 0 },
			"failed_auth_per_minute"},
		"no connections at all": {func(s *server.Settings) {
			s.MaxConnections, s.MaxConnectionsPerAddress = 0, -1
		}, "max_connections max_connections_per_address"},
		"two things wrong": {func(s *server.Settings) { s.Listen, s.AllowedOrigins = "x", []string{"*"} },
			"listen allowed_origins"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := server.DefaultSettings()
			c.change(&settings)
			var got []string
			settings.Validate(func(p providers.Problem) {
				if p.Reason == "" || p.Fix == "" {
					t.Errorf("no reason or no fix: %+v", p)
				}
				got = append(got, p.Key)
			})
			if strings.Join(got, " ") != c.want {
				t.Errorf("reported %v, want %v", got, c.want)
			}
		})
	}
}
