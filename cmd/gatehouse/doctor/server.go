package doctor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// ownServer is the server that should run at resource, while it is examined from where its clients are: by its public URL,
// through whatever stands in front.
type ownServer struct {
	*examination
	origin    *url.URL
	reachable *check
	refused   answer // to a request without a token
}

func (e *examination) newOwnServer() *ownServer {
	origin, _ := originOf(e.Config.Resource.Origin())
	return &ownServer{examination: e, origin: origin}
}

// server adds the checks of our own server.
func (e *examination) server(s *ownServer) {
	name := e.checks.add(check{name: "server.dns", subject: s.origin.Hostname(), expected: "the name in resource resolves", run: e.direct(s.origin, s.resolve)})
	connection := e.checks.add(check{name: "server.tcp", subject: s.origin.Host, expected: "something answers at resource", needs: []*check{name}, run: e.direct(s.origin, s.connect)})
	certificate := e.checks.add(check{name: "server.tls", subject: s.origin.Host, expected: "its certificate holds", needs: []*check{connection},
		run: e.direct(s.origin, e.certificate(s.origin, diagnostics.Failed))})
	s.reachable = e.checks.add(check{name: "server.health", expected: "/health answers, and this is our server", needs: []*check{certificate}, run: s.health})
	alive := []*check{s.reachable}
	e.checks.add(check{name: "server.ready", expected: "/readyz says that tokens can be verified", needs: alive, run: s.ready})
	for _, path := range e.Config.Resource.MetadataPaths() {
		e.checks.add(check{name: "server.metadata", subject: path, expected: "it is what the configuration says", needs: alive,
			run: func(ctx context.Context) diagnostics.Outcome { return s.metadata(ctx, path) }})
	}
	host := e.checks.add(check{name: "server.host", expected: "the Host header arrives as clients send it", needs: alive, run: s.host})
	refusal := e.checks.add(check{name: "server.refusal", expected: "a call without a token gets 401", needs: []*check{host}, run: s.refusal})
	challenge := e.checks.add(check{name: "server.challenge", expected: "WWW-Authenticate arrives with it", needs: []*check{refusal}, run: s.challenge})
	e.checks.add(check{name: "server.challenge_content", expected: "the challenge leads to the metadata and names the scopes", needs: []*check{challenge}, run: s.challengeContent})
	e.checks.add(check{name: "server.preflight", expected: "a browser's preflight is answered without a token", needs: []*check{refusal}, run: s.preflight})
	e.checks.add(check{name: "server.exposed", expected: "scripts in a browser can read the challenge", needs: []*check{challenge}, run: s.exposed})
	e.checks.add(check{name: "server.tools", expected: "tools/list works with the token", needs: []*check{refusal}, run: s.tools})
}

func (s *ownServer) resolve(ctx context.Context) diagnostics.Outcome {
	found, err := s.network.resolve(ctx, s.origin)
	if err != nil {
		return diagnostics.Failed(err.Error(), "enter the name in the DNS, or mend resource: no client finds the server by this name")
	}
	return diagnostics.OK(found)
}

// connect takes it for no failure that the server does not run: an operator who has not started it yet wants to know the
// rest. It is one if the server does run here and clients cannot reach it.
func (s *ownServer) connect(ctx context.Context) diagnostics.Outcome {
	found, refused, err := s.network.connect(ctx, s.origin)
	if err == nil {
		return diagnostics.OK(found)
	}
	if s.LocalHealth != "" {
		if a, wrong := s.network.request(ctx, http.MethodGet, s.LocalHealth, "", nil); wrong == nil && isHealthy(a) {
			return diagnostics.Failed(err.Error()+", although the server runs here ("+s.LocalHealth+")",
				"start or mend what brings "+hostPort(s.origin)+" to "+s.Config.Server.Listen+" (a proxy, a port mapping), or mend resource; if only this computer cannot reach its own public address, run this command elsewhere")
		}
	}
	const fix = "start it with the same configuration (`gatehouse serve`), or mend resource if clients dial another address"
	if !refused {
		return diagnostics.Failed(err.Error(), "see that no firewall is in between, or mend resource")
	}
	o := diagnostics.Warning("nothing listens there: the server does not run", fix)
	o.Stop = "the server does not run"
	return o
}

