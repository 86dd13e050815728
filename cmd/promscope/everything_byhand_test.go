package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The servers that CI does without. The test has those of them that are installed.

func everyBIND(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, byHand, "named"), installed(t, byHand, "prometheus-bind-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	dir := t.TempDir()
	key := `key k { algorithm hmac-sha256; secret "c2VjcmV0c2VjcmV0c2VjcmV0"; };` + "\n"
	write(t, filepath.Join(dir, "zone"), "@ 60 IN SOA . . 1 60 60 60 60\n@ IN NS @\n@ IN A 127.0.0.1\nwww IN A 127.0.0.1\n")
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(`%[2]s
options { directory "%[1]s"; listen-on port 5353 { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file "%[1]s/pid"; session-keyfile none; statistics-file "%[1]s/stats"; };
statistics-channels { inet 127.0.0.1 port 8053; };
controls { inet 127.0.0.1 port 8953 allow { any; } keys { k; }; };
zone "t.example" { type primary; file "%[1]s/zone"; };
`, dir, key))
	write(t, filepath.Join(dir, "rndc"), key+"options { default-key k; default-server 127.0.0.1; default-port 8953; };\n")
	named := start(t, path, "-f", "-c", filepath.Join(dir, "conf"))
	awaitListener(t, "127.0.0.1:8053")
	steadily(t, 60, dns(t, "127.0.0.1:5353", "www.t.example"))
	steadily(t, 20, dns(t, "127.0.0.1:5353", "none.t.example"))
	exporter := start(t, exporterPath, "--web.listen-address=127.0.0.1:9119", "--bind.stats-url=http://127.0.0.1:8053/", "--bind.pid-file="+dir+"/pid")
	return []server{{
		name: "BIND", topo: "Process", node: processNode(named),
		ask: func() (map[string]float64, error) {
			os.Remove(filepath.Join(dir, "stats"))
			if out, err := exec.Command(filepath.Join(filepath.Dir(path), "rndc"), "-c", filepath.Join(dir, "rndc"), "stats").CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%w: %s", err, out)
			}
			stats, err := os.ReadFile(filepath.Join(dir, "stats"))
			says := map[string]float64{}
			for line := range strings.Lines(string(stats)) {
				var count float64
				var what string
				if n, _ := fmt.Sscan(line, &count, &what); n == 2 && says[what] == 0 {
					says[what] = count
				}
			}
			return says, err
		},
		want: map[string]expectation{
			"promscope_bind_queries":   rate("QUERY"),
			"promscope_bind_nxdomain":  rate("NXDOMAIN"),
			"promscope_bind_servfail":  between(0, 0),
			"promscope_bind_recursive": between(0, 0),
			"promscope_bind_timeouts":  between(0, 0),
		},
	}, exporterOf(t, "BIND's exporter", exporter, "9119")}
}

func everyVarnish(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, byHand, "varnishd"), installed(t, byHand, "prometheus-varnish-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	dir := t.TempDir()
	start(t, path, "-F", "-a", "127.0.0.1:6081", "-b", "127.0.0.1:8080", "-n", dir, "-s", "s0=malloc,20M")
	awaitListener(t, "127.0.0.1:6081")
	steadily(t, 50, request(t, "http://127.0.0.1:6081/"))
	exporter := start(t, exporterPath, "-web.listen-address=127.0.0.1:9131", "-n", dir)
	awaitListener(t, "127.0.0.1:9131")
	return []server{{
		// The exporter reads Varnish's memory, and nobody knows which Varnish.
		name: "Varnish, on its exporter", topo: "Process", node: processNode(exporter),
		ask: func() (map[string]float64, error) {
			out, err := exec.Command("varnishstat", "-1", "-n", dir).Output()
			says := numbers(string(out), `(?m)^(\S+) +(\d+) `)
			says["asked"] = says["MAIN.cache_hit"] + says["MAIN.cache_miss"]
			says["storage"] = says["SMA.s0.g_bytes"] + says["SMA.s0.g_space"]
			return says, err
		},
		want: map[string]expectation{
			"promscope_varnish_requests": rate("MAIN.client_req"),
			"promscope_varnish_failed":   between(0, 0),
			"promscope_varnish_queued":   between(0, 0),
			"promscope_varnish_storage":  quotient(100, "SMA.s0.g_bytes", "storage", 0.01),
		},
		// Varnish counts neither hits nor misses while it passes a page on.
		may: map[string]expectation{"promscope_varnish_hits": ratio(100, "MAIN.cache_hit", "asked", 0)},
	}}
}

