// Package audit writes a log of operations in which later changes show: each record contains the hash of the
// record before it, and signed checkpoints cover all records so far. README.md says what the log proves.
package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Event says what a record is about.
type Event string

// All events. EventSegment and EventGap are written by the log itself.
const (
	EventCall                   Event = "call"              // tools, prompts, resources, completion, subscriptions
	EventList                   Event = "list"              // a list of what the server offers
	EventSessionBegin           Event = "session.begin"     // initialize
	EventSessionEnd             Event = "session.end"       // DELETE, or another end of a session
	EventOther                  Event = "other"             // every other operation of an authenticated caller
	EventRefused                Event = "refused"           // a refused operation of an authenticated caller
	EventRefusedUnauthenticated Event = "refused.strangers" // a number of requests without a valid token
	EventReload                 Event = "reload"            // another configuration, in force or refused
	EventStart                  Event = "start"
	EventStop                   Event = "stop"
	EventSegment                Event = "segment" // the first record of each file
	EventGap                    Event = "gap"     // the log could not be written for a while
	EventDenials                Event = "denials" // a list of denied callers came into force
)

// The events of an authorization server of this program. Their names are those of [providers.SignInEvent].
const (
	EventSignInApprove  Event = "signin.approve"  // a person approved or denied the request of a client
	EventSignInComplete Event = "signin.complete" // a person has signed in, or could not
	EventSignInExchange Event = "signin.exchange" // a client exchanged its code
	EventSignInRefresh  Event = "signin.refresh"  // a client used its refresh token
	EventSignInRepeat   Event = "signin.repeat"   // a client used a refresh token again within the grace period
	EventSignInRecheck  Event = "signin.recheck"  // the provider was asked whether the person may still sign in
	EventSignInEnd      Event = "signin.end"      // a sign-in ended before its time
	EventSignInAssert   Event = "signin.assert"   // a client exchanged an identity assertion
)

// SignInEvents returns the events of an authorization server.
func SignInEvents() []Event {
	return []Event{EventSignInApprove, EventSignInComplete, EventSignInExchange, EventSignInRefresh, EventSignInRepeat,
		EventSignInRecheck, EventSignInEnd, EventSignInAssert}
}

// Decision says whether an operation was allowed.
type Decision string

// All decisions.
const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
)

// OutcomeStarted is the outcome of the record that is written before a call runs if audit.required is set. A
// second record at the end of the call has its result.
const OutcomeStarted = "started"

// Record is one entry of the log. Empty members are left out. It never contains a token or the value of an
// argument.
type Record struct {
	// Time is when the record was made; the zero time means now.
	Time     time.Time
	Event    Event
	Decision Decision
	// Outcome and Reason are those of the access log. A session that ends without a DELETE has how it ended as
	// outcome.
	Outcome, Reason string
	// Issuer, Subject, Client and Scopes are those of the caller's token.
	Issuer, Subject, Client string
	Scopes                  []string
	// Address is the IP address of the client, RequestID the ID of the HTTP request, and TraceID that of its
	// trace.
	Address, RequestID, TraceID string
	// OtherAddress is where a repeated refresh token came from first: an IPv4 address or an IPv6 network.
	OtherAddress string
	// SignIn identifies a sign-in, and Resource is what its tokens are for, in the records of [SignInEvents].
	SignIn, Resource string
	// Method is the JSON-RPC method; without one, the HTTP method.
	Method string
	// Tool, Prompt and URI name the target of the operation.
	Tool, Prompt, URI string
	Arguments         Arguments
	// Protocol is the MCP version that the request names, and Session the start of the SHA-256 of its session
	// ID.
	Protocol, Session string
	// Config is the digest of the configuration that judged the operation.
	Config string
	// Generation is the number of that configuration since the start, in records of EventReload. Keys are the
	// settings that changed, or those for which the new configuration was refused, and Loosened those of them that
	// allow more than before.
	Generation     uint64
	Keys, Loosened []string
	// Duration is how long the operation took; negative means that it has none.
	Duration time.Duration
	// Count is the number of events that the record covers: refusals, lost records, or entries of a list.
	Count int64
	// Digest is the SHA-256 of a list, in hexadecimal.
	Digest string
}

