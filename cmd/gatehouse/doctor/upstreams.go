package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// upstreamChecks are the checks of one upstream.
type upstreamChecks struct {
	*examination
	settings upstream.Settings
	// looked is closed when found and err are set.
	looked chan struct{}
	found  *upstream.Found // nil after an error
	err    error
	// started is the check that it answers.
	started *check
}

// newUpstreamChecks starts all upstreams, which takes a while, and returns a function that ends them.
func (e *examination) newUpstreamChecks(ctx context.Context) (end func()) {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	var looking sync.WaitGroup
	for _, s := range e.Settings.Upstreams {
		u := &upstreamChecks{examination: e, settings: s, looked: make(chan struct{})}
		e.upstreams = append(e.upstreams, u)
		looking.Go(func() {
			defer close(u.looked)
			u.found, u.err = upstream.Look(ctx, s, e.Upstreams)
		})
	}
	return func() {
		cancel()
		looking.Wait()
	}
}

// addUpstreamChecks adds the checks of the upstreams. The server publishes the keys with which some of them verify
// callers.
func (e *examination) addUpstreamChecks(server *serverChecks) {
	for _, u := range e.upstreams {
		u.add(server)
	}
	for _, u := range e.upstreams { // the names of one may be those of another
		u.addCheck("names", "the names of the tools are those of no other, and of a form that clients accept", u.names,
			u.started)
	}
}

func (u *upstreamChecks) add(server *serverChecks) {
	var first *check
	if u.settings.URL == "" {
		first = u.addCheck("command", "the program exists, and what it downloads is of one version", u.command)
		u.addCheck("env", "no secret is in the configuration", u.env)
	} else {
		first = u.addCheck("url", "its addresses are allowed, and it does not redirect", u.url)
	}
	u.started = u.addCheck("start", "it answers as an MCP server", u.start, first)
	u.started.takesLong = true
	u.addCheck("tools", "each pattern matches a tool, and each tool has a line", u.tools, u.started)
	if u.settings.Pinned != nil {
		u.addCheck("pins", "the definitions of the tools are the pinned ones", u.pins, u.started)
	}
	u.addCheck("identity", "the upstream, or a scope, tells callers apart", u.identity)
	if u.settings.Identity == upstream.IdentityJWT {
		u.addCheck("keys", "the server publishes the key that signs the tokens for the upstream", u.keys, server.reachable)
	}
}

// result returns what the upstream said about itself; nil if there is nothing yet.
func (u *upstreamChecks) result() *upstream.Found {
	select {
	case <-u.looked:
		return u.found
	default:
		return nil
	}
}

func (u *upstreamChecks) addCheck(name, expected string, run runFunc, needs ...*check) *check {
	subject := ""
	if name == "command" || name == "url" {
		subject = providers.Printable(u.settings.Target(), maxTarget)
	}
	return u.checks.add(check{
		name: "upstream." + u.settings.Name + "." + name, subject: subject, expected: expected, needs: needs, run: run,
	})
}

const maxTarget = 200

// setting returns the key of a setting of the upstream.
func (u *upstreamChecks) setting(name string) string {
	return "upstreams." + u.settings.Name + "." + name
}

func (u *upstreamChecks) command(context.Context) diagnostics.Outcome {
	if err := upstream.CheckProgram(u.settings.Command[0]); err != nil {
		return diagnostics.Failed(err.Error(), "install it where the server runs, or fix "+u.setting("command"))
	}
	if name := u.settings.Command.Unpinned(); name != "" {
		return diagnostics.Warning(providers.Quote(name)+" is whatever version is the newest: code that was not reviewed, "+
			"and no start without the network", "add a version, such as @1.2.3 with npx or ==1.2.3 with uvx")
	}
	return diagnostics.OK("it exists")
}

