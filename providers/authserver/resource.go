package authserver

import (
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// chooseResource returns the configured resource that the resource parameters of a request select. Without
// parameters, which clients of MCP 2025-03-26 do not send, it is the first one. The error is invalid_target
// (RFC 8707, section 2). A token has one audience, so that no resource can use it at another one; a request
// for two resources is refused.
func (i *Issuer) chooseResource(parameters []string) (string, error) {
	var chosen string
	for _, parameter := range parameters {
		if parameter == "" { // RFC 6749, section 3.1: a parameter without a value counts as omitted
			continue
		}
		u, err := url.Parse(parameter)
		if err != nil || !u.IsAbs() || u.Host == "" || strings.Contains(parameter, "#") {
			return "", oidc.ErrInvalidTarget().WithDescription(
				"the resource is not an absolute URL without a fragment")
		}
		resource, ok := i.configuredResource(parameter)
		if !ok {
			return "", oidc.ErrInvalidTarget().WithDescription("%s", i.unknownResource(parameter))
		}
		if chosen != "" && chosen != resource {
			return "", oidc.ErrInvalidTarget().WithDescription("a token is for one resource")
		}
		chosen = resource
	}
	if chosen == "" {
		chosen = i.config.Resources[0]
	}
	return chosen, nil
}

// unknownResource describes a resource that is not configured. The configured ones are public: their metadata names
// this issuer.
func (i *Issuer) unknownResource(parameter string) string {
	for _, resource := range i.config.Resources {
		if strings.TrimSuffix(resource, "/") == strings.TrimSuffix(parameter, "/") {
			return "the resource is unknown: it differs from " + resource + " by a slash at the end"
		}
	}
	return "the resource is unknown; this issuer issues tokens for " + strings.Join(i.config.Resources, " and ")
}

func (i *Issuer) configuredResource(parameter string) (string, bool) {
	for _, resource := range i.config.Resources {
		if resource == parameter || canonicalURL(resource) == canonicalURL(parameter) {
			return resource, true
		}
	}
	return "", false
}

// checkGrantedResource compares the resource parameters of a token request with the granted resource. They
// may be repeated or, as golang.org/x/oauth2 does on refresh, omitted, but not changed.
func (i *Issuer) checkGrantedResource(parameters []string, granted string) error {
	for _, parameter := range parameters {
		if parameter == "" {
			continue
		}
		if resource, ok := i.configuredResource(parameter); !ok || resource != granted {
			return oidc.ErrInvalidTarget().WithDescription("the resource differs from the grant")
		}
	}
	return nil
}

// canonicalURL normalizes what RFC 3986, section 6.2 calls equivalent in every http URL: the case of scheme
// and host, the default port, and an empty path against "/". Another path is another resource.
func canonicalURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.Host = strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		u.Host = strings.TrimSuffix(u.Host, ":80")
	case "https":
		u.Host = strings.TrimSuffix(u.Host, ":443")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}