// HashSession returns the member "session" of a session ID: the ID itself would let readers of the log use
// the session.
func HashSession(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// recordVersion is the member "v" of each record.
const recordVersion = "1"

// maxMember is the limit of a member, in bytes, and maxEntries that of a list.
const (
	maxMember  = 512
	maxEntries = 64
)

// appendBody appends the members of r between seq and prev, without a comma at either end.
func appendBody(b []byte, r *Record) []byte {
	b = append(b, `"time":"`...)
	b = appendTime(b, r.Time)
	b = append(b, '"')
	for _, member := range [...]struct{ name, value string }{
		{"event", string(r.Event)}, {"decision", string(r.Decision)}, {"outcome", r.Outcome}, {"reason", r.Reason},
		{"iss", r.Issuer}, {"sub", r.Subject}, {"client_id", r.Client}, {"ip", r.Address},
		{"first_ip", r.OtherAddress}, {"sign_in", r.SignIn}, {"resource", r.Resource},
		{"request_id", r.RequestID}, {"trace_id", r.TraceID},
		{"method", r.Method}, {"tool", r.Tool}, {"prompt", r.Prompt}, {"uri", r.URI},
	} {
		b = appendMember(b, member.name, member.value)
	}
	if r.Arguments.json != "" {
		b = append(b, `,"args":`...)
		b = append(b, r.Arguments.json...)
	}
	if r.Arguments.omitted > 0 {
		b = append(b, `,"args_omitted":`...)
		b = strconv.AppendInt(b, int64(r.Arguments.omitted), 10)
	}
	b = appendList(b, "scopes", r.Scopes)
	b = appendMember(b, "protocol", r.Protocol)
	b = appendMember(b, "session", r.Session)
	b = appendMember(b, "config", r.Config)
	if r.Generation > 0 {
		b = append(b, `,"generation":`...)
		b = strconv.AppendUint(b, r.Generation, 10)
	}
	b = appendList(b, "keys", r.Keys)
	b = appendList(b, "loosened", r.Loosened)
	b = appendMember(b, "digest", r.Digest)
	if r.Count > 0 {
		b = append(b, `,"count":`...)
		b = strconv.AppendInt(b, r.Count, 10)
	}
	if r.Duration >= 0 {
		b = append(b, `,"us":`...)
		b = strconv.AppendInt(b, r.Duration.Microseconds(), 10)
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
}

func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

// appendList appends the first entries of a list.
func appendList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '[')
	for i, entry := range list[:min(len(list), maxEntries)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, entry)
	}
	return append(b, ']')
}

// appendString appends s as a JSON string. A long string is cut and gets the start of its hash, so that two
// callers never look the same. Characters that a terminal could interpret are escaped.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if len(s) > maxMember {
		const kept = maxMember - 64
		sum := sha256.Sum256([]byte(s))
		b = appendEscaped(b, s[:kept])
		b = append(b, "... sha256:"...)
		b = hex.AppendEncode(b, sum[:16])
	} else {
		b = appendEscaped(b, s)
	}
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			b = append(b, c)
			i++
			continue
		}
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1, c < utf8.RuneSelf:
			b = appendUnicode(b, uint16(r))
		case unicode.IsGraphic(r):
			b = append(b, s[i:i+size]...)
		case r > 0xffff:
			r -= 0x10000
			b = appendUnicode(b, uint16(0xd800+r>>10))
			b = appendUnicode(b, uint16(0xdc00+r&0x3ff))
		default:
			b = appendUnicode(b, uint16(r))
		}
		i += size
	}
	return b
}

func appendUnicode(b []byte, unit uint16) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}

// head is the position in the chain after a record.
type head struct {
	seq  uint64
	hash [sha256.Size]byte
}

// text is the form of the hash in records and checkpoints.
func (h head) text() string { return base64.RawURLEncoding.EncodeToString(h.hash[:]) }

// appendLine appends the record after h that has the members in body, and returns the head after it. The hash
// of a record is that of its whole line, the line end included.
func (h head) appendLine(b, body []byte) ([]byte, head) {
	start := len(b)
	b = append(b, `{"v":`+recordVersion+`,"seq":`...)
	b = strconv.AppendUint(b, h.seq+1, 10)
	b = append(b, ',')
	b = append(b, body...)
	b = append(b, `,"prev":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, h.hash[:])
	b = append(b, '"', '}', '\n')
	return b, head{seq: h.seq + 1, hash: sha256.Sum256(b[start:])}
}
