package store_test

import (
	"testing"

	"gatehouse/providers/authserver/store/storetest"
)

func TestRedis_AppendOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args      []string
		on, known bool
	}{
		"on":                       {nil, true, true},
		"off":                      {[]string{"--appendonly", "no"}, false, true},
		"on, CONFIG is gone":       {[]string{"--rename-command", "CONFIG", ""}, true, true},
		"off, CONFIG is gone":      {[]string{"--appendonly", "no", "--rename-command", "CONFIG", ""}, false, true},
		"CONFIG and INFO are gone": {[]string{"--rename-command", "CONFIG", "", "--rename-command", "INFO", ""}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openRedis(t, storetest.StartRedis(t, test.args...).URL(t), "")
			if on, known := s.AppendOnly(t.Context()); on != test.on || known != test.known {
				t.Errorf("%t, %t, want %t, %t", on, known, test.on, test.known)
			}
		})
	}
}
