package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCompletion_Words(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	special := []string{"$(touch x).yaml", "`x`.yaml", "a b.yaml", "a;b.yaml", "a\nb.yaml", "a\tb.yaml", "'.yaml",
		"a\x1b[2J.yaml"}
	for _, name := range append(special, "one.yaml", "two.yaml", "sub/three.yaml", "große-1.yaml") {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for line, c := range map[string]struct{ want, without []string }{
		"":                            {[]string{"serve", "token", "--resource=", "--tools.demo"}, []string{"inspect"}},
		"se":                          {[]string{"serve"}, []string{"issuer", "--resource="}},
		"--provider.k":                {[]string{"--provider.kind=", "--provider.key_max_age="}, []string{"serve"}},
		"--resource=x ":               {[]string{"--provider.kind="}, []string{"serve", "doctor"}},
		"serve ":                      {[]string{"--provider.kind="}, []string{"serve", "doctor"}},
		"serve --log.level=":          {[]string{"--log.level=debug", "--log.level=error"}, []string{"--log.level="}},
		"serve --log.level w":         {[]string{"warn"}, []string{"debug", "--log.level="}},
		"--provider.preset=k":         {[]string{"--provider.preset=keycloak"}, []string{"--provider.preset=okta"}},
		"serve --mcp.era=":            {[]string{"--mcp.era=dual", "--mcp.era=stateless"}, []string{"--mcp.era="}},
		"serve --audit.arguments n":   {[]string{"none", "names"}, []string{"hmac"}},
		"serve --provider.kind ":      {[]string{"local", "oidc", "scalekit"}, []string{"--help"}},
		"serve --tools.demo ":         {[]string{"--tools.show_all"}, nil},
		"config --config=":            {[]string{"--config=one.yaml", "--config=two.yaml", "--config=sub/"}, nil},
		"config --config sub/":        {[]string{"sub/three.yaml"}, []string{"one.yaml"}},
		"config --config ":            {[]string{"one.yaml", "große-1.yaml"}, append(special, "a", "b.yaml")},
		"issuer --client-secret-file": {[]string{"--client-secret-file="}, nil},
		"issuer --":                   {[]string{"--auto-approve", "--listen="}, []string{"--provider.kind="}},
		"token ":                      {[]string{"inspect", "get"}, []string{"serve", "--resource="}},
		"token inspect --":            {[]string{"--token-file=", "--resource="}, []string{"inspect"}},
		"deny --":                     {[]string{"--file=", "--subject=", "--remove", "--list"}, []string{"--resource="}},
		"deny --file=":                {[]string{"--file=one.yaml", "--file=sub/"}, nil},
		"serve --denials.file=t":      {[]string{"--denials.file=two.yaml"}, []string{"--denials.file=one.yaml"}},
		"audit ":                      {[]string{"key", "verify"}, []string{"serve", "--resource="}},
		"audit verify --":             {[]string{"--key=", "--checkpoint="}, []string{"verify", "--resource="}},
		"sec":                         {[]string{"secret"}, []string{"serve"}},
		"secret --":                   {[]string{"--prepend", "--append", "--promote"}, []string{"--resource="}},
		"broker ":                     {[]string{"sign-ins", "--resource="}, []string{"serve", "list"}},
		"broker s":                    {[]string{"sign-ins"}, []string{"serve", "secret", "--resource="}},
		"broker sign-ins ":            {[]string{"list", "end", "--help"}, []string{"serve", "sign-ins", "--resource="}},
		"broker sign-ins l":           {[]string{"list"}, []string{"end"}},
		"broker sign-ins end ":        {[]string{"--subject=", "--provider.store="}, []string{"list", "end"}},
		"broker sign-ins end --id":    {[]string{"--id="}, []string{"--subject="}},
		"broker --log.level=info ":    {[]string{"--resource="}, []string{"sign-ins"}},
		"broker list ":                {[]string{"--resource="}, []string{"sign-ins", "list"}},
		"upstream ":                   {[]string{"list", "pin"}, []string{"serve", "--resource="}},
		"--upstreams.a.pro":           {[]string{"--upstreams.a.processes="}, []string{"--upstreams.a.url="}},
		"--upstreams.a.identity m":    {[]string{"meta"}, []string{"jwt"}},
		"--upstreams.a.pins=":         {[]string{"--upstreams.a.pins=one.yaml"}, nil},
		"run --":                      {[]string{"--url=", "--resource="}, nil},
		"run -- ":                     {nil, []string{"--url=", "serve", "--help"}},
		"completion ":                 {[]string{"bash", "zsh", "fish"}, []string{"words"}},
		"sevre ":                      {[]string{"--help"}, []string{"serve"}},
	} {
		t.Run(line, func(t *testing.T) {
			args := append([]string{"completion", "words"}, strings.Split(line, " ")...)
			got := runCommandIn(t, console{dir: dir}, args...)
			var words []string
			for one := range strings.Lines(got.stdout) {
				word, _, hasHelp := strings.Cut(one, "\t")
				if !hasHelp {
					t.Errorf("no tab: %q", one)
				}
				words = append(words, word)
			}
			for _, want := range c.want {
				if !slices.Contains(words, want) {
					t.Errorf("%s is missing: %q", want, words)
				}
			}
			for _, not := range c.without {
				if slices.Contains(words, not) {
					t.Errorf("%s does not belong there: %q", not, words)
				}
			}
			if got.code != exitOK || got.stderr != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The scripts work in the shells that this computer has.
func TestCompletion_Scripts(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := "#!/bin/sh\n" + runMain + "=1 exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "gatehouse"), []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	for shell, c := range map[string]struct {
		args []string
		want string
	}{
		"bash": {[]string{"-c", `source <(gatehouse completion bash)
			for COMP_LINE in "gatehouse serve --log.level=d" "gatehouse token in" "gatehouse --log.f"; do
				COMP_POINT=${#COMP_LINE}; _gatehouse; echo "${COMPREPLY[*]}|"
			done`}, "debug |\ninspect |\n--log.format=|\n"},
		"fish": {[]string{"--no-config", "-c", `gatehouse completion fish | source
			for line in "gatehouse serve --log.level=d" "gatehouse token in" "gatehouse --log.f"
				complete -C $line | string split -f1 \t
			end`}, "--log.level=debug\ninspect\n--log.format=\n"},
		// compadd works in an interactive zsh only, so it is replaced.
		"zsh": {[]string{"-f", "-c", `compdef() { }
			compadd() { print -rl -- ${(P)@[-1]} }
			source <(gatehouse completion zsh)
			words=(gatehouse serve --log.level=d) CURRENT=3; _gatehouse
			words=(gatehouse token in) CURRENT=3; _gatehouse
			words=(gatehouse --log.f) CURRENT=2; _gatehouse`}, "--log.level=debug\ninspect\n--log.format=\n"},
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip("this computer does not have " + shell)
			}
			cmd := exec.Command(shell, c.args...)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir}
			out, err := cmd.CombinedOutput()
			got := strings.TrimLeft(strings.ReplaceAll(string(out), "\n\n", "\n"), "\n")
			if err != nil || got != c.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, c.want)
			}
		})
	}
}
