package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

func TestRedis_TLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	folder, roots := t.TempDir(), x509.NewCertPool()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		content := pem.EncodeToMemory(block)
		roots.AppendCertsFromPEM(content)
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	server := storetest.StartRedis(t, "--tls-port", port, "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(folder, "cert.pem"), "--tls-key-file", filepath.Join(folder, "key.pem"))

	tests := map[string]struct {
		url   string
		roots *x509.CertPool
		want  string
	}{
		"trusted":             {"rediss://" + address, roots, ""},
		"unknown certificate": {"rediss://" + address, nil, "certificate"},
		"another name":        {"rediss://localhost:" + port, roots, "certificate"},
		"server without TLS":  {"rediss://" + server.Addr, roots, ""},
		"client without TLS":  {"redis://" + address, roots, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := store.OpenRedis(test.url, "", test.roots)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = store.Ping(t.Context(), s)
			if name == "trusted" {
				if err == nil {
					err = s.Create(t.Context(), inAnHour("a", "owner", "over TLS"))
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !store.Unavailable(err) || test.want != "" && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
