package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// secrets is a configuration with everything that can be secret in it. All that
// begins with "hush" is.
const secrets = `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: basic
    basic_auth: {username: user, password: hush-basic}
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: bearer
    authorization: {credentials: hush-bearer}
    params: {token: [hush-param], format: [text]}
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: headers
    http_headers: {X-Key: {secrets: [hush-header]}}
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: proxy
    proxy_url: http://user:hush-proxy@%[2]s/
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: oauth
    oauth2:
      client_id: id
      client_secret: hush-oauth
      token_url: http://user:hush-tokenurl@%[2]s/token?api_key=hush-apikey
      endpoint_params: {password: hush-endpoint}
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: discovered
    http_sd_configs:
      - url: http://user:hush-sd@%[3]s/sd?token=hush-sdtoken
        basic_auth: {username: user, password: hush-sdbasic}
  - job_name: labelled
    relabel_configs: [{target_label: __param_secret, replacement: hush-label}]
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: redirected
    basic_auth: {username: user, password: hush-redirect}
    metrics_path: /redirect
    static_configs: [{targets: ["%[1]s"]}]
  - job_name: address
    static_configs: [{targets: ["user:hush-address@%[1]s"]}]
presets: [iowait]
rules:
  - {metric: shown, label: Shown, expr: sum(up_metric), node: host}
`

// Nothing that is secret shows up anywhere: not on a page, in an answer of the
// API, in a log, in an error or in what a command prints.
func TestSecrets(t *testing.T) {
	t.Parallel()
	exporter := newExporter(t, "up_metric 1\n")
	sd := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets": [%q], "labels": {"__param_password": "hush-sdlabel", "link": "http://user:hush-link@x/"}},
			{"targets": ["user:hush-sdaddress@%s"]}]`, exporter.address(), exporter.address())
	})
	// The address with user info may be refused, but must not be repeated then.
	config := fmt.Sprintf(secrets, exporter.address(), freeAddress(t), sd)
	var checked bytes.Buffer
	if run(context.WithoutCancel(t.Context()), []string{"check", writeConfig(t, config)}, &checked, &checked) != 0 {
		noSecret(t, "check", checked.String())
		before, rest, _ := strings.Cut(config, "  - job_name: address")
		_, after, _ := strings.Cut(rest, "presets:")
		config = before + "presets:" + after
	}
	p := startPlugin(t, config, "--log.level=debug", "--web.enable-lifecycle")
	await(t, probe(t, p), "shown")
	p.awaitReady(t)

	get := func(path string) {
		t.Helper()
		status, body, err := get(t.Context(), p.web+path)
		if err != nil || status >= 500 {
			t.Errorf("%s: status %d, %v", path, status, err)
		}
		noSecret(t, path, body)
	}
	subjects := []string{"up_metric", "host/shown", "host", "no_such_metric"}
	everything := func() {
		t.Helper()
		for _, page := range []string{"/", "/targets", "/series", "/rules", "/nodes", "/collectors", "/scope", "/configuration", "/metrics", "/series?expr=up_metric", "/-/ready"} {
			get(page)
		}
		for _, endpoint := range []string{"status", "targets", "rules", "nodes", "collectors", "configuration", "scope", "query?query=up_metric"} {
			get("/api/v1/" + endpoint)
		}
		for _, subject := range subjects {
			get("/explain?subject=" + url.QueryEscape(subject))
			get("/api/v1/explain?subject=" + url.QueryEscape(subject))
		}
	}
	everything()
	if _, body, err := fetch(t, p.web+"/api/v1/targets"); err != nil || !strings.Contains(body, `"health":"down"`) || !strings.Contains(body, `"health":"up"`) {
		t.Errorf("targets should be up and down: %v, %s", err, body)
	}

	// A configuration that is refused shows its lines, but not what is secret.
	file := p.config(t)
	for _, wrong := range []string{
		"scrape_configs: [{job_name: x, basic_auth: {username: u, pasword: hush-typo}, static_configs: [{targets: [a]}]}]\n",
		"scrape_configs: [{job_name: x, basic_auth: {username: u, password: [hush-list]}, static_configs: [{targets: [a]}]}]\n",
		"scrape_configs: [{job_name: x, proxy_url: 'http://u:hush-url@x/', static_configs: [{targets: [a], lables: 1}]}]\n",
		"scrape_configs: [{job_name: x, authorization: {credentials: hush-two, credentials_file: y}}]\n",
	} {
		if err := os.WriteFile(file, []byte(wrong), 0o644); err != nil {
			t.Fatal(err)
		}
		reload, err := http.Post(p.web+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		var answer bytes.Buffer
		_, err = answer.ReadFrom(reload.Body)
		reload.Body.Close()
		if err != nil || reload.StatusCode == http.StatusOK || !strings.Contains(answer.String(), "error") {
			t.Errorf("reload: status %d, %v: %s", reload.StatusCode, err, answer.String())
		}
		noSecret(t, "reload", answer.String())
		get("/configuration")
		get("/api/v1/configuration")
	}

	// Commands, with the right configuration and with wrong ones.
	right := writeConfig(t, config)
	exposition := writeConfig(t, "up_metric 1\n")
	var commands sync.WaitGroup // doctor takes seconds
	for _, args := range [][]string{
		{"check", right}, {"check", file}, {"doctor", "--config.file", right}, {"doctor", "--json", "--config.file", right}, {"doctor", "--config.file", file},
		{"explain", "--config.file", right, "--exposition", exposition, "--label", "job=basic", "up_metric"},
		{"explain", "--config.file", file, "up_metric"},
		{"explain", "--url", p.web, "--json", "up_metric"},
		{"explain", "--url", "http://user:hush-ask@127.0.0.1:1", "up_metric"},
		{"explain", "--url", "user:hush-ask@127.0.0.1:1", "up_metric"},
		{"explain", "--url", "http://user:hush-ask@127.0.0.1:1/%zz", "up_metric"},
		{"report", "--duration=2s", "--config.file", right}, {"report", "--config.file", file}, {"run", "--config.file", file},
	} {
		root := t.TempDir()
		commands.Go(func() {
			output := &buffer{} // logs and progress come from goroutines of their own
			run(context.WithoutCancel(t.Context()), append(args, "--scope.plugins-root="+root), output, output)
			if output.String() == "" {
				t.Errorf("%v printed nothing", args)
			}
			noSecret(t, strings.Join(args, " "), output.String())
		})
	}
	commands.Wait()
	p.interrupt(t)
	p.exit(t, 10*time.Second)
	noSecret(t, "the log", p.output.String())
	if !strings.Contains(p.output.String(), "Target is down") {
		t.Errorf("the log has no line of a target that is down:\n%s", p.output)
	}
}

// noSecret fails with each line of a text in which something secret shows.
func noSecret(t *testing.T, where, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if i := strings.Index(line, "hush"); i >= 0 {
			t.Errorf("%s: …%s", where, line[max(0, i-200):min(len(line), i+80)])
		}
	}
}

func fetch(t *testing.T, url string) (int, string, error) {
	t.Helper()
	return get(t.Context(), url)
}

// newServer serves HTTP until the test ends and returns its address.
func newServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
