package scalekit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

var resourceIDPattern = regexp.MustCompile(`^res_[0-9A-Za-z]+$`)

// Validate implements [providers.Settings].
func (s *Settings) Validate(resource providers.Resource, report func(providers.Problem)) {
	s.checkEnvironment(report)
	s.checkResourceID(report)
	s.checkAudience(resource, report)
	s.checkMetadata(resource, report)
	s.checkClientID(report)
	for _, issuer := range s.Issuers {
		if err := token.PlainHTTPHosts(nil).CheckIdentifier(issuer); err != nil {
			report(providers.Problem{Key: "issuers", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(issuer) + ": " + err.Error(),
				Fix:    "set it to the issuer in the tokens" + token.IssuerHint(issuer)})
		}
	}
	token.CheckDurations(report, token.KeyDurations(s.Leeway, s.KeyRefetchInterval, s.KeyMaxAge, s.KeyMaxStale))
	token.CheckMaxTokenBytes(s.MaxTokenBytes, report)
}

func (s *Settings) checkEnvironment(report func(providers.Problem)) {
	const key, fix = "environment_url",
		"copy it from the dashboard, Settings, API Credentials; it looks like https://acme.scalekit.com"
	u, err := url.Parse(s.EnvironmentURL)
	switch wrong := token.PlainHTTPHosts(nil).CheckIdentifier(s.EnvironmentURL); {
	case s.EnvironmentURL == "":
		report(providers.Problem{Key: key, Code: providers.CodeMissing,
			Reason: "environment_url is required",
			Fix:    fix})
	case wrong != nil:
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: wrong.Error(),
			Fix:    fix + token.SchemeHint(s.EnvironmentURL)})
	case err == nil && strings.HasPrefix(u.Path, resourcesPath):
		id := strings.TrimSuffix(strings.TrimPrefix(u.Path, resourcesPath), "/")
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: "it is the address of one MCP server in the environment",
			Fix:    "did you mean " + u.Scheme + "://" + u.Host + ", with provider.resource_id " + id + "?"})
	case err == nil && u.Path != "" && u.Path != "/":
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: "it has a path, and the URL of an environment has none",
			Fix:    "did you mean " + u.Scheme + "://" + u.Host + "?"})
	}
}

func (s *Settings) checkResourceID(report func(providers.Problem)) {
	const key, fix = "resource_id",
		"copy the Resource ID from the dashboard, MCP Servers; it looks like res_103100112351265282"
	_, after, isURL := strings.Cut(s.ResourceID, resourcesPath)
	switch {
	case s.ResourceID == "":
		report(providers.Problem{Key: key, Code: providers.CodeMissing,
			Reason: "resource_id is required: tokens for all MCP servers of the environment have the same issuer",
			Fix:    fix})
	case isURL && resourceIDPattern.MatchString(strings.TrimSuffix(after, "/")):
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: "it is an address, not an id",
			Fix:    "did you mean " + strings.TrimSuffix(after, "/") + "?"})
	case !resourceIDPattern.MatchString(s.ResourceID):
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: idOfAnotherKind(s.ResourceID, "it is not the id of an MCP server"),
			Fix:    fix})
	}
}

// idOfAnotherKind describes an id by its prefix; unknown is returned if no prefix matches.
func idOfAnotherKind(id, unknown string) string {
	for prefix, what := range map[string]string{
		"res_": "the id of an MCP server", "conn_": "the id of a connection",
		"m2m_":    "the id of an OAuth client of an MCP server",
		"m2morg_": "the id of an organization's client", "skc_": "an API credential of the environment",
		"prd_skc_": "an API credential of the environment",
		"org_":     "the id of an organization", "usr_": "the id of a user", "env_": "the id of an environment",
	} {
		if strings.HasPrefix(id, prefix) {
			return "it is " + what
		}
	}
	return unknown
}

