package authserver

import (
	"errors"
	"net/url"
	"strings"
)

// CheckAppScheme returns an error unless scheme can be the private-use scheme of a native app (RFC 8252, section 7.1).
func CheckAppScheme(scheme string) error {
	u, err := url.Parse(scheme + "://callback")
	switch {
	case err != nil || u.Scheme != scheme || strings.ToLower(scheme) != scheme:
		return errors.New("is not a scheme in lower case, without a colon")
	case scheme == "http" || scheme == "https":
		return errors.New("is not that of an app")
	case isSystemScheme(scheme):
		return errors.New("belongs to the browser or the system")
	}
	return nil
}
