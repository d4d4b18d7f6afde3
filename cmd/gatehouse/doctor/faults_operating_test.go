package doctor_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/providers"
)

// onDisk returns a change of a server with an audit log on that file system.
func onDisk(d doctor.Disk) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		useAudit(t, e)
		setDisk(e, d)
	}
}

// auditFaults are faults of the audit log's folder and key.
func auditFaults() map[string]fault {
	all := map[string]fault{
		"an audit folder that is a file": {
			before: useAudit,
			after: func(t *testing.T, e *env) {
				e.settings["audit.dir"] = writeMode(t, filepath.Join(t.TempDir(), "file"), "", 0o600)
				e.config.Settings = e.load()
			},
			bad: []string{"audit.folder failed"}, found: "is not a folder", fix: "audit.dir",
		},
		"an audit folder below a file": {
			before: useAudit,
			after: func(t *testing.T, e *env) {
				file := writeMode(t, filepath.Join(t.TempDir(), "file"), "", 0o600)
				e.settings["audit.dir"] = filepath.Join(file, "audit")
				e.config.Settings = e.load()
			},
			bad: []string{"audit.folder failed"}, found: "cannot be examined: not a directory", fix: "audit.dir",
		},
		"an audit log that cannot be continued": {
			before: useAudit,
			after: func(t *testing.T, e *env) {
				f, err := os.OpenFile(e.auditFile("segment-*"), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.WriteString("canary\n"); err != nil {
					t.Fatal(err)
				}
			},
			bad: []string{"audit.folder failed"}, found: "cannot be read", fix: "gatehouse audit verify",
		},
		"an audit folder of another process": {
			before: useAudit, after: do(func(e *env) { e.config.LocalHealth = e.provider.URL + "/health" }),
			bad:   []string{"audit.folder warning"},
			found: "another process writes there, and no server answers at http://127.0.0.1:", fix: "{hostname}",
		},
		"an audit folder that others can enter": {
			before: useAudit, after: func(t *testing.T, e *env) { chmod(t, e.settings["audit.dir"], 0o755) },
			bad: []string{"audit.access warning"}, found: "the folder has mode 0755", fix: "chmod o= ",
		},
		"an audit log that others can read": {
			before: useAudit, after: func(t *testing.T, e *env) { chmod(t, e.auditFile("segment-*"), 0o644) },
			bad: []string{"audit.access warning"}, found: `.jsonl" has mode 0644`, fix: "chmod o= ",
		},
		"an audit log in memory": {
			before: onDisk(doctor.Disk{Kind: "tmpfs", Free: 1 << 40}),
			bad:    []string{"audit.disk warning"}, found: "tmpfs: the log is in memory", fix: "mount a volume",
		},
		"an audit log in a container": {
			before: onDisk(doctor.Disk{Kind: "overlay", Free: 1 << 40}),
			bad:    []string{"audit.disk warning"}, found: "lost with it", fix: "mount a volume",
		},
		"an audit log on a file server": {
			before: onDisk(doctor.Disk{Kind: "nfs", Free: 1 << 40}),
			bad:    []string{"audit.disk warning"}, found: "the lock against a second server", fix: "{hostname}",
		},
		"little room for the audit log": {
			before: onDisk(doctor.Disk{Free: 1<<30 - 1}),
			bad:    []string{"audit.disk warning"}, found: "1023 MiB free", fix: "make room",
		},
		"no room for files of the audit log": {
			before: onDisk(doctor.Disk{Free: 1 << 40, FreeFiles: 999, HasFileLimit: true}),
			bad:    []string{"audit.disk warning"}, found: "only 999 more files", fix: "make room",
		},
		"no checkpoint since the start": {
			before: useAudit, after: do(func(e *env) { e.putRecord(time.Now().Add(time.Hour)) }),
			bad: []string{"audit.checkpoint warning"}, found: "there is none yet; records that none covers: ",
			fix: "the server's log says why",
		},
		"no checkpoint for an hour": {
			before: func(t *testing.T, e *env) { useAudit(t, e); e.writeLog() },
			after:  do(func(e *env) { e.putRecord(time.Now().Add(time.Hour)) }),
			bad:    []string{"audit.checkpoint warning"}, found: ", of up to 1h0m",
			fix: "the server's log says why",
		},
		"a signing key that was replaced": {
			before: useAudit,
			after: func(t *testing.T, e *env) {
				e.settings["audit.signing_key_file"] = newSigningKey(t)
				e.config.Settings = e.load()
			},
			bad: []string{"audit.key warning"}, found: `the log was written with "test+`, fix: "--key OLD --key NEW",
		},
		"a signing key in the folder of the log": {
			before: func(t *testing.T, e *env) {
				useAudit(t, e)
				if err := os.Mkdir(e.settings["audit.dir"], 0o700); err != nil {
					t.Fatal(err)
				}
				inside := filepath.Join(e.settings["audit.dir"], "signing.key")
				if err := os.Rename(e.settings["audit.signing_key_file"], inside); err != nil {
					t.Fatal(err)
				}
				e.settings["audit.signing_key_file"] = inside
			},
			bad: []string{"config.secret_file warning"}, found: "a copy of the log has the key", fix: "move ",
		},
		"a secret that others can read": {
			before: func(t *testing.T, e *env) { useAudit(t, e); shareKey(t, e, 0o644) },
			bad:    []string{"config.secret_file warning"}, found: "mode 0644", fix: "chmod o= ",
		},
		"a secret in a container that others can change": {
			before: func(t *testing.T, e *env) { useAudit(t, e); shareKey(t, e, 0o666); e.config.Container = true },
			bad:    []string{"config.secret_file warning"}, found: "mode 0666", fix: "chmod o= ",
		},
	}
	if os.Getuid() != 0 { // root may write everywhere
		all["an audit folder that cannot be written"] = fault{
			before: useAudit,
			after: func(t *testing.T, e *env) {
				chmod(t, e.settings["audit.dir"], 0o500)
				t.Cleanup(func() { chmod(t, e.settings["audit.dir"], 0o700) })
			},
			bad: []string{"audit.folder failed"}, found: "this user cannot write into ",
			fix: "belongs to the user of the server",
		}
	}
	return all
}

// shareKey gives the file of the signing key a mode, and lets all users enter its folder.
func shareKey(t *testing.T, e *env, mode os.FileMode) {
	t.Helper()
	share(t, e.settings["audit.signing_key_file"], mode)
}

// share gives a file a mode, and lets other users enter the folders above it.
func share(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	chmod(t, path, mode)
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o001 == 0 {
			if os.Chmod(dir, info.Mode().Perm()|0o011) != nil {
				t.Skip("the folder of temporary files belongs to one user")
			}
			t.Cleanup(func() { chmod(t, dir, info.Mode().Perm()) })
		}
	}
}

