package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/providers"
	"gatehouse/server"
)

// Limits of the operator's listener. It needs no token, so each is small: the listener has few users, and
// strangers who reach it must not cost anything.
const (
	operatorReadTimeout    = 5 * time.Second // for header and body
	operatorWriteTimeout   = 10 * time.Second
	operatorIdleTimeout    = time.Minute
	operatorMaxHeaderBytes = 32 << 10 // browsers send the cookies of localhost to all of its ports
	operatorConnections    = 64
	operatorPerAddress     = 32
	operatorStopTimeout    = 100 * time.Millisecond
)

// OperatorConfig configures an [Operator].
type OperatorConfig struct {
	// Hosts are the names that a Host header may have, in addition to localhost and IP addresses.
	Hosts []string
	// Status returns the state of the server.
	Status func() app.Status
	// Metrics are the metrics of /metrics, and the source of latencies. Nil if telemetry.metrics is not
	// prometheus.
	Metrics prometheus.Gatherer
	// Reasons are the reasons that the status page explains.
	Reasons []providers.ReasonDoc
	// Logger must not be nil.
	Logger *slog.Logger
}

// Operator is the listener for operators: /metrics for Prometheus, the status page at /, and its values in
// /status.json. Everything on it is for reading, and nothing on it is secret or about a single caller, so it
// needs no token. Web pages cannot read it: see [Operator.allowsHost].
type Operator struct {
	config  OperatorConfig
	metrics *recentMetrics
	answers recentAnswers
	traffic traffic
	page    *statusPage
	server  *http.Server
	hosts   []string // in lower case

	stopping chan struct{}
	stop     sync.Once
	running  sync.WaitGroup
}

// NewOperator returns a listener that does not listen yet. The error is that of a template, which is part of
// the program.
func NewOperator(c OperatorConfig) (*Operator, error) {
	page, err := newStatusPage(c.Reasons)
	if err != nil {
		return nil, err
	}
	o := &Operator{config: c, page: page, stopping: make(chan struct{})}
	if c.Metrics != nil {
		o.metrics = &recentMetrics{source: c.Metrics}
	}
	for _, host := range c.Hosts {
		o.hosts = append(o.hosts, strings.ToLower(host))
	}
	o.server = &http.Server{
		Handler:           o,
		ReadHeaderTimeout: operatorReadTimeout, ReadTimeout: operatorReadTimeout,
		WriteTimeout: operatorWriteTimeout, IdleTimeout: operatorIdleTimeout,
		MaxHeaderBytes: operatorMaxHeaderBytes,
		// net/http would answer OPTIONS * itself, whatever the Host.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	return o, nil
}

// Start answers requests on ln until Stop. ln must accept plain TCP connections.
func (o *Operator) Start(ln net.Listener) {
	limited := server.LimitConnections(o.server, ln, operatorConnections, operatorPerAddress, "operator.listen",
		o.config.Logger)
	o.traffic.add(o.sample())
	o.running.Go(func() {
		// Calls do not depend on the listener, so an error ends only the listener.
		if err := o.server.Serve(limited); err != http.ErrServerClosed { //nolint:errorlint // never wrapped
			o.config.Logger.Error("the operator's listener ended", "error", err)
		}
	})
	o.running.Go(o.keepSampling)
}

// Stop ends the listener. It waits for answers that are being written, but not long: the process has little
// time left.
func (o *Operator) Stop() {
	o.stop.Do(func() {
		close(o.stopping)
		ctx, cancel := context.WithTimeout(context.Background(), operatorStopTimeout)
		defer cancel()
		if o.server.Shutdown(ctx) != nil {
			_ = o.server.Close()
		}
		ended := make(chan struct{})
		go func() { o.running.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-ctx.Done():
		}
	})
}

// keepSampling takes a sample of the counters at each interval, until Stop.
func (o *Operator) keepSampling() {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.traffic.add(o.sample())
		case <-o.stopping:
			return
		}
	}
}

func (o *Operator) sample() sample {
	return sample{at: time.Now(), outcomes: o.config.Status().Requests, serverErrors: o.metrics.serverErrors()}
}

// ServeHTTP implements http.Handler.
func (o *Operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setOperatorHeaders(w.Header())
	switch {
	case !o.allowsHost(r.Host):
		http.Error(w, "This listener is not reached under that name: see operator.hosts.", http.StatusForbidden)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "This listener is for reading only.", http.StatusMethodNotAllowed)
		return
	}
	switch path := r.URL.Path; path {
	case "/":
		refreshes := r.URL.Query().Get("refresh") != "off"
		if !refreshes {
			path = "/?refresh=off"
		}
		o.answers.serve(w, path, func(w http.ResponseWriter) { o.servePage(w, refreshes) })
	case "/status.json":
		o.answers.serve(w, path, o.serveStatus)
	case "/metrics":
		o.answers.serve(w, path, o.serveMetrics)
	default:
		http.Error(w, "There are /, /status.json and /metrics.", http.StatusNotFound)
	}
}

// setOperatorHeaders sets the headers of every answer. The page replaces the policy by one that allows its
// style.
func setOperatorHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// allowsHost reports whether a Host header names this listener. A web page whose name is made to resolve to
// the address of the listener (DNS rebinding) could otherwise read it through the browser of an operator,
// also on loopback: the browser sends the name of the page. An IP address is no name that resolves.
func (o *Operator) allowsHost(host string) bool {
	name := strings.ToLower(host)
	if withoutPort, _, err := net.SplitHostPort(name); err == nil {
		name = withoutPort
	}
	if name == "localhost" || slices.Contains(o.hosts, name) {
		return true
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	return err == nil
}

func (o *Operator) serveStatus(w http.ResponseWriter) {
	status, _ := o.status()
	body, err := json.MarshalIndent(status, "", "  ")
	if err != nil {
		otel.Handle(err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // an error means that the reader is gone
}

// serveMetrics writes the metrics in the text format of Prometheus, version 0.0.4, which every version of
// Prometheus reads.
func (o *Operator) serveMetrics(w http.ResponseWriter) {
	if o.metrics == nil {
		http.Error(w, "There are no metrics here: telemetry.metrics is not prometheus.", http.StatusNotFound)
		return
	}
	families, err := o.metrics.gather()
	if err != nil {
		otel.Handle(err) // once a minute in the log, although anyone can cause it
	}
	if len(families) == 0 {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	w.Header().Set("Content-Type", string(format))
	encoder := expfmt.NewEncoder(w, format)
	for _, family := range families {
		if encoder.Encode(family) != nil {
			return // the reader is gone
		}
	}
}
