package doctor

import (
	"context"
	"fmt"
	"path/filepath"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// minFreeForStore is what should be free for the file of a store, in bytes: 100,000 sign-ins need about 200 MB.
const minFreeForStore = 256 << 20

// addSealedFileCheck adds the check of the disk of the provider's data, if it has any.
func (e *examination) addSealedFileCheck() {
	if e.diagnosis.SealedFile == "" {
		return
	}
	e.checks.add(check{
		name: "store.disk", expected: "the disk keeps what was written, and has room", run: e.sealedFileDisk,
	})
}

// sealedFileDisk warns of file systems on which data can be lost although it was synced, or on which the lock against a
// second server may not hold.
func (e *examination) sealedFileDisk(context.Context) diagnostics.Outcome {
	dir := filepath.Dir(e.diagnosis.SealedFile)
	d, err := e.diskOf(dir)
	if err != nil {
		return diagnostics.Skipped(noDisk)
	}
	onAVolume := "mount a volume on a disk at " + providers.Quote(dir)
	const everyone = ", and everyone has to sign in again"
	switch d.Kind {
	case "tmpfs", "ramfs":
		return diagnostics.Warning(d.Kind+": the store is in memory, and lost with the computer or container"+everyone,
			onAVolume)
	case "overlay":
		return diagnostics.Warning("overlay: the store is in the container, and lost with it"+everyone, onAVolume)
	case "":
	default:
		return diagnostics.Warning(d.Kind+": whether the lock against a second server and the sync to disk hold "+
			"depends on the file server and the options of the mount", "use a local disk, or a store in Redis")
	}
	room := fmt.Sprintf("%d MiB free", d.Free>>20)
	if d.Free < minFreeForStore {
		return diagnostics.Warning(room+", which is less than 256 MiB", "make room: with a full disk no person can "+
			"sign in, and nothing is renewed")
	}
	return diagnostics.OK(room)
}
