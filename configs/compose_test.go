package configs

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"

	"gatehouse/mcptools/demo"
	"gatehouse/providers/oidc"
)

// stack is the part of docker-compose.yml that these tests use.
type stack struct {
	Services map[string]struct {
		Image       string
		Profiles    []string
		User        string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		SecurityOpt []string `yaml:"security_opt"`
		Privileged  bool
		NetworkMode string `yaml:"network_mode"`
		MemLimit    string `yaml:"mem_limit"`
		PidsLimit   int    `yaml:"pids_limit"`
		StopGrace   string `yaml:"stop_grace_period"`
		Restart     string
		Ports       []string
		Environment map[string]string
		Entrypoint  []string
		Command     []string
		Networks    networkNames
		Secrets     []string
		Volumes     []string
		Logging     struct {
			Driver  string
			Options map[string]string
		}
	}
	Secrets  map[string]struct{ File string }
	Networks map[string]struct {
		IPAM struct {
			Config []struct{ Subnet string }
		}
	}
}

// networkNames are the networks of a service: a list, or a map with their settings.
type networkNames []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (n *networkNames) UnmarshalYAML(node *yamlv3.Node) error {
	if node.Kind == yamlv3.SequenceNode {
		return node.Decode((*[]string)(n))
	}
	var settings map[string]yamlv3.Node
	if err := node.Decode(&settings); err != nil {
		return err
	}
	*n = slices.Sorted(maps.Keys(settings))
	return nil
}

// stopsWithin is the time that a server may take to stop besides server.drain_time and
// server.shutdown_timeout.
const stopsWithin = 2 * time.Second

func readStack(t *testing.T) (content string, s stack) {
	t.Helper()
	raw, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yamlv3.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return string(raw), s
}

func TestComposeServicesAreConfined(t *testing.T) {
	content, s := readStack(t)
	for _, name := range []string{"server", "issuer", "edge", "replica", "keycloak", "prometheus", "smoke",
		"smoke-tls", "broker", "company", "store", "smoke-broker"} {
		if _, ok := s.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, service := range s.Services {
		if !slices.Equal(service.CapDrop, []string{"ALL"}) ||
			!slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) || service.Privileged {
			t.Errorf("%s keeps privileges", name)
		}
		// docker-compose.yml explains each exception.
		if len(service.CapAdd) > 0 && name != "edge" {
			t.Errorf("%s has the capabilities %v", name, service.CapAdd)
		}
		if !service.ReadOnly && name != "keycloak" {
			t.Errorf("%s can write into its root", name)
		}
		if strings.HasPrefix(service.Image, "gatehouse:") && service.User != "65532:65532" {
			t.Errorf("%s runs as %q", name, service.User)
		}
		if service.MemLimit == "" || service.PidsLimit == 0 || service.Restart == "" ||
			service.Logging.Options["max-size"] == "" {
			t.Errorf("%s has no limit of memory, processes or log, or no restart policy: %+v", name, service)
		}
		if service.NetworkMode != "" {
			t.Errorf("%s is in the network %s", name, service.NetworkMode)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is published to others: %s", name, port)
			}
		}
		withoutDigest := []string{"prometheus", "store"}
		if !strings.HasSuffix(service.Image, ":local") && !digest.MatchString(service.Image) &&
			!(slices.Contains(withoutDigest, name) && fullVersion.MatchString(service.Image)) {
			t.Errorf("%s is not pinned: %s", name, service.Image)
		}
		for key, value := range service.Environment {
			if regexp.MustCompile(`(?i)secret|password|token|_key$`).MatchString(key) && value != "" &&
				!strings.HasPrefix(value, "${") {
				t.Errorf("%s has a value for %s", name, key)
			}
		}
	}
	// These would add the profile of the server or the network of a build; the file has the reasons.
	for _, word := range []string{"host.docker.internal", "network: host", "content:"} {
		if strings.Contains(content, word) {
			t.Errorf("docker-compose.yml has %q", word)
		}
	}
}

