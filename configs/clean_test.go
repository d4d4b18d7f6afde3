package configs

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"gatehouse/providers/local"
)

// asUTF16 encodes text as PowerShell 5.1 does.
func asUTF16(order binary.AppendByteOrder, mark, text string) string {
	encoded := []byte(mark)
	for _, unit := range utf16.Encode([]rune(text)) {
		encoded = order.AppendUint16(encoded, unit)
	}
	return string(encoded)
}

// The encodings in which Windows writes files.
func TestFiles_EncodingsAreReadOrNamed(t *testing.T) {
	for name, c := range map[string]struct {
		encode func(text string) string
		reason string // empty: it is read
	}{
		"UTF-8": {func(s string) string { return s }, ""},
		"UTF-8 with a byte order mark, CRLF": {func(s string) string {
			return "\ufeff" + strings.ReplaceAll(s, "\n", "\r\n")
		}, ""},
		"UTF-16, little endian": {func(s string) string { return asUTF16(binary.LittleEndian, "\xff\xfe", s) }, ""},
		"UTF-16, big endian":    {func(s string) string { return asUTF16(binary.BigEndian, "\xfe\xff", s) }, ""},
		"UTF-16 without a byte order mark": {func(s string) string { return asUTF16(binary.LittleEndian, "", s) },
			"UTF-16 without a byte order mark"},
		"UTF-16, cut off": {func(s string) string { return asUTF16(binary.LittleEndian, "\xff\xfe", s) + "x" },
			"odd number of bytes"},
		"Windows-1252": {func(s string) string { return s + "# \x80\n" }, "not UTF-8"},
	} {
		const dotEnv = "GATEHOUSE_LOG__LEVEL=debug\nGATEHOUSE_PROVIDER__CLIENT_SECRET=hunter2\n"
		const profile = "provider:\n  kind: local\n  client_secret: hunter2\nlog:\n  level: debug\n"
		for file, s := range map[string]Sources{
			".env":    {Dir: filepath.Dir(write(t, ".env", c.encode(dotEnv)))},
			"profile": {Profile: write(t, "p.yaml", c.encode(profile))},
			"secret file": {Flags: map[string]string{"log.level": "debug"}, Environ: []string{
				"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=" + write(t, "secret", c.encode("hunter2\n"))}},
		} {
			t.Run(file+" in "+name, func(t *testing.T) {
				if c.reason != "" {
					p := mustRefuseOne(t, s)
					if !strings.Contains(p.Reason, c.reason) || !strings.Contains(p.Fix+p.Reason, "save it as UTF-8") {
						t.Errorf("%+v", p)
					}
					if strings.Contains(p.Reason+p.Fix, canary) {
						t.Errorf("the report shows a secret: %+v", p)
					}
					return
				}
				config := mustLoad(t, s)
				got := config.Provider.(*local.Settings).ClientSecret.Reveal()
				if got != canary || config.Log.Level != "debug" {
					t.Errorf("log.level %q, secret %q", config.Log.Level, got)
				}
			})
		}
	}
}

