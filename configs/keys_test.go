package configs

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

// keysWithUpstream are [Keys] with an upstream in place of [AnyName].
func keysWithUpstream() []Key { return kindTable(Kinds()).keys("files") }

// Settings of different kinds may share a name, because only one kind is in force. They then share the flag,
// and so must share the type.
func TestKeysAreUnique(t *testing.T) {
	byName := map[string][]Key{}
	for _, key := range Keys() {
		for _, other := range byName[key.Name] {
			if key.Kind == other.Kind || key.Kind == "" || other.Kind == "" {
				t.Errorf("%s is not unique", key.Name)
			}
			if key.typ != other.typ {
				t.Errorf("%s is a %s of kind %s and a %s of kind %s", key.Name, key.typ, key.Kind, other.typ, other.Kind)
			}
		}
		byName[key.Name] = append(byName[key.Name], key)
	}
}

// In the environment a key is in upper case, with __ for the dot.
func TestEveryKeyHasAnEnvironmentVariable(t *testing.T) {
	for _, key := range keysWithUpstream() {
		plain := strings.Trim(key.Name, "abcdefghijklmnopqrstuvwxyz_.") == ""
		sections := strings.Count(key.Name, ".")
		if _, isUpstream := upstreamNameOf(key.Name); isUpstream {
			sections--
		}
		if !plain || strings.Contains(key.Name, "__") || strings.Contains(key.Name, "_.") ||
			strings.Contains(key.Name, "._") || sections > 1 {
			t.Errorf("%q is not section.name in lower case, with single underscores inside", key.Name)
		}
		if key.Name == configKey || strings.HasSuffix(key.Name, fileSuffix) != key.IsFile {
			t.Errorf("%q has another meaning", key.Name)
		}
	}
}

// The tag values, which completion reads, and Validate agree.
func TestValuesOfAKeyAreThoseThatValidateAccepts(t *testing.T) {
	isUnknown := func(key Key, value string) bool {
		flags := map[string]string{"provider.kind": cmp.Or(key.Kind, "local")}
		flags[key.Name] = value
		_, err := Load(Sources{Flags: flags})
		problems, _ := errors.AsType[Problems](err)
		return slices.ContainsFunc(problems, func(p Problem) bool {
			return p.Key == key.Name && p.Code == providers.CodeUnknownValue
		})
	}
	for _, key := range keysWithUpstream() {
		if key.typ.Kind() != reflect.String || key.IsSecret() {
			if key.Values != nil {
				t.Errorf("%s has values and is no text", key.Name)
			}
			continue
		}
		for _, value := range key.Values {
			if isUnknown(key, value) {
				t.Errorf("%s: %s is refused", key.Name, value)
			}
		}
		if refused := isUnknown(key, "other"); refused != (key.Values != nil) {
			t.Errorf("%s: an unknown value is refused: %v, and its values are %q", key.Name, refused, key.Values)
		}
	}
}

func TestHelpTextsFitIntoATable(t *testing.T) {
	for _, key := range Keys() {
		if strings.TrimSpace(key.Help) == "" || strings.ContainsAny(key.Help, "\n|") {
			t.Errorf("%s: its help must be one line that fits into a table: %q", key.Name, key.Help)
		}
	}
}

// configs/README.md and --help list settings in this order: section by section, the provider last.
func TestKeysHaveAStableOrder(t *testing.T) {
	names := func() []string {
		var names []string
		for _, key := range Keys() {
			names = append(names, key.Kind+" "+key.Name)
		}
		return names
	}
	first := names()
	for range 20 {
		if diff := gocmp.Diff(first, names()); diff != "" {
			t.Fatal(diff)
		}
	}
	var order []string
	for _, key := range Keys() {
		section, _, _ := strings.Cut(key.Name, ".")
		if key.Kind != "" {
			section += " of kind " + key.Kind
		}
		order = append(order, section)
	}
	want := []string{"resource", "server", "mcp", "tools", "upstreams", "scopes", "log", "audit", "denials",
		"telemetry", "operator", "reload", "provider"}
	for _, kind := range Kinds() {
		want = append(want, "provider of kind "+kind.Name)
	}
	if diff := gocmp.Diff(want, slices.Compact(order)); diff != "" {
		t.Error(diff)
	}
}

// With an invalid default, every profile would have to name the setting. A kind may have settings without a
// sensible default, such as an issuer.
func TestDefaultsAreValid(t *testing.T) {
	mustLoad(t, Sources{Profile: write(t, "p.yaml", "provider.kind: local\n")})
}

func TestDefaultTextIsParsedAsTheDefault(t *testing.T) {
	for _, key := range keysWithUpstream() {
		if key.DefaultText() == "" {
			continue
		}
		value, wrong := convert(key.DefaultText(), key, true)
		if wrong != nil || gocmp.Diff(key.Default, value) != "" {
			t.Errorf("%s: %q is parsed as %v (%v), not as %v", key.Name, key.DefaultText(), value, wrong, key.Default)
		}
	}
}

func TestEverySettingButSecretsHasAFlag(t *testing.T) {
	flags := Flags()
	AddUpstreamFlags(flags, []string{"--upstreams.files.url=x"})
	for _, key := range keysWithUpstream() {
		flag := flags.Lookup(key.Name)
		isSecret := key.IsSecret() && !key.IsFile
		switch {
		case isSecret && flag != nil:
			t.Errorf("%s is a secret, and every user of the computer can read command lines", key.Name)
		case !isSecret && flag == nil:
			t.Errorf("%s has no flag", key.Name)
		case flag != nil && !strings.Contains(flag.Usage, cmp.Or(key.Help, "?")) && key.Kind == "":
			t.Errorf("--%s: %q does not say %q", key.Name, flag.Usage, key.Help)
		}
	}
	if Flags().Parse([]string{"--tools.show_all"}) != nil ||
		Flags().Parse([]string{"--tools.show_all=false"}) != nil {
		t.Error("a switch does not work with and without a value")
	}
}

func TestNearest(t *testing.T) {
	var candidates []string
	for _, key := range Keys() {
		candidates = append(candidates, key.Name)
	}
	for typed, want := range map[string]string{
		"server.listne":            "server.listen",
		"server.alowed_orgins":     "server.allowed_origins",
		"server.maxBodyBytes":      "server.max_body_bytes",
		"SERVER.LISTEN":            "server.listen",
		"server_listen":            "server.listen",
		"mcp-era":                  "mcp.era",
		"level":                    "log.level",
		"http.listen":              "server.listen",
		"tls.certificate":          "",
		"":                         "",
		strings.Repeat("x", 1<<20): "",
	} {
		if got := Nearest(typed, candidates); got != want {
			t.Errorf("%.40q: %q, not %q", typed, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"listen", "listen"}: 0, {"listen", "lisen"}: 1,
		{"listen", "listten"}: 1,
		{"listen", "lixten"}:  1, {"listen", "lsiten"}: 1, {"listen", "local"}: 5,
	} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("%q: %d, not %d", pair, got, want)
		}
	}
}
