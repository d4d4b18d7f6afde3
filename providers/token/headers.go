package token

import (
	"strings"
	"sync"
)

// headers are those that the rules let pass, encoded. The tokens of an issuer have one for each of its keys.
type headers struct {
	mu    sync.RWMutex
	known map[string]bool
}

const (
	// rememberedHeaders bounds how many are known at once, and rememberedHeaderBytes how long each may be, encoded: anybody can
	// make one up.
	rememberedHeaders     = 64
	rememberedHeaderBytes = 768
)

func (h *headers) has(encoded string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.known[encoded]
}

func (h *headers) add(encoded string) {
	if len(encoded) > rememberedHeaderBytes {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= rememberedHeaders {
		h.known = map[string]bool{}
	}
	h.known[strings.Clone(encoded)] = true // not the whole token with it
}
