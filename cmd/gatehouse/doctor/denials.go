package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/server/denials"
)

// addDenialsCheck adds the check of the file of denials, if there is one.
func (e *examination) addDenialsCheck() {
	if e.Settings.Denials.File == "" {
		return
	}
	e.checks.add(check{
		name: "config.denials", expected: "denials.file can be read, and only its owner can change it",
		run: e.denials,
	})
}

func (e *examination) denials(context.Context) diagnostics.Outcome {
	file := e.Settings.Denials.File
	list, err := denials.Read(file)
	if bad, ok := errors.AsType[*denials.FileError](err); ok {
		first := bad.Findings[0]
		found := first.Reason
		if first.Line > 0 {
			found = fmt.Sprintf("line %d: %s", first.Line, found)
		}
		if others := len(bad.Findings) - 1; others > 0 {
			found += fmt.Sprintf(" (and %d more)", others)
		}
		return diagnostics.Failed(found+"; a server that runs keeps the last good list, and does not start again", first.Fix)
	}
	// Windows has no such mode.
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o022 != 0 && runtime.GOOS != "windows" {
		return diagnostics.Warning(fmt.Sprintf("mode %04o: others than its owner can deny callers, and admit denied ones",
			info.Mode().Perm()), "chmod go-w "+providers.Quote(file))
	}
	ended := 0
	for _, entry := range list.Entries() {
		if entry.HasEnded(time.Now()) {
			ended++
		}
	}
	return diagnostics.OK(fmt.Sprintf("%d denials, of which %d have ended", list.Len(), ended))
}
