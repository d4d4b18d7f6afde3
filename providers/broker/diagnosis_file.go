package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// storeFile returns the path of a store in a file.
func (s *Settings) storeFile() (path string, ok bool) {
	u, err := url.Parse(s.Store)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return filepath.FromSlash(u.Path), true
}

// storeAccess checks the mode of the file. A user who can write could remove it; its content is sealed.
func storeAccess(path string) diagnostics.Outcome {
	info, err := os.Stat(path)
	switch {
	case runtime.GOOS == "windows":
		return diagnostics.Skipped("Windows has no such modes")
	case errors.Is(err, fs.ErrNotExist):
		return diagnostics.Skipped("there is no file yet")
	case err != nil:
		return diagnostics.Failed("it cannot be examined: "+reasonOf(err), "run this command as the user of the "+
			"server, in its container")
	}
	mode := fmt.Sprintf("mode %04o", info.Mode().Perm())
	if info.Mode().Perm()&0o007 != 0 {
		return diagnostics.Warning(mode+": every user of this computer can read or change it", "chmod o= "+
			providers.Quote(path)+", and find out what changed it: the server creates it with mode 0600")
	}
	return diagnostics.OK(mode)
}

// lockPatience is how long another process may need to close the file.
const lockPatience = 200 * time.Millisecond

// fixFolder is the fix for a folder in which the server cannot make its file.
const fixFolder = "make a folder of mode 0700 that belongs to the user of the server, or mount a volume there"

func (x *storeExamination) openFile(ctx context.Context, client *http.Client, path string) diagnostics.Outcome {
	const asServer = "; run this command as the user of the server, in its container"
	dir := filepath.Dir(path)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		info, err := os.Stat(dir)
		switch {
		case err != nil:
			return diagnostics.Failed("the folder "+providers.Quote(dir)+" cannot be used: "+reasonOf(err),
				fixFolder+asServer)
		case !info.IsDir():
			return diagnostics.Failed(providers.Quote(dir)+" is not a folder", "correct provider.store")
		case info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows":
			return diagnostics.Failed(fmt.Sprintf("every user may write the folder (mode %04o): the server does not "+
				"start with it", info.Mode().Perm()), "chmod o-w "+providers.Quote(dir))
		}
		o := diagnostics.OK("the server makes it, in " + providers.Quote(dir))
		o.Stop = "there is no file yet"
		return o
	}
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	f, err := store.OpenFile(patient, path, store.FileOptions{ReadOnly: true})
	switch {
	case errors.Is(err, store.ErrInUse):
		o := x.inUse(ctx, client)
		o.Stop = "the store is in use, and only that process reads it"
		return o
	case errors.Is(err, fs.ErrPermission):
		return diagnostics.Failed("this user cannot read it", "let it belong to the user of the server"+asServer)
	case err != nil:
		return diagnostics.Failed(err.Error(), "repair or restore the file; if it is lost, move it elsewhere, and "+
			"everyone signs in again")
	}
	defer f.Close()
	return x.read(ctx, f, "not in use")
}

// inUse is the outcome if another process has the file open, which should be the server.
func (x *storeExamination) inUse(ctx context.Context, client *http.Client) diagnostics.Outcome {
	for _, address := range token.MetadataURLs(x.origin) {
		if m, err := token.ReadMetadata(ctx, client, address); err == nil && token.NamesIssuer(x.origin, m.Issuer) {
			return diagnostics.OK("in use by another process, and the server runs")
		}
	}
	return diagnostics.Warning("another process uses it, and no server with this issuer answers at "+x.origin+
		": a server with this configuration would not start", "end the process that uses the file, or give each "+
		"server a file of its own; several replicas need a store in Redis")
}

// reasonOf strips the path that the os package puts in front of its errors.
func reasonOf(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}
