package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/view"
)

func newPages(t testing.TB, source Source, opts PageOptions) http.Handler {
	t.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return moment }
	}
	pages, err := NewPages(source, opts, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// get asks a handler and returns the status code and the body.
func get(t testing.TB, h http.Handler, target string) (int, string) {
	t.Helper()
	w := ask(t, h, http.MethodGet, target)
	return w.Code, w.Body.String()
}

func ask(t testing.TB, h http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// text is a page without its tags, spaces joined, as somebody reads it.
func text(page string) string {
	page = regexp.MustCompile(`(?s)<head>.*</head>|<svg.*?</svg>|<[^>]*>`).ReplaceAllString(page, " ")
	page = strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&", "&#43;", "+", "\u00a0", " ").Replace(page)
	return strings.Join(strings.Fields(page), " ")
}

// allPages are the addresses of every kind of page.
func allPages() []string {
	return []string{
		"/", "/targets", "/series", "/series?expr=sum(node)", "/series?expr=a[1m]", "/rules", "/nodes", "/collectors", "/scope", "/configuration", "/explain",
		"/explain?subject=vm-03%3B4127", "/explain?subject=go_goroutines", "/explain?subject=node_cpu_seconds_total", "/explain?subject=unheard_of", "/nowhere",
	}
}

func TestPages(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	for _, test := range []struct {
		address string
		code    int
		want    []string
	}{
		{"/", 200, []string{
			"5 things need a look", "Targets up 9 2 are down", "Series kept 585 of 12,288 exposed", "Rules at work 14 1 fails of 18", "Nodes told 10 52 metrics", "Last poll 0.4 s ago, by 1 probe",
			"payments 10.88.0.21:9464: Get \"http://10.88.0.21:9464/metrics\": context deadline exceeded",
			"Collector tcp does not work", "Boot with lockdown=integrity", "process/payments_lag: Never evaluated", "What Scope is told of vm-03 CPU iowait 3.63%",
		}},
		{"/targets", 200, []string{
			"All 12 Down 2 Up 9 Dropped 1", "10.88.0.21:9464 down for 4.2 min target_pid= 4302", "target_container_id= 9c1f64d2a7be target_pid= 4127",
			"localhost:9100 target_pid= 812", "node 1.8 s ago 8.7 ms 61 1,204 92.1 KiB", "dropped by relabel_configs", "a metric_relabel_configs rule may write __name__",
		}},
		{"/rules", 200, []string{
			"All 18 Failing 1 Idle 3 At work 14", "Cart to order cart_ratio 100 * sum(rate(shop_orders_total[25s])) / on (job)", "many-to-one matching must be explicit",
			"/etc/promscope/promscope.yml:32:5", "Process by target_pid 7 5 2 50 µs 0.4 s ago", "preset jvm",
		}},
		{"/nodes", 200, []string{"All 10 Host 1 Containers 2 Processes 7", "vm-03 Host CPU iowait 3.63%", "shop-1 Container 9c1f64d2a7be Orders/s 25.12", "shop Process 4127 Queue length 18"}},
		{"/series", 200, []string{"17 metrics in the store Series", "node_memory_MemTotal_bytes"}},
		{"/series?expr=sum(node)", 200, []string{"8 elements", "instance= localhost:9100 mode= iowait 3.63", "metric might not be a counter"}},
		{"/series?expr=sum((", 400, []string{"1:5: parse error: unexpected end of input in aggregation"}},
		{"/series?expr=absent_metric", 200, []string{"No series. The store keeps only what some rule selects: explain absent_metric"}},
		{"/series?expr=%22text%22", 200, []string{"Value in", "text"}},
		{"/series?expr=1", 200, []string{"1 element", "no labels 1"}},
		{"/series?expr=boom", 400, []string{"the engine failed"}},
		{"/collectors", 200, []string{"http on", "fentry serves kprobe not tried", "the kernel can preempt its programs", "Series kept 152 of 190", "tcp failed", "kernel lockdown", "Needs BTF CAP_BPF CAP_PERFMON",
			"Program Runs Run time A run Runs skipped on_receive 1,204,331 344 ms 286 ns 2 on_close – – – 0 The kernel counts no runs now. sysctl kernel.bpf_stats_enabled=1 has it count them",
			"Map Entries Room for Full When it is full processes 6 1,024 0.58% nothing new has room sockets 512 512 100% the entry unused for longest makes room"}},
		{"/scope", 200, []string{"6befab12ed9aaa96 scope (pid 1701) 0.4 s ago 1 s 11,482 310 µs 11.5 KiB", "Nodes 10 Metrics 52", "60.3 KiB", "The report speaks of vm-03 , a name from the probe's environment (SCOPE_HOSTNAME)", "vm-03.internal another name"}},
		{"/configuration", 200, []string{"/etc/promscope/promscope.yml Loaded 41 min ago", "password: <secret>", "warning: the range of rate() is shorter"}},
		{"/explain", 200, []string{"Why does a metric show up, or not?"}},
		{"/explain?subject=vm-03%3B4127", 200, []string{"Node shop vm-03;4127", "Scope is told 7 metrics of this node.", "Queue length shop_queue 18 process/shop_queue max by (target_pid) (shop_queue_length) localhost:9100 node", "Dropped process/shop_lag value: NaN is no number that Scope could show (2 elements)"}},
		{"/explain?subject=go_goroutines", 200, []string{"Puts 5 values on nodes; 2 elements were dropped.", "go_goroutines 7 series, kept for 40 s", "Dropped: dead 1", "NaN dropped: no_label", "NaN dropped: dead: process 31 does not exist, or began after the sample"}},
		{"/explain?subject=process%2Fpayments_lag", 200, []string{"Never evaluated: no series that it selects is in the store. No target that is up serves payments_lag_seconds."}},
		{"/explain?subject=node_cpu_seconds_total", 200, []string{
			"Selected by 1 rule, shown on 1 node.", "host/cpu_iowait node_cpu_seconds_total{mode=\"iowait\"} → vm-03;<host>",
			"No rule selects it: 2 rules ask for the metric, but with matchers that refuse it.", `wants mode="iowait" , the series has "user"`, `wants zone=~".+" , the series has no such label`,
		}},
		{"/explain?subject=unheard_of", 200, []string{"Nothing here goes by that name", "Job payments is down"}},
		{"/explain?subject=%7B%7B", 400, []string{"unexpected character inside braces"}},
		{"/nowhere", 404, []string{"No such page"}},
	} {
		t.Run(test.address, func(t *testing.T) {
			code, body := get(t, pages, test.address)
			if code != test.code {
				t.Errorf("status %d, want %d", code, test.code)
			}
			read := text(body)
			for _, want := range test.want {
				if !strings.Contains(read, want) {
					t.Errorf("the page does not say %q:\n%s", want, read)
				}
			}
			if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, "no value") {
				t.Error("the page has a hole in it")
			}
		})
	}
}

// A probe that was ended goes on being known, but polls no more.
func TestPollingProbes(t *testing.T) {
	f := example(moment)
	left := f.scope.Pollers[0]
	left.LastPoll = moment.Add(-time.Minute)
	f.scope.Pollers = append(f.scope.Pollers, left, f.scope.Pollers[0])
	if _, body := get(t, newPages(t, f, PageOptions{}), "/"); !strings.Contains(text(body), "by 2 probes") {
		t.Errorf("it does not say that 2 probes poll:\n%s", text(body))
	}
}

func TestAllIsWell(t *testing.T) {
	f := example(moment)
	f.targets, f.rules, f.collectors, f.config.Warnings = f.targets[:7], f.rules[4:8], f.collectors[:2], nil
	code, body := get(t, newPages(t, f, PageOptions{}), "/")
	if code != http.StatusOK || !strings.Contains(text(body), "All is well") || strings.Contains(body, "<mark") {
		t.Errorf("status %d, and it says\n%s", code, text(body))
	}
}

// Each of these takes away the "All is well".
func TestIssues(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*fake)
		want   string
	}{
		"not ready":  {func(f *fake) { f.status.NotReady = "target node was not tried yet" }, "Not ready target node was not tried yet"},
		"reload":     {func(f *fake) { f.config.ReloadError = "x.yml:1:1: error: no" }, "The last reload was refused; the configuration before it is in force x.yml:1:1: error: no"},
		"no probe":   {func(f *fake) { f.scope.Pollers = nil }, "No probe has polled yet Scope's probe looks for /var/run/scope/plugins/promscope/promscope.sock every 5 s"},
		"probe left": {func(f *fake) { f.scope.Pollers[0].LastPoll = moment.Add(-16 * time.Second) }, "No probe polls any more The last poll was 16 s ago"},
		"host name":  {func(f *fake) { f.scope.HostWarning = "--scope.host decides" }, "The host's name is doubtful --scope.host decides"},
		"store":      {func(f *fake) { f.status.Series = 95000 }, "The store is nearly full 95,000 series of at most 100,000"},
		"full store": {func(f *fake) { f.status.Series, f.status.Refused = 100000, 2304 },
			"The store is full Series: 100,000, which is limits.max_series; 2,304 samples of others refused so far"},
		"full report": {func(f *fake) { f.scope.Report.LeftOut = 12 },
			"The report is full Scope is not told of 12 nodes, beside the 10 that fit into limits.max_report_size Raise limits.max_report_size, to 48MiB at most"},
		"all down": {func(f *fake) {
			for i := range f.targets {
				f.targets[i].Health = view.HealthDown
			}
		}, "Series kept 0 of 0 exposed"},
		"many down":   {func(f *fake) { f.targets = crowd(moment, 90, 1, 1).targets; f.targets[0].Health = view.HealthDown }, "and 11 more"},
		"idle preset": {func(f *fake) { f.rules = f.rules[:0:0] }, "All is well"},
	} {
		t.Run(name, func(t *testing.T) {
			f := example(moment)
			f.targets, f.rules, f.collectors, f.config.Warnings = f.targets[:7], f.rules[4:8], f.collectors[:2], nil
			test.change(f)
			if _, body := get(t, newPages(t, f, PageOptions{}), "/"); !strings.Contains(text(body), test.want) {
				t.Errorf("the page does not say %q:\n%s", test.want, text(body))
			}
		})
	}
}

