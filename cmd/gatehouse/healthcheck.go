package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
)

const healthcheckHelp = "Exit 0 if the server on this computer is healthy, 1 if not. " +
	"The address comes from the configuration."

func healthcheck(ctx context.Context, args []string, c console) int {
	flags := newFlags("healthcheck", healthcheckHelp, c)
	url := flags.String("url", "", "URL to request instead, such as http://127.0.0.1:9000/health")
	sources := settingsFlags(flags, c)
	if code, done := parse(flags, args, c); done {
		return code
	}
	if *url == "" {
		cfg, err := configs.Load(sources())
		if err != nil {
			fmt.Fprintf(c.stderr, "gatehouse: %v", err)
			return exitFailure
		}
		*url = healthURL(cfg)
	}
	client := &http.Client{Timeout: 3 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, nil)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: --url is not a URL\n")
		return exitFailure
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse: no response from %s; %s\n", providers.RedactURL(*url), isServeRunning)
		return exitFailure
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		fmt.Fprintf(c.stderr, "gatehouse: %s returned %s\n", providers.RedactURL(*url), resp.Status)
		return exitFailure
	}
	return exitOK
}

const isServeRunning = "is `gatehouse serve` running with the same configuration?"

// healthURL returns the health URL of the server that cfg describes, as the same computer reaches it.
func healthURL(cfg *configs.Config) string {
	host, port, _ := net.SplitHostPort(cfg.Server.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/health"
}
