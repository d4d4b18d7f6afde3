package doctor

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/server"
)

// listTools is tools/list of MCP 2026-07-28, which needs no session.
const listTools = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` +
	`"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientCapabilities":{},` +
	`"io.modelcontextprotocol/clientInfo":{"name":"gatehouse-doctor","version":"1"}}}}`

// call requests tools/list of the server, as an MCP client does, with additional headers.
func (s *serverChecks) call(ctx context.Context, additional map[string]string) (response, error) {
	header := map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
	}
	maps.Copy(header, additional)
	return s.network.request(ctx, http.MethodPost, s.Settings.Resource.String(), listTools, header)
}

// host makes the request without a token that the following checks evaluate, too. The server refuses a wrong
// Host header, against DNS rebinding, and gives the reason in its log only. It can be recognized from outside:
// no other rule answers 403 to a request without Origin and token.
func (s *serverChecks) host(ctx context.Context) diagnostics.Outcome {
	id := newRequestID()
	r, err := s.call(ctx, map[string]string{"X-Request-Id": id})
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	s.unauthorized = r
	if _, ok := errorOf(r); ok && r.status == http.StatusForbidden {
		return s.hostRefused(logHint(r, id))
	}
	return diagnostics.OK("arrives unchanged")
}

func (s *serverChecks) hostRefused(hint string) diagnostics.Outcome {
	return diagnostics.Failed("the server answered 403, as it does to a Host header other than "+
		s.Settings.Resource.Host()+" ("+string(server.ReasonHostRefused)+")",
		"have the proxy forward the Host header (nginx: proxy_set_header Host $http_host; Apache: "+
			"ProxyPreserveHost On; Traefik: passHostHeader), or set resource to the URL that clients use; "+hint)
}

// hostAlone is host for an authorization server alone. It requests a path that is not served, where a right Host header
// gets 404: the documents are served under every name.
func (s *serverChecks) hostAlone(ctx context.Context) diagnostics.Outcome {
	id := newRequestID()
	r, err := s.network.request(ctx, http.MethodGet, s.origin.String()+"/"+id, "", map[string]string{
		"Accept": "application/json", "X-Request-Id": id})
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	if _, ok := errorOf(r); ok && r.status == http.StatusForbidden {
		return s.hostRefused(logHint(r, id))
	}
	return diagnostics.OK("arrives unchanged")
}

func (s *serverChecks) refusal(context.Context) diagnostics.Outcome {
	path := s.Settings.Resource.Path()
	switch r := s.unauthorized; {
	case r.status == http.StatusUnauthorized:
		return diagnostics.OK("401 without a token")
	case r.status < 300:
		return diagnostics.Failed("it succeeds: the program at "+s.Settings.Resource.String()+" requires no token",
			"check what is in front, and whether this is the server; do not use it until then")
	case r.status < 400:
		return diagnostics.Failed(strconv.Itoa(r.status)+", a redirect", "have the proxy in front forward "+path+
			" without a redirect; clients do not send a token to another address")
	case r.status == http.StatusNotFound:
		return diagnostics.Failed("404: nothing is served at "+path,
			"have the proxy in front forward exactly this "+
				"path (a rule for /mcp/* does not match /mcp), or start the server with this resource"+s.orAlone())
	case isGatewayError(r):
		return diagnostics.Failed(strconv.Itoa(r.status)+": the proxy in front does not reach the server",
			"start the server, or fix the address that the proxy forwards "+path+" to")
	default:
		return diagnostics.Failed(describe(r),
			"something in front refuses the request, such as bot protection or a "+
				"login page: let POST to "+path+" through")
	}
}

// orAlone is the end of a fix for what an authorization server alone lacks.
func (e *examination) orAlone() string {
	if !e.diagnosis.FreeRegistration {
		return ""
	}
	return "; if `gatehouse broker` runs there, run this command with --broker"
}

func (s *serverChecks) challenge(context.Context) diagnostics.Outcome {
	if len(s.unauthorized.header.Values("WWW-Authenticate")) == 0 {
		return diagnostics.Failed("the 401 has no WWW-Authenticate, which the server always sends",
			"have the proxy in front forward WWW-Authenticate, and not answer 401 itself; without it most clients do "+
				"not start to sign in")
	}
	return diagnostics.OK("WWW-Authenticate arrives")
}

func (s *serverChecks) challengeContent(context.Context) diagnostics.Outcome {
	const fix = "start the server with this configuration; a proxy must not rewrite WWW-Authenticate, and every 401 " +
		"must come from the server"
	parameters, err := bearerChallenge(s.unauthorized.header.Values("WWW-Authenticate"))
	if err != nil {
		return diagnostics.Failed(err.Error(), fix)
	}
	want := map[string]string{"resource_metadata": s.Settings.Resource.MetadataURL()}
	if s.openError == nil {
		want["scope"] = strings.Join(s.diagnosis.Metadata.ScopesSupported, " ")
	}
	var expected, found []string
	for _, name := range []string{"resource_metadata", "scope"} {
		if value, compared := want[name]; compared && parameters[name] != value {
			expected = append(expected, name+" "+providers.Quote(value))
			found = append(found, name+" "+providers.Quote(parameters[name]))
		}
	}
	if value, has := parameters["error"]; has {
		expected = append(expected, "no error, because no token was sent")
		found = append(found, "error "+providers.Quote(value))
	}
	if len(found) > 0 {
		o := diagnostics.Failed(strings.Join(found, "; "), fix)
		o.Expected = strings.Join(expected, "; ")
		return o
	}
	return diagnostics.OK("resource_metadata " + parameters["resource_metadata"] + ", scope " +
		providers.Quote(parameters["scope"]))
}

var (
	errChallengeSyntax   = errors.New("the challenge cannot be parsed")
	errNoBearerChallenge = errors.New("it has no Bearer challenge")
)

// bearerChallenge returns the parameters of the Bearer challenge (RFC 9110, section 11.6.1). It parses as
// strictly as the strictest clients: quoted strings only, and no parameter twice.
func bearerChallenge(fields []string) (map[string]string, error) {
	for _, field := range fields {
		rest, found := cutScheme(field)
		if !found {
			continue
		}
		parameters := map[string]string{}
		for rest = strings.TrimSpace(rest); rest != ""; {
			name, after, found := strings.Cut(rest, "=")
			value, after, closed := cutQuoted(after)
			name = strings.ToLower(strings.TrimSpace(name))
			_, twice := parameters[name]
			if !found || !closed || name == "" || twice || strings.ContainsAny(name, " ,\"") {
				return nil, errChallengeSyntax
			}
			parameters[name] = value
			rest = strings.TrimSpace(after)
			if rest != "" {
				if rest, found = strings.CutPrefix(rest, ","); !found {
					return nil, errChallengeSyntax
				}
				rest = strings.TrimSpace(rest)
			}
		}
		return parameters, nil
	}
	return nil, errNoBearerChallenge
}

func cutScheme(field string) (rest string, found bool) {
	const scheme = "bearer "
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return "", false
	}
	return field[len(scheme):], true
}

// cutQuoted cuts a quoted-string (RFC 9110, section 5.6.4) from the front of s.
func cutQuoted(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimSpace(s), `"`)
	if !ok {
		return "", "", false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
