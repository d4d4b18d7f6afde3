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

// registration is what the environment's management API says about a registered MCP server, in the members
// that matter here. The API is a preview: what it leaves out is not held against anybody.
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

// registrationExaminations compare what is registered in the environment with what is configured here: the
// only use that this server has for API credentials.
func (s *Settings) registrationExaminations(info providers.ServerInfo) []diagnostics.Check {
	const credentials, record = "registration.credentials", "registration.record"
	var (
		accessToken string
		found       registration
	)
	return []diagnostics.Check{
		{Name: credentials, Expected: "the environment takes provider.client_id and provider.client_secret",
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				if s.ClientID == "" || s.ClientSecret == "" {
					o := diagnostics.Skipped("no provider.client_id and provider.client_secret are set; serving needs " +
						"none, only this comparison does")
					o.Stop = "there are no API credentials to ask with"
					return o
				}
				var problem error
				if accessToken, problem = s.managementToken(ctx, client); problem != nil {
					return diagnostics.Failed(problem.Error(),
						"copy both from the dashboard, Settings, API Credentials, of this very environment; or leave both "+
							"out: serving needs none")
				}
				return diagnostics.OK("they are taken")
			}},
		{Name: record, Needs: []string{credentials}, Expected: "the environment knows " + s.ResourceID,
			Run: func(ctx context.Context, client *http.Client) diagnostics.Outcome {
				var problem error
				if found, problem = s.readRecord(ctx, client, accessToken); problem != nil {
					return diagnostics.Failed(problem.Error(),
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
			Expected: "clients may register themselves, or describe themselves by a document",
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
		return "", errors.New("the address of the environment is not a URL")
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
		return "", fmt.Errorf("the environment refuses them (%d)", status)
	case status != http.StatusOK:
		return "", fmt.Errorf("the environment's token endpoint answered %d", status)
	case json.Unmarshal(body, &answer) != nil || answer.AccessToken == "":
		return "", errors.New("the environment's token endpoint answered without a token")
	}
	return answer.AccessToken, nil
}

func (s *Settings) readRecord(ctx context.Context, client *http.Client, bearer string) (registration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		s.environment()+"/api/v1/resources/"+s.ResourceID, nil)
	if err != nil {
		return registration{}, errors.New("the address of the environment is not a URL")
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
		return registration{}, errors.New("the management API answered something else than an MCP server")
	}
	return *answer.Resource, nil
}

// compareServerURL is severe about another origin only: then it is the registration of another server. Tokens
// are bound to the id, so that another path does no harm here, and Scalekit's own guide for FastMCP says to
// register one.
func compareServerURL(registered string, resource providers.Resource) diagnostics.Outcome {
	u, err := url.Parse(registered)
	switch {
	case registered == "":
		return diagnostics.OK("none is registered, so that tokens name the id only, which is enough here")
	case token.SameAudience(registered, resource.String()):
		return diagnostics.OK(providers.Quote(registered))
	case err == nil && token.SameAudience(u.Scheme+"://"+u.Host, resource.Origin()):
		return diagnostics.Warning(providers.Quote(registered)+", on the same host",
			"register "+resource.String()+" in the dashboard; other servers and clients compare it byte for byte, "+
				"this one does not need it")
	}
	return diagnostics.Failed(providers.Quote(registered),
		"register "+resource.String()+" as the Server URL in the dashboard, or mend provider.resource_id if that "+
			"is the registration of another server")
}

// compareScopes looks at the scopes of first sign-in most severely: without them nobody gets in.
func (s *Settings) compareScopes(record registration, info providers.ServerInfo) diagnostics.Outcome {
	var registered []string
	for _, scope := range record.Scopes {
		if scope.Enabled == nil || *scope.Enabled {
			registered = append(registered, scope.Name)
		}
	}
	missing := func(needed []string) []string {
		return slices.DeleteFunc(slices.Clone(needed), func(scope string) bool {
			return slices.Contains(registered,
				scope)
		})
	}
	if first := missing(s.metadata(info).ScopesSupported); len(first) > 0 {
		return diagnostics.Failed("missing are "+strings.Join(first,
			" ")+", which clients ask for at first sign-in; registered are "+providers.Quote(strings.Join(registered,
			" ")),
			"add them to the MCP server in the dashboard and enable them, or take them out of scopes.required and "+
				"scopes.initial")
	}
	if later := missing(info.KnownScopes); len(later) > 0 {
		return diagnostics.Warning("missing are "+strings.Join(later, " ")+", which some tools need",
			"add them to the MCP server in the dashboard and enable them; until then nobody can call these tools, "+
				"unless a broader scope includes them")
	}
	return diagnostics.OK(providers.Quote(strings.Join(registered, " ")))
}

func compareClients(record registration) diagnostics.Outcome {
	documents := record.EnableCIMD != nil && *record.EnableCIMD
	switch {
	case record.NoDCR && !documents:
		return diagnostics.Warning("both are switched off",
			"switch one of them on in the dashboard, MCP Servers, or register every client by hand; clients cache "+
				"what they know, so connect them anew")
	case record.NoDCR:
		return diagnostics.OK("by a document; older clients know only registration")
	case !documents:
		return diagnostics.OK("by registration")
	}
	return diagnostics.OK("by registration, or by a document")
}
