package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// NewClientSigner returns a signer of client assertions (RFC 7523) with a private key in PEM, and with the
// kid keyID if that is not empty. Errors reveal nothing of the key.
func NewClientSigner(text providers.Secret, keyID string) (jose.Signer, error) {
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, errors.New("it is not a key in PEM (-----BEGIN PRIVATE KEY-----)")
	}
	key, err := parsePrivateKey(block)
	if err != nil {
		return nil, err
	}
	alg, err := signingAlgorithm(key)
	if err != nil {
		return nil, err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if keyID != "" {
		options.WithHeader("kid", keyID)
	}
	return jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
}

func parsePrivateKey(block *pem.Block) (any, error) {
	var (
		key any
		err error
	)
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("it is PEM, but not an unencrypted private key")
	}
	if err != nil {
		return nil, errors.New("the private key in it cannot be read")
	}
	return key, nil
}

// signingAlgorithm returns the usual algorithm for a private key: the first that [algorithmsOf] has for its
// public key.
func signingAlgorithm(key any) (jose.SignatureAlgorithm, error) {
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
	default:
		return "", errors.New("keys of its type cannot sign")
	}
	algorithms, err := algorithmsOf(key.(crypto.Signer).Public())
	if err != nil {
		return "", fmt.Errorf("it cannot be used: %w", err)
	}
	return jose.SignatureAlgorithm(algorithms[0]), nil
}