// operatorFaults are faults of the operator's listener, and what it shows.
func operatorFaults() map[string]fault {
	return map[string]fault{
		"no operator's listener": {
			before: useOperator, after: func(_ *testing.T, e *env) { e.operator.Close() },
			bad: []string{"operator.status warning"}, found: "although the server runs here", fix: "restart it",
		},
		"another program where the operator's listener should be": {
			before: useOperator,
			after:  do(func(e *env) { e.operator.intercept = respond("", 200, "application/json", `{"canary":1}`) }),
			bad:    []string{"operator.status warning"}, found: "another program answers: /status.json gets 200 with JSON",
			fix: "another port",
		},
		"an operator's listener under another name": {
			before: useOperator, after: do(func(e *env) { e.operator.intercept = respond("", 403, "text/plain", "canary") }),
			bad: []string{"operator.status warning"}, found: "403", fix: "operator.hosts",
		},
		"a refused reload": {
			before: useOperator,
			after: do(func(e *env) {
				e.app.RefuseReload(configs.Problems{{Key: "log.level", Origin: "canary", Code: providers.CodeUnknownValue}})
			}),
			bad: []string{"operator.status warning"}, found: "The last reload was refused", fix: "the server's log",
		},
		"many problems, with the name of an issuer": {
			before: useOperator,
			after: do(func(e *env) {
				e.operator.intercept = respond("", 200, "application/json", `{"ready":true,"config":{"digest":"0"},"issuers":[
					{"issuer":"https://evil.example\u001b[0m"},{"issuer":"a"},{"issuer":"b"},{"issuer":"c"},{"issuer":"d"}]}`)
			}),
			bad:   []string{"operator.status warning"},
			found: `No token of "https://evil.example\x1b[0m" can be verified; No token of "a" can be verified; `,
			fix:   "status page",
		},
		"a server with another configuration": {
			before: useOperator,
			after: do(func(e *env) {
				e.settings["mcp.max_calls"] = "7"
				e.config.Settings = e.load()
			}),
			bad: []string{"operator.status warning"}, found: "another configuration", fix: "reload or restart",
		},
	}
}

