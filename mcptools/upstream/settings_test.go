package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

func TestParseToolRule(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]ToolRule{
		"read_* list_* > files:read":      {[]string{"read_*", "list_*"}, []string{"files:read"}},
		"  create_ticket>t:read t:write ": {[]string{"create_ticket"}, []string{"t:read", "t:write"}},
		"ping":                            {[]string{"ping"}, nil},
		"*":                               {[]string{"*"}, nil},
	} {
		got, err := ParseToolRule(line)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", line, err, diff)
		}
	}
	for _, line := range []string{"", " ", "> a", "a >", "a > b > c", "a >> b", `a > "b`, "a > offline_access",
		"a > caf\u00e9", "caf\u00e9", "a\x00b", strings.Repeat("x", 129)} {
		if rule, err := ParseToolRule(line); err == nil {
			t.Errorf("%q is accepted: %v", line, rule)
		}
	}
}

func TestToolRule_Match(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"echo", "echo", true}, {"echo", "echo2", false}, {"echo", "Echo", false}, {"echo", "", false},
		{"*", "", true}, {"*", "anything", true}, {"**", "anything", true},
		{"read_*", "read_file", true}, {"read_*", "read_", true}, {"read_*", "unread_file", false},
		{"*_file", "read_file", true}, {"*_file", "read_files", false},
		{"read_*_file", "read_text_file", true}, {"read_*_file", "read_file", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*a", "aba", true}, {"a*b*a", "aa", false},
		{"*b*b*", "b", false}, {"*b*b*", "xbxbx", true},
		{"a.c", "abc", false}, {"a?c", "abc", false}, {"[a]", "a", false},
	} {
		rule := ToolRule{Patterns: []string{c.pattern}}
		if got := rule.Match(c.name); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.name, got)
		}
	}
}

func TestSettings_RuleFor(t *testing.T) {
	t.Parallel()
	s := Settings{Tools: []string{"read_secret > admin", "read_* list > files:read", "ping", "*_file > files:write"}}
	for name, want := range map[string]string{
		"read_secret": "[admin]", "read_file": "[files:read]", "list": "[files:read]", "write_file": "[files:write]",
		"ping": "[]", "move": "no rule",
	} {
		got := "no rule"
		if rule, found := s.RuleFor(name); found {
			got = fmt.Sprint(rule.Scopes)
		}
		if got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

// The dialer and Validate use the same rule.
func TestCheckAddress(t *testing.T) {
	t.Parallel()
	const never, https, always = "never", "with https", "always"
	for address, want := range map[string]string{
		"127.0.0.1": always, "127.9.9.9": always, "::1": always, "::ffff:127.0.0.1": always,
		"10.1.2.3": always, "172.16.0.1": always, "192.168.1.1": always, "fd12:3456::1": always,
		"8.8.8.8": https, "172.32.0.1": https, "100.64.0.1": https, "2606:4700::1111": https,
		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "fe80::1": never,
		"fe80::1%eth0": never, "0.0.0.0": never, "::": never, "0.1.2.3": never, "224.0.0.1": never, "ff02::1": never,
		"255.255.255.255": never, "240.0.0.1": never, "100.100.100.200": never, "168.63.129.16": never,
		"192.0.0.192": never, "fd00:ec2::254": never, "fd20:ce::254": never, "fec0::1": never,
		"::169.254.169.254": never, "::127.0.0.1": never,
		"64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::1": never, "64:ff9b::808:808": https,
	} {
		addr, got := netip.MustParseAddr(address), never
		if checkAddress(addr, true) == nil {
			got = https
		}
		if checkAddress(addr, false) == nil {
			got = always
		}
		if got != want {
			t.Errorf("%s is allowed %s, not %s", address, got, want)
		}
	}
}

// The hidden texts are never shown, whatever the verb.
func TestCommand_IsShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, c := range map[string]struct {
		command Command
		want    string
	}{
		"nothing to hide": {Command{"npx", "-y", "@modelcontextprotocol/server-filesystem@2026.8.31", "/srv/my docs"},
			`npx -y @modelcontextprotocol/server-filesystem@2026.8.31 "/srv/my docs"`},
		"value of a flag":       {Command{"x", "--api-key=hunter2"}, "x --api-key=[redacted]"},
		"argument after a flag": {Command{"x", "--token", "hunter2", "-v"}, "x --token [redacted] -v"},
		"flag after a flag":     {Command{"x", "--token", "-v", "a"}, "x --token -v a"},
		"variable":              {Command{"env", "API_KEY=hunter2", "A=b"}, "env API_KEY=[redacted] A=b"},
		"docker": {Command{"docker", "run", "-e", "DB_PASSWORD=hunter2"},
			"docker run -e DB_PASSWORD=[redacted]"},
		"header": {Command{"x", "--header", "X-Api: hunter2"},
			`x --header [redacted]`},
		"header of curl":         {Command{"x", "-H", "X-Api: hunter2"}, `x -H [redacted]`},
		"header without a flag":  {Command{"x", "X-API-Key: hunter2"}, `x "X-API-Key: [redacted]"`},
		"bearer":                 {Command{"x", "with Bearer hunter2"}, `x "with [redacted]"`},
		"user in a URL":          {Command{"x", "https://alice:hunter2@example.com/a"}, "x https://[redacted]@example.com/a"},
		"query of a URL":         {Command{"x", "https://example.com/a?key=hunter2"}, "x https://example.com/a?[redacted]"},
		"URL in a flag":          {Command{"x", "--db=postgres://u:hunter2@db/a"}, "x --db=postgres://[redacted]@db/a"},
		"token by its form":      {Command{"x", "ghp_hunter2hunter2hunter2"}, "x [redacted]"},
		"program named as token": {Command{"token-server", "a"}, "token-server a"},
		"empty argument":         {Command{"x", ""}, `x ""`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.command.String(); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", c.command, c.command, c.command, c.command,
				c.command, c.command), fmt.Sprintf("%v %+v %#v", Settings{Command: c.command}, &Settings{Command: c.command},
				Settings{Command: c.command}), c.command.Text(), slog.AnyValue(c.command).String()} {
				if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprintf("%x", secret)) {
					t.Errorf("it is shown: %s", shown)
				}
			}
		})
	}
}

