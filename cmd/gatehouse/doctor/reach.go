package doctor

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

type runFunc = func(context.Context) diagnostics.Outcome

// addReachChecks adds the three steps of connecting to a host of the provider, and returns the last.
func (e *examination) addReachChecks(o origin) *check {
	settings := strings.Join(o.settings, " and ")
	dns := e.checks.add(check{
		name: "provider.dns", subject: o.url.Hostname(), expected: "its name resolves",
		run: e.unlessProxied(o.url, func(ctx context.Context) diagnostics.Outcome {
			found, err := e.network.resolve(ctx, o.url)
			if err != nil {
				return o.unreachable(err.Error(), "fix the name ("+settings+"), or the DNS of this computer")
			}
			return diagnostics.OK(found)
		}),
	})
	tcp := e.checks.add(check{
		name: "provider.tcp", subject: o.url.Host, expected: "it accepts connections", needs: []*check{dns},
		run: e.unlessProxied(o.url, func(ctx context.Context) diagnostics.Outcome {
			found, _, err := e.network.connect(ctx, o.url)
			if err != nil {
				return o.unreachable(err.Error(),
					"check that it runs, that the port is right ("+settings+"), and that no firewall blocks it")
			}
			return diagnostics.OK(found)
		}),
	})
	return e.checks.add(check{
		name: "provider.tls", subject: o.url.Host, expected: "its certificate is valid", needs: []*check{tcp},
		run: e.unlessProxied(o.url, e.certificate(o.url, settings, o.unreachable)),
	})
}

// unreachable is a failure if this server needs the host, and a warning otherwise.
func (o origin) unreachable(found, fix string) diagnostics.Outcome {
	if o.needed {
		return diagnostics.Failed(found, fix)
	}
	outcome := diagnostics.Warning(found, fix+"; no fix is needed if only clients can reach it")
	outcome.Stop = o.url.Host + " cannot be reached from here"
	return outcome
}

// unlessProxied skips a step that a proxy takes instead of this program.
func (e *examination) unlessProxied(u *url.URL, run runFunc) runFunc {
	return func(ctx context.Context) diagnostics.Outcome {
		if proxy := e.network.proxyFor(u); proxy != "" {
			return diagnostics.Skipped("requests go through the proxy " + proxy +
				" (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)")
		}
		return run(ctx)
	}
}

// renewalTime is how long before it expires a certificate should have been renewed.
const renewalTime = 14 * 24 * time.Hour

// certificate checks the certificate of a host, and warns if it expires soon. The host is in setting.
func (e *examination) certificate(
	u *url.URL, setting string, invalid func(found, fix string) diagnostics.Outcome,
) runFunc {
	return func(ctx context.Context) diagnostics.Outcome {
		if u.Scheme != "https" {
			return diagnostics.Skipped("it is plain http")
		}
		version, expires, err := e.network.handshake(ctx, u)
		switch {
		case errors.Is(err, errPlainHTTP) && providers.IsLoopback(u.Hostname()):
			return invalid(err.Error(), "write http:// instead of https:// in "+setting+
				", or have it serve https on this port")
		case errors.Is(err, errPlainHTTP):
			return invalid(err.Error(), "have it serve https on this port, or put a proxy with TLS in front and write its "+
				"port in "+setting+"; plain http is allowed on this computer and for hosts in provider.http_allowed_hosts")
		case err != nil:
			return invalid(err.Error(), "renew or replace the certificate; a private certificate authority must be "+
				"trusted on this computer (SSL_CERT_FILE names a file with its certificate)")
		}
		found := version + ", certificate valid until " + expires.UTC().Format(time.DateOnly)
		if time.Until(expires) < renewalTime {
			return diagnostics.Warning(found, "renew it, and check why it was not renewed automatically")
		}
		return diagnostics.OK(found)
	}
}

// origins are the origins in the diagnosis, each once, in their order.
func (e *examination) origins() []origin {
	var list []origin
	add := func(address, setting string, needed bool) {
		u, ok := originOf(address)
		if !ok {
			return
		}
		i := slices.IndexFunc(list, func(o origin) bool { return *o.url == *u })
		if i < 0 {
			i = len(list)
			list = append(list, origin{url: u})
		}
		list[i].needed = list[i].needed || needed
		if !slices.Contains(list[i].settings, setting) {
			list[i].settings = append(list[i].settings, setting)
		}
	}
	d := e.diagnosis
	for _, a := range d.Authorities {
		for _, address := range a.MetadataURLs {
			add(address, a.Setting, a.ForServer)
		}
	}
	if !d.Keyless {
		add(d.Keys.URL, d.Keys.Setting, true)
	}
	if d.Introspect != nil {
		add(d.Introspection.URL, d.Introspection.Setting, true)
	}
	return list
}
