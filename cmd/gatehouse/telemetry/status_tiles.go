package telemetry

import (
	"cmp"
	"math"
	"slices"

	"gatehouse/cmd/gatehouse/app"
)

// tile is one number of the status page.
type tile struct {
	Label, Value, Note string
	// Level is the class of the value: empty or one of the levels.
	Level string
	// Bar is the share of a limit in percent, if there is one.
	Bar *int
}

func tiles(s OperatorStatus) []tile {
	t := s.Traffic
	all := []tile{
		{Label: "Refused", Value: percent(t.RefusedShare), Note: "of the last minute"},
		{Label: "Server errors", Value: number(t.ServerErrors), Note: "status 5xx since the start",
			Level: levelIf(t.RecentServerErrors > 0, levelBad)},
	}
	all = append(all, toolTile(s.Tools), tokenTile(s.Tokens))
	for _, u := range usages(s) {
		if u.Setting == "mcp.max_bytes" {
			continue // of interest at the limit only, and then it is a problem
		}
		all = append(all, u.tile())
	}
	return append(all, denialTile(s.Denials))
}

func toolTile(tools []ToolStatus) tile {
	t := tile{Label: "Tool calls", Value: "–", Note: "none since the start"}
	var calls, failed uint64
	for _, tool := range tools {
		calls, failed = calls+tool.Calls, failed+tool.ToolErrors
	}
	if calls > 0 {
		t.Value, t.Note = number(calls), percent(float64(failed)/float64(calls))+" tool errors"
	}
	return t
}

func tokenTile(k *app.TokenStatus) tile {
	t := tile{Label: "Token cache hits", Value: "–", Note: "no token was kept"}
	if k == nil {
		return t
	}
	if all := k.FromCache + k.Checked; all > 0 {
		t.Value = percent(float64(k.FromCache) / float64(all))
	}
	t.Note = number(k.Cached) + " of " + number(k.Limit) + " tokens kept"
	return t
}

func denialTile(d *app.DenialStatus) tile {
	if d == nil {
		return tile{Label: "Denied callers", Value: "–", Note: "denials.file is not set"}
	}
	return tile{Label: "Denied callers", Value: number(d.Hits), Level: levelIf(!d.OK, levelWarn),
		Note: "requests, by " + count(int64(d.Entries), "entry")}
}

// usage is how much of a limit is in use.
type usage struct {
	app.Usage
	Name, Setting string
}

func usages(s OperatorStatus) []usage {
	return []usage{
		{s.Calls, "Calls in flight", "mcp.max_calls"},
		{s.Streams, "Open streams", "mcp.max_streams"},
		{s.Sessions, "Sessions", "mcp.max_sessions"},
		{s.Bytes, "Bytes in flight", "mcp.max_bytes"},
	}
}

func (u usage) share() float64 {
	if u.Limit <= 0 {
		return 0
	}
	return float64(u.Active) / float64(u.Limit)
}

func (u usage) tile() tile {
	t := tile{Label: u.Name, Value: number(u.Active), Level: levelIf(u.share() >= nearLimit, levelWarn)}
	if u.Limit > 0 {
		bar := int(math.Ceil(100 * min(u.share(), 1)))
		t.Note, t.Bar = "of "+number(u.Limit), &bar
	}
	return t
}

// The levels of a value are classes of the style sheet.
const (
	levelGood = "good"
	levelWarn = "caution"
	levelBad  = "bad"
)

func levelIf(is bool, level string) string {
	if is {
		return level
	}
	return ""
}

// rateChart shows the requests of each interval as a bar.
type rateChart struct {
	Bars []rateBar
	// Now is the rate of the last minute and Peak the highest one of an interval, per second.
	Now, Peak string
}

// rateBar is a bar in a chart that is 60 wide and 24 high. The refused requests are its lower part.
type rateBar struct {
	X                            int
	Y, Height, RefusedY, Refused float64
}

const (
	chartBars   = maxSamples - 1
	chartHeight = 24
)

func newRateChart(samples []sample) rateChart {
	type rate struct{ all, refused float64 }
	var rates []rate
	peak := 0.0
	for i := 1; i < len(samples); i++ {
		before, after := samples[i-1], samples[i]
		// The last sample is that of now: right after another one, a single request would be a high rate.
		seconds := max(after.at.Sub(before.at), sampleInterval).Seconds()
		r := rate{float64(after.requests()-before.requests()) / seconds,
			float64(after.refused()-before.refused()) / seconds}
		rates, peak = append(rates, r), max(peak, r.all)
	}
	chart := rateChart{Peak: perSecond(peak), Now: "0"}
	if n := len(samples); n > 0 {
		chart.Now = perSecond(trafficStatus(samples[:n-1], samples[n-1]).RequestsPerSecond)
	}
	rates = rates[max(0, len(rates)-chartBars):]
	for i, r := range rates {
		if r.all <= 0 {
			continue
		}
		bar := rateBar{X: chartBars - len(rates) + i,
			Height:  max(1, round(chartHeight*r.all/peak)),
			Refused: round(chartHeight * r.refused / peak)}
		bar.Y, bar.RefusedY = chartHeight-bar.Height, chartHeight-bar.Refused
		chart.Bars = append(chart.Bars, bar)
	}
	return chart
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

// reasonRow is a reason for which requests were refused.
type reasonRow struct {
	Outcome string
	// Recent are the requests of the last five minutes, All those since the start, and Bar the share of all
	// refused requests in percent.
	Recent, All string
	Bar         int

	recent, all int64
}

// reasonRows returns the reasons that refused the most requests, of late and then at all, and how many
// requests the others refused since the start.
func reasonRows(samples []sample) (rows []reasonRow, others int64) {
	if len(samples) == 0 {
		return nil, 0
	}
	now := samples[len(samples)-1]
	then := oldest(samples, now)
	for outcome, n := range now.outcomes {
		if outcome == "ok" || n == 0 {
			continue
		}
		rows = append(rows, reasonRow{Outcome: outcome, recent: n - then.outcomes[outcome], all: n})
	}
	slices.SortFunc(rows, func(a, b reasonRow) int {
		return cmp.Or(cmp.Compare(b.recent, a.recent), cmp.Compare(b.all, a.all), cmp.Compare(a.Outcome, b.Outcome))
	})
	for _, row := range rows[min(len(rows), topReasons):] {
		others += row.all
	}
	rows = rows[:min(len(rows), topReasons)]
	var most int64
	for _, row := range rows {
		most = max(most, row.all)
	}
	for i := range rows {
		row := &rows[i]
		row.Recent, row.All, row.Bar = number(row.recent), number(row.all), int(math.Ceil(100*float64(row.all)/float64(most)))
	}
	return rows, others
}

// toolRow is a tool with the latency of its calls.
type toolRow struct{ Name, Calls, P50, P95, ToolErrors, Errors, Level string }

func newToolRow(t ToolStatus) toolRow {
	return toolRow{
		Name: t.Name, Calls: number(t.Calls), P50: t.latency.text(t.P50), P95: t.latency.text(t.P95),
		ToolErrors: number(t.ToolErrors), Errors: number(t.Errors), Level: levelIf(t.ToolErrors > 0, levelWarn),
	}
}
