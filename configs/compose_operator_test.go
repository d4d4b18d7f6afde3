package configs

import (
	"slices"
	"strings"
	"testing"
)

// Every service that serves has the operator's listener, and only this computer reaches it: it needs no
// token. The replicas have the same port, so that of one alone could be published.
func TestComposeOperatorsListener(t *testing.T) {
	_, s := readStack(t)
	const port = "9464"
	for _, name := range []string{"server", "replica"} {
		environment := s.Services[name].Environment
		cfg, err := Load(Sources{Profile: "compose/demo.yaml", Environ: []string{
			"GATEHOUSE_RESOURCE=http://localhost:3002/mcp", "GATEHOUSE_SERVER__LISTEN=:3002",
			"GATEHOUSE_OPERATOR__LISTEN=" + environment["GATEHOUSE_OPERATOR__LISTEN"],
			"GATEHOUSE_OPERATOR__HOSTS=" + environment["GATEHOUSE_OPERATOR__HOSTS"],
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cfg.Operator.Listen != ":"+port || !slices.Equal(cfg.Operator.Hosts, []string{"server"}) {
			t.Errorf("%s: the listener is %+v", name, cfg.Operator)
		}
	}
	for name, service := range s.Services {
		published := slices.DeleteFunc(slices.Clone(service.Ports), func(p string) bool {
			return !strings.HasSuffix(p, ":"+port)
		})
		want := []string{}
		if name == "server" {
			want = []string{"127.0.0.1:${OPERATOR_PORT:-" + port + "}:" + port}
		}
		if !slices.Equal(published, want) {
			t.Errorf("%s publishes %v", name, published)
		}
	}
}
