package store_test

import (
	"testing"

	"gatehouse/providers/authserver/store/storetest"
)

func TestRedis_AppendOnly(t *testing.T) {
	t.Parallel()
	gone := []string{"--rename-command", "CONFIG", ""}
	for name, test := range map[string]struct {
		args      []string
		on, known bool
	}{
		"on":                       {nil, true, true},
		"off":                      {[]string{"--appendonly", "no"}, false, true},
		"on, CONFIG is gone":       {gone, true, true},
		"off, CONFIG is gone":      {append(gone, "--appendonly", "no"), false, true},
		"CONFIG and INFO are gone": {append(gone, "--rename-command", "INFO", ""), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openRedis(t, storetest.StartRedis(t, test.args...).URL(t), "")
			if on, known := s.AppendOnly(t.Context()); on != test.on || known != test.known {
				t.Errorf("%t, %t, want %t, %t", on, known, test.on, test.known)
			}
		})
	}
}