func everySquid(t *testing.T) []server {
	t.Helper()
	path, exporterPath := installed(t, byHand, "squid"), installed(t, byHand, "prometheus-squid-exporter")
	if path == "" || exporterPath == "" {
		return nil
	}
	squid := startSquid(t, path, "127.0.0.1:3128")
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:3128"})}}
	steadily(t, 50, func() error {
		// The address of this machine is asked for without a proxy.
		resp, err := client.Get("http://page.invalid/")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return err
	})
	exporter := start(t, exporterPath, "-listen", "127.0.0.1:9301")
	counters := func() (map[string]float64, error) {
		_, body, err := get(context.Background(), "http://127.0.0.1:3128/squid-internal-mgr/counters")
		return numbers(body, `(?m)^(\S+) = (\d+)`), err
	}
	return []server{{
		name: "Squid", topo: "Process", node: processNode(squid), ask: counters,
		want: map[string]expectation{
			"promscope_squid_requests": rate("client_http.requests"),
			"promscope_squid_errors":   rate("client_http.errors"),
			"promscope_squid_hits":     between(0, 0),
			"promscope_squid_sent":     increase(1024, "client_http.kbytes_out", 1024),
		},
		may: map[string]expectation{"promscope_squid_p95": between(0, 1000)},
	}, exporterOf(t, "Squid's exporter", exporter, "9301")}
}

// startSquid runs Squid as a proxy for all.
func startSquid(t *testing.T, path, address string) *process {
	t.Helper()
	dir, _ := daemonDir(t, "proxy")
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf("http_port %[2]s\nhttp_access allow all\npid_filename none\naccess_log none\ncache_log %[1]s/log\ncoredump_dir %[1]s\nshutdown_lifetime 1 second\n", dir, address))
	squid := start(t, path, "-N", "-f", filepath.Join(dir, "conf"))
	awaitListener(t, address)
	return squid
}

func everyEtcd(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "etcd")
	if path == "" {
		return nil
	}
	const at = "http://127.0.0.1:2379"
	etcd := start(t, path, "--data-dir="+t.TempDir(), "--quota-backend-bytes=100000000")
	awaitListener(t, "127.0.0.1:2379")
	var asked atomic.Int64
	post := func(path, body string) (map[string]any, error) {
		asked.Add(1)
		return postJSON(at+path, body)
	}
	eventually(t, 10*time.Second, "etcd", func() error { _, err := post("/v3/maintenance/status", "{}"); return err })
	steadily(t, 50, func() error { _, err := post("/v3/kv/put", `{"key":"YQ==","value":"YQ=="}`); return err })
	return []server{with(goProgram("etcd", etcd, at+"/metrics"), func(says map[string]float64) error {
		status, err := post("/v3/maintenance/status", "{}")
		if err != nil {
			return err
		}
		says["asked"] = float64(asked.Load())
		says["db"], err = strconv.ParseFloat(fmt.Sprint(status["dbSize"]), 64)
		return err
	}, map[string]expectation{
		"promscope_etcd_requests": rate("asked"),
		"promscope_etcd_fsync":    between(0, 1000),
		"promscope_etcd_quota":    level(100.0/100_000_000, "db", 0.1),
		"promscope_etcd_errors":   between(0, 0),
	}, map[string]string{"promscope_etcd_version": firstMatch(t, `etcd Version: (\S+)`, path, "--version")})}
}