// A proxy that is trusted chooses the address that the log and the limits see. So the replicas trust the
// network in which the edge is, and no other.
func TestReplicasTrustOnlyTheNetworkOfTheEdge(t *testing.T) {
	_, s := readStack(t)
	front := s.Networks["front"].IPAM.Config
	replicas := []string{"replica", "broker"}
	for _, name := range replicas {
		trusted := s.Services[name].Environment["GATEHOUSE_SERVER__TRUSTED_PROXIES"]
		if len(front) != 1 || trusted != front[0].Subnet {
			t.Fatalf("%s trusts %s, the network is %v", name, trusted, front)
		}
	}
	_, usual, _ := strings.Cut(strings.TrimSuffix(front[0].Subnet, "}"), ":-")
	if prefix, err := netip.ParsePrefix(usual); err != nil || prefix.Bits() < 24 || !prefix.Addr().IsPrivate() {
		t.Errorf("the network is %q", usual)
	}
	for name, service := range s.Services {
		if slices.Contains(replicas, name) {
			continue
		}
		if proxies := service.Environment["GATEHOUSE_SERVER__TRUSTED_PROXIES"]; proxies != "" {
			t.Errorf("%s trusts %s", name, proxies)
		}
		if slices.Contains(service.Networks, "front") && name != "edge" && name != "smoke-tls" &&
			name != "smoke-broker" {
			t.Errorf("%s is in the network that is trusted", name)
		}
	}
}

var (
	digest = regexp.MustCompile(`:[^@:]+@sha256:[0-9a-f]{64}$`)
	// fullVersion is for images that could not be pulled to see their digest.
	fullVersion = regexp.MustCompile(`:v?\d+\.\d+\.\d+$`)
)