// A node that the report has no room for is not told, and each page says so.
func TestNodeLeftOut(t *testing.T) {
	f := example(moment)
	for i := range f.nodes {
		f.nodes[i].LeftOut = f.nodes[i].Topology == "Host"
	}
	pages := newPages(t, f, PageOptions{})
	for address, want := range map[string]string{
		"/nodes": "vm-03 Host left out: the report is full (limits.max_report_size) CPU iowait", "/explain?subject=vm-03": "It is left out: the report is full",
		"/api/v1/nodes?show=Host": `"left_out":true`,
	} {
		if _, body := get(t, pages, address); !strings.Contains(text(body), want) {
			t.Errorf("%s does not say %q:\n%s", address, want, text(body))
		}
	}
	if _, body := get(t, pages, "/"); strings.Contains(body, "What Scope is told of") {
		t.Error("the overview says what Scope is told of a node that is left out")
	}
}

// What an explanation leaves out, and lines of the Info section, are on its page.
func TestExplainPage(t *testing.T) {
	f := example(moment)
	f.explain = func(subject string) (view.Explanation, error) {
		if subject == "unheard_of" {
			return view.Explanation{Subject: subject, Partial: true}, nil
		}
		if subject == "localhost:9500" {
			return view.Explanation{Subject: subject, Listeners: []view.ListenerExplanation{{
				Name: "0.0.0.0:9500", PID: 5, Comm: "junk", Result: "other", Reason: "no exposition: <html>", Asked: moment.Add(-3 * time.Second),
			}}}, nil
		}
		return view.Explanation{
			Subject: subject, MoreNodes: 280,
			Nodes: []view.NodeExplanation{{
				Node:    view.Node{Key: "vm-03;7", Topology: "Process", ID: "7", Name: "redis", Rows: []view.Row{{ID: "redis_version", Label: "Version", Text: "7.2.4", Rule: "process/redis_version"}}},
				Origins: []view.MetricOrigin{{Metric: "redis_version", Rule: "process/redis_version", Expr: "redis_instance_info", Targets: []view.TargetRef{{Job: "redis", Instance: "localhost:9121", Health: view.HealthUp}}}},
			}},
			Series: []view.SeriesExplanation{{
				Labels: view.Labels{"__name__": "a"}, Selected: []view.Selection{{Rule: "process/a", Nodes: []string{"vm-03;7"}, Elements: []view.Element{{Node: "vm-03;7"}}, More: 299}},
			}},
		}, nil
	}
	pages := newPages(t, f, PageOptions{})
	for subject, parts := range map[string][]string{
		"unheard_of":     {"no series of the store or of a target that answered, no rule, no node."},
		"localhost:9500": {"Listener 0.0.0.0:9500 junk, process 5 It was asked for an exposition, and is no target: no exposition: <html>. Asked 3 s ago"},
		"redis": {
			"Scope is told 1 line of this node's Info section.", "Version redis_version 7.2.4 process/redis_version redis_instance_info localhost:9121 redis",
			"and 280 more nodes go by that name", "shown on at least 1 node", "→ vm-03;7 and 299 more",
		},
	} {
		_, body := get(t, pages, "/explain?subject="+subject)
		e, _ := f.explain(subject)
		var terminal strings.Builder
		if err := e.WriteText(&terminal, moment); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(text(body), part) {
				t.Errorf("the page of %s does not say %q:\n%s", subject, part, text(body))
			}
		}
		for _, part := range []string{"7.2.4", "redis_instance_info", "280 more nodes", "299 more", "at least"} {
			if subject == "redis" && !strings.Contains(terminal.String(), part) {
				t.Errorf("the terminal does not show %q:\n%s", part, terminal.String())
			}
		}
	}
}