func everyPrometheus(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "prometheus")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "yml"), "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: self, static_configs: [{targets: ['127.0.0.1:9090']}]}]\n")
	p := start(t, path, "--config.file="+dir+"/yml", "--storage.tsdb.path="+dir, "--web.listen-address=127.0.0.1:9090")
	awaitListener(t, "127.0.0.1:9090")
	var asked atomic.Int64
	query := func(expr string) (string, error) {
		asked.Add(1)
		_, body, err := get(context.Background(), "http://127.0.0.1:9090/api/v1/query?query="+url.QueryEscape(expr))
		return body, err
	}
	steadily(t, 20, func() error { _, err := query("1"); return err })
	return []server{with(goProgram("Prometheus", p, "http://127.0.0.1:9090/metrics"), func(says map[string]float64) error {
		// Of each scrape also up and four more samples are kept.
		body, err := query("scrape_samples_post_metric_relabeling + 5")
		if err != nil {
			return err
		}
		maps.Copy(says, numbers(body, `"(value)":\[[\d.]+,"([\d.]+)"\]`))
		_, body, err = get(context.Background(), "http://127.0.0.1:9090/api/v1/status/tsdb")
		maps.Copy(says, numbers(body, `"(numSeries)":(\d+)`))
		says["asked"] = float64(asked.Load())
		return err
	}, map[string]expectation{
		"promscope_prometheus_samples":    level(1, "value", 0),
		"promscope_prometheus_series":     level(1, "numSeries", 0),
		"promscope_prometheus_queries":    rate("asked"),
		"promscope_prometheus_query_time": between(0, 20),
	}, map[string]string{"promscope_prometheus_version": firstMatch(t, `version (\S+)`, path, "--version")})}
}

func everyAlertmanager(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "prometheus-alertmanager")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "yml"), "route: {receiver: none}\nreceivers: [{name: none}]\n")
	p := start(t, path, "--config.file="+dir+"/yml", "--storage.path="+dir, "--web.listen-address=127.0.0.1:9093", "--cluster.listen-address=")
	awaitListener(t, "127.0.0.1:9093")
	if _, err := postJSON("http://127.0.0.1:9093/api/v2/alerts", `[{"labels":{"alertname":"a"}},{"labels":{"alertname":"b"}},{"labels":{"alertname":"c"}}]`); err != nil {
		t.Fatal(err)
	}
	return []server{with(goProgram("Alertmanager", p, "http://127.0.0.1:9093/metrics"), func(says map[string]float64) error {
		_, body, err := get(context.Background(), "http://127.0.0.1:9093/api/v2/alerts")
		says["active"] = float64(strings.Count(body, `"state":"active"`))
		return err
	}, map[string]expectation{
		"promscope_alertmanager_active":     level(1, "active", 0),
		"promscope_alertmanager_suppressed": between(0, 0),
	}, map[string]string{"promscope_alertmanager_version": firstMatch(t, `version (\S+)`, path, "--version")})}
}

func everyCoreDNS(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "coredns")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Corefile"), ".:5354 {\n bind 127.0.0.1\n prometheus 127.0.0.1:9153\n template IN A {\n answer \"{{ .Name }} 60 IN A 127.0.0.2\"\n }\n}\n")
	p := start(t, path, "-conf", filepath.Join(dir, "Corefile"))
	awaitListener(t, "127.0.0.1:9153")
	awaitListener(t, "127.0.0.1:5354")
	ask := dns(t, "127.0.0.1:5354", "www.t.example")
	var asked atomic.Int64
	steadily(t, 80, func() error { asked.Add(1); return ask() })
	return []server{with(goProgram("CoreDNS", p, "http://127.0.0.1:9153/metrics"), func(says map[string]float64) error {
		says["asked"] = float64(asked.Load())
		return nil
	}, map[string]expectation{
		"promscope_coredns_queries":  rate("asked"),
		"promscope_coredns_servfail": between(0, 0),
		"promscope_coredns_p99":      between(0, 20),
	}, map[string]string{"promscope_coredns_version": firstMatch(t, `CoreDNS-(\S+)`, path, "-version")})}
}

func everyCaddy(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "caddy")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Caddyfile"), "{\n servers {\n metrics\n }\n}\nhttp://localhost:8085 {\n respond \"hi\"\n}\n")
	cmd := exec.Command(path, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	p := startCommand(t, cmd)
	awaitListener(t, "127.0.0.1:2019")
	awaitListener(t, "127.0.0.1:8085")
	ask := request(t, "http://localhost:8085/")
	var asked atomic.Int64
	steadily(t, 50, func() error { asked.Add(1); return ask() })
	return []server{with(goProgram("Caddy", p, "http://127.0.0.1:2019/metrics"), func(says map[string]float64) error {
		says["asked"] = float64(asked.Load())
		return nil
	}, map[string]expectation{
		"promscope_caddy_requests":  rate("asked"),
		"promscope_caddy_time":      between(0, 20),
		"promscope_caddy_in_flight": between(0, 1),
	}, nil)}
}