func TestBaseImagesArePinned(t *testing.T) {
	content, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages := []string{}
	stage := regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$`)
	for _, from := range stage.FindAllStringSubmatch(string(content), -1) {
		if !slices.Contains(stages, from[1]) && !digest.MatchString(from[1]) {
			t.Errorf("%s is neither a stage nor pinned", from[1])
		}
		stages = append(stages, from[2])
	}
	if len(stages) != strings.Count(string(content), "FROM ") {
		t.Errorf("only these stages were parsed: %v", stages)
	}
}

// Prometheus asks the operator's listeners of the server, by a name that it accepts, and of the replicas.
func TestPrometheusScrapesTheStack(t *testing.T) {
	_, s := readStack(t)
	raw, err := os.ReadFile("prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
			DNSConfigs    []struct {
				Names []string
				Port  string
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yamlv3.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	job := config.ScrapeConfigs[0]
	if job.JobName != "gatehouse" {
		t.Errorf("the alerts expect the job gatehouse, it is %s", job.JobName)
	}
	target, replicas := job.StaticConfigs[0].Targets[0], job.DNSConfigs[0]
	addresses := map[string]string{"server": target}
	for _, name := range replicas.Names {
		addresses[name] = name + ":" + replicas.Port
	}
	if !slices.Equal(replicas.Names, []string{"replica", "broker"}) {
		t.Errorf("Prometheus asks the replicas %v", replicas.Names)
	}
	for name, address := range addresses {
		service, ok := s.Services[name]
		if listen := service.Environment["GATEHOUSE_OPERATOR__LISTEN"]; !ok || address != name+listen {
			t.Errorf("Prometheus asks %s, and %s listens on %s", address, name, listen)
		}
		if !slices.Contains(service.Networks, "monitoring") {
			t.Errorf("Prometheus does not reach %s", name)
		}
	}
	// Replicas are asked by their addresses.
	if host, _, _ := strings.Cut(target, ":"); s.Services["server"].Environment["GATEHOUSE_OPERATOR__HOSTS"] != host {
		t.Errorf("the server accepts no requests to %s", host)
	}
	prometheus := s.Services["prometheus"]
	if !slices.Equal(prometheus.Networks, []string{"monitoring"}) ||
		!slices.Contains(prometheus.Volumes, "./configs/prometheus:/etc/prometheus:ro") {
		t.Errorf("%+v", prometheus)
	}
}

// The profiles that docker-compose.yml mounts, in the environment that it sets.
func TestComposeProfilesAreValid(t *testing.T) {
	_, s := readStack(t)
	grace, err := time.ParseDuration(s.Services["server"].StopGrace)
	if err != nil {
		t.Fatal(err)
	}
	for profile, extra := range map[string][]string{
		"compose/demo.yaml":     nil,
		"compose/keycloak.yaml": nil,
		"oidc.yaml": {"GATEHOUSE_PROVIDER__PRESET=auth0",
			"GATEHOUSE_PROVIDER__ISSUER=https://acme.eu.auth0.com/"},
		"scalekit.yaml": {"GATEHOUSE_PROVIDER__ENVIRONMENT_URL=https://acme.scalekit.com",
			"GATEHOUSE_PROVIDER__RESOURCE_ID=res_103100112351265282"},
	} {
		for _, resource := range []string{"http://localhost:3002/mcp", "https://localhost:8443/mcp"} {
			cfg, err := Load(Sources{Profile: profile, Environ: append([]string{
				"GATEHOUSE_SERVER__LISTEN=:3002", "GATEHOUSE_RESOURCE=" + resource,
				"GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=", "GATEHOUSE_PROVIDER__PRESET=",
			}, extra...)})
			if err != nil {
				t.Errorf("%s: %v", profile, err)
				continue
			}
			if grace <= cfg.Server.DrainTime+cfg.Server.ShutdownTimeout+stopsWithin {
				t.Errorf("%s: it is killed after %s, and needs %s and %s to stop", profile, grace, cfg.Server.DrainTime,
					cfg.Server.ShutdownTimeout)
			}
			if cfg.Kind == "local" {
				t.Errorf("%s: anyone who reaches the container could sign in as anyone", profile)
			}
		}
	}
}

// Every service that serves takes up changed files, whatever profile is named. Only .env or the shell turns it off.
func TestComposeServicesLookForChangedFiles(t *testing.T) {
	_, s := readStack(t)
	interval := regexp.MustCompile(`^\$\{GATEHOUSE_RELOAD__POLL:-(\w+)\}$`)
	for _, service := range []string{"server", "replica"} {
		value := s.Services[service].Environment["GATEHOUSE_RELOAD__POLL"]
		usual := interval.FindStringSubmatch(value)
		if usual == nil {
			t.Errorf("%s has %q", service, value)
			continue
		}
		for _, profile := range []string{"compose/demo.yaml", "compose/keycloak.yaml", "oidc.yaml"} {
			cfg, err := Load(Sources{Profile: profile, Environ: []string{"GATEHOUSE_RELOAD__POLL=" + usual[1]}})
			if err != nil || cfg.Reload.Poll != 2*time.Second {
				t.Errorf("%s with %s: %v, %v", service, profile, cfg, err)
			}
			// The variable overrides a profile, so that a value there would be a second, wrong one.
			if cfg, err := Load(Sources{Profile: profile}); err != nil || cfg.Reload.Poll != 0 {
				t.Errorf("%s sets reload.poll: %v", profile, err)
			}
		}
	}
}

// realm has the members that keycloak-realm.json may have. They are those of Keycloak 26.7.0, as its package
// @keycloak/keycloak-admin-client types them. Keycloak refuses to start on others.
type realm struct {
	Realm                       string `json:"realm"`
	DisplayName                 string `json:"displayName"`
	Enabled                     bool   `json:"enabled"`
	SSLRequired                 string `json:"sslRequired"`
	RegistrationAllowed         bool   `json:"registrationAllowed"`
	BruteForceProtected         bool   `json:"bruteForceProtected"`
	AccessTokenLifespan         int    `json:"accessTokenLifespan"`
	RevokeRefreshToken          bool   `json:"revokeRefreshToken"`
	RefreshTokenMaxReuse        int    `json:"refreshTokenMaxReuse"`
	DefaultDefaultClientScopes  []string
	DefaultOptionalClientScopes []string
	Roles                       struct {
		Realm []struct{ Name, Description string }
	} `json:"roles"`
	ClientScopes []struct {
		Name, Description, Protocol string
		Attributes                  map[string]string
		ProtocolMappers             []struct {
			Name, Protocol, ProtocolMapper string
			Config                         map[string]string
		}
	} `json:"clientScopes"`
	ScopeMappings []struct {
		ClientScope string
		Roles       []string
	} `json:"scopeMappings"`
	Clients []struct {
		ClientID                                                        string `json:"clientId"`
		Name, Protocol                                                  string
		Enabled, PublicClient, StandardFlowEnabled, ImplicitFlowEnabled bool
		DirectAccessGrantsEnabled, ServiceAccountsEnabled               bool
		FullScopeAllowed                                                bool
		RedirectURIs                                                    []string `json:"redirectUris"`
		WebOrigins                                                      []string
		Attributes                                                      map[string]string
		DefaultClientScopes, OptionalClientScopes                       []string
	} `json:"clients"`
	Components map[string][]struct {
		Name, ProviderID, SubType string
		Config                    map[string][]string
	} `json:"components"`
}

func TestKeycloakRealmFitsTheServerAndTheStack(t *testing.T) {
	raw, err := os.ReadFile("compose/keycloak-realm.json")
	if err != nil {
		t.Fatal(err)
	}
	// It has no member for a secret, user or password.
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var r realm
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	const resource = "http://localhost:3002/mcp"
	if content, _ := readStack(t); !strings.Contains(content, "http://localhost:${MCP_PORT:-3002}/mcp") {
		t.Errorf("the stack's resource is no longer %s", resource)
	}
	cfg, err := Load(Sources{Profile: "compose/keycloak.yaml",
		Environ: []string{"GATEHOUSE_RESOURCE=" + resource}})
	if err != nil {
		t.Fatal(err)
	}
	if issuer := cfg.Provider.(*oidc.Settings).Issuer; path.Base(issuer) != r.Realm || !r.Enabled {
		t.Errorf("the realm is %s, the issuer %s", r.Realm, issuer)
	}

	needed := append(slices.Clone(cfg.Scopes.Initial), demo.Scopes()...)
	// Keycloak defines offline_access, with a role, only if the file does not.
	defined := map[string]bool{"offline_access": true}
	for _, scope := range r.ClientScopes {
		if scope.Name == "offline_access" {
			t.Error("the file defines offline_access, without the role that Keycloak would add")
		}
		defined[scope.Name] = true
		subject, audience := false, false
		for _, mapper := range scope.ProtocolMappers {
			inToken := mapper.Config["access.token.claim"] == "true"
			subject = subject || inToken && mapper.ProtocolMapper == "oidc-sub-mapper"
			audience = audience || inToken && mapper.ProtocolMapper == "oidc-audience-mapper" &&
				mapper.Config["included.custom.audience"] == resource
		}
		// A file that defines scopes gets none of Keycloak's, not even the one that adds sub to tokens.
		if scope.Name == "basic" && !subject {
			t.Error("no token would have a subject")
		}
		if slices.Contains(needed, scope.Name) &&
			(!audience || scope.Attributes["include.in.token.scope"] != "true") {
			t.Errorf("a token with the scope %s would not name the resource, or not the scope", scope.Name)
		}
	}
	if len(r.Clients) != 1 {
		t.Fatalf("it has %d clients", len(r.Clients))
	}
	client := r.Clients[0]
	if !client.PublicClient || !client.StandardFlowEnabled || client.ImplicitFlowEnabled ||
		client.DirectAccessGrantsEnabled || client.ServiceAccountsEnabled ||
		client.Attributes["pkce.code.challenge.method"] != "S256" {
		t.Errorf("it is not a public client with PKCE and nothing else: %+v", client)
	}
	for _, uri := range client.RedirectURIs {
		if !strings.HasPrefix(uri, "http://127.0.0.1/") && !strings.HasPrefix(uri, "http://localhost/") {
			t.Errorf("codes could be sent to %s", uri)
		}
	}
	if !slices.Contains(client.DefaultClientScopes, "basic") ||
		!slices.Contains(r.DefaultDefaultClientScopes, "basic") {
		t.Error("tokens of a client would have no subject")
	}
	for _, scope := range needed {
		if !slices.Contains(client.OptionalClientScopes, scope) ||
			!slices.Contains(r.DefaultOptionalClientScopes, scope) {
			t.Errorf("a client could not request %s", scope)
		}
	}
	for _, scope := range slices.Concat(client.DefaultClientScopes, client.OptionalClientScopes,
		r.DefaultDefaultClientScopes, r.DefaultOptionalClientScopes) {
		if !defined[scope] {
			t.Errorf("the scope %s is not defined", scope)
		}
	}
	for _, mapping := range r.ScopeMappings {
		if !defined[mapping.ClientScope] || !slices.ContainsFunc(r.Roles.Realm,
			func(role struct{ Name, Description string }) bool { return role.Name == mapping.Roles[0] }) {
			t.Errorf("%+v names an unknown scope or role", mapping)
		}
	}
	if !slices.ContainsFunc(r.ScopeMappings, func(m struct {
		ClientScope string
		Roles       []string
	}) bool {
		return m.ClientScope == "gatehouse:admin"
	}) {
		t.Error("every new user could request gatehouse:admin")
	}
	const policies = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
	for _, policy := range r.Components[policies] {
		if hosts := policy.Config["trusted-hosts"]; policy.ProviderID == "trusted-hosts" &&
			(!slices.Equal(hosts, []string{"localhost", "127.0.0.1"}) ||
				!slices.Equal(policy.Config["client-uris-must-match"], []string{"true"})) {
			t.Errorf("clients of other computers could register themselves: %+v", policy)
		}
	}
}
