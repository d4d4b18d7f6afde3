package mcphttp

import (
	"context"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"pgregory.net/rapid"

	"gatehouse/mcptools"
)

// shape makes a JSON value of about size bytes.
type shape func(size int) string

// randomShape draws one way to fill a message: a unit that is repeated in a list or an object, below some levels.
func randomShape(t *rapid.T) shape {
	unit := rapid.SampledFrom([]string{
		`0`, `-1.5e3`, `"x"`, `"\u0041\n"`, `"é"`, `null`, `[]`, `{}`, `{"":0}`, `{"a":{"b":[1]}}`, `[[[]]]`,
		`"` + strings.Repeat("y", 300) + `"`,
	}).Draw(t, "unit")
	levels := rapid.IntRange(0, 50).Draw(t, "levels")
	inObject, inString := rapid.Bool().Draw(t, "in an object"), rapid.Bool().Draw(t, "in one string")
	return func(size int) string {
		var filled string
		switch {
		case inString:
			filled = `"` + strings.Repeat(
				strings.NewReplacer(`"`, "q", `\`, `\\`).Replace(unit), size/len(unit)+1,
			) + `"`
		case inObject:
			filled = `{` + strings.ReplaceAll(members(size/(len(unit)+8)+1), ":0,", ":"+unit+",") + `"z":0}`
		default:
			filled = `[` + repeated(unit, size/(len(unit)+1)+1) + `]`
		}
		return strings.Repeat("[", levels) + filled + strings.Repeat("]", levels)
	}
}

// A message of twice the size costs about twice as much memory, whatever its shape, and with GATEHOUSE_LONG twice as
// much time: no shape makes a small message expensive.
func TestHandler_CostOfAMessageIsLinearInItsSize(t *testing.T) {
	takesAnything := mcptools.Define(
		mcptools.Definition{Name: "take", Description: "x"},
		func(context.Context, *mcp.CallToolRequest, map[string]any) (*mcp.CallToolResult, any, error) {
			return text("done"), nil, nil
		},
	)
	h := handlerOf(mcptools.Catalog{Tools: []mcptools.Tool{takesAnything}})
	read := func(arguments string) {
		serveAsAlice(h, httptest.NewRecorder(), modernCall("take", `{"x":`+arguments+`}`).request())
	}
	cost := func(arguments string) (bytes uint64, took time.Duration) {
		var before, after runtime.MemStats
		took = time.Hour
		for range 3 {
			runtime.ReadMemStats(&before)
			began := time.Now()
			read(arguments)
			took = min(took, time.Since(began))
			runtime.ReadMemStats(&after)
			bytes = after.TotalAlloc - before.TotalAlloc
		}
		return bytes, took
	}
	size := 4 << 10
	if os.Getenv("GATEHOUSE_LONG") != "" {
		size = 256 << 10
	}
	rapid.Check(t, func(t *rapid.T) {
		s := randomShape(t)
		once, onceTook := cost(s(size))
		twice, twiceTook := cost(s(2 * size))
		if twice > 3*once+256<<10 {
			t.Fatalf("%d bytes cost %d bytes of memory, twice as many cost %d", size, once, twice)
		}
		for tries := 0; size > 4<<10 && twiceTook > 4*onceTook+20*time.Millisecond; tries++ {
			if tries == 5 { // other programs can delay a few attempts
				t.Fatalf("%d bytes take %v, twice as many take %v", size, onceTook, twiceTook)
			}
			_, onceTook = cost(s(size))
			_, twiceTook = cost(s(2 * size))
		}
		if most := uint64(200*len(s(2*size)) + 256<<10); twice > most {
			t.Fatalf("%d bytes cost %d bytes of memory", len(s(2*size)), twice)
		}
	})
}
