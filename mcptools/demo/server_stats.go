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

// statsWithUpstreams is the output of a server with upstreams. Without any, the tool looks as it always did.
type statsWithUpstreams struct {
	serverStatsOutput
	Upstreams []mcptools.UpstreamStats `json:"upstreams" jsonschema:"the servers whose tools this one offers"`
}

type keyStats struct {
	Usable     bool   `json:"usable"`
	AgeSeconds int64  `json:"age_seconds" jsonschema:"time since they were last fetched"`
	Problem    string `json:"problem,omitempty" jsonschema:"why they could not be fetched"`
}

func serverStats(s mcptools.Stats) mcptools.Tool {
	definition := mcptools.Definition{
		Name:  "server_stats",
		Title: "Server statistics",
		Description: "Shows the state of the server: uptime, requests by outcome, open sessions, " +
			"and the age of the identity provider's keys.",
		Scopes:   []string{"gatehouse:admin"},
		ReadOnly: true,
	}
	if s.Upstreams == nil {
		return mcptools.Define(definition, func(context.Context, *mcp.CallToolRequest, struct{}) (
			*mcp.CallToolResult, serverStatsOutput, error,
		) {
			return nil, statsOf(s), nil
		})
	}
	return mcptools.Define(definition, func(context.Context, *mcp.CallToolRequest, struct{}) (
		*mcp.CallToolResult, statsWithUpstreams, error,
	) {
		return nil, statsWithUpstreams{statsOf(s), s.Upstreams()}, nil
	})
}

func statsOf(s mcptools.Stats) serverStatsOutput {
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
	return out
}
