// Package seal encrypts and authenticates what an authorization server gives to others to keep: records in a
// store, registrations in client ids, forms and cookies of a sign-in, refresh tokens.
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

// Use is what a key is for. Each use has keys of its own, so that what was made for one cannot be used as
// another.
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

func uses() []Use { return []Use{Client, Secret, Request, Form, Transaction, Token, Owner, Content} }

// ErrOpen means that what was to be opened was not sealed with these keys for this use and context.
var ErrOpen = errors.New("not sealed with these keys")

// SecretBytes is the length of a secret.
const SecretBytes = 32

// Keys are the keys from one or more secrets. The first secret seals and signs; all of them open and verify,
// so that a new secret can be put first while what older ones sealed stays valid. Keys do not change, and may
// be used by several goroutines.
//
// Nonces are random, so one secret should seal at most 2^32 messages for each use (NIST SP 800-38D, section
// 8.3): at 100 messages a second, that is 16 months. Secrets of a busy server are replaced every year.
type Keys struct{ secrets []map[Use]key }

// key are the keys of one secret for one use (RFC 5869).
type key struct {
	aead cipher.AEAD
	mac  []byte
}

// Random returns keys of a secret that ends with the process.
func Random() *Keys { return FromSecrets([][]byte{newSecret()}) }

func newSecret() []byte {
	secret := make([]byte, SecretBytes)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// FromSecrets returns the keys of secrets, at least one, each of 32 random bytes. [Parse] checks what people
// have written.
func FromSecrets(secrets [][]byte) *Keys {
	k := new(Keys)
	for _, secret := range secrets {
		keys := make(map[Use]key)
		for _, use := range uses() {
			keys[use] = key{newAEAD(derive(secret, "seal "+use)), derive(secret, "mac "+use)}
		}
		k.secrets = append(k.secrets, keys)
	}
	return k
}

// Len returns the number of secrets.
func (k *Keys) Len() int { return len(k.secrets) }

// Seal encrypts plain with AES-256-GCM. Open needs the same use and context. The result is 28 bytes longer
// than plain.
func (k *Keys) Seal(use Use, context string, plain []byte) []byte {
	aead := k.secrets[0][use].aead
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(nonce, nonce, plain, []byte(context))
}

// Open decrypts what Seal returned. The error is ErrOpen.
func (k *Keys) Open(use Use, context string, sealed []byte) ([]byte, error) {
	for _, secret := range k.secrets {
		if plain, err := secret[use].open(context, sealed); err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// IsCurrent reports whether the first secret opens sealed. What an older one has sealed does not open once
// that secret is removed: it should be sealed again before.
func (k *Keys) IsCurrent(use Use, context string, sealed []byte) bool {
	_, err := k.secrets[0][use].open(context, sealed)
	return err == nil
}

func (k key) open(context string, sealed []byte) ([]byte, error) {
	if len(sealed) < k.aead.NonceSize() {
		return nil, ErrOpen
	}
	return k.aead.Open(nil, sealed[:k.aead.NonceSize()], sealed[k.aead.NonceSize():], []byte(context))
}

// MAC returns the HMAC-SHA-256 of message under the first secret.
func (k *Keys) MAC(use Use, message string) []byte { return k.secrets[0][use].sum(message) }

// MACs returns the HMAC-SHA-256 of message under each secret, the first one first.
func (k *Keys) MACs(use Use, message string) [][]byte {
	var all [][]byte
	for _, secret := range k.secrets {
		all = append(all, secret[use].sum(message))
	}
	return all
}

// CheckMAC reports whether sum is the MAC of message under one of the secrets, or its first bytes, at least
// 16.
func (k *Keys) CheckMAC(use Use, message string, sum []byte) bool {
	if len(sum) < 16 || len(sum) > sha256.Size {
		return false
	}
	for _, secret := range k.secrets {
		if hmac.Equal(sum, secret[use].sum(message)[:len(sum)]) {
			return true
		}
	}
	return false
}

func (k key) sum(message string) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return aead
}

// derive returns a key of 32 bytes.
func derive(secret []byte, use Use) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse 1 "+string(use), sha256.Size)
	if err != nil {
		panic(err) // the length is within the limits of HKDF
	}
	return key
}
