package doctor

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/server"
)

// listTools is tools/list of MCP 2026-07-28, which needs no session.
const listTools = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"gatehouse-doctor","version":"1"}}}}`

// call asks our server for its tools, as an MCP client does.
func (s *ownServer) call(ctx context.Context, more map[string]string) (answer, error) {
	header := map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
	}
	for name, value := range more {
		header[name] = value
	}
	return s.network.request(ctx, http.MethodPost, s.Config.Resource.String(), listTools, header)
}

// host makes the request without a token that the next checks look at too. The server refuses a Host header that is not
// its own, against DNS rebinding, and says so to nobody but its log. From outside it can be told nevertheless: no other
// rule answers 403 to a request without Origin and token.
func (s *ownServer) host(ctx context.Context) diagnostics.Outcome {
	id := newRequestID()
	a, err := s.call(ctx, map[string]string{"X-Request-Id": id})
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	s.refused = a
	if _, ours := problemIn(a); ours && a.status == http.StatusForbidden {
		return diagnostics.Failed("the server answered 403, as it does to a Host header that is not "+s.Config.Resource.Host()+" ("+string(server.ReasonHostRefused)+")",
			"have the proxy pass the Host header on (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On; Traefik: passHostHeader), or set resource to the URL that clients dial; what arrived: "+inTheLog(a, id))
	}
	return diagnostics.OK("arrives as it was sent")
}

func (s *ownServer) refusal(context.Context) diagnostics.Outcome {
	switch a := s.refused; {
	case a.status == http.StatusUnauthorized:
		return diagnostics.OK("401 without a token")
	case a.status < 300:
		return diagnostics.Failed("it is answered: whatever answers at "+s.Config.Resource.String()+" asks for no token", "see what is in front, and whether this is our server; do not let anybody use it until then")
	case a.status < 400:
		return diagnostics.Failed(strconv.Itoa(a.status)+", a redirect", "have what stands in front pass "+s.Config.Resource.Path()+" on as it is; clients do not carry a token to another address")
	case a.status == http.StatusNotFound:
		return diagnostics.Failed("404: nothing is served at "+s.Config.Resource.Path(), "have what stands in front pass this very path on (a rule for /mcp/* does not match /mcp), or start the server with this resource")
	case noGateway(a):
		return diagnostics.Failed(strconv.Itoa(a.status)+": what stands in front does not reach the server", "start the server, or mend the address that "+s.Config.Resource.Path()+" is passed on to")
	default:
		return diagnostics.Failed(inWords(a), "something in front refuses the request, such as bot protection or a login page: let POST to "+s.Config.Resource.Path()+" through")
	}
}

func (s *ownServer) challenge(context.Context) diagnostics.Outcome {
	if len(s.refused.header.Values("WWW-Authenticate")) == 0 {
		return diagnostics.Failed("the 401 has no WWW-Authenticate, which the server always sends", "have what stands in front pass WWW-Authenticate on, and not answer 401 by itself; without it most clients never start to sign in")
	}
	return diagnostics.OK("WWW-Authenticate arrives")
}

func (s *ownServer) challengeContent(context.Context) diagnostics.Outcome {
	const fix = "start the server with this configuration; a proxy must not rewrite WWW-Authenticate, and every 401 must come from the server"
	parameters, err := bearerChallenge(s.refused.header.Values("WWW-Authenticate"))
	if err != nil {
		return diagnostics.Failed(err.Error(), fix)
	}
	want := map[string]string{"resource_metadata": s.Config.Resource.MetadataURL()}
	if s.known {
		want["scope"] = strings.Join(s.wanted().ScopesSupported, " ")
	}
	var expected, found []string
	for _, name := range []string{"resource_metadata", "scope"} {
		if value, compared := want[name]; compared && parameters[name] != value {
			expected, found = append(expected, name+" "+providers.Quote(value)), append(found, name+" "+providers.Quote(parameters[name]))
		}
	}
	if _, has := parameters["error"]; has {
		expected, found = append(expected, "no error, since no token was sent"), append(found, "error "+providers.Quote(parameters["error"]))
	}
	if len(found) > 0 {
		o := diagnostics.Failed(strings.Join(found, "; "), fix)
		o.Expected = strings.Join(expected, "; ")
		return o
	}
	return diagnostics.OK("leads to " + parameters["resource_metadata"] + ", names " + providers.Quote(parameters["scope"]))
}

// bearerChallenge returns the parameters of the one Bearer challenge (RFC 9110, section 11.6.1), read as strictly as by the
// strictest clients: quoted strings only, and no parameter twice.
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
				return nil, errors.New("the challenge cannot be read")
			}
			parameters[name] = value
			rest = strings.TrimSpace(after)
			if rest != "" {
				if rest, found = strings.CutPrefix(rest, ","); !found {
					return nil, errors.New("the challenge cannot be read")
				}
				rest = strings.TrimSpace(rest)
			}
		}
		return parameters, nil
	}
	return nil, errors.New("there is no Bearer challenge in it")
}

func cutScheme(field string) (rest string, found bool) {
	const scheme = "bearer "
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return "", false
	}
	return field[len(scheme):], true
}

// cutQuoted takes a quoted-string (RFC 9110, section 5.6.4) off the front.
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
