package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/server/audit"
)

// Disk is the file system of a folder.
type Disk struct {
	// Kind is empty for a local disk, and else a name such as tmpfs or nfs.
	Kind string
	// Free is what an ordinary user may still write, in bytes.
	Free uint64
	// FreeFiles is how many files can still be created, if HasFileLimit is set.
	FreeFiles    uint64
	HasFileLimit bool
}

const (
	// minFree and minFreeFiles are what should be free for an audit log. A record has about 700 bytes; a file begins at
	// each start, and every 64 MiB.
	minFree      = 1 << 30
	minFreeFiles = 1000
	// checkpointGrace is how late a checkpoint may be.
	checkpointGrace = 10 * time.Second

	noLog = "there is no log yet"
)

// auditChecks are the checks of the folder of the audit log. They change nothing in it.
type auditChecks struct {
	*examination
	dir string
	log audit.Inspection
}

func (e *examination) addAuditChecks() {
	if e.Settings.Audit.Dir == "" {
		return
	}
	a := &auditChecks{examination: e}
	add := func(name, expected string, run runFunc, needs ...*check) *check {
		return e.checks.add(check{name: name, expected: expected, run: run, needs: needs})
	}
	folder := add("audit.folder", "this user can write there, the log can be continued, and only this server does it",
		a.folder)
	add("audit.access", "other users can neither read nor change the log", a.access, folder)
	add("audit.disk", "it keeps what was written, and has room", a.disk)
	add("audit.checkpoint", "checkpoints follow the records", a.checkpoint, folder)
	add("audit.key", "the key of the checkpoints is that of the log", a.key)
}

// existing returns the folder, or the one above it that exists.
func (a *auditChecks) existing() (dir string, info os.FileInfo, err error) {
	for dir = a.dir; ; dir = filepath.Dir(dir) {
		info, err = os.Stat(dir)
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, info, err
		}
	}
}

func (a *auditChecks) folder(ctx context.Context) diagnostics.Outcome {
	dir, err := a.Settings.Audit.Folder()
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return diagnostics.Failed(err.Error(), "set audit.dir to a path without {hostname}")
	}
	a.dir = dir
	above, info, err := a.existing()
	shown := providers.Quote(above)
	switch {
	case err != nil:
		return diagnostics.Failed(shown+" cannot be examined: "+reasonOf(err), "correct audit.dir"+asServer)
	case !info.IsDir():
		return diagnostics.Failed(shown+" is not a folder", "set audit.dir to a folder")
	}
	if err := canWrite(above); err != nil {
		return diagnostics.Failed("this user cannot write into "+shown+": "+reasonOf(err),
			"make a folder of mode 0700 that belongs to the user of the server, or mount it writable"+asServer)
	}
	if above != dir {
		o := diagnostics.OK("the server makes it, in " + shown)
		o.Stop = noLog
		return o
	}
	return a.inspect(ctx)
}

// asServer is the end of the fix for what this user may not do.
const asServer = "; run this command as the user of the server, in its container"

func (a *auditChecks) inspect(ctx context.Context) diagnostics.Outcome {
	var err error
	a.log, err = audit.Inspect(a.dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return diagnostics.Failed("this user cannot read it: "+err.Error(),
			"let it belong to the user of the server"+asServer)
	case errors.Is(err, audit.ErrUnreadable):
		return diagnostics.Failed(err.Error(), "move all files elsewhere, so that the server begins another log, and verify "+
			"the old one there (`gatehouse audit verify`)")
	case err != nil:
		return diagnostics.Failed(err.Error(), "repair the folder, or set audit.dir to another one")
	}
	writer := "no process writes there"
	if a.log.Locked {
		if !a.runsHere(ctx) {
			return diagnostics.Warning("another process writes there, and no server answers at "+a.LocalHealth+
				": a server with this configuration would not start",
				"none if that is the server, in another container; otherwise give each server a folder of its own, for "+
					"example with {hostname} in audit.dir")
		}
		writer = "the server that runs here writes there"
	}
	if a.log.Segments == 0 {
		return diagnostics.OK(writer + ", and " + noLog)
	}
	return diagnostics.OK(fmt.Sprintf("%s; segments: %d, last record: %d, of %s", writer, a.log.Segments, a.log.Last,
		a.log.LastTime.UTC().Format(time.RFC3339)))
}

// runsHere reports whether the server answers on this computer.
func (e *examination) runsHere(ctx context.Context) bool {
	if e.LocalHealth == "" {
		return false
	}
	r, err := e.network.request(ctx, http.MethodGet, e.LocalHealth, "", nil)
	return err == nil && (isHealthy(r) || isStuck(r))
}

