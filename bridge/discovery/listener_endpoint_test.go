package discovery

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/host/socket"
)

const containerID = "3a5c7e9b1d2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a3c"

// looks returns what an entry finds when it looks once.
func looks(t testing.TB, p *Prober, e *Entry) []endpoint {
	t.Helper()
	endpoints, err := p.Discoverer(e, p.logger).(*listenerDiscoverer).look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return endpoints
}

// found looks once and returns the endpoints as netns address owner, and which are spared.
func found(t *testing.T, p *Prober, c ListenerSDConfig) []string {
	t.Helper()
	var all []string
	for _, e := range distinct(looks(t, p, &Entry{Scrape: &plainly.job, Config: &c})) {
		where := e.address()
		if e.Path != "" {
			where = e.Path
		}
		text := fmt.Sprintf("%d %s %s", e.NetNS, where, e.Owner.Comm)
		if e.spared != "" {
			text += " (spared)"
		}
		all = append(all, text)
	}
	return all
}

func tcp(address string, inode uint64) hosttest.Socket {
	return hosttest.Socket{Local: netip.MustParseAddrPort(address), Inode: inode}
}

const containerNS = 4026532000

// fixtureTree is a machine with a bit of everything.
func fixtureTree(t testing.TB) *hosttest.Tree {
	t.Helper()
	tree := hosttest.New(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		tcp("127.0.0.1:9100", 11), tcp("192.168.1.2:9100", 12), tcp("[::]:9100", 13), // one service
		tcp("0.0.0.0:9101", 14),
		tcp("192.168.1.2:9102", 15),
		tcp("[fe80::1]:9103", 16), // link-local
		tcp("127.0.0.1:9104", 17), // excluded by its name
		tcp("127.0.0.1:9105", 18), // the kernel's, or not to be seen
		tcp("127.0.0.1:9106", 19), // our own
		tcp("0.0.0.0:9107", 20),   // docker-proxy
		tcp("127.0.0.1:9108", 21), // systemd's
		tcp("127.0.0.1:80", 22),   // not in the range
		{Path: "/run/app/metrics.sock", Inode: 23},
		{Path: "/run/docker.sock", Inode: 24},
	}, []string{"192.168.1.2"})
	tree.Net(containerNS, []hosttest.Socket{tcp("127.0.0.1:9100", 31)}, []string{"172.17.0.2"})
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{21}})
	tree.Add(hosttest.Process{PID: hosttest.Self, PPID: 1, Comm: "promscope", Sockets: []uint64{19}})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "node_exporter", Sockets: []uint64{11, 12, 13}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "app-agent", Sockets: []uint64{14, 15, 16, 22, 23, 24}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "kafka", Sockets: []uint64{17}})
	tree.Add(hosttest.Process{PID: 103, PPID: 1, Comm: "docker-proxy", Sockets: []uint64{20}})
	tree.Add(hosttest.Process{
		PID: 104, PPID: 1, Comm: "web", NetNS: containerNS, Sockets: []uint64{31},
		Cgroup: "0::/system.slice/docker-" + containerID + ".scope\n",
	})
	return tree
}

