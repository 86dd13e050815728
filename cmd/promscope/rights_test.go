package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/doctor"
	"github.com/promscope/promscope/bridge/host/hosttest"
	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// The users of this test, none of which there is otherwise.
const (
	promscopeUser = 61001
	exporterUser  = 61002
)

// playUser serves an exposition as a user without any right, on an address or, if it is a
// path, on a unix socket that only this user may connect to.
func playUser(argument string) error {
	address, body, _ := strings.Cut(argument, " ")
	if err := hosttest.LoopbackUp(); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(exporterUser), syscall.Setuid(exporterUser)); err != nil {
		return err
	}
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintln(w, body)
		}))
	}()
	fmt.Println(l.Addr())
	return nil
}

// capabilityNumbers are the kernel's.
var capabilityNumbers = map[string]uintptr{
	"CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
	"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN,
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_NET_RAW": unix.CAP_NET_RAW,
}

// asUser makes a command one of promscope's own user, with those capabilities and no other.
func asUser(cmd *exec.Cmd, capabilities ...string) *exec.Cmd {
	cmd.SysProcAttr = granted(capabilities...)
	return cmd
}

func granted(capabilities ...string) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: promscopeUser, Gid: promscopeUser}}
	for _, name := range capabilities {
		a.AmbientCaps = append(a.AmbientCaps, capabilityNumbers[name])
	}
	return a
}

// directoryOf makes a directory of a user, where other users may look.
func directoryOf(t *testing.T, user int) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, user, user)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// only is the part of a configuration that switches all built-in collectors off but those.
func only(names ...string) string {
	var text strings.Builder
	text.WriteString("collectors:\n")
	for _, d := range collectors.Definitions() {
		fmt.Fprintf(&text, "  %s: {enabled: %t}\n", d.Name, slices.Contains(names, d.Name))
	}
	return text.String()
}

