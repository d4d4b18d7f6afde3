package demo

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type serverStatsOutput struct {
	UptimeSeconds int64            `json:"uptime_seconds"`
	Requests      map[string]int64 `json:"requests" jsonschema:"finished requests by outcome: ok, or the reason of the refusal"`
	OpenSessions  int              `json:"open_sessions" jsonschema:"sessions of clients that speak MCP 2025-11-25 or older"`
	Keys          *keyStats        `json:"keys,omitempty" jsonschema:"the identity provider's signing keys"`
}

type keyStats struct {
	Usable     bool   `json:"usable"`
	AgeSeconds int64  `json:"age_seconds" jsonschema:"time since they were last fetched"`
	Problem    string `json:"problem,omitempty" jsonschema:"why they could not be fetched"`
}

func serverStats(v mcptools.Stats) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:        "server_stats",
		Title:       "Server statistics",
		Description: "Shows how the server is doing: uptime, requests by outcome, open sessions, and the age of the identity provider's keys.",
		Scopes:      []string{"gatehouse:admin"},
		ReadOnly:    true,
	}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, serverStatsOutput, error) {
		out := serverStatsOutput{
			UptimeSeconds: int64(time.Since(v.Started).Seconds()),
			Requests:      map[string]int64{},
		}
		if v.Outcomes != nil {
			if counts := v.Outcomes(); counts != nil {
				out.Requests = counts
			}
		}
		if v.Sessions != nil {
			out.OpenSessions = v.Sessions()
		}
		if v.Keys != nil {
			keys := v.Keys()
			out.Keys = &keyStats{Usable: keys.Usable, AgeSeconds: int64(keys.Age.Seconds()), Problem: keys.Problem}
		}
		return nil, out, nil
	})
}
