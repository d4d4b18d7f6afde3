package upstream

import (
	"context"
	"encoding/json"

	"gatehouse/providers/rawjson"
)

// link is a connection to an upstream: to one process, or by HTTP to one URL. It knows JSON-RPC, but not MCP.
type link interface {
	// roundTrip sends a request and returns the response. It calls progress, unless that is nil, with the progress
	// notifications of the request, from the same goroutine. The error is a *failure, errSessionUnknown or that of
	// ctx; when ctx ends, the upstream is told.
	roundTrip(ctx context.Context, r request, progress func(progress)) (reply, error)
	// notify sends a notification.
	notify(ctx context.Context, method string) error
	// agreed tells the link the protocol version, after which it is.
	agreed(version string)
	// lost is closed when no request can be sent any more, and cause says why.
	lost() <-chan struct{}
	cause() error
	// output returns the last lines that the process wrote to stderr.
	output() []string
	// close ends the link, and with it the process. It returns when the process has ended; hurry, which may be nil,
	// ends it at once.
	close(hurry <-chan struct{})
}

// request is one request.
type request struct {
	id     requestID
	method string
	// tool is the name in a tools/call.
	tool string
	// body is the whole message, on one line.
	body []byte
	// headers are for HTTP, in addition to those that every request has.
	headers map[string]string
}

// progress is a progress notification.
type progress struct {
	progress, total float64
	message         string
}

// maxProgressText bounds the message of a progress notification, in bytes.
const maxProgressText = 4 << 10

// readProgress reads the params of a progress notification, and the request that it belongs to.
func readProgress(params json.RawMessage) (requestID, progress, bool) {
	var p progress
	var members [4]json.RawMessage
	if rawjson.Members(params, members[:], "progressToken", "progress", "total", "message") != nil {
		return 0, p, false
	}
	id := parseRequestID(members[0])
	if id == 0 || json.Unmarshal(members[1], &p.progress) != nil {
		return 0, p, false
	}
	if members[2] != nil && json.Unmarshal(members[2], &p.total) != nil {
		return 0, p, false
	}
	if text, ok := rawjson.Text(members[3]); members[3] != nil && ok && len(text) <= maxProgressText {
		p.message = text
	}
	return id, p, true
}
