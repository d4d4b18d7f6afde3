package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
)

// others are the permissions of users that are neither the owner nor in the group of a file.
const others fs.FileMode = 0o007

// addSecretFileChecks adds a check for each file with a secret. Their content is valid: it is part of the
// configuration.
func (e *examination) addSecretFileChecks() {
	files := e.Settings.SecretFiles()
	for _, file := range e.diagnosis.SecretFiles {
		files = append(files, configs.SecretFile{Key: file.Setting, Path: file.Path})
	}
	for _, file := range files {
		e.checks.add(check{
			name: "config.secret_file", subject: file.Key, expected: "other users can neither read nor change it",
			run: func(context.Context) diagnostics.Outcome { return e.secretFile(file) },
		})
	}
}

func (e *examination) secretFile(file configs.SecretFile) diagnostics.Outcome {
	info, err := os.Stat(file.Path)
	if err != nil {
		return diagnostics.Warning("it was read, and its mode cannot be: "+reasonOf(err), "run this command as the user "+
			"of the server")
	}
	shown := providers.Quote(file.Path)
	if dir, err := e.Settings.Audit.Folder(); err == nil && dir != "" && isWithin(file.Path, dir) {
		return diagnostics.Warning("it is in the folder of the audit log: a copy of the log has the key",
			"move "+shown+" to another folder, and keep it away from the log")
	}
	if sealed := e.diagnosis.SealedFile; sealed != "" && isWithin(file.Path, filepath.Dir(sealed)) {
		return diagnostics.Warning("it is in the folder of "+providers.Quote(sealed)+": a copy of the folder has the data "+
			"and the secret", "move "+shown+" to another folder, and back the two up apart")
	}
	if runtime.GOOS == "windows" || !info.Mode().IsRegular() {
		return diagnostics.OK("its mode says nothing here")
	}
	mode := fmt.Sprintf("mode %04o", info.Mode().Perm())
	switch {
	case info.Mode()&others == 0:
		return diagnostics.OK(mode)
	case keepsOthersOut(filepath.Dir(file.Path)):
		return diagnostics.OK(mode + ", in a folder that other users cannot enter")
	case e.Container && info.Mode()&others&0o002 == 0:
		// The file of a secret that is mounted has the mode that it has outside, where its folder keeps others out.
		return diagnostics.OK(mode + ", in a container: outside, a folder of mode 0700 must keep other users out")
	}
	return diagnostics.Warning(mode+": every user of this computer can read or change it", "chmod o= "+shown)
}

// keepsOthersOut reports whether a folder, or one above it, can be entered by its owner and group alone.
func keepsOthersOut(dir string) bool {
	dir, err := filepath.Abs(dir)
	for err == nil {
		info, statErr := os.Stat(dir)
		if statErr == nil && info.Mode()&0o001 == 0 {
			return true
		}
		if above := filepath.Dir(dir); above != dir {
			dir = above
			continue
		}
		break
	}
	return false
}

// isWithin reports whether path is in dir or in a folder below it.
func isWithin(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false
	}
	inside, err := filepath.Rel(dir, path)
	return err == nil && inside != ".." && !strings.HasPrefix(inside, ".."+string(filepath.Separator))
}
