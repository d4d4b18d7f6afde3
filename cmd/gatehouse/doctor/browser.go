package doctor

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"gatehouse/providers/diagnostics"
)

// inspectorOrigin is the origin of the MCP Inspector's page by default.
const inspectorOrigin = "http://localhost:6274"

// browserOrigin returns an origin that the configuration allows: the Inspector's if possible, else the first.
// The server's own is always allowed.
func (s *serverChecks) browserOrigin() string {
	allowed := s.Settings.Server.AllowedOrigins
	switch {
	case slices.Contains(allowed, inspectorOrigin), slices.Contains(allowed, "http://localhost:*"):
		return inspectorOrigin
	case len(allowed) == 0:
		return s.Settings.Resource.Origin()
	}
	if prefix, isPattern := strings.CutSuffix(allowed[0], "*"); isPattern {
		return prefix + "6274"
	}
	return allowed[0]
}

// preflight sends what a browser sends before a page's first call (Fetch, section 4.8). A preflight has no
// token.
func (s *serverChecks) preflight(ctx context.Context) diagnostics.Outcome {
	origin := s.browserOrigin()
	requested := []string{"authorization", "content-type", "mcp-protocol-version"}
	r, err := s.network.request(ctx, http.MethodOptions, s.Settings.Resource.String(), "", map[string]string{
		"Origin": origin, "Access-Control-Request-Method": http.MethodPost,
		"Access-Control-Request-Headers": strings.Join(requested, ","),
	})
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	const fix = "have the proxy in front forward OPTIONS without requiring a token, and leave CORS to this server " +
		"alone; or allow the page's origin in server.allowed_origins of the running server"
	switch {
	case r.status == http.StatusUnauthorized:
		return diagnostics.Failed("the preflight from "+origin+" gets 401", fix)
	case r.status < 200 || r.status > 299:
		return diagnostics.Failed("the preflight from "+origin+" gets "+describe(r), fix)
	}
	var missing []string
	if !allowsOrigin(r.header, origin) {
		missing = append(missing, "Access-Control-Allow-Origin")
	}
	methods := headerList(r.header, "Access-Control-Allow-Methods")
	if !slices.Contains(methods, "post") && !slices.Contains(methods, "*") {
		missing = append(missing, "POST in Access-Control-Allow-Methods")
	}
	allowed := headerList(r.header, "Access-Control-Allow-Headers")
	for _, name := range requested {
		// "*" never covers Authorization (Fetch, section 3.3.3).
		if !slices.Contains(allowed, name) && (name == "authorization" || !slices.Contains(allowed, "*")) {
			missing = append(missing, name+" in Access-Control-Allow-Headers")
		}
	}
	if len(missing) > 0 {
		return diagnostics.Failed("the response to "+origin+" lacks "+strings.Join(missing, ", "), fix)
	}
	return diagnostics.OK("from " + origin)
}

// exposed reads the 401 as a script does: without these headers it sees neither the status nor where to sign
// in.
func (s *serverChecks) exposed(ctx context.Context) diagnostics.Outcome {
	origin := s.browserOrigin()
	r, err := s.call(ctx, map[string]string{"Origin": origin})
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	const fix = "have the proxy in front leave the server's CORS headers unchanged, on errors too"
	switch {
	case r.status != http.StatusUnauthorized:
		return diagnostics.Failed("a call from "+origin+" gets "+describe(r),
			fix+"; or allow the page's origin in server.allowed_origins of the running server")
	case !allowsOrigin(r.header, origin):
		return diagnostics.Failed("the 401 to "+origin+" has no Access-Control-Allow-Origin for it", fix)
	case !slices.Contains(headerList(r.header, "Access-Control-Expose-Headers"), "www-authenticate"):
		return diagnostics.Failed("the 401 to "+origin+" does not expose WWW-Authenticate", fix)
	}
	return diagnostics.OK("from " + origin)
}

// allowsOrigin requires the header exactly once: two layers of CORS write it twice, which browsers reject.
func allowsOrigin(h http.Header, origin string) bool {
	values := h.Values("Access-Control-Allow-Origin")
	return len(values) == 1 && (values[0] == origin || values[0] == "*")
}

// headerList returns the items of a list header in lower case.
func headerList(h http.Header, name string) []string {
	var list []string
	for item := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if item = strings.ToLower(strings.TrimSpace(item)); item != "" {
			list = append(list, item)
		}
	}
	return list
}
