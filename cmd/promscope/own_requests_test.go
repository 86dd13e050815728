package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// exported is a server that its exporter asks over HTTP.
type exported struct {
	comm     string
	exporter string // as Debian calls it
	listen   string // its flag
	args     func(address string) []string
	start    func(t *testing.T, address string)
}

func allExported(t *testing.T) []exported {
	t.Helper()
	all := []exported{
		{"nginx", "prometheus-nginx-exporter", "-web.listen-address=", func(address string) []string {
			return []string{"-nginx.scrape-uri=http://" + address + "/stub_status"}
		}, func(t *testing.T, address string) { startNginx(t, address) }},
		{"apache2", "prometheus-apache-exporter", "--telemetry.address=", func(address string) []string {
			return []string{"--scrape_uri=http://" + address + "/server-status?auto"}
		}, func(t *testing.T, address string) { startApache(t, program(t, "apache2", "apache2"), address) }},
		{"haproxy", "prometheus-haproxy-exporter", "--web.listen-address=", func(address string) []string {
			return []string{"--haproxy.scrape-uri=http://" + address + "/;csv"}
		}, startStatistics},
	}
	if named := installed(t, byHand, "named"); named != "" {
		all = append(all, exported{"named", "prometheus-bind-exporter", "--web.listen-address=", func(address string) []string {
			return []string{"--bind.stats-url=http://" + address + "/", "--bind.pid-file=none"}
		}, func(t *testing.T, address string) { startBINDStatistics(t, named, address) }})
	}
	if squid := installed(t, byHand, "squid"); squid != "" {
		all = append(all, exported{"squid", "prometheus-squid-exporter", "-listen=", func(address string) []string {
			host, port, _ := net.SplitHostPort(address)
			return []string{"-squid-hostname=" + host, "-squid-port=" + port}
		}, func(t *testing.T, address string) { startSquid(t, squid, address) }})
	}
	return all
}

// startStatistics runs HAProxy with its page of statistics.
func startStatistics(t *testing.T, address string) {
	t.Helper()
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
`, address))
	start(t, program(t, "haproxy", "haproxy"), "-db", "-f", config)
	awaitListener(t, address)
}

// startBINDStatistics runs BIND with its channel of statistics.
func startBINDStatistics(t *testing.T, path, address string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	dns, dnsPort, _ := net.SplitHostPort(freeAddress(t))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(`
options { directory "%[1]s"; listen-on port %[5]s { %[4]s; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile none; };
statistics-channels { inet %[2]s port %[3]s; };
controls { };
`, dir, host, port, dns, dnsPort))
	start(t, path, "-f", "-c", filepath.Join(dir, "conf"))
	awaitListener(t, address)
}

// TestOwnRequests scrapes exporters that ask their servers over HTTP. While nobody else asks,
// neither the host nor a process has HTTP metrics, and `explain` says why. When somebody asks
// one of the servers, that one has them, and the host.
func TestOwnRequests(t *testing.T) {
	t.Parallel()
	servers := map[string]string{} // addresses by name
	var targets, ports []string
	for _, a := range allExported(t) {
		address, exporter := freeAddress(t), freeAddress(t)
		a.start(t, address)
		start(t, program(t, a.exporter, a.exporter), append(a.args(address), a.listen+exporter)...)
		awaitListener(t, exporter)
		servers[a.comm] = address
		targets = append(targets, exporter)
		for _, of := range []string{address, exporter} { // the machine has other servers
			ports = append(ports, of[strings.LastIndexByte(of, ':')+1:])
		}
	}
	p := startPlugin(t, fmt.Sprintf(`
global: {scrape_interval: 5s} # for one that is given up, the exporter may go on to ask
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
	within(t, client, time.Now(), 30*time.Second, "promscope has asked all", func(r *probetest.Report) error {
		if err := showsHTTP(r); err != nil {
			t.Fatal(err)
		}
		page := p.metrics(t)
		if strings.Contains(page, "\npromscope_http_requests_total{") {
			t.Fatalf("somebody has asked:\n%s", page)
		}
		for _, match := range own.FindAllStringSubmatch(page, -1) {
			if match[3] != "1" {
				pids[match[1]] = match[2]
			}
		}
		for server := range servers {
			if pids[server] == "" {
				return fmt.Errorf("%s was not asked twice: %v", server, pids)
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

	shown := map[string]bool{}
	within(t, client, time.Now(), 30*time.Second, "nginx is asked", func(r *probetest.Report) error {
		resp, err := http.Get("http://" + servers["nginx"] + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for server := range servers {
			if _, ok := r.Value("Process", hostName+";"+pids[server], "promscope_http_requests"); ok {
				shown[server] = true
			}
		}
		if _, ok := r.Value("Host", hostNode, "promscope_http_requests"); !ok || !shown["nginx"] {
			return errors.New("no requests are shown")
		}
		return nil
	})
	if len(shown) != 1 {
		t.Errorf("requests are shown of %v", shown)
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
