package authserver

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// cookies are the cookies of one purpose. Each page or sign-in has one of its own, or two tabs would overwrite each
// other's.
type cookies struct {
	prefix   string                 // of the names
	suffix   func(id string) string // of the name, by what the cookie is for
	path     string
	secure   bool
	sameSite http.SameSite

	// At most count cookies, and bytes of them in total, are kept: too many would make requests too long for servers
	// and proxies. Zero means no limit.
	count, bytes int
	// issuedAt returns when this server issued a cookie. It is false for a cookie that it did not issue.
	issuedAt func(name, value string) (time.Time, bool)
}

// hostCookies are cookies that no other host and, on https, no page without encryption can set (RFC 6265bis, section
// 4.1.3.2). On http the prefix would make browsers refuse them. They are Lax: Safari does not send Strict ones after a
// redirect from another site, and the response of a provider is one.
func hostCookies(name string, secure bool) cookies {
	c := cookies{prefix: name + "-", suffix: digestName, path: "/", secure: secure, sameSite: http.SameSiteLaxMode}
	if secure {
		c.prefix = "__Host-" + c.prefix
	}
	return c
}

// digestName is the SHA-256 of an id. It is not shortened: it is also the id of a grant.
func digestName(id string) string {
	digest := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func (c cookies) name(id string) string { return c.prefix + c.suffix(id) }

// sent returns the value of the cookie that is for id.
func (c cookies) sent(r *http.Request, id string) (value string, ok bool) {
	cookie, err := r.Cookie(c.name(id))
	if err != nil || cookie.Value == "" {
		return "", false
	}
	return cookie.Value, true
}

// set sets the cookie that is for id, and removes others that are too many, the oldest first.
func (c cookies) set(w http.ResponseWriter, r *http.Request, id, value string, lifetime time.Duration) {
	name := c.name(id)
	for _, old := range c.surplus(r, name, len(name)+len(value)) {
		http.SetCookie(w, c.cookie(old, "", -1))
	}
	http.SetCookie(w, c.cookie(name, value, int(lifetime.Seconds())))
}

// remove removes the cookie that is for id.
func (c cookies) remove(w http.ResponseWriter, id string) {
	http.SetCookie(w, c.cookie(c.name(id), "", -1))
}

func (c cookies) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: c.path, MaxAge: maxAge, HttpOnly: true, Secure: c.secure,
		SameSite: c.sameSite}
}

// surplus returns the names of the cookies in r that are too many after one of that name and size is set.
func (c cookies) surplus(r *http.Request, name string, size int) []string {
	if c.count == 0 {
		return nil
	}
	type found struct {
		name   string
		size   int
		issued time.Time
	}
	var own []found
	for _, sent := range r.Cookies() {
		if !strings.HasPrefix(sent.Name, c.prefix) || sent.Name == name {
			continue
		}
		// Another server at this host, which http allows, has cookies of the same name.
		if issued, ok := c.issuedAt(sent.Name, sent.Value); ok {
			own = append(own, found{sent.Name, len(sent.Name) + len(sent.Value), issued})
		}
	}
	slices.SortStableFunc(own, func(a, b found) int { return b.issued.Compare(a.issued) })
	var names []string
	count := 1
	for _, cookie := range own {
		count, size = count+1, size+cookie.size
		if count > c.count || size > c.bytes {
			names = append(names, cookie.name)
		}
	}
	return names
}
