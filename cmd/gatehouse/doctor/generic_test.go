package doctor_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// corp is the settings of a kind without a diagnosis of its own.
type corp struct {
	domain string
	fails  bool
}

func (corp) Validate(providers.Resource, func(providers.Problem)) {}

func (c corp) Open(_ context.Context, info providers.ServerInfo) (providers.Provider, error) {
	if c.fails {
		return nil, errors.New("the domain has no key set")
	}
	return corpProvider{info.Metadata(c.domain)}, nil
}

type corpProvider struct{ metadata providers.Metadata }

func (p corpProvider) Metadata() providers.Metadata { return p.metadata }

func (p corpProvider) Verify(context.Context, string) (*providers.Identity, error) {
	return nil, providers.ErrUnavailable
}

// embeddedCorp is a kind whose issuer is a part of the server.
type embeddedCorp struct{ corp }

func (c embeddedCorp) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	p, err := c.corp.Open(ctx, info)
	return embeddedProvider{p}, err
}

type embeddedProvider struct{ providers.Provider }

func (embeddedProvider) Routes() []providers.Route {
	return []providers.Route{{Path: "/token", Handler: http.NotFoundHandler()}}
}

// newLocal returns an environment with a running server of kind local.
func newLocal(t *testing.T) *env {
	e := newEnv(t)
	e.noProvider = true
	e.settings["provider.kind"] = "local"
	return e.open()
}

// A kind without a diagnosis of its own is checked by the metadata that every provider has. It never passes
// without a warning, and fails with a server that sends clients to another authorization server.
func TestKindWithoutDiagnosisIsCheckedByItsMetadata(t *testing.T) {
	const diagnosis, metadata = "provider.diagnosis warning", "server.metadata failed"
	for name, c := range map[string]struct {
		// change returns the settings of the kind.
		change func(e *env, authorizationServer *faultProxy) providers.Settings
		want   []string
	}{
		"the running server is a local demo": {func(_ *env, as *faultProxy) providers.Settings {
			return corp{domain: as.URL}
		}, []string{diagnosis, metadata}},
		"its authorization server has no metadata": {func(_ *env, as *faultProxy) providers.Settings {
			as.intercept = respond("", 404, "text/html", "")
			return corp{domain: as.URL}
		}, []string{diagnosis, "provider.metadata failed", metadata}},
		"its authorization server names another issuer": {func(_ *env, as *faultProxy) providers.Settings {
			as.rewrite = setMember(metadataMark, "issuer", "https://other.example")
			return corp{domain: as.URL}
		}, []string{diagnosis, "provider.issuer failed", metadata}},
		"its authorization server has no PKCE": {func(_ *env, as *faultProxy) providers.Settings {
			as.rewrite = setMember(metadataMark, "code_challenge_methods_supported", nil)
			return corp{domain: as.URL}
		}, []string{diagnosis, "provider.pkce failed", metadata}},
		"its authorization server is down": {func(_ *env, as *faultProxy) providers.Settings {
			as.Close()
			return corp{domain: as.URL}
		}, []string{diagnosis, "provider.tcp warning", metadata}},
		"the running server has its metadata": {func(e *env, _ *faultProxy) providers.Settings {
			return corp{domain: e.proxy.URL}
		}, []string{diagnosis}},
		"the running server has its metadata and its issuer": {func(e *env, _ *faultProxy) providers.Settings {
			return embeddedCorp{corp{domain: e.proxy.URL}}
		}, []string{diagnosis}},
		"the running server has another resource": {func(e *env, _ *faultProxy) providers.Settings {
			e.proxy.rewrite = setMember(resourceMark, "resource", "https://other.example/mcp")
			return corp{domain: e.proxy.URL}
		}, []string{diagnosis, metadata}},
		"its provider cannot be opened": {func(_ *env, as *faultProxy) providers.Settings {
			return corp{domain: as.URL, fails: true}
		}, []string{"provider.diagnosis failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newLocal(t)
			as := newEnv(t)
			as.noServer = true
			as.open() // a running authorization server of its own
			e.change(func() { e.config.Settings.Provider = c.change(e, as.provider) })
			e.config.Settings.Kind = "corp"
			results := e.examine()
			want := slices.Sorted(slices.Values(c.want))
			if got := problems(results); !slices.Equal(got, want) {
				t.Errorf("found %v, want %v:\n%s", got, want, text(results))
			}
			for _, name := range []string{"server.health", "server.refusal", "server.preflight"} {
				if r := find(results, name); r.Verdict != diagnostics.VerdictOK {
					t.Errorf("%+v", r)
				}
			}
			e.showsNoCanary(results)
		})
	}
}

// The warning says what is not checked, and a failure what differs.
func TestKindWithoutDiagnosisIsNamed(t *testing.T) {
	e := newLocal(t)
	as := newEnv(t)
	as.noServer = true
	as.open()
	e.config.Settings.Provider, e.config.Settings.Kind = corp{domain: as.provider.URL}, "corp"
	results := e.examine()
	r := find(results, "provider.diagnosis")
	if !strings.Contains(r.Found, "kind corp has none") || !strings.Contains(r.Fix, "--token-file") {
		t.Errorf("%+v", r)
	}
	r = find(results, "server.metadata")
	if !strings.Contains(r.Expected, as.provider.URL) || !strings.Contains(r.Found, e.proxy.URL) {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"provider.keys", "provider.introspection", "provider.clock"} {
		if r := find(results, name); r.Name != "" {
			t.Errorf("%+v, although it is unknown what to check", r)
		}
	}
}
