package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// stateKey signs the requestState that a client returns in the next round of a call. It is public, because
// fixtures have no secrets; a product would generate one at start.
const stateKey = "conformance"

// seal returns a signed requestState.
func seal(value string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(value)) + "." +
		base64.RawURLEncoding.EncodeToString(signature(value))
}

// unseal returns the value of a requestState, and false if its signature is wrong.
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
