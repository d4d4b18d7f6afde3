// Command agents serves the client ID metadata documents of Claude Code and Codex in place of claude.ai
// and chatgpt.com. It is for tests only: ../agents.sh runs it in a network namespace in which both names
// resolve to loopback.
//
// Usage: agents CERTIFICATE
//
// It writes its certificate to that file, for clients to trust, and listens on 127.0.0.1:443.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: agents CERTIFICATE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "agents: %v\n", err)
		os.Exit(1)
	}
}

func run(file string) error {
	certificate, err := selfSigned("claude.ai", "chatgpt.com")
	if err != nil {
		return err
	}
	block := pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}
	if err := os.WriteFile(file, pem.EncodeToMemory(&block), 0o600); err != nil {
		return err
	}
	server := &http.Server{
		Addr:              "127.0.0.1:443",
		Handler:           http.HandlerFunc(serveDocument),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 5 * time.Second,
	}
	return server.ListenAndServeTLS("", "")
}

// serveDocument responds with the content that the vendors publish: redirect URIs without a port (RFC 8252,
// section 7.3), and application_type only in the document of Codex. Codex has a document for each MCP
// server, too, with an ID in its URL and in its redirect URIs.
func serveDocument(w http.ResponseWriter, r *http.Request) {
	id := "https://" + r.Host + r.URL.Path
	document := map[string]any{
		"client_id":                  id,
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": "none",
	}
	redirect := "/callback"
	name, ofCodex := strings.CutPrefix(id, "https://chatgpt.com/oauth/codex/")
	switch {
	case id == "https://claude.ai/oauth/claude-code-client-metadata":
		document["client_name"] = "Claude Code"
	case ofCodex && name == "client.json":
		document["client_name"], document["application_type"] = "Codex", "native"
	case ofCodex && strings.HasSuffix(name, "/client.json"):
		document["client_name"], document["application_type"] = "Codex", "native"
		redirect += "/" + strings.TrimSuffix(name, "/client.json")
	default:
		http.NotFound(w, r)
		return
	}
	document["redirect_uris"] = []string{"http://localhost" + redirect, "http://127.0.0.1" + redirect}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document) // the issuer refuses an incomplete document
}

func selfSigned(names ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
