package doctor

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers/diagnostics"
)

// reach adds the three steps on the way to a host of the provider, and returns the last.
func (e *examination) reach(o origin) *check {
	settings := strings.Join(o.settings, " and ")
	name := e.checks.add(check{name: "provider.dns", subject: o.url.Hostname(), expected: "its name resolves",
		run: e.direct(o.url, func(ctx context.Context) diagnostics.Outcome {
			found, err := e.network.resolve(ctx, o.url)
			if err != nil {
				return o.trouble(err.Error(), "mend the name ("+settings+"), or the DNS of this computer")
			}
			return diagnostics.OK(found)
		})})
	connection := e.checks.add(check{name: "provider.tcp", subject: o.url.Host, expected: "it takes connections", needs: []*check{name},
		run: e.direct(o.url, func(ctx context.Context) diagnostics.Outcome {
			found, _, err := e.network.connect(ctx, o.url)
			if err != nil {
				return o.trouble(err.Error(), "see that it runs, that the port is right ("+settings+"), and that no firewall is in between")
			}
			return diagnostics.OK(found)
		})})
	return e.checks.add(check{name: "provider.tls", subject: o.url.Host, expected: "its certificate holds", needs: []*check{connection},
		run: e.direct(o.url, e.certificate(o.url, o.trouble))})
}

// trouble is as bad as the host is needed.
func (o origin) trouble(found, fix string) diagnostics.Outcome {
	if o.needed {
		return diagnostics.Failed(found, fix)
	}
	outcome := diagnostics.Warning(found, fix+"; this is fine if only clients can reach it")
	outcome.Stop = o.url.Host + " cannot be reached from here"
	return outcome
}

// direct skips a step where a proxy takes it for us.
func (e *examination) direct(u *url.URL, run func(context.Context) diagnostics.Outcome) func(context.Context) diagnostics.Outcome {
	return func(ctx context.Context) diagnostics.Outcome {
		if proxy := e.network.viaProxy(u); proxy != "" {
			return diagnostics.Skipped("requests go through the proxy " + proxy + " (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)")
		}
		return run(ctx)
	}
}

// certificate looks at the certificate of a host. It warns two weeks ahead, when whatever renews certificates should have
// done so.
func (e *examination) certificate(u *url.URL, trouble func(found, fix string) diagnostics.Outcome) func(context.Context) diagnostics.Outcome {
	return func(ctx context.Context) diagnostics.Outcome {
		if u.Scheme != "https" {
			return diagnostics.Skipped("it is plain http")
		}
		version, until, err := e.network.handshake(ctx, u)
		if err != nil {
			return trouble(err.Error(), "renew or replace the certificate; an authority of your own must be known to this computer (SSL_CERT_FILE names a file with it)")
		}
		found := version + ", certificate good until " + until.UTC().Format(time.DateOnly)
		if time.Until(until) < 14*24*time.Hour {
			return diagnostics.Warning(found, "renew it; see why that did not happen by itself")
		}
		return diagnostics.OK(found)
	}
}

// origins are the hosts that the provider's facts name, each once, in their order.
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
	for _, a := range e.diagnosis.Authorities {
		for _, place := range a.MetadataURLs {
			add(place, a.Setting, a.ForServer)
		}
	}
	if !e.diagnosis.Keyless {
		add(e.diagnosis.Keys.URL, e.diagnosis.Keys.Setting, true)
	}
	if e.diagnosis.Introspect != nil {
		add(e.diagnosis.Introspection.URL, e.diagnosis.Introspection.Setting, true)
	}
	return list
}