func sdConfig(t testing.TB, yaml func(*ListenerSDConfig)) ListenerSDConfig {
	t.Helper()
	c := defaultListenerSDConfig()
	yaml(&c)
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEndpoints(t *testing.T) {
	p, _ := newTestProber(t, fixtureTree(t).Root, nil)
	c := sdConfig(t, func(c *ListenerSDConfig) {
		c.Comm.Exclude = []relabel.Regexp{relabel.MustNewRegexp("kaf.*")}
	})
	own := strconv.Itoa(hosttest.InitNetNS)
	want := []string{
		own + " /run/app/metrics.sock app-agent",
		own + " 127.0.0.1:9107 docker-proxy",
		own + " 127.0.0.1:9101 app-agent",
		own + " 127.0.0.1:9100 node_exporter",
		own + " 127.0.0.1:9105  (spared)",
		own + " 127.0.0.1:9108 systemd (spared)",
		own + " 192.168.1.2:9102 app-agent",
	}
	less := cmp.Transformer("set", func(s []string) map[string]bool {
		set := map[string]bool{}
		for _, x := range s {
			set[x] = true
		}
		return set
	})
	// A tree of files has no namespaces to enter: only ours is looked at.
	if diff := cmp.Diff(want, found(t, p, c), less); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := testutil.ToFloat64(p.metrics.namespaces.WithLabelValues("no")); got != 1 || p.reach == nil {
		t.Errorf("%v namespaces out of reach: %v", got, p.reach)
	}
	p.reach = nil
	want = append(want[:1:1], want[2:]...) // the proxy is passed over, for the container itself
	want = append(want, strconv.Itoa(containerNS)+" 127.0.0.1:9100 web")
	if diff := cmp.Diff(want, found(t, p, c), less); diff != "" {
		t.Errorf("with all namespaces: -want +got:\n%s", diff)
	}
	if got := testutil.ToFloat64(p.metrics.namespaces.WithLabelValues("no")); got != 0 {
		t.Errorf("%v namespaces out of reach", got)
	}
}

func TestEndpointLabels(t *testing.T) {
	tree := fixtureTree(t)
	p, _ := newTestProber(t, tree.Root, nil)
	p.reach = nil
	c := defaultListenerSDConfig()
	labels := map[string]model.LabelSet{}
	for _, e := range distinct(looks(t, p, &Entry{Scrape: &plainly.job, Config: &c})) {
		labels[e.Owner.Comm+e.Path] = e.labels(p.machine)
	}
	own := model.LabelValue(strconv.Itoa(hosttest.InitNetNS))
	for name, want := range map[string]model.LabelSet{
		"node_exporter": {
			"__address__": "127.0.0.1:9100", "__metrics_path__": "/metrics",
			"__meta_listener_pid": "100", "__meta_listener_comm": "node_exporter", "__meta_listener_exe": "/usr/bin/node_exporter",
			"__meta_listener_port": "9100", "__meta_listener_netns": own,
		},
		"app-agent/run/app/metrics.sock": {
			"__address__": "localhost", "__metrics_path__": "/metrics", "__unix_socket__": "/run/app/metrics.sock",
			"instance":            "/run/app/metrics.sock",
			"__meta_listener_pid": "101", "__meta_listener_comm": "app-agent", "__meta_listener_exe": "/usr/bin/app-agent", "__meta_listener_netns": own,
		},
		"web": {
			"__address__": "127.0.0.1:9100", "__metrics_path__": "/metrics", "__netns__": "4026532000", "instance": "3a5c7e9b1d2f:9100",
			"__meta_listener_pid": "104", "__meta_listener_comm": "web", "__meta_listener_exe": "/usr/bin/web",
			"__meta_listener_port": "9100", "__meta_listener_netns": "4026532000", "__meta_listener_container_id": containerID,
		},
		"": { // an owner that cannot be seen
			"__address__": "127.0.0.1:9105", "__metrics_path__": "/metrics",
			"__meta_listener_port": "9105", "__meta_listener_netns": own,
		},
	} {
		if diff := cmp.Diff(want, labels[name]); diff != "" {
			t.Errorf("%q: -want +got:\n%s", name, diff)
		}
	}

	inPod := endpoint{Listener: socket.Listener{NetNS: 7, Path: "/x.sock", Owner: host.Process{PID: 104, Container: containerID, Pod: "uid"}}}
	set := inPod.labels(p.machine)
	if set["__meta_listener_pod_uid"] != "uid" || set["instance"] != "3a5c7e9b1d2f:/x.sock" ||
		set["__unix_socket__"] != model.LabelValue(filepath.Join(tree.Root, "104/root/x.sock")) {
		t.Errorf("in a pod: %v", set)
	}
	if got := (endpoint{Listener: socket.Listener{NetNS: 7, Addr: netip.MustParseAddrPort("0.0.0.0:9100")}}).instance(); got != "netns-7:9100" {
		t.Errorf("in a namespace of no container: %s", got)
	}
}

func BenchmarkEndpoints(b *testing.B) {
	p, _ := newTestProber(b, fixtureTree(b).Root, nil)
	c := defaultListenerSDConfig()
	b.ReportAllocs()
	for b.Loop() {
		distinct(looks(b, p, &Entry{Scrape: &plainly.job, Config: &c}))
	}
}