func isHealthy(a answer) bool {
	var body struct {
		Status string `json:"status"`
	}
	return a.status == http.StatusOK && json.Unmarshal(a.body, &body) == nil && body.Status == "healthy"
}

// isStuck reports whether an answer of /health says that only a restart helps.
func isStuck(a answer) bool {
	var body struct {
		Status string `json:"status"`
	}
	return a.status == http.StatusServiceUnavailable && json.Unmarshal(a.body, &body) == nil && body.Status == "stuck"
}

// health also tells whether it is a server of ours that answers. A proxy need not let /health through.
func (s *ownServer) health(ctx context.Context) diagnostics.Outcome {
	a, err := s.get(ctx, "/health")
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	if isHealthy(a) {
		return diagnostics.OK("healthy")
	}
	if isStuck(a) {
		return diagnostics.Failed("the server is stuck: it answers, but serves no MCP request any more",
			"restart it, and report what its log says; an orchestrator that probes /health restarts it by itself")
	}
	for _, path := range s.Config.Resource.MetadataPaths() {
		if m, err := s.get(ctx, path); err == nil && m.status == http.StatusOK && json.Valid(m.body) {
			return diagnostics.Warning("/health answered "+strconv.Itoa(a.status)+", but there is metadata of a resource", "nothing, if what stands in front keeps /health back on purpose")
		}
	}
	if noGateway(a) {
		return diagnostics.Failed(strconv.Itoa(a.status)+": what stands in front does not reach the server", "start the server, or mend the address that requests are passed on to (server.listen is "+s.Config.Server.Listen+")")
	}
	return diagnostics.Failed("something else answers: "+s.origin.String()+"/health gave "+inWords(a),
		"stop the other program or give this server another port (resource, server.listen); a proxy in front must pass all paths on to this server")
}

// noGateway reports whether a proxy answers for a server that it does not reach (RFC 9110, section 15.6).
func noGateway(a answer) bool {
	return a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout
}

// inWords is an answer without what it says.
func inWords(a answer) string {
	text := strconv.Itoa(a.status)
	if a.status >= 300 && a.status < 400 {
		return text + ", a redirect"
	}
	kind := "something that is no JSON"
	if json.Valid(a.body) {
		kind = "JSON"
	}
	if len(a.body) == 0 {
		kind = "nothing"
	}
	return text + " with " + kind
}

func (s *ownServer) ready(ctx context.Context) diagnostics.Outcome {
	a, err := s.get(ctx, "/readyz")
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	var body struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(a.body, &body) // without a reason it is not ours
	switch {
	case a.status == http.StatusOK:
		return diagnostics.OK("ready")
	case a.status != http.StatusServiceUnavailable || body.Reason == "":
		return diagnostics.Warning("/readyz gave "+inWords(a), "nothing, if what stands in front keeps /readyz back on purpose")
	case body.Reason == "stopping":
		return diagnostics.Warning("the server is about to stop", "wait, and look again")
	}
	reason := providers.Quote(body.Reason)
	if i := slices.IndexFunc(configs.Reasons(), func(r providers.ReasonDoc) bool { return string(r.Code) == body.Reason }); i >= 0 {
		reason = body.Reason + ", " + configs.Reasons()[i].Meaning
	}
	return diagnostics.Failed("not ready: "+reason, "see the checks of the provider, and whether the server's computer reaches the provider as this one does; its log has the error")
}

// get asks our server for a document.
func (s *ownServer) get(ctx context.Context, path string) (answer, error) {
	return s.network.request(ctx, http.MethodGet, s.origin.String()+path, "", map[string]string{"Accept": "application/json"})
}

// newRequestID is an id by which the operator finds a request in the server's log: the server keeps one that is
// well-formed, unless a proxy puts another in its place.
func newRequestID() string { return "doctor-" + rand.Text() }

// problem is the body of every error of our server.
type problem struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"`
}

// problemIn returns the body of an answer if it is an error that our server wrote: nobody else's has these three members.
func problemIn(a answer) (problem, bool) {
	var p problem
	err := json.Unmarshal(a.body, &p)
	return p, err == nil && p.Error != "" && p.Description != "" && p.RequestID != ""
}

// inTheLog says where the operator finds out why the server refused the request of that id.
func inTheLog(a answer, id string) string {
	if p, ours := problemIn(a); ours && p.RequestID == id {
		return "the reason stands in the server's log under " + id
	}
	return "the reason stands in the server's log"
}
