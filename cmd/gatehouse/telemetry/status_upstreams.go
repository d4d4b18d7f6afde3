package telemetry

import (
	"fmt"
	"strings"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
)

// upstreamRow is an upstream with its calls.
type upstreamRow struct {
	Name   string
	State  upstream.State
	Level  string
	Reason providers.Reason
	// About is what does not change often.
	About                          string
	Tools, Calls, Failed, Restarts string
	FailedLevel                    string
}

// UpstreamRows returns a row for each upstream.
func (v *statusView) UpstreamRows() (rows []upstreamRow) {
	for _, u := range v.Upstreams {
		r := upstreamRow{
			Name: u.Name, State: u.State, Level: levelWarn, Reason: u.Reason, About: aboutUpstream(u),
			Tools: number(u.Offered) + " of " + number(u.Tools), Restarts: number(u.Restarts),
		}
		switch u.State {
		case upstream.StateReady:
			r.Level = levelGood
		case upstream.StateDown:
			r.Level = levelBad
		}
		var calls, failed int64
		for outcome, n := range u.Calls {
			calls += n
			if outcome != upstream.OutcomeOK && outcome != upstream.OutcomeCanceled {
				failed += n
			}
		}
		r.Calls, r.Failed, r.FailedLevel = number(calls), number(failed), levelIf(failed > 0, levelWarn)
		rows = append(rows, r)
	}
	return rows
}

func aboutUpstream(u app.UpstreamStatus) string {
	parts := []string{u.Transport}
	if u.ProtocolVersion != "" {
		parts = append(parts, "MCP "+u.ProtocolVersion)
	}
	if u.Server != "" {
		parts = append(parts, u.Server)
	}
	if u.Pinned {
		parts = append(parts, "pinned")
	}
	if p := u.Processes; p != nil {
		parts = append(parts, fmt.Sprintf("%s of %s processes", number(p.Active), number(p.Limit)))
	}
	if u.Noise > 0 {
		parts = append(parts, "noise "+number(u.Noise))
	}
	return strings.Join(parts, " · ")
}

func upstreamProblems(all []app.UpstreamStatus) (problems []problem) {
	for _, u := range all {
		if u.State == upstream.StateDown || u.State == upstream.StateRestarting {
			problems = append(problems, problem{Text: "The upstream " + u.Name + " is " + string(u.State), Reason: u.Reason})
		}
		if u.Changed > 0 {
			text := count(int64(u.Changed), "tool") + " of the upstream " + u.Name + " withdrawn"
			problems = append(problems, problem{Text: text, Reason: upstream.ReasonChanged})
		}
	}
	return problems
}