func TestEnvironment_IsShownWithoutValues(t *testing.T) {
	t.Parallel()
	e := Environment{"LOG_LEVEL=hunter2", "hunter2", "A=b=hunter2"}
	const want = "LOG_LEVEL=[redacted],[redacted],A=[redacted]"
	for _, shown := range []string{e.String(), e.Text(), fmt.Sprint(e), fmt.Sprintf("%#v", e), slog.AnyValue(e).String()} {
		if shown != want {
			t.Errorf("%s, not %s", shown, want)
		}
	}
	if shown := fmt.Sprintf("%v %#v", Settings{Env: e}, &Settings{Env: e}); strings.Contains(shown, "hunter2") {
		t.Errorf("it is shown: %s", shown)
	}
}

func TestLists_ParseText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`["npx", "-y", "a,b", ""]`: {"npx", "-y", "a,b", ""},
		` ["a"]`:                   {"a"},
		`[]`:                       {},
	} {
		if got, err := (Command{}).ParseText(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "npx", "npx,-y", "[npx]", `["npx"`, `["npx", 7]`, `["npx", null]`, `["npx"] x`,
		`{"a": "b"}`, `[["npx"]]`, "null"} {
		if got, err := (Command{}).ParseText(text); err == nil {
			t.Errorf("%s is accepted: %q", text, got)
		} else if strings.Contains(err.Error(), "npx") {
			t.Errorf("the error quotes the text: %v", err)
		}
	}
	for text, want := range map[string][]string{
		"A=b": {"A=b"}, " A=b , C=d ,": {"A=b", "C=d"}, `["A=b,c", "D=e"]`: {"A=b,c", "D=e"},
	} {
		if got, err := (Environment{}).ParseText(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestSettings_Environ(t *testing.T) {
	t.Parallel()
	s := Settings{Env: Environment{"A=b"}, EnvFile: "# secrets\r\nTOKEN=a=b $HOME \"c\"\n\n  KEY=\nx=#y\n"}
	want := []string{"A=b", `TOKEN=a=b $HOME "c"`, "KEY=", "x=#y"}
	if diff := cmp.Diff(want, s.Environ()); diff != "" {
		t.Error(diff)
	}
	for content, want := range map[string]string{
		"hunter2": "line 1 is not NAME=VALUE", "A=b\nexport B=hunter2": "line 2 is not NAME=VALUE",
		"A=b\n\nB=\"hunter2\"": "line 3 has quotes around the value, which belong to it",
	} {
		if _, err := parseEnvFile(content); err == nil || err.Error() != want {
			t.Errorf("%q: %v, not %s", content, err, want)
		}
	}
}

func TestSettings_AuthorizationHeader(t *testing.T) {
	t.Parallel()
	for secret, want := range map[providers.Secret]string{"": "", "abc": "Bearer abc", "Basic YQ==": "Basic YQ=="} {
		if got := (Settings{Authorization: secret}).AuthorizationHeader(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestKeySettings_Key(t *testing.T) {
	t.Parallel()
	file := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return file("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	parameters := file("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}, nil)
	for name, c := range map[string]struct {
		content string
		ok      bool
	}{
		"PKCS #8":        {pkcs8(p256), true},
		"openssl ec":     {parameters + file("EC PRIVATE KEY", sec1, err), true},
		"another curve":  {pkcs8(p384), false},
		"RSA":            {pkcs8(weak), false},
		"no PEM":         {"hunter2", false},
		"only the curve": {parameters, false},
		"garbage in PEM": {file("PRIVATE KEY", []byte("hunter2"), nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := KeySettings{KeyFile: providers.Secret(c.content)}.Key()
			if (err == nil) != c.ok || (key != nil) != c.ok || c.ok && !key.Equal(p256) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}