func (s *Settings) checkAudience(resource providers.Resource, report func(providers.Problem)) {
	if s.ExpectedAudience == "" || s.ExpectedAudience == s.ResourceID ||
		token.SameAudience(s.ExpectedAudience, resource.String()) {
		return
	}
	reason := "it is neither the resource " + resource.String() + " nor the id of the MCP server"
	if strings.Trim(s.ExpectedAudience, "/") == strings.Trim(resource.String(), "/") {
		reason = "it differs from the resource " + resource.String() + " by a slash at the end"
	}
	report(providers.Problem{Key: "expected_audience", Code: providers.CodeConflict,
		Reason: reason,
		Fix: "write " + resource.String() +
			" here and as the Server URL in the dashboard, or set resource to what is registered there, or remove it"})
}

func (s *Settings) checkClientID(report func(providers.Problem)) {
	if s.ClientID != "" && !strings.Contains(s.ClientID, "skc_") {
		if what := idOfAnotherKind(s.ClientID, ""); what != "" {
			report(providers.Problem{Key: "client_id", Code: providers.CodeInvalidValue,
				Reason: what + ", not an API credential",
				Fix:    "copy it from the dashboard, Settings, API Credentials, or remove it: only doctor uses it"})
		}
	}
}

// checkMetadata compares the metadata from the dashboard with the other settings.
func (s *Settings) checkMetadata(resource providers.Resource, report func(providers.Problem)) {
	const key = "protected_resource_metadata"
	metadata, problem := parseMetadata(s.ProtectedResourceMetadata)
	if problem != nil {
		report(providers.Problem{Key: key, Code: providers.CodeInvalidValue,
			Reason: problem.Error(),
			Fix: "paste the JSON of the dashboard on one line, without quotes around it, or remove it: it can be " +
				"derived from the other settings"})
		return
	}
	if metadata == nil {
		return
	}
	if !token.SameAudience(metadata.Resource, resource.String()) {
		report(providers.Problem{Key: key, Code: providers.CodeConflict,
			Reason: "its resource is " + providers.Quote(metadata.Resource) + ", but clients connect to " +
				resource.String(),
			Fix: "register " + resource.String() +
				" as the Server URL in the dashboard and copy the JSON again, or set resource to the same URL"})
	}
	if s.ResourceID != "" && s.EnvironmentURL != "" && !slices.Contains(metadata.AuthorizationServers,
		s.authorizationServer()) {
		report(providers.Problem{Key: key, Code: providers.CodeConflict,
			Reason: "its authorization_servers are " + token.QuoteEach(metadata.AuthorizationServers) +
				", but according to the other settings it is " + s.authorizationServer(),
			Fix: "copy the JSON of this MCP server again, or correct provider.environment_url and " +
				"provider.resource_id"})
	}
}

// parseMetadata parses the JSON from the dashboard, or returns nil if there is none. The error names the
// usual copy mistake.
func parseMetadata(text string) (*providers.Metadata, error) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, nil
	}
	var m providers.Metadata
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&m)
	if err == nil {
		if _, extra := decoder.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("there is text after the JSON")
		}
	}
	var syntax *json.SyntaxError
	switch {
	case strings.Contains(text, "<your-mcp-"):
		return nil, errors.New("it has the placeholder <your-mcp-url> of a registration without a Server URL")
	case strings.HasPrefix(trimmed, "'") || strings.HasPrefix(trimmed, `"`):
		return nil, errors.New("it is enclosed in quotes: a shell would have removed them, but here they " +
			"are part of the value")
	case strings.Contains(text, `\"`):
		return nil, errors.New(`its quotes are escaped (\")`)
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("it is not JSON, at character %d", syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("it is not JSON: the end is missing; in an env file, a value on several lines " +
			"needs quotes")
	case err != nil:
		return nil, errors.New("it is not the metadata of a protected resource (RFC 9728), or has unknown members")
	case m.Resource == "":
		return nil, errors.New("it names no resource")
	case len(m.AuthorizationServers) == 0:
		return nil, errors.New("it names no authorization_servers")
	case len(m.BearerMethodsSupported) > 0 && !slices.Equal(m.BearerMethodsSupported, []string{"header"}):
		return nil, errors.New("its bearer_methods_supported lists more than header, but tokens are " +
			"accepted in the header only")
	}
	for _, scope := range m.ScopesSupported {
		if !providers.IsScope(scope) {
			return nil, fmt.Errorf("%s in it is not a scope (RFC 6749, section 3.3)", providers.Quote(scope))
		}
	}
	return &m, nil
}
