package telemetry

import (
	"cmp"
	"embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/providers"
	"gatehouse/providers/page"
)

//go:embed status.html status.css
var statusFiles embed.FS

// statusRefresh is after how long the browser loads the status page again.
const statusRefresh = 10 * time.Second

// statusPage renders the status page.
type statusPage struct {
	templates *page.Templates
	meanings  map[string]string // by outcome
}

func newStatusPage(reasons []providers.ReasonDoc) (*statusPage, error) {
	templates, err := page.Parse(statusFiles, "status.html")
	if err != nil {
		return nil, err
	}
	style, err := statusFiles.ReadFile("status.css")
	if err != nil {
		return nil, err
	}
	templates.AddStyle(string(style))
	meanings := map[string]string{
		"client_error": "another response with a status of 4xx, such as 404 for an unknown path",
		"server_error": "another response with a status of 5xx",
		app.Stopping:   "the server drains: load balancers must send no more requests",
	}
	for _, doc := range reasons {
		meanings[string(doc.Code)] = doc.Meaning
	}
	return &statusPage{templates, meanings}, nil
}

// servePage serves the status page. With ?refresh=off the browser does not load it again, so that it can be
// read.
func (o *Operator) servePage(w http.ResponseWriter, refreshes bool) {
	status, samples := o.status()
	view := o.page.view(status, samples, o.metrics != nil)
	content := page.Page{Title: view.Title(), Site: "Gatehouse", Data: view}
	if view.Refreshes = refreshes; refreshes {
		content.Refresh = statusRefresh
	}
	if err := o.page.templates.Write(w, http.StatusOK, "status.html", content); err != nil {
		otel.Handle(err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// statusView is the data of the template.
type statusView struct {
	OperatorStatus
	Problems  []problem
	Tiles     []tile
	Rates     rateChart
	Reasons   []reasonRow
	Others    int64 // refused requests with other reasons
	ToolRows  []toolRow
	Explained []explanation
	// HasMetrics is false if telemetry.metrics is not prometheus.
	HasMetrics, Refreshes bool
}

// topReasons is how many reasons are shown.
const topReasons = 5

func (p *statusPage) view(s OperatorStatus, samples []sample, hasMetrics bool) *statusView {
	v := &statusView{OperatorStatus: s, HasMetrics: hasMetrics, Rates: newRateChart(samples), Problems: problems(s)}
	v.Reasons, v.Others = reasonRows(samples)
	v.Tiles = tiles(s)
	for _, tool := range s.Tools {
		v.ToolRows = append(v.ToolRows, newToolRow(tool))
	}
	v.Explained = p.explain(v)
	return v
}

// Title is the state of the server in a few words, for the tab of the browser.
func (v *statusView) Title() string {
	switch n := len(v.Problems); {
	case !v.Ready:
		return "Not ready"
	case n == 1:
		return "Ready, 1 problem"
	case n > 1:
		return fmt.Sprintf("Ready, %d problems", n)
	}
	return "Ready"
}

// HasErrors reports whether a call of a tool failed in another way than by a result that says so.
func (v *statusView) HasErrors() bool {
	return slices.ContainsFunc(v.Tools, func(t ToolStatus) bool { return t.Errors > 0 })
}

// Level is the level of the state.
func (v *statusView) Level() string {
	switch {
	case !v.Ready:
		return levelBad
	case len(v.Problems) > 0:
		return levelWarn
	}
	return levelGood
}

// explain returns the explanation of each reason that the page shows.
func (p *statusPage) explain(v *statusView) []explanation {
	shown := map[string]bool{v.NotReady: true}
	for _, row := range v.Reasons {
		shown[row.Outcome] = true
	}
	for _, one := range v.Problems {
		shown[string(one.Reason)] = true
	}
	for _, issuer := range v.Issuers {
		shown[string(issuer.Problem)] = true
	}
	for _, upstream := range v.Upstreams {
		shown[string(upstream.Reason)] = true
	}
	for _, row := range v.SignInEvents() {
		for _, refusal := range row.Refused {
			shown[refusal.Reason] = true
		}
	}
	delete(shown, "") // no reason
	var all []explanation
	for outcome := range shown {
		meaning := cmp.Or(p.meanings[outcome], "a reason of the provider, which is that of another module")
		all = append(all, explanation{outcome, parts(meaning)})
	}
	slices.SortFunc(all, func(a, b explanation) int { return cmp.Compare(a.Outcome, b.Outcome) })
	return all
}

// explanation is the meaning of a reason.
type explanation struct {
	Outcome string
	Parts   []part
}

// part is a piece of a text, which is code if it is between backticks in the documentation.
type part struct {
	Text string
	Code bool
}

func parts(text string) (all []part) {
	for i, piece := range strings.Split(text, "`") {
		all = append(all, part{piece, i%2 == 1})
	}
	return all
}

// problem is something that an operator should look at.
type problem struct {
	Text   string
	Reason providers.Reason // may be empty
	Detail string           // may be empty
}

// nearLimit is the share of a limit from which it is a problem. It is that of the alert GatehouseNearLimit.
const nearLimit = 0.8

// Problems describes what the status page shows as problems, without the texts of the server's log.
func (s OperatorStatus) Problems() (texts []string) {
	for _, one := range problems(s) {
		texts = append(texts, one.Text)
	}
	return texts
}

func problems(s OperatorStatus) (all []problem) {
	for _, issuer := range s.Issuers {
		switch {
		case !issuer.Usable:
			all = append(all, problem{Text: "No token of " + issuer.Issuer + " can be verified",
				Reason: cmp.Or(issuer.Problem, providers.ReasonKeysUnavailable)})
		case issuer.Problem != "":
			all = append(all, problem{Text: "The keys of " + issuer.Issuer + " could not be renewed",
				Reason: issuer.Problem})
		}
	}
	if a := s.Audit; a != nil {
		if !a.OK {
			all = append(all, problem{Text: "The audit log cannot be written",
				Detail: "the server's log says why"})
		}
		if a.Lost > 0 {
			all = append(all, problem{Text: count(a.Lost, "audit record") + " lost"})
		}
	}
	if r := s.Config.Reload; r != nil && !r.OK {
		all = append(all, problem{Text: "The last reload was refused, the configuration before it is in force",
			Detail: r.Reason})
	}
	if d := s.Denials; d != nil && !d.OK {
		all = append(all, problem{Text: "The file of denials cannot be used, the last good list is in force",
			Detail: "the server's log says why"})
	}
	all = append(all, upstreamProblems(s.Upstreams)...)
	all = append(all, signInProblems(s.SignIns)...)
	for _, u := range usages(s) {
		if u.share() >= nearLimit {
			all = append(all, problem{Text: fmt.Sprintf("%s: %s of the limit %s", u.Name, percent(u.share()), u.Setting)})
		}
	}
	if n := s.Traffic.RecentServerErrors; n > 0 {
		all = append(all, problem{Text: count(int64(n), "response") + " with status 5xx in the last five minutes"})
	}
	return all
}
