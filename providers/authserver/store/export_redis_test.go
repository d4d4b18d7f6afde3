package store

import "crypto/x509"

// OpenRedis is Open with other roots for TLS than those of the system.
func OpenRedis(rawURL, password string, roots *x509.CertPool) (*Redis, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	return newRedis(at.redis, password, roots), nil
}