func everyRabbitMQ(t *testing.T) []server {
	t.Helper()
	path := installed(t, byHand, "rabbitmq-server")
	if path == "" {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plugins"), "[rabbitmq_prometheus].\n")
	write(t, filepath.Join(dir, "rabbitmq.conf"), "listeners.tcp.1 = 127.0.0.1:5672\nprometheus.tcp.ip = 127.0.0.1\n")
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmq-server")
	cmd.Env = append(os.Environ(), "HOME="+dir, "RABBITMQ_NODENAME=r@localhost", "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir,
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_DIST_PORT=25672")
	startCommand(t, cmd)
	var pid string
	eventually(t, time.Minute, "the broker", func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:15692")
		if err != nil {
			return err
		}
		conn.Close()
		comms, _ := filepath.Glob("/proc/[0-9]*/comm")
		for _, comm := range comms {
			if content, _ := os.ReadFile(comm); string(content) == "beam.smp\n" {
				pid = filepath.Base(filepath.Dir(comm))
				return nil
			}
		}
		return errNotYet
	})
	return []server{{
		name: "RabbitMQ", topo: "Process", node: hostName + ";" + pid,
		ask: func() (map[string]float64, error) {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			memory, errMemory := os.ReadFile("/proc/meminfo")
			says := numbers(string(status)+string(memory), `(?m)^(\w+):\s+(\d+) kB`)
			if errMemory != nil {
				err = errMemory
			}
			return says, err
		},
		want: map[string]expectation{
			"promscope_rabbitmq_received":   between(0, 0),
			"promscope_rabbitmq_delivered":  between(0, 0),
			"promscope_rabbitmq_ready":      between(0, 0),
			"promscope_rabbitmq_unacked":    between(0, 0),
			"promscope_rabbitmq_unroutable": between(0, 0),
			"promscope_rabbitmq_memory":     quotient(100/0.4, "VmRSS", "MemTotal", 0.3),
		},
		rows: map[string]string{"promscope_rabbitmq_version": firstMatch(t, `^(\S+)`, "dpkg-query", "-W", "-f", "${source:Upstream-Version}", "rabbitmq-server")},
	}}
}

// everyOther are exporters that say nothing of others without a configuration of theirs.
func everyOther(t *testing.T) []server {
	t.Helper()
	var all []server
	if path := installed(t, byHand, "prometheus-blackbox-exporter"); path != "" {
		p := start(t, path, "--web.listen-address=127.0.0.1:9115", "--config.file=/etc/prometheus/blackbox.yml")
		all = append(all, exporterOf(t, "blackbox_exporter", p, "9115"))
	}
	if path := installed(t, byHand, "prometheus-process-exporter"); path != "" {
		p := start(t, path, "-web.listen-address=127.0.0.1:9256", "-procnames=redis-server")
		all = append(all, exporterOf(t, "process-exporter", p, "9256"))
	}
	return all
}

// with adds what a server says, and is expected to show, to what it does as a Go program.
// As many of the latter are shown as there is room for.
func with(s server, ask func(map[string]float64) error, want map[string]expectation, rows map[string]string) server {
	runtime := s.ask
	s.ask = func() (map[string]float64, error) {
		says, err := runtime()
		if err != nil {
			return nil, err
		}
		return says, ask(says)
	}
	s.may, s.want = s.want, want
	maps.Copy(s.rows, rows)
	return s
}

// dns asks for an address, and waits for the answer.
func dns(t *testing.T, server, name string) func() error {
	t.Helper()
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	for _, part := range strings.Split(name, ".") {
		query = append(append(query, byte(len(part))), part...)
	}
	query = append(query, "\x00\x00\x01\x00\x01"...)
	return func() error {
		if _, err := conn.Write(query); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 512))
		return err
	}
}

func postJSON(url, body string) (answer map[string]any, err error) {
	resp, err := http.Post(url, "application/json", bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return answer, nil
}
