package attribution

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/scrape"
)

// machine is one whose process 1 calls it "init-name", and promscope "own-name".
func machine(t *testing.T, processes ...hosttest.Process) (*host.Machine, *hosttest.Tree) {
	t.Helper()
	tree := hosttest.New(t)
	for _, p := range processes {
		tree.Add(p)
	}
	m, err := host.New(host.Options{ProcRoot: tree.Root, Now: tree.Now, Hostname: func() (string, error) { return "own-name", nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, tree
}

func TestWithHost(t *testing.T) {
	const other = hosttest.InitNetNS + 500
	for _, test := range []struct {
		name      string
		processes []hosttest.Process
		want      bool
	}{
		{"on the host", []hosttest.Process{{PID: 1}, {PID: 300}}, true},
		{"in a container with the host's network", []hosttest.Process{{PID: 1}, {PID: 300, Cgroup: "0::/docker/" + strings.Repeat("c", 64) + "\n"}}, true},
		{"in a network namespace of its own", []hosttest.Process{{PID: 1}, {PID: 300, NetNS: other}}, false},
		{"of another network namespace than promscope's", []hosttest.Process{{PID: 1, NetNS: other}, {PID: 300}}, false},
		{"promscope is in a network namespace of its own", []hosttest.Process{{PID: 1, NetNS: other}, {PID: 300, NetNS: other}}, true},
		{"process 1 is not to be seen", []hosttest.Process{{PID: 300}}, true},
		{"process 1 is not to be seen, in another namespace", []hosttest.Process{{PID: 300, NetNS: other}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, _ := machine(t, append(test.processes, hosttest.Process{PID: hosttest.Self})...)
			p, err := m.Process(300)
			if err != nil {
				t.Fatal(err)
			}
			got := withHost(m, p, processLabels(p))
			if got.Has("target_host") != test.want || test.want && got.Get("target_host") != "this" || got.Get("target_pid") != "300" {
				t.Errorf("%s", got)
			}
		})
	}
	m, _ := machine(t)
	if got := withHost(m, host.Process{PID: 300}, labels.EmptyLabels()); got.Has("target_host") {
		t.Errorf("a process whose namespace may not be read: %s", got)
	}
}

func TestOwn(t *testing.T) {
	m, tree := machine(t,
		hosttest.Process{PID: 1, UTSNS: hosttest.InitUTSNS + 500, Hostname: "init-name"},
		hosttest.Process{PID: hosttest.Self},
		hosttest.Process{PID: 300, Comm: "node_exporter", StartTicks: 50000}, // 500 s after boot
		hosttest.Process{PID: 310, Comm: "haproxy", StartTicks: 50000},
	)
	start := func(afterBoot time.Duration) float64 { return float64(tree.Boot().Add(afterBoot).UnixMilli()) / 1e3 }
	all := labels.FromStrings("target_host", "this", "target_pid", "300", "target_subject_pid", "300")
	noHost := labels.FromStrings("target_pid", "300", "target_subject_pid", "300")
	gone := labels.FromStrings("target_host", "this", "target_pid", "301")
	proxy := labels.FromStrings("target_host", "this", "target_pid", "310")
	judge := own(m, func() string { return "scope-name" })
	for _, test := range []struct {
		name   string
		origin labels.Labels
		said   scrape.Testimony
		want   labels.Labels
		why    []string
	}{
		{"nothing", all, scrape.Testimony{}, all, nil},
		{"the name of process 1", all, scrape.Testimony{Nodename: "init-name"}, all, nil},
		{"promscope's own name", all, scrape.Testimony{Nodename: "own-name"}, all, nil},
		{"the name in Scope", all, scrape.Testimony{Nodename: "scope-name"}, all, nil},
		{"with its domain", all, scrape.Testimony{Nodename: "Init-Name.example.com"}, all, nil},
		{"another machine", all, scrape.Testimony{Nodename: "web1"}, noHost, []string{`nodename="web1"`, "init-name", "own-name", "scope-name"}},
		{"one of a longer name", all, scrape.Testimony{Nodename: "init-name2"}, noHost, []string{`nodename="init-name2"`}},
		{"another machine, of a container", noHost, scrape.Testimony{Nodename: "web1"}, noHost, nil},
		{"the same start", all, scrape.Testimony{Starts: []float64{start(500 * time.Second)}}, all, nil},
		{"9 s early", all, scrape.Testimony{Starts: []float64{start(491 * time.Second)}}, all, nil},
		{"9 s late", all, scrape.Testimony{Starts: []float64{start(509 * time.Second)}}, all, nil},
		{"11 s early", all, scrape.Testimony{Starts: []float64{start(489 * time.Second)}}, labels.EmptyLabels(), []string{"process 300 (node_exporter)"}},
		{"11 s late", all, scrape.Testimony{Starts: []float64{start(511 * time.Second)}}, labels.EmptyLabels(), []string{"process 300 (node_exporter)"}},
		{"one of several", all, scrape.Testimony{Starts: []float64{1e9, start(500 * time.Second), 2e9}}, all, nil},
		{"none of several", all, scrape.Testimony{Starts: []float64{1e9, 2e9}}, labels.EmptyLabels(), []string{"of its 2 process_start_time_seconds the nearest is 20"}},
		{"another process of another machine", all, scrape.Testimony{Nodename: "web1", Starts: []float64{1e9}}, labels.EmptyLabels(), []string{"2001-09-09T01:46:40Z"}},
		{"behind a proxy", proxy, scrape.Testimony{Behind: true}, labels.EmptyLabels(), []string{"process 310 (haproxy)", "another process answers"}},
		{"behind a proxy, and started with it", proxy, scrape.Testimony{Behind: true, Starts: []float64{start(500 * time.Second)}}, labels.EmptyLabels(), []string{"process 310 (haproxy)"}},
		{"a proxy itself", proxy, scrape.Testimony{}, proxy, nil},
		{"a process that has ended", gone, scrape.Testimony{Starts: []float64{1e9}}, gone, nil},
	} {
		got, why := judge(test.origin, test.said)
		if !labels.Equal(got, test.want) || (why == "") != (test.why == nil) {
			t.Errorf("%s: %s (%s), want %s", test.name, got, why, test.want)
		}
		for _, part := range test.why {
			if !strings.Contains(why, part) {
				t.Errorf("%s: %q lacks %q", test.name, why, part)
			}
		}
	}
}

// Only a proxy is asked for metrics of its own.
func TestKnownBy(t *testing.T) {
	m, _ := machine(t,
		hosttest.Process{PID: hosttest.Self},
		hosttest.Process{PID: 300, Comm: "node_exporter"}, hosttest.Process{PID: 310, Comm: "traefik"}, hosttest.Process{PID: 320, Comm: "pgbouncer"},
	)
	for _, test := range []struct {
		pid, want string
		ok        bool
	}{
		{"300", "", false}, {"310", "traefik_", true}, {"320", "", true}, {"330", "", false}, {"", "", false},
	} {
		got, ok := knownBy(m)(labels.FromStrings("target_pid", test.pid))
		if strings.Join(got, " ") != test.want || ok != test.ok {
			t.Errorf("%q: %q, %v, want %q, %v", test.pid, got, ok, test.want, test.ok)
		}
	}
}
