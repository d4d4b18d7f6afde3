package configs

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
)

// labels select pods.
type labels struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

// probe is a request of the kubelet.
type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifest has the parts of the files in kubernetes that this test uses. .ci/run validates the files against
// the schemas of Kubernetes.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	// Resources is only set in a kustomization.
	Resources []string
	Spec      struct {
		// Selector is a map in a Service and labels elsewhere.
		Selector       yamlv3.Node
		PodSelector    labels                      `yaml:"podSelector"`
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Ports          []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Ports []struct {
						Name          string
						ContainerPort int `yaml:"containerPort"`
					}
					Env []struct {
						Name  string
						Value string
					}
					ReadinessProbe probe `yaml:"readinessProbe"`
					LivenessProbe  probe `yaml:"livenessProbe"`
					VolumeMounts   []struct {
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
	}
}

func TestKubernetesManifestsFitTheServer(t *testing.T) {
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	byKind, names := map[string]manifest{}, []string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest
		if err := yamlv3.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		byKind[m.Kind] = m
		if m.Kind != "Kustomization" {
			names = append(names, filepath.Base(file))
		}
		if m.Kind == "Secret" {
			t.Errorf("%s: a secret is created in the cluster, not here", file)
		}
	}
	if listed := byKind["Kustomization"].Resources; !slices.Equal(slices.Sorted(slices.Values(listed)), names) {
		t.Errorf("the kustomization has %v, the folder %v", listed, names)
	}

	deployment := byKind["Deployment"].Spec
	pods := deployment.Template.Metadata.Labels
	for kind, selected := range map[string]map[string]string{
		"Deployment":          matchLabels(t, deployment.Selector),
		"PodDisruptionBudget": matchLabels(t, byKind["PodDisruptionBudget"].Spec.Selector),
		"NetworkPolicy":       byKind["NetworkPolicy"].Spec.PodSelector.MatchLabels,
		"Service":             plainMap(t, byKind["Service"].Spec.Selector),
	} {
		if len(selected) == 0 || !maps.Equal(selected, pods) {
			t.Errorf("%s selects %v, the pods are %v", kind, selected, pods)
		}
	}
	if target := byKind["HorizontalPodAutoscaler"].Spec.ScaleTargetRef; target.Kind != "Deployment" ||
		target.Name != byKind["Deployment"].Metadata.Name {
		t.Errorf("the autoscaler scales %+v", target)
	}
	container := deployment.Template.Spec.Containers[0]
	port := container.Ports[0]
	if byKind["Service"].Spec.Ports[0].TargetPort != port.Name ||
		container.ReadinessProbe.HTTPGet.Port != port.Name || container.LivenessProbe.HTTPGet.Port != port.Name {
		t.Error("service, probes and container do not agree on the port")
	}
	if container.ReadinessProbe.HTTPGet.Path != "/readyz" || container.LivenessProbe.HTTPGet.Path != "/health" {
		t.Errorf("the probes ask %+v and %+v", container.ReadinessProbe, container.LivenessProbe)
	}

	data := byKind["ConfigMap"].Data
	profile := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(profile, []byte(data["gatehouse.yaml"]), 0o600); err != nil || len(data) != 1 {
		t.Fatalf("the ConfigMap has %d files: %v", len(data), err)
	}
	cfg, err := Load(Sources{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Server.Listen != ":3002" || port.ContainerPort != 3002 {
		t.Errorf("the server listens on %s, the container's port is %d", cfg.Server.Listen, port.ContainerPort)
	}
	if cfg.MCP.Era != "stateless" {
		t.Errorf("with several pods, era is %s", cfg.MCP.Era)
	}
	grace := time.Duration(deployment.Template.Spec.Grace) * time.Second
	if grace <= cfg.Server.DrainTime+cfg.Server.ShutdownTimeout+stopsWithin {
		t.Errorf("a pod is killed after %s, and needs %s and %s to stop", grace, cfg.Server.DrainTime,
			cfg.Server.ShutdownTimeout)
	}
	for _, proxies := range cfg.Server.TrustedProxies {
		if prefix, err := netip.ParsePrefix(proxies); err != nil || prefix.Bits() < 24 {
			t.Errorf("the sample trusts %s: more than an ingress", proxies)
		}
	}
	for _, env := range container.Env {
		if env.Name == "GATEHOUSE_CONFIG" && env.Value != container.VolumeMounts[0].MountPath+"/gatehouse.yaml" {
			t.Errorf("the profile is at %s", env.Value)
		}
	}
}

func matchLabels(t *testing.T, node yamlv3.Node) map[string]string {
	t.Helper()
	var l labels
	if err := node.Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l.MatchLabels
}

func plainMap(t *testing.T, node yamlv3.Node) map[string]string {
	t.Helper()
	var m map[string]string
	if err := node.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}
