package mcphttp

import (
	"net/http"
	"slices"
	"time"
)

// notForOthers keeps proxies from storing what is for one caller, and from changing it.
const notForOthers = "no-cache, no-transform"

// beginEvents makes a stream of events of an answer (HTML, section 9.2), and says in which session, if it begins one.
func beginEvents(w http.ResponseWriter, session string) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", notForOthers)
	header.Set("X-Accel-Buffering", "no") // MCP 2026-07-28, Streamable HTTP, Receiving Messages
	if session != "" {
		header.Set(sessionHeader, session)
	}
}

// writeEvent writes a message as an event. The message is one line, as both encoders write it.
func writeEvent(w http.ResponseWriter, message []byte, patience time.Duration) error {
	const begin, end = "event: message\ndata: ", "\n\n"
	event := make([]byte, 0, len(begin)+len(message)+len(end))
	event = append(event, begin...)
	event = append(event, message...)
	return writeNow(w, append(event, end...), patience)
}

// writeComment writes a comment, which clients ignore and proxies pass on (HTML, section 9.2.7).
func writeComment(w http.ResponseWriter, patience time.Duration) error {
	return writeNow(w, []byte(": keepalive\n\n"), patience)
}

// writeNow writes text and sends it.
func writeNow(w http.ResponseWriter, text []byte, patience time.Duration) error {
	if err := writeSlowly(w, text, patience); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// piece is what a client must read within its time, however slow its line is.
const piece = 64 << 10

// writeSlowly writes text in pieces, each with its own time.
func writeSlowly(w http.ResponseWriter, text []byte, patience time.Duration) error {
	for one := range slices.Chunk(text, piece) {
		hurry(w, patience)
		if _, err := w.Write(one); err != nil {
			return err
		}
	}
	return nil
}

// hurry begins the time that the client has to read. It counts only while something waits to be written, with what net/http writes
// at the end of an answer.
func hurry(w http.ResponseWriter, patience time.Duration) {
	connection := *http.NewResponseController(w)
	_ = connection.SetWriteDeadline(time.Now().Add(patience)) // not supported by a test's recorder
}
