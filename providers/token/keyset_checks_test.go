package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// A flood of forgeries must leave a processor to callers with known tokens. The test is in this package
// because the number of signatures being checked is not exported.
func TestKeySetLeavesAProcessorFree(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}
	keys := NewKeySet(KeySource{}, KeyPolicy{}, slog.New(slog.DiscardHandler))
	keys.current.Store(&keySnapshot{fetched: time.Now(),
		keys: &keyring{keys: map[string][]verificationKey{"ES256": {{JSONWebKey: key}}}}})
	keys.nextTokenFetch = time.Now().Add(time.Hour) // nothing is fetched

	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256,
		Key: jose.JSONWebKey{Key: private, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	compact, _ := signed.CompactSerialize()
	good, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	forged := *good
	forged.Signatures = slices.Clone(good.Signatures)
	forged.Signatures[0].Signature = make([]byte, 64)

	if most := max(1, runtime.GOMAXPROCS(0)-1); cap(keys.signatureSlots) != most {
		t.Errorf("%d signature slots, want %d", cap(keys.signatureSlots), most)
	}
	for range 3 * cap(keys.signatureSlots) { // every slot is released, whatever the result
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := keys.VerifySignature(ctx, good); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.VerifySignature(ctx, &forged); providers.ReasonOf(err) != ReasonSignatureInvalid {
			t.Fatal(err)
		}
	}
	for range cap(keys.signatureSlots) {
		keys.signatureSlots <- struct{}{} // all slots are taken
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := keys.VerifySignature(short, good); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("a signature is checked without a slot: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := keys.VerifySignature(t.Context(), good)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("a signature does not wait for a slot: %v", err)
	case <-time.After(20 * time.Millisecond):
		<-keys.signatureSlots
		if err := <-done; err != nil {
			t.Errorf("with a slot: %v", err)
		}
	}
}
