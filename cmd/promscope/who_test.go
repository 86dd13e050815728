package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// stranger is what a node_exporter says of another machine, and the client library of the
// process there. No number in it is true of anything here.
func stranger(nodename string) string {
	return fmt.Sprintf(`# TYPE node_procs_blocked gauge
node_procs_blocked 555
node_memory_MemAvailable_bytes 1
node_memory_MemTotal_bytes 3
node_filesystem_size_bytes{device="/dev/sdx",fstype="ext4",mountpoint="/strange"} 100
node_filesystem_free_bytes{device="/dev/sdx",fstype="ext4",mountpoint="/strange"} 1
node_filesystem_avail_bytes{device="/dev/sdx",fstype="ext4",mountpoint="/strange"} 1
# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 5555
# HELP process_open_fds Number of open file descriptors.
# TYPE process_open_fds gauge
process_open_fds 500
# HELP process_max_fds Maximum number of open file descriptors.
# TYPE process_max_fds gauge
process_max_fds 1000
node_uname_info{domainname="(none)",machine="x86_64",nodename="%s",release="6.1.0",sysname="Linux",version="#1"} 1
`, nodename)
}

// playStranger serves what is true of another machine.
func playStranger(argument string) error {
	address, nodename, _ := strings.Cut(argument, " ")
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	return serveRole(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, stranger(nodename))
	}))
}

// playTunnel forwards connections, under the name of a program that does such a thing.
func playTunnel(argument string) error {
	from, to, _ := strings.Cut(argument, " ")
	if err := os.WriteFile("/proc/self/comm", []byte("ssh"), 0); err != nil {
		return err
	}
	l, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				here.Close()
				continue
			}
			go func() { _, _ = io.Copy(there, here); there.Close() }()
			go func() { _, _ = io.Copy(here, there); here.Close() }()
		}
	}()
	fmt.Println(l.Addr())
	return nil
}

// TestWhoIsMeant: beside the host's own node_exporter there are one in a container, a
// pushgateway to which another machine has pushed, the end of a tunnel, a copied job of
// remote exporters, and an exporter that a service manager starts. No number of these is
// on the host, nor on a process that it is not of.
func TestWhoIsMeant(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses, nodeExporter) {
		return
	}
	path, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gateway := start(t, program(t, "prometheus-pushgateway", "prometheus-pushgateway", "pushgateway"), "--web.listen-address=127.0.0.1:9091", "--persistence.file=") // Debian's keeps what others pushed
	node := start(t, path, "--web.listen-address=127.0.0.1:9100")
	cgroups := cgroup2(t) // removed after what is in it has ended
	// Its instance, the short id of a container and the port, sorts before all others.
	container, _ := startRole(t, syscall.CLONE_NEWNET, nil, "stranger 127.0.0.1:9100 "+own)
	joinCgroup(t, cgroups, "docker-"+strings.Repeat("0", 64)+".scope", container.Process.Pid)
	remote, _ := startRole(t, 0, nil, "stranger 127.0.0.1:19100 db7")
	tunnel, _ := startRole(t, 0, nil, "tunnel 127.0.0.1:9201 127.0.0.1:19100")
	manager := exec.Command(program(t, "systemd", "systemd-socket-activate"), "-l", "127.0.0.1:9402", "-E", roleVariable+"=activated", os.Args[0])
	stdin, err := manager.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	activated := startCommand(t, manager)
	for _, address := range []string{"127.0.0.1:9091", "127.0.0.1:9100", "127.0.0.1:9201"} {
		awaitListener(t, address)
	}
	push(t, "http://127.0.0.1:9091/metrics/job/node/instance/db7", stranger("db7"))
	awaitListener(t, "127.0.0.1:9402") // which starts the service

	p := startPlugin(t, `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: local
    listener_sd_configs: [{}]
  - job_name: copied
    static_configs: [{targets: ["127.0.0.1:19100"]}]
    relabel_configs: [{target_label: instance, replacement: "db7.example:9100"}]
presets: {include: [node_exporter, process, client_golang]}
`)
	client := probe(t, p)
	began := time.Now()
	programs := []local{
		{"the host's own node_exporter", hostNode, "Host",
			[]string{"promscope_node_memory_available", "promscope_node_procs_blocked"}, nil},
		{"node_exporter itself", processNode(node), "Process", []string{"promscope_go_goroutines", "promscope_process_fds_used"}, nil},
		{"the pushgateway itself", processNode(gateway), "Process", []string{"promscope_go_goroutines", "promscope_process_fds_used"}, nil},
		{"the activated exporter", processNode(activated), "Process", []string{"promscope_go_goroutines", "promscope_process_fds_used"}, nil},
	}
	within(t, client, began, 4*lookInterval, "all programs are on their nodes", func(r *probetest.Report) error {
		for _, l := range programs {
			if err := l.missing(r, l.gauges); err != nil {
				return err
			}
		}
		return nil
	})
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(2 * lookInterval); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		report := poll(t, client, 1)
		nothingStrange(t, report, map[string]*process{"tunnel": tunnel, "remote exporter": remote, "container": container})
		info, err := proc.Meminfo()
		if err != nil {
			t.Fatal(err)
		}
		want := 100 * float64(*info.MemAvailable) / float64(*info.MemTotal)
		available, _ := report.Value("Host", hostNode, "promscope_node_memory_available")
		if available < want-8 || available > want+8 {
			t.Errorf("memory available is %v %%, and /proc/meminfo says %v", available, want)
		}
	}
}

// nothingStrange sees to it that no number of a stranger is shown as the host's or another
// process's, and that a process which only hands on what others say has none.
func nothingStrange(t *testing.T, r *probetest.Report, from map[string]*process) {
	t.Helper()
	for id, m := range r.Topologies["Host"].Nodes[hostNode].Metrics {
		last := m.Samples[len(m.Samples)-1].Value
		if strings.Contains(id, "strange") || id == "promscope_node_procs_blocked" && last == 555 {
			t.Errorf("the host has %s = %v, which is said of another machine", id, last)
		}
	}
	// The strangers run here, and their goroutines are their own.
	own := []string{processNode(from["container"]), processNode(from["remote exporter"])}
	for key, n := range r.Topologies["Process"].Nodes {
		if m := n.Metrics["promscope_go_goroutines"]; m != nil && m.Samples[len(m.Samples)-1].Value == 5555 && !slices.Contains(own, key) {
			t.Errorf("%s has the goroutines of another machine's process", key)
		}
	}
	if n := r.Topologies["Process"].Nodes[processNode(from["tunnel"])]; n != nil {
		for id := range n.Metrics {
			if !strings.HasPrefix(id, "promscope_http_") { // these the kernel counts
				t.Errorf("the tunnel's end has %s", id)
			}
		}
	}
}

// push pushes to a pushgateway as a job does.
func push(t *testing.T, url, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("pushing: %s: %s", resp.Status, body)
	}
}
