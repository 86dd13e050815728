package discovery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	httpsd "github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/goleak"

	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/ebpf/port"
)

func group(addresses ...string) *targetgroup.Group {
	g := &targetgroup.Group{Source: "test"}
	for _, a := range addresses {
		g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(a)})
	}
	return g
}

// discovererFunc sends one group, once.
type discovererFunc func() *targetgroup.Group

func (f discovererFunc) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	select {
	case up <- []*targetgroup.Group{f()}:
	case <-ctx.Done():
	}
	<-ctx.Done()
}

func TestManagerRunsEveryMechanism(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())

	list := filepath.Join(t.TempDir(), "targets.yml")
	if err := os.WriteFile(list, []byte("- targets: ['file:1']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `[{"targets": ["http:1"]}]`)
	}))
	defer server.Close()

	fromHTTP := httpsd.DefaultSDConfig
	fromHTTP.URL = server.URL
	scrape := jobOf(nil)
	jobs := []Job{
		{Name: "static", Scrape: &scrape, Configs: discovery.Configs{discovery.StaticConfig{group("static:1", "static:2")}}},
		{Name: "mixed", Scrape: &scrape, Configs: discovery.Configs{
			&file.SDConfig{Files: []string{list}, RefreshInterval: model.Duration(time.Minute)},
			&fromHTTP,
		}},
		{Name: "local", Scrape: &scrape, Listeners: []*ListenerSDConfig{
			{Ports: port.Set{{First: 1, Last: 1}}}, {Ports: port.Set{{First: 2, Last: 2}}},
		}},
		{Name: "none"},
	}
	listeners := func(e *Entry, _ *slog.Logger) discovery.Discoverer {
		return discovererFunc(func() *targetgroup.Group { return group("local:" + e.Config.Ports[0].String()) })
	}

	reg := prometheus.NewPedanticRegistry()
	m, err := New(jobs, listeners, promslog.NewNopLogger(), reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()

	want := map[string][]string{
		"static": {"static:1", "static:2"}, "mixed": {"file:1", "http:1"}, "local": {"local:1", "local:2"}, "none": nil,
	}
	deadline := time.After(10 * time.Second)
	var got map[string][]string
	for !cmp.Equal(want, got) {
		select {
		case sets := <-m.SyncCh():
			got = addresses(sets)
		case <-deadline:
			t.Fatal(cmp.Diff(want, got))
		}
	}
	if families, err := reg.Gather(); err != nil || len(families) == 0 {
		t.Errorf("%d metrics, %v", len(families), err)
	}

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range m.SyncCh() { // until it is closed
	}
	m.Close()
}

func addresses(sets map[string][]*targetgroup.Group) map[string][]string {
	all := make(map[string][]string)
	for job, groups := range sets {
		all[job] = nil
		for _, g := range groups {
			for _, target := range g.Targets {
				all[job] = append(all[job], string(target[model.AddressLabel]))
			}
		}
		slices.Sort(all[job])
	}
	return all
}

// scripted sends groups at their times.
type scripted []struct {
	after  time.Duration
	groups []*targetgroup.Group
}

