package configs

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// trafficRule is a rule of a NetworkPolicy.
type trafficRule struct {
	From, To []struct {
		NamespaceSelector labels `yaml:"namespaceSelector"`
	}
	Ports []struct{ Port string }
}

// manifest has the parts of the files in kubernetes that this test uses. .ci/run validates the files against
// the schemas of Kubernetes.
type manifest struct {
	Kind     string
	Metadata struct {
		Name        string
		Annotations map[string]string
	}
	// These two are only set in a kustomization.
	Resources          []string
	ConfigMapGenerator []struct {
		Name    string
		Files   []string
		Options struct {
			DisableNameSuffixHash bool `yaml:"disableNameSuffixHash"`
		}
	} `yaml:"configMapGenerator"`
	Spec struct {
		// Selector is a map in a Service and labels elsewhere.
		Selector       yamlv3.Node
		PodSelector    labels                      `yaml:"podSelector"`
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Ports          []struct {
			Name       string
			TargetPort string `yaml:"targetPort"`
		}
		// Ingress is a list of peers and ports in a NetworkPolicy, and Rules are those of an Ingress.
		Ingress, Egress []trafficRule
		Rules           []struct {
			Host string
			HTTP struct {
				Paths []struct {
					Path    string
					Backend struct {
						Service struct {
							Name string
							Port struct{ Name string }
						}
					}
				}
			}
		}
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
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
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
				}
			}
		}
	}
}

