package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

type countdownInput struct {
	Seconds int `json:"seconds" jsonschema:"how long to count, from 1 to 60"`
}

type countdownOutput struct {
	Counted int `json:"counted" jsonschema:"how many seconds were counted"`
}

const maxCountdown = 60

func countdown() mcptools.Tool {
	return mcptools.Define(mcptools.Definition{
		Name:  "countdown",
		Title: "Count down",
		Description: "Counts down from 1 to 60 seconds, with a progress notification each second. " +
			"It stops when it is cancelled.",
		Scopes:   []string{"greet:read"},
		ReadOnly: true,
		Input: func(s *jsonschema.Schema) {
			s.Properties["seconds"].Minimum = jsonschema.Ptr(1.0)
			s.Properties["seconds"].Maximum = jsonschema.Ptr(float64(maxCountdown))
		},
	}, func(
		ctx context.Context, req *mcp.CallToolRequest, in countdownInput,
	) (*mcp.CallToolResult, countdownOutput, error) {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for passed := 1; passed <= in.Seconds; passed++ {
			select {
			case <-ctx.Done():
				return nil, countdownOutput{}, fmt.Errorf(
					"cancelled after %d of %d seconds",
					passed-1,
					in.Seconds,
				)
			case <-ticker.C:
			}
			if token := req.Params.GetProgressToken(); token != nil {
				// A progress message that cannot be sent does not end the countdown; only cancellation does.
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: token, Progress: float64(passed), Total: float64(in.Seconds),
					Message: fmt.Sprintf("%d to go", in.Seconds-passed),
				})
			}
		}
		return text("Lift-off!"), countdownOutput{Counted: in.Seconds}, nil
	})
}
