package doctor

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// addOperatorCheck adds the check of the operator's listener, if there is one.
func (e *examination) addOperatorCheck() {
	if !e.Settings.Operator.IsOn() {
		return
	}
	e.checks.add(check{
		name: "operator.status", subject: e.Settings.Operator.Listen, run: e.operator,
		expected: "if the server runs here, its status page shows no problem, and the configuration is this one",
	})
}

// maxShownProblems bounds what is repeated of the status page.
const maxShownProblems = 3

func (e *examination) operator(ctx context.Context) diagnostics.Outcome {
	host, port, err := net.SplitHostPort(e.Settings.Operator.Listen)
	if err != nil || port == "0" {
		return diagnostics.Skipped("the port is chosen at the start")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	address := "http://" + net.JoinHostPort(host, port) + "/status.json"
	r, err := e.network.request(ctx, http.MethodGet, address, "", map[string]string{"Accept": "application/json"})
	switch {
	case err != nil && !e.runsHere(ctx):
		return diagnostics.Skipped("no server runs on this computer")
	case err != nil:
		return diagnostics.Warning(err.Error()+", although the server runs here",
			"restart it with this configuration: operator.listen is read at the start")
	case r.status == http.StatusForbidden:
		return diagnostics.Warning("403: it is not reached under the name in operator.listen",
			"add the name to operator.hosts, or use an address in operator.listen")
	}
	var status telemetry.OperatorStatus
	if r.status != http.StatusOK || json.Unmarshal(r.body, &status) != nil || status.Config.Digest == "" {
		return diagnostics.Warning("another program answers: /status.json gets "+describe(r),
			"stop the other program, or give operator.listen another port")
	}
	for i := range status.Issuers { // the names are from the other side
		status.Issuers[i].Issuer = providers.Quote(status.Issuers[i].Issuer)
	}
	if problems := status.Problems(); len(problems) > 0 {
		found := strings.Join(problems[:min(len(problems), maxShownProblems)], "; ")
		if more := len(problems) - maxShownProblems; more > 0 {
			found += "; and " + strconv.Itoa(more) + " more"
		}
		return diagnostics.Warning(found, "the status page ("+strings.TrimSuffix(address, "status.json")+
			") explains them, and the server's log has the details")
	}
	if status.Config.Digest != app.ConfigDigest(e.Settings) {
		return diagnostics.Warning("the server runs with another configuration than this command",
			"run this command with the server's --config, flags and environment; if they are the same, a file has changed "+
				"since: reload or restart the server")
	}
	if !status.Ready {
		return diagnostics.OK("no problem, but the server is not ready")
	}
	return diagnostics.OK("ready, no problem, and the configuration is this one")
}
