package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSnapshot_SeesEveryChangeOfContent(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string) // p.yaml in dir is a link to data/p.yaml, and data one to v1
		same   bool
	}{
		"nothing":                    {func(*testing.T, string) {}, true},
		"written again, as it was":   {func(t *testing.T, dir string) { replace(t, dir, "log.level: info\n") }, true},
		"written in place":           {func(t *testing.T, dir string) { inPlace(t, dir, "log.level: warn\n") }, false},
		"half of it":                 {func(t *testing.T, dir string) { inPlace(t, dir, "log.lev") }, false},
		"replaced by a rename":       {func(t *testing.T, dir string) { replace(t, dir, "log.level: warn\n") }, false},
		"removed":                    {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "p.yaml")) }, false},
		"a ConfigMap that is synced": {swapData, false},
		"too long": {func(t *testing.T, dir string) {
			inPlace(t, dir, strings.Repeat("#", maxFileBytes+1))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := configMap(t, "log.level: info\n")
			s := NewSnapshot()
			if _, err := s.ReadFile(filepath.Join(dir, "p.yaml")); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			if got := s.IsCurrent(); got != c.same {
				t.Errorf("it is current: %v, want %v", got, c.same)
			}
		})
	}
}

// What is read at the start and what is read later are one state, also if there is no file: .env usually is not there.
func TestSnapshot_OfTheStartIsCurrent(t *testing.T) {
	for name, path := range map[string]string{
		"a file": write(t, "p.yaml", "log.level: info\n"),
		"none":   filepath.Join(t.TempDir(), ".env"),
	} {
		s := NewSnapshot()
		_, _ = s.ReadAtStart(path)
		if !s.IsCurrent() {
			t.Errorf("%s has changed", name)
		}
	}
}

// configMap returns a folder as Kubernetes mounts it: files are links into a folder behind a link, ..data, that is
// replaced as a whole.
func configMap(t *testing.T, profile string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	version(t, dir, "v1", profile)
	for link, target := range map[string]string{"..data": "v1", "p.yaml": "..data/p.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func version(t *testing.T, dir, name, profile string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, "p.yaml"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
}

func swapData(t *testing.T, dir string) {
	t.Helper()
	version(t, dir, "v2", "log.level: warn\n")
	if err := os.Symlink("v2", filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

func inPlace(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, dir, text string) {
	t.Helper()
	next := filepath.Join(dir, "next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "p.yaml")); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A load notes the profile, .env, also if it is missing, and each file with a secret, and keeps no content.
func TestSnapshot_HasAllFilesOfALoad(t *testing.T) {
	dir := t.TempDir()
	secret := write(t, "secret", "hunter2\n")
	profile := write(t, "p.yaml", "provider:\n  kind: oidc\n  issuer: https://login.example.com\n"+
		"  introspection: opaque\n  client_id: me\n  client_secret_file: "+secret+"\n")
	s := NewSnapshot()
	mustLoad(t, Sources{Profile: profile, Dir: dir, ReadFile: s.ReadFile})
	for _, name := range []string{profile, secret, filepath.Join(dir, dotEnv)} {
		if s.contents[name] == "" {
			t.Errorf("%s is not among %d files", name, len(s.contents))
		}
	}
	if len(s.contents) != 3 || strings.Contains(fmt.Sprint(s.contents), "hunter2") {
		t.Errorf("it has %d files, or a secret", len(s.contents))
	}
	if err := os.WriteFile(filepath.Join(dir, dotEnv), []byte("GATEHOUSE_LOG__LEVEL=warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.IsCurrent() {
		t.Error("a new .env is not seen")
	}
}

// At the start a secret may come through a pipe; later, reading one could block forever.
func TestSnapshot_ReadsPipesAtTheStartOnly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("hunter2"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	name := fmt.Sprintf("/dev/fd/%d", r.Fd())
	s := NewSnapshot()
	if content, err := s.ReadAtStart(name); err != nil || !bytes.Equal(content, []byte("hunter2")) {
		t.Skipf("this system has no %s: %q, %v", name, content, err)
	}
	if _, err := s.ReadFile(name); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("the error is %v", err)
	}
}