// A process that has just begun knows nothing yet; every page says so.
func TestEmpty(t *testing.T) {
	f := &fake{
		status:  view.Status{Version: "0.4.0"},
		query:   func(view.Query) (view.Result, error) { return view.Result{Type: view.TypeVector}, nil },
		explain: func(subject string) (view.Explanation, error) { return view.Explanation{Subject: subject}, nil },
	}
	pages := newPages(t, f, PageOptions{})
	for address, want := range map[string]string{
		"/": "No probe has polled yet", "/targets": "No targets yet", "/series": "The store is empty", "/rules": "No rules", "/nodes": "told of no node",
		"/collectors": "No collectors", "/scope": "No probe has polled yet", "/configuration": "none: the defaults", "/explain?subject=x": "Nothing here goes by that name",
	} {
		if code, body := get(t, pages, address); code != http.StatusOK || !strings.Contains(text(body), want) {
			t.Errorf("%s: status %d, and it does not say %q:\n%s", address, code, want, text(body))
		}
	}
}

func TestHeaders(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	for _, address := range append(allPages(), "/api/v1/targets", "/style.css") {
		h := ask(t, pages, http.MethodGet, address).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: Content-Security-Policy %q lacks %s", address, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", address, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the browser may guess the type", address)
		}
	}
	if got := ask(t, pages, http.MethodGet, "/targets").Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("a page may be cached: %q", got)
	}
}