func (s scripted) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	for _, step := range s {
		select {
		case <-time.After(step.after):
			select {
			case up <- step.groups:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	close(up)
}

// What comes together goes together, once a second at most; a receiver that is late
// gets the newest and holds no discoverer up.
func TestManagerUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := scripted{
			{50 * time.Millisecond, []*targetgroup.Group{group("a"), nil}},
			{10 * time.Millisecond, []*targetgroup.Group{group("b")}},  // instead of a
			{200 * time.Millisecond, []*targetgroup.Group{group("c")}}, // too early for another set
			{3 * time.Second, []*targetgroup.Group{group("d")}},        // while the receiver is away
			{time.Second, []*targetgroup.Group{group("e")}},            // so is it still
			{10 * time.Second, []*targetgroup.Group{{Source: "test"}}}, // gone
			{10 * time.Second, []*targetgroup.Group{group("f")}},
		}
		m, err := New([]Job{{Name: "job", Scrape: &plainly.job, Listeners: []*ListenerSDConfig{{}}}, {Name: "none"}},
			func(*Entry, *slog.Logger) discovery.Discoverer { return found }, promslog.NewNopLogger(), prometheus.NewRegistry(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		begin := time.Now()
		for _, want := range []struct {
			at   time.Duration
			job  []string
			away time.Duration // after it
		}{
			{100 * time.Millisecond, []string{"b"}, 0},
			{1100 * time.Millisecond, []string{"c"}, 4 * time.Second},
			{5100 * time.Millisecond, []string{"e"}, 0},
			{14360 * time.Millisecond, nil, 0},
			{24360 * time.Millisecond, []string{"f"}, 0},
		} {
			got := addresses(<-m.SyncCh())
			if diff := cmp.Diff(map[string][]string{"job": want.job, "none": nil}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if at := time.Since(begin); at != want.at {
				t.Errorf("%v after %v, want %v", got, at, want.at)
			}
			time.Sleep(want.away)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// scriptedConfig is a discovery that sends groups at their times.
type scriptedConfig struct {
	discovery.StaticConfig // for what is not of interest here
	script                 scripted
}

func (c scriptedConfig) NewDiscoverer(discovery.DiscovererOptions) (discovery.Discoverer, error) {
	return c.script, nil
}

// keyConfig is a static list that has to have a file.
type keyConfig struct {
	discovery.StaticConfig
	file string
}

func (c keyConfig) NewDiscoverer(opts discovery.DiscovererOptions) (discovery.Discoverer, error) {
	if _, err := os.ReadFile(c.file); err != nil {
		return nil, fmt.Errorf("unable to read CA cert: %w", err)
	}
	return c.StaticConfig.NewDiscoverer(opts)
}

// What cannot be set up as long as a file is missing is when the file is there.
func TestManagerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := keyConfig{discovery.StaticConfig{group("a")}, filepath.Join(t.TempDir(), "ca.pem")}
		var logged bytes.Buffer
		m, err := New([]Job{{Name: "job", Scrape: &plainly.job, Configs: discovery.Configs{c}}}, nil,
			slog.New(slog.NewTextHandler(&logged, nil)), prometheus.NewRegistry(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		for _, want := range []map[string][]string{{"job": nil}, {"job": {"a"}}} {
			if diff := cmp.Diff(want, addresses(<-m.SyncCh())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			time.Sleep(2 * makeInterval)
			if err := os.WriteFile(c.file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m.Close()
		if n := strings.Count(logged.String(), `msg="Targets cannot be discovered" discovery=static job=job err="unable to read CA cert: open`); n != 1 {
			t.Errorf("it is said %d times:\n%s", n, &logged)
		}
	})
}

// A discoverer that hangs in a file holds up no reload.
func TestManagerEndsBesidePipe(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())

	pipe := filepath.Join(t.TempDir(), "targets.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	sd := &file.SDConfig{Files: []string{pipe}, RefreshInterval: model.Duration(time.Hour)}
	m, err := New([]Job{{Name: "job", Scrape: &plainly.job, Configs: discovery.Configs{sd}}}, nil, promslog.NewNopLogger(), prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, m, map[string][]string{"job": nil})
	m.Close()
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0) // lets it go on
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
}

// A listener that a job names is in no set beside what the job names: not in the first
// one, although it is known to be an exporter, nor when a job names it later or no more.
func TestManagerClaims(t *testing.T) {
	tree := hosttest.New(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{tcp("127.0.0.1:9100", 11), tcp("127.0.0.1:9200", 12)}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "node_exporter", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "my_exporter", Sockets: []uint64{12}})
	synctest.Test(t, func(t *testing.T) {
		var m *Manager
		p, _ := newTestProber(t, tree.Root, func() []Claim { return m.Claims() })
		connections := p.answerBy(t, serveMetrics)
		c := defaultListenerSDConfig()
		c.Interval = model.Duration(time.Hour)
		run := func(script scripted, sets ...map[string][]string) {
			t.Helper()
			jobs := []Job{{Name: "local", Scrape: &plainly.job, Listeners: []*ListenerSDConfig{&c}}}
			if script != nil {
				jobs = append(jobs, Job{Name: "named", Scrape: &plainly.job, Configs: discovery.Configs{scriptedConfig{script: script}}})
			}
			var err error
			if m, err = New(jobs, p.Discoverer, promslog.NewNopLogger(), prometheus.NewRegistry(), nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- m.Run(ctx) }()
			for _, want := range sets {
				if diff := cmp.Diff(want, addresses(<-m.SyncCh())); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			m.Close()
		}
		const one, other = "127.0.0.1:9100", "127.0.0.1:9200"
		// At the start, a job names one of them in a file. It is not asked.
		run(scripted{{5 * time.Millisecond, []*targetgroup.Group{group(one)}}},
			map[string][]string{"local": {other}, "named": {one}})
		if n := connections.Load(); n != 1 {
			t.Errorf("%d questions, want 1", n)
		}
		// After a reload nobody names it, after the next one a job does.
		run(nil, map[string][]string{"local": {one, other}})
		run(scripted{
			{5 * time.Millisecond, []*targetgroup.Group{group(one)}},
			{3 * time.Second, []*targetgroup.Group{group(one, other)}},
			{3 * time.Second, []*targetgroup.Group{{Source: "test"}}},
		},
			map[string][]string{"local": {other}, "named": {one}},
			map[string][]string{"local": nil, "named": {one, other}},
			map[string][]string{"local": {one, other}, "named": nil})
		// What names targets and takes its time delays no listener beyond the first set.
		run(scripted{{10 * time.Second, []*targetgroup.Group{group(one)}}},
			map[string][]string{"local": {one, other}, "named": nil},
			map[string][]string{"local": {other}, "named": {one}})
	})
}

// waitFor runs a manager until a set of targets comes that is the one wanted, and then ends it.
func waitFor(t *testing.T, m *Manager, want map[string][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var got map[string][]string
	for set := range m.SyncCh() {
		if got = addresses(set); cmp.Equal(want, got) {
			cancel()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The discovery of an entry that stays goes on: its targets stay although its server or its
// file has none for the moment, and what is gone later goes.
func TestManagerTakesOver(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())

	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 2 {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `[{"targets": ["http:1"]}]`)
	}))
	defer server.Close()

	scrape := jobOf(nil)
	jobs := func(patterns ...string) []Job {
		fromHTTP := httpsd.DefaultSDConfig
		fromHTTP.URL = server.URL
		job := Job{Name: "job", Scrape: &scrape, Configs: discovery.Configs{&fromHTTP, &fromHTTP}}
		for _, p := range patterns {
			job.Configs = append(job.Configs, &file.SDConfig{Files: []string{filepath.Join(dir, p)}, RefreshInterval: model.Duration(time.Hour)})
		}
		return []Job{job}
	}
	reg := prometheus.NewPedanticRegistry()
	next := func(jobs []Job, old *Manager) *Manager {
		t.Helper()
		m, err := New(jobs, nil, promslog.NewNopLogger(), reg, old)
		if err != nil {
			t.Fatal(err)
		}
		if old != nil {
			m.TakeOver(old)
		}
		return m
	}

	write("a1.json", `[{"targets": ["file:1"]}]`)
	write("a2.json", `[{"targets": ["file:2"]}]`)
	write("b.json", `[{"targets": ["file:3"]}]`)
	first := next(jobs("a*.json", "b.json"), nil)
	waitFor(t, first, map[string][]string{"job": {"file:1", "file:2", "file:3", "http:1", "http:1"}})

	write("a1.json", "[{")
	second := next(jobs("a*.json"), first)
	if claims := second.Claims(); len(claims) != 4 {
		t.Errorf("it names %v", claims)
	}
	waitFor(t, second, map[string][]string{"job": {"file:1", "file:2", "http:1", "http:1"}})
	if n := asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times", n)
	}

	third := next(jobs("a*.json"), second)
	if err := os.Remove(filepath.Join(dir, "a1.json")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, third, map[string][]string{"job": {"file:2", "http:1", "http:1"}})

	// One that is not there any more has no metrics.
	fourth := next([]Job{{Name: "job", Scrape: &scrape}}, third)
	waitFor(t, fourth, map[string][]string{"job": nil})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "prometheus_sd_refresh_failures_total" {
			t.Errorf("%s is left", f)
		}
	}
	fourth.Close()
}
