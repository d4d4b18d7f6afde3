package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// serverChecks are the checks of the server at resource. It is reached as its clients reach it: at its public
// URL, through every proxy in front.
type serverChecks struct {
	*examination
	origin *url.URL
	// reachable is the check that the server answers.
	reachable *check
	// unauthorized is the response to a call without a token.
	unauthorized response
}

func (e *examination) newServerChecks() *serverChecks {
	origin, _ := originOf(e.Settings.Resource.Origin())
	return &serverChecks{examination: e, origin: origin}
}

const (
	seeLog      = "see the server's log"
	ifOnPurpose = "none if the proxy in front blocks it on purpose"
)

func (s *serverChecks) add() {
	add := func(name, subject, expected string, run runFunc, needs ...*check) *check {
		return s.checks.add(check{name: name, subject: subject, expected: expected, needs: needs, run: run})
	}
	dns := add("server.dns", s.origin.Hostname(), "the name in resource resolves",
		s.unlessProxied(s.origin, s.resolve))
	tcp := add("server.tcp", s.origin.Host, "resource accepts connections",
		s.unlessProxied(s.origin, s.connect), dns)
	tls := add("server.tls", s.origin.Host, "its certificate is valid",
		s.unlessProxied(s.origin, s.certificate(s.origin, "resource", diagnostics.Failed)), tcp)
	s.reachable = add("server.health", "", "/health is answered by this server", s.health, tls)
	add("server.ready", "", "/readyz reports that tokens can be verified", s.ready, s.reachable)
	if s.Alone {
		add("server.host", "", "the Host header arrives as clients send it", s.hostAlone, s.reachable)
		s.addRouteChecks()
		return
	}
	for _, path := range s.Settings.Resource.MetadataPaths() {
		add("server.metadata", path, "it has the values of the configuration",
			func(ctx context.Context) diagnostics.Outcome { return s.metadata(ctx, path) }, s.reachable)
	}
	host := add("server.host", "", "the Host header arrives as clients send it", s.host, s.reachable)
	refusal := add("server.refusal", "", "a call without a token gets 401", s.refusal, host)
	challenge := add("server.challenge", "", "the 401 has WWW-Authenticate", s.challenge, refusal)
	add("server.challenge_content", "", "the challenge has the URL of the metadata and the scopes",
		s.challengeContent, challenge)
	add("server.preflight", "", "a browser's preflight needs no token", s.preflight, refusal)
	add("server.exposed", "", "scripts in a browser can read the challenge", s.exposed, challenge)
	add("server.tools", "", "tools/list works with the token", s.tools, refusal)
	s.addRouteChecks()
}

func (s *serverChecks) resolve(ctx context.Context) diagnostics.Outcome {
	found, err := s.network.resolve(ctx, s.origin)
	if err != nil {
		return diagnostics.Failed(err.Error(), "add the name to the DNS, or fix resource: clients use this name")
	}
	return diagnostics.OK(found)
}

// connect only warns if the server does not run, so that an operator can check the rest before the start. It
// fails if the server runs on this computer and clients cannot reach it.
func (s *serverChecks) connect(ctx context.Context) diagnostics.Outcome {
	found, refused, err := s.network.connect(ctx, s.origin)
	if err == nil {
		return diagnostics.OK(found)
	}
	if s.LocalHealth != "" {
		if r, err2 := s.network.request(ctx, http.MethodGet, s.LocalHealth, "", nil); err2 == nil && isHealthy(r) {
			return diagnostics.Failed(err.Error()+", although the server runs here ("+s.LocalHealth+")",
				"start or fix what forwards "+hostPort(s.origin)+" to "+s.Settings.Server.Listen+" (a proxy, a port "+
					"mapping), or fix resource; if only this computer cannot reach its own public address, run this "+
					"command elsewhere")
		}
	}
	if !refused {
		return diagnostics.Failed(err.Error(), "check that no firewall blocks it, or fix resource")
	}
	o := diagnostics.Warning("the server does not run: nothing listens there",
		"start it with the same configuration (`gatehouse "+s.command()+"`), or fix resource if clients use another address")
	o.Stop = "the server does not run"
	return o
}

