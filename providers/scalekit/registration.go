package scalekit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// registration is the part of a registered MCP server in the environment's management API that is used here.
// The API is a preview, so members may be missing.
type registration struct {
	ServerURL  string `json:"resource_uri"`
	NoDCR      bool   `json:"disable_dynamic_client_registration"`
	EnableCIMD *bool  `json:"enable_cimd"`
	Scopes     []struct {
		Name    string `json:"name"`
		Enabled *bool  `json:"enabled"`
	} `json:"scopes"`
}

const maxAnswerBytes = 1 << 20

// registrationChecks returns checks that compare the registration in the environment with the settings. Only
// they need API credentials.
func (s *Settings) registrationChecks(info providers.ServerInfo) []diagnostics.Check {
	const credentials, record = "registration.credentials", "registration.record"
	var (
		accessToken string
		found       registration
	)
	return []diagnostics.Check{
		{Name: credentials, Expected: "the environment accepts provider.client_id and provider.client_secret",
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				if s.ClientID == "" || s.ClientSecret == "" {
					o := diagnostics.Skipped("provider.client_id and provider.client_secret are not set; only this " +
						"comparison needs them")
					o.Stop = "there are no API credentials"
					return o
				}
				var err error
				if accessToken, err = s.managementToken(ctx, client); err != nil {
					return diagnostics.Failed(err.Error(),
						"copy both from the dashboard, Settings, API Credentials, of this environment, or remove both: "+
							"only doctor uses them")
				}
				return diagnostics.OK("they are accepted")
			}},
		{Name: record, Needs: []string{credentials}, Expected: s.ResourceID + " is registered in the environment",
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				var err error
				if found, err = s.fetchRegistration(ctx, client, accessToken); err != nil {
					return diagnostics.Failed(err.Error(),
						"copy provider.resource_id from the dashboard, MCP Servers, of the environment in "+
							"provider.environment_url")
				}
				return diagnostics.OK(s.ResourceID + " is registered")
			}},
		{Name: "registration.server_url", Needs: []string{record},
			Expected: "the Server URL is " + info.Resource.String(),
			Run: func(context.Context, *http.Client) diagnostics.Outcome {
				return compareServerURL(found.ServerURL, info.Resource)
			}},
		{Name: "registration.scopes", Needs: []string{record},
			Expected: "all scopes of this server are registered and enabled",
			Run:      func(context.Context, *http.Client) diagnostics.Outcome { return s.compareScopes(found, info) }},
		{Name: "registration.clients", Needs: []string{record},
			Expected: "clients can use dynamic registration or a metadata document",
			Run:      func(context.Context, *http.Client) diagnostics.Outcome { return compareClients(found) }},
	}
}

// managementToken signs in with the environment's own credentials (RFC 6749, section 4.4).
func (s *Settings) managementToken(ctx context.Context, client *http.Client) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.ClientID},
		"client_secret": {s.ClientSecret.Reveal()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.environment()+"/oauth/token",
		strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("environment_url is not a URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := token.Do(client, req, maxAnswerBytes)
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	switch {
	case status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "", fmt.Errorf("the environment rejects them (%d)", status)
	case status != http.StatusOK:
		return "", fmt.Errorf("the environment's token endpoint answered %d", status)
	case json.Unmarshal(body, &answer) != nil || answer.AccessToken == "":
		return "", errors.New("the environment's token endpoint answered without a token")
	}
	return answer.AccessToken, nil
}

// fetchRegistration reads the registration of the MCP server.
func (s *Settings) fetchRegistration(
	ctx context.Context, client *http.Client, bearer string,
) (registration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		s.environment()+"/api/v1/resources/"+s.ResourceID, nil)
	if err != nil {
		return registration{}, errors.New("environment_url is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	status, body, err := token.Do(client, req, maxAnswerBytes)
	if err != nil {
		return registration{}, err
	}
	var answer struct {
		Resource *registration `json:"resource"`
	}
	switch {
	case status == http.StatusNotFound:
		return registration{}, fmt.Errorf("there is no MCP server %s in this environment", s.ResourceID)
	case status != http.StatusOK:
		return registration{}, fmt.Errorf("the management API answered %d", status)
	case json.Unmarshal(body, &answer) != nil || answer.Resource == nil:
		return registration{}, errors.New("the response of the management API is not an MCP server")
	}
	return *answer.Resource, nil
}

// compareServerURL fails for another origin only, which means the registration of another server. Tokens are
// bound to the id, so another path is harmless; Scalekit's guide for FastMCP registers another path.
func compareServerURL(registered string, resource providers.Resource) diagnostics.Outcome {
	u, err := url.Parse(registered)
	switch {
	case registered == "":
		return diagnostics.OK("none is registered, so aud has the id only, which is sufficient")
	case token.SameAudience(registered, resource.String()):
		return diagnostics.OK(providers.Quote(registered))
	case err == nil && token.SameAudience(u.Scheme+"://"+u.Host, resource.Origin()):
		return diagnostics.Warning(providers.Quote(registered)+", on the same host",
			"register "+resource.String()+" in the dashboard; other servers and clients compare it byte for byte, "+
				"this server does not")
	}
	return diagnostics.Failed(providers.Quote(registered),
		"register "+resource.String()+" as the Server URL in the dashboard, or correct provider.resource_id if "+
			"that is the registration of another server")
}

// compareScopes fails for missing scopes of the first sign-in, without which no client can sign in, and warns
// for others.
func (s *Settings) compareScopes(record registration, info providers.ServerInfo) diagnostics.Outcome {
	var registered []string
	for _, scope := range record.Scopes {
		if scope.Enabled == nil || *scope.Enabled {
			registered = append(registered, scope.Name)
		}
	}
	missing := func(needed []string) []string {
		return slices.DeleteFunc(slices.Clone(needed),
			func(scope string) bool { return slices.Contains(registered, scope) })
	}
	all := providers.Quote(strings.Join(registered, " "))
	if first := missing(s.metadata(info).ScopesSupported); len(first) > 0 {
		found := "missing are " + strings.Join(first, " ") +
			", which clients request at first sign-in; registered are " + all
		return diagnostics.Failed(found,
			"add them to the MCP server in the dashboard and enable them, or remove them from "+
				"scopes.required and scopes.initial")
	}
	if later := missing(info.KnownScopes); len(later) > 0 {
		return diagnostics.Warning("missing are "+strings.Join(later, " ")+", which some tools need",
			"add them to the MCP server in the dashboard and enable them; until then no client can call these tools, "+
				"unless a broader scope includes them")
	}
	return diagnostics.OK(all)
}

func compareClients(record registration) diagnostics.Outcome {
	documents := record.EnableCIMD != nil && *record.EnableCIMD
	switch {
	case record.NoDCR && !documents:
		return diagnostics.Warning("both are switched off",
			"switch one of them on in the dashboard, MCP Servers, or register every client by hand; then "+
				"reconnect clients, which cache metadata")
	case record.NoDCR:
		return diagnostics.OK("a metadata document; older clients support registration only")
	case !documents:
		return diagnostics.OK("registration")
	}
	return diagnostics.OK("registration or a metadata document")
}