// What a policy without 'unsafe-inline' would block must not be there at all.
func TestNothingInline(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	inline := regexp.MustCompile(`(?i)<[^>]*\s(style|on[a-z]+)\s*=|<style|<script(?:\s[^>]*)?>[^<]|(?:src|href)="(?:https?:)?//`)
	for _, address := range allPages() {
		_, body := get(t, pages, address)
		for _, found := range inline.FindAllString(body, -1) {
			if strings.Contains(found, `href="http://`) && address == "/targets" {
				continue // the targets themselves
			}
			t.Errorf("%s: %s", address, found)
		}
		if n := strings.Count(body, "<script"); n != 1 {
			t.Errorf("%s: %d scripts, want the one", address, n)
		}
	}
}

// Every link of every page leads to a page.
func TestLinks(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	link := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	seen := map[string]bool{}
	for _, from := range allPages() {
		_, body := get(t, pages, from)
		for _, match := range link.FindAllStringSubmatch(body, -1) {
			to := strings.ReplaceAll(match[1], "&amp;", "&")
			if seen[to] || strings.HasPrefix(to, "http") || strings.HasPrefix(to, "#") || to == "metrics" {
				continue
			}
			seen[to] = true
			if strings.HasPrefix(to, "/") {
				t.Errorf("%s: the link %s does not survive a proxy that strips a prefix", from, to)
			}
			if code, _ := get(t, pages, "/"+strings.TrimPrefix(to, "./")); code != http.StatusOK {
				t.Errorf("%s: the link %s answers %d", from, to, code)
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d links seen", len(seen))
	}
}

func TestNothingChangesByGET(t *testing.T) {
	pages := newPages(t, example(moment), PageOptions{})
	for _, address := range allPages() {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			if code := ask(t, pages, method, address).Code; code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d, want 405", method, address, code)
			}
		}
	}
	reloads := 0
	s := start(t, Options{Pages: pages, Reload: func() error { reloads++; return nil }})
	if code, _ := do(t, http.MethodGet, "http://"+s.Address()+"/-/reload"); code == http.StatusOK || reloads != 0 {
		t.Errorf("GET /-/reload: status %d, %d reloads", code, reloads)
	}
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example"} {
		request, err := http.NewRequest(http.MethodPost, "http://"+s.Address()+"/-/reload", nil)
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden || reloads != 0 {
			t.Errorf("a page of another site (%s) reloads: status %d, %d reloads", header, response.StatusCode, reloads)
		}
	}
	if code, _ := do(t, http.MethodPost, "http://"+s.Address()+"/-/reload"); code != http.StatusOK || reloads != 1 {
		t.Errorf("POST /-/reload: status %d, %d reloads", code, reloads)
	}
}

