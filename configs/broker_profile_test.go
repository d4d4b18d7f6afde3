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
