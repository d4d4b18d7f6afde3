package configs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"gatehouse/providers/authserver/seal"
)

// The sample says what is missing, and is valid with the files that its comment tells to create.
func TestBrokerProfile(t *testing.T) {
	withoutFiles := func(name string) ([]byte, error) {
		if name == "broker.yaml" {
			return os.ReadFile(name)
		}
		return nil, fs.ErrNotExist
	}
	withFiles := func(name string) ([]byte, error) {
		if name == "secrets/broker" || name == "secrets/upstream" {
			return []byte(seal.NewSecret()), nil
		}
		return withoutFiles(name)
	}
	public := map[string]string{"resource": "https://mcp.example.com/mcp", presetKey: "entra", "provider.client_id": "ID",
		"provider.issuer": "https://login.microsoftonline.com/0f3c7a52-6f1e-4d8b-9c55-1c2a4a8f0b11/v2.0"}
	stored := map[string]string{"provider.store": "file:///var/lib/gatehouse/sign-ins.db"}
	for name, value := range public {
		stored[name] = value
	}
	for name, c := range map[string]struct {
		readFile func(string) ([]byte, error)
		flags    map[string]string
		refused  []string
	}{
		"without the files":          {withoutFiles, nil, []string{"provider.client_secret_file", "provider.secrets_file"}},
		"with the files":             {withFiles, nil, nil},
		"in public, without a store": {withFiles, public, []string{"provider.store"}},
		"in public":                  {withFiles, stored, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Sources{Profile: "broker.yaml", ReadFile: c.readFile, Flags: c.flags})
			var problems Problems
			if errors.As(err, &problems) != (len(c.refused) > 0) {
				t.Fatalf("error %v", err)
			}
			var keys []string
			for _, p := range problems {
				if p.Fix == "" {
					t.Errorf("%s has no fix", p.Key)
				}
				keys = append(keys, p.Key)
			}
			for _, key := range c.refused {
				if !slices.Contains(keys, key) {
					t.Errorf("%s is not refused: %v", key, keys)
				}
			}
		})
	}
}

// With what a preset requires, it is a valid configuration, and it requires no more than it has to.
func TestBrokerPresets(t *testing.T) {
	values := map[string]string{"issuer": "https://login.example.com", "client_id": "ID",
		"required_claims": "hd=example.com",
		"secrets_file":    "secrets"}
	kind, _ := KindNamed("broker")
	for _, p := range kind.AllPresets() {
		load := func(without string) error {
			flags := map[string]string{kindKey: "broker", presetKey: p.Name, "resource": "https://mcp.example.com/mcp",
				"provider.store": "file:///var/lib/gatehouse/sign-ins.db", "scopes.required": "mcp:use"}
			environ := []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=4f1c9a0b7d"}
			for _, key := range p.Required {
				if key == without {
					if key == "client_secret" {
						environ = nil
					}
					continue
				}
				if value := values[key]; value != "" {
					flags["provider."+key] = value
				}
			}
			_, err := Load(Sources{Flags: flags, Environ: environ, ReadFile: func(name string) ([]byte, error) {
				if name == "secrets" {
					return []byte(seal.NewSecret()), nil
				}
				return nil, fs.ErrNotExist
			}})
			return err
		}
		if err := load(""); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, key := range p.Required {
			if load(key) == nil {
				t.Errorf("%s is valid without %s", p.Name, key)
			}
		}
	}
}