// collectorFaults are faults of the collector, and of the variables that name it.
func collectorFaults() map[string]fault {
	failed := []string{"telemetry.traces failed"}
	redirect := http.Header{"Location": {"https://other.example/canary?canary"}}
	return map[string]fault{
		"a collector whose name does not resolve": {
			before: func(t *testing.T, e *env) {
				useCollectorAt("http://collector.invalid:4318")(t, e)
				e.config.Resolver = emptyResolver(t)
			},
			bad: failed, found: "its name cannot be resolved",
			fix: "OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		},
		"a collector that does not run": {
			before: func(t *testing.T, e *env) { useCollectorAt("http://"+closedAddress(t))(t, e) },
			bad:    failed, found: "connection refused", fix: "check that it runs",
		},
		"a collector of metrics that does not run": {
			before: func(t *testing.T, e *env) {
				useCollectorAt("http://"+closedAddress(t))(t, e)
				e.settings["telemetry.traces"], e.settings["telemetry.metrics"] = "off", "otlp"
			},
			bad: []string{"telemetry.metrics failed"}, found: "connection refused", fix: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
		},
		"a collector that hangs": {
			before: func(t *testing.T, e *env) {
				useCollectorAt("http://"+newBannerServer(t, ""), "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=20")(t, e)
			},
			bad: failed, found: "no answer in time", fix: "check that it runs",
		},
		"a collector with a certificate of an unknown authority": {
			before: func(t *testing.T, e *env) { useCollectorAt(newFaultProxy(t, &tls.Config{}).URL)(t, e) },
			bad:    failed, found: "authority that is not trusted here", fix: "OTEL_EXPORTER_OTLP_CERTIFICATE",
		},
		"a collector with TLS at an http address": {
			before: func(t *testing.T, e *env) {
				address := newFaultProxy(t, &tls.Config{}).Listener.Addr().String()
				useCollectorAt("http://"+address)(t, e)
			},
			bad: failed, found: "it speaks TLS, and its address is plain http", fix: "write https:// instead of http://",
		},
		"a collector with TLS that hangs up at an http address": {
			before: func(t *testing.T, e *env) { useCollectorAt("http://"+newTLSServer(t))(t, e) },
			bad:    failed, found: "it speaks TLS, and its address is plain http", fix: "write https:// instead of http://",
		},
		"a collector without TLS at an https address": {
			before: func(t *testing.T, e *env) {
				useCollectorAt("https://"+newFaultProxy(t, nil).Listener.Addr().String())(t, e)
			},
			bad: failed, found: "it speaks plain http", fix: "write http:// instead of https://",
		},
		"a port of gRPC": {
			// An empty SETTINGS frame, with which each side of HTTP/2 begins (RFC 9113, section 3.4).
			before: func(t *testing.T, e *env) {
				useCollectorAt("http://"+newBannerServer(t, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))(t, e)
			},
			bad: failed, found: "as gRPC does", fix: "usually 4318",
		},
		"the usual port of gRPC": {
			// TCP to the broadcast address fails at once, without a packet.
			before: useCollectorAt("http://255.255.255.255:4317"),
			bad:    failed, found: "connect: ", fix: "usually 4318",
		},
		"a collector that wants credentials": {
			before: collectorAnswers(401, nil),
			bad:    failed, found: "status 401, and no header is set", fix: "authorization=Bearer%20TOKEN",
		},
		"a collector that wants other credentials": {
			before: collectorAnswers(403, nil, "OTEL_EXPORTER_OTLP_HEADERS=canary-name=canary-value"),
			bad:    failed, found: "status 403, with the headers that are set (1)", fix: "compare the name and the value",
		},
		"a collector at another path": {
			before: collectorAnswers(404, nil),
			bad:    failed, found: "status 404: it does not take traces at this path", fix: "/v1/traces is added to",
		},
		"a path of its own that is wrong": {
			before: func(t *testing.T, e *env) {
				collector := newFaultProxy(t, nil)
				collector.intercept = respond("/canary-path", 405, "text/plain", "canary")
				useCollectorAt("http://"+closedAddress(t),
					"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+collector.URL+"/canary-path")(t, e)
			},
			bad: failed, found: "status 405", fix: "nothing to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		},
		"a collector that takes JSON only": {
			before: collectorAnswers(415, nil),
			bad:    failed, found: "status 415: it does not take OTLP in protobuf", fix: "a receiver of OTLP over HTTP",
		},
		"a collector that takes no gzip": {
			before: collectorAnswers(400, nil, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"),
			bad:    failed, found: "status 400", fix: "without OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		},
		"a collector that redirects": {
			before: collectorAnswers(307, redirect),
			bad:    failed, found: `status 307, a redirect to "https://other.example"`, fix: "redirects are not followed",
		},
		"a collector that is busy": {
			before: collectorAnswers(503, nil),
			bad:    []string{"telemetry.traces warning"}, found: "status 503", fix: "run this command again later",
		},
		"a collector that fails": {
			before: collectorAnswers(500, nil),
			bad:    failed, found: "status 500", fix: "the log of the collector",
		},
		"a web page at the address of the collector": {
			before: collectorAnswers(200, http.Header{"Content-Type": {"text/html; charset=utf-8"}}),
			bad:    failed, found: "a web page answers", fix: "correct the address",
		},
	}
}
