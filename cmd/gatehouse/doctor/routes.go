package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/providers/diagnostics"
)

// addRouteChecks adds a check for each path of an embedded issuer that no other check requests.
func (s *serverChecks) addRouteChecks() {
	for _, r := range s.diagnosis.Routes {
		s.checks.add(check{
			name: "server.route", subject: r.Method + " " + r.Path, needs: []*check{s.reachable},
			expected: "the authorization server answers: " + strconv.Itoa(r.Status) + " to a request without parameters",
			run:      func(ctx context.Context) diagnostics.Outcome { return s.route(ctx, r) },
		})
	}
}

// route sends a request without parameters, which the issuer refuses in a way that nothing else in front does.
func (s *serverChecks) route(ctx context.Context, route diagnostics.Route) diagnostics.Outcome {
	header := map[string]string{}
	if route.Method == http.MethodPost {
		header["Content-Type"] = "application/x-www-form-urlencoded"
	}
	r, err := s.network.request(ctx, route.Method, s.origin.String()+route.Path, "", header)
	if err != nil {
		return diagnostics.Failed(err.Error(), seeLog)
	}
	fix := forwardUnchanged(route.Method + " " + route.Path)
	switch {
	case r.status == http.StatusNotFound:
		return diagnostics.Failed("404: nothing is served there", fix+
			", at exactly this path; or start the server with this provider.kind")
	case r.status == http.StatusTooManyRequests:
		return diagnostics.Warning("429: too many requests came from this address recently", "run this command again in a "+
			"minute")
	case r.status >= 300 && r.status < 400:
		return diagnostics.Failed(strconv.Itoa(r.status)+", a redirect", fix+", without a redirect or a sign-in of its own")
	case r.status != route.Status && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden):
		return diagnostics.Failed(strconv.Itoa(r.status)+": something in front requires a sign-in or refuses programs",
			fix+": this path is public, and is protected by this server")
	case !route.IsPage && issuerError(r) == "temporarily_unavailable":
		return diagnostics.OK(strconv.Itoa(r.status) + " from the authorization server, for the reason of server.ready")
	case isGatewayError(r):
		return diagnostics.Failed(strconv.Itoa(r.status)+": the proxy in front does not reach the server",
			"fix the address that the proxy forwards "+route.Path+" to (server.listen is "+s.Settings.Server.Listen+")")
	case r.status != route.Status:
		return diagnostics.Failed(describe(r), fix)
	}
	if found := unlikeIssuer(r, route); found != "" {
		return diagnostics.Failed(found, fix)
	}
	return diagnostics.OK(strconv.Itoa(r.status))
}

// unlikeIssuer returns how a response with the right status differs from those of the issuer, or "".
func unlikeIssuer(r response, route diagnostics.Route) string {
	if route.IsPage {
		switch {
		case !strings.HasPrefix(r.header.Get("Content-Type"), "text/html"):
			return describe(r) + ", and not a page of this server"
		case !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-ancestors 'none'"):
			return "a page without the Content-Security-Policy of this server"
		}
		return ""
	}
	if issuerError(r) == "" {
		return describe(r) + ", and not an error of this server"
	}
	return ""
}

// issuerError returns the code in an error response (RFC 6749, section 5.2), or "".
func issuerError(r response) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(r.body, &body) != nil {
		return ""
	}
	return body.Error
}