func TestTables(t *testing.T) {
	pages := newPages(t, crowd(moment, 230, 500, 5000), PageOptions{})
	for _, test := range []struct {
		address, want string
		rows          int
	}{
		{"/targets", "1–100 of 230", 100},
		{"/targets?page=3", "201–230 of 230", 30},
		{"/targets?page=99", "201–230 of 230", 30},
		{"/targets?page=-4", "1–100 of 230", 100},
		{"/targets?page=x", "1–100 of 230", 100},
		{"/targets?show=down", "Down 38", 38},
		{"/targets?show=down&q=payments", "Down 19", 19},
		{"/targets?q=PAYMENTS+deadline", "All 19", 19},
		{"/targets?q=target_pid%3D1007", "All 1", 1},
		{"/targets?q=nothing+like+that", "No target matches", 0},
		{"/rules?page=5", "401–500 of 500", 100},
		{"/rules?show=failing", "Failing 28", 28},
		{"/rules?q=histogram_quantile&show=ok", "At work 28", 28},
		{"/nodes?page=100", "4,951–5,000 of 5,000", 50},
		{"/nodes?q=shop+queue", "1–50 of", 50},
		{"/nodes?q=3b5999", "No node matches", 0},
		{"/nodes?q=%3B5999", "All 1", 1},
		{"/nodes?show=Host", "No node matches", 0},
	} {
		_, body := get(t, pages, test.address)
		if read := text(body); !strings.Contains(read, test.want) {
			t.Errorf("%s does not say %q:\n%.600s", test.address, test.want, read)
		}
		if rows := max(0, strings.Count(body, "<tr")-1); rows != test.rows {
			t.Errorf("%s: %d rows, want %d", test.address, rows, test.rows)
		}
	}
	_, body := get(t, pages, "/nodes?q=shop&page=2")
	for _, want := range []string{`href="nodes?page=3&amp;q=shop" rel="next"`, `href="nodes?q=shop" rel="prev"`, `value="shop"`} {
		if !strings.Contains(body, want) {
			t.Errorf("a page of a filtered table lacks %s", want)
		}
	}
}

