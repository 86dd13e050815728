package explain

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/ebpf/port"
)

// An address, and the process that listens there, tell why there is no target.
func TestExplainListener(t *testing.T) {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "up_time 1")
	}))
	defer exporter.Close()
	serves := netip.MustParseAddrPort(exporter.Listener.Addr().String())

	tree := hosttest.New(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: netip.MustParseAddrPort("0.0.0.0:9104"), Inode: 11},
		{Local: netip.MustParseAddrPort("127.0.0.1:9411"), Inode: 12},
		{Local: serves, Inode: 13},
	}, nil)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{12}})
	tree.Add(hosttest.Process{PID: hosttest.Self, PPID: 1, Comm: "promscope"})
	tree.Add(hosttest.Process{PID: 4194301, PPID: 1, Comm: "p910nd", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 4194302, PPID: 1, Comm: "app", Sockets: []uint64{13}})
	m, err := host.New(host.Options{ProcRoot: tree.Root})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	prober, err := discovery.NewProber(m, socket.New(m), func() []discovery.Claim { return nil }, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r, l := testLive(t, explainHead)
	r.Prober.Close()
	r.Prober = prober // which the runtime closes

	j := job.DefaultConfig(job.DefaultGlobal())
	j.JobName = "local"
	if err := j.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	up := make(chan []*targetgroup.Group)
	go prober.Discoverer(&discovery.Entry{Scrape: &j, Config: &discovery.ListenerSDConfig{
		Ports: port.Set{{First: 9104, Last: 9411}, {First: serves.Port(), Last: serves.Port()}}, Interval: model.Duration(time.Hour),
	}}, slog.New(slog.DiscardHandler)).Run(ctx, up)
	for targets := 0; targets == 0; {
		targets = len((<-up)[0].Targets)
	}

	const printer = "listener 0.0.0.0:9104 (p910nd, process 4194301)\n  It is no target, and is not asked: its owner has the name of a raw print server"
	for subject, test := range map[string]struct{ want, never []string }{
		"127.0.0.1:9104": {[]string{printer}, []string{"nothing goes by that name"}},
		"localhost:9104": {[]string{printer}, []string{"nothing goes by that name"}},
		"4194301":        {[]string{"There is no process 4194301", printer}, nil},
		"127.0.0.1:9411": {[]string{"listener 127.0.0.1:9411 (systemd, process 1)", "a connection would start its service"}, nil},
		serves.String():  {[]string{"It serves an exposition, and is a target.", "asked        "}, nil},
		"4194302":        {[]string{"There is no process 4194302"}, []string{"listener"}},
		"127.0.0.1:9105": {[]string{"It is no target, and is not asked: no job names it, and no job has listener_sd_configs."}, nil},
	} {
		e, err := l.Explain(t.Context(), subject)
		explained(t, e, err, test.want, test.never...)
	}
}

// An address where discovery finds no listener may be a target of a job, or on a port that nobody asks.
func TestExplainAddress(t *testing.T) {
	targets := []scrape.TargetStatus{
		{Job: "me", URL: "http://127.0.0.1:80/metrics", Labels: labels.FromStrings("instance", "web"), Health: scrape.HealthUp},
		{Job: "me", URL: "https://db.example:9187/metrics", Labels: labels.FromStrings("instance", "db.example:9187"), Health: scrape.HealthDown, LastError: "connection refused"},
		{Job: "promscope", Labels: labels.FromStrings("instance", "promscope"), Health: scrape.HealthUp},
	}
	jobs := []discovery.Job{{Name: "me"}, {Name: "local", Listeners: []*discovery.ListenerSDConfig{
		{Ports: port.Set{{First: 9000, Last: 9999}}, ExcludePorts: port.Set{{First: 9500, Last: 9500}}},
	}}}
	why := func(port uint16) string { return discovery.WhyUnasked(jobs, port) }
	for subject, want := range map[string]string{
		"127.0.0.1:80":    `It is a target: job "me" names it, and it is up.`,
		"db.example:9187": `It is a target: job "me" names it, and it is down: connection refused.`,
		"127.0.0.1:9500":  "It is no target, and is not asked: no job names it, and exclude_ports of the job \"local\" has port 9500.",
		"[::1]:22":        "It is no target, and is not asked: no job names it, and port 22 is none of the ports of listener_sd_configs.",
		"127.0.0.1:9100":  "", // asked, if something listens there
		"web":             "",
		"promscope":       "",
		"a:b":             "",
		"127.0.0.1:99999": "",
	} {
		var got string
		for _, l := range explainAddress(subject, targets, why) {
			got += l.Verdict()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", subject, got, want)
		}
	}
}
