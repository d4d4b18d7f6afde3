package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver/seal"
)

var uses = []seal.Use{seal.Client, seal.Secret, seal.Request, seal.Form, seal.Transaction, seal.Token,
	seal.Owner, seal.Content}

func secretOf(t *testing.T) []byte {
	t.Helper()
	secret := make([]byte, seal.SecretBytes)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestOpen_NeedsUseContextAndSecret(t *testing.T) {
	secret := secretOf(t)
	keys, same, foreign := seal.FromSecrets([][]byte{secret}), seal.FromSecrets([][]byte{secret}), seal.Random()
	for _, use := range uses {
		for _, plain := range [][]byte{nil, []byte("a"), bytes.Repeat([]byte("content"), 1000)} {
			sealed := keys.Seal(use, "context", plain)
			if len(sealed) != len(plain)+28 {
				t.Errorf("%s: %d bytes became %d", use, len(plain), len(sealed))
			}
			if len(plain) > 1 && bytes.Contains(sealed, plain[:2]) && bytes.Contains(sealed, plain) {
				t.Errorf("%s: the content is readable", use)
			}
			if got, err := same.Open(use, "context", sealed); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: %q, %v", use, got, err)
			}
			if _, err := keys.Open(use, "contex", sealed); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("%s, other context: %v", use, err)
			}
			if _, err := foreign.Open(use, "context", sealed); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("%s, other secret: %v", use, err)
			}
			for _, other := range uses {
				if _, err := keys.Open(other, "context", sealed); (err == nil) != (other == use) {
					t.Errorf("sealed for %s, opened for %s: %v", use, other, err)
				}
			}
		}
		if a, b := keys.Seal(use, "", []byte("same")), keys.Seal(use, "", []byte("same")); bytes.Equal(a, b) {
			t.Errorf("%s: the same content is sealed the same", use)
		}
	}
}

func TestOpen_RefusesEveryChangedByte(t *testing.T) {
	keys := seal.Random()
	sealed := keys.Seal(seal.Token, "context", []byte("some content"))
	for i := range sealed {
		changed := slices.Clone(sealed)
		changed[i] ^= 1 << (i % 8)
		if _, err := keys.Open(seal.Token, "context", changed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := keys.Open(seal.Token, "context", sealed[:i]); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%d bytes: %v", i, err)
		}
		if _, err := keys.Open(seal.Token, "context", sealed[i+1:]); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("without the first %d bytes: %v", i+1, err)
		}
	}
	if _, err := keys.Open(seal.Token, "context", append(sealed, 0)); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("one more byte: %v", err)
	}
}

func TestMACs(t *testing.T) {
	secret := secretOf(t)
	keys, foreign := seal.FromSecrets([][]byte{secret}), seal.Random()
	for _, use := range uses {
		sum := keys.MAC(use, "message")
		for _, length := range []int{16, 20, 32} {
			if !keys.CheckMAC(use, "message", sum[:length]) {
				t.Errorf("%s: %d bytes are refused", use, length)
			}
		}
		for name, accepted := range map[string]bool{
			"no sum":          keys.CheckMAC(use, "message", nil),
			"15 bytes":        keys.CheckMAC(use, "message", sum[:15]),
			"33 bytes":        keys.CheckMAC(use, "message", append(slices.Clone(sum), 0)),
			"another message": keys.CheckMAC(use, "messag", sum),
			"another secret":  foreign.CheckMAC(use, "message", sum),
		} {
			if accepted {
				t.Errorf("%s: %s is accepted", use, name)
			}
		}
		for i := range sum {
			changed := slices.Clone(sum)
			changed[i] ^= 1 << (i % 8)
			if keys.CheckMAC(use, "message", changed) {
				t.Errorf("%s: byte %d changed, and accepted", use, i)
			}
		}
		for _, other := range uses {
			if keys.CheckMAC(other, "message", sum) != (other == use) {
				t.Errorf("a MAC for %s as one for %s", use, other)
			}
		}
	}
}

// A new secret is put first; later the old one is removed.
func TestRotation(t *testing.T) {
	first, second := secretOf(t), secretOf(t)
	before, during, after := seal.FromSecrets([][]byte{first}), seal.FromSecrets([][]byte{second, first}),
		seal.FromSecrets([][]byte{second})
	old, new := before.Seal(seal.Client, "c", []byte("old")), during.Seal(seal.Client, "c", []byte("new"))
	oldSum, newSum := before.MAC(seal.Owner, "m"), during.MAC(seal.Owner, "m")
	for _, c := range []struct {
		name                   string
		keys                   *seal.Keys
		opensOld, opensNew     bool
		oldCurrent, newCurrent bool
	}{
		{"before", before, true, false, true, false},
		{"during", during, true, true, false, true},
		{"after", after, false, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, oldErr := c.keys.Open(seal.Client, "c", old)
			_, newErr := c.keys.Open(seal.Client, "c", new)
			if (oldErr == nil) != c.opensOld || (newErr == nil) != c.opensNew {
				t.Errorf("it opens the old one: %v, the new one: %v", oldErr, newErr)
			}
			if c.keys.IsCurrent(seal.Client, "c", old) != c.oldCurrent ||
				c.keys.IsCurrent(seal.Client, "c", new) != c.newCurrent {
				t.Error("IsCurrent is wrong")
			}
			if c.keys.CheckMAC(seal.Owner, "m", oldSum) != c.opensOld ||
				c.keys.CheckMAC(seal.Owner, "m", newSum) != c.opensNew {
				t.Error("CheckMAC is wrong")
			}
		})
	}
	all := during.MACs(seal.Owner, "m")
	if len(all) != 2 || !bytes.Equal(all[0], newSum) || !bytes.Equal(all[1], oldSum) {
		t.Errorf("MACs returns %x", all)
	}
}

func FuzzOpen(f *testing.F) {
	keys := seal.FromSecrets([][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)})
	f.Add("client", "context", []byte(nil))
	f.Add("client", "context", keys.Seal(seal.Request, "context", []byte("content")))
	f.Add("record", "grant:a|1", bytes.Repeat([]byte{0xff}, 28))
	f.Fuzz(func(t *testing.T, use, context string, sealed []byte) {
		if !slices.Contains(uses, seal.Use(use)) {
			return
		}
		if plain, err := keys.Open(seal.Use(use), context, sealed); err == nil || plain != nil {
			t.Errorf("%x opened for %s and %q", sealed, use, context)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	keys := seal.Random()
	sealed := keys.Seal(seal.Content, "grant:a|1", []byte(strings.Repeat("x", 1000)))
	for b.Loop() {
		if _, err := keys.Open(seal.Content, "grant:a|1", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
