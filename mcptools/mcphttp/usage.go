package mcphttp

// Usage is how much of each limit is in use.
type Usage struct{ Sessions, Streams, Calls, Bytes UsageOf }

// UsageOf is how much of one limit of all callers is in use.
type UsageOf struct{ Active, Limit int }

// Usage returns how much of the limits in section "mcp" is in use.
func (h *Handler) Usage() Usage {
	return Usage{
		Sessions: h.sessions.usage(), Streams: h.streams.usage(), Calls: h.calls.usage(), Bytes: h.bytes.usage(),
	}
}

func (q *quota) usage() UsageOf {
	q.mu.Lock()
	defer q.mu.Unlock()
	return UsageOf{Active: q.total, Limit: q.maxTotal}
}

func (t *sessionTable) usage() UsageOf {
	t.mu.Lock()
	defer t.mu.Unlock()
	return UsageOf{Active: len(t.open), Limit: t.maxTotal}
}
