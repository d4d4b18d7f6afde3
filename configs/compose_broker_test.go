package configs

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"

	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/broker"
)

// composeVariable is a variable of docker-compose.yml with its default.
var composeVariable = regexp.MustCompile(`\$\{\w+:-([^}]*)\}`)

func withDefaults(text string) string { return composeVariable.ReplaceAllString(text, "$1") }

// withSecretFiles returns a copy of a profile whose files of secrets exist.
func withSecretFiles(t *testing.T, profile string) string {
	t.Helper()
	raw, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	folder, text := t.TempDir(), string(raw)
	for path, content := range map[string]string{
		"/run/secrets/broker_secrets": seal.NewSecret(), "/run/secrets/company_secret": "4f1c9a0b7d",
		"/run/secrets/store_password": "a07d5e22c1",
	} {
		file := filepath.Join(folder, filepath.Base(path))
		if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, path, file)
	}
	file := filepath.Join(folder, "profile.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The profile, the settings that the stack adds, and the provider that it starts fit together.
func TestComposeBroker(t *testing.T) {
	content, s := readStack(t)
	replicas, company, store := s.Services["broker"], s.Services["company"], s.Services["store"]
	environ := []string{"GATEHOUSE_SERVER__LISTEN=:3002"}
	for name, value := range replicas.Environment {
		if name != "GATEHOUSE_CONFIG" {
			environ = append(environ, name+"="+withDefaults(value))
		}
	}
	profile := withSecretFiles(t, "../"+replicas.Environment["GATEHOUSE_CONFIG"])
	cfg, err := Load(Sources{Profile: profile, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	settings := cfg.Provider.(*broker.Settings)
	if cfg.Operator.Listen != s.Services["replica"].Environment["GATEHOUSE_OPERATOR__LISTEN"] {
		t.Errorf("Prometheus does not find the listener at %s", cfg.Operator.Listen)
	}
	if cfg.MCP.Era != "stateless" {
		t.Errorf("with several replicas, era is %s", cfg.MCP.Era)
	}
	if host := strings.TrimPrefix(settings.Store, "redis://"); host != "store:6379/0" {
		t.Errorf("the store is %s", settings.Store)
	}
	for _, setting := range []string{"maxmemory-policy noeviction", "appendonly yes", "requirepass $$(cat"} {
		if !strings.Contains(strings.Join(store.Entrypoint, "\n"), setting) {
			t.Errorf("the store is not started with %q", setting)
		}
	}
	if !slices.Equal(store.Networks, []string{"sign-ins"}) || len(store.Ports) > 0 {
		t.Errorf("the store is reached by %v and %v", store.Networks, store.Ports)
	}

	flags := map[string]string{}
	for _, flag := range company.Command {
		name, value, _ := strings.Cut(withDefaults(flag), "=")
		flags[name] = value
	}
	issuer, err := url.Parse(settings.Issuer)
	if err != nil || flags["--issuer"] != settings.Issuer || !slices.Equal(settings.HTTPAllowedHosts,
		[]string{issuer.Host}) {
		t.Errorf("the provider is %s, the broker has %s and allows %v", flags["--issuer"], settings.Issuer,
			settings.HTTPAllowedHosts)
	}
	if !strings.Contains(content, "aliases: ["+issuer.Hostname()+"]") {
		t.Errorf("no container has the name %s", issuer.Hostname())
	}
	client := settings.ClientID + ":/run/secrets/company_secret:" + broker.CallbackURL(cfg.Resource)
	if flags["--client"] != client {
		t.Errorf("the provider knows %s, the broker is %s", flags["--client"], client)
	}
	// A browser opens the provider by its name, at the port that the container listens at.
	port := "127.0.0.1:" + issuer.Port() + ":" + issuer.Port()
	if len(company.Ports) != 1 || withDefaults(company.Ports[0]) != port || flags["--listen"] != ":"+issuer.Port() {
		t.Errorf("the provider is published as %v, and listens on %s", company.Ports, flags["--listen"])
	}
}

// Each secret is a file that only the services which need it have, and the profile names it where compose mounts it.
func TestComposeBrokerSecrets(t *testing.T) {
	_, s := readStack(t)
	raw, err := os.ReadFile("compose/broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var profile struct{ Provider map[string]yamlv3.Node }
	if err := yamlv3.Unmarshal(raw, &profile); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("compose/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for secret, c := range map[string]struct {
		setting string
		readers []string
	}{
		"broker_secrets": {"secrets_file", []string{"broker"}},
		"company_secret": {"client_secret_file", []string{"broker", "company"}},
		"store_password": {"store_password_file", []string{"broker", "store"}},
	} {
		var readers []string
		for name, service := range s.Services {
			if slices.Contains(service.Secrets, secret) {
				readers = append(readers, name)
			}
		}
		slices.Sort(readers)
		if !slices.Equal(readers, c.readers) {
			t.Errorf("%s is read by %v, want %v", secret, readers, c.readers)
		}
		if path := profile.Provider[c.setting].Value; path != "/run/secrets/"+secret {
			t.Errorf("%s is %q", c.setting, path)
		}
		if file := withDefaults(s.Secrets[secret].File); !strings.Contains(string(readme), strings.TrimPrefix(file, "./")) {
			t.Errorf("the README does not create %s", file)
		}
	}
}
