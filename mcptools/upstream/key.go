package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"gatehouse/providers"
)

// KeySettings are the settings of the section "upstreams" that belong to no single upstream.
type KeySettings struct {
	// KeyFile is the content of the file that the setting names.
	KeyFile providers.Secret `koanf:"key_file" file:"only" reload:"restart" help:"file with the PEM private key (EC P-256) that signs the tokens of identity: jwt; without it, a new key at each start"`
}

// Key returns the key, or nil if there is none.
func (s KeySettings) Key() (*ecdsa.PrivateKey, error) {
	if s.KeyFile == "" {
		return nil, nil
	}
	block, rest := pem.Decode([]byte(s.KeyFile.Reveal()))
	for block != nil && block.Type == "EC PARAMETERS" { // which openssl ecparam writes first
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it has no private key in PEM")
	}
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" { // RFC 5915
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, errors.New("it is not a private key in PEM, without a password")
	}
	ec, isEC := key.(*ecdsa.PrivateKey)
	if !isEC || ec.Curve != elliptic.P256() {
		return nil, errors.New("its key is not on the curve P-256, which ES256 needs")
	}
	return ec, nil
}

// Validate reports an invalid key. The key of the problem is relative to the section.
func (s KeySettings) Validate(report func(providers.Problem)) {
	if _, err := s.Key(); err != nil {
		report(providers.Problem{Key: "key_file", Code: providers.CodeInvalidValue, Reason: err.Error(), Fix: createKey})
	}
}

const createKey = "create a key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"

// ValidateFor reports a missing key, or one without a use. isLoopback is true if this server is reachable on this
// computer only: then a new key at each start is enough.
func (s KeySettings) ValidateFor(upstreams []Settings, isLoopback bool, report func(providers.Problem)) {
	signs := false
	for _, u := range upstreams {
		signs = signs || u.Identity == IdentityJWT
	}
	switch {
	case signs && s.KeyFile == "" && !isLoopback:
		report(providers.Problem{Key: "key_file", Code: providers.CodeMissing,
			Reason: "identity: jwt needs a key that all replicas share and that survives a restart", Fix: createKey})
	case !signs && s.KeyFile != "":
		report(providers.Problem{Key: "key_file", Code: providers.CodeNoEffect,
			Reason: "no upstream has identity: jwt", Fix: "remove it"})
	}
}
