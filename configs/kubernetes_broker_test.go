package configs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/broker"
)

// component has the parts of the files in kubernetes/broker that these tests use.
type component struct {
	Kind      string
	Metadata  struct{ Name string }
	Resources []string
	Patches   []struct {
		Path, Patch string
	}
	ConfigMapGenerator []struct{ Name, Behavior string } `yaml:"configMapGenerator"`
	Spec               struct {
		Replicas int
		Strategy struct{ Type string }
		Template struct {
			Spec struct {
				Containers []struct {
					Name         string
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name  string
					Claim struct {
						Name string `yaml:"claimName"`
					} `yaml:"persistentVolumeClaim"`
				}
			}
		}
	}
}

func readComponent(t *testing.T, file string) (c component) {
	t.Helper()
	raw, err := os.ReadFile("kubernetes/broker/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yamlv3.Unmarshal(raw, &c); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return c
}

// brokerProfile loads the profile of a component, with files in the place of its secrets, and returns the names of
// these.
func brokerProfile(t *testing.T, store string) (cfg *Config, settings *broker.Settings, secrets []string) {
	t.Helper()
	raw, err := os.ReadFile("kubernetes/broker/" + store + "/gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	text := regexp.MustCompile(`/run/secrets/gatehouse/\w+`).ReplaceAllStringFunc(string(raw), func(path string) string {
		secrets = append(secrets, filepath.Base(path))
		file := filepath.Join(folder, filepath.Base(path))
		if err := os.WriteFile(file, []byte(seal.NewSecret()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	})
	file := filepath.Join(folder, "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err = Load(Sources{Profile: file}); err != nil {
		t.Fatal(err)
	}
	return cfg, cfg.Provider.(*broker.Settings), secrets
}

// The component differs from the base in the provider only.
func TestKubernetesBrokerProfiles(t *testing.T) {
	base, err := Load(Sources{Profile: "kubernetes/gatehouse.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("kubernetes/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for store, created := range map[string][]string{
		"file": {"broker", "upstream"}, "redis": {"broker", "store", "upstream"},
	} {
		cfg, _, secrets := brokerProfile(t, store)
		if cfg.Server.Listen != base.Server.Listen || cfg.Operator.Listen != base.Operator.Listen ||
			cfg.Server.DrainTime != base.Server.DrainTime || cfg.MCP.Era != base.MCP.Era ||
			cfg.Reload.Poll != base.Reload.Poll || cfg.Resource.String() != base.Resource.String() ||
			!slices.Equal(cfg.Server.TrustedProxies, base.Server.TrustedProxies) {
			t.Errorf("%s differs from the base: %+v", store, cfg.Server)
		}
		if slices.Sort(secrets); !slices.Equal(secrets, created) {
			t.Errorf("%s has the secrets %v", store, secrets)
		}
		for _, secret := range secrets {
			if !strings.Contains(string(readme), "--from-file="+secret+"=") {
				t.Errorf("the README does not create the secret %s", secret)
			}
		}
		k := readComponent(t, store+"/kustomization.yaml")
		if k.Kind != "Component" || len(k.ConfigMapGenerator) != 1 || k.ConfigMapGenerator[0].Name != "gatehouse" ||
			k.ConfigMapGenerator[0].Behavior != "replace" {
			t.Errorf("%s: %+v", store, k)
		}
		raw, err := os.ReadFile("kubernetes/kustomization.yaml")
		if err != nil || !strings.Contains(string(raw), "\n#components: [broker/"+store+"]\n") {
			t.Errorf("the base does not name broker/%s: %v", store, err)
		}
	}
}

// One process at a time has the file open.
func TestKubernetesBrokerWithAFile(t *testing.T) {
	_, settings, _ := brokerProfile(t, "file")
	k := readComponent(t, "file/kustomization.yaml")
	if !slices.Equal(k.Resources, []string{"claim.yaml"}) || len(k.Patches) != 2 ||
		k.Patches[0].Path != "deployment.yaml" ||
		!strings.Contains(k.Patches[1].Patch, "kind: HorizontalPodAutoscaler") ||
		!strings.Contains(k.Patches[1].Patch, "$patch: delete") {
		t.Errorf("%+v", k)
	}
	deployment := readComponent(t, "file/deployment.yaml")
	if deployment.Spec.Replicas != 1 || deployment.Spec.Strategy.Type != "Recreate" {
		t.Errorf("%d pods, strategy %s", deployment.Spec.Replicas, deployment.Spec.Strategy.Type)
	}
	container, volume := deployment.Spec.Template.Spec.Containers[0], deployment.Spec.Template.Spec.Volumes[0]
	mount := container.VolumeMounts[0]
	claim := readComponent(t, "file/claim.yaml")
	if container.Name != "gatehouse" || mount.Name != volume.Name || volume.Claim.Name != claim.Metadata.Name ||
		claim.Kind != "PersistentVolumeClaim" {
		t.Errorf("%+v, %+v, %+v", container, volume, claim.Metadata)
	}
	if filepath.Dir(strings.TrimPrefix(settings.Store, "file://")) != mount.MountPath {
		t.Errorf("the store is %s, the volume is mounted at %s", settings.Store, mount.MountPath)
	}
}

func TestKubernetesBrokerWithRedis(t *testing.T) {
	_, settings, _ := brokerProfile(t, "redis")
	if !strings.HasPrefix(settings.Store, "rediss://") {
		t.Errorf("the store is %s: names and passwords would be in the clear", settings.Store)
	}
	raw, err := os.ReadFile("kubernetes/broker/redis/networkpolicy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patch []struct {
		Op, Path string
		Value    trafficRule
	}
	if err := yamlv3.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if len(patch) != 1 || patch[0].Op != "add" || patch[0].Path != "/spec/egress/-" ||
		!strings.Contains(settings.Store, ":"+patch[0].Value.Ports[0].Port+"/") {
		t.Errorf("%+v", patch)
	}
}

// A proxy that passes single paths must pass these. The list is in a comment, because the sample passes all.
func TestKubernetesIngressListsThePathsOfTheBroker(t *testing.T) {
	raw, err := os.ReadFile("kubernetes/ingress.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, match := range regexp.MustCompile(`(?m)^#   (/\S+)$`).FindAllStringSubmatch(string(raw), -1) {
		listed = append(listed, match[1])
	}
	cfg, _, _ := brokerProfile(t, "redis")
	want := slices.Concat([]string{cfg.Resource.Path()}, cfg.Resource.MetadataPaths(), authserver.ProviderPaths())
	slices.Sort(listed)
	slices.Sort(want)
	if !slices.Equal(listed, want) {
		t.Errorf("it lists %q\nwant %q", listed, want)
	}
}
