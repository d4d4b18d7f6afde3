package authserver

import "net/http"

// Probe is a request without parameters that has no effect, and the status of its response.
type Probe struct {
	Method, Path string
	Status       int
	// IsPage is set if the response is a page for people; otherwise it is an error in JSON (RFC 6749, section 5.2).
	IsPage bool
}

// ProviderProbes returns at least one request for each of [ProviderPaths], except for the documents that every
// client reads.
func ProviderProbes() []Probe {
	return []Probe{
		{http.MethodGet, authorizePath, http.StatusBadRequest, true},
		{http.MethodGet, CallbackPath, http.StatusBadRequest, true},
		{http.MethodGet, consentPath, http.StatusForbidden, true},
		{http.MethodPost, consentPath, http.StatusForbidden, true},
		{http.MethodPost, registerPath, http.StatusBadRequest, false},
		{http.MethodPost, revokePath, http.StatusBadRequest, false},
		{http.MethodPost, tokenPath, http.StatusBadRequest, false},
	}
}
