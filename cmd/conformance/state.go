package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// stateKey signs what a client carries from one round of a call to the next. Fixtures have nothing to hide, so it is no
// secret; a product would make a random one at start.
const stateKey = "conformance"

// seal makes a requestState that unseal believes.
func seal(value string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(value)) + "." + base64.RawURLEncoding.EncodeToString(signature(value))
}

// unseal returns what was sealed, and false if anybody changed it.
func unseal(state string) (string, bool) {
	left, right, _ := strings.Cut(state, ".")
	value, err := base64.RawURLEncoding.DecodeString(left)
	if err != nil {
		return "", false
	}
	sum, err := base64.RawURLEncoding.DecodeString(right)
	return string(value), err == nil && hmac.Equal(sum, signature(string(value)))
}

func signature(value string) []byte {
	mac := hmac.New(sha256.New, []byte(stateKey))
	mac.Write([]byte(value))
	return mac.Sum(nil)
}