// readManifests returns the manifests by their kind, with change applied to the text of each, and the names of their
// files.
func readManifests(t *testing.T, change func(text string) string) (byKind map[string]manifest, names []string) {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	byKind = map[string]manifest{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "gatehouse.yaml" {
			continue // the profile
		}
		var m manifest
		if err := yamlv3.Unmarshal([]byte(change(string(raw))), &m); err != nil {
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
	return byKind, names
}

func TestKubernetesManifestsFitTheServer(t *testing.T) {
	byKind, names := readManifests(t, func(text string) string { return text })
	names = slices.DeleteFunc(names, func(name string) bool { return name == "ingress.yaml" })
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

	cfg, err := Load(Sources{Profile: "kubernetes/gatehouse.yaml"})
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
}

// A changed profile reaches running pods: the name of the ConfigMap stays, it is mounted as a folder, and the server
// polls.
func TestKubernetesPodsTakeUpAChangedProfile(t *testing.T) {
	byKind, _ := readManifests(t, func(text string) string { return text })
	generated := byKind["Kustomization"].ConfigMapGenerator
	if len(generated) != 1 || !slices.Equal(generated[0].Files, []string{"gatehouse.yaml"}) ||
		!generated[0].Options.DisableNameSuffixHash {
		t.Fatalf("the kustomization generates %+v", generated)
	}
	pod := byKind["Deployment"].Spec.Template.Spec
	container := pod.Containers[0]
	if pod.Volumes[0].ConfigMap.Name != generated[0].Name || container.VolumeMounts[0].Name != pod.Volumes[0].Name {
		t.Errorf("the pod mounts %+v", pod.Volumes)
	}
	for _, env := range container.Env {
		if env.Name == "GATEHOUSE_CONFIG" && env.Value != container.VolumeMounts[0].MountPath+"/gatehouse.yaml" {
			t.Errorf("the profile is at %s", env.Value)
		}
	}
	cfg, err := Load(Sources{Profile: "kubernetes/gatehouse.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Reload.Poll == 0 {
		t.Error("the server does not poll")
	}
}

// The operator's listener is open to Prometheus alone.
func TestKubernetesOperatorPort(t *testing.T) {
	byKind, _ := readManifests(t, func(text string) string { return text })
	template := byKind["Deployment"].Spec.Template
	port := template.Spec.Containers[0].Ports[1]
	cfg, err := Load(Sources{Profile: "kubernetes/gatehouse.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	number := strconv.Itoa(port.ContainerPort)
	if annotations := template.Metadata.Annotations; cfg.Operator.Listen != ":"+number ||
		annotations["prometheus.io/port"] != number || annotations["prometheus.io/scrape"] != "true" ||
		annotations["prometheus.io/path"] != "/metrics" {
		t.Errorf("the server listens on %s, the container's port is %s, the annotations are %v", cfg.Operator.Listen,
			number, annotations)
	}
	job, err := os.ReadFile("prometheus/kubernetes.yml")
	if err != nil {
		t.Fatal(err)
	}
	// The label and the name of the port, as relabeling joins them.
	chosen := template.Metadata.Labels["app.kubernetes.io/name"] + ";" + port.Name
	if !strings.Contains(string(job), "regex: "+chosen+"\n") {
		t.Errorf("the job of Prometheus does not choose %s", chosen)
	}
	for _, p := range byKind["Service"].Spec.Ports {
		if p.TargetPort == port.Name {
			t.Error("the service has the operator's port")
		}
	}
	peers := map[string]string{} // by port
	for _, rule := range byKind["NetworkPolicy"].Spec.Ingress {
		for _, p := range rule.Ports {
			for _, from := range rule.From {
				peers[p.Port] += from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
			}
		}
	}
	if want := (map[string]string{"http": "ingress-nginx", port.Name: "monitoring"}); !maps.Equal(peers, want) {
		t.Errorf("the network policy lets in %v, want %v", peers, want)
	}
}

func TestKubernetesIngressFitsTheServer(t *testing.T) {
	byKind, _ := readManifests(t, func(text string) string { return text })
	cfg, err := Load(Sources{Profile: "kubernetes/gatehouse.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	ingress := byKind["Ingress"]
	rule := ingress.Spec.Rules[0]
	backend := rule.HTTP.Paths[0].Backend.Service
	if rule.Host != cfg.Resource.Host() || rule.HTTP.Paths[0].Path != "/" ||
		backend.Name != byKind["Service"].Metadata.Name || backend.Port.Name != byKind["Service"].Spec.Ports[0].Name {
		t.Errorf("the rule is %+v", rule)
	}
	const nginx = "nginx.ingress.kubernetes.io/proxy-"
	annotations := ingress.Metadata.Annotations
	if annotations[nginx+"buffering"] != "off" {
		t.Error("streams are buffered")
	}
	for _, name := range []string{"read-timeout", "send-timeout"} {
		seconds, err := strconv.Atoi(annotations[nginx+name])
		if limit := time.Duration(seconds) * time.Second; err != nil || limit <= cfg.MCP.Keepalive ||
			limit <= cfg.MCP.CallTimeout {
			t.Errorf("proxy-%s is %q", name, annotations[nginx+name])
		}
	}
	if size := annotations[nginx+"body-size"]; size != strconv.FormatInt(int64(cfg.Server.MaxBodyBytes), 10) {
		t.Errorf("the ingress accepts bodies of %s bytes, the server of %d", size, cfg.Server.MaxBodyBytes)
	}
}

// What is in comments to be uncommented is valid.
func TestKubernetesCommentedParts(t *testing.T) {
	commented := regexp.MustCompile(`(?m)^( *)#(-|  +(?:- |\w+:))`)
	byKind, names := readManifests(t, func(text string) string { return commented.ReplaceAllString(text, "$1$2") })
	if listed := byKind["Kustomization"].Resources; !slices.Equal(slices.Sorted(slices.Values(listed)), names) {
		t.Errorf("the kustomization has %v, the folder %v", listed, names)
	}
	var environ []string
	for _, env := range byKind["Deployment"].Spec.Template.Spec.Containers[0].Env {
		environ = append(environ, env.Name+"="+env.Value)
	}
	if len(environ) != 4 {
		t.Errorf("the container has the variables %q", environ)
	}
	var out []string
	for _, rule := range byKind["NetworkPolicy"].Spec.Egress {
		for _, p := range rule.Ports {
			out = append(out, p.Port)
		}
	}
	if want := []string{"53", "53", "443", "8443", "4318"}; !slices.Equal(out, want) {
		t.Errorf("the network policy lets out %v, want %v", out, want)
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
