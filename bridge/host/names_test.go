package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestNames(t *testing.T) {
	tree, m := fixture(t)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", UTSNS: 601, Hostname: "init-name"})
	tree.Add(hosttest.Process{
		PID: 200, Comm: "scope", UTSNS: 602, Hostname: "probe-name",
		Environ: []string{"PATH=/bin", "SCOPE_HOSTNAMES=x", "SCOPE_HOSTNAME=node-1"},
	})
	environment := func(name string) string { return map[string]string{scopeHostname: "env-name"}[name] }
	none := func(string) string { return "" }

	for _, tc := range []struct {
		name     string
		in       NameInputs
		want     []NameCandidate
		disagree []string
	}{
		{
			"everything", NameInputs{Configured: "flag-name", Getenv: environment, ProbePID: 200},
			[]NameCandidate{
				{"flag-name", NameConfigured},
				{"env-name", NameEnvironment},
				{"node-1", NameProbeEnv},
				{"probe-name", NameProbeUTS},
				{"init-name", NameInitUTS},
				{"own-name", NameHostname},
			},
			[]string{"env-name", "node-1"},
		},
		{
			"only the probe", NameInputs{Getenv: none, ProbePID: 200},
			[]NameCandidate{
				{"node-1", NameProbeEnv},
				{"probe-name", NameProbeUTS},
				{"init-name", NameInitUTS},
				{"own-name", NameHostname},
			},
			nil,
		},
		{
			"no probe yet", NameInputs{Getenv: none},
			[]NameCandidate{{"init-name", NameInitUTS}, {"own-name", NameHostname}},
			[]string{"own-name"},
		},
		{
			"the probe has gone", NameInputs{Configured: "own-name", Getenv: none, ProbePID: 201},
			[]NameCandidate{{"own-name", NameConfigured}, {"init-name", NameInitUTS}, {"own-name", NameHostname}},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			names := m.Names(tc.in)
			if diff := cmp.Diff(tc.want, names); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var disagree []string
			for _, c := range Disagreeing(names) {
				disagree = append(disagree, c.Name)
			}
			if diff := cmp.Diff(tc.disagree, disagree); diff != "" {
				t.Errorf("disagreeing: -want +got:\n%s", diff)
			}
		})
	}
}

// A probe without the variable goes by its UTS name, which then is what an
// explicit name is compared with.
func TestNamesProbeUTS(t *testing.T) {
	tree, m := fixture(t)
	tree.Add(hosttest.Process{PID: 200, Comm: "scope", UTSNS: 602, Hostname: "probe-name"})
	names := m.Names(NameInputs{Configured: "flag-name", Getenv: func(string) string { return "" }, ProbePID: 200})
	others := Disagreeing(names)
	if len(others) != 1 || others[0] != (NameCandidate{"probe-name", NameProbeUTS}) {
		t.Errorf("disagreeing: %v", others)
	}
}

// Where a UTS namespace may not be entered, the file says the name.
func TestHostnameFile(t *testing.T) {
	tree, m := fixture(t)
	for content, want := range map[string]string{
		"node-1":     "node-1",
		"node-1\n\n": "node-1",
		"\n# Managed by the administrator.\n  \n node-1 \nnode-2":        "node-1",
		strings.Repeat("# "+strings.Repeat("-", 78)+"\n", 10) + "node-1": "node-1",
		"# no name": "",
		"":          "",
	} {
		tree.Add(hosttest.Process{PID: 200, Comm: "scope", UTSNS: 602, Hostname: content})
		if got := m.utsName(200); got != want {
			t.Errorf("%q: %q, want %q", content, got, want)
		}
	}
}

// The peer of a real unix socket, in a UTS namespace of its own.
func TestNamesReal(t *testing.T) {
	h := hosttest.Start(t, "uts", syscall.CLONE_NEWUTS, scopeHostname+"=from-its-environment")
	m := realMachine(t)
	if err := m.CanEnterNamespaces(); err != nil {
		t.Skip(err)
	}
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	names := m.Names(NameInputs{Getenv: func(string) string { return "" }, ProbePID: h.PID})
	want := []NameCandidate{{"from-its-environment", NameProbeEnv}, {"another-name", NameProbeUTS}}
	if diff := cmp.Diff(want, names[:2]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("own name %q, %q before: %v", after, before, err)
	}
}

func TestPeerPID(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m := realMachine(t)
	for _, conn := range []net.Conn{client, server} {
		if pid, err := m.PeerPID(conn); err != nil || pid != os.Getpid() {
			t.Errorf("peer %d, %v, want %d", pid, err, os.Getpid())
		}
	}
	pipe, _ := net.Pipe()
	if _, err := m.PeerPID(pipe); err == nil {
		t.Error("a pipe has a peer")
	}
}

// A container can have the host's /proc on its own.
func TestForeignProcReal(t *testing.T) {
	hosttest.Start(t, "foreign", syscall.CLONE_NEWPID)
}

// seeForeignProc looks at this process where the pids of /proc are not its own.
func seeForeignProc() error {
	m, err := New(Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	if m.self.native || m.PID() == os.Getpid() || !m.KernelPIDs() {
		return fmt.Errorf("pid %d in /proc, %d here: %+v", m.PID(), os.Getpid(), m.self)
	}
	l, err := net.Listen("unix", "@promscope-test-foreign-"+strconv.Itoa(m.PID()))
	if err != nil {
		return err
	}
	defer l.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if pid, err := m.PeerPID(conn); err != nil || pid != m.PID() {
		return fmt.Errorf("peer %d, want %d: %w", pid, m.PID(), err)
	}
	if _, err := m.BorrowSocket(m.PID(), "0", 0); !errors.Is(err, ErrNotPermitted) {
		return fmt.Errorf("borrowed a socket: %w", err)
	}
	if !m.Alive("Process", strconv.Itoa(m.PID()), time.Now()) || m.processes.watches > 0 {
		return fmt.Errorf("not alive, or watched: %d", m.processes.watches)
	}
	return nil
}

// Users read of each source by other words than a metric has for it.
func TestNameSourceWords(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []NameSource{NameConfigured, NameEnvironment, NameProbeEnv, NameProbeUTS, NameInitUTS, NameHostname} {
		if words := s.String(); words == string(s) || seen[words] {
			t.Errorf("%s in words: %s", string(s), words)
		} else {
			seen[words] = true
		}
	}
}
