// Package seal encrypts and authenticates what an authorization server gives to others to keep: records in a store,
// registrations in client ids, forms and cookies of a sign-in, refresh tokens.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// Use is what a key is for. Each use has keys of its own, so that what was made for one cannot be used as another.
type Use string

// The uses.
const (
	Client      Use = "client"      // registrations in client ids
	Secret      Use = "secret"      // client secrets
	Request     Use = "request"     // authorization requests on the consent page
	Form        Use = "form"        // the consent form and its cookie
	Transaction Use = "transaction" // sign-ins at the provider, in a cookie
	Token       Use = "token"       // codes and refresh tokens
	Owner       Use = "owner"       // owners of records
	Content     Use = "record"      // contents of records
)

// ErrOpen means that what was to be opened was not sealed with these keys for this use and context.
var ErrOpen = errors.New("not sealed with these keys")

// Keys are the keys from one or more secrets. The first secret seals and signs; all of them open and verify, so that a
// new secret can be put first while what older ones sealed stays valid.
type Keys struct{ secrets [][]byte }

// Random returns keys of a secret that ends with the process.
func Random() *Keys {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return &Keys{[][]byte{secret}}
}

// FromSecrets returns the keys of secrets, each at least 32 random bytes.
func FromSecrets(secrets [][]byte) *Keys { return &Keys{secrets} }

// Seal encrypts plain with AES-256-GCM. Open needs the same use and context.
func (k *Keys) Seal(use Use, context string, plain []byte) []byte {
	aead := newAEAD(k.secrets[0], use)
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(nonce, nonce, plain, []byte(context))
}

// Open decrypts what Seal returned. The error is ErrOpen.
func (k *Keys) Open(use Use, context string, sealed []byte) ([]byte, error) {
	for _, secret := range k.secrets {
		aead := newAEAD(secret, use)
		if len(sealed) < aead.NonceSize() {
			return nil, ErrOpen
		}
		plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(context))
		if err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// MAC returns the HMAC-SHA-256 of message under the first secret.
func (k *Keys) MAC(use Use, message string) []byte { return mac(k.secrets[0], use, message) }

// MACs returns the HMAC-SHA-256 of message under each secret, the first one first.
func (k *Keys) MACs(use Use, message string) [][]byte {
	var all [][]byte
	for _, secret := range k.secrets {
		all = append(all, mac(secret, use, message))
	}
	return all
}

// CheckMAC reports whether sum is the MAC of message under one of the secrets, or its first bytes, at least 16.
func (k *Keys) CheckMAC(use Use, message string, sum []byte) bool {
	for _, secret := range k.secrets {
		if full := mac(secret, use, message); len(sum) >= 16 && len(sum) <= len(full) &&
			hmac.Equal(sum, full[:len(sum)]) {
			return true
		}
	}
	return false
}

func newAEAD(secret []byte, use Use) cipher.AEAD {
	block, err := aes.NewCipher(derive(secret, "seal "+use))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return aead
}

func mac(secret []byte, use Use, message string) []byte {
	h := hmac.New(sha256.New, derive(secret, "mac "+use))
	h.Write([]byte(message))
	return h.Sum(nil)
}

// derive returns a key of 32 bytes (RFC 5869).
func derive(secret []byte, use Use) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse 1 "+string(use), sha256.Size)
	if err != nil {
		panic(err) // the length is within the limits of HKDF
	}
	return key
}