// command is the command that runs the server.
func (e *examination) command() string {
	if e.Alone {
		return "broker"
	}
	return "serve"
}

// healthStatus returns the status in a response of /health, or "".
func healthStatus(r response) string {
	var body struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(r.body, &body) // not JSON: no status
	return body.Status
}

func isHealthy(r response) bool { return r.status == http.StatusOK && healthStatus(r) == "healthy" }

// isStuck reports whether /health says that only a restart helps.
func isStuck(r response) bool {
	return r.status == http.StatusServiceUnavailable && healthStatus(r) == "stuck"
}

// health also tells whether it is this server that answers. A proxy need not forward /health.
func (s *serverChecks) health(ctx context.Context) diagnostics.Outcome {
	r, err := s.get(ctx, "/health")
	switch {
	case (err != nil || r.status == http.StatusBadRequest) && s.speaksTLS(ctx, s.origin.String()):
		return diagnostics.Failed("it speaks TLS, and resource is plain http",
			"write https:// instead of http:// in resource, which is the URL that clients use")
	case err != nil:
		return diagnostics.Failed(err.Error(), seeLog)
	case isHealthy(r):
		return diagnostics.OK("healthy")
	case isStuck(r):
		return diagnostics.Failed("the server is stuck: it answers, but processes no MCP request any more",
			"restart it, and report its log; an orchestrator that probes /health restarts it automatically")
	}
	documents, what := s.Settings.Resource.MetadataPaths(), "resource metadata"
	if s.Alone {
		documents, what = []string{wellKnownOAuth, wellKnownOpenID}, "metadata of an authorization server"
	}
	for _, path := range documents {
		m, err := s.get(ctx, path)
		if err == nil && m.status == http.StatusOK && json.Valid(m.body) {
			return diagnostics.Warning("/health gets "+strconv.Itoa(r.status)+", but there is "+what, ifOnPurpose)
		}
	}
	if isGatewayError(r) {
		return diagnostics.Failed(strconv.Itoa(r.status)+": the proxy in front does not reach the server",
			"start the server, or fix the address that the proxy forwards to (server.listen is "+
				s.Settings.Server.Listen+")")
	}
	return diagnostics.Failed("another program answers: "+s.origin.String()+"/health gets "+describe(r),
		"stop the other program, or give this server another port (resource, server.listen); a proxy in front must "+
			"forward all paths to this server")
}

// isGatewayError reports whether a proxy answers instead of a server that it does not reach (RFC 9110, section
// 15.6).
func isGatewayError(r response) bool {
	switch r.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// describe describes a response without repeating its body.
func describe(r response) string {
	status := strconv.Itoa(r.status)
	switch {
	case r.status >= 300 && r.status < 400:
		return status + ", a redirect"
	case len(r.body) == 0:
		return status + " without a body"
	case json.Valid(r.body):
		return status + " with JSON"
	}
	return status + " with a body that is not JSON"
}

func (s *serverChecks) ready(ctx context.Context) diagnostics.Outcome {
	r, err := s.get(ctx, "/readyz")
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	var body struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(r.body, &body) // a response without a reason is not from this server
	switch {
	case r.status == http.StatusOK:
		return diagnostics.OK("ready")
	case r.status != http.StatusServiceUnavailable || body.Reason == "":
		return diagnostics.Warning("/readyz gets "+describe(r), ifOnPurpose)
	case body.Reason == "stopping":
		return diagnostics.Warning("the server is about to stop", "run this command again later")
	}
	reason := providers.Quote(body.Reason)
	known := func(r providers.ReasonDoc) bool { return string(r.Code) == body.Reason }
	if i := slices.IndexFunc(configs.Reasons(), known); i >= 0 {
		reason = body.Reason + ", " + configs.Reasons()[i].Meaning
	}
	return diagnostics.Failed("not ready: "+reason,
		"see the checks of the provider, and check that the server's "+
			"computer reaches the provider as this one does; its log has the error")
}

// get requests a document of the server.
func (s *serverChecks) get(ctx context.Context, path string) (response, error) {
	header := map[string]string{"Accept": "application/json"}
	return s.network.request(ctx, http.MethodGet, s.origin.String()+path, "", header)
}