// readableConfig writes a configuration that other users may read.
func readableConfig(t *testing.T, config string) string {
	t.Helper()
	file := writeConfig(t, config)
	if err := os.Chmod(filepath.Dir(filepath.Dir(file)), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// held sees to it that all threads of a process have those capabilities, and no others, and
// can get no others.
func held(t *testing.T, p *process, capabilities ...string) {
	t.Helper()
	var mask uint64
	for _, name := range capabilities {
		mask |= 1 << capabilityNumbers[name]
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.Process.Pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // the thread has ended
		}
		for field, want := range map[string]string{
			"CapPrm": fmt.Sprintf("%016x", mask), "CapEff": fmt.Sprintf("%016x", mask),
			"CapInh": fmt.Sprintf("%016x", 0), "CapAmb": fmt.Sprintf("%016x", 0), "NoNewPrivs": "1",
		} {
			if line := field + ":\t" + want + "\n"; !strings.Contains(string(status), line) {
				t.Errorf("%s: not %s in:\n%s", thread, line, status)
			}
		}
	}
}

// TestRights runs promscope and its doctor as a user of their own, with the capabilities
// that docs/rights.md names and without each of them, beside exporters of another user.
func TestRights(t *testing.T) {
	t.Parallel()
	if raceDetector() {
		t.Skip("what the kernel allows is the same without the race detector, with which this takes minutes")
	}
	if !inSandbox(t, ownNetwork) {
		return
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(directoryOf(t, exporterUser), "exporter.sock")
	here, _ := startRole(t, 0, nil, `user 127.0.0.1:28101 found{place="here"} 1`)
	startRole(t, syscall.CLONE_NEWNET, nil, `user 127.0.0.1:28102 found{place="container"} 1`)
	startRole(t, 0, nil, "user "+socket+` found{place="socket"} 1`)
	const common = noPresets + `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: local
    listener_sd_configs: [{ports: [28102], interval: 1s}]
  - job_name: known
    static_configs: [{targets: ["127.0.0.1:28101"]}]
rules:
  - {metric: target, label: Target, expr: 'max(found{place="here"})', node: host}
  - {metric: process, label: Process, expr: 'found{place="here"}', node: {process: target_pid}}
  - {metric: container, label: Container, expr: 'max(found{place="container"})', node: host}
  - {metric: socket, label: Socket, expr: 'max(found{place="socket"})', node: host}
`
	with := readableConfig(t, common+"  - {metric: http, label: HTTP, expr: count(promscope_http_hook_info), node: host}\n"+only("http"))
	without := readableConfig(t, common+only())
	const (
		ptrace, read, override = "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"
		bpf, perfmon, admin    = "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"
	)
	type warnings map[string]string // by check, what is said to be missing
	cases := []*rightsCase{
		{config: without, has: []string{ptrace, read, override, admin}, shows: "container process socket target"},
		{config: without, has: []string{ptrace, read, admin}, shows: "container process target", warns: warnings{"unix sockets": socket}},
		{config: without, has: []string{read, override, admin}, shows: "socket target",
			warns: warnings{"processes": ptrace + " missing", "namespaces": ptrace + " missing"}},
		{config: without, has: []string{ptrace, admin}, shows: "container target",
			warns: warnings{"unix sockets": socket, "processes": read + " missing"}},
		{config: without, has: []string{ptrace, override}, shows: "process socket target",
			warns: warnings{"namespaces": admin + " missing", "capabilities": bpf + " and " + perfmon + " missing"}},
		{config: with, has: []string{admin}, shows: "http target",
			warns: warnings{"unix sockets": socket, "processes": ptrace + " and " + read + " missing", "namespaces": ptrace + " missing"}},
		{config: with, has: []string{ptrace, read, bpf, perfmon}, shows: "http process target",
			warns: warnings{"unix sockets": socket, "namespaces": admin + " missing"}},
		{config: with, has: []string{ptrace, read, bpf}, shows: "process target",
			warns: warnings{"unix sockets": socket, "namespaces": admin + " missing", "capabilities": perfmon + " missing", "collector http": perfmon + " missing"}},
		{config: with, has: []string{ptrace, read, perfmon}, shows: "process target",
			warns: warnings{"unix sockets": socket, "namespaces": admin + " missing", "capabilities": bpf + " missing", "collector http": bpf + " missing"}},
		{config: with, shows: "target", warns: warnings{
			"unix sockets": socket, "namespaces": admin + " and " + ptrace + " missing", "processes": ptrace + " and " + read + " missing",
			"capabilities": bpf + " and " + perfmon + " missing", "collector http": bpf + " and " + perfmon + " missing",
		}},
	}
	for _, c := range cases {
		root := directoryOf(t, promscopeUser)
		args := []string{"--config.file=" + c.config, "--scope.host=" + hostName, "--scope.plugins-root=" + root}
		c.promscope = startCommand(t, asUser(exec.Command(path, append(args, "--web.listen-address=")...), c.has...))
		c.examine = asUser(exec.Command(path, append(args, "doctor", "--json")...), c.has...)
		c.client = probetest.NewClient(filepath.Join(root, "promscope", "promscope.sock"), probetest.Options{Host: hostName, Timeout: 5 * time.Second})
		t.Cleanup(c.client.Close)
	}
	asExpected := func(c *rightsCase) error {
		r, err := c.client.Poll(t.Context())
		if err != nil {
			return err
		}
		var shows []string
		if n := r.Topologies["Host"].Nodes[hostNode]; n != nil {
			shows = slices.Collect(maps.Keys(n.Metrics))
		}
		if r.Metric("Process", processNode(here), "process") != nil {
			shows = append(shows, "process")
		}
		slices.Sort(shows)
		if got := strings.Join(shows, " "); got != c.shows {
			return fmt.Errorf("with %v it shows %q, want %q", c.has, got, c.shows)
		}
		return nil
	}
	for _, c := range cases {
		eventually(t, time.Minute, "what it shows", func() error { return asExpected(c) })
	}
	// What the first of them has found by now, all others have looked for.
	time.Sleep(2 * time.Second)
	for _, c := range cases {
		if err := asExpected(c); err != nil {
			t.Error(err)
		}
		held(t, c.promscope, c.has...)
		terminate(t, c.promscope)
	}
	for _, c := range cases {
		c.doctor = startCommand(t, c.examine)
	}
	for _, c := range cases {
		c.checkDoctor(t)
	}
}

// rightsCase is promscope, and its doctor, with some capabilities.
type rightsCase struct {
	config string
	has    []string
	shows  string            // the metrics, in the order of their names
	warns  map[string]string // words of the doctor's warnings, by check

	promscope, doctor *process
	examine           *exec.Cmd // starts the doctor
	client            *probetest.Client
}

// checkDoctor compares the doctor's warnings, but the one that there is no probe.
func (c *rightsCase) checkDoctor(t *testing.T) {
	t.Helper()
	if code := c.doctor.exit(t, time.Minute); code != 0 {
		t.Errorf("the doctor's exit code with %v is %d", c.has, code)
	}
	_, answer, _ := strings.Cut(c.doctor.output.String(), "{") // behind the progress
	var d doctor.Diagnosis
	if err := json.Unmarshal([]byte("{"+answer), &d); err != nil {
		t.Fatalf("%v in:\n%s", err, c.doctor.output)
	}
	warned := map[string]bool{}
	for _, f := range d.Findings {
		if f.Verdict == doctor.VerdictOK || f.Check == "probe" {
			continue
		}
		warned[f.Check] = true
		if words, ok := c.warns[f.Check]; !ok || !strings.Contains(f.Finding, words) || f.Remedy == "" {
			t.Errorf("with %v the doctor says %+v, want %q", c.has, f, words)
		}
	}
	for check := range c.warns {
		if !warned[check] {
			t.Errorf("with %v the doctor does not warn of %s", c.has, check)
		}
	}
}

// startAs starts promscope as a user.
func startAs(t *testing.T, user int, attributes *syscall.SysProcAttr, args ...string) *plugin {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{web: "http://" + freeAddress(t)}
	args = append(args, "--scope.plugins-root="+directoryOf(t, user), "--web.listen-address="+strings.TrimPrefix(p.web, "http://"))
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attributes
	p.process = startCommand(t, cmd)
	p.metrics(t) // it serves, so that it has given up what it will
	return p
}

// reconfigure writes another configuration and has it loaded.
func (p *plugin) reconfigure(t *testing.T, file, config string) {
	t.Helper()
	before := p.figure(t, "promscope_config_last_reload_success_timestamp_seconds")
	if err := errors.Join(os.WriteFile(file, []byte(config), 0o644), p.Process.Signal(syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the reload", func() error {
		if p.figure(t, "promscope_config_last_reload_success_timestamp_seconds") == before {
			return errNotYet
		}
		return nil
	})
}

// TestGiveUp starts promscope with the capabilities that it may have a use for, and one that
// it has none for. What the configuration does not need is given up. A reload that needs it
// says so, and works where another capability contains it.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork) {
		return
	}
	const (
		ptrace, read, override = "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"
		bpf, perfmon, admin    = "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"
		raw                    = "CAP_NET_RAW"
		nothing                = noPresets + "scrape_configs: []\n"
		unixSocket             = noPresets + "scrape_configs: [{job_name: x, static_configs: [{targets: [''], labels: {__unix_socket__: /nowhere.sock}}]}]\n"
		running                = `promscope_collector_running{collector="http"}`
	)
	t.Run("defaults", func(t *testing.T) {
		p := startAs(t, promscopeUser, granted(ptrace, read, override, bpf, perfmon, admin, raw))
		if value(p.metrics(t), running) != 1 {
			t.Fatal("the collector http does not run")
		}
		held(t, p.process, ptrace, read, override, bpf, perfmon, admin)
	})
	// Root of a user namespace has every capability that there is, CAP_SYS_RESOURCE too. A
	// container's root may lack some, as that of this test may.
	root := func() *syscall.SysProcAttr {
		itself := []syscall.SysProcIDMap{{Size: 1}}
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: itself, GidMappings: itself}
	}
	t.Run("all capabilities", func(t *testing.T) {
		held(t, startAs(t, 0, root()).process, ptrace, read, override, bpf, perfmon, admin)
	})
	t.Run("all capabilities, and no collector of eBPF", func(t *testing.T) {
		file := readableConfig(t, nothing+only("iowait"))
		held(t, startAs(t, 0, root(), "--config.file="+file).process, ptrace, read, admin)
	})
	t.Run("no collector of eBPF", func(t *testing.T) {
		file := readableConfig(t, nothing+only("iowait"))
		p := startAs(t, promscopeUser, granted(ptrace, read, override, bpf, perfmon, raw), "--config.file="+file)
		held(t, p.process, ptrace, read)
		p.reconfigure(t, file, unixSocket+only("iowait", "http"))
		if exposition := p.metrics(t); value(exposition, running) != 0 || value(exposition, `promscope_collector_running{collector="iowait"}`) != 1 {
			t.Error("not only the collector iowait runs")
		}
		const reason = "CAP_BPF and CAP_PERFMON were given up at the start, since no collector needed them"
		const missed = `missed="CAP_DAC_OVERRIDE CAP_BPF CAP_PERFMON"`
		for _, words := range []string{reason + "; restart promscope", missed} {
			if !strings.Contains(p.output.String(), words) {
				t.Errorf("the log does not say %q", words)
			}
		}
		for _, page := range []string{"/collectors", "/api/v1/collectors"} {
			status, body, err := get(t.Context(), p.web+page)
			if err != nil || status != http.StatusOK || !strings.Contains(body, reason) || !strings.Contains(body, "restart promscope") {
				t.Errorf("%s: %d, %v, without the reason:\n%s", page, status, err, body)
			}
		}
		held(t, p.process, ptrace, read)
	})
	t.Run("contained", func(t *testing.T) {
		file := readableConfig(t, nothing+only("iowait"))
		p := startAs(t, promscopeUser, granted(bpf, perfmon, admin), "--config.file="+file)
		held(t, p.process, admin)
		p.reconfigure(t, file, nothing+only("http"))
		if value(p.metrics(t), running) != 1 {
			t.Error("the collector http does not run with " + admin)
		}
		held(t, p.process, admin)
	})
	t.Run("other options", func(t *testing.T) {
		file := readableConfig(t, nothing+only("http"))
		p := startAs(t, promscopeUser, granted(bpf, perfmon), "--config.file="+file)
		held(t, p.process, bpf, perfmon)
		p.reconfigure(t, file, nothing+"collectors:\n  http: {interval: 2s}\n")
		if exposition := p.metrics(t); value(exposition, running) != 1 || value(exposition, `promscope_collector_running{collector="tcp"}`) != 1 {
			t.Error("the collectors http and tcp do not run")
		}
		p.reconfigure(t, file, nothing+only())
		p.reconfigure(t, file, nothing+only("http"))
		if value(p.metrics(t), running) != 1 {
			t.Error("the collector http does not run again")
		}
		held(t, p.process, bpf, perfmon)
	})
}

// TestUnit asks systemd how exposed the service is that ships: 2.9 of 10, and 9.6 is one
// without any hardening.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze := exec.Command(program(t, "systemd", "systemd-analyze"), "security", "--offline=true", "--threshold=29", "../../deployments/promscope.service")
	if out, err := analyze.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
