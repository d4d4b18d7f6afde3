package token

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"gatehouse/providers"
)

const (
	// activeTokensKept bounds how many active tokens are remembered, at about 200 bytes each.
	activeTokensKept = 10_000
	// answerBytesKept bounds the memory of the answers that may be used again. 10,000 answers of usual length
	// fit.
	answerBytesKept = 16 << 20
)

// activeTokens remembers which tokens the issuer called active when it was last asked, by their hash, until
// they expire. The answers themselves are kept for as long as they may be used again. A token whose answer
// was dropped is asked about again, but it is not a token that nothing is known of: see
// [introspector.Verify].
type activeTokens struct {
	mu      sync.Mutex
	expiry  *simplelru.LRU[fingerprint, time.Time]
	answers *simplelru.LRU[fingerprint, activeAnswer] // in the order in which they came
	bytes   int                                       // of the answers
}

// activeAnswer is what the issuer said about an active token.
type activeAnswer struct {
	id    *providers.Identity
	until time.Time
	bytes int
}

func newActiveTokens() *activeTokens {
	a := &activeTokens{}
	// The sizes are constants above zero, of which alone the constructor would complain.
	a.expiry, _ = simplelru.NewLRU[fingerprint, time.Time](activeTokensKept, nil)
	a.answers, _ = simplelru.NewLRU(activeTokensKept, func(_ fingerprint, dropped activeAnswer) { a.bytes -= dropped.bytes })
	return a
}

// find returns what the issuer said about the token, nil if the answer may not be used any more, and whether
// the token was active then and has not expired.
func (a *activeTokens) find(f fingerprint, now time.Time) (id *providers.Identity, active bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	expiry, ok := a.expiry.Get(f)
	if ok && !now.Before(expiry) {
		a.drop(f)
		return nil, false
	}
	if answer, kept := a.answers.Peek(f); kept && now.Before(answer.until) {
		return answer.id, ok
	}
	return nil, ok
}

// add remembers that the token is active until expiry, and until then at most what the issuer said about it.
// id must not be changed afterwards.
func (a *activeTokens) add(f fingerprint, id *providers.Identity, until, expiry, now time.Time) {
	answer := activeAnswer{id: id, until: until, bytes: sizeOf(id)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(f)
	a.expiry.Add(f, expiry)
	if !now.Before(until) || answer.bytes > answerBytesKept {
		return
	}
	for {
		_, oldest, ok := a.answers.GetOldest()
		if !ok || now.Before(oldest.until) && a.bytes+answer.bytes <= answerBytesKept {
			break
		}
		a.answers.RemoveOldest()
	}
	a.bytes += answer.bytes
	a.answers.Add(f, answer)
}

// remove forgets a token that is not active any more.
func (a *activeTokens) remove(f fingerprint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(f)
}

func (a *activeTokens) drop(f fingerprint) {
	a.expiry.Remove(f)
	a.answers.Remove(f)
}

// sizeOf is about how many bytes of memory id takes.
func sizeOf(id *providers.Identity) int {
	const fixed, perText, perMember = 512, 16, 48
	size := fixed + len(id.Issuer) + len(id.Subject) + len(id.Client)
	for _, list := range [][]string{id.Audience, id.Scopes} {
		for _, text := range list {
			size += perText + len(text)
		}
	}
	claims, _ := id.TokenDetails().Claims.(rawObject)
	for _, m := range claims {
		size += perMember + len(m.name) + len(m.value)
	}
	return size
}

// compact returns a copy of o that does not keep the whole document in memory that o was read from.
func (o rawObject) compact() rawObject {
	size := 0
	for _, m := range o {
		size += len(m.name) + len(m.value)
	}
	text, members := make([]byte, 0, size), make(rawObject, len(o))
	put := func(part []byte) []byte {
		from := len(text)
		text = append(text, part...)
		return text[from:len(text):len(text)]
	}
	for i, m := range o {
		members[i] = member{name: put(m.name), value: json.RawMessage(put(m.value))}
	}
	return members
}
