package doctor

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"gatehouse/providers/diagnostics"
)

// inspectorOrigin is where the MCP Inspector's page runs unless it was told otherwise.
const inspectorOrigin = "http://localhost:6274"

// browserOrigin is an origin that the configuration allows: the Inspector's if it is among them, else the first. The
// server's own always is.
func (s *ownServer) browserOrigin() string {
	allowed := s.Config.Server.AllowedOrigins
	switch {
	case slices.Contains(allowed, inspectorOrigin), slices.Contains(allowed, "http://localhost:*"):
		return inspectorOrigin
	case len(allowed) == 0:
		return s.Config.Resource.Origin()
	}
	if prefix, isPattern := strings.CutSuffix(allowed[0], "*"); isPattern {
		return prefix + "6274"
	}
	return allowed[0]
}

// preflight asks as a browser does before a page's first call (Fetch, section 4.8). A preflight carries no token.
func (s *ownServer) preflight(ctx context.Context) diagnostics.Outcome {
	origin, asked := s.browserOrigin(), []string{"authorization", "content-type", "mcp-protocol-version"}
	a, err := s.network.request(ctx, http.MethodOptions, s.Config.Resource.String(), "", map[string]string{
		"Origin": origin, "Access-Control-Request-Method": http.MethodPost, "Access-Control-Request-Headers": strings.Join(asked, ","),
	})
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	const fix = "have what stands in front pass OPTIONS on without asking for a token, and leave CORS to this server alone; or allow the page's origin in server.allowed_origins of the running server"
	switch {
	case a.status == http.StatusUnauthorized:
		return diagnostics.Failed("the preflight from "+origin+" gets 401", fix)
	case a.status < 200 || a.status > 299:
		return diagnostics.Failed("the preflight from "+origin+" gets "+inWords(a), fix)
	}
	var wrong []string
	if !allowsOrigin(a.header, origin) {
		wrong = append(wrong, "Access-Control-Allow-Origin")
	}
	if methods := listed(a.header, "Access-Control-Allow-Methods"); !slices.Contains(methods, "post") && !slices.Contains(methods, "*") {
		wrong = append(wrong, "POST in Access-Control-Allow-Methods")
	}
	for _, name := range asked {
		allowed := listed(a.header, "Access-Control-Allow-Headers")
		// "*" never covers Authorization (Fetch, section 3.3.3).
		if !slices.Contains(allowed, name) && (name == "authorization" || !slices.Contains(allowed, "*")) {
			wrong = append(wrong, name+" in Access-Control-Allow-Headers")
		}
	}
	if len(wrong) > 0 {
		return diagnostics.Failed("the answer to "+origin+" lacks "+strings.Join(wrong, ", "), fix)
	}
	return diagnostics.OK("from " + origin)
}

// exposed looks at the 401 as a script sees it: without these headers it cannot tell that it is one, nor where to sign in.
func (s *ownServer) exposed(ctx context.Context) diagnostics.Outcome {
	origin := s.browserOrigin()
	a, err := s.call(ctx, map[string]string{"Origin": origin})
	if err != nil {
		return diagnostics.Failed(err.Error(), "see the server's log")
	}
	const fix = "have what stands in front leave CORS headers as this server writes them, also on errors"
	switch {
	case a.status != http.StatusUnauthorized:
		return diagnostics.Failed("a call from "+origin+" gets "+inWords(a), fix+"; or allow the page's origin in server.allowed_origins of the running server")
	case !allowsOrigin(a.header, origin):
		return diagnostics.Failed("the 401 to "+origin+" has no Access-Control-Allow-Origin for it", fix)
	case !slices.Contains(listed(a.header, "Access-Control-Expose-Headers"), "www-authenticate"):
		return diagnostics.Failed("the 401 to "+origin+" does not expose WWW-Authenticate", fix)
	}
	return diagnostics.OK("from " + origin)
}

// allowsOrigin wants the header exactly once: browsers refuse two, which is what two layers of CORS write.
func allowsOrigin(h http.Header, origin string) bool {
	values := h.Values("Access-Control-Allow-Origin")
	return len(values) == 1 && (values[0] == origin || values[0] == "*")
}

// listed is a header's list in lower case.
func listed(h http.Header, name string) []string {
	var list []string
	for item := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if item = strings.ToLower(strings.TrimSpace(item)); item != "" {
			list = append(list, item)
		}
	}
	return list
}
