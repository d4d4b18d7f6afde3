package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// Profile observability: Prometheus finds the server by its name and each replica by its address, and can
// evaluate every rule. While all is well, no alert is pending, above all none because of the different
// configurations of server, replicas and broker.
func TestStackPrometheusScrapesServerAndReplicas(t *testing.T) {
	needEngine(t)
	up(t, nil, "compose", "--profile", "tls", "--profile", "broker", "--profile", "observability")
	network := plainNetwork(t, "")
	prometheus := "http://localhost:" + port("PROMETHEUS_PORT", "9090")
	want := map[string]int{"server": 1, "replica": 2, "broker": 2}
	var scraped map[string]int
	for began := time.Now(); !maps.Equal(scraped, want); time.Sleep(time.Second) {
		// A scrape and a look at DNS each take place every 15 s.
		if time.Since(began) > time.Minute {
			t.Fatalf("it scrapes %v, want %v", scraped, want)
		}
		var found struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		getJSON(t, network, prometheus+"/api/v1/query?query="+url.QueryEscape(`up{job="gatehouse"} == 1`), &found)
		scraped = map[string]int{}
		for _, series := range found.Data.Result {
			scraped[series.Metric["service"]]++
		}
	}
	// Until the first scrape there is no series of any target, and GatehouseDown is pending.
	type rule struct{ Name, Health, State, LastError string }
	bad := func(r rule) bool { return r.Health != "ok" || r.State != "inactive" }
	for began := time.Now(); ; time.Sleep(time.Second) {
		var found struct {
			Data struct{ Groups []struct{ Rules []rule } }
		}
		getJSON(t, network, prometheus+"/api/v1/rules", &found)
		if len(found.Data.Groups) != 1 || len(found.Data.Groups[0].Rules) == 0 {
			t.Fatalf("the rules are %+v", found)
		}
		if !slices.ContainsFunc(found.Data.Groups[0].Rules, bad) {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute not all alerts are inactive: %+v", found.Data.Groups[0].Rules)
		}
	}
}

func getJSON(t *testing.T, network http.RoundTripper, address string, into any) {
	t.Helper()
	resp, err := (&http.Client{Transport: network, Timeout: 10 * time.Second}).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, resp.Status, err)
	}
}
