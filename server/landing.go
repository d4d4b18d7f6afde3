package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// landingPage serves a page to a browser that opens the MCP URL or the origin. It says what this server is
// and how to connect. The page contains only what the public metadata contains. MCP clients never ask for
// HTML.
func landingPage(c Config, p providers.Provider, pages pages) echo.MiddlewareFunc {
	landing := newLanding(c.Resource, p.Metadata().ResourceName)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			isLanding := ctx.Path() == c.Resource.Path() ||
				ctx.Request().URL.Path == "/" && !isRegistered(ctx)
			if !isLanding || !fromBrowser(ctx.Request()) {
				return next(ctx)
			}
			ctx.Response().Header().Add("Vary", "Accept, Authorization")
			return pages.landing(ctx, landing)
		}
	}
}

// landing is the data of the landing page.
type landing struct {
	Name, ShortName  string // ShortName is the server's name in the commands
	URL, MetadataURL string
	// Public reports that services on the internet may be able to reach the server.
	Public bool
}

func newLanding(resource providers.Resource, name string) landing {
	if name == "" {
		name = "MCP server"
	}
	return landing{
		Name: name, ShortName: shortName(name), URL: resource.String(), MetadataURL: resource.MetadataURL(),
		Public: mayBePublic(resource),
	}
}

// shortName turns a name into one that clients accept and shells do not interpret.
func shortName(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if len(words) == 0 {
		return "server"
	}
	return strings.Join(words, "-")
}

// mayBePublic reports whether services on the internet could connect to a resource. It is false for loopback
// and private addresses, and true for host names, because a name does not show whether it is public.
func mayBePublic(resource providers.Resource) bool {
	if resource.IsLoopback() {
		return false
	}
	ip, err := netip.ParseAddr(strings.Trim(resource.Hostname(), "[]"))
	return err != nil || ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// fromBrowser reports whether r is a browser's navigation: a GET that accepts HTML, without a token, and not
// for an event stream, which is what MCP clients GET.
func fromBrowser(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	accept := r.Header.Get(echo.HeaderAccept)
	return strings.Contains(accept, "text/html") && !strings.Contains(accept, "text/event-stream") &&
		r.Header.Get(echo.HeaderAuthorization) == ""
}