func TestValues_SpaceAroundListsNumbersAndSwitchesIsDropped(t *testing.T) {
	config := mustLoad(t, Sources{Environ: []string{
		"GATEHOUSE_SCOPES__REQUIRED= mcp:use \r", "GATEHOUSE_MCP__MAX_SESSIONS= 7\r",
		"GATEHOUSE_TOOLS__SHOW_ALL=\ttrue ", "GATEHOUSE_SERVER__IDLE_TIMEOUT=90s\r",
		"GATEHOUSE_PROVIDER__CLIENT_SECRET=hunter2 \r\n"}})
	for key, want := range map[string]string{"scopes.required": "mcp:use", "mcp.max_sessions": "7",
		"tools.show_all": "true", "server.idle_timeout": "1m30s"} {
		if got := effective(t, config, key).Value; got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	if got := config.Provider.(*local.Settings).ClientSecret.Reveal(); got != canary {
		t.Errorf("the secret is %q", got)
	}
}

// Around text they are reported, because they may be a part of an identifier. The report has no problem that
// follows from them.
func TestValues_StrayCharactersAreNamed(t *testing.T) {
	const issuer, variable = "https://login.example.com/main", "GATEHOUSE_PROVIDER__ISSUER"
	const meant = "did you mean " + issuer + "?"
	for name, c := range map[string]struct{ value, reason, fix string }{
		"a space at the end":          {issuer + " ", "it ends with a space", meant},
		"a space at the beginning":    {" " + issuer, "it begins with a space", meant},
		"a tab":                       {issuer + "\t", "it ends with a tab", meant},
		"a carriage return":           {issuer + "\r", "it ends with a carriage return", meant},
		"a no-break space":            {issuer + "\u00a0", "no-break space (U+00A0)", meant},
		"a byte order mark":           {"\ufeff" + issuer, "it begins with a byte order mark", meant},
		"a zero-width space":          {issuer + "\u200b", "zero-width space", meant},
		"quotes":                      {`"` + issuer + `"`, "it has quotes around it", meant},
		"nested quotes":               {`'"` + issuer + `"'`, "it has quotes around it", meant},
		"curly quotes":                {"\u201c" + issuer + "\u201d", "it has quotes around it", meant},
		"a curly quote alone":         {issuer + "\u201d", "it has quotes around it", meant},
		"a space inside":              {"https://login.example.com/a b", "it contains a space", ""},
		"a soft hyphen inside":        {"https://login.exam\u00adple.com", "the character U+00AD", "type the value"},
		"a letter outside ASCII":      {"https://login.example.com/m\u00fcnchen", "it contains 'ü' (U+00FC)", ""},
		"a percent sign alone":        {"https://login.example.com/100%", "two hexadecimal digits", ""},
		"a secret in the address":     {"https://login.example.com/?key=hunter2 ", "it ends with a space", "?[redacted]?"},
		"nothing but a space":         {" ", "it begins with a space", "remove it"},
		"a quote and a space outside": {`"` + issuer + `" `, "it ends with a space", meant},
	} {
		profile := write(t, "p.yaml", "provider:\n  kind: oidc\n  issuer: '"+strings.ReplaceAll(c.value, "'", "''")+"'\n")
		for source, s := range map[string]Sources{
			"environment": {Environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc", variable + "=" + c.value}},
			"flag":        {Flags: map[string]string{"provider.kind": "oidc", "provider.issuer": c.value}},
			"profile":     {Profile: profile},
		} {
			if source == "profile" && strings.ContainsAny(c.value, "\r\t\ufeff") {
				continue // YAML folds or drops them
			}
			t.Run(name+" in the "+source, func(t *testing.T) {
				s.Environ = append(s.Environ, "GATEHOUSE_RESOURCE=https://mcp.example.com/mcp")
				p := mustRefuse(t, s)[0]
				isRight := strings.Contains(p.Reason, c.reason) && strings.Contains(p.Fix, c.fix)
				if p.Key != "provider.issuer" || !isRight {
					t.Errorf("%+v", p)
				}
				if c.fix != "" && strings.HasPrefix(c.fix, "did you mean") {
					mustRefuseOne(t, s)
				}
				if strings.Contains(Problems{p}.Error(), canary) {
					t.Errorf("the report shows a secret: %+v", p)
				}
			})
		}
	}
	t.Run("an entry of a list", func(t *testing.T) {
		p := mustRefuseOne(t, Sources{Environ: []string{
			`GATEHOUSE_SERVER__ALLOWED_ORIGINS=https://a.example,"https://b.example"`}})
		if p.Key != "server.allowed_origins" || p.Fix != "did you mean https://b.example?" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("variables of other programs", func(t *testing.T) {
		mustLoad(t, Sources{Environ: []string{"PORT=8080", "BASE_URL=\"https://shop.example\" "}})
	})
}

func TestFiles_StrayCharactersInPathsAreNamed(t *testing.T) {
	for variable, key := range map[string]string{"GATEHOUSE_CONFIG": "config",
		"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE": "provider.client_secret_file"} {
		p := mustRefuseOne(t, Sources{Environ: []string{variable + "=" + write(t, "file", "x") + "\r"}})
		if p.Key != key || !strings.Contains(p.Reason, "it ends with a carriage return") {
			t.Errorf("%+v", p)
		}
	}
}

func TestValues_EntriesOfAListNeedCommas(t *testing.T) {
	for variable, fix := range map[string]string{
		"GATEHOUSE_SCOPES__REQUIRED=mcp:use greet:read":                  "mcp:use,greet:read",
		"GATEHOUSE_SERVER__TRUSTED_PROXIES=192.0.2.0/24 198.51.100.0/24": "192.0.2.0/24,198.51.100.0/24",
	} {
		fix = "write several entries with commas between them: " + fix
		if p := mustRefuse(t, Sources{Environ: []string{variable}})[0]; p.Fix != fix {
			t.Errorf("%+v", p)
		}
	}
}

func TestSecrets_ArePrintableASCII(t *testing.T) {
	const variable = "GATEHOUSE_PROVIDER__CLIENT_SECRET"
	for name, c := range map[string]struct{ text, want, reason string }{
		"spaces inside":                     {" two words", " two words", ""},
		"line ends and spaces at the end":   {"hunter2 \t\r\n\n", "hunter2", ""},
		"two lines":                         {"hunter2\nhunter2", "", "it contains a line end"},
		"a curly quote":                     {"hunter2\u201d", "", "it contains a curly quotation mark (U+201D)"},
		"a byte order mark after the first": {"\ufeff\ufeffhunter2", "", "it begins with a byte order mark"},
		"a letter outside ASCII":            {"hunter2\u00fc", "", "U+00FC"},
		"a control character":               {"hunter2\x07", "", "it contains the character U+0007"},
	} {
		for source, s := range map[string]Sources{
			"file":        {Environ: []string{variable + "_FILE=" + write(t, "secret", c.text)}},
			"environment": {Environ: []string{variable + "=" + strings.TrimPrefix(c.text, "\ufeff")}},
		} {
			t.Run(name+" from the "+source, func(t *testing.T) {
				if c.reason == "" {
					if got := mustLoad(t, s).Provider.(*local.Settings).ClientSecret.Reveal(); got != c.want {
						t.Errorf("%q", got)
					}
					return
				}
				p := mustRefuseOne(t, s)
				if p.Key != "provider.client_secret" || !strings.Contains(p.Reason, c.reason) || p.Value != redacted {
					t.Errorf("%+v", p)
				}
				if strings.Contains(Problems{p}.Error(), canary) {
					t.Errorf("the report shows the secret: %+v", p)
				}
			})
		}
	}
	t.Run("quotes that a shell would remove", func(t *testing.T) {
		p := mustRefuseOne(t, Sources{Environ: []string{variable + `="hunter2"`}})
		if !strings.Contains(p.Reason, "quotes around it") || !strings.HasSuffix(p.Fix, variable+"_FILE") {
			t.Errorf("%+v", p)
		}
	})
	t.Run("quotes in a file", func(t *testing.T) {
		config := mustLoad(t, Sources{Environ: []string{variable + "_FILE=" + write(t, "secret", `"hunter2"`)}})
		if got := config.Provider.(*local.Settings).ClientSecret.Reveal(); got != `"hunter2"` {
			t.Errorf("%q", got)
		}
	})
}

// Each kind of source suggests the setting that was probably meant, also one of another kind of provider.
func TestUnknownKeys_HaveASuggestionInEachSource(t *testing.T) {
	dotEnvOf := func(line string) string { return filepath.Dir(write(t, ".env", line+"\n")) }
	for name, c := range map[string]struct {
		s   Sources
		fix string
	}{
		"environment": {Sources{Environ: []string{"GATEHOUSE_PROVIDER__ISUER=https://login.example.com"}},
			"did you mean GATEHOUSE_PROVIDER__ISSUER? It belongs to provider.kind oidc and broker"},
		".env": {Sources{Dir: dotEnvOf("GATEHOUSE_PROVIDER__ISUER=https://login.example.com")},
			"did you mean GATEHOUSE_PROVIDER__ISSUER? It belongs to provider.kind oidc and broker"},
		"profile": {Sources{Profile: write(t, "p.yaml", localKind+"  isuer: https://login.example.com\n")},
			"did you mean provider.issuer? It belongs to provider.kind oidc and broker"},
		"flag": {Sources{Flags: map[string]string{"provider.isuer": "https://login.example.com"}},
			"did you mean --provider.issuer? It belongs to provider.kind oidc and broker"},
		"the kind in force": {Sources{Environ: []string{"GATEHOUSE_PROVIDER__SIGNING_ALGORITM=ES256"}},
			"did you mean GATEHOUSE_PROVIDER__SIGNING_ALGORITHM?"},
		"the profile":      {Sources{Environ: []string{"GATEHOUSE_CONFG=p.yaml"}}, "did you mean GATEHOUSE_CONFIG?"},
		"the prefix":       {Sources{Environ: []string{"GATEHOSE_LOG__LEVEL=debug"}}, "did you mean GATEHOUSE_LOG__LEVEL?"},
		"the prefix, .env": {Sources{Dir: dotEnvOf("GATEHOUES_CONFIG=p.yaml")}, "did you mean GATEHOUSE_CONFIG?"},
		"small letters":    {Sources{Environ: []string{"gatehouse_log__level=debug"}}, "did you mean GATEHOUSE_LOG__LEVEL?"},
		"a secret's prefix": {Sources{Environ: []string{"GATEHOUS_PROVIDER__CLIENT_SECRET_FILE=x"}},
			"did you mean GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE?"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := mustRefuseOne(t, c.s); p.Fix != c.fix || p.Code != "unknown_key" {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestProfile_TabsAreNamed(t *testing.T) {
	for name, content := range map[string]string{
		"after a section": "log:\n  level: debug\nprovider:\n\tkind: local\n",
		"after spaces":    "log:\n  level: debug\nprovider:\n \tkind: local\n",
		"in a section":    "log:\n  level: debug\n  format: text\n\ttools: x\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := mustRefuseOne(t, Sources{Profile: write(t, "p.yaml", content)})
			if !strings.Contains(p.Reason, "line 4 is indented with a tab") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// A space or a secret in a value must be visible or hidden in what `gatehouse config` prints.
func TestValue_Text(t *testing.T) {
	config := mustLoad(t, Sources{Environ: []string{"GATEHOUSE_SCOPES__IMPLIES=a > b c",
		"GATEHOUSE_PROVIDER__CLIENT_SECRET=hunter2", "GATEHOUSE_PROVIDER__KIND=local"}})
	for key, want := range map[string]string{"scopes.implies": `"a > b c"`, "provider.client_secret": redacted,
		"log.level": "info", "scopes.required": "mcp:use"} {
		if got := effective(t, config, key).Text(); got != want {
			t.Errorf("%s: %s", key, got)
		}
	}
	config = mustLoad(t, Sources{Environ: []string{"GATEHOUSE_PROVIDER__KIND=oidc",
		"GATEHOUSE_RESOURCE=https://mcp.example.com/mcp", "GATEHOUSE_PROVIDER__ISSUER=https://login.example.com",
		"GATEHOUSE_PROVIDER__JWKS_URL=https://login.example.com/keys?key=hunter2",
		"GATEHOUSE_PROVIDER__AUDIENCES=https://login.example.com/keys?key=hunter2"}})
	for _, key := range []string{"provider.jwks_url", "provider.audiences"} {
		v := effective(t, config, key)
		if want := "https://login.example.com/keys?" + redacted; v.Text() != want || v.Value != want {
			t.Errorf("%+v", v)
		}
	}
}
