package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
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
	m, err := New(jobs, listeners, promslog.NewNopLogger(), reg)
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
	if families, err := reg.Gather(); err != nil || len(families) != 0 {
		t.Errorf("%d metrics are left, %v", len(families), err)
	}
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
			up <- step.groups
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
			func(*Entry, *slog.Logger) discovery.Discoverer { return found }, promslog.NewNopLogger(), prometheus.NewRegistry())
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
			if m, err = New(jobs, p.Discoverer, promslog.NewNopLogger(), prometheus.NewRegistry()); err != nil {
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

func TestSecondManagerNeedsItsOwnRegistry(t *testing.T) {
	reg := prometheus.NewRegistry()
	first, err := New(nil, nil, promslog.NewNopLogger(), reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(nil, nil, promslog.NewNopLogger(), reg); err == nil {
		t.Error("a second manager got the same registry")
	}
	first.Close()
	second, err := New(nil, nil, promslog.NewNopLogger(), reg)
	if err != nil {
		t.Fatalf("after the first is closed: %v", err)
	}
	second.Close()
}
