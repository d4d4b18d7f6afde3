package doctor

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// refusal describes how an address answers a plain GET, for the fix of a check that could not read a document
// there.
type refusal struct {
	address string
	status  int // 0 without a response
	// isTLS is set if the port of an http address speaks TLS.
	isTLS bool
}

// The Accept headers of the server's requests.
const (
	acceptMetadata = "application/json"
	acceptKeys     = "application/jwk-set+json, application/json"
)

// refusalsOf requests each address as the server does.
func (e *examination) refusalsOf(ctx context.Context, accept string, addresses ...string) []refusal {
	refusals := make([]refusal, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() {
			r, err := e.network.request(ctx, http.MethodGet, address, "", map[string]string{"Accept": accept})
			refusals[i] = refusal{address: address}
			if err == nil {
				refusals[i].status = r.status
			}
			if err != nil || r.status == http.StatusBadRequest { // what a TLS server answers, if it answers at all
				refusals[i].isTLS = e.speaksTLS(ctx, address)
			}
		})
	}
	wg.Wait()
	return refusals
}

// speaksTLS reports whether the port of an http address speaks TLS, whatever its certificate.
func (e *examination) speaksTLS(ctx context.Context, address string) bool {
	u, ok := originOf(address)
	if !ok || u.Scheme != "http" || e.network.proxyFor(u) != "" {
		return false
	}
	return e.network.isTLS(ctx, u)
}

// everyIs reports whether all refusals have one of the statuses.
func everyIs(refusals []refusal, statuses ...int) bool {
	return len(refusals) > 0 &&
		!slices.ContainsFunc(refusals, func(r refusal) bool { return !slices.Contains(statuses, r.status) })
}

// filterStatuses are what a firewall, bot protection or a strict negotiation answers to a program.
var filterStatuses = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable, http.StatusProxyAuthRequired,
	http.StatusUnavailableForLegalReasons,
}

// causeFix returns the fix for a document that could not be read, if the refusals show the cause: setting is
// where the addresses come from. what names the document.
func (e *examination) causeFix(refusals []refusal, setting, what string) (found, fix string, ok bool) {
	switch i := slices.IndexFunc(refusals, func(r refusal) bool { return r.isTLS }); {
	case i >= 0:
		return "it speaks TLS, and the address is plain http",
			"write https:// instead of http:// in " + setting, true
	case everyIs(refusals, filterStatuses...):
		agent := ""
		if name := e.ServerInfo.UserAgent; name != "" {
			agent = " (User-Agent " + name + ")"
		}
		return "every request is refused with " + statusesOf(refusals),
			"something in front of the provider refuses programs, such as a firewall or bot protection: have it let " +
				"requests for " + what + " through, from this computer and for this program" + agent +
				"; `curl -i " + refusals[0].address + "` on this computer shows its response", true
	}
	return "", "", false
}

// statusesOf returns the distinct statuses.
func statusesOf(refusals []refusal) string {
	var texts []string
	for _, r := range refusals {
		texts = append(texts, strconv.Itoa(r.status))
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ", ")
}

// plainHTTPFix is the fix if the provider publishes an http address in an internal network, as in a compose
// file; "" if address is none.
func plainHTTPFix(address, setting string) string {
	if !isInnerHTTP(address) {
		return ""
	}
	u, _ := originOf(address)
	return "if the network to " + providers.Quote(u.Host) + " is your own, add that host to " +
		"provider.http_allowed_hosts; otherwise set " + setting + " to an https address, or have the provider publish one"
}

// isInnerHTTP reports whether address is plain http at another computer.
func isInnerHTTP(address string) bool {
	u, ok := originOf(address)
	return ok && u.Scheme == "http" && !providers.IsLoopback(u.Hostname())
}

// redirectFix is the fix if the document at address is behind a redirect, which the server does not follow:
// the other host would choose the keys.
func redirectFix(err error, setting string) (found, fix string, ok bool) {
	redirect, ok := errors.AsType[*token.RedirectError](err)
	if !ok || redirect.Location == "" {
		return "", "", false
	}
	target := providers.Quote(redirect.Location)
	return "it redirects to " + target,
		"set " + setting + " to " + target + " if that is the provider's: this server follows no redirect", true
}

// keysFailed returns the outcome of reading the keys at address, which failed with err. It is otherwise,
// unless the response shows the cause.
func (p *providerChecks) keysFailed(
	ctx context.Context, err error, address string, otherwise diagnostics.Outcome,
) diagnostics.Outcome {
	const setting = "provider.jwks_url"
	found, fix, ok := redirectFix(err, setting)
	if !ok {
		found, fix, ok = p.causeFix(p.refusalsOf(ctx, acceptKeys, address), setting, "the keys")
	}
	if !ok {
		return otherwise
	}
	return diagnostics.Failed("at "+providers.Quote(address)+": "+found, fix)
}
