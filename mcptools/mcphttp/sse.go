package mcphttp

import (
	"net/http"
	"slices"
	"time"
)

// cacheControl keeps proxies from storing and from transforming a response that is for one caller.
const cacheControl = "no-cache, no-transform"

// startSSE sets the headers of an event stream (HTML Living Standard, section 9.2). newSessionID is the session that
// the response opens, or empty.
func startSSE(w http.ResponseWriter, newSessionID string) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", cacheControl)
	header.Set("X-Accel-Buffering", "no") // MCP 2026-07-28, Streamable HTTP, Receiving Messages
	if newSessionID != "" {
		header.Set(sessionHeader, newSessionID)
	}
}

// writeEvent writes a message as an event. The message is one line, as both encoders write it.
func writeEvent(w http.ResponseWriter, message []byte, timeout time.Duration) error {
	const start, end = "event: message\ndata: ", "\n\n"
	event := make([]byte, 0, len(start)+len(message)+len(end))
	event = append(event, start...)
	event = append(event, message...)
	return writeAndFlush(w, append(event, end...), timeout)
}

// writeComment writes a comment, which clients ignore and proxies forward (HTML Living Standard, section 9.2.7).
func writeComment(w http.ResponseWriter, timeout time.Duration) error {
	return writeAndFlush(w, []byte(": keepalive\n\n"), timeout)
}

func writeAndFlush(w http.ResponseWriter, text []byte, timeout time.Duration) error {
	if err := writeChunks(w, text, timeout); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// chunkSize is how much is written under one write deadline, in bytes.
const chunkSize = 64 << 10

// writeChunks writes text in chunks, each with a write deadline of its own, so that a long response to a slow client
// does not time out.
func writeChunks(w http.ResponseWriter, text []byte, timeout time.Duration) error {
	for chunk := range slices.Chunk(text, chunkSize) {
		setWriteDeadline(w, timeout)
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// setWriteDeadline starts the time in which the client must read. The deadline matters only while data is waiting to
// be written, including what net/http writes at the end of a response.
func setWriteDeadline(w http.ResponseWriter, timeout time.Duration) {
	connection := *http.NewResponseController(w)
	_ = connection.SetWriteDeadline(time.Now().Add(timeout)) // a test's recorder does not support it
}