// env warns of secrets in the profile, in variables and in flags, where more people see them than in a file.
func (u *upstreamChecks) env(context.Context) diagnostics.Outcome {
	var found []string
	for _, variable := range u.settings.Env {
		if name, value, _ := strings.Cut(variable, "="); value != "" && upstream.IsSecretName(name) {
			found = append(found, "the variable "+name)
		}
	}
	for i, shown := range u.settings.Command.Redacted() {
		if shown != u.settings.Command[i] {
			found = append(found, "argument "+strconv.Itoa(i))
		}
	}
	if len(found) > 0 {
		return diagnostics.Warning(list(found)+" looks like a secret",
			"write it as NAME=VALUE into a file that "+u.setting("env_file")+" names, from where the program gets it as a "+
				"variable; every user of the computer can read arguments")
	}
	return diagnostics.OK(fmt.Sprintf("%d variables besides those of every process", len(u.settings.Environ())))
}

func (u *upstreamChecks) url(ctx context.Context) diagnostics.Outcome {
	reached, err := upstream.Reach(ctx, u.settings, u.Upstreams)
	if forbidden, ok := errors.AsType[*upstream.AddressError](err); ok {
		return diagnostics.Failed(forbidden.Error(), "fix "+u.setting("url")+" or the DNS; http is for loopback and private "+
			"networks only")
	}
	if err != nil {
		return diagnostics.Failed(token.DescribeNetworkError(err), "start it, or fix "+u.setting("url")+
			"; it is reached directly, without a proxy")
	}
	var addrs []string
	for _, addr := range reached.Addresses {
		addrs = append(addrs, addr.String())
	}
	if reached.Location != "" || reached.Status >= 300 && reached.Status < 400 {
		return diagnostics.Failed(fmt.Sprintf("%d, a redirect to %s, which is not followed: it would take the credential "+
			"with it", reached.Status, providers.Quote(reached.Location)),
			"set "+u.setting("url")+" to the last address, if that is meant")
	}
	return diagnostics.OK("at " + list(addrs))
}

func (u *upstreamChecks) start(ctx context.Context) diagnostics.Outcome {
	select {
	case <-u.looked:
	case <-ctx.Done():
		return diagnostics.Failed("no answer in time", "a program that is downloaded needs longer the first time: set a "+
			"longer --timeout; `gatehouse upstream list` shows what it writes")
	}
	if u.err != nil {
		return u.notStarted()
	}
	who := "a server without a name"
	if u.found.Server != "" {
		who = providers.Quote(u.found.Server)
	}
	return diagnostics.OK(fmt.Sprintf("%s, MCP %s, ready after %s", who, u.found.Era,
		u.found.Took.Round(time.Millisecond)))
}

func (u *upstreamChecks) notStarted() diagnostics.Outcome {
	cause := u.err
	failed, isStart := errors.AsType[*upstream.StartError](u.err)
	if isStart {
		cause = failed.Err
	}
	found := providers.Printable(cause.Error(), maxCause)
	isUnauthorized := isStart && (failed.Status() == http.StatusUnauthorized || failed.Status() == http.StatusForbidden)
	switch {
	case isUnauthorized && u.settings.Identity == upstream.IdentityJWT:
		return diagnostics.Failed(found, "it refuses the token of this server: it must accept the issuer "+
			u.Settings.Resource.String()+", the audience "+u.settings.URL+" and the keys at "+u.keysURL()+
			u.ownKeyHint())
	case isStart && failed.Status() == http.StatusServiceUnavailable && u.settings.Identity == upstream.IdentityJWT:
		return diagnostics.Failed(found, "start this server: the upstream may lack its keys, at "+u.keysURL())
	case !isStart:
		return diagnostics.Failed(found, "`gatehouse upstream list` may show more")
	case u.settings.URL == "":
		return diagnostics.Failed(found, "`gatehouse upstream list` shows what it wrote to stderr; "+failed.Fix(u.settings))
	}
	return diagnostics.Failed(found, failed.Fix(u.settings))
}

// ownKeyHint says that only the server itself has the key that it made at its start.
func (u *upstreamChecks) ownKeyHint() string {
	if u.Settings.UpstreamKey.KeyFile == "" {
		return "; without upstreams.key_file, this command has another key than the server"
	}
	return ""
}

const maxCause = 300

// maxListed is how many names a text has.
const maxListed = 5

// list joins names.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return limited(names, ", ")
}

func limited(all []string, separator string) string {
	text := strings.Join(all[:min(len(all), maxListed)], separator)
	if more := len(all) - maxListed; more > 0 {
		text += fmt.Sprintf("%sand %d more", separator, more)
	}
	return text
}