func TestTargetsAreSorted(t *testing.T) {
	_, body := get(t, newPages(t, example(moment), PageOptions{}), "/targets")
	last := -1
	for _, instance := range []string{"127.0.0.1:9187", "10.88.0.21:9464", "localhost:8081", "127.0.0.1:9113", "localhost:9100", "127.0.0.1:9999"} {
		at := strings.Index(body, "<b>"+instance)
		if at <= last {
			t.Errorf("%s is out of order", instance)
		}
		last = at
	}
}

// hostile are texts that anybody who can set a label value can put on a page.
func hostile() []string {
	return []string{
		`<script>window.pwned=1</script>`,
		`"><img src=x onerror="window.pwned=1">`,
		`' onfocus='window.pwned=1' autofocus='`,
		`" onmouseover="window.pwned=1`,
		`</title></style></textarea></svg><svg onload=window.pwned=1>`,
		`javascript:window.pwned=1`,
		`{{.Status}}`,
		"\x00\u202e\xff&lt;b&gt;",
	}
}

// evil is a Source in which everything that comes from outside is hostile.
func evil(text string) *fake {
	f := example(moment)
	labels := view.Labels{"job": text, "instance": text, "__name__": text, text: text}
	f.status.NotReady = text
	for i := range f.targets {
		t := &f.targets[i]
		t.Job, t.URL, t.Labels, t.Discovered, t.Error, t.Format, t.Notes = text, text, labels, labels, text, text, []string{text}
	}
	for i := range f.rules {
		r := &f.rules[i]
		r.Name, r.Metric, r.Label, r.Expr, r.Error, r.Warnings, r.Regex = text, text, text, text, text, []string{text}, text
		r.Dropped = map[string]int{text: 1}
		r.Selectors = []view.Selector{{Matchers: text}}
	}
	for i := range f.nodes {
		n := &f.nodes[i]
		n.Key, n.ID, n.Name = text, text, text
		for j := range n.Metrics {
			m := &n.Metrics[j]
			m.ID, m.Label, m.Rule = text, text, text
		}
	}
	for i := range f.collectors {
		c := &f.collectors[i]
		c.Name, c.Help, c.Error, c.Remedy, c.Hook, c.Facts = text, text, text, text, text, []view.Fact{{Name: text, Value: text}}
		c.Programs, c.Maps = []view.Program{{Name: text}}, []view.Map{{Name: text, Limit: 1}}
	}
	f.config.Text, f.config.ReloadError, f.config.Warnings = text, text, []string{text}
	f.scope.Host, f.scope.HostWarning, f.scope.Pollers[0].ProbeID, f.scope.Pollers[0].Process = text, text, text, text
	f.query = func(q view.Query) (view.Result, error) {
		r := view.Result{Type: view.TypeVector, Warnings: []string{text}}
		points := []view.Point{{Time: q.End, Value: 1}}
		if q.Step > 0 {
			r.Type, points = view.TypeMatrix, []view.Point{{Time: q.Start, Value: 1}, {Time: q.End, Value: 2}}
		}
		r.Series = []view.Series{{Labels: labels, Points: points}}
		return r, nil
	}
	f.explain = func(string) (view.Explanation, error) {
		ref := view.TargetRef{Job: text, Instance: text, URL: text, Health: view.HealthDown, Error: text}
		elements := []view.Element{{Labels: labels, Node: text, Metric: text}, {Labels: labels, Dropped: text, Why: text}}
		return view.Explanation{
			Subject: text, Hints: []string{text},
			Series: []view.SeriesExplanation{{Labels: labels, Target: &ref, NotStored: text, Whose: text, Selected: []view.Selection{{Rule: text, Selector: text, Nodes: []string{text}, Error: text, Elements: elements}}, Refused: []view.Refusal{{Rule: text, Selector: text, Matcher: text, Value: text}}}},
			Rules:  []view.RuleExplanation{{Rule: f.rules[0], Targets: []view.TargetRef{ref}, Results: elements, Hints: []string{text}}},
			Nodes:  []view.NodeExplanation{{Node: f.nodes[0], Note: text, Origins: []view.MetricOrigin{{Metric: text, Rule: text, Expr: text, Targets: []view.TargetRef{ref}}}, Drops: []view.Drop{{Rule: text, Reason: text, Why: text, Elements: 2}}}},
		}, nil
	}
	return f
}

