package providers

import "sync"

// headers are those that the rules let pass. The tokens of an issuer have one for each of its keys.
type headers struct {
	mu    sync.RWMutex
	known map[string]bool
}

const (
	// rememberedHeaders bounds how many are known at once, and rememberedHeaderBytes how long each may be: anybody can make one up.
	rememberedHeaders     = 64
	rememberedHeaderBytes = 512
)

func (h *headers) has(raw []byte) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.known[string(raw)]
}

func (h *headers) add(raw []byte) {
	if len(raw) > rememberedHeaderBytes {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= rememberedHeaders {
		h.known = map[string]bool{}
	}
	h.known[string(raw)] = true
}
