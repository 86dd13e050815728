package discovery

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

func TestClaims(t *testing.T) {
	tree := fixtureTree(t)
	p, _ := newTestProber(t, tree.Root, nil)
	own := func(address string) endpoint {
		return endpoint{Listener: socket.Listener{NetNS: hosttest.InitNetNS, Addr: netip.MustParseAddrPort(address)}, path: "/metrics"}
	}
	web := endpoint{Listener: socket.Listener{NetNS: containerNS, Addr: netip.MustParseAddrPort("0.0.0.0:9100")}, path: "/metrics"}
	unixSocket := endpoint{Listener: socket.Listener{NetNS: hosttest.InitNetNS, Path: "/run/x.sock"}, path: "/metrics"}
	for _, tc := range []struct {
		claim Claim
		e     endpoint
		want  bool
	}{
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("127.0.0.1:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("[::1]:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, own("192.168.1.2:9100"), false},
		{Claim{Address: "localhost:9100", Path: "/metrics"}, web, false},
		{Claim{Address: "localhost:9100", Path: "/other"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "localhost:9101", Path: "/metrics"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "my-host:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "my-host:9100", Path: "/metrics"}, own("192.168.1.2:9100"), true},
		{Claim{Address: "my-host:9100", Path: "/metrics"}, own("127.0.0.1:9100"), true},
		{Claim{Address: "my-host:9100", Path: "/metrics"}, web, false},
		{Claim{Address: "other-host:9100", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("0.0.0.0:9100"), true},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("192.168.1.2:9100"), true},
		{Claim{Address: "192.168.1.2:9100", Path: "/metrics"}, own("127.0.0.1:9100"), false},
		{Claim{Address: "192.168.1.3:9100", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "172.17.0.2:9100", Path: "/metrics"}, web, true},
		{Claim{Address: "[::1]:9100", Path: "/metrics"}, own("[::]:9100"), true},
		{Claim{Address: "no-port", Path: "/metrics"}, own("0.0.0.0:9100"), false},
		{Claim{Address: "localhost:http", Path: "/metrics"}, own("0.0.0.0:80"), false},
		{Claim{UnixSocket: "/run/x.sock", Path: "/metrics"}, unixSocket, true},
		{Claim{UnixSocket: "/run/y.sock", Path: "/metrics"}, unixSocket, false},
	} {
		if got := p.newClaims([]Claim{tc.claim}, "my-host").claimed(tc.e); got != tc.want {
			t.Errorf("%+v claims %v: %v", tc.claim, tc.e.Addr, got)
		}
	}
}

// A process has the same series on all its addresses: a job that names one of them, not
// the one by which it would be scraped, has them all.
func TestClaimedService(t *testing.T) {
	p, _ := newTestProber(t, fixtureTree(t).Root, func() []Claim {
		return []Claim{{Address: "192.168.1.2:9100", Path: "/metrics"}}
	})
	c := defaultListenerSDConfig()
	all := looks(t, p, &Entry{Scrape: &plainly.job, Config: &c})
	left := p.claims().unclaimed(all)
	if n := len(all) - len(left); n != 3 {
		t.Errorf("%d endpoints are claimed, want 3", n)
	}
	for _, e := range left {
		if e.Owner.Comm == "node_exporter" {
			t.Errorf("%v is left", e.Addr)
		}
	}
}

// A job that names a port that Docker publishes has the container's own listener.
func TestClaimedPublishedPort(t *testing.T) {
	tree := fixtureTree(t)
	tree.Add(hosttest.Process{PID: 103, PPID: 1, Comm: "docker-proxy", Sockets: []uint64{20}, Cmdline: []string{
		"/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "9107",
		"-container-ip", "172.17.0.2", "-container-port", "9187", "-use-listen-fd",
	}})
	p, _ := newTestProber(t, tree.Root, nil)
	c := defaultListenerSDConfig()
	looks(t, p, &Entry{Scrape: &plainly.job, Config: &c})
	in := func(address string) endpoint {
		return endpoint{Listener: socket.Listener{NetNS: containerNS, Addr: netip.MustParseAddrPort(address)}, path: "/metrics"}
	}
	for _, name := range []string{"localhost", "my-host", "192.168.1.2"} {
		claims := p.newClaims([]Claim{{Address: name + ":9107", Path: "/metrics"}}, "my-host")
		for address, want := range map[string]bool{"0.0.0.0:9187": true, "172.17.0.2:9187": true, "127.0.0.1:9187": false, "0.0.0.0:9107": false} {
			if got := claims.claimed(in(address)); got != want {
				t.Errorf("%s:9107 claims the container's %s: %v", name, address, got)
			}
		}
	}
}

// The path of a container's socket is one of its own file system.
func TestClaimedContainerSocket(t *testing.T) {
	tree := fixtureTree(t)
	p, _ := newTestProber(t, tree.Root, nil)
	own, shared := filepath.Join(t.TempDir(), "own.sock"), filepath.Join(t.TempDir(), "shared.sock")
	run := filepath.Join(tree.Root, "104/root/run")
	for _, err := range []error{
		os.WriteFile(own, nil, 0o600), os.WriteFile(shared, nil, 0o600), os.Mkdir(run, 0o700),
		os.WriteFile(filepath.Join(run, "own.sock"), nil, 0o600),
		os.Link(shared, filepath.Join(run, "shared.sock")), // as a directory that is mounted has it
		os.Symlink("/run/own.sock", filepath.Join(run, "link.sock")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(path string) endpoint {
		return endpoint{Listener: socket.Listener{NetNS: containerNS, Path: path, Owner: host.Process{PID: 104, Container: containerID}}, path: "/metrics"}
	}
	for _, tc := range []struct {
		claimed, path string
		want          bool
	}{
		{"/run/own.sock", "/run/own.sock", false},
		{own, "/run/own.sock", false},
		{filepath.Join(run, "own.sock"), "/run/own.sock", true},
		{filepath.Join(run, "own.sock"), "/run/link.sock", true},
		{shared, "/run/shared.sock", true},
		{shared, "/run/own.sock", false},
	} {
		if got := p.newClaims([]Claim{{UnixSocket: tc.claimed, Path: "/metrics"}}, "my-host").claimed(in(tc.path)); got != tc.want {
			t.Errorf("%s claims the container's %s: %v", tc.claimed, tc.path, got)
		}
	}
}

// A job names what it scrapes: relabelling decides that.
func TestClaimsOf(t *testing.T) {
	rules := func(rcs ...*relabel.Config) func(*job.Config) {
		for _, rc := range rcs {
			rc.Separator, rc.NameValidationScheme = ";", model.UTF8Validation
		}
		return func(j *job.Config) { j.RelabelConfigs = rcs }
	}
	for name, tc := range map[string]struct {
		job    func(*job.Config)
		target model.LabelSet
		want   []Claim
	}{
		"as it is": {nil, model.LabelSet{"__address__": "localhost:9100"}, []Claim{{Address: "localhost:9100", Path: "/metrics"}}},
		"its path": {
			func(j *job.Config) { j.MetricsPath = "/stats/prometheus" }, model.LabelSet{"__address__": "localhost:9901"},
			[]Claim{{Address: "localhost:9901", Path: "/stats/prometheus"}},
		},
		"asked through blackbox_exporter": {
			rules(&relabel.Config{
				Action: relabel.Replace, TargetLabel: "__address__", Replacement: "127.0.0.1:9115", Regex: relabel.MustNewRegexp("(.*)"),
			}),
			model.LabelSet{"__address__": "localhost:9100", "__metrics_path__": "/probe"}, []Claim{{Address: "127.0.0.1:9115", Path: "/probe"}},
		},
		"dropped": {
			rules(&relabel.Config{Action: relabel.Drop, SourceLabels: model.LabelNames{"__address__"}, Regex: relabel.MustNewRegexp("localhost:.*")}),
			model.LabelSet{"__address__": "localhost:9100"}, []Claim{},
		},
		"a unix socket": {
			nil, model.LabelSet{"__address__": "app", "__unix_socket__": "/run/app/metrics.sock"},
			[]Claim{{Address: "app", UnixSocket: "/run/app/metrics.sock", Path: "/metrics"}},
		},
	} {
		j := jobOf(tc.job)
		if diff := cmp.Diff(tc.want, claimsOf(&j, &targetgroup.Group{Targets: []model.LabelSet{tc.target}})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