func TestHostileTexts(t *testing.T) {
	for i, bad := range hostile() {
		pages := newPages(t, evil(bad), PageOptions{})
		for _, address := range []string{"/", "/targets", "/rules", "/nodes", "/collectors", "/scope", "/configuration", "/series", "/series?expr=" + url.QueryEscape(bad), "/explain?subject=" + url.QueryEscape(bad), "/targets?q=" + url.QueryEscape(bad)} {
			code, body := get(t, pages, address)
			if code != http.StatusOK {
				t.Errorf("text %d, %s: status %d", i, address, code)
			}
			if n := strings.Count(body, "<script"); n != 1 {
				t.Errorf("text %d, %s: %d scripts, want the one", i, address, n)
			}
			for _, never := range []string{"<img", "<svg onload", `" onmouseover="`, `' onfocus='`, `href="javascript:`, `src="javascript:`, `action="javascript:`, "0.4.0\" }}"} {
				if strings.Contains(body, never) {
					t.Errorf("text %d, %s has %s", i, address, never)
				}
			}
			if n := strings.Count(body, "</title>"); n != 1+strings.Count(body, "<title>")-1 {
				t.Errorf("text %d, %s: %d ends of titles", i, address, n)
			}
		}
		for _, address := range []string{"/api/v1/targets", "/api/v1/explain?subject=x", "/api/v1/query?query=x"} {
			_, body := get(t, pages, address)
			if strings.ContainsAny(body, "<>") {
				t.Errorf("text %d, %s: JSON that a browser could take for HTML:\n%s", i, address, body)
			}
		}
	}
}

// Whatever a source forgets to redact, user info of URLs does not get out.
func TestUserInfoIsRedacted(t *testing.T) {
	const secret = "hunter2"
	for _, bad := range []string{
		"http://scope:" + secret + "@10.0.0.1:9100/metrics",
		`Get "https://` + secret + `@[::1]:9100/x?y=z": EOF`,
		"http://a:" + secret + "'!$&()*+,;=@host/ and http://b:" + secret + "@host/",
		"http://scope:x@" + secret + "@host/",
	} {
		pages := newPages(t, evil(bad), PageOptions{})
		for _, address := range []string{
			"/", "/targets", "/rules", "/nodes", "/collectors", "/scope", "/configuration", "/series", "/series?expr=x", "/explain?subject=x",
			"/api/v1/targets", "/api/v1/rules", "/api/v1/nodes", "/api/v1/collectors", "/api/v1/configuration", "/api/v1/scope", "/api/v1/explain?subject=x", "/api/v1/query?query=x",
		} {
			if _, body := get(t, pages, address); strings.Contains(body, secret) {
				at := strings.Index(body, secret)
				t.Errorf("%s shows the secret of %s: …%s…", address, bad, body[max(0, at-60):min(len(body), at+60)])
			}
		}
	}
}

// The page with 200 targets, 500 rules and 5,000 nodes renders in less than
// 300 ms, whichever page it is.
func TestCrowdIsFast(t *testing.T) {
	pages := newPages(t, crowd(moment, 200, 500, 5000), PageOptions{})
	for _, address := range []string{"/", "/targets", "/rules", "/nodes", "/nodes?q=shop+queue", "/series?expr=x"} {
		best := time.Hour
		for range 3 { // the machine may be busy with something else
			started := time.Now()
			get(t, pages, address)
			best = min(best, time.Since(started))
		}
		if best > 300*time.Millisecond {
			t.Errorf("%s takes %v", address, best)
		}
	}
}

func BenchmarkPages(b *testing.B) {
	pages := newPages(b, crowd(moment, 200, 500, 5000), PageOptions{})
	for _, address := range []string{"/", "/targets", "/rules", "/nodes", "/nodes?q=queue", "/series?expr=x", "/api/v1/nodes"} {
		b.Run(strings.Trim(strings.ReplaceAll(fmt.Sprintf("page=%s", address), "/", "_"), "_"), func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				w := httptest.NewRecorder()
				pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, nil))
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}
