package authserver

import "testing"

// checkAddress is tested directly because a test has no addresses on the public internet or in a link-local
// network. TestClientDocumentsFromPrivateNetworksAreRefused shows that it is used.
func TestCheckAddress(t *testing.T) {
	tests := []struct {
		address       string
		normal, local bool // allowed without and with the development switch
	}{
		{"93.184.216.34:443", true, true},
		{"[2606:2800:220:1::1]:443", true, true},
		{"127.0.0.1:443", false, true},
		{"127.8.8.8:443", false, true},
		{"[::1]:443", false, true},
		{"[::ffff:127.0.0.1]:443", false, true},
		{"10.1.2.3:443", false, true},
		{"172.16.0.1:443", false, true},
		{"192.168.0.1:443", false, true},
		{"[fd00::1]:443", false, true},
		{"169.254.169.254:80", false, false},
		{"[fe80::1%eth0]:443", false, false},
		{"[::ffff:169.254.169.254]:443", false, false},
		{"[64:ff9b::a9fe:a9fe]:443", false, false}, // NAT64 of 169.254.169.254
		{"[2002:7f00:1::]:443", false, false},      // 6to4 of 127.0.0.1
		{"[::7f00:1]:443", false, false},           // IPv4-compatible 127.0.0.1
		{"[2001::1]:443", false, false},            // Teredo
		{"100.64.0.1:443", false, false},
		{"0.0.0.0:443", false, false},
		{"[::]:443", false, false},
		{"224.0.0.1:443", false, false},
		{"[ff02::1]:443", false, false},
		{"255.255.255.255:443", false, false},
		{"198.18.0.1:443", false, false},
		{"[fec0::1]:443", false, false},
		{"not an address", false, false},
	}
	for _, test := range tests {
		t.Run("AS-25 "+test.address, func(t *testing.T) {
			if allowed := checkAddress(test.address, false) == nil; allowed != test.normal {
				t.Errorf("allowed: %t", allowed)
			}
			if allowed := checkAddress(test.address, true) == nil; allowed != test.local {
				t.Errorf("allowed with the development switch: %t", allowed)
			}
		})
	}
}
