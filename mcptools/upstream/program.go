package upstream

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// CheckProgram reports why a program cannot be run. A program in the current folder needs a path: its name alone could
// be that of a file which someone else has put there.
func CheckProgram(name string) error {
	_, err := exec.LookPath(name)
	var failed *exec.Error
	switch {
	case errors.Is(err, exec.ErrDot):
		return fmt.Errorf("%q is in the current folder, which PATH names; to run it, write ./%s", name, name)
	case errors.Is(err, exec.ErrNotFound) && strings.ContainsAny(name, " \t"):
		return fmt.Errorf("there is no program %q; write its arguments as words of their own, because no shell is used",
			name)
	case errors.Is(err, exec.ErrNotFound) && isFile(name):
		return fmt.Errorf("there is no program %q in PATH; to run the file in the current folder, write ./%s", name, name)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("there is no program %q in PATH", name)
	case errors.As(err, &failed):
		return fmt.Errorf("%q cannot be run: %w", name, failed.Err)
	}
	return err
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// launcher is a program that downloads a package, and runs it.
type launcher struct {
	words []string // of the command: the program and its subcommand
	// packageFlags name the package; without them it is the first argument.
	packageFlags []string
	// valueFlags have a value in the next argument.
	valueFlags []string
}

func launchers() []launcher {
	npm := []string{"-p", "--package"}
	npmValues := []string{"-c", "--call", "-w", "--workspace", "--registry", "--prefix", "--cache"}
	uv := []string{"-p", "--python", "--with", "--index", "--index-url", "--directory", "--with-requirements"}
	return []launcher{
		{[]string{"npx"}, npm, npmValues},
		{[]string{"npm", "exec"}, npm, npmValues},
		{[]string{"npm", "x"}, npm, npmValues},
		{[]string{"pnpm", "dlx"}, []string{"--package"}, nil},
		{[]string{"pnpx"}, []string{"--package"}, nil},
		{[]string{"yarn", "dlx"}, npm, nil},
		{[]string{"bunx"}, npm, nil},
		{[]string{"uvx"}, []string{"--from"}, uv},
		{[]string{"uv", "tool", "run"}, []string{"--from"}, uv},
		{[]string{"pipx", "run"}, []string{"--spec"}, []string{"--python", "--pip-args", "--index-url", "-i"}},
	}
}

// Unpinned returns the package that the command downloads in whatever version is the newest; "" if there is none, or
// its version is fixed.
func (c Command) Unpinned() string {
	for _, l := range launchers() {
		if len(c) < len(l.words) || !slices.Equal(append([]string{programName(c[0])}, c[1:len(l.words)]...), l.words) {
			continue
		}
		if name := l.packageIn(c[len(l.words):]); name != "" && !isPinned(name) {
			return name
		}
		return ""
	}
	return ""
}

// programName is the name of a program without its folder and the extension that it has on Windows.
func programName(path string) string {
	name := filepath.Base(path)
	for _, extension := range []string{".cmd", ".exe"} {
		name = strings.TrimSuffix(name, extension)
	}
	return name
}

func (l launcher) packageIn(args []string) string {
	for i := 0; i < len(args); i++ {
		flag, value, hasValue := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		case args[i] == "--":
		case slices.Contains(l.packageFlags, flag) && hasValue:
			return value
		case slices.Contains(l.packageFlags, flag) && i+1 < len(args):
			return args[i+1]
		case slices.Contains(l.valueFlags, flag) && !hasValue:
			i++
		}
	}
	return ""
}

// fixedVersion ends a package: @1.2.3 as npm and uv write it, ==1.2.3 as pip does, or a commit of a repository.
var fixedVersion = regexp.MustCompile(`.(@|==)v?\d+\.\d+[\w.+-]*$|[#@][0-9a-f]{40}$`)

// isPinned reports whether a package is of one version, or is a folder or file of this computer.
func isPinned(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "file:") ||
		fixedVersion.MatchString(name)
}