// access checks the modes: the files have 0600, unless something changed them.
func (a *auditChecks) access(context.Context) diagnostics.Outcome {
	if runtime.GOOS == "windows" {
		return diagnostics.Skipped("Windows has no such modes")
	}
	info, err := os.Stat(a.dir)
	if err != nil {
		return diagnostics.Failed(reasonOf(err), "run this command as the user of the server")
	}
	if info.Mode()&others != 0 {
		return diagnostics.Warning(fmt.Sprintf("the folder has mode %04o", info.Mode().Perm()),
			"chmod o= "+providers.Quote(a.dir))
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return diagnostics.Failed(reasonOf(err), "run this command as the user of the server")
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && info.Mode()&others != 0 {
			return diagnostics.Warning(fmt.Sprintf("%s has mode %04o", providers.Quote(entry.Name()), info.Mode().Perm()),
				"chmod o= "+providers.Quote(filepath.Join(a.dir, entry.Name()))+", and find out what changed it: the server "+
					"creates files with mode 0600")
		}
	}
	return diagnostics.OK(fmt.Sprintf("mode %04o", info.Mode().Perm()))
}

// disk warns of file systems on which records can be lost although the server has synced them, or on which the lock
// against a second server may not hold.
func (a *auditChecks) disk(context.Context) diagnostics.Outcome {
	dir, _, err := a.existing()
	if a.dir == "" || err != nil {
		return diagnostics.Skipped("audit.folder failed")
	}
	d, err := a.diskOf(dir)
	if err != nil {
		return diagnostics.Skipped(noDisk)
	}
	const onAVolume = "mount a volume on a disk for audit.dir"
	switch d.Kind {
	case "tmpfs", "ramfs":
		return diagnostics.Warning(d.Kind+": the log is in memory, and lost with the computer or container", onAVolume)
	case "overlay":
		return diagnostics.Warning("overlay: the log is in the container, and lost with it", onAVolume)
	case "":
	default:
		return diagnostics.Warning(d.Kind+": whether the lock against a second server and the sync to disk hold depends on "+
			"the file server and the options of the mount", "use a local disk; or give each server a folder of its own with "+
			"{hostname}, and mount with locks and synchronous writes")
	}
	const makeRoom = "make room: old files segment-... may be moved elsewhere as a whole, the oldest first; a full disk " +
		"loses records, or stops all calls if audit.required is set"
	room := fmt.Sprintf("%d MiB free", d.Free>>20)
	if d.Free < minFree {
		return diagnostics.Warning(room+", which is less than 1 GiB", makeRoom)
	}
	if d.HasFileLimit && d.FreeFiles < minFreeFiles {
		return diagnostics.Warning(fmt.Sprintf("only %d more files can be created (inodes)", d.FreeFiles), makeRoom)
	}
	return diagnostics.OK(room)
}

const noDisk = "this system does not tell"

func (e *examination) diskOf(dir string) (Disk, error) {
	if e.DiskOf != nil {
		return e.DiskOf(dir)
	}
	return diskOf(dir)
}

// checkpoint warns of records that a checkpoint should cover by now.
func (a *auditChecks) checkpoint(context.Context) diagnostics.Outcome {
	if a.log.Last == 0 {
		return diagnostics.Skipped(noLog)
	}
	last, since := "there is none yet", a.log.Begun
	if at := a.log.CheckpointTime; !at.IsZero() {
		last, since = "the last one is of "+at.UTC().Format(time.RFC3339), at
	}
	uncovered := a.log.Last - min(a.log.Checkpoint, a.log.Last)
	found := fmt.Sprintf("%s; records that none covers: %d", last, uncovered)
	late := a.log.LastTime.Sub(since)
	if uncovered > 0 && late > 2*a.Settings.Audit.Checkpoint+checkpointGrace {
		return diagnostics.Warning(fmt.Sprintf("%s, of up to %s later", found, late.Round(time.Second)),
			`the server's log says why ("no new checkpoint"); until there is one, these records can be cut off unseen`)
	}
	return diagnostics.OK(found)
}

// key shows the public key, for the auditor.
func (a *auditChecks) key(context.Context) diagnostics.Outcome {
	public, err := audit.PublicKey(a.Settings.Audit.SigningKey.Reveal())
	if err != nil {
		return diagnostics.Failed("audit.signing_key "+err.Error(), "create one with `gatehouse audit key FILE`")
	}
	if a.log.Key != "" && a.log.Key != audit.KeyID(public) {
		return diagnostics.Warning("the log was written with "+providers.Quote(a.log.Key)+", and the public key of "+
			"audit.signing_key is "+public,
			"if the key was replaced on purpose, restart the server, keep both public keys, and give both to `gatehouse audit "+
				"verify` (--key OLD --key NEW); otherwise restore the old one")
	}
	return diagnostics.OK("the public key is " + public)
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}
