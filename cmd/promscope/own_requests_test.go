package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// TestOwnRequests scrapes exporters that ask their servers over HTTP. While nobody else asks, neither the host nor a process has
// HTTP metrics, and `explain` says why. When somebody asks one of the servers, that one has them, and the host.
func TestOwnRequests(t *testing.T) {
	t.Parallel()
	servers := map[string]string{"nginx": freeAddress(t), "apache2": freeAddress(t), "haproxy": freeAddress(t)}
	startNginx(t, servers["nginx"])
	startApache(t, program(t, "apache2", "apache2"), servers["apache2"])
	config := filepath.Join(t.TempDir(), "cfg")
	write(t, config, fmt.Sprintf(`
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 1s
frontend statistics
  bind %s
  stats enable
  stats uri /
`, servers["haproxy"]))
	start(t, program(t, "haproxy", "haproxy"), "-db", "-f", config)
	awaitListener(t, servers["haproxy"])

	var targets []string
	for server, args := range map[string][2]string{
		"nginx":   {"-web.listen-address=", "-nginx.scrape-uri=http://" + servers["nginx"] + "/stub_status"},
		"apache2": {"--telemetry.address=", "--scrape_uri=http://" + servers["apache2"] + "/server-status?auto"},
		"haproxy": {"--web.listen-address=", "--haproxy.scrape-uri=http://" + servers["haproxy"] + "/;csv"},
	} {
		exporter := "prometheus-" + strings.TrimSuffix(server, "2") + "-exporter"
		address := freeAddress(t)
		targets = append(targets, address)
		start(t, program(t, exporter, exporter), args[0]+address, args[1])
		awaitListener(t, address)
	}
	var ports []string // the machine has other servers
	for _, address := range targets {
		ports = append(ports, address[strings.LastIndexByte(address, ':')+1:])
	}
	for _, address := range servers {
		ports = append(ports, address[strings.LastIndexByte(address, ':')+1:])
	}
	p := startPlugin(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: exporters
    static_configs: [{targets: ["%s"]}]
presets: [http]
`, strings.Join(targets, `", "`))+strings.Replace(only("http"), "http: {enabled: true", "http: {enabled: true, ports: {include: ["+strings.Join(ports, ", ")+"]}", 1))
	if !strings.Contains(p.metrics(t), `promscope_collector_running{collector="http"} 1`) {
		unmet(t, "the collector http does not run here")
	}
	client := probe(t, p)

	own := regexp.MustCompile(`(?m)^promscope_http_own_requests_total\{comm="(\w+)",pid="(\d+)"\} (\d+)$`)
	pids := map[string]string{}
	within(t, client, time.Now(), 20*time.Second, "promscope has asked all", func(r *probetest.Report) error {
		if err := showsHTTP(r); err != nil {
			t.Fatal(err)
		}
		page := p.metrics(t)
		if strings.Contains(page, "\npromscope_http_requests_total{") {
			t.Fatalf("somebody has asked:\n%s", page)
		}
		for _, match := range own.FindAllStringSubmatch(page, -1) {
			if len(match[3]) > 1 || match[3] >= "3" {
				pids[match[1]] = match[2]
			}
		}
		for server := range servers {
			if pids[server] == "" {
				return fmt.Errorf("%s was not asked three times: %v", server, pids)
			}
		}
		return nil
	})
	for server := range servers {
		text, _ := askWhy(t, p, hostName+";"+pids[server])
		if !strings.Contains(text, "promscope alone") {
			t.Errorf("explain says of %s:\n%s", server, text)
		}
	}

	asked := map[string]bool{}
	within(t, client, time.Now(), 20*time.Second, "nginx is asked", func(r *probetest.Report) error {
		resp, err := http.Get("http://" + servers["nginx"] + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for server := range servers {
			_, ok := r.Value("Process", hostName+";"+pids[server], "promscope_http_requests")
			asked[server] = asked[server] || ok
		}
		if _, ok := r.Value("Host", hostNode, "promscope_http_requests"); !ok || !asked["nginx"] {
			return errors.New("no requests are shown")
		}
		return nil
	})
	if asked["apache2"] || asked["haproxy"] {
		t.Errorf("requests are shown of %v", asked)
	}
}

// showsHTTP returns an error if a node has metrics of HTTP.
func showsHTTP(r *probetest.Report) error {
	for topology, nodes := range r.Topologies {
		for key, node := range nodes.Nodes {
			for id := range node.Metrics {
				if strings.HasPrefix(id, "promscope_http_") {
					return fmt.Errorf("%s %s has %s", topology, key, id)
				}
			}
		}
	}
	return nil
}
