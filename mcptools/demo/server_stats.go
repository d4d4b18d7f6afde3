package demo

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type serverStatsOutput struct {
	UptimeSeconds int64            `json:"uptime_seconds"`
	Requests      map[string]int64 `json:"requests" jsonschema:"finished requests: ok, or the reason of the rejection"`
	OpenSessions  int              `json:"open_sessions" jsonschema:"sessions of clients of MCP 2025-11-25 or older"`
	Keys          *keyStats        `json:"keys,omitempty" jsonschema:"the identity provider's signing keys"`
}

type keyStats struct {
	Usable     bool   `json:"usable"`
	AgeSeconds int64  `json:"age_seconds" jsonschema:"time since they were last fetched"`
	Problem    string `json:"problem,omitempty" jsonschema:"why they could not be fetched"`
}

func serverStats(s mcptools.Stats) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:  "server_stats",
		Title: "Server statistics",
		Description: "Shows the state of the server: uptime, requests by outcome, open sessions, " +
			"and the age of the identity provider's keys.",
		Scopes:   []string{"gatehouse:admin"},
		ReadOnly: true,
	}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, serverStatsOutput, error) {
		out := serverStatsOutput{
			UptimeSeconds: int64(time.Since(s.Started).Seconds()),
			Requests:      map[string]int64{},
		}
		if s.Outcomes != nil {
			if counts := s.Outcomes(); counts != nil {
				out.Requests = counts
			}
		}
		if s.Sessions != nil {
			out.OpenSessions = s.Sessions()
		}
		if s.Keys != nil {
			keys := s.Keys()
			out.Keys = &keyStats{
				Usable:     keys.Usable,
				AgeSeconds: int64(keys.Age.Seconds()),
				Problem:    keys.Problem,
			}
		}
		return nil, out, nil
	})
}
